// Several runs over one time axis: peaks of their steps against their budgets, and their losses.

import { h } from "../dom.js";
import { MIB, bytes, number } from "../format.js";
import { pictureButton } from "../export.js";
import { legend } from "../parts.js";
import { colour, textSize } from "../theme.js";
import { clock, sides, timeChart } from "./time_chart.js";

/** A dash for each run beside its colour. */
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];

/** A line is broken as long before a block's first step. */
const BREAK_SECONDS = 1e-6;

const STEPS_MIB = [1, 2, 5, 10, 20, 25, 50, 100, 200, 250, 500, 1000, 2000, 5000, 10000, 20000];

/** Both charts in `place`. `runs`: { run, plan, data } of each. */
export function overlay(place, runs, signal) {
  let range = null;
  const charts = [];
  const names = () => runs.map(({ run }) => run.name).join(", ");
  const tip = h("div", { class: "tip", hidden: true });
  const upper = h("div", { class: "chart" }, tip);
  const lower = h("div", { class: "chart" });
  const end = Math.max(...runs.map(({ data }) => data.end()), 1);
  const key = legend(runs.map(({ run, plan }, index) => ({ colour: `run-${index}`, text: `${run.name}, budget ${bytes(plan.budget.bytes)}`, shape: "stroke" })));
  const section = (title, chart, file) => h("section", { class: "card", "aria-label": title },
    h("div", { class: "heading" }, h("h2", {}, title),
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => look(null) }, "All"), pictureButton(file, () => chart.querySelector("canvas"), () => `${title}: ${names()}`))),
    chart);
  place.append(section("Peaks of steps", upper, "compared-memory"), section("Losses of steps", lower, "compared-loss"));
  upper.before(key);
  const highest = Math.max(...runs.flatMap(({ plan, data }) => [data.peak(), plan.budget.bytes]));
  const lowest = Math.min(...runs.flatMap(({ data }) => data.samples.map((one) => one.resident_bytes)), highest);
  const floor = Math.max(0, lowest - 0.15 * (highest - lowest));
  charts.push(
    chartOf(upper, "peak_bytes", {
      range: [floor, highest + 0.08 * (highest - floor)],
      axis: { size: sides().left, incrs: STEPS_MIB.map((step) => step * MIB), values: (_, all) => all.map((one) => `${number(one / MIB)} MiB`) },
      draw: (chart) => runs.forEach(({ plan }, index) => budgetLine(chart, plan.budget.bytes, index)),
    }),
    chartOf(lower, "loss", {
      range: (_, low, high) => [Math.min(0, low ?? 0), 1.08 * (high ?? 1)],
      axis: { size: sides().left, values: (_, all) => all.map((one) => number(one, 2)) },
      draw: () => {},
    }));

  function chartOf(into, field, { range: scale, axis, draw }) {
    const chart = timeChart(into, {
      syncKey: "compare",
      span: () => [0, end],
      height: (width) => Math.round(Math.min(Math.max(0.3 * width, 220), 0.45 * innerHeight + 40)),
      padding: () => [null, sides().right, null, null],
      series: [{}, ...runs.map((_, index) => ({ stroke: () => colour(`run-${index}`), width: 2, dash: DASHES[index], points: { show: false }, scale: "y" }))],
      scales: { y: { range: scale } },
      axes: [{ scale: "y", space: 3 * textSize(), ...axis }],
      draw: { draw: [draw] },
      onRange: (from, to) => look([from, to]),
      onReset: () => look(null),
      onCursor: field === "peak_bytes" ? point : () => {},
    }, signal);
    chart.setData(joined(runs, field));
    return chart;
  }

  function look(found) {
    range = found;
    for (const chart of charts) chart.setRange(range);
  }

  /** What each run was at, at the cursor's moment. */
  function point(index, left, top) {
    tip.hidden = index === null || left < 0;
    if (tip.hidden) return;
    const seconds = charts[0].seconds(index);
    const lines = runs.map(({ run, data }) => {
      const sample = data.samples.findLast((one) => one.seconds <= seconds);
      return `${run.name}: ${sample ? `peak ${bytes(sample.peak_bytes)}, loss ${number(sample.loss, 3)}, step ${number(sample.step)}` : "no step yet"}`;
    });
    tip.textContent = [clock(seconds), ...lines].join("\n");
    const x = left + charts[0].offset() + 14;
    const side = x + tip.offsetWidth > upper.clientWidth ? left + charts[0].offset() - tip.offsetWidth - 14 : x;
    tip.style.setProperty("transform", `translate(${Math.max(0, side)}px, ${Math.max(0, top - 20)}px)`);
  }
}

function budgetLine(chart, budget, index) {
  const { ctx, bbox } = chart;
  const y = chart.valToPos(budget, "y", true);
  ctx.save();
  ctx.beginPath();
  ctx.strokeStyle = colour(`run-${index}`);
  ctx.globalAlpha = 0.6;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([3 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
}

/** One rising list of seconds, and each run's values there: undefined where it has none, null where a block begins. */
function joined(runs, field) {
  const points = runs.flatMap(({ data }, run) => data.samples.flatMap((sample, index, all) => {
    const point = { seconds: sample.seconds, run, value: sample[field] };
    const isBreak = index > 0 && all[index - 1].block !== sample.block;
    return isBreak ? [{ ...point, seconds: sample.seconds - BREAK_SECONDS, value: null }, point] : [point];
  }));
  const moments = [...new Set(points.map(({ seconds }) => seconds))].sort((one, other) => one - other);
  const places = new Map(moments.map((seconds, index) => [seconds, index]));
  const columns = runs.map(() => new Array(moments.length).fill(undefined));
  for (const { seconds, run, value } of points) columns[run][places.get(seconds)] = value;
  return [moments, ...columns];
}
