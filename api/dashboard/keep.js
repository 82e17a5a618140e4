// What people write on a thing: its name, labels and notes; whether lists leave it out; and its end.

import { address, send } from "./api.js";
import { freshId, h, say } from "./dom.js";
import { problemBox } from "./parts.js";

/** A button that opens it. `kind`: runs, devices, plans …; `saved(item)` after a change, `gone()` after the end. */
export function keepButton(kind, item, { saved, gone, purge = false }) {
  return h("button", { type: "button", onclick: () => ask(kind, item, saved, gone, purge) }, "Edit");
}

function ask(kind, item, saved, gone, purge) {
  const title = freshId("title");
  const word = kind.slice(0, -1);
  const name = kind === "runs" || kind === "devices" ? h("input", { id: freshId("name"), value: item.name, maxlength: "200" }) : null;
  const labels = h("input", { id: freshId("labels"), value: item.labels.join(" ") });
  const notes = h("textarea", { id: freshId("notes"), maxlength: "10000" });
  notes.value = item.notes;
  const archived = h("input", { id: freshId("archived"), type: "checkbox" });
  archived.checked = item.archived_at !== null;
  const problem = h("div", {});
  const remove = h("button", { type: "button", onclick: end }, "Delete …");
  const box = h("dialog", { "aria-labelledby": title },
    h("h2", { id: title }, `Edit this ${word}`),
    h("form", { method: "dialog", onsubmit: save },
      name && field("Name", name), field("Labels, with spaces between", labels), field("Notes", notes),
      h("p", {}, archived, " ", h("label", { for: archived.id }, "Archived: lists leave it out")),
      problem,
      h("div", { class: "buttons" },
        h("button", { type: "submit", class: "main" }, "Save"),
        h("button", { type: "button", onclick: () => box.close() }, "Cancel"), remove)));

  async function save(event) {
    event.preventDefault();
    const body = { labels: labels.value.split(/\s+/).filter(Boolean), notes: notes.value, archived: archived.checked };
    if (name) body.name = name.value;
    await attempt("PATCH", address(kind, item.id), body, (found) => saved(found), `The ${word} is saved`);
  }

  async function end() {
    if (!remove.classList.contains("bad")) {
      remove.classList.add("bad"); // a second click does it
      remove.textContent = `Delete this ${word} for good`;
      return;
    }
    await attempt("DELETE", `${address(kind, item.id)}${purge ? "?purge=true" : ""}`, undefined, gone, `The ${word} is deleted`);
  }

  async function attempt(method, path, body, done, words) {
    try {
      const { document: found } = await send(method, path, body);
      box.close();
      say(words);
      await done(found);
    } catch (error) {
      problem.replaceChildren(problemBox(error, null));
    }
  }

  box.addEventListener("close", () => box.remove());
  document.body.append(box);
  box.showModal();
}

function field(words, input) {
  return h("div", { class: "field" }, h("label", { for: input.id }, words), input);
}
