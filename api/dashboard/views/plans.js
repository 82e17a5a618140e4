// All plans as a table.

import { get } from "../api.js";
import { dataTable } from "../data_table.js";
import { h } from "../dom.js";
import { MIB, ago, bytes, duration, moment, number, percent } from "../format.js";
import { emptyState, labelsOf } from "../parts.js";
import { link } from "../router.js";

export async function show(place, { query, signal }) {
  const { models, devices, strategies } = await get("/v1/plans/names", signal);
  const make = h("a", { class: "button main", href: link(["new"]) }, "New plan");
  const same = (names) => names.map((name) => [name, name]);
  place.append(h("div", { class: "heading" }, h("h1", {}, "Plans"), make));
  await dataTable(place, {
    path: "/v1/plans",
    caption: "Plans",
    columns: COLUMNS,
    filters: [
      { name: "model", label: "Network", options: same(models) },
      { name: "device", label: "Device", options: same(devices) },
      { name: "strategy", label: "Strategy", options: same(strategies) },
      { name: "label", label: "Label" },
      { name: "archived", label: "Archive", none: "left out", options: [["true", "archived ones alone"]] },
      { name: "budget", label: "Budget in MiB", scale: MIB },
      { name: "peak_bytes", label: "Predicted peak in MiB", scale: MIB },
      { name: "seconds", label: "Predicted time in minutes", scale: 60 },
    ],
    file: "plans",
    exported: EXPORTED,
    none: emptyState("No plan yet", h("p", {}, "A plan says how a network trains within a budget of bytes. Choose a network, a device and a budget."),
      h("p", {}, h("a", { href: link(["new"]) }, "Make the first plan"))),
  }, query, signal);
}

const COLUMNS = [
  { name: "Plan", sort: "budget", of: (plan) => [h("a", { href: link(["plans", plan.id]) }, `${plan.model} in ${bytes(plan.budget.bytes)}`), labelsOf(plan)] },
  { name: "Network", sort: "model", of: (plan) => plan.model },
  { name: "Device", sort: "device", of: (plan) => plan.device },
  { name: "Strategy", sort: "strategy", of: (plan) => plan.strategy },
  { name: "Predicted peak", sort: "peak_bytes", number: true, of: (plan) => [`${bytes(plan.peak_bytes)} `, h("span", { class: "faint" }, `(${percent(plan.peak_bytes / plan.budget.bytes, 0)})`)] },
  { name: "Predicted time", sort: "seconds", number: true, of: (plan) => duration(plan.seconds_total) },
  { name: "Blocks", sort: "blocks", number: true, of: (plan) => number(plan.blocks) },
  { name: "Cuts", sort: "cuts", number: true, of: (plan) => number(plan.cuts) },
  { name: "Made", sort: "created_at", number: true, of: (plan) => h("span", { title: moment(plan.created_at) }, ago(plan.created_at)) },
];

const EXPORTED = [
  ...["id", "model", "device", "strategy"].map((name) => ({ name, of: (plan) => plan[name] })),
  { name: "budget_bytes", of: (plan) => plan.budget.bytes },
  { name: "budget_scope", of: (plan) => plan.budget.scope },
  ...["peak_bytes", "seconds_total", "blocks", "cuts", "created_at", "profile_id"].map((name) => ({ name, of: (plan) => plan[name] })),
];
