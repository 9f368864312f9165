// The API reference: /openapi.json and /asyncapi.json as pages with deep links (#operation/orders, #schema/Trade/pnl), a
// search, and requests to try. Everything is made of text nodes; what the documents say is never markup.

import { Api } from "./js/api.js";
import { h } from "./js/dom.js";

const content = document.getElementById("content"), contents = document.getElementById("contents");
const search = document.getElementById("search"), menu = document.getElementById("menu");
const UNITS = {
  __proto__: null,
  money: "money", price: "price", quantity: "quantity", fraction: "0 to 1", bps: "bp", "%": "%", ms: "ms", s: "s", ns: "ns", "1": "", Hz: "Hz",
};
const KINDS = { __proto__: null, operation: "Operations", message: "Messages", event: "Events", schema: "Schemas" };
let api = null, streams = null, entries = [];

// `code` between backticks is the only markup that meanings have.
function prose(text = "") {
  return text.split(/`([^`]+)`/).map((part, place) => place % 2 ? h("code", {}, part) : document.createTextNode(part));
}

const nameOf = reference => reference.slice(reference.lastIndexOf("/") + 1);
const schemaOf = name => streams.components.schemas[name] ?? api.components.schemas[name];
const resolved = schema => schema.$ref ? schemaOf(nameOf(schema.$ref)) : schema;
const isEvent = name => `${name}Event` in streams.components.messages;
const linkOf = name => isEvent(name) ? `#event/${kindOf(name)}` : `#schema/${name}`;
const kindOf = name => schemaOf(name).properties.type.enum[0];

// -- what a schema says

function typeOf(schema) {
  if (schema.$ref) return [h("a", { href: linkOf(nameOf(schema.$ref)) }, nameOf(schema.$ref))];
  if (schema.const !== undefined) return [JSON.stringify(schema.const)];
  const alternatives = schema.anyOf ?? schema.oneOf;
  if (alternatives) return alternatives.flatMap((each, place) => place ? [" or ", ...typeOf(each)] : typeOf(each));
  if (schema.enum) return [schema.enum.map(each => JSON.stringify(each)).join(" | ")];
  const kinds = [schema.type ?? "any"].flat();
  return kinds.flatMap((kind, place) => {
    const words = kind === "array" ? ["array of ", ...typeOf(schema.items ?? {})]
      : kind === "object" && typeof schema.additionalProperties === "object" && !schema.properties
        ? ["object of ", ...typeOf(schema.additionalProperties)]
        : kind === "string" && schema.format ? [schema.format] : [kind];
    return place ? [" or ", ...words] : words;
  });
}

function boundsOf(schema) {
  const said = [];
  for (const one of [schema, ...(schema.anyOf ?? schema.oneOf ?? [])]) {
    const low = one.minimum ?? one.exclusiveMinimum, high = one.maximum ?? one.exclusiveMaximum;
    if (low !== undefined) said.push(`${one.minimum === undefined ? "> " : "≥ "}${low}`);
    if (high !== undefined) said.push(`${one.maximum === undefined ? "< " : "≤ "}${high}`);
    if (one.minLength) said.push(`from ${one.minLength} character${one.minLength > 1 ? "s" : ""}`);
    if (one.maxLength !== undefined) said.push(`up to ${one.maxLength} characters`);
    if (one.minItems) said.push(`from ${one.minItems} items`);
    if (one.maxItems !== undefined) said.push(`up to ${one.maxItems} items`);
    if (one.maxProperties !== undefined) said.push(`up to ${one.maxProperties} names`);
  }
  if (schema.default !== undefined && schema.default !== null && schema.default !== "") said.push(`default ${JSON.stringify(schema.default)}`);
  return [...new Set(said)].join(", ");
}

function exampleOf(schema) {
  if (schema.examples) return schema.examples[0];
  if (schema.$ref) return exampleOf(resolved(schema));
  if (schema.anyOf ?? schema.oneOf) return exampleOf((schema.anyOf ?? schema.oneOf)[0]);
  if (schema.type === "array") return [exampleOf(schema.items ?? {})];
  if (schema.enum) return schema.enum[0];
  const fields = Object.entries(schema.properties ?? {}).map(([name, each]) => [name, exampleOf(each)]);
  if (schema["x-key"]) fields.push([schema["x-key"], exampleOf(schema.additionalProperties)]);
  return schema.type === "object" ? Object.fromEntries(fields) : undefined;
}

