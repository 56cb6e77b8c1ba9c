"use strict";

function add(parent, tag, text, kind) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  parent.append(made);
  return made;
}

function resolve(api, schema) {
  return schema && schema.$ref ? schema.$ref.split("/").slice(1).reduce((at, key) => at[key], api) : schema;
}

/* A schema as one would write an example of it, with its limits beside it. */
function outline(api, given, indent = "") {
  const schema = resolve(api, given) || {};
  const inner = `${indent}  `;
  if (schema.anyOf) return schema.anyOf.map((one) => outline(api, one, indent)).join(" or ");
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.type === "array") return `[${outline(api, schema.items, indent)}, ...]${limits(schema)}`;
  if (schema.properties) {
    const needed = schema.required || [];
    const lines = Object.entries(schema.properties).map(([name, one]) => {
      const full = resolve(api, one);
      const notes = [full.description, !needed.includes(name) && "default" in one ? `default ${JSON.stringify(one.default)}` : ""];
      const note = notes.filter(Boolean).join("; ");
      return `${inner}"${name}": ${outline(api, one, inner)}${note ? `   // ${note}` : ""}`;
    });
    return `{\n${lines.join("\n")}\n${indent}}`;
  }
  if (schema.additionalProperties && schema.type === "object") {
    return `{"...": ${outline(api, schema.additionalProperties, inner)}}`;
  }
  return (schema.type || "anything") + limits(schema);
}

function limits(schema) {
  const low = schema.minimum ?? schema.minItems ?? schema.minLength;
  const high = schema.maximum ?? schema.maxItems ?? schema.maxLength;
  if (low === undefined && high === undefined) return "";
  const unit = schema.minItems !== undefined ? " of them" : schema.type === "string" ? " characters" : "";
  return ` (${low ?? "up"} to ${high ?? "any"}${unit})`;
}

function content(part) {
  const [type, found] = Object.entries((part && part.content) || {})[0] || [];
  return { type, schema: found && found.schema };
}

function route(api, path, method, operation) {
  const box = add(document.getElementById("routes"), "section", undefined, "sheet route");
  add(box, "h3", `${method.toUpperCase()} ${path}`);
  add(box, "p", operation.description || operation.summary);
  for (const one of operation.parameters || []) {
    const note = one.description ? `: ${one.description}` : "";
    const usual = one.schema.default !== undefined ? `, default ${JSON.stringify(one.schema.default)}` : "";
    add(box, "p", `?${one.name}=${outline(api, one.schema)}${usual}${note}`, "note");
  }
  const asked = content(operation.requestBody);
  if (asked.schema) add(box, "pre", outline(api, asked.schema));
  const answered = content(operation.responses["200"]);
  add(box, "p", "Answers", "note");
  add(box, "pre", answered.type === "application/json" ? outline(api, answered.schema) : answered.type);
  const others = Object.entries(operation.responses).filter(([status]) => status !== "200");
  if (others.length) add(box, "p", others.map(([status, one]) => `${status}: ${one.description}`).join(" · "), "note");
}

fetch("/openapi.json").then((response) => response.json()).then((api) => {
  document.getElementById("name").textContent = api.info.title;
  document.getElementById("about").textContent = `${api.info.description} Version ${api.info.version}.`;
  for (const [path, methods] of Object.entries(api.paths)) {
    for (const [method, operation] of Object.entries(methods)) route(api, path, method, operation);
  }
});
