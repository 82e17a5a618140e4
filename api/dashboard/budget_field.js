// A budget: a slider between the smallest that fits and the device's memory, beside the number in MiB.

import { freshId, h } from "./dom.js";
import { MIB, bytes } from "./format.js";

const STEPS = 1000;

/** Until it is known where more buys nothing, the slider ends at this multiple of the smallest budget. */
const REACH = 4;

/**
 * The field. `onChange(bytes)` comes when a person has chosen. Its methods: value() (null: what is typed is no budget),
 * set(bytes), suggest(bytes) (not where a person has been here before), limits(low, high, flat), where all may be null,
 * and high 0: not known. From `flat` on more bytes buy no time: there the slider ends; the number takes any.
 */
export function budgetField(value, onChange) {
  const id = freshId("budget");
  let [low, high] = [64 * MIB, 4096 * MIB];
  let current = value;
  let isTouched = false;
  const number = h("input", { id, type: "number", min: "1", step: "any", inputmode: "decimal", required: true, name: "budget", oninput: typed, onchange: entered, onkeydown: asked });
  const slider = h("input", { type: "range", min: 0, max: STEPS, "aria-label": "Budget", oninput: slid, onchange: () => onChange(current) });
  const least = h("span", {});
  const most = h("span", {});
  const element = h("div", { class: "field wide" },
    h("label", { for: id }, "Budget in MiB"),
    h("div", { class: "slider" }, slider, number),
    h("div", { class: "ends" }, least, most));

  /** Equal steps are equal ratios: budgets near the smallest matter most. */
  function slid() {
    isTouched = true;
    current = Math.round(low * (high / low) ** (slider.value / STEPS));
    number.value = inMib(current);
    slider.setAttribute("aria-valuetext", bytes(current));
  }

  function typed() {
    isTouched = true;
    current = number.validity.valid ? Math.round(Number(number.value) * MIB) : null;
    place();
  }

  /** Nothing is said here: the browser's own words take the focus back and scroll away whatever is being clicked. */
  function entered() {
    if (number.validity.valid) onChange(current);
  }

  function asked(event) {
    if (event.key === "Enter") number.reportValidity();
  }

  /** The slider shows what the number says; the number is the person's. */
  function place() {
    if (current === null) return;
    slider.value = Math.round((STEPS * Math.log(current / low)) / Math.log(high / low));
    slider.setAttribute("aria-valuetext", bytes(current));
  }

  function set(found) {
    current = found;
    number.value = inMib(found);
    place();
  }

  function suggest(found) {
    if (!isTouched) set(found);
  }

  /** While the smallest is not known the slider keeps its scale, so that it does not jump twice. */
  function limits(smallest, memory, flat = null) {
    least.textContent = smallest === null ? "the smallest that fits is not known yet" : `smallest that fits: ${bytes(smallest)}`;
    low = smallest ?? low;
    const end = flat ?? REACH * low;
    high = Math.max(Math.min(memory || Infinity, 1.02 * end), 1.01 * low);
    const device = memory ? `the device's memory: ${bytes(memory)}` : "the device's memory is not known";
    most.textContent = flat && flat <= high ? `from ${bytes(flat)} on more buys no time · ${device}` : device;
    place();
  }

  set(value);
  limits(null, null);
  return { element, input: number, value: () => current, set, suggest, limits };
}

/** A number that is neither rounded below what fits nor long. */
function inMib(value) {
  return String(Math.ceil((value / MIB) * 100) / 100);
}
