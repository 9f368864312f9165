// Alerts: what is wrong, against which threshold, who takes care of it, how often it has been, and who was told.

import { Figures, h, panel, setAttribute, write } from "../js/dom.js";
import { DASH, count, duration, number, things } from "../js/format.js";
import { Table } from "../js/table.js";

const REFRESH_MS = 5000;
const PAGE = 50;
const SEVERITIES = { __proto__: null, critical: "down", warning: "warn", info: "info" };
const STATES = { __proto__: null, active: "down", acknowledged: "warn", resolved: "up" };
const RULE_STATES = { __proto__: null, raised: "down", pending: "warn", quiet: "dim" };
const COMPARISONS = { above: ">", at_least: "≥", below: "<", at_most: "≤", equals: "=" };
const DURATIONS = { "30m": "30 minutes", "1h": "1 hour", "4h": "4 hours", "12h": "12 hours", "24h": "1 day", "168h": "1 week" };
const AUTHOR = "observability.author";

// Money of six figures and rates of four digits alike; texts and booleans as they are.
function shown(value) {
  if (value === null || value === undefined) return DASH;
  if (typeof value !== "number") return String(value);
  return Number.isInteger(value) ? count(value) : number(value, Math.abs(value) >= 100 ? 2 : 4);
}

// The field of a rule that has its threshold, and the sign of it.
const comparison = rule => Object.entries(COMPARISONS).find(([each]) => each in rule) ?? [];

function condition(rule) {
  const [name, sign] = comparison(rule);
  const parts = [name ? `${sign} ${shown(rule[name])}` : ""];
  if (rule.increase_over) parts.unshift(`increase over ${rule.increase_over}`);
  if (rule.change_over) parts.unshift(`change over ${rule.change_over}${rule.change_in === "percent" ? " in %" : ""}`);
  if (rule.deviation_over) parts.unshift(`deviation over ${rule.deviation_over}`);
  if (rule.burn_over) parts.unshift(`burn rate of ${rule.objective} % over ${rule.burn_over}`);
  if (rule.absent_for) parts.push(`absent for ${rule.absent_for}`);
  if (rule.unchanged_for) parts.push(`unchanged for ${rule.unchanged_for}`);
  if (rule.for && rule.for !== "0s") parts.push(`for ${rule.for}`);
  if (rule.samples) parts.push(`of ${rule.min_samples} ${rule.samples} at least`);
  return parts.filter(Boolean).join(" ");
}

