// What each block's peak is made of, as bars against the budget.

import { h } from "../dom.js";
import { bytes, percent, phaseName, stageName, stagesOf, unitNames, words } from "../format.js";
import { legend, percentOf, table } from "../parts.js";

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

/** A bar for each block of a plan, and below it what of it each layer has at that moment. */
export function blockBars(plan, moments) {
  const budget = plan.budget.bytes;
  const stages = stagesOf(plan);
  const whole = Math.max(budget, ...stages.map((block) => block.predicted.peak_bytes)) * 1.04;
  const used = PARTS.filter((part) => stages.some((block) => block.predicted.breakdown[part] > 0));
  return h("div", {}, partsLegend(used), h("div", { class: "stacks" }, stages.map((block, index) => bar(plan, block, index, whole, moments[index]))));
}

function bar(plan, block, index, whole, moment) {
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
      h("div", { class: "limit", title: `budget ${bytes(plan.budget.bytes)}`, style: { left: percentOf(plan.budget.bytes / whole) } })),
    moment ? layers(plan, block, moment) : null);
}

const DOINGS = { forward: "samples go forward through", backward: "gradients come back through", recompute: "recomputing", step: "the optimizer steps" };

/** What was going on at the peak, in words. */
function momentWords(plan, { doing, unit, kind }) {
  if (unit === null) return DOINGS[doing];
  const { name } = plan.model.units[unit];
  return `${DOINGS[doing]} ${kind === "head" ? `the head behind ${name}` : name}`;
}

/** A block's peak, layer by layer: every byte of its bar. */
function layers(plan, block, moment) {
  const shares = moment.shares.map((share) => ({ ...share, title: share.kind === "head" ? `head behind ${share.name}` : share.name, isCurrent: share.unit === moment.unit && share.kind === moment.kind }));
  const whole = (row) => LAYER_PARTS.reduce((sum, part) => sum + row[`${part}_bytes`], 0);
  const alone = (title, size) => ({ title, own: size });
  const rest = [
    alone("held between segments", moment.held_bytes),
    alone("data", moment.data_bytes),
    alone("kernels, and freed bytes that are kept", moment.around_bytes),
    alone("Python and torch", moment.runtime_bytes),
  ].filter(({ own }) => own > 0);
  const all = [...shares, ...rest];
  const sum = { title: "together", own: all.reduce((total, row) => total + (row.own ?? whole(row)), 0), isCurrent: false };
  const columns = [
    { name: "Layer", of: (row) => row.title },
    ...LAYER_PARTS.map((part) => ({ name: partName(part), number: true, of: (row) => (row.own === undefined ? bytes(row[`${part}_bytes`]) : "") })),
    { name: "together", number: true, of: (row) => bytes(row.own ?? whole(row)) },
  ];
  const elsewhere = highestPhase(block);
  return h("details", {},
    h("summary", {}, `Layer by layer, when ${momentWords(plan, moment)}`),
    elsewhere ? h("p", { class: "faint" }, `This is training's peak. ${elsewhere}`) : null,
    table(`The peak of block ${moment.block}, layer by layer`, columns, [...all, sum]));
}

const LAYER_PARTS = ["parameters", "gradients", "optimizer", "activations", "transient"];

/** Where a block is higher than in training. */
function highestPhase({ predicted: { peak_bytes_by_phase: phases } }) {
  const [phase, most] = Object.entries(phases).reduce((one, other) => (other[1] > one[1] ? other : one));
  return most > phases.train ? `The block is highest while ${phaseName(phase)}: ${bytes(most)}.` : null;
}
