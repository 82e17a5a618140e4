// What a budget buys: predicted time against budget, with the plan that is looked at on it.

import { h, s, whenResized } from "../dom.js";
import { MIB, bytes, duration, number, points as lost } from "../format.js";
import { table } from "../parts.js";
import { textSize } from "../theme.js";

const TIMES = [
  1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 432000, 864000,
  1728000, 4320000, 8640000,
];

/** The frontier's steps, and the plan on it. `at(budget)`: called when a person picks a point. */
export function frontierChart(plan, points, at, signal) {
  const place = h("div", {});
  whenResized(place, signal, (width) => place.replaceChildren(drawing(plan, points, at, width)));
  return h("div", {}, place, h("details", {}, h("summary", {}, "As a table"), pointTable(points, at)));
}

function drawing(plan, points, at, width) {
  const size = textSize();
  const height = 19 * size;
  const box = { left: 4.6 * size, right: width - size, top: size, bottom: height - 2.4 * size };
  const own = { budget_bytes: plan.budget.bytes, seconds_total: plan.predicted.seconds_total };
  const x = logScale([...points, own].map((point) => point.budget_bytes), box.left, box.right);
  const slowest = 1.08 * Math.max(...[...points, own].map((point) => point.seconds_total));
  const y = (seconds) => box.bottom - (seconds / slowest) * (box.bottom - box.top);
  return s("svg", { class: "drawing", width, height, role: "group", "aria-label": spoken(plan, points), "font-size": size },
    axes(box, x, y, slowest, size),
    s("path", { d: steps(points, x, y, box.right), fill: "none", stroke: "var(--resident)", "stroke-width": 2 }),
    points.map((point) => dot(point, x, y, at)),
    marker(own, x, y, size, box));
}

/** Budgets in equal ratios; room on both sides. */
function logScale(values, left, right) {
  const low = Math.log(Math.min(...values) / 1.03);
  const high = Math.log(Math.max(...values) * 1.05);
  const place = (value) => left + ((Math.log(value) - low) / (high - low)) * (right - left);
  return Object.assign(place, { low: Math.exp(low), high: Math.exp(high) });
}

function steps(points, x, y, right) {
  const parts = points.map((point, index) => {
    const level = index === 0 ? `M${x(point.budget_bytes)} ${y(point.seconds_total)}` : `H${x(point.budget_bytes)}V${y(point.seconds_total)}`;
    return level;
  });
  return `${parts.join("")}H${right}`;
}

