// One run: memory against time while it goes on and afterwards, predicted against measured.

import { address, get, service } from "../api.js";
import { runCharts } from "../charts/run_charts.js";
import { clock } from "../charts/time_chart.js";
import { h, say } from "../dom.js";
import { bytes, count, deviation, duration, headName, moment, number, percent, phaseName, short, stageCell, stagesOf, unitNames } from "../format.js";
import { keepButton } from "../keep.js";
import { metricOf } from "../metrics.js";
import { exportButtons } from "../export.js";
import { badge, figures, meter, runState, stateBy, table } from "../parts.js";
import { go, link, setQuery } from "../router.js";
import { RunData } from "../run_data.js";
import { follow } from "../stream.js";

const POINTS = 2000;

/** As many points as the service sends at one time, and so few samples that none of them are merged. */
const MOST_POINTS = 5000;
const SAMPLES_AT_ONCE = 2500;

/** So many are listed. */
const MOST_CLASSES = 100;

export async function show(place, { id, query, signal }) {
  const samplesAt = `${address("runs", id)}/samples?points=${POINTS}`;
  const asked = get(samplesAt, signal); // takes longest where samples are many
  asked.catch(() => {});
  const run = await get(address("runs", id), signal);
  const plan = await get(address("plans", run.plan_id), signal);
  const data = new RunData(plan);
  data.report = run.report;

  const state = h("span", {}, runState(run));
  const reason = h("p", { class: "note bad", hidden: !run.reason }, run.reason ?? "");
  const facts = h("section", { class: "card", "aria-label": "In figures" });
  const charts = h("div", { class: "view" }, h("p", { class: "note" }, "Reading samples …"));
  const tables = h("div", { class: "view" });
  const showFacts = () => facts.replaceChildren(h("h2", { class: "unseen" }, "In figures"), factsOf(run, plan, data));
  showFacts();
  place.append(heading(run, plan, state), reason, facts, charts, tables);
  const chart = await asked;
  data.isThinned = chart.count > chart.samples.length;
  data.add(chart.samples);
  charts.replaceChildren();
  const drawing = runCharts(charts, data, run.budget.bytes, { title: `${run.name}, ${plan.model.name} on ${run.device || plan.device.name}`, ...rangeOf(query), onRange: look }, signal);

  let timer = null;
  /** Put the range into the address, and fetch finer samples of it where there are some. */
  async function look(from, to) {
    setQuery({ from: rounded(from), to: rounded(to) });
    clearTimeout(timer);
    if (!data.isThinned) return;
    if (from === null) {
      data.detail = [];
      drawing.update();
    } else {
      timer = setTimeout(() => refine(from, to), 150);
    }
  }

  async function refine(from, to) {
    const [first, last] = data.around(from, to);
    const finer = await get(`${samplesAt}&after=${first}&before=${last}`, signal).catch(() => null);
    if (finer === null || signal.aborted) return;
    data.refine(finer.samples, first, last);
    drawing.update();
  }

  let waiting = false;
  /** Draw at most once a frame, however fast samples come. */
  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      if (signal.aborted) return;
      drawing.update();
      showFacts();
      // The rows alone: the table around them may have been scrolled, or have the focus.
      tables.querySelector("tbody").replaceWith(blockTable(plan, data).querySelector("tbody"));
    });
  }

  function showState(now) {
    Object.assign(run, now);
    state.replaceChildren(runState(run));
    reason.hidden = !run.reason;
    reason.textContent = run.reason ?? "";
  }

  function finish(report) {
    data.report = report;
    showState({ state: stateBy(report), reason: null });
    tables.replaceChildren(...tablesOf(run, plan, data));
    draw();
  }

  tables.replaceChildren(...tablesOf(run, plan, data));
  draw();
  const { from, to } = rangeOf(query);
  if (from !== null && to !== null && data.isThinned) refine(from, to);
  if (run.report !== null) return;
  followRun(id, data, signal, {
    onSamples: draw,
    onProgress: showState,
    onReport: (report) => {
      finish(report);
      say("The run is finished.");
    },
    onState: (now) => {
      if (now === "live") state.replaceChildren(runState(run));
      if (now === "cut") state.replaceChildren(badge("connection lost, trying again", "bad"));
    },
  });
}

