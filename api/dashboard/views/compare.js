// Two to four runs over one time axis, and what they differ in.

import { Problem, address, get } from "../api.js";
import { overlay } from "../charts/overlay.js";
import { h } from "../dom.js";
import { bytes, deviation, duration, moment, number, points, short } from "../format.js";
import { exportButtons } from "../export.js";
import { metricOf } from "../metrics.js";
import { emptyState, runState } from "../parts.js";
import { epochsOf } from "../plan_request.js";
import { link, setQuery } from "../router.js";
import { RunData } from "../run_data.js";

export const MOST_COMPARED = 4;

const POINTS = 1500;

export async function show(place, { query, signal }) {
  const ids = [...new Set((query.get("runs") ?? "").split(",").filter(Boolean))];
  if (ids.length < 2) {
    place.append(h("h1", {}, "Compare"), emptyState("Two runs or more are needed",
      h("p", {}, `Choose two to ${MOST_COMPARED} of them in the list.`), h("p", {}, h("a", { href: link(["runs"]) }, "All runs"))));
    return;
  }
  if (ids.length > MOST_COMPARED) throw new Problem({ detail: `At most ${MOST_COMPARED} runs are compared; these are ${ids.length}.` }, 422);
  const runs = await Promise.all(ids.map((id) => readRun(id, signal)));
  const differences = h("section", { class: "card" });
  const onlyOther = h("input", { type: "checkbox", id: "only", checked: query.get("all") === null, onchange: () => {
    setQuery({ all: onlyOther.checked ? null : "1" });
    fill();
  } });
  place.append(h("div", {}, h("h1", {}, "Compare"), h("p", { class: "sub" }, runs.map(({ run }) => run.name).join(" · "))));
  overlay(place, runs, signal);
  place.append(differences);
  const exported = [{ name: "quantity", of: (row) => row.name }, ...runs.map(({ run }, index) => ({ name: run.name, of: (row) => row.texts[index] }))];
  fill();

  function fill() {
    const rows = ROWS.map(([name, of]) => rowOf(name, of, runs));
    const shown = onlyOther.checked ? rows.filter((row) => row.differs) : rows;
    differences.replaceChildren(
      h("div", { class: "heading" }, h("h2", {}, "What they differ in"),
        h("div", { class: "buttons" }, h("label", { for: "only" }, onlyOther, " only differences"), exportButtons("comparison", exported, () => rows))),
      tableOf(runs, shown));
  }
}

async function readRun(id, signal) {
  const run = await get(address("runs", id), signal);
  const [plan, chart] = await Promise.all([
    get(address("plans", run.plan_id), signal),
    get(`${address("runs", id)}/samples?points=${POINTS}`, signal),
  ]);
  const data = new RunData(plan);
  data.add(chart.samples);
  data.report = run.report;
  return { run, plan, data };
}

function rowOf(name, of, runs) {
  const texts = runs.map((one) => of(one) ?? "–");
  return { name, texts, differs: new Set(texts).size > 1 };
}

/** Names and links first, then a line for each quantity. */
function tableOf(runs, rows) {
  const head = h("tr", {}, h("th", { scope: "col" }, "Run"), runs.map(({ run }, index) =>
    h("th", { scope: "col" }, h("span", { class: "key stroke", style: { "--key": `var(--run-${index})` }, "aria-hidden": "true" }), " ", h("a", { href: link(["runs", run.id]) }, run.name))));
  const states = h("tr", {}, h("th", { scope: "row" }, "State"), runs.map(({ run }) => h("td", {}, runState(run))));
  const lines = rows.map((row) => h("tr", { class: row.differs ? "differs" : null }, h("th", { scope: "row" }, row.name), row.texts.map((text) => h("td", {}, text))));
  return h("div", { class: "scroll compared", role: "region", tabindex: "0", "aria-label": "Runs compared" },
    h("table", {}, h("caption", { class: "unseen" }, "Runs compared"), h("thead", {}, head), h("tbody", {}, states, lines)));
}

const peakOf = ({ run, data }) => run.report?.peak_bytes ?? (data.peak() || null);
const segments = (plan) => plan.blocks.flatMap((block) => block.segments);

const ROWS = [
  ["Network", ({ plan }) => plan.model.name],
  ["Device", ({ run, plan }) => run.device || plan.device.name],
  ["Plan", ({ run }) => short(run.plan_id)],
  ["Strategy", ({ plan }) => `${plan.strategy}, preferring ${plan.prefer}`],
  ["Budget", ({ plan }) => bytes(plan.budget.bytes)],
  ["Budget counts", ({ plan }) => (plan.budget.scope === "process" ? "everything resident" : "above the runtime's own")],
  ["Predicted peak", ({ plan }) => bytes(plan.predicted.peak_bytes)],
  ["Measured peak", (one) => bytes(peakOf(one))],
  ["Peak above its prediction by", (one) => (peakOf(one) === null ? null : deviation(peakOf(one), one.plan.predicted.peak_bytes))],
  ["Predicted time", ({ plan }) => duration(plan.predicted.seconds_total)],
  ["Time", ({ data }) => (data.end() ? duration(data.end()) : null)],
  ["Accuracy", ({ run, plan }) => (run.report ? metricOf(plan.model.task).write(run.report.accuracy) : null)],
  ["Points lost, predicted", ({ plan }) => points(plan.predicted.accuracy_loss_points)],
  ["Loss of the last step", ({ data }) => (data.samples.length ? number(data.samples.at(-1).loss, 3) : null)],
  ["Blocks", ({ plan }) => number(plan.blocks.length)],
  ["Cuts", ({ plan }) => number(segments(plan).length - 1)],
  ["Micro-batches × accumulation", ({ plan }) => plan.blocks.map((block) => `${block.micro_batch} × ${block.accumulate}`).join(", ")],
  ["Recomputed units", ({ plan }) => number(segments(plan).flatMap(({ recompute }) => recompute).reduce((sum, [first, last]) => sum + last - first, 0))],
  ["Batch", ({ plan }) => number(plan.training.batch)],
  ["Epochs", ({ plan }) => String(epochsOf(plan))],
  ["Samples", ({ plan }) => number(plan.training.samples)],
  ["Optimizer", ({ plan }) => plan.training.optimizer.kind],
  ["Learning rate", ({ plan }) => String(plan.training.optimizer.lr)],
  ["Schedule", ({ plan }) => plan.training.schedule],
  ["Augmentation", ({ plan }) => plan.training.augment],
  ["Arithmetic", ({ plan }) => plan.training.dtype],
  ["Seed", ({ plan }) => String(plan.training.seed)],
  ["Allocator", ({ plan }) => plan.allocator],
  ["Cache on storage", ({ plan }) => bytes(plan.predicted.cache_bytes)],
  ["Began", ({ run }) => moment(run.created_at)],
  ["Left its plan", ({ run }) => (run.report ? `${run.report.deviations.length || "not"}${run.report.deviations.length ? " times" : ""}` : null)],
];