function dot(point, x, y, at) {
  const text = `${bytes(point.budget_bytes)}: ${duration(point.seconds_total)}, ${point.blocks} blocks, ${point.cuts} cuts${point.accuracy_loss_points ? `, ${lost(point.accuracy_loss_points)} points lost` : ""}`;
  const act = (event) => {
    if (event.type === "keydown" && event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    at(point.budget_bytes);
  };
  return s("g", { role: "button", tabindex: "0", "aria-label": `Take the budget ${text}`, onclick: act, onkeydown: act, style: { cursor: "pointer" } },
    s("title", {}, text),
    s("circle", { cx: x(point.budget_bytes), cy: y(point.seconds_total), r: 12, fill: "transparent" }),
    s("circle", { cx: x(point.budget_bytes), cy: y(point.seconds_total), r: 5, fill: "var(--card)", stroke: "var(--resident)", "stroke-width": 2 }));
}

/** The plan itself. */
function marker(own, x, y, size, box) {
  const [cx, cy] = [x(own.budget_bytes), y(own.seconds_total)];
  const isRight = cx > (box.left + box.right) / 2;
  return s("g", {},
    s("line", { x1: cx, x2: cx, y1: cy, y2: box.bottom, stroke: "var(--peak)", "stroke-dasharray": "4 3" }),
    s("circle", { cx, cy, r: 7, fill: "var(--peak)", stroke: "var(--card)", "stroke-width": 2 }),
    s("text", { x: isRight ? cx - size : cx + size, y: Math.max(cy - size, box.top + size), "text-anchor": isRight ? "end" : "start", "font-weight": 600, class: "halo" },
      `this plan: ${bytes(own.budget_bytes)}, ${duration(own.seconds_total)}`));
}

function axes(box, x, y, slowest, size) {
  const budgets = ticks(x, box.left, box.right, 6 * size);
  const times = roundTimes(slowest);
  return s("g", {},
    times.map((seconds) => s("g", {},
      s("line", { x1: box.left, x2: box.right, y1: y(seconds), y2: y(seconds), stroke: "var(--line)" }),
      s("text", { x: box.left - 0.5 * size, y: y(seconds) + 0.35 * size, "text-anchor": "end", class: "faint" }, rough(seconds)))),
    s("line", { x1: box.left, x2: box.right, y1: box.bottom, y2: box.bottom, stroke: "var(--faint)" }),
    budgets.map((budget) => s("text", { x: x(budget * MIB), y: box.bottom + 1.4 * size, "text-anchor": "middle", class: "faint" }, `${number(budget)} MiB`)));
}

/** Three to six round durations from 0 up to the slowest. */
function roundTimes(slowest) {
  const size = [...TIMES].reverse().find((one) => slowest / one >= 3) ?? slowest / 3;
  return Array.from({ length: Math.floor(slowest / size) }, (_, index) => (index + 1) * size);
}

/** A duration in one unit, for an axis. */
function rough(seconds) {
  if (seconds < 120) return `${number(seconds)} s`;
  return seconds < 7200 ? `${number(seconds / 60)} min` : `${number(seconds / 3600)} h`;
}

/** Round budgets between two that lie at least `gap` pixels apart, in about equal ratios. */
function ticks(x, left, right, gap) {
  const [low, high] = [x.low / MIB, x.high / MIB];
  const ratio = (high / low) ** (gap / (right - left));
  const found = [];
  for (let wanted = low * Math.sqrt(ratio); wanted < high; wanted *= ratio) {
    const unit = roundBelow(wanted * (ratio - 1));
    const round = Math.round(wanted / unit) * unit;
    const isApart = found.length === 0 || x(round * MIB) - x(found.at(-1) * MIB) >= 0.8 * gap;
    const isInside = x(round * MIB) >= left + 0.4 * gap && x(round * MIB) <= right - 0.4 * gap;
    if (isApart && isInside) found.push(round);
  }
  return found;
}

/** 1, 2 or 5 times a power of ten. */
function roundBelow(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([5, 2].find((one) => one * power <= value) ?? 1);
}

function spoken(plan, points) {
  if (points.length === 0) return "No frontier";
  const [first, last] = [points[0], points.at(-1)];
  return `Budget against time: from ${bytes(first.budget_bytes)}, ${duration(first.seconds_total)}, to ${bytes(last.budget_bytes)}, ${duration(last.seconds_total)}; this plan ${bytes(plan.budget.bytes)}, ${duration(plan.predicted.seconds_total)}.`;
}

function pointTable(points, at) {
  return table("Plans on the frontier", [
    { name: "Budget", number: true, of: (point) => bytes(point.budget_bytes) },
    { name: "Time", number: true, of: (point) => duration(point.seconds_total) },
    { name: "Blocks", number: true, of: (point) => number(point.blocks) },
    { name: "Cuts", number: true, of: (point) => number(point.cuts) },
    { name: "Points lost", number: true, of: (point) => lost(point.accuracy_loss_points) },
    { name: "Recomputed units", number: true, of: (point) => number(point.recomputed) },
    { name: "Cache", number: true, of: (point) => bytes(point.cache_bytes) },
    { name: "", of: (point) => h("button", { type: "button", onclick: () => at(point.budget_bytes) }, "Take") },
  ], points);
}
