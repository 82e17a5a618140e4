// One plan: the network with its blocks, what a budget buys, other strategies, and how to run it.

import { address, get, send, service } from "../api.js";
import { budgetField } from "../budget_field.js";
import { blockBars } from "../charts/blocks.js";
import { frontierChart } from "../charts/frontier.js";
import { unitRow } from "../charts/units.js";
import { h, say } from "../dom.js";
import { bytes, duration, number, percent, points, pointsNote, short } from "../format.js";
import { copyLine, figures, meter, problemBox, table } from "../parts.js";
import { epochsOf, formOf, normalisationOf, requestOf } from "../plan_request.js";
import { link, moveTo, setQuery } from "../router.js";

export async function show(place, { id, query, signal }) {
  let plan = await get(address("plans", id), signal);
  const title = h("h1", {});
  const sub = h("p", { class: "sub" });
  const shown = h("div", { class: "view" });
  const said = h("div", { "aria-live": "polite" });
  const field = budgetField(plan.budget.bytes, change);
  let parts = new AbortController();
  let asking = new AbortController();
  place.append(
    h("div", {}, title, sub),
    h("section", { class: "card", "aria-label": "Budget" }, field.element, said),
    shown,
  );
  signal.addEventListener("abort", () => {
    parts.abort();
    asking.abort();
  });
  draw();

  /** Ask for the same with another budget, and show that plan in place of this one. */
  async function change(budget) {
    asking.abort();
    asking = new AbortController();
    said.replaceChildren(h("p", { class: "faint" }, "Planning …"));
    const request = { ...requestOf(plan), budget: { ...plan.budget, bytes: budget } };
    try {
      const answer = await send("POST", "/v1/plans", request, asking.signal);
      plan = answer.document;
      moveTo(["plans", plan.id], { data: query.get("data") });
      said.replaceChildren();
      draw();
      say(`Peak ${bytes(plan.predicted.peak_bytes)}, ${duration(plan.predicted.seconds_total)}, ${plan.blocks.length} blocks`);
    } catch (error) {
      if (!asking.signal.aborted) said.replaceChildren(refusal(error, take));
    }
  }

  /** The same as if that budget had been typed. */
  function take(budget) {
    field.set(budget);
    change(budget);
  }

  function draw() {
    parts.abort();
    parts = new AbortController();
    title.textContent = `${plan.model.name} in ${bytes(plan.budget.bytes)}`;
    document.title = `${title.textContent} – neuroflux`;
    sub.replaceChildren(
      `${taskOf(plan.model)}${plan.strategy} for ${plan.device.name} · batch ${number(plan.training.batch)}, ${epochsOf(plan)} epochs of ${number(plan.training.samples)} samples, ${plan.training.optimizer.kind}${plan.training.freeze ? `, the first ${number(plan.training.freeze)} units frozen` : ""}${plan.training.dtype === "float32" ? "" : `, in ${plan.training.dtype}`}${plan.training.augment === "none" ? "" : `, augmented by ${plan.training.augment}`}, allocator ${plan.allocator}, samples go in as ${normalisationOf(plan)} · `,
      h("span", { class: "mono" }, short(plan.id)));
    field.limits(plan.minimum_budget_bytes, plan.device.total_bytes);
    const peak = get(address("plans", plan.id, "peak"), parts.signal).then((found) => found.peak);
    peak.catch(() => {});
    shown.replaceChildren(
      h("section", { class: "card", "aria-label": "In figures" }, h("h2", { class: "unseen" }, "In figures"), factsOf(plan)),
      h("section", { class: "card" }, h("h2", {}, "The network"), later(() => unitsOf(plan, peak, parts.signal), parts.signal)),
      h("section", { class: "card" }, h("h2", {}, "What the peak is made of"), barsOf(plan, peak)),
      h("div", { class: "pair" },
        h("section", { class: "card" }, h("h2", {}, "What a budget buys"), later(() => frontierOf(plan, take, (flat) => field.limits(plan.minimum_budget_bytes, plan.device.total_bytes, flat), parts.signal), parts.signal)),
        h("section", { class: "card" }, h("h2", {}, "Strategies"), later(() => strategiesOf(plan, parts.signal), parts.signal))),
      h("section", { class: "card" }, h("h2", {}, "Run it"), ...howToRun(plan, query)));
  }
}

/** What the network is for, where that is no classification. */
function taskOf(model) {
  const kind = model.task?.kind ?? "classification";
  return kind === "classification" ? "" : `${kind} · `;
}

/** Why there is no such plan. Where a larger budget would do, a button takes it. */
function refusal(error, take) {
  const least = error.document?.minimum_bytes;
  const box = problemBox(error, null);
  if (least && error.field === "$.budget.bytes") {
    box.append(h("button", { type: "button", onclick: () => take(least) }, `Take ${bytes(least)}`));
  }
  return box;
}

/** Something that is asked for and takes its place when it is there. */
function later(ask, signal) {
  const place = h("div", {}, h("p", { class: "faint" }, "Computing …"));
  ask().then(
    (found) => place.replaceChildren(found),
    (error) => {
      if (!signal.aborted) place.replaceChildren(problemBox(error, null));
    },
  );
  return place;
}

async function unitsOf(plan, peak, signal) {
  const { units } = await get(address("plans", plan.id, "units"), signal);
  return unitRow(plan, units, await peak, signal);
}

/** The bars at once, their layers when they are there. Without the profile there are none. */
function barsOf(plan, peak) {
  const place = h("div", {}, blockBars(plan, []));
  peak.then((moments) => place.replaceChildren(blockBars(plan, moments)), () => {});
  return place;
}

