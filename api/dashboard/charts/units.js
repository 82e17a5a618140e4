// The network as a row of units: what each takes as a stacked bar, and blocks, cuts, heads and recomputation on it.

import { h, s, whenResized } from "../dom.js";
import { bytes, headLabel, headName, number } from "../format.js";
import { legend, table } from "../parts.js";
import { textSize } from "../theme.js";
import { partName } from "./blocks.js";

const PARTS = ["parameters", "gradients", "optimizer", "activations", "transient"];
const LONGEST_NAME = 24;
const RECOMPUTED = "↻";
const AT_WORK = "▼";

/** The row, drawn anew when its room changes, and the same as a table: at the moment of each block's peak, or each alone. */
export function unitRow(plan, units, moments, signal) {
  const atPeak = units.map((unit) => shareOf(unit, moments));
  let shown = atPeak;
  let width = 0;
  const place = h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The network, unit by unit" });
  const below = h("div", {});
  const words = h("p", { class: "faint" });
  const choices = [["At its block's peak", atPeak], ["Each alone", units]].map(([text, rows]) =>
    h("button", { type: "button", onclick: () => show(rows) }, text));
  const key = [
    ...PARTS.map((part) => ({ colour: `part-${part}`, text: partName(part) })),
    { colour: "budget", text: "what the budget leaves beside Python and torch", shape: "dashed" },
    { colour: "peak", text: "cut: no gradient crosses", shape: "dashed" },
    ...(units.some((unit) => unit.recomputed) ? [{ sign: RECOMPUTED, text: "recomputed in backward" }] : []),
    { sign: AT_WORK, text: "at work when its block is at its peak" },
  ];
  function show(rows) {
    shown = rows;
    choices.forEach((button, index) => button.setAttribute("aria-pressed", String((index === 0) === (rows === atPeak))));
    words.textContent = rows === atPeak
      ? "Bars of a block, heads among them, add up to its peak below, beside what is nobody's own: data, kernels, Python and torch."
      : "What each takes if nothing else of its block were there, at its own highest moment.";
    if (width) place.replaceChildren(drawing(plan, rows, moments, width));
    const details = h("details", { open: below.querySelector("details")?.open ?? false }, h("summary", {}, "As a table"), unitTable(rows));
    below.replaceChildren(details);
  }
  show(atPeak);
  whenResized(place, signal, (found) => {
    width = found;
    place.replaceChildren(drawing(plan, shown, moments, width));
  });
  return h("div", {}, h("div", { class: "heading" }, legend(key), h("div", { class: "buttons" }, choices)), words, place, below);
}

/** A unit or head as it is at its block's peak; nothing of it where it is in memory at no such moment. */
function shareOf(unit, moments) {
  const found = moments.flatMap(({ shares }) => shares).find((share) => share.unit === unit.unit && share.kind === unit.kind);
  const none = Object.fromEntries(PARTS.map((part) => [`${part}_bytes`, 0]));
  return { ...unit, ...none, ...found };
}

/** Bytes of a unit or head together. */
function total(unit) {
  return PARTS.reduce((sum, part) => sum + unit[`${part}_bytes`], 0);
}

