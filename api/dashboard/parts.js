// Pieces that several views are made of.

import { Problem } from "./api.js";
import { h, say } from "./dom.js";
import { bytes, number, percent } from "./format.js";

/** What went wrong, and a button to try again. */
export function problemBox(error, again) {
  const known = error instanceof Problem;
  const text = known ? error.message : "An error in this page; the browser's console has the details.";
  const command = known ? error.document.command : null;
  return h(
    "div",
    { class: "note bad", role: "alert" },
    h("p", {}, text),
    command ? copyLine(command, "The command") : null,
    again ? h("button", { type: "button", onclick: again }, "Try again") : null,
  );
}

/** What to do next where there is nothing to show. */
export function emptyState(heading, ...children) {
  return h("div", { class: "note" }, h("h2", {}, heading), ...children);
}

/** A line for a terminal, and a button that copies it. */
export function copyLine(text, label) {
  const pieces = text.split(/(?= --)/).map((piece) => (piece.length > 28 ? piece : h("span", {}, piece)));
  const line = h("code", { tabindex: "0", role: "group", "aria-label": label }, pieces);
  const button = h("button", { type: "button", onclick: copy }, "Copy");
  async function copy() {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      say("Copied");
    } catch {
      getSelection().selectAllChildren(line); // no permission, or no secure connection: Ctrl+C does it
      button.textContent = "Selected";
    }
    setTimeout(() => (button.textContent = "Copy"), 2000);
  }
  return h("div", { class: "copy" }, line, button);
}

/** A table within a box that scrolls by itself. A column: { name, of(row), number?, title? }. */
export function table(caption, columns, rows) {
  const head = columns.map((column) => h("th", { scope: "col", class: column.number ? "number" : null }, column.name));
  const body = rows.map((row) =>
    h("tr", { "aria-current": row.isCurrent ? "true" : null }, columns.map((column) =>
      h("td", { class: column.number ? "number" : null }, column.of(row)),
    )),
  );
  return h(
    "div",
    { class: "scroll", role: "region", tabindex: "0", "aria-label": caption },
    h("table", {}, h("caption", { class: "unseen" }, caption), h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)),
  );
}

/** Names beside values, large; an element as value gets the room of two. An item: [name, value, remark?]. */
export function figures(items) {
  return h("dl", { class: "figures" }, items.filter(Boolean).map(([name, value, remark]) =>
    h("div", { class: value instanceof Element ? "double" : null }, h("dt", {}, name), h("dd", {}, value), remark ? h("dd", { class: "remark" }, remark) : null),
  ));
}

/** A bar that shows bytes against a budget. */
export function meter(peak, budget) {
  const share = Math.max(0, peak / budget);
  const bar = h("div", { class: share > 1 ? "fill over" : "fill", style: { width: percentOf(share) } });
  const text = `${bytes(peak)} of ${bytes(budget)}`;
  return h(
    "div",
    { class: "meter" },
    h("div", { class: "track", "aria-hidden": "true" }, bar),
    h("span", {}, text, h("span", { class: "faint" }, ` (${percent(share, 0)})`)),
  );
}

/** A share for the style sheet, at most the whole. */
export function percentOf(share) {
  return `${Math.min(100, 100 * share).toFixed(2)}%`;
}

/** A word in a coloured box; the word alone says it all. */
export function badge(text, kind = "") {
  return h("span", { class: `badge ${kind}` }, text);
}

/** What people have written on a thing, behind its name. */
export function labelsOf({ labels }) {
  return labels.map((label) => [" ", badge(label)]);
}

/** The state of a run as a badge. */
export function runState(run) {
  const kinds = { running: "live", finished: "good", queued: "" };
  return badge(run.state.replace("-", " "), kinds[run.state] ?? "bad");
}

/** How a run has ended by its report. */
export function stateBy(report) {
  return report.within_budget && report.peak_bytes <= report.budget_bytes ? "finished" : "over-budget";
}

/** A key to colours and signs. An item: { colour: name of the style sheet's variable, text, shape? } or { sign, text }. */
export function legend(items) {
  const key = ({ colour, shape }) => h("span", { class: `key ${shape ?? ""}`, style: { "--key": `var(--${colour})` } });
  const sign = (item) => h("span", { "aria-hidden": "true" }, item.sign);
  return h("ul", { class: "legend" }, items.map((item) => h("li", {}, item.sign ? sign(item) : key(item), item.text)));
}

/** "3 blocks", "1 block". */
export function counted(value, word) {
  return `${number(value)} ${word}${value === 1 ? "" : "s"}`;
}

/** A link to the next page of a list. */
export function older(href, text) {
  return href === null ? null : h("p", {}, h("a", { href }, text));
}
