// All runs, newest first.

import { get, service } from "../api.js";
import { h } from "../dom.js";
import { ago, moment } from "../format.js";
import { copyLine, counted, emptyState, meter, older, runState } from "../parts.js";
import { link } from "../router.js";
import { pause } from "../stream.js";

const LOOK_SECONDS = 5;

export async function show(place, { query, signal }) {
  const list = h("div", { class: "view" });
  place.append(h("div", { class: "heading" }, h("h1", {}, "Runs")), list);
  const path = `/v1/runs?limit=48${query.get("cursor") ? `&cursor=${encodeURIComponent(query.get("cursor"))}` : ""}`;
  draw(list, await get(path, signal));
  keepFresh(list, path, signal);
}

/** Look again while the page is open: devices begin runs, and running ones go on. */
async function keepFresh(list, path, signal) {
  while (!signal.aborted) {
    await pause(LOOK_SECONDS, signal);
    if (signal.aborted || document.hidden || list.contains(document.activeElement)) continue;
    const page = await get(path, signal).catch(() => null);
    if (page !== null && !signal.aborted) draw(list, page);
  }
}

function draw(list, page) {
  if (page.items.length === 0) {
    list.replaceChildren(none());
    return;
  }
  const next = page.next_cursor && link(["runs"], { cursor: page.next_cursor });
  list.replaceChildren(h("ul", { class: "list" }, page.items.map(item)), older(next, "Older runs") ?? "");
}

function item(run) {
  const last = run.last_sample;
  const peak = run.peak_bytes ?? last?.peak_bytes ?? 0;
  const where = last ? `${last.block < run.blocks ? `block ${last.block + 1} of ${run.blocks}` : "polish"}, step ${last.step}` : counted(run.blocks, "block");
  return h("li", {},
    h("div", { class: "heading" }, h("a", { href: link(["runs", run.id]) }, run.name), runState(run)),
    h("p", { class: "faint" }, `${run.model} · `, h("span", { title: moment(run.created_at) }, ago(run.created_at)), ` · ${where}`),
    run.reason ? h("p", {}, run.reason) : null,
    meter(peak, run.budget.bytes));
}

function none() {
  return emptyState("No run yet",
    h("p", {}, "Make a plan, then run it where it was made for; it appears here while it trains:"),
    copyLine(`neuroflux run ${service}/v1/plans/PLAN --data DATA --report-to ${service}`, "The command that runs a plan"),
    h("p", {}, h("a", { class: "button main", href: link(["new"]) }, "Make a plan")));
}
