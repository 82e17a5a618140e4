// Both charts of a run: one range, one cursor, moved by mouse, buttons and keys.

import { h, say } from "../dom.js";
import { bytes, number, phaseName } from "../format.js";
import { pictureButton } from "../export.js";
import { metricOf } from "../metrics.js";
import { legend } from "../parts.js";
import { learningChart, learningKey } from "./learning.js";
import { MEMORY_KEY, memoryChart } from "./memory.js";
import { clock } from "./time_chart.js";

const HELP =
  "Drag to zoom, sideways or up and down, double click for all. Keys: ← → step, + − zoom, ↑ ↓ zoom memory, Page Up and Page Down pan, Home for all.";

/** The charts in `place`. `onRange(from, to)` is told what is looked at (null, null: all). */
export function runCharts(place, data, budget, { title, from, to, onRange }, signal) {
  const metric = metricOf(data.plan.model.task);
  const learned = metric.name === "Accuracy" ? "accuracy" : metric.name;
  let range = from !== null && to !== null && to > from ? [from, to] : null;
  let shown = [];
  let marks = [];
  let phases = [];
  let cursor = null;
  let isDragged = false;
  const looked = { isFolded: true, bytes: null };
  const tip = h("div", { class: "tip", hidden: true });
  const upper = h("div", { class: "chart", role: "application", tabindex: "0", onkeydown: key }, tip);
  const lower = h("div", { class: "chart" });
  const handlers = { syncKey: "run", span: () => [0, data.end()], onRange: zoomTo, onReset: () => showAll(), onCursor: point };
  const fold = h("button", { type: "button", "aria-pressed": "true", title: "Begin the axis where something happens, or at 0", onclick: () => setFolded(!looked.isFolded) }, "Fold the runtime");
  const log = h("button", { type: "button", "aria-pressed": "true", title: "Equal steps are equal ratios", onclick: () => setLog(log.getAttribute("aria-pressed") !== "true") }, "Log");
  place.append(
    h("section", { class: "card", "aria-label": "Memory against time" },
      h("div", { class: "heading" }, h("h2", {}, "Memory against time"),
        h("div", { class: "buttons" }, fold, buttons(), pictureButton("memory", () => upper.querySelector("canvas"), () => `Memory against time: ${title}, budget ${bytes(budget)}`))),
      legend(MEMORY_KEY), upper, h("p", { class: "faint" }, HELP)),
    h("section", { class: "card", "aria-label": `Loss and ${learned}` },
      h("div", { class: "heading" }, h("h2", {}, `Loss and ${learned}`),
        h("div", { class: "buttons" }, log, pictureButton("loss", () => lower.querySelector("canvas"), () => `Loss and ${learned}: ${title}`))),
      legend(learningKey(metric)), lower),
  );
  const stages = () => data.stages();
  const memory = memoryChart(upper, { budget, stages, phases: () => phases, marks: () => marks, floor: () => data.floor(), view: () => looked, ...handlers }, signal);
  const learning = learningChart(lower, { stages, metric, isLog: () => log.getAttribute("aria-pressed") === "true", ...handlers, onRange: (first, last) => zoomTo(first, last, looked.bytes), onCursor: () => {} }, signal);

  function buttons() {
    const one = (text, label, act) => h("button", { type: "button", "aria-label": label, title: label, onclick: act }, text);
    return h("div", { class: "buttons", role: "group", "aria-label": "Zoom" },
      one("+", "Zoom in", () => scale(0.5)), one("−", "Zoom out", () => scale(2)),
      one("←", "Earlier", () => pan(-0.5)), one("→", "Later", () => pan(0.5)),
      one("All", "Show all", showAll));
  }

  /** The whole run, and the axis from where something happens. */
  function showAll() {
    zoomTo(null, null);
  }

  /** Begin the axis at 0, or where something happens. */
  function setFolded(isFolded) {
    Object.assign(looked, { isFolded, bytes: null });
    fold.setAttribute("aria-pressed", String(isFolded));
    memory.redraw();
    say(isFolded ? "The axis begins where something happens" : "The axis begins at 0");
  }

  function setLog(isLog) {
    log.setAttribute("aria-pressed", String(isLog));
    learning.redraw();
  }

  /** Memory from less to more bytes around the highest peak that is looked at. */
  function scaleBytes(factor) {
    const [low, high] = memory.values();
    const peak = Math.min(Math.max(data.peak(), low), high);
    const wanted = [peak - (peak - low) * factor, peak + (high - peak) * factor];
    looked.bytes = factor > 1 && wanted[0] <= 0 ? null : wanted;
    memory.redraw();
    say(looked.bytes === null ? "All of the axis" : `From ${bytes(wanted[0])} to ${bytes(wanted[1])}`);
  }

  /** Look at [first, last], and at some bytes alone where they are given; null: all. */
  function zoomTo(first, last, values = null) {
    looked.bytes = values;
    const end = data.end();
    const isAll = first === null || (first <= 0 && last >= end);
    range = isAll ? null : [Math.max(0, first), Math.min(end, last)];
    memory.setRange(range);
    learning.setRange(range);
    onRange(range?.[0] ?? null, range?.[1] ?? null);
    say(range === null ? "All of the run" : `From ${clock(range[0])} to ${clock(range[1])}`);
  }

  function scale(factor) {
    const [first, last] = range ?? [0, data.end()];
    const middle = cursor === null || !shown[cursor] ? (first + last) / 2 : shown[cursor].seconds;
    const centre = Math.min(Math.max(middle, first), last);
    zoomTo(centre - (centre - first) * factor, centre + (last - centre) * factor);
  }

  function pan(share) {
    if (range !== null) lookFrom(range[0] + share * (range[1] - range[0]));
  }

  /** As much as now, from another moment on. */
  function lookFrom(wanted) {
    const width = range[1] - range[0];
    const first = Math.min(Math.max(0, wanted), Math.max(0, data.end() - width));
    zoomTo(first, first + width);
  }

  function key(event) {
    const acts = {
      "+": () => scale(0.5), "=": () => scale(0.5), "-": () => scale(2), Home: showAll,
      ArrowUp: () => scaleBytes(0.5), ArrowDown: () => scaleBytes(2), PageUp: () => pan(-0.5), PageDown: () => pan(0.5), ArrowLeft: () => step(-1), ArrowRight: () => step(1),
      Escape: () => memory.setCursor(null),
    };
    if (!Object.hasOwn(acts, event.key) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    acts[event.key]();
  }

  async function step(by) {
    if (shown.length === 0) return;
    const next = Math.min(Math.max(neighbour(by), 0), shown.length - 1);
    reveal(shown[next].seconds);
    await null; // the chart takes a new range at the end of this turn
    memory.setCursor(next);
    cursor = next; // the chart tells moments apart, not samples of one moment
    tip.textContent = lines(shown[cursor]).join("\n");
    say(lines(shown[cursor]).join(", "));
  }

  /** The next sample; without a cursor the first or last one that is looked at. */
  function neighbour(by) {
    const [first, last] = range ?? [0, Infinity];
    if (cursor === null && by > 0) return shown.findIndex((one) => one !== null && one.seconds >= first);
    if (cursor === null) return shown.findLastIndex((one) => one !== null && one.seconds <= last);
    return cursor + by + (shown[cursor + by] === null ? by : 0);
  }

  function reveal(seconds) {
    if (range === null || (seconds >= range[0] && seconds <= range[1])) return;
    lookFrom(seconds - (range[1] - range[0]) / 2);
  }

  function point(index, left, top) {
    const isInside = index !== null && left >= 0 && index < shown.length;
    cursor = isInside ? index + (shown[index] === null ? 1 : 0) : null; // a break lies where the sample behind it does
    tip.hidden = cursor === null;
    if (cursor === null) return;
    const [seconds] = memory.at(left, top);
    const phase = phases.find(({ start, end }) => seconds > start && seconds < end);
    tip.textContent = (phase ? phaseLines(phase) : lines(shown[cursor])).join("\n");
    const x = left + memory.offset() + 14;
    const side = x + tip.offsetWidth > upper.clientWidth ? left + memory.offset() - tip.offsetWidth - 14 : x;
    tip.style.setProperty("transform", `translate(${Math.max(0, side)}px, ${Math.max(0, top - 20)}px)`);
  }

  function lines(sample) {
    const name = data.stage(sample.block, 0, 0).title;
    return [
      `${name}`,
      `step ${number(sample.step)}, epoch ${number(sample.epoch)}, ${clock(sample.seconds)}`,
      `peak ${bytes(sample.peak_bytes)}, resident ${bytes(sample.resident_bytes)}`,
      `loss ${number(sample.loss, 3)}`,
      ...marks.filter((mark) => mark.sample === sample).map((mark) => `left its plan: ${mark.text}`),
    ];
  }

  function phaseLines({ block, phase, start, end, peak, isTimed }) {
    return [
      data.stage(block, 0, 0).title,
      `${phaseName(phase)}, ${isTimed ? `${clock(start)} to ${clock(end)}` : "its moment was not recorded"}`,
      `peak ${bytes(peak)}${peak > budget ? `, ${bytes(peak - budget)} above the budget` : ""}`,
    ];
  }

  /** Draw what the data now says; while something is dragged it would be taken from under the mouse. */
  function update() {
    if (isDragged) return;
    shown = data.shown();
    phases = data.phases();
    marks = data.marks().filter((mark) => mark.seconds !== null);
    const seconds = secondsOf(shown);
    const column = (name) => shown.map((one) => (one === null ? null : one[name]));
    memory.setData([seconds, column("resident_bytes"), column("peak_bytes")]);
    learning.setData(joined(seconds, column("loss"), data.accuracies()));
    upper.setAttribute("aria-label", summary());
  }

  function summary() {
    const peak = bytes(data.peak());
    return `Chart of memory over ${clock(data.end())}: highest peak ${peak}, budget ${bytes(budget)}. ${HELP}`;
  }

  place.addEventListener("mousedown", () => (isDragged = true), { signal });
  addEventListener("mouseup", () => {
    if (!isDragged) return;
    isDragged = false;
    update();
  }, { signal });
  if (range !== null) {
    memory.setRange(range);
    learning.setRange(range);
  }
  return { update };
}

/** Moments of samples; a break lies where the sample behind it does. */
function secondsOf(shown) {
  return shown.map((one, index) => (one ?? shown[index + 1]).seconds);
}

/** Loss and accuracy over one rising list of seconds; uPlot draws through undefined, and not through null. */
function joined(seconds, losses, accuracies) {
  const points = seconds.map((moment, index) => [moment, losses[index], undefined]);
  points.push(...accuracies.map((one) => [one.seconds, undefined, one.accuracy]));
  points.sort((one, other) => one[0] - other[0]);
  return [0, 1, 2].map((column) => points.map((point) => point[column]));
}
