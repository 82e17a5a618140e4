"use strict";

// Shows /openapi.json: operations in groups with their summaries, parameters, bodies, examples and answers, a search
// over all of them, every operation to be tried, and every schema.

const LONGEST = 20_000;

/** An element: attributes that are null are left out; text only ever becomes text. */
function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else made.setAttribute(key, value === true ? "" : String(value));
  }
  made.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

/** A schema's name, linked where it is described below. */
function schemaName(schema) {
  if (!schema) return [];
  if (schema.$ref) return [schemaLink(schema.$ref.split("/").pop())];
  if (schema.anyOf) return schema.anyOf.flatMap((one, index) => (index ? [" | ", ...schemaName(one)] : schemaName(one)));
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(" | ")];
  if (schema.type === "array") {
    const items = schema.items ? schemaName(schema.items) : (schema.prefixItems ?? []).flatMap((one, index) => (index ? [", ", ...schemaName(one)] : schemaName(one)));
    return ["[", ...items, "]"];
  }
  return [schema.type ?? "any"];
}

function schemaLink(name) {
  return element("a", { href: `#schema-${name}`, onclick: () => open(`schema-${name}`) }, name);
}

function open(id) {
  const found = document.getElementById(id);
  if (!found) return;
  found.hidden = false;
  found.open = true;
}

function table(caption, heads, rows) {
  return element("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption },
    element("table", null,
      element("thead", null, element("tr", null, heads.map((head) => element("th", { scope: "col" }, head)))),
      element("tbody", null, rows.map((row) => element("tr", null, row.map((cell) => element("td", null, cell)))))));
}

/** The first sentence says what it is for; the rest is there when it is opened. */
function operation(path, method, found) {
  const summary = element("summary", null, element("span", { class: `method ${method}` }, method.toUpperCase()), element("code", null, path), element("span", { class: "about" }, found.summary));
  const made = element("details", { id: found.operationId }, summary);
  made.addEventListener("toggle", () => {
    if (made.open && made.children.length === 1) made.append(...body(path, method, found));
  });
  return { made, text: [path, method, found.operationId, found.summary, found.description, ...(found.parameters ?? []).map(({ name }) => name)].join(" ").toLowerCase() };
}

/** What an operation says, made when somebody looks. */
function body(path, method, found) {
  const parameters = found.parameters ?? [];
  const bodies = Object.entries(found.requestBody?.content ?? {});
  const answers = Object.entries(found.responses).map(([status, answer]) =>
    [status, Object.values(answer.content ?? {}).flatMap((one) => schemaName(one.schema)), answer.description]);
  return [
    element("p", null, found.description ?? found.summary ?? ""),
    parameters.length ? [element("h3", null, "Parameters"), table(`Parameters of ${found.operationId}`, ["Name", "In", "Kind", "What it is"],
      parameters.map((one) => [`${one.name}${one.required ? "" : "?"}`, one.in, schemaName(one.schema), one.description ?? ""]))] : [],
    bodies.map(([kind, one]) => [element("h3", null, "Body: ", schemaName(one.schema), ` (${kind})`)]),
    element("h3", null, "Answers"),
    table(`Answers of ${found.operationId}`, ["Status", "What comes", "When"], answers),
    trial(path, method, found, parameters, bodies),
  ].flat(2);
}

/** A form that sends the request as it is written, and shows what comes. */
function trial(path, method, found, parameters, bodies) {
  const inputs = parameters.filter((one) => one.in !== "cookie").map((one) => [one, element("input", { id: `${found.operationId}-${one.in}-${one.name}`, autocomplete: "off", required: one.required })]);
  const [kind, sent] = bodies.find(([type]) => type === "application/json") ?? [];
  const text = kind ? element("textarea", { id: `${found.operationId}-body`, rows: 8, spellcheck: "false" }) : null;
  if (text) text.value = sent.example ? JSON.stringify(sent.example, null, 2) : "{}";
  const said = element("pre", { role: "region", "aria-label": `Answer of ${found.operationId}`, "aria-live": "polite", tabindex: "0", hidden: true });
  const curl = element("pre", { role: "region", "aria-label": `${found.operationId} with curl`, tabindex: "0" });
  const base = new URL(".", location.href).href.replace(/\/$/, "");
  const address = () => {
    let filled = path;
    const query = new URLSearchParams();
    for (const [one, input] of inputs) {
      if (one.in === "path") filled = filled.replace(`{${one.name}}`, encodeURIComponent(input.value || `{${one.name}}`));
      else if (one.in === "query" && input.value !== "") query.set(one.name, input.value);
    }
    return `${base}${filled}${query.size ? `?${query}` : ""}`;
  };
  const headers = () => Object.fromEntries([...(text ? [["Content-Type", "application/json"]] : []), ...inputs.filter(([one, input]) => one.in === "header" && input.value).map(([one, input]) => [one.name, input.value])]);
  const write = () => {
    const parts = [`curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}${quoted(address())}`, ...Object.entries(headers()).map(([name, value]) => `-H ${quoted(`${name}: ${value}`)}`), ...(text ? [`-d ${quoted(text.value)}`] : [])];
    curl.textContent = parts.join(" \\\n  ");
  };
  const send = async (event) => {
    event.preventDefault();
    said.hidden = false;
    said.textContent = "Asking …";
    try {
      const answer = await fetch(address(), { method: method.toUpperCase(), headers: headers(), body: text?.value });
      said.textContent = await shown(answer);
    } catch {
      said.textContent = "The service does not answer.";
    }
  };
  const isStream = found.operationId === "get_events";
  const label = (input, words) => [element("label", { for: input.id }, words), input];
  write();
  return element("form", { class: "trial", onsubmit: send, oninput: write },
    element("h3", null, "Try it"),
    inputs.map(([one, input]) => label(input, `${one.name} (${one.in}${one.required ? ", needed" : ""})`)),
    text ? label(text, "Body") : null,
    method === "get" ? null : element("p", { class: "warning" }, "This is sent to this service, and changes what it has."),
    isStream ? element("p", null, "A stream has no end; try it with curl -N.") : element("button", null, `Send ${method.toUpperCase()}`),
    said, curl);
}

