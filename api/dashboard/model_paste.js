// A model's description, pasted or from a file, checked and stored by the service.

import { Problem, get, send, sendFile } from "./api.js";
import { freshId, h, say } from "./dom.js";

const PLACEHOLDER = '{"schema": "model/1", "name": "mine", "input": [3, 32, 32], "classes": 10, "units": [ … ]}';

const TASKS = ["classification", "multilabel", "regression", "segmentation", "autoencoder", "next-token"];

/** The part of a form; `onStored(item)` is given the stored model as the list shows it. */
export function modelPaste(onStored) {
  const id = freshId("description");
  const text = h("textarea", { id, name: "description", spellcheck: "false", placeholder: PLACEHOLDER, onchange: (event) => event.stopPropagation() });
  const file = h("input", { id: freshId("file"), type: "file", accept: ".json,application/json,.onnx", onchange: read });
  const task = h("select", { id: freshId("task"), name: "task", onchange: (event) => event.stopPropagation() }, TASKS.map((name) => h("option", { value: name }, name)));
  const taskField = h("div", { class: "field", hidden: true }, h("label", { for: task.id }, "What the ONNX file's network is for"), task);
  const error = h("p", { class: "error", role: "alert", id: freshId("error") });
  const box = h("details", { class: "field wide" },
    h("summary", {}, "Another network: paste or upload its description"),
    h("div", { class: "field" }, h("label", { for: file.id }, "File"), file, taskField,
      h("label", { for: id }, "Description (model/1)"), text,
      h("p", { class: "hint" }, "Every run writes one, model.json; /docs says what it may hold. Of an .onnx file the network is stored, without its weights."),
      error,
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: store }, "Check and store"))));
  text.setAttribute("aria-errormessage", error.id);
  return box;

  function isOnnx() {
    return file.files.length > 0 && file.files[0].name.toLowerCase().endsWith(".onnx");
  }

  async function read(event) {
    event.stopPropagation();
    taskField.hidden = !isOnnx();
    text.disabled = isOnnx();
    if (file.files.length) text.value = isOnnx() ? "" : await file.files[0].text();
  }

  async function store() {
    error.textContent = "";
    text.removeAttribute("aria-invalid");
    try {
      const answer = isOnnx()
        ? await sendFile(`/v1/models?task=${task.value}`, file.files[0], "application/onnx")
        : await send("POST", "/v1/models", text.value);
      const identity = answer.headers.get("etag").replaceAll('"', "");
      const listed = (await get("/v1/models?limit=200")).items.find((one) => one.id === identity);
      box.open = false;
      say(`${listed.name} is stored`);
      onStored({ ...listed, created_at: listed.created_at ?? "" });
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      error.textContent = `${problem.field ? `${problem.field}: ` : ""}${problem.message}`;
      text.setAttribute("aria-invalid", "true");
      text.focus();
    }
  }
}
