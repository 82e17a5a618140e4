"use strict";

// Shows /openapi.json: every operation with its parameters, bodies, examples and answers, and every schema.

function element(name, text, ...children) {
  const made = document.createElement(name);
  if (text !== null) made.textContent = text;
  made.append(...children);
  return made;
}

function schemaName(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(schemaName).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.type === "array") return `[${schemaName(schema.items) || (schema.prefixItems || []).map(schemaName).join(", ")}]`;
  return schema.type || "any";
}

function table(rows) {
  const made = element("table", null);
  for (const row of rows) {
    const line = element("tr", null);
    for (const cell of row) line.append(element("td", cell));
    made.append(line);
  }
  return made;
}

function operation(path, method, found) {
  const method_name = element("span", method.toUpperCase());
  method_name.className = "method";
  const made = element("details", null, element("summary", null, method_name, element("code", path)));
  made.id = found.operationId;
  made.append(element("p", found.description || found.summary || ""));
  if (found.parameters) {
    made.append(element("h4", "Parameters"));
    made.append(table(found.parameters.map((one) => [one.name, one.in, schemaName(one.schema), one.description || ""])));
  }
  for (const [kind, body] of Object.entries(found.requestBody?.content || {})) {
    made.append(element("h4", `Body: ${schemaName(body.schema)} (${kind})`));
    if (body.example) made.append(element("pre", JSON.stringify(body.example, null, 2)));
  }
  made.append(element("h4", "Answers"));
  made.append(table(Object.entries(found.responses).map(([status, answer]) => {
    const kinds = Object.values(answer.content || {}).map((one) => schemaName(one.schema));
    return [status, kinds.join(", "), answer.description];
  })));
  return made;
}

function schemaDetails(name, schema) {
  const made = element("details", null, element("summary", null, element("code", name)));
  made.append(element("p", schema.description || ""));
  const required = new Set(schema.required || []);
  made.append(table(Object.entries(schema.properties || {}).map(([field, one]) => [
    field + (required.has(field) ? "" : "?"), schemaName(one), one.description || "",
  ])));
  return made;
}

async function show() {
  const place = document.getElementById("operations");
  const answer = await fetch("openapi.json");
  if (!answer.ok) {
    place.replaceChildren(element("p", `/openapi.json: ${answer.status}`));
    return;
  }
  const found = await answer.json();
  place.replaceChildren(element("h1", `${found.info.title} ${found.info.version}`), element("p", found.info.description));
  for (const [path, operations] of Object.entries(found.paths)) {
    for (const [method, one] of Object.entries(operations)) place.append(operation(path, method, one));
  }
  place.append(element("h2", "Schemas"));
  for (const [name, schema] of Object.entries(found.components.schemas)) place.append(schemaDetails(name, schema));
}

show();
