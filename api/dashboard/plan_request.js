// What a plan was asked for: to be sent again with something changed, and to be changed in the form.

import { MIB } from "./format.js";

/** What the plan was asked for. */
export function requestOf(plan) {
  const { batch, epochs, samples, schedule, augment, views, dtype, seed, freeze, optimizer } = plan.training;
  return {
    model: plan.model,
    profile: plan.profile_id,
    budget: plan.budget,
    training: { batch, epochs, samples, schedule, augment, views, dtype, seed, freeze, optimizer },
    storage_bytes: plan.storage_bytes,
    cache_dtype: cacheDtype(plan),
    strategy: plan.strategy,
    prefer: plan.prefer,
    max_cuts: plan.max_cuts,
    linear_segments: plan.linear_segments ?? true, // plans from before there was this field were made so
    reserve_bytes: plan.reserve_bytes,
  };
}

/** The query of the form for a new plan, with its fields as this plan was asked for. */
export function formOf(plan) {
  const { batch, epochs, samples, augment, views, dtype, freeze, optimizer } = plan.training;
  return {
    profile: plan.profile_id,
    budget: plan.budget.bytes,
    scope: plan.budget.scope,
    batch,
    epochs,
    samples,
    dtype,
    augment,
    views: augment === "none" ? null : views,
    freeze,
    optimizer: optimizer.kind,
    lr: optimizer.lr,
    strategy: plan.strategy,
    prefer: plan.prefer,
    storage: plan.storage_bytes === null ? null : plan.storage_bytes / MIB,
    cache: cacheDtype(plan),
  };
}

/** What its caches hold; null without any. */
function cacheDtype(plan) {
  return plan.blocks.find((block) => block.input.kind === "cache")?.input.dtype ?? null;
}