function drawing(plan, units, moments, room) {
  const size = textSize();
  const bodies = units.filter((unit) => unit.kind === "unit");
  const step = Math.max(2.6 * size, (room - 2) / bodies.length);
  const top = 2.4 * size;
  const bars = 16 * size;
  const floor = top + bars;
  const left = plan.blocks.map((block) => plan.budget.bytes - plan.reserve_bytes - block.predicted.breakdown.runtime);
  const highest = 1.08 * Math.max(...left, ...bodies.map((unit) => total(unit) + headBytes(units, unit)), 1);
  const longest = Math.max(...bodies.map((unit) => Math.min(unit.name.length, LONGEST_NAME)));
  const isFlat = 0.62 * longest * size < step;
  const scene = { plan, units, moments, step, top, floor, size, scale: bars / highest, left, isFlat };
  const names = isFlat ? size : 1.2 * size + 0.42 * longest * size;
  const height = floor + 2.4 * size + names;
  const aside = isFlat ? 0 : 2.4 * size; // the first names lean out to the left
  const width = Math.max(room, step * bodies.length + aside + 2);
  const viewBox = `${-aside} 0 ${width} ${height}`;
  return s("svg", { class: "drawing", width, height, viewBox, role: "img", "aria-label": spoken(plan, units), "font-size": size },
    drawFrozen(scene),
    plan.blocks.map((block, index) => drawBlock(scene, block, index)),
    bodies.map((unit) => drawUnit(scene, unit)),
    plan.blocks.flatMap((block) => block.segments.map((segment) => drawCut(scene, block, segment))),
    plan.blocks.map((_, index) => drawLimit(scene, index)),
    s("line", { x1: 0, x2: step * bodies.length, y1: floor, y2: floor, stroke: "var(--faint)" }));
}

/** What the head behind a unit takes. */
function headBytes(units, unit) {
  const head = units.find((one) => one.kind === "head" && one.unit === unit.unit);
  return head ? total(head) : 0;
}

/** A word above the units that are not trained. */
function drawFrozen({ plan, step, top, size }) {
  const count = plan.training.freeze;
  if (!count) return null;
  const text = "frozen".length * 0.58 * size < count * step ? "frozen" : "❄";
  return s("text", { x: (count * step) / 2, y: top - 0.9 * size, "text-anchor": "middle", class: "faint" }, text);
}

function drawBlock({ plan, step, top, floor, size }, block, index) {
  const [first, last] = block.units;
  const wide = (last - first) * step;
  const title = `block ${index}`;
  const detail = ` · ${block.micro_batch} × ${block.accumulate}`;
  const room = wide / (0.58 * size);
  const text = room > title.length + detail.length ? title + detail : room > title.length ? title : String(index);
  return s("g", {},
    s("rect", { x: first * step + 1, y: 0, width: wide - 2, height: floor + 1.6 * size, rx: 4, fill: `var(--shade-${index % 2})` }),
    s("title", {}, `${title}: units ${first} to ${last - 1} of ${plan.model.units.length}, micro-batch ${block.micro_batch}, ${block.accumulate} of them for a step`),
    s("text", { x: first * step + wide / 2, y: top - 0.9 * size, "text-anchor": "middle", class: "faint" }, text));
}

function drawUnit(scene, unit) {
  const { step, floor, scale, size, isFlat } = scene;
  const x = unit.unit * step;
  const wide = Math.min(0.62 * step, 6 * size);
  const from = x + (step - wide) / 2;
  const head = scene.units.find((one) => one.kind === "head" && one.unit === unit.unit);
  const isAtWork = scene.moments.some((moment) => moment.unit === unit.unit);
  let base = floor;
  const stack = [unit, ...(head ? [head] : [])].flatMap((one) => PARTS.map((part) => {
    const high = one[`${part}_bytes`] * scale;
    base -= high;
    return s("rect", { x: from, y: base, width: wide, height: Math.max(high, 0), fill: `var(--part-${part})`, "fill-opacity": one === head ? 0.55 : 1 });
  }));
  const parts = PARTS.map((part) => `${partName(part)} ${bytes(unit[`${part}_bytes`])}`).join("\n");
  const middle = x + step / 2;
  const name = unit.name.length > LONGEST_NAME ? `${unit.name.slice(0, LONGEST_NAME - 1)}…` : unit.name;
  const spot = isFlat
    ? { x: middle, y: floor + 2.9 * size, "text-anchor": "middle" }
    : { transform: `translate(${middle + 0.3 * size} ${floor + 2.6 * size}) rotate(-40)`, "text-anchor": "end" };
  return s("g", {},
    s("title", {}, `${unit.name}: ${bytes(total(unit))}\n${parts}${unit.recomputed ? "\nrecomputed" : ""}${unit.frozen ? "\nfrozen: not trained" : ""}`),
    stack,
    isAtWork ? s("text", { x: x + step / 2, y: base - 0.35 * size, "text-anchor": "middle", "aria-hidden": "true", class: "halo" }, AT_WORK) : null,
    unit.recomputed ? s("text", { x: x + step / 2, y: floor + 1.2 * size, "text-anchor": "middle", "aria-hidden": "true" }, RECOMPUTED) : null,
    s("text", spot, name));
}