// A name as a pattern that it alone matches.
const pattern = name => name.replace(/[*?[]/g, "[$&]");

function mount(root, app, params) {
  let wanted = params, alerts = [], rules = new Map(), shownDay = "";
  const when = value => value ? app.dateTime(value) : DASH;
  const lasted = ({ first_seen: from, resolved: to }) => ((to ? Date.parse(to) : app.feed.now) - Date.parse(from)) / 1000;

  // -- the list

  const list = new Table({ label: "Alerts", key: row => row.alert_id, empty: "Loading …", maxRows: 14, onopen: row => open(row.alert_id), columns: [
    { id: "severity", title: "Severity", width: "66px", value: row => row.severity, className: row => SEVERITIES[row.severity] },
    { id: "state", title: "State", width: "106px", value: row => row.state, className: row => STATES[row.state], minWidth: 360 },
    { id: "title", title: "Alert", width: "minmax(90px, 3fr)", value: row => row.title, hint: row => row.detail || null },
    { id: "member", title: "Of", width: "minmax(60px, 1fr)", value: row => row.member, minWidth: 960 },
    { id: "value", title: "Value", about: "When it was raised", width: "minmax(60px, 0.8fr)", isNumber: true, value: row => row.value, text: row => shown(row.value), minWidth: 540 },
    { id: "threshold", title: "Threshold", width: "minmax(70px, 0.8fr)", isNumber: true, value: row => row.threshold, text: row => threshold(row), minWidth: 540 },
    { id: "first_seen", title: "Since", width: "104px", value: row => row.first_seen, text: row => app.shortTime(row.first_seen), hint: row => when(row.first_seen), minWidth: 760 },
    { id: "lasted", title: "Lasts", width: "84px", isNumber: true, value: lasted, text: row => duration(lasted(row)) },
    { id: "count", title: "Events", width: "52px", isNumber: true, value: row => row.count, minWidth: 1000 },
    { id: "acknowledged_by", title: "By", width: "minmax(50px, 0.8fr)", value: row => row.acknowledged_by, hint: row => row.comment || null, minWidth: 860 },
    { id: "comment", title: "Comment", width: "minmax(60px, 1.2fr)", value: row => row.comment, hint: row => row.comment || null, minWidth: 980 },
  ] });
  const search = h("input", { type: "search", placeholder: "Title, rule, member …", "aria-label": "Search the alerts", autocomplete: "off", oninput: event => choose({ q: event.target.value }) });
  const select = (name, choices) => h("select", { "aria-label": name, onchange: event => choose({ [name]: event.target.value || null }) },
    ...Object.entries(choices).map(([value, text]) => h("option", { value, text })));
  const state = select("state", { "": "open ones", active: "active", acknowledged: "acknowledged", resolved: "resolved", all: "all" });
  const severity = select("severity", { "": "any severity", critical: "critical", warning: "warning", info: "info" });
  const sound = h("button", { type: "button", class: "quiet", onclick: () => { app.bell.setSound(!app.settings.get("sound")); showSound(); } });
  const fault = h("p", { class: "fault", role: "alert", hidden: true }), note = h("p", { class: "note", role: "status" });
  const listPanel = panel("Alerts", { controls: [sound, list.csvButton("alerts")], body: [h("div", { class: "filters" }, search, state, severity), fault, list.element, note] });

  const threshold = row => {
    const [, sign] = comparison(rules.get(row.rule) ?? {});
    return row.threshold === null ? DASH : `${sign ? `${sign} ` : ""}${shown(row.threshold)}`;
  };

  function showSound() {
    const isOn = app.settings.get("sound");
    write(sound, isOn ? "Sound on" : "Sound off");
    setAttribute(sound, "aria-pressed", String(isOn));
  }

  function passes(alert) {
    const { q, severity: level, state: stage, rule } = wanted;
    if (level && alert.severity !== level || rule && alert.rule !== rule) return false;
    if (stage ? stage !== "all" && alert.state !== stage : alert.state === "resolved") return false;
    return !q || [alert.title, alert.key, alert.member, alert.detail, alert.comment, ...Object.values(alert.labels)].join("\n").toLowerCase().includes(q.toLowerCase());
  }

  function showList() {
    const rows = alerts.filter(passes), active = alerts.filter(each => each.state === "active").length;
    list.set(rows);
    list.setEmpty(alerts.length ? "No such alert." : "No alert has been raised.");
    write(note, `${count(rows.length)} shown; ${count(active)} active of ${count(alerts.length)} in memory.`);
  }

  // -- one alert

  const title = h("p", { class: "life-title" }), said = h("p", {}), links = h("p", { class: "links" }), unknown = h("p", { class: "fault", role: "alert", hidden: true });
  const figures = new Figures([
    { id: "severity", label: "Severity" }, { id: "state", label: "State" }, { id: "value", label: "Value when raised" }, { id: "now", label: "Value now" },
    { id: "threshold", label: "Threshold" }, { id: "rule", label: "Rule" }, { id: "first", label: "Since" }, { id: "last", label: "Last seen" },
    { id: "lasted", label: "Lasts" }, { id: "count", label: "Events" }, { id: "by", label: "Acknowledged" }, { id: "labels", label: "Labels" },
  ]);
  const gauge = h("div", { class: "gauge", "aria-hidden": "true" }, h("span", { class: "bar" }), h("span", { class: "mark" }));
  const author = h("input", { id: "alert-author", autocomplete: "name", required: true, maxlength: 128 }), comment = h("input", { id: "alert-comment", autocomplete: "off", maxlength: 1000 });
  author.value = read(AUTHOR);
  const length = h("select", { "aria-label": "duration" }, ...Object.entries(DURATIONS).map(([value, text]) => h("option", { value, text })));
  length.value = "4h";
  const isWhole = h("input", { type: "checkbox" }), wholeLabel = h("label", {}, isWhole, "all members of the rule");
  const done = h("p", { class: "note", role: "status" });
  const acknowledge = h("button", { type: "submit", class: "primary", text: "Acknowledge", value: "acknowledge" });
  const silence = h("button", { type: "submit", text: "Silence for", value: "silence" });
  const form = h("form", { class: "take", onsubmit: event => { event.preventDefault(); act(event.submitter?.value ?? "acknowledge"); } },
    h("label", { for: "alert-author", text: "Your name" }), author, h("label", { for: "alert-comment", text: "Comment" }), comment,
    h("div", { class: "filters" }, acknowledge, silence, length, wholeLabel), done);
  const occurrences = h("ol", { class: "life occurrences" }), older = h("button", { type: "button", class: "quiet", text: "Older", hidden: true, onclick: () => loadOccurrences(false) });
  const detail = panel("Alert", { className: "w4 detail", controls: [h("button", { type: "button", class: "quiet", text: "Close", onclick: () => open(null) })],
    body: [title, unknown, said, links, gauge, figures.element, form, h("h3", { text: "Every time it was raised" }), occurrences, older] });
  detail.hidden = true;
  let chosen = null, cursor = null, occurrencesOf = "", asked = null;

  function open(id) {
    wanted = app.setParams({ name: id });
    done.textContent = "";
    showDetail(true);
  }

  function showDetail(isNew = false) {
    const id = wanted.name || null;
    listPanel.classList.toggle("w8", id !== null);
    detail.hidden = id === null;
    chosen = id === null ? null : alerts.find(each => each.alert_id === id) ?? null;
    unknown.hidden = id === null || chosen !== null || !isLoaded;
    if (!unknown.hidden) write(unknown, "No alert of this id is in memory; what the store has of it is below.");
    figures.element.hidden = chosen === null;
    // What was open then may be over now.
    form.hidden = chosen === null || app.feed.isPast;
    if (id === null) return;
    if (chosen === null) {
      write(title, id);
      for (const each of [said, links, gauge]) each.hidden = true;
    } else draw();
    const key = `${id} ${chosen?.occurrence} ${chosen?.state}`;
    if (key !== occurrencesOf) {
      occurrencesOf = key;
      loadOccurrences(true);
    }
    if (isNew && matchMedia("(max-width: 1180px)").matches) detail.scrollIntoView({ block: "start" });
  }

  function draw() {
    const alert = chosen, rule = rules.get(alert.rule);
    write(title, alert.title);
    write(said, alert.detail);
    said.hidden = alert.detail === "";
    links.hidden = !Object.keys(alert.links).length;
    // A link of an event is a page of its sender's: it gets neither this page nor its address.
    links.replaceChildren(...Object.entries(alert.links).filter(([, url]) => /^https?:\/\//.test(url))
      .flatMap(([name, url], at) => [at ? " · " : "", h("a", { href: url, target: "_blank", rel: "noopener noreferrer", text: name, title: url })]));
    const member = rule?.members.find(each => each.member === alert.member);
    const current = rule === undefined ? null : rule.n_members > 1 || rule.members.length ? member?.value ?? null : rule.value;
    figures.set("severity", alert.severity, SEVERITIES[alert.severity]);
    figures.set("state", alert.state, STATES[alert.state]);
    figures.set("value", shown(alert.value), "", alert.value === null ? "An alert of the engine has no value." : null);
    figures.set("now", shown(current), "", current === null ? "The rule shows the values of members that are raised or pending." : null);
    figures.set("threshold", threshold(alert));
    figures.set("rule", alert.rule ? `${alert.rule}: ${rule ? `${rule.metric} ${condition(rule)}` : "no longer there"}` : `the engine's, ${alert.key}`);
    figures.set("first", when(alert.first_seen));
    figures.set("last", when(alert.last_seen));
    figures.set("lasted", duration(lasted(alert)));
    figures.set("count", `${count(alert.count)}, occurrence ${count(alert.occurrence)}`);
    figures.set("by", alert.acknowledged ? `${alert.acknowledged_by || "somebody"}, ${when(alert.acknowledged)}${alert.comment ? `: ${alert.comment}` : ""}` : DASH);
    figures.set("labels", Object.entries(alert.labels).map(([name, value]) => `${name}=${value}`).join(", ") || DASH);
    showGauge(current ?? alert.value, alert.threshold);
    acknowledge.hidden = alert.state !== "active";
    wholeLabel.hidden = !alert.member;
  }

  // The value as a bar, and the threshold as a mark on it.
  function showGauge(value, limit) {
    gauge.hidden = typeof value !== "number" || typeof limit !== "number";
    if (gauge.hidden) return;
    const most = Math.max(Math.abs(value), Math.abs(limit)) * 1.15 || 1;
    gauge.firstChild.style.width = `${Math.abs(value) / most * 100}%`;
    gauge.lastChild.style.left = `${Math.abs(limit) / most * 100}%`;
  }

  function act(what) {
    const alert = chosen, name = author.value.trim(), text = comment.value.trim();
    keep(AUTHOR, name);
    write(done, "…");
    const members = alert.member && !isWhole.checked ? [pattern(alert.member)] : [];
    const answer = () => what === "acknowledge"
      ? app.api.post(`/api/system/alerts/acknowledge/${encodeURIComponent(alert.alert_id)}?${new URLSearchParams({ author: name, comment: text })}`)
      : app.api.post("/api/system/silences", { author: name, comment: text, duration: length.value, rules: [pattern(alert.rule ?? alert.key)], members });
    app.tell(answer, document => {
      write(done, what === "acknowledge" ? "Acknowledged." : `Silent until ${when(document.end_time)}.`);
      comment.value = "";
      load();
    }, error => write(done, `Not done: ${error.errors?.map(each => `${each.parameter}: ${each.error}`).join("; ") || error.message}`));
  }

  function loadOccurrences(isFirst) {
    const id = wanted.name, mine = isFirst ? asked = {} : asked, from = isFirst ? null : cursor;
    app.ask(isFirst ? "occurrences" : "older occurrences", () => app.api.get("/api/system/alerts/history", { alert_id: id, time: app.feed.moment, limit: 20, cursor: from }), page => {
      // Older ones of what has been asked for anew meanwhile, or that a second click has asked for.
      if (mine !== asked || !isFirst && from !== cursor) return;
      if (isFirst) occurrences.replaceChildren();
      cursor = page.next_cursor;
      older.hidden = cursor === null;
      occurrences.append(...page.occurrences.map(each => h("li", {}, h("time", { class: "num dim", datetime: each.first_seen, text: when(each.first_seen) }),
        h("span", { class: "num dim gap", text: duration(lasted(each)) }),
        h("span", {}, h("span", { class: STATES[each.state], text: each.state }), each.value === null ? null : ` at ${shown(each.value)}`,
          ...each.transitions.filter(one => one.action === "acknowledged").map(one => h("span", { class: "dim", text: `; ${one.acknowledged_by || "somebody"}${one.comment ? `: ${one.comment}` : ""}` }))))));
      if (!occurrences.children.length) occurrences.append(h("li", {}, h("span", { class: "dim", text: "nothing is stored" })));
    }, error => {
      if (mine === asked) occurrences.replaceChildren(h("li", { class: "fault", text: error.message }));
    });
  }

  // -- silences, rules, delivery, history

  const silences = new Table({ label: "Silences", key: row => row.silence_id, empty: "Nothing is silenced.", maxRows: 6, columns: [
    { id: "rules", title: "Rules", width: "minmax(80px, 1.4fr)", value: row => row.rules.join(", ") || "all" },
    { id: "members", title: "Members", width: "minmax(60px, 1fr)", value: row => row.members.join(", ") || "all", minWidth: 420 },
    { id: "author", title: "By", width: "minmax(50px, 0.8fr)", value: row => row.author, minWidth: 340 },
    { id: "comment", title: "Comment", width: "minmax(60px, 1.4fr)", value: row => row.comment, hint: row => row.comment || null, minWidth: 520 },
    { id: "end_time", title: "Until", width: "104px", value: row => row.end_time, text: row => app.shortTime(row.end_time), hint: row => when(row.end_time) },
    { id: "end", title: "", about: "End", width: "48px", draw: (cell, row) => drawEnd(cell, row) },
  ] });
  function drawEnd(cell, row) {
    if (cell.dataset.silence === row.silence_id) return;
    cell.dataset.silence = row.silence_id;
    cell.replaceChildren(app.feed.isPast ? "" : h("button", { type: "button", class: "quiet", text: "End", "aria-label": `End the silence of ${row.author}`,
      onclick: () => app.tell(() => app.api.delete(`/api/system/silences/${row.silence_id}`), () => load(), error => showFault(error)) }));
  }
  const routes = new Table({ label: "Delivery", key: row => row.route, empty: "No route: alerts are shown here alone.", maxRows: 6, columns: [
    { id: "route", title: "Route", width: "minmax(70px, 1fr)", value: row => row.route },
    { id: "to", title: "To", width: "minmax(60px, 1fr)", value: row => row.to, minWidth: 420 },
    { id: "state", title: "State", width: "60px", value: row => row.state, className: row => row.state === "ok" ? "up" : "down" },
    ...["pending", "delivered", "failed", "dropped"].map((name, at) => ({ id: name, title: name[0].toUpperCase() + name.slice(1), width: "66px", isNumber: true, value: row => row[name],
      className: row => at > 1 && row[name] ? "down" : "", minWidth: [0, 340, 480, 620][at] })),
    { id: "last_delivered", title: "Last", width: "104px", value: row => row.last_delivered, text: row => app.shortTime(row.last_delivered), hint: row => when(row.last_delivered), minWidth: 560 },
    { id: "last_error", title: "Error", width: "minmax(60px, 1.6fr)", value: row => row.last_error, hint: row => row.last_error, className: () => "down", minWidth: 680 },
  ] });
  const notices = new Table({ label: "Notices", key: row => `${row.route} ${row.alert_id} ${row.timestamp} ${row.action}`, empty: "No notice yet.", maxRows: 6, columns: [
    { id: "timestamp", title: "Time", width: "104px", value: row => row.timestamp, text: row => app.shortTime(row.timestamp), hint: row => when(row.timestamp), minWidth: 340 },
    { id: "route", title: "Route", width: "minmax(60px, 1fr)", value: row => row.route, minWidth: 420 },
    { id: "action", title: "What", width: "84px", value: row => row.action },
    { id: "title", title: "Alert", width: "minmax(80px, 2fr)", value: row => row.title },
    { id: "outcome", title: "Outcome", width: "76px", value: row => row.outcome, className: row => row.outcome === "delivered" ? "up" : "down", hint: row => row.error, minWidth: 400 },
  ] });
  const ruleTable = new Table({ label: "Rules", key: row => row.rule, empty: "No rule.", maxRows: 10, onopen: row => choose({ rule: row.rule, state: "all" }), columns: [
    { id: "rule", title: "Rule", width: "minmax(90px, 1.2fr)", value: row => row.rule },
    { id: "state", title: "State", width: "64px", value: row => row.state, className: row => RULE_STATES[row.state] },
    { id: "value", title: "Value", width: "minmax(80px, 0.8fr)", isNumber: true, value: row => row.value, text: row => row.n_members > 1 ? things(row.n_members, "member") : shown(row.value), hint: row => row.waiting },
    { id: "condition", title: "Raised if", width: "minmax(90px, 1.6fr)", value: row => condition(row), hint: row => condition(row), minWidth: 400 },
    { id: "metric", title: "Metric", width: "minmax(90px, 1.4fr)", value: row => row.metric, hint: row => row.metric, minWidth: 560 },
    { id: "severity", title: "Severity", width: "66px", value: row => row.severity, className: row => SEVERITIES[row.severity], minWidth: 640 },
  ] });
  const history = new Table({ label: "History", key: row => `${row.alert_id} ${row.occurrence} ${row.first_seen}`, empty: "Loading …", maxRows: 12, onopen: row => open(row.alert_id), columns: [
    { id: "first_seen", title: "Began", width: "104px", value: row => row.first_seen, text: row => app.shortTime(row.first_seen), hint: row => when(row.first_seen), minWidth: 340 },
    { id: "severity", title: "Severity", width: "66px", value: row => row.severity, className: row => SEVERITIES[row.severity], minWidth: 420 },
    { id: "title", title: "Alert", width: "minmax(100px, 2.4fr)", value: row => row.title },
    { id: "member", title: "Of", width: "minmax(60px, 1fr)", value: row => row.member, minWidth: 700 },
    { id: "value", title: "Value", width: "minmax(60px, 0.7fr)", isNumber: true, value: row => row.value, text: row => shown(row.value), minWidth: 620 },
    { id: "lasted", title: "Lasted", width: "84px", isNumber: true, value: lasted, text: row => duration(lasted(row)) },
    { id: "state", title: "Ended as", width: "106px", value: row => row.state, className: row => STATES[row.state], minWidth: 520 },
    { id: "acknowledged_by", title: "By", width: "minmax(50px, 0.7fr)", value: row => row.acknowledged_by, minWidth: 760 },
    { id: "comment", title: "Comment", width: "minmax(60px, 1.2fr)", value: row => row.comment, hint: row => row.comment || null, minWidth: 860 },
  ] });
  const more = h("button", { type: "button", class: "quiet", text: "Load older", hidden: true, onclick: () => loadHistory(false) }), historyFault = h("p", { class: "fault", hidden: true });
  let historyRows = [], historyCursor = null;

  function loadHistory(isFirst) {
    const before = historyRows;
    app.ask(isFirst ? "history" : "older history", () => app.api.get("/api/system/alerts/history", { severity: wanted.severity, rule: wanted.rule, time: app.feed.moment, limit: PAGE, cursor: isFirst ? null : historyCursor }), page => {
      if (!isFirst && historyRows !== before) return;
      historyRows = isFirst ? page.occurrences : [...historyRows, ...page.occurrences];
      historyCursor = page.next_cursor;
      more.hidden = historyCursor === null;
      historyFault.hidden = true;
      history.setEmpty("No alert has been raised.");
      history.set(historyRows);
    }, error => {
      historyFault.hidden = false;
      write(historyFault, `The history cannot be shown: ${error.message}`);
    });
  }

  root.append(listPanel, detail,
    panel("Rules", { className: "w7", controls: [ruleTable.csvButton("rules")], body: [ruleTable.element] }),
    panel("Silences", { className: "w5", controls: [silences.csvButton("silences")], body: [silences.element] }),
    panel("History", { controls: [history.csvButton("history")], body: [history.element, historyFault, h("div", { class: "filters" }, more)] }),
    panel("Delivery", { className: "w7", controls: [routes.csvButton("delivery")], body: [routes.element] }),
    panel("Newest notices", { className: "w5", controls: [notices.csvButton("notices")], body: [notices.element] }),
  );

  const tables = [list, silences, routes, notices, ruleTable, history];

  // -- questions and choices

  let isLoaded = false;
  function load() {
    const names = ["system_alerts", "alert_rules", "system_silences", "system_notifications"];
    app.ask("alerts", () => Promise.all(names.map(name => app.document(name))), ([found, known, silent, delivered]) => {
      isLoaded = true;
      fault.hidden = true;
      alerts = found.alerts;
      rules = new Map(known.rules.map(rule => [rule.rule, rule]));
      ruleTable.set(known.rules);
      silences.set(silent.silences);
      routes.set(delivered.routes);
      notices.set(delivered.recent);
      showList();
      showDetail();
    }, showFault);
  }

  function showFault(error) {
    fault.hidden = false;
    write(fault, `The alerts cannot be shown: ${error.message}`);
  }

  function choose(changes) {
    change(app.setParams(changes));
  }

  function change(next) {
    const before = [wanted.severity, wanted.rule].join();
    wanted = next;
    if (search.value !== (next.q ?? "")) search.value = next.q ?? "";
    state.value = next.state ?? "";
    severity.value = next.severity ?? "";
    showList();
    showDetail();
    if (before !== [next.severity, next.rule].join()) loadHistory(true);
  }

  change(params);
  showSound();
  load();
  loadHistory(true);
  let isDirty = false, askedAt = performance.now();
  const timer = setInterval(() => {
    if (document.hidden || !isDirty && performance.now() - askedAt < REFRESH_MS) return;
    if (isDirty) loadHistory(true);
    isDirty = false;
    askedAt = performance.now();
    load();
  }, 500);
  return {
    subscription: () => ({ channels: ["alerts"] }),
    move() {
      isDirty = true;
    },
    entries(entries) {
      isDirty ||= entries.some(entry => entry.type === "alert");
    },
    update() {
      const day = `${app.today} ${app.settings.zone}`;
      if (shownDay === day) return;
      shownDay = day;
      for (const each of tables) each.set([...each.rows]);
      showDetail();
    },
    change,
    unmount() {
      clearInterval(timer);
      for (const each of tables) each.close();
    },
  };
}

function read(key) {
  try {
    return localStorage.getItem(key) ?? "";
  } catch {
    return "";
  }
}

function keep(key, value) {
  try {
    localStorage.setItem(key, value);
  } catch {
    // A browser that keeps nothing asks for the name again.
  }
}

export default { id: "alerts", title: "Alerts", key: "a", mount };