// Fields of unnamed objects are shown below their own, with a dotted name.
function* fieldsOf(schema, prefix = "") {
  const required = new Set(schema.required ?? []);
  for (const [name, field] of Object.entries(schema.properties ?? {})) {
    yield { name: prefix + name, field, isRequired: required.has(name) };
    const inner = field.type === "array" ? field.items : field.type === "object" && typeof field.additionalProperties === "object"
      ? field.additionalProperties : field;
    if (inner && !inner.$ref && inner.properties)
      yield* fieldsOf(inner, inner === field ? `${prefix}${name}.` : `${prefix}${name}[].`);
  }
}

function fieldTable(schema, link, marked, requiredWord) {
  const rows = [...fieldsOf(schema)].map(({ name, field, isRequired }) => {
    const example = field.examples?.[0];
    const unit = field["x-unit"];
    return h("tr", { id: `${link.slice(1)}/${name}`, class: name === marked ? "marked" : undefined },
      h("td", { class: "name" }, h("a", { href: `${link}/${name}` }, name),
        isRequired === (requiredWord === "required") ? h("small", {}, ` ${requiredWord}`) : ""),
      h("td", {}, ...typeOf(field)),
      h("td", {}, unit ? UNITS[unit] ?? unit : ""),
      h("td", { class: "meaning" }, ...prose(field.description)),
      h("td", {}, boundsOf(field)),
      h("td", { class: "example" }, example === undefined ? "" : h("code", {}, JSON.stringify(example))));
  });
  const more = schema.additionalProperties;
  if (more === true || (schema.properties && typeof more === "object"))
    rows.push(h("tr", {}, h("td", { class: "name" }, "…"), h("td", { colspan: 5 }, "further fields: ", ...(more === true ? ["any"] : typeOf(more)))));
  if (!rows.length) return h("p", { class: "dim" }, ...typeOf(schema));
  return h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Fields" }, h("table", {},
    h("thead", {}, h("tr", {}, ...["Field", "Type", "Unit", "Meaning", "Bounds", "Example"].map(each => h("th", { scope: "col" }, each)))),
    h("tbody", {}, ...rows)));
}

const json = value => h("pre", { tabindex: 0 }, JSON.stringify(value, null, 2) ?? "");

// -- the entries

function collect() {
  entries = [];
  for (const [path, methods] of Object.entries(api.paths))
    for (const [method, operation] of Object.entries(methods))
      entries.push({ kind: "operation", key: operation.operationId, title: path, method, group: operation.tags[0] ?? "other", path, operation,
        summary: operation.summary });
  for (const [channel, described] of Object.entries(streams.channels))
    for (const name of Object.keys(described.messages)) {
      if (name.endsWith("Event")) continue;
      const message = streams.components.messages[name];
      const isTaken = Object.values(streams.operations).some(each => each.action === "receive" && each.messages.some(one => nameOf(one.$ref) === name));
      if (!entries.some(each => each.kind === "message" && each.key === name))
        entries.push({ kind: "message", key: name, title: message.name, method: isTaken ? "to" : "from", group: channel === "ingest" ? "/ws/ingest" : "/ws/metrics, /stream",
          message, summary: message.summary });
    }
  for (const [name, schema] of Object.entries(streams.components.schemas))
    if (isEvent(name)) entries.push({ kind: "event", key: kindOf(name), title: kindOf(name), group: "events", schema, name, summary: schema.description });
  for (const [name, schema] of Object.entries({ ...streams.components.schemas, ...api.components.schemas }))
    if (!isEvent(name)) entries.push({ kind: "schema", key: name, title: name, group: "schemas", schema, summary: schema.description });
  for (const entry of entries) {
    const fields = entrySchemas(entry).flatMap(schema => [...fieldsOf(schema)].map(({ name, field }) => `${name} ${field.description ?? ""}`));
    entry.link = `#${entry.kind}/${entry.key}`;
    entry.text = [entry.title, entry.key, entry.summary, ...fields].join("\n").toLowerCase();
  }
}

const titleOf = entry => entry.kind === "operation" ? `${entry.method.toUpperCase()} ${entry.title}` : entry.title;

