// The request that a plan answers, to be sent again with something changed.

/** What the plan was asked for. */
export function requestOf(plan) {
  const { batch, epochs, samples, schedule, augment, views, dtype, seed, freeze, optimizer } = plan.training;
  return {
    model: plan.model,
    profile: plan.profile_id,
    budget: plan.budget,
    training: { batch, epochs, samples, schedule, augment, views, dtype, seed, freeze, optimizer },
    storage_bytes: plan.storage_bytes,
    cache_dtype: plan.blocks.find((block) => block.input.kind === "cache")?.input.dtype ?? null,
    strategy: plan.strategy,
    prefer: plan.prefer,
    max_cuts: plan.max_cuts,
    reserve_bytes: plan.reserve_bytes,
  };
}