/** Take what the run's stream brings. An error in this page is no reason to be silent about it. */
function followRun(id, data, signal, { onSamples, onProgress, onReport, onState }) {
  const took = (kind, found) => {
    if (kind === "samples") {
      data.add(found.samples);
      onSamples();
    } else if (kind === "state") {
      onProgress(found);
    } else if (kind === "report") {
      onReport(found);
    }
  };
  follow(`${address("runs", id)}/events`, data.last < 0 ? null : data.last, signal, took, onState).catch((error) => {
    console.error(error);
    onState("cut");
  });
}

function rangeOf(query) {
  const number = (name) => (query.get(name) !== null && Number.isFinite(Number(query.get(name))) ? Number(query.get(name)) : null);
  return { from: number("from"), to: number("to") };
}

function rounded(seconds) {
  return seconds === null ? null : Number(seconds.toFixed(3));
}

function heading(run, plan, state) {
  const name = h("h1", {}, run.name);
  const saved = (found) => {
    Object.assign(run, { name: found.name, labels: found.labels, notes: found.notes, archived_at: found.archived_at });
    name.textContent = run.name;
  };
  const edit = keepButton("runs", run, { saved, gone: () => go(["runs"]) });
  return h("div", {},
    h("div", { class: "heading" }, name, state, edit),
    h("p", { class: "sub" }, `${plan.model.name} on `, run.device_id ? h("a", { href: link(["fleet"], { device: run.device_id }) }, run.device) : run.device || plan.device.name, " · ",
      h("a", { href: link(["plans", run.plan_id]) }, `plan ${short(run.plan_id)}`),
      ` · began ${moment(run.created_at)}`));
}

function factsOf(run, plan, data) {
  const { report } = data;
  const last = data.samples.at(-1);
  const progress = data.progress();
  const peak = data.peak() || run.peak_bytes || 0;
  const metric = metricOf(plan.model.task);
  const verdict = peak <= run.budget.bytes ? badge("within budget", "good") : badge(`over budget by ${bytes(peak - run.budget.bytes)}`, "bad");
  return figures([
    ["Peak and budget", meter(peak, run.budget.bytes), last || report ? h("span", {}, verdict, report?.peak ? ` ${peakMoment(report.peak)}` : null) : null],
    ["Predicted peak", bytes(plan.predicted.peak_bytes), report ? `measured ${deviation(peak, plan.predicted.peak_bytes)}` : null],
    ...(isOpen(run) && progress ? [["Progress", progressBar(progress), progress.seconds === null ? null : `about ${duration(progress.seconds)} left`]] : []),
    ["Block", last ? stageCell(plan, last.block) : "–", last ? `${blockRange(plan)}${unitNames(plan.model, stagesOf(plan)[last.block].units)}` : "no step yet"],
    ["Step", last ? number(last.step) : "–", last ? `of its block, epoch ${number(last.epoch)}; all are counted from 0` : null],
    ["Loss", last ? number(last.loss, 3) : "–"],
    [metric.name, report ? metric.write(report.accuracy) : "–", report ? h("span", {}, h("span", {}, bestExit(report) === report.exits.at(-1)?.unit ? "of the full model" : `of the best exit, behind ${plan.model.units[bestExit(report) - 1].name}`), accuracyBasis(report)) : "measured at the end"],
    ...(report?.comparison ? [comparisonFact(metric, report.comparison)] : []),
    ["Time", duration(data.end()), `predicted ${duration(plan.predicted.seconds_total)}`],
  ]);
}

/** Which blocks there are. */
function blockRange(plan) {
  return plan.blocks.length > 1 ? `of 0 to ${number(plan.blocks.length - 1)}: ` : "";
}

/** Whether a run is expected to go on. */
function isOpen(run) {
  return run.state === "running" || run.state === "queued";
}

function progressBar({ share }) {
  return h("div", { class: "meter" }, h("progress", { max: 1, value: share, "aria-label": "Progress" }), h("span", {}, percent(share, 0)));
}

/** The same network by backpropagation, outside the budget. */
function comparisonFact(metric, { accuracy, points_behind: points, peak_bytes: peak, problem }) {
  if (accuracy === null) return ["Backpropagation", "–", `not compared: ${problem}`];
  const gap = Math.abs(points) < 0.005 ? "as good" : `${number(Math.abs(points), 2)} points ${points > 0 ? "behind" : "ahead"}`;
  return ["Backpropagation", metric.write(accuracy), `in ample memory, peak ${bytes(peak)}; this run is ${gap}`];
}