function entrySchemas(entry) {
  if (entry.schema) return [entry.schema];
  if (entry.message) return [resolved(entry.message.payload)];
  return [parameterSchema(entry.operation.parameters)];
}

function parameterSchema(parameters) {
  return {
    properties: Object.fromEntries(parameters.map(each => [each.name, { ...each.schema, description: each.description }])),
    required: parameters.filter(each => each.required).map(each => each.name),
  };
}

function showContents() {
  contents.replaceChildren(...Object.entries(KINDS).map(([kind, heading]) => {
    const groups = grouped(entries.filter(each => each.kind === kind));
    return h("section", {}, ...[...groups].flatMap(([group, members]) => [
      h("h2", {}, groups.size > 1 ? `${heading} · ${group}` : heading),
      h("ul", {}, ...members.map(each => h("li", {}, h("a", { href: each.link },
        each.method ? h("span", { class: `method ${each.kind === "message" ? "ws" : each.method}` }, each.method === "delete" ? "del" : each.method) : "", each.title)))),
    ]));
  }));
}

function grouped(members) {
  const groups = new Map();
  for (const each of members) groups.set(each.group, [...(groups.get(each.group) ?? []), each]);
  return groups;
}

// -- one page for each

function operationPage({ method, path, operation, link }, marked) {
  const answer = operation.responses[200] ?? operation.responses[201];
  const media = answer?.content ?? {};
  const schema = media["application/json"]?.schema;
  const body = operation.requestBody?.content["application/json"].schema;
  const parameters = operation.parameters;
  const role = operation.security.length === 0 ? "open" : operation.responses[403] ? "write" : "read";
  return [
    h("h2", {}, h("span", { class: `method ${method}` }, method), path),
    h("p", {}, ...prose(operation.summary)),
    h("p", {}, h("span", { class: "tag" }, operation.operationId), h("span", { class: "tag" }, `role ${role}`),
      ...Object.keys(media).map(each => h("span", { class: "tag" }, each))),
    ...(parameters.length ? [h("h3", {}, "Parameters"), fieldTable(parameterSchema(parameters), link, marked, "required")] : []),
    ...(body ? [h("h3", {}, "Request body"), ...bodyPart(body, link, marked)] : []),
    ...tryPart(method, path, operation),
    h("h3", {}, "Answer"),
    ...(schema ? answerPart(schema, link, marked) : [h("p", { class: "dim" }, Object.keys(media).join(", ") || "no content")]),
    ...(media["application/json"]?.example !== undefined ? [h("h3", {}, "Example"), json(media["application/json"].example)] : []),
    h("h3", {}, "Statuses"),
    h("ul", {}, ...Object.entries(operation.responses).map(([status, each]) => statusItem(status, each))),
  ];
}

function statusItem(status, response) {
  return h("li", {}, h("code", {}, status), ` ${response.description} `,
    response.content?.["application/problem+json"] ? h("a", { href: "#schema/Problem" }, "problem") : "");
}

function bodyPart(body, link, marked) {
  const schema = resolved(body);
  if (schema.anyOf) return [h("p", {}, "One event, an array of events, or lines. Any of: ",
    ...Object.keys(streams.components.messages).filter(each => each.endsWith("Event")).flatMap((each, place) => [place ? ", " : "",
      h("a", { href: `#event/${streams.components.messages[each].name}` }, streams.components.messages[each].name)]))];
  return [fieldTable(schema, link, marked, "required")];
}

function answerPart(schema, link, marked) {
  return [...(schema.$ref ? [h("p", {}, ...typeOf(schema), " ", ...prose(resolved(schema).description))] : []),
    fieldTable(resolved(schema), link, marked, "optional")];
}

function messagePage({ message, link, method, group }, marked) {
  return [
    h("h2", {}, h("span", { class: "method ws" }, method === "to" ? "client → server" : "server → client"), message.name),
    h("p", {}, ...prose(message.summary)),
    h("p", {}, h("span", { class: "tag" }, group)),
    h("h3", {}, "Fields"), fieldTable(resolved(message.payload), link, marked, "optional"),
    h("h3", {}, "Example"), json(message.examples[0].payload),
    ...(group === "/ws/ingest" ? [] : watchPart()),
  ];
}

