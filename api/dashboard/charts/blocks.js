// What each block's peak is made of, as bars against the budget.

import { h } from "../dom.js";
import { bytes, percent, stageName, stagesOf, unitNames, words } from "../format.js";
import { legend, percentOf } from "../parts.js";

/** The parts of a peak, from the bottom of the stack. */
export const PARTS = ["runtime", "data", "parameters", "gradients", "optimizer", "activations", "transient", "cache"];

const NAMES = { runtime: "Python and torch" };

/** A part's name for people. */
export function partName(part) {
  return NAMES[part] ?? words(part);
}

/** The key to the parts' colours. */
export function partsLegend(parts) {
  return legend(parts.map((part) => ({ colour: `part-${part}`, text: partName(part) })));
}

/** A bar for each block of a plan. */
export function blockBars(plan) {
  const budget = plan.budget.bytes;
  const stages = stagesOf(plan);
  const whole = Math.max(budget, ...stages.map((block) => block.predicted.peak_bytes)) * 1.04;
  const used = PARTS.filter((part) => stages.some((block) => block.predicted.breakdown[part] > 0));
  return h("div", {}, partsLegend(used), h("div", { class: "stacks" }, stages.map((block, index) => bar(plan, block, index, whole))));
}

function bar(plan, block, index, whole) {
  const { breakdown, peak_bytes: peak, binding } = block.predicted;
  const parts = PARTS.filter((part) => breakdown[part] > 0);
  const text = parts.map((part) => `${partName(part)} ${bytes(breakdown[part])}`).join(", ");
  const pieces = parts.map((part) =>
    h("div", {
      title: `${partName(part)}: ${bytes(breakdown[part])}`,
      style: { width: percentOf(breakdown[part] / whole), background: `var(--part-${part})` },
    }),
  );
  const name = stageName(plan, index);
  const title = `${name[0].toUpperCase()}${name.slice(1)}`;
  const share = percent(peak / plan.budget.bytes, 0);
  return h("div", { class: "stack" },
    h("div", { class: "label" },
      h("span", {}, h("strong", {}, title), ` ${unitNames(plan.model, block.units)}`),
      h("span", { class: "faint" }, `${bytes(peak)}, ${share} of the budget; most of it ${partName(binding)}`)),
    h("div", { class: "track", role: "img", "aria-label": `${title}: ${text}` },
      h("div", { class: "bar" }, pieces),
      h("div", { class: "limit", title: `budget ${bytes(plan.budget.bytes)}`, style: { left: percentOf(plan.budget.bytes / whole) } })));
}