/** Over how many samples the accuracy was taken, and between which bounds the true one lies. */
function accuracyBasis({ samples, accuracy_interval: interval }) {
  return samples ? `, ${number(samples)} test ${samples === 1 ? "sample" : "samples"}${interval ? ` (95 %: ${interval.map((bound) => percent(bound)).join(" to ")})` : ""}` : null;
}

/** When a finished run was at its peak. */
function peakMoment({ phase, block, steps, is_polish: isPolish }) {
  return `at ${phase}${block === null ? "" : isPolish ? " of the polish" : ` of block ${number(block)}`}, behind ${number(steps)} steps`;
}

function tablesOf(run, plan, data) {
  const { report } = data;
  const phases = reported(report).flatMap(({ phases }, index) => (phases ?? []).map((phase) => ({ ...phase, index })));
  return [
    h("section", { class: "card" }, h("h2", {}, "Blocks"), blockTable(plan, data)),
    phases.length ? h("section", { class: "card" }, h("h2", {}, "Phases"), table("Phases, predicted and measured", phaseColumns(plan), phases)) : null,
    report?.polish ? h("section", { class: "card" }, h("h2", {}, "Polish"), polishOf(plan, report)) : null,
    report ? h("section", { class: "card" }, h("h2", {}, "Exits"), table("Exits", exitColumns(plan, report), report.exits.map((exit) => ({ ...exit, isCurrent: exit.unit === bestExit(report) })))) : null,
    report?.data ? h("section", { class: "card" }, h("h2", {}, "Data"), ...dataOf(report.data.description)) : null,
    h("section", { class: "card" }, h("h2", {}, "Files"), filesOf(run, report, data)),
    report?.deviations.length ? h("section", { class: "card" }, h("h2", {}, "Where it left its plan"), h("ul", {}, data.marks().map(markItem))) : null,
  ].filter(Boolean);
}

/** What there is to take along, by link where the service has it. */
function filesOf(run, report, data) {
  const name = `run-${short(run.id)}`;
  const one = (text, href, file) => h("a", { class: "button", href: service + href, download: file ?? null, target: file ? null : "_blank", rel: "noopener" }, text);
  return h("div", { class: "buttons" },
    report ? one("Report page", `${address("runs", run.id)}/page`) : null,
    report ? one("report.json", `${address("runs", run.id)}/report`, `${name}-report.json`) : null,
    one("plan.json", address("plans", run.plan_id), `plan-${short(run.plan_id)}.json`),
    h("span", {}, "Samples:"), exportButtons(`${name}-samples`, SAMPLES, () => everySample(run)));
}

const SAMPLES = ["sequence", "seconds", "block", "epoch", "step", "resident_bytes", "peak_bytes", "loss"].map((name) => ({ name, of: (sample) => sample[name] }));

/** All samples as they came, not those of the chart. */
async function everySample(run) {
  const found = [];
  for (let after = -1; ;) {
    const before = after + 1 + SAMPLES_AT_ONCE;
    const part = await get(`${address("runs", run.id)}/samples?points=${MOST_POINTS}&after=${after}&before=${before}`);
    found.push(...part.samples);
    if (part.last_sequence === null) {
      const later = await get(`${address("runs", run.id)}/samples?points=1&after=${before - 1}`);
      if (later.count === 0) return found;
    }
    after = before - 1;
  }
}

/** What a report says of blocks and polish, in order. */
function reported(report) {
  if (!report) return [];
  return report.polish ? [...report.blocks, report.polish.block] : report.blocks;
}

/** What training end to end has made of what the blocks had trained. */
function polishOf(plan, { polish, exits }) {
  const metric = metricOf(plan.model.task);
  return figures([
    ["Epochs", number(polish.block.epochs), "end to end, behind the blocks"],
    [`${metric.name} before`, metric.write(polish.before.accuracy), "of the full model"],
    [`${metric.name} behind it`, metric.write(exits.at(-1).accuracy), "of the full model; exits were fitted and measured anew"],
  ]);
}