async function frontierOf(plan, take, onFlat, signal) {
  const { frontier } = await get(address("plans", plan.id, "frontier"), signal);
  onFlat(frontier.at(-1)?.budget_bytes ?? null);
  return frontierChart(plan, frontier, take, signal);
}

function factsOf(plan) {
  const { peak_bytes: peak, seconds_total: seconds, cache_bytes: cache } = plan.predicted;
  const cuts = plan.blocks.reduce((sum, block) => sum + block.segments.length, 0) - 1;
  const windows = plan.blocks.flatMap((block) => block.segments).filter((segment) => segment.window).length;
  const gap = plan.optimality_gap === 0 ? "proven the fastest" : `at most ${percent(plan.optimality_gap)} above the fastest`;
  return figures([
    ["Predicted peak and budget", meter(peak, plan.budget.bytes), `counted: ${plan.budget.scope === "process" ? "everything resident" : "above the runtime's own"}`],
    ["Predicted time", duration(seconds), plan.prefer === "speed" ? gap : `preferring ${plan.prefer}`],
    ["Blocks", number(plan.blocks.length), "one in memory at a time"],
    ["Cuts", number(cuts), windows ? `where gradient stops; at ${number(windows)} of them one unit later` : "where gradient stops"],
    ...(plan.polish ? [polishFact(plan.polish)] : []),
    ["Accuracy lost to backpropagation", points(plan.predicted.accuracy_loss_points), pointsNote(plan.predicted.accuracy_loss_points)],
    ["Smallest budget", bytes(plan.minimum_budget_bytes), "that this strategy fits"],
    ["Cache on storage", bytes(cache), plan.storage_bytes === null ? "not limited" : `of ${bytes(plan.storage_bytes)}`],
  ]);
}

/** The end-to-end training behind the blocks. */
function polishFact({ epochs, lr, block }) {
  const { peak_bytes: peak, seconds_per_epoch: seconds } = block.predicted;
  const recomputed = block.segments[0].recompute.reduce((sum, [first, last]) => sum + last - first, 0);
  const again = recomputed ? `, ${number(recomputed)} units recomputed` : "";
  return ["Polish", duration(epochs * seconds), `${number(epochs)} epochs end to end at learning rate ${lr}, peak ${bytes(peak)}${again}`];
}

/** This plan, its alternatives, and what the strategies need that do not fit. */
async function strategiesOf(plan, signal) {
  const cuts = plan.blocks.reduce((sum, block) => sum + block.segments.length, 0) - 1;
  const own = { ...plan.predicted, strategy: `${plan.strategy} (this plan)`, blocks: plan.blocks.length, cuts, isCurrent: true };
  const isOwn = (row) => row.strategy === plan.strategy && row.cuts === cuts && row.seconds_total === own.seconds_total;
  const fitting = plan.alternatives.filter((row) => !isOwn(row));
  const known = new Set([plan.strategy, ...fitting.map((row) => row.strategy)]);
  const { strategies } = await get("/v1/plans/choices", signal);
  const missing = strategies.map(({ name }) => name).filter((name) => !known.has(name));
  const question = { ...requestOf(plan), max_cuts: null, max_accuracy_loss: null, strategies: missing };
  const others = missing.length ? (await send("POST", "/v1/plans/compare", question, signal)).document.rows : [];
  const time = (row) => (row.seconds_total ? duration(row.seconds_total) : "–");
  return table("Strategies compared", [
    { name: "Strategy", of: (row) => row.strategy },
    { name: "Peak", number: true, of: (row) => (row.peak_bytes ? bytes(row.peak_bytes) : `needs ${bytes(row.minimum_bytes)}`) },
    { name: "Time", number: true, of: time },
    { name: "Speed", number: true, of: (row) => (row.seconds_total ? `× ${number(own.seconds_total / row.seconds_total, 2)}` : "–") },
    { name: "Blocks", number: true, of: (row) => (row.blocks ? number(row.blocks) : "–") },
    { name: "Cuts", number: true, of: (row) => (row.cuts === null ? "–" : number(row.cuts)) },
    { name: "Points lost", number: true, of: (row) => points(row.accuracy_loss_points) },
    { name: "Cache", number: true, of: (row) => (row.cache_bytes === undefined ? "–" : bytes(row.cache_bytes)) },
  ], [own, ...fitting, ...others]);
}

/** The line for the device, and the document. */
function howToRun(plan, query) {
  const place = h("div", {});
  const input = h("input", { id: "data", name: "data", value: query.get("data") ?? dataFor(plan), oninput: type });
  function line() {
    const data = quoted(input.value.trim() || "DATA");
    return `neuroflux run ${service}/v1/plans/${plan.id} --data ${data} --report-to ${service}`;
  }
  function type() {
    setQuery({ data: input.value.trim() });
    place.replaceChildren(copyLine(line(), "The command that runs this plan"));
  }
  place.append(copyLine(line(), "The command that runs this plan"));
  return [
    h("div", { class: "form" }, h("div", { class: "field" }, h("label", { for: "data" }, "Data"), input,
      h("p", { class: "hint" }, "sample, fashion-mnist, or a path on the device"))),
    h("p", {}, "On the device, in a terminal; the run then appears under Runs:"),
    place,
    h("p", { class: "buttons" },
      h("a", { class: "button", href: address("plans", plan.id), download: `plan-${short(plan.id)}.json` }, "Download as JSON"),
      h("a", { class: "button", href: link(["new"], formOf(plan)) }, "Plan something else")),
  ];
}

/** The bundled images fit one size of input. */
function dataFor(plan) {
  return plan.model.input.join("x") === "1x28x28" ? "sample" : "DATA";
}

/** A word of a shell's line. */
function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
