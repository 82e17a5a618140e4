// All plans, newest first.

import { get } from "../api.js";
import { h } from "../dom.js";
import { ago, duration, moment } from "../format.js";
import { counted, emptyState, meter, older } from "../parts.js";
import { link } from "../router.js";

export async function show(place, { query, signal }) {
  const cursor = query.get("cursor") ? `&cursor=${encodeURIComponent(query.get("cursor"))}` : "";
  const page = await get(`/v1/plans?limit=48${cursor}`, signal);
  const make = h("a", { class: "button main", href: link(["new"]) }, "New plan");
  place.append(h("div", { class: "heading" }, h("h1", {}, "Plans"), make));
  if (page.items.length === 0) {
    place.append(emptyState("No plan yet", h("p", {}, "A plan says how a network trains within a budget of bytes. Choose a network, a device and a budget."),
      h("p", {}, h("a", { href: link(["new"]) }, "Make the first plan"))));
    return;
  }
  const next = page.next_cursor && link(["plans"], { cursor: page.next_cursor });
  place.append(h("ul", { class: "list" }, page.items.map(item)), older(next, "Older plans") ?? "");
}

function item(plan) {
  return h("li", {},
    h("div", { class: "heading" }, h("a", { href: link(["plans", plan.id]) }, plan.model), h("span", { class: "badge" }, plan.strategy)),
    h("p", { class: "faint" }, `${plan.device} · `, h("span", { title: moment(plan.created_at) }, ago(plan.created_at)),
      ` · ${counted(plan.blocks, "block")}, ${counted(plan.cuts, "cut")} · ${duration(plan.seconds_total)}`),
    meter(plan.peak_bytes, plan.budget.bytes));
}