/** The end of a segment: its head, and a line where it is a cut. */
function drawCut({ plan, units, step, top, floor, size }, block, segment) {
  const last = segment.units[1];
  const head = units.find((unit) => unit.kind === "head" && unit.unit === last - 1);
  const x = last * step;
  const isEnd = last === plan.model.units.length;
  const kind = segment.head === null ? "classifier" : `head, ${headName(segment.head)}`;
  const behind = segment.window ? ", behind the next unit, which is trained with this segment as well" : "";
  const label = segment.head === null ? "" : headLabel(segment.head);
  return s("g", {},
    s("title", {}, `${kind}${behind}${head ? `: ${bytes(total(head))}` : ""}`),
    isEnd ? null : s("line", { x1: x, x2: x, y1: top - 0.4 * size, y2: floor + 1.6 * size, stroke: "var(--peak)", "stroke-width": 2, "stroke-dasharray": "5 3" }),
    label ? s("rect", { x: x - 1.5 * size, y: floor + 0.15 * size, width: 3 * size, height: 1.35 * size, rx: 4, fill: "var(--card)", stroke: "var(--peak)" }) : null,
    label ? s("text", { x, y: floor + 1.15 * size, "text-anchor": "middle" }, label) : null);
}

/** What the budget leaves for a block. */
function drawLimit({ plan, step, floor, scale, left, size }, index) {
  const [first, last] = plan.blocks[index].units;
  const y = floor - Math.max(0, left[index]) * scale;
  const text = `${bytes(left[index])} left`;
  const fits = 0.6 * text.length * size < (last - first) * step - size;
  return s("g", {},
    fits ? s("text", { x: first * step + 0.6 * size, y: y + 1.2 * size, class: "faint" }, text) : null,
    s("line", { x1: first * step + 1, x2: last * step - 1, y1: y, y2: y, stroke: "var(--budget)", "stroke-width": 2, "stroke-dasharray": "6 4" }));
}

function spoken(plan, units) {
  const cuts = plan.blocks.flatMap((block) => block.segments.map((segment) => segment.units[1])).slice(0, -1);
  const names = cuts.map((unit) => plan.model.units[unit - 1].name).join(", ");
  const largest = units.reduce((one, other) => (total(other) > total(one) ? other : one));
  const again = units.filter((unit) => unit.recomputed).length;
  const frozen = plan.training.freeze ? `, the first ${plan.training.freeze} frozen, the others` : "";
  return `${plan.model.units.length} units${frozen} in ${plan.blocks.length} blocks; cuts behind ${names || "none"};${again ? ` ${again} units recomputed;` : ""} the largest is ${largest.name} with ${bytes(total(largest))}. The table below says it in full.`;
}

function unitTable(units) {
  const columns = [
    { name: "Unit", of: (unit) => (unit.kind === "head" ? `head behind ${unit.name}` : unit.name) },
    ...PARTS.map((part) => ({ name: partName(part), number: true, of: (unit) => bytes(unit[`${part}_bytes`]) })),
    { name: "alone", number: true, of: (unit) => bytes(total(unit)) },
    { name: "Recomputed", of: (unit) => (unit.recomputed ? "yes" : unit.frozen ? "frozen" : "") },
  ];
  return table(`${number(units.length)} units and heads`, columns, units);
}