/** The classes by name, how many samples each part has of them, and what is to be known of how they were read. */
function dataOf({ classes, class_names: names, parts, notes }) {
  const rows = Array.from({ length: Math.min(classes, MOST_CLASSES) }, (_, label) => ({ label, name: names[label] ?? "–" }));
  const columns = parts.map(({ name, class_samples: samples }) => (
    { name: name === "train" ? "To train on" : name === "validation" ? "To choose an exit" : "To test on", number: true, of: ({ label }) => (samples.length ? number(samples[label]) : "–") }));
  return [
    table("Classes of the data", [{ name: "Label", number: true, of: ({ label }) => number(label) }, { name: "Class", of: ({ name }) => name }, ...columns], rows),
    classes > MOST_CLASSES ? h("p", { class: "faint" }, `and ${number(classes - MOST_CLASSES)} classes more`) : null,
    notes.length ? h("ul", {}, notes.map((text) => h("li", {}, text))) : null,
  ].filter(Boolean);
}

function markItem({ text, seconds }) {
  return h("li", {}, seconds === null ? null : h("strong", {}, `${clock(seconds)}: `), text);
}

function blockTable(plan, data) {
  const done = reported(data.report);
  const blocks = stagesOf(plan).map((block, index) => ({ block, index, report: done[index] ?? null }));
  return table("Blocks, predicted and measured", blockColumns(plan, data), blocks);
}

function blockColumns(plan, data) {
  const measured = (row) => row.report?.measured_peak_bytes ?? data.peaks[row.index] ?? null;
  return [
    { name: "Block", of: (row) => stageCell(plan, row.index) },
    { name: "Units", of: (row) => unitNames(plan.model, row.block.units) },
    { name: "Micro-batch", number: true, of: (row) => `${number((row.report ?? row.block).micro_batch)} × ${number((row.report ?? row.block).accumulate)}` },
    { name: "Heads", of: (row) => row.block.segments.map((segment) => headName(segment.head)).join(", ") },
    { name: "Predicted peak", number: true, of: (row) => bytes(row.block.predicted.peak_bytes) },
    { name: "Measured peak", number: true, of: (row) => (measured(row) ? bytes(measured(row)) : "–") },
    { name: "Differs by", number: true, of: (row) => (measured(row) ? deviation(measured(row), row.block.predicted.peak_bytes) : "–") },
    { name: "Predicted epoch", number: true, of: (row) => duration(row.block.predicted.seconds_per_epoch) },
    { name: "Measured epoch", number: true, of: (row) => (row.report?.measured_seconds_per_epoch ? duration(row.report.measured_seconds_per_epoch) : "–") },
    { name: "Steps", number: true, of: (row) => (row.report ? number(row.report.steps) : "–") },
    { name: "Loss", number: true, of: (row) => (row.report ? number(row.report.loss, 3) : "–") },
  ];
}

function phaseColumns(plan) {
  return [
    { name: "Block", of: (row) => stageCell(plan, row.index) },
    { name: "Phase", of: (row) => phaseName(row.phase) },
    { name: "Time", number: true, of: (row) => duration(row.seconds ?? null) },
    { name: "Predicted peak", number: true, of: (row) => (row.predicted_peak_bytes ? bytes(row.predicted_peak_bytes) : "–") },
    { name: "Measured peak", number: true, of: (row) => bytes(row.measured_peak_bytes) },
    { name: "Differs by", number: true, of: (row) => (row.predicted_peak_bytes ? deviation(row.measured_peak_bytes, row.predicted_peak_bytes) : "–") },
  ];
}

/** Where the network that comes out ends; the full model in a report that does not say. */
function bestExit(report) {
  return report.best_exit ?? report.exits.at(-1)?.unit;
}

function exitMarks(report, exit) {
  const marks = [];
  if (report.exit_tolerance != null && exit.unit === bestExit(report)) marks.push("best");
  if (exit.unit === report.chosen_exit) marks.push("good enough");
  return marks.length ? ` (${marks.join(", ")})` : "";
}

function exitColumns(plan, report) {
  const metric = metricOf(plan.model.task);
  return [
    { name: "Behind unit", of: (exit) => plan.model.units[exit.unit - 1].name + exitMarks(report, exit) },
    { name: "Head", of: (exit) => headName(plan.exits.find((place) => place.unit === exit.unit)?.head) },
    { name: "Parameters", number: true, of: (exit) => count(exit.parameters) },
    { name: metric.name, number: true, of: (exit) => metric.write(exit.accuracy) },
    { name: "Throughput", number: true, of: (exit) => `${number(exit.samples_per_second)} samples/s` },
  ];
}