function eventPage({ key, schema, name, link }, marked) {
  return [
    h("h2", {}, key), h("p", {}, ...prose(schema.description)),
    h("p", { class: "dim" }, "Sent to POST /api/ingest or over /ws/ingest. Every field with a default may be absent; numbers may be strings."),
    h("h3", {}, "Fields"), fieldTable(schema, link, marked, "required"),
    h("h3", {}, "Example"), json(streams.components.messages[`${name}Event`].examples[0].payload),
    h("h3", {}, "curl"), h("pre", { tabindex: 0 },
      `curl ${location.origin}/api/ingest -H 'Content-Type: application/json' -d '${JSON.stringify(streams.components.messages[`${name}Event`].examples[0].payload)}'`),
  ];
}

function schemaPage({ key, schema, link }, marked) {
  const users = entries.filter(each => each.kind !== "schema" && JSON.stringify(each.operation ?? each.message ?? each.schema).includes(`/schemas/${key}"`));
  return [
    h("h2", {}, key), h("p", {}, ...prose(schema.description)),
    ...(users.length ? [h("p", {}, "Used by ", ...users.flatMap((each, place) => [place ? ", " : "", h("a", { href: each.link }, titleOf(each))]))] : []),
    h("h3", {}, "Fields"), fieldTable(schema, link, marked, "optional"),
    h("h3", {}, "Example"), json(exampleOf(schema)),
  ];
}

function overview() {
  const operations = entries.filter(each => each.kind === "operation");
  const rows = operations.map(each => h("tr", {}, h("td", { class: "name" }, h("span", { class: `method ${each.method}` }, each.method)),
    h("td", { class: "name" }, h("a", { href: each.link }, each.path)), h("td", {}, ...prose(each.summary))));
  return [
    h("h2", {}, "API reference"),
    h("p", {}, "JSON in UTF-8. Times go out as ISO 8601 in UTC with milliseconds, and come in with any offset or as integer nanoseconds. Undefined numbers are ",
      h("code", {}, "null"), ". Later versions may add fields, and remove none. Errors are ", h("a", { href: "#schema/Problem" }, "problem details"), "."),
    h("h3", {}, "Streams"),
    h("ul", {}, ...Object.values(streams.channels).map(each => h("li", {}, h("code", {}, each.address), ` ${each.title}: ${each.description}`))),
    h("p", {}, "Lanes: ", ...Object.entries(streams["x-lanes"]).flatMap(([lane, each], place) => [place ? ", " : "",
      h("a", { href: `#message/${nameOf(each.message.$ref)}` }, lane)]), " bring every entry once and in order."),
    ...watchPart(),
    h("h3", {}, "Operations"),
    h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Operations" }, h("table", {}, h("thead", {}, h("tr", {}, ...["Method", "Path", "What"].map(each => h("th", { scope: "col" }, each)))), h("tbody", {}, ...rows))),
    h("h3", {}, "Close codes"),
    h("ul", {}, ...Object.entries(streams["x-close-codes"]).map(([code, meaning]) => h("li", {}, h("code", {}, code), ` ${meaning}`))),
  ];
}

// -- trying it

// Has the token, which the live page keeps for the tab too; the answer to a request is shown as it is.
const server = new Api(() => {});

function tokenField() {
  return [h("label", { for: "try-token" }, "token"),
    Object.assign(h("input", { id: "try-token", type: "password", autocomplete: "off", placeholder: "only if the server needs one; kept for this tab",
      onchange: event => { server.token = event.target.value; } }), { value: server.token })];
}

function fieldFor({ name, schema, required }) {
  const words = schema.enum ?? schema.anyOf?.find(each => each.enum)?.enum;
  const isFlag = schema.type === "boolean" || schema.anyOf?.some(each => each.type === "boolean");
  const options = words ?? (isFlag ? ["true", "false"] : null);
  const id = `try-${name}`;
  const field = options
    ? h("select", { id, name }, h("option", { value: "" }, "—"), ...options.filter(each => each !== null).map(each => h("option", {}, String(each))))
    : h("input", { id, name, placeholder: schema.default !== undefined && schema.default !== null ? String(schema.default) : required ? "required" : "", autocomplete: "off" });
  return [h("label", { for: id }, name), field];
}

