// A list as a table: searched, filtered and sorted by the service, page by page. What is shown stands in the address.

import { get } from "./api.js";
import { exportButtons } from "./export.js";
import { freshId, h, say } from "./dom.js";
import { number } from "./format.js";
import { problemBox } from "./parts.js";
import { setQuery } from "./router.js";
import { pause } from "./stream.js";

const PAGE = 50;
const LOOK_SECONDS = 5;

/**
 * The table in `place` until the signal. `options`:
 *   path         of the list
 *   columns      { name, of(row), number?, sort?: the service's name }
 *   filters      { name, label, options: [[value, text], …], none? } for a choice, { name, label, scale } for numbers
 *                from … to, { name, label } for a word
 *   exported     { name, of(row) }: columns of a file
 *   file         its name
 *   actions      elements beside the buttons that export
 *   onRows(rows) told what is shown
 *   none         shown where there is nothing at all
 */
export async function dataTable(place, options, query, signal) {
  const state = Object.fromEntries(["search", "sort", "cursor", "from", ...options.filters.map(({ name }) => name)].map((name) => [name, query.get(name) ?? ""]));
  const visited = []; // where the pages before this one begin
  let asking = new AbortController();
  let next = null;
  const body = h("tbody", {});
  const heads = options.columns.map((column) => headOf(column));
  const counted = h("p", { class: "faint", role: "status" });
  const first = h("button", { type: "button", onclick: () => turnTo("", 0, []) }, "First");
  const before = h("button", { type: "button", onclick: back }, "Previous");
  const behind = h("button", { type: "button", onclick: forward }, "Next");
  const said = h("div", {});
  const table = h("div", { class: "scroll card table", role: "region", tabindex: "0", "aria-label": options.caption },
    h("table", {}, h("caption", { class: "unseen" }, options.caption), h("thead", {}, h("tr", {}, heads.map(({ element }) => element))), body));
  const view = h("div", { class: "view" }, tools(), said, table,
    h("div", { class: "pager" }, counted, h("div", { class: "buttons" }, first, before, behind)));
  signal.addEventListener("abort", () => asking.abort());
  const page = await read(new AbortController().signal);
  if (page.total === 0 && !isNarrowed()) {
    place.append(options.none);
    const empty = options.none;
    keepFresh(async () => {
      const found = await get(`${options.path}?limit=1`, signal).catch(() => null);
      if (found?.items.length && empty.isConnected) {
        empty.replaceWith(view);
        await look();
      }
    });
    return;
  }
  place.append(view);
  draw(page);
  keepFresh(async () => {
    if (view.isConnected && !body.contains(document.activeElement)) await look();
  });

  function tools() {
    const search = h("input", { id: freshId("search"), type: "search", value: state.search, autocomplete: "off", oninput: (event) => change({ search: event.target.value.trim() }) });
    const choices = options.filters.filter((filter) => !filter.scale).map((filter) => (filter.options ? choice(filter) : word(filter)));
    const ranges = options.filters.filter((filter) => filter.scale).map(range);
    const isOpen = options.filters.some((filter) => filter.scale && state[filter.name]);
    return h("form", { class: "card tools", role: "search", onsubmit: (event) => event.preventDefault() },
      h("div", { class: "filters" },
        h("div", { class: "field" }, h("label", { for: search.id }, "Search"), search),
        choices),
      ranges.length ? h("details", { open: isOpen }, h("summary", {}, "From … to"), h("div", { class: "filters" }, ranges)) : null,
      h("div", { class: "buttons" }, options.actions ?? null, exportButtons(options.file, options.exported, () => everything())));
  }

  function word({ name, label }) {
    const input = h("input", { id: freshId(name), value: state[name], autocomplete: "off", oninput: (event) => change({ [name]: event.target.value.trim() }) });
    return h("div", { class: "field" }, h("label", { for: input.id }, label), input);
  }

  function choice({ name, label, options: offered, none = "all" }) {
    const input = h("select", { id: freshId(name), onchange: (event) => change({ [name]: event.target.value }) },
      h("option", { value: "" }, none), offered.map(([value, text]) => h("option", { value, selected: value === state[name] }, text)));
    return h("div", { class: "field" }, h("label", { for: input.id }, label), input);
  }

  /** Two numbers in units that people think in; the service counts bytes, seconds and shares. */
  function range({ name, label, scale }) {
    const given = state[name].split("..").map((one) => (one === undefined || one === "" ? "" : String(Number((Number(one) / scale).toFixed(3)))));
    const inputs = ["from", "to"].map((word, index) => h("input", { type: "number", step: "any", min: "0", value: given[index] ?? "", "aria-label": `${label}, ${word}`, placeholder: word, oninput: take }));
    function take() {
      const bounds = inputs.map(({ value }) => (value === "" || !Number.isFinite(Number(value)) ? "" : plain(Number(value) * scale)));
      change({ [name]: bounds.some(Boolean) ? bounds.join("..") : "" });
    }
    return h("fieldset", { class: "field range" }, h("legend", {}, label), inputs);
  }

  function headOf(column) {
    const element = h("th", { scope: "col", class: column.number ? "number" : null });
    if (!column.sort) {
      element.append(column.name);
      return { element, show() {} };
    }
    const sign = h("span", { "aria-hidden": "true", class: "sign" });
    const button = h("button", { type: "button", class: "sort", onclick: () => change({ sort: followed(column) }) }, column.name, sign);
    element.append(button);
    return {
      element,
      show() {
        const way = state.sort === column.sort ? "ascending" : state.sort === `-${column.sort}` ? "descending" : null;
        if (way === null) element.removeAttribute("aria-sort");
        else element.setAttribute("aria-sort", way);
        sign.textContent = way === null ? "" : way === "ascending" ? " ▲" : " ▼";
      },
    };
  }

  /** Numbers begin with the highest, names with the first of the alphabet. */
  function followed({ sort, number: isNumber }) {
    const [one, other] = isNumber ? [`-${sort}`, sort] : [sort, `-${sort}`];
    return state.sort === one ? other : one;
  }

  function isNarrowed() {
    return Boolean(state.search || state.cursor || options.filters.some(({ name }) => state[name]));
  }

  /** Another question begins with its first page. */
  function change(found) {
    visited.length = 0;
    Object.assign(state, { cursor: "", from: "" }, found);
    look();
  }

  function turnTo(cursor, from, kept) {
    visited.splice(0, visited.length, ...kept);
    Object.assign(state, { cursor, from: from ? String(from) : "" });
    look();
  }

  function forward() {
    if (next === null) return;
    const kept = [...visited, [state.cursor, Number(state.from)]];
    turnTo(next, Number(state.from) + PAGE, kept);
  }

  function back() {
    const [cursor, from] = visited.at(-1) ?? ["", 0];
    turnTo(cursor, from, visited.slice(0, -1));
  }

  function read(wanted, limit = PAGE, cursor = state.cursor) {
    const asked = { ...state, cursor, limit, count: true, from: "" };
    const text = new URLSearchParams(Object.entries(asked).filter(([, value]) => value !== "" && value !== null).map(([name, value]) => [name, String(value)]));
    return get(`${options.path}?${text}`, wanted);
  }

  /** Ask, and show what comes unless something else was asked meanwhile. */
  async function look() {
    asking.abort();
    asking = new AbortController();
    const { signal: current } = asking;
    setQuery(state);
    for (const head of heads) head.show();
    try {
      const found = await read(current);
      if (!current.aborted && !signal.aborted) draw(found);
    } catch (error) {
      if (!current.aborted && !signal.aborted) said.replaceChildren(problemBox(error, look));
    }
  }

  function draw(found) {
    next = found.next_cursor;
    said.replaceChildren();
    const rows = found.items.map((row) => h("tr", {}, options.columns.map((column) => h("td", { class: column.number ? "number" : null }, column.of(row)))));
    const nothing = h("tr", {}, h("td", { colspan: options.columns.length }, "Nothing fits what is asked for."));
    body.replaceChildren(...(rows.length ? rows : [nothing]));
    for (const head of heads) head.show();
    const from = Number(state.from);
    const text = found.items.length ? `${number(from + 1)} to ${number(from + found.items.length)} of ${number(found.total)}` : "none";
    if (counted.textContent !== text) counted.textContent = text;
    first.disabled = before.disabled = !state.cursor;
    behind.disabled = next === null;
    options.onRows?.(found.items);
  }

  /** All rows that fit, for a file. */
  async function everything() {
    const found = [];
    let cursor = "";
    do {
      const part = await read(signal, 200, cursor);
      found.push(...part.items);
      cursor = part.next_cursor;
      say(`${number(found.length)} of ${number(part.total)}`);
    } while (cursor !== null);
    return found;
  }

  /** Look again while the page is open: devices begin runs, and running ones go on. */
  async function keepFresh(again) {
    while (!signal.aborted) {
      await pause(LOOK_SECONDS, signal);
      if (!signal.aborted && !document.hidden) await again();
    }
  }
}

/** A number without an exponent, which the service does not read. */
function plain(value) {
  return value.toFixed(6).replace(/\.?0+$/, "");
}
