// Fields of a form, and errors beside the field they belong to.

import { freshId, h } from "./dom.js";

/** A choice. Groups: [title, [[value, text], …]]. `fill` offers others. */
export function selectField(label, name, groups, value) {
  const input = h("select", { id: freshId(name), name });
  const field = wrapped(label, input, null);
  field.fill = (offered, chosen) => {
    const option = ([given, text]) => h("option", { value: given }, text);
    input.replaceChildren(...offered.filter(([, options]) => options.length).map(([title, options]) =>
      title ? h("optgroup", { label: title }, options.map(option)) : options.map(option)).flat());
    if (offered.some(([, options]) => options.some(([given]) => given === chosen))) input.value = chosen;
  };
  field.fill(groups, value);
  return field;
}

/** A number. */
export function numberField(label, name, value, hint = null, step = "1") {
  return wrapped(label, h("input", { id: freshId(name), name, type: "number", step, value, inputmode: "decimal" }), hint);
}

/** A line of text. */
export function textField(label, name, value, hint = null) {
  return wrapped(label, h("input", { id: freshId(name), name, value, autocomplete: "off" }), hint);
}

function wrapped(label, input, hint) {
  const element = h("div", { class: "field" }, h("label", { for: input.id }, label), input);
  if (hint) {
    const id = freshId("hint");
    element.append(h("p", { class: "hint", id }, hint));
    input.setAttribute("aria-describedby", id);
  }
  return { element, input, error: errorPlace(element, input) };
}

/** Where a field's error goes. */
export function errorPlace(element, input) {
  const place = h("p", { class: "error", id: freshId("error"), hidden: true });
  element.append(place);
  input.setAttribute("aria-errormessage", place.id);
  return place;
}

/** Show a problem at the field it names, and go there; null takes errors away. Whether there is such a field. */
export function showErrors(fields, problem) {
  for (const { input, error } of Object.values(fields)) {
    error.hidden = true;
    error.textContent = "";
    input.removeAttribute("aria-invalid");
  }
  const name = problem === null ? null : fieldOf(fields, problem);
  if (name === null) return false;
  const { input, error } = fields[name];
  error.textContent = problem.message;
  error.hidden = false;
  input.setAttribute("aria-invalid", "true");
  const folded = input.closest("details");
  if (folded) folded.open = true;
  input.focus();
  return true;
}

const SAME = { storage_bytes: "storage", reserve_bytes: "reserve", cache_dtype: "cache", profile: "device", bytes: "budget", kind: "optimizer" };

/** The last step of `$.training.batch` that is a field, else the first word of what was said about `$.training`. */
function fieldOf(fields, problem) {
  const steps = (problem.field ?? "").split(/[.[\]]+/).reverse();
  const said = /^\$?[.\w]*?(\w+) is /.exec(problem.message);
  const names = [...(said ? [said[1]] : []), ...steps].map((step) => SAME[step] ?? step);
  return names.find((name) => Object.hasOwn(fields, name)) ?? null;
}