function tryPart(method, path, operation) {
  const isHistory = operation.operationId === "metrics_history";
  if (method !== "get" && !isHistory) return [];
  if (operation.responses[200]?.content?.["text/event-stream"]) return watchPart();
  const body = isHistory ? h("textarea", { "aria-label": "Request body", spellcheck: "false" }) : null;
  if (body) body.value = JSON.stringify({ time_range: "1h", interval: "10s", metric_types: ["strategy"], metrics: ["equity", "drawdown"], format: "columns", limit: 100 }, null, 2);
  const status = h("p", { role: "status" }), command = h("pre", { tabindex: 0, "aria-label": "curl command" }), shown = h("pre", { tabindex: 0, hidden: true, "aria-label": "Answer" });
  const urlOf = () => {
    const query = new URLSearchParams();
    let filled = path;
    for (const parameter of operation.parameters) {
      const value = form.elements[parameter.name].value;
      if (parameter.in === "path") filled = filled.replace(`{${parameter.name}}`, encodeURIComponent(value));
      else if (value !== "") query.set(parameter.name, value);
    }
    return query.size ? `${filled}?${query}` : filled;
  };
  const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;
  const showCommand = () => {
    command.textContent = `curl ${quoted(location.origin + urlOf())}${server.token ? " -H 'Authorization: Bearer TOKEN'" : ""}${
      body ? ` -H 'Content-Type: application/json' -d ${quoted(JSON.stringify(JSON.parse(body.value || "{}")))}` : ""}`;
  };
  const send = async event => {
    event.preventDefault();
    const started = performance.now();
    status.textContent = "waiting for the answer …";
    try {
      const headers = { ...(server.token ? { Authorization: `Bearer ${server.token}` } : {}), ...(body ? { "Content-Type": "application/json" } : {}) };
      const response = await fetch(urlOf(), { method: method.toUpperCase(), headers, body: body?.value });
      const type = response.headers.get("content-type") ?? "";
      const isText = /json|text|csv|openmetrics/.test(type);
      const received = isText ? await response.text() : await response.blob();
      const size = isText ? received.length : received.size;
      status.textContent = `${response.status} ${response.statusText} · ${type} · ${size.toLocaleString("en-US")} ${isText ? "characters" : "bytes"} · ${(performance.now() - started).toFixed(0)} ms`;
      shown.textContent = !isText ? "(a file)" : /json/.test(type) ? clipped(JSON.stringify(JSON.parse(received), null, 2)) : clipped(received);
    } catch (error) {
      status.textContent = `no answer: ${error.message}`;
      shown.textContent = "";
    }
    shown.hidden = false;
  };
  const form = h("form", { onsubmit: send, oninput: () => { try { showCommand(); } catch { /* The body is being typed. */ } } },
    ...operation.parameters.flatMap(fieldFor), ...tokenField(), body, h("div", { class: "wide" }, h("button", { class: "primary", type: "submit" }, "Send")));
  showCommand();
  return [h("h3", {}, "Try it"), h("div", { class: "try" }, form, command, status, shown)];
}

const clipped = text => text.length > 200_000 ? `${text.slice(0, 200_000)}\n… ${text.length - 200_000} further characters` : text;