/** Status, and the answer as a person reads it. */
async function shown(answer) {
  const text = await answer.text();
  let body = text;
  try {
    body = JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    // not JSON: as it came
  }
  const rest = body.length > LONGEST ? `\n… ${body.length - LONGEST} characters more` : "";
  return `${answer.status} ${answer.statusText}\n\n${body.slice(0, LONGEST)}${rest}`;
}

/** A word of a shell's line. */
function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function schemaDetails(name, schema) {
  const made = element("details", { id: `schema-${name}` }, element("summary", null, element("code", null, name), element("span", { class: "about" }, (schema.description ?? "").split("\n")[0])));
  made.addEventListener("toggle", () => {
    if (!made.open || made.children.length > 1) return;
    const required = new Set(schema.required ?? []);
    made.append(element("p", null, schema.description ?? ""), table(`Fields of ${name}`, ["Field", "Kind", "What it is"],
      Object.entries(schema.properties ?? {}).map(([field, one]) => [`${field}${required.has(field) ? "" : "?"}`, schemaName(one), one.description ?? ""])));
  });
  return { made, text: [name, schema.description, ...Object.keys(schema.properties ?? {})].join(" ").toLowerCase() };
}

/** A group of operations under a heading that goes when nothing in it is found. */
function group(title, about, entries) {
  const id = `group-${title.replace(/\W+/g, "-").toLowerCase()}`;
  const made = element("section", { id, "aria-label": title }, element("h2", null, title), about ? element("p", null, about) : null, entries.map((one) => one.made));
  return { id, title, made, entries };
}

function filter(groups, words, counted) {
  let count = 0;
  for (const { made, entries } of groups) {
    for (const one of entries) {
      one.made.hidden = !words.every((word) => one.text.includes(word));
      count += one.made.hidden ? 0 : 1;
    }
    made.hidden = entries.every((one) => one.made.hidden);
  }
  counted.textContent = words.length ? `${count} found` : "";
}

async function show() {
  const place = document.getElementById("operations");
  const answer = await fetch("openapi.json");
  if (!answer.ok) {
    place.replaceChildren(element("p", null, `/openapi.json: ${answer.status}`));
    return;
  }
  const found = await answer.json();
  const operations = Object.entries(found.paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, one]) => ({ tag: one.tags?.[0] ?? "service", entry: operation(path, method, one) })));
  const about = new Map((found.tags ?? []).map(({ name, description }) => [name, description]));
  const names = [...new Set([...about.keys(), ...operations.map(({ tag }) => tag)])].filter((name) => operations.some(({ tag }) => tag === name));
  const groups = [
    ...names.map((name) => group(name, about.get(name), operations.filter(({ tag }) => tag === name).map(({ entry }) => entry))),
    group("Schemas", null, Object.entries(found.components.schemas).map(([name, schema]) => schemaDetails(name, schema))),
  ];
  const counted = element("span", { role: "status" });
  const search = element("input", { id: "search", type: "search", autocomplete: "off", oninput: () => filter(groups, search.value.toLowerCase().split(/\s+/).filter(Boolean), counted) });
  place.replaceChildren(
    element("h1", null, `${found.info.title} ${found.info.version}`),
    element("p", null, found.info.description),
    element("p", { class: "search" }, element("label", { for: "search" }, "Search"), search, counted),
    element("nav", { "aria-label": "Groups" }, groups.map(({ id, title }) => element("a", { href: `#${id}` }, title))),
    ...groups.map(({ made }) => made));
  const named = location.hash.slice(1);
  open(named);
  document.getElementById(named)?.scrollIntoView();
}

show();
