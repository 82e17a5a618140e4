// All runs as a table.

import { get, service } from "../api.js";
import { dataTable } from "../data_table.js";
import { h, say } from "../dom.js";
import { MIB, ago, bytes, duration, moment, percent } from "../format.js";
import { metricOf } from "../metrics.js";
import { copyLine, emptyState, labelsOf, runState } from "../parts.js";
import { link } from "../router.js";
import { MOST_COMPARED } from "./compare.js";

const STATES = ["queued", "running", "finished", "over-budget", "failed", "interrupted", "lost"];

export async function show(place, { query, signal }) {
  const { models, devices } = await get("/v1/runs/choices", signal);
  const chosen = new Map();
  const compare = h("a", { class: "button", role: "link" }, "Compare");
  place.append(h("div", { class: "heading" }, h("h1", {}, "Runs")));
  choose();
  await dataTable(place, {
    path: "/v1/runs",
    caption: "Runs",
    columns: [{ name: h("span", { class: "unseen" }, "Compare"), of: box }, ...COLUMNS],
    filters: [
      { name: "state", label: "State", options: STATES.map((state) => [state, state.replace("-", " ")]) },
      { name: "model", label: "Network", options: models.map((model) => [model, model]) },
      { name: "device", label: "Device", options: devices.map(({ id, name }) => [id, name]) },
      { name: "label", label: "Label" },
      { name: "archived", label: "Archive", none: "left out", options: [["true", "archived ones alone"]] },
      { name: "budget", label: "Budget in MiB", scale: MIB },
      { name: "peak_bytes", label: "Peak in MiB", scale: MIB },
      { name: "accuracy", label: "Accuracy in %", scale: 0.01 },
      { name: "seconds", label: "Time in minutes", scale: 60 },
    ],
    file: "runs",
    exported: EXPORTED,
    actions: compare,
    none: none(),
  }, query, signal);

  function box(run) {
    return h("input", { type: "checkbox", checked: chosen.has(run.id), "aria-label": `Compare ${run.name}`, onchange: (event) => {
      if (event.target.checked && chosen.size >= MOST_COMPARED) {
        event.target.checked = false;
        say(`At most ${MOST_COMPARED} runs are compared.`);
        return;
      }
      if (event.target.checked) chosen.set(run.id, run.name);
      else chosen.delete(run.id);
      choose();
    } });
  }

  /** Two runs or more are compared. */
  function choose() {
    const isEnough = chosen.size > 1;
    compare.textContent = chosen.size ? `Compare ${chosen.size} of at most ${MOST_COMPARED}` : "Compare: choose two runs or more";
    if (isEnough) {
      compare.href = link(["compare"], { runs: [...chosen.keys()].join(",") });
      compare.removeAttribute("aria-disabled");
    } else {
      compare.removeAttribute("href");
      compare.setAttribute("aria-disabled", "true");
    }
  }
}

const peakOf = (run) => run.peak_bytes ?? run.last_sample?.peak_bytes ?? null;

const COLUMNS = [
  { name: "Name", sort: "name", of: (run) => [h("a", { href: link(["runs", run.id]) }, run.name), labelsOf(run)] },
  { name: "State", sort: "state", of: stateCell },
  { name: "Network", sort: "model", of: (run) => run.model },
  { name: "Device", sort: "device", of: (run) => (run.device_id ? h("a", { href: link(["fleet"], { device: run.device_id }) }, run.device) : run.device) },
  { name: "Budget", sort: "budget", number: true, of: (run) => bytes(run.budget.bytes) },
  { name: "Peak", sort: "peak_bytes", number: true, of: peakCell },
  { name: "Accuracy", sort: "accuracy", number: true, of: (run) => (run.accuracy === null ? "–" : metricOf({ kind: run.task }).write(run.accuracy)) },
  { name: "Time", sort: "seconds", number: true, of: (run) => duration(run.seconds) },
  { name: "Began", sort: "created_at", number: true, of: (run) => h("span", { title: moment(run.created_at) }, ago(run.created_at)) },
];

const EXPORTED = [
  ...["id", "name", "state", "reason", "model", "device"].map((name) => ({ name, of: (run) => run[name] })),
  { name: "budget_bytes", of: (run) => run.budget.bytes },
  { name: "budget_scope", of: (run) => run.budget.scope },
  { name: "peak_bytes", of: peakOf },
  ...["accuracy", "seconds", "created_at", "finished_at", "plan_id", "device_id"].map((name) => ({ name, of: (run) => run[name] })),
  { name: "labels", of: (run) => run.labels.join(" ") },
  { name: "notes", of: (run) => run.notes },
];

function stateCell(run) {
  const last = run.last_sample;
  const where = run.state === "running" && last ? ` ${last.block < run.blocks ? `block ${last.block}${run.blocks > 1 ? ` of 0–${run.blocks - 1}` : ""}` : "polish"}` : "";
  return h("span", { title: run.reason ?? null }, runState(run), h("span", { class: "faint" }, where));
}

function peakCell(run) {
  const peak = peakOf(run);
  if (peak === null) return "–";
  const isOver = peak > run.budget.bytes;
  return h("span", { class: isOver ? "over" : null }, `${bytes(peak)} `, h("span", { class: isOver ? null : "faint" }, `(${percent(peak / run.budget.bytes, 0)})`));
}

function none() {
  return emptyState("No run yet",
    h("p", {}, "Make a plan, then run it where it was made for; it appears here while it trains:"),
    copyLine(`neuroflux run ${service}/v1/plans/PLAN --data DATA --report-to ${service}`, "The command that runs a plan"),
    h("p", {}, h("a", { class: "button main", href: link(["new"]) }, "Make a plan")));
}