let watched = null;
function watchPart() {
  const shown = h("pre", { tabindex: 0, hidden: true, "aria-label": "Messages" }), status = h("p", { role: "status" });
  const lines = [];
  const input = Object.assign(h("input", { id: "watch-query", autocomplete: "off", spellcheck: "false" }), { value: "channels=execution,trades,orders,alerts&mode=delta" });
  const button = h("button", { class: "primary", type: "submit" }, "Connect");
  const stop = () => { watched?.close(); watched = null; };
  const form = h("form", {
    onsubmit: event => {
      event.preventDefault();
      if (watched) return stop();
      lines.length = 0;
      let count = 0;
      const protocols = server.token ? ["observability", `bearer.${server.token}`] : [];
      const socket = watched = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws/metrics?${input.value}`, protocols);
      button.textContent = "Disconnect";
      status.textContent = "connecting …";
      socket.onmessage = ({ data }) => {
        lines.unshift(data.length > 600 ? `${data.slice(0, 600)} … ${data.length - 600} further characters` : data);
        lines.length = Math.min(lines.length, 20);
        shown.hidden = false;
        shown.textContent = lines.join("\n\n");
        status.textContent = `${++count} messages; the newest first`;
      };
      socket.onclose = ({ code, reason }) => {
        status.textContent = `closed with ${code} ${reason}`;
        button.textContent = "Connect";
        if (watched === socket) watched = null;
      };
    },
  }, h("label", { for: "watch-query" }, "/ws/metrics?"), input, ...tokenField(), h("div", { class: "wide" }, button));
  return [h("h3", {}, "Watch the stream"), h("div", { class: "try" }, form, status, shown)];
}

// -- search and navigation

function found(words) {
  const scored = entries.map(entry => {
    if (!words.every(word => entry.text.includes(word))) return null;
    const title = `${entry.title} ${entry.key}`.toLowerCase();
    return { entry, score: words.filter(word => title.includes(word)).length * 10 - (entry.kind === "schema" ? 1 : 0) };
  });
  return scored.filter(each => each).sort((a, b) => b.score - a.score).slice(0, 60).map(({ entry }) => entry);
}

function searchPage(text) {
  const words = text.toLowerCase().split(/\s+/).filter(each => each);
  const results = found(words);
  return [
    h("h2", {}, `Search: ${text}`),
    h("p", { role: "status" }, results.length ? `${results.length} found` : "nothing found"),
    h("ul", { class: "results" }, ...results.map(entry => {
      const fields = entrySchemas(entry).flatMap(schema => [...fieldsOf(schema)]).filter(({ name, field }) => words.some(word => `${name} ${field.description ?? ""}`.toLowerCase().includes(word))).slice(0, 6);
      return h("li", {}, h("small", {}, `${KINDS[entry.kind].toLowerCase().slice(0, -1)} `), h("a", { href: entry.link }, titleOf(entry)), " ",
        h("span", { class: "dim" }, (entry.summary ?? "").split("\n")[0]), h("br"),
        ...fields.flatMap(({ name }) => [h("a", { href: `${entry.link}/${name}` }, h("code", {}, name)), " "]));
    })),
  ];
}

const PAGES = { __proto__: null, operation: operationPage, message: messagePage, event: eventPage, schema: schemaPage };

// A % of a link that somebody wrote by hand is itself.
function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function show() {
  const [kind, key, ...rest] = decode(location.hash.slice(1)).split("/");
  const marked = rest.join("/");
  watched?.close();
  let page, title = "API reference";
  if (kind === "search") {
    page = searchPage([key, ...rest].join("/"));
    title = `search: ${key}`;
  } else {
    const entry = entries.find(each => each.kind === kind && each.key === key);
    if (entry) {
      page = PAGES[kind](entry, marked);
      title = titleOf(entry);
    } else if (kind && kind !== "content") {
      page = [h("h2", {}, "Not found"), h("p", {}, `The reference has no ${kind} ${key ?? ""}.`)];
    } else page = overview();
  }
  document.title = `${title} · observability API`;
  content.replaceChildren(...page);
  for (const link of contents.querySelectorAll("a")) {
    if (link.getAttribute("href") === `#${kind}/${key}`) {
      link.setAttribute("aria-current", "page");
      link.scrollIntoView({ block: "nearest" });
    } else link.removeAttribute("aria-current");
  }
  const row = marked && document.getElementById(`${kind}/${key}/${marked}`);
  if (row) row.scrollIntoView({ block: "center" });
  else scrollTo(0, 0);
  if (matchMedia("(max-width: 760px)").matches) menu.open = false;
}

addEventListener("hashchange", show);
addEventListener("keydown", event => {
  if (event.key === "/" && !/INPUT|TEXTAREA|SELECT/.test(document.activeElement.tagName)) {
    event.preventDefault();
    search.focus();
    search.select();
  }
});
search.addEventListener("input", () => {
  const text = search.value.trim();
  history.replaceState(null, "", text ? `#search/${encodeURIComponent(text)}` : "#");
  show();
});

const load = async path => {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path} is answered with ${response.status}`);
  return response.json();
};
try {
  [api, streams] = await Promise.all([load("/openapi.json"), load("/asyncapi.json")]);
  document.getElementById("version").textContent = api.info.version;
  collect();
  showContents();
  show();
} catch (error) {
  content.replaceChildren(h("p", { role: "alert" }, `The reference cannot be shown: ${error.message}`));
}
