// What a plan was asked for: to be sent again with something changed, and to be changed in the form.

import { MIB } from "./format.js";

/**
 * The form's field for each of a request's terms: where the term stands, in what unit its number is shown, and that it is
 * a word, a yes or no, a list of numbers with commas between them, or may be one of some words instead of a number, where
 * its default does not tell.
 */
const TERMS = {
  scope: { path: ["budget", "scope"] },
  batch: { path: ["training", "batch"] },
  epochs: { path: ["training", "epochs"] },
  early_epochs: { path: ["training", "early_epochs"] },
  samples: { path: ["training", "samples"] },
  dtype: { path: ["training", "dtype"] },
  augment: { path: ["training", "augment"] },
  views: { path: ["training", "views"] },
  freeze: { path: ["training", "freeze"] },
  mean: { path: ["training", "normalisation", "mean"], isList: true },
  std: { path: ["training", "normalisation", "std"], isList: true },
  resize: { path: ["training", "resize"], isWord: true },
  shorter_side: { path: ["training", "shorter_side"] },
  schedule: { path: ["training", "schedule"] },
  warmup: { path: ["training", "warmup"] },
  polish: { path: ["training", "polish"] },
  polish_lr: { path: ["training", "polish_lr"] },
  seed: { path: ["training", "seed"] },
  optimizer: { path: ["training", "optimizer", "kind"] },
  lr: { path: ["training", "optimizer", "lr"] },
  momentum: { path: ["training", "optimizer", "momentum"] },
  nesterov: { path: ["training", "optimizer", "nesterov"], isFlag: true },
  weight_decay: { path: ["training", "optimizer", "weight_decay"] },
  weight_decay_on: { path: ["training", "optimizer", "weight_decay_on"] },
  strategy: { path: ["strategy"] },
  prefer: { path: ["prefer"] },
  max_cuts: { path: ["max_cuts"] },
  max_accuracy_loss: { path: ["max_accuracy_loss"] },
  linear_segments: { path: ["linear_segments"] },
  allocator: { path: ["allocator"], isWord: true },
  reserve: { path: ["reserve_bytes"], unit: MIB },
  head: { path: ["head"], isWord: true },
  overlap: { path: ["overlap"], words: ["auto"] },
  head_time_share: { path: ["head_time_share"] },
  grouping_threshold: { path: ["grouping_threshold"] },
  storage: { path: ["storage_bytes"], unit: MIB },
  cache: { path: ["cache_dtype"], isWord: true },
};

/** What the plan was asked for, whole. */
export function requestOf(plan) {
  return { model: plan.model, profile: plan.profile_id, ...(plan.request ?? askedBefore(plan)) };
}

/** The same of plan/1, as far as that says it: not whether its allocator was asked for. */
function askedBefore(plan) {
  return {
    budget: plan.budget,
    training: plan.training,
    storage_bytes: plan.storage_bytes,
    cache_dtype: plan.blocks.find((block) => block.input.kind === "cache")?.input.dtype ?? null,
    strategy: plan.strategy,
    prefer: plan.prefer,
    max_cuts: plan.max_cuts,
    linear_segments: plan.linear_segments ?? true, // plans from before there was this field were made so
    reserve_bytes: plan.reserve_bytes,
  };
}

/** How its samples are normalised, as a formula. Where neither plan nor model says so, it is as it was before they could. */
export function normalisationOf(plan) {
  const isImage = (plan.model.input_dtype ?? "uint8") === "uint8";
  const said = plan.training.normalisation ?? plan.model.normalisation;
  if (!said && !isImage) return "they are";
  const { mean, std } = said ?? { mean: [0.5], std: [0.25] };
  const shown = (numbers) => {
    const rounded = numbers.map((number) => String(Number(number.toPrecision(6))));
    return numbers.length > 1 ? `[${rounded.join(", ")}]` : rounded[0];
  };
  return `(${isImage ? "value / 255" : "value"} − ${shown(mean)}) / ${shown(std)}`;
}

/** How often each block passes over the data: one number where all do so alike. */
export function epochsOf(plan) {
  const passes = plan.blocks.map((block) => block.epochs ?? plan.training.epochs);
  return new Set(passes).size > 1 ? passes.join(", ") : String(passes[0]);
}

/** The query of the form for a new plan, with its fields as this plan was asked for. */
export function formOf(plan) {
  const request = requestOf(plan);
  const fields = fieldsOf(request);
  if (request.training.augment === "none") fields.views = ""; // there is but one, until images are augmented
  for (const [name, { path }] of Object.entries(TERMS)) {
    if (path.reduce((inner, step) => inner?.[step], request) === undefined) delete fields[name]; // not said then: as usual
  }
  return { profile: plan.profile_id, budget: request.budget.bytes, ...fields };
}

/** What the form's fields show for these terms, as text: null is an empty field. */
export function fieldsOf(terms) {
  const shown = ({ path, unit = 1 }) => {
    const value = path.reduce((inner, step) => inner?.[step], terms) ?? "";
    return String(typeof value === "number" ? value / unit : value);
  };
  return Object.fromEntries(Object.entries(TERMS).map(([name, term]) => [name, shown(term)]));
}

/**
 * The terms that the fields say. `usual` holds every term with its default, which says what kind of value it is; `text`
 * and `number` give what stands in a field of that name.
 */
export function termsOf(usual, text, number) {
  const found = structuredClone(usual);
  for (const [name, { path, unit = 1, isWord = false, isFlag = false, isList = false, words = [] }] of Object.entries(TERMS)) {
    if (isList) {
      setList(found, path, text(name));
      continue;
    }
    const place = path.slice(0, -1).reduce((inner, step) => inner[step], found);
    const last = path.at(-1);
    if (text(name) === "" && place[last] === null) continue;
    if (isFlag || typeof place[last] === "boolean") place[last] = text(name) === "true";
    else if (isWord || typeof place[last] === "string" || words.includes(text(name))) place[last] = text(name);
    else place[last] = unit === 1 ? number(name) : Math.round(unit * number(name));
  }
  return found;
}

/** Put a list of numbers where its path says; an empty field says nothing. What is no number is the service's to refuse. */
function setList(terms, path, text) {
  if (text === "") return;
  const place = path.slice(0, -1).reduce((inner, step) => (inner[step] ??= {}), terms);
  place[path.at(-1)] = text.split(",").map((part) => (part.trim() === "" ? null : Number(part)));
}
