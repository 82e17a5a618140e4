// Files made in the browser: tables as CSV and JSON, charts as PNG.

import { h, say } from "./dom.js";

/** Buttons that save rows as CSV and as JSON. `columns`: { name, of(row) }; `rows()` may take a while. */
export function exportButtons(file, columns, rows) {
  const one = (text, write) => {
    const button = h("button", { type: "button", title: `Save as ${text}`, "aria-label": `Save as ${text}`, onclick: act }, text);
    async function act() {
      button.disabled = true;
      try {
        write(await rows());
      } catch {
        say(`${text} could not be made: the service does not answer.`);
      } finally {
        button.disabled = false;
      }
    }
    return button;
  };
  return [
    one("CSV", (found) => save(`${file}.csv`, csvOf(columns, found), "text/csv")),
    one("JSON", (found) => save(`${file}.json`, JSON.stringify(found.map((row) => valuesOf(columns, row)), null, 2), "application/json")),
  ];
}

/** A button that saves what a chart shows, its legend's words as the title. */
export function pictureButton(file, canvas, title) {
  const button = h("button", { type: "button", title: "Save as PNG", "aria-label": `Save as PNG: ${title()}`, onclick: act }, "PNG");
  async function act() {
    const blob = await new Promise((done) => opaque(canvas(), title()).toBlob(done, "image/png"));
    saveBlob(`${file}.png`, blob);
  }
  return button;
}

/** The canvas on the page's colour, with a line that says what it is. */
function opaque(canvas, title) {
  const style = getComputedStyle(document.documentElement);
  const size = Math.round(canvas.width / canvas.clientWidth * 16);
  const made = document.createElement("canvas");
  [made.width, made.height] = [canvas.width, canvas.height + 2 * size];
  const context = made.getContext("2d");
  context.fillStyle = style.getPropertyValue("--card");
  context.fillRect(0, 0, made.width, made.height);
  context.fillStyle = style.getPropertyValue("--text");
  context.font = `${size}px system-ui, "DejaVu Sans", sans-serif`;
  context.fillText(title, size / 2, 1.3 * size, made.width - size);
  context.drawImage(canvas, 0, 2 * size);
  return made;
}

function valuesOf(columns, row) {
  return Object.fromEntries(columns.map(({ name, of }) => [name, of(row) ?? null]));
}

/** RFC 4180. A text that a spreadsheet would compute begins with a quote instead. */
export function csvOf(columns, rows) {
  const cell = (value) => {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  const lines = [columns.map(({ name }) => cell(name)), ...rows.map((row) => columns.map(({ of }) => cell(of(row))))];
  return `${lines.map((line) => line.join(",")).join("\r\n")}\r\n`;
}

/** Give a text to the browser's downloads. */
export function save(name, text, type) {
  saveBlob(name, new Blob([text], { type }));
}

function saveBlob(name, blob) {
  const href = URL.createObjectURL(blob);
  h("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}
