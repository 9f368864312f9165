// System: the hosts of a desk, processes, latency along the path, clients, store and recorder, this page itself, and the logs.

import { Figures, h, panel, write } from "../js/dom.js";
import { DASH, bytes, count, duration, milliseconds, number, things } from "../js/format.js";
import { siteRows, sitesTable } from "./sites.js";
import { percentile } from "../js/state.js";
import { Table } from "../js/table.js";

const POLL_MS = 2000;
const LOG_LINES = 500;
// A lag of an edge that people notice.
const LATE_MS = 1000;
const LEVELS = ["debug", "info", "warning", "error", "critical"];
const SOURCE_TONES = { __proto__: null, connected: "up", connecting: "warn" };
const LEVEL_TONES = { __proto__: null, WARNING: "warn", ERROR: "down", CRITICAL: "down" };
const PATH = {
  __proto__: null,
  tick: ["Tick", "How long the snapshot takes to make"],
  late: ["Late", "How late a tick begins"],
  fanout: ["Fan-out", "From the tick to the last byte handed to the kernel, over all clients of a worker"],
  age_at_send: ["Event to wire", "From the newest event to the last byte handed to the kernel"],
  tick_to_eye: ["Tick to eye", "From the tick to the painted frame, as pages report it, each to half its round trip"],
  event_to_eye: ["Event to eye", "From the newest event to the painted frame, as pages report it, each to half its round trip"],
};

function mount(root, app, params) {
  let level = LEVELS.includes(params.level) ? params.level : "info", query = params.q ?? "", logs = [], timer = null, isAlone = false;
  const host = new Figures([
    { id: "health", label: "Health" }, { id: "uptime", label: "Uptime" }, { id: "cpu", label: "CPU of the host" }, { id: "memory", label: "Memory" },
    { id: "disk", label: "Disk" }, { id: "lag", label: "Loop lag" }, { id: "rss", label: "Memory of the hub" }, { id: "fds", label: "Descriptors" },
  ]);
  const clients = new Figures([
    { id: "websocket", label: "Clients of the stream" }, { id: "http", label: "HTTP connections" }, { id: "requests", label: "Requests answered" },
    { id: "sent", label: "Snapshots sent per second" }, { id: "behind", label: "Clients behind" }, { id: "skipped", label: "Frames skipped", title: "For clients that were too slow" },
    { id: "backlog", label: "Entries waiting in lanes" }, { id: "missed", label: "Ticks missed" },
  ]);
  const data = new Figures([
    { id: "symbols", label: "Symbols" }, { id: "events", label: "Events taken" }, { id: "store", label: "Store" }, { id: "rows", label: "Rows waiting for the disk" },
    { id: "written", label: "Rows written" }, { id: "pruned", label: "Rows pruned" }, { id: "faults", label: "Failed writes / lost rows" }, { id: "recorder", label: "Flight recorder" },
  ]);
  const page = new Figures([
    { id: "eye", label: "Event to eye, p50 / p99", title: "From the newest event to the painted frame on this screen" },
    { id: "tick", label: "Tick to eye, p50 / p99" }, { id: "bound", label: "Known to within", title: "Half of the round trip. Clocks of browser and server are never compared." },
    { id: "busy", label: "Work per tick, p50 / p99", title: "Time on the main thread, from the message to the end of the render" },
    { id: "renders", label: "Renders" }, { id: "left", label: "Frames left out" }, { id: "heap", label: "Heap of this page" }, { id: "rate", label: "Ticks per second shown" },
  ]);
  const path = new Table({ label: "Latency along the path", key: row => row.name, empty: "Nothing was measured yet.", maxRows: 8, columns: [
    { id: "name", title: "Stretch", width: "minmax(58px, 1.5fr)", value: row => row.title, hint: row => row.about },
    ...[["p50_ms", "p50"], ["p95_ms", "p95"], ["p99_ms", "p99"], ["max_ms", "Maximum"]].map(([id, title]) =>
      ({ id, title, isNumber: true, width: "minmax(62px, 1fr)", minWidth: id === "p95_ms" ? 400 : id === "max_ms" ? 320 : 0, value: row => row[id], text: row => milliseconds(row[id]) })),
    { id: "n", title: "n", isNumber: true, width: "minmax(40px, 1fr)", value: row => row.n, text: row => count(row.n) },
  ] });
  const processes = new Table({ label: "Processes and components", key: row => row.name, empty: "One process does everything.", maxRows: 14, columns: [
    { id: "name", title: "Name", width: "minmax(90px, 1.4fr)", value: row => row.name },
    { id: "status", title: "Status", width: "74px", value: row => row.status, className: row => row.status === "ok" ? "up" : "down" },
    { id: "pid", title: "Pid", isNumber: true, width: "64px", minWidth: 560, value: row => row.pid, text: row => row.pid ?? DASH },
    { id: "cpu", title: "CPU", isNumber: true, width: "64px", value: row => row.process_cpu_percent, text: row => row.process_cpu_percent == null ? DASH : `${number(row.process_cpu_percent, 1)} %` },
    { id: "memory", title: "Memory", isNumber: true, width: "76px", minWidth: 380, value: row => row.process_rss_bytes, text: row => bytes(row.process_rss_bytes) },
    { id: "uptime", title: "Up for", isNumber: true, width: "84px", minWidth: 640, value: row => row.uptime_seconds, text: row => duration(row.uptime_seconds) },
    { id: "clients", title: "Clients", isNumber: true, width: "60px", minWidth: 460, value: row => row.websocket_clients, text: row => count(row.websocket_clients) },
    { id: "age", title: "Newest input", isNumber: true, width: "92px", minWidth: 700, value: row => row.input_age_seconds ?? row.age_seconds, text: row => duration(row.input_age_seconds ?? row.age_seconds) },
    { id: "reason", title: "Reason", width: "minmax(60px, 1fr)", minWidth: 780, value: row => row.reason ?? row.detail ?? "" },
  ] });
  const sources = new Table({ label: "Live sources", key: row => row.name, empty: "No live source is configured.", maxRows: 8, columns: [
    { id: "name", title: "Source", width: "minmax(120px, 2fr)", value: row => row.name, hint: row => row.name },
    { id: "state", title: "State", width: "84px", value: row => row.state, className: row => SOURCE_TONES[row.state] ?? "down" },
    { id: "age", title: "Last message", isNumber: true, width: "92px", value: row => row.age_seconds, text: row => row.age_seconds == null ? DASH : `${duration(row.age_seconds)} ago` },
    { id: "rate", title: "Per second", isNumber: true, width: "76px", minWidth: 480, value: row => row.rate, text: row => number(row.rate, 1) },
    { id: "normal", title: "Normally", isNumber: true, width: "70px", minWidth: 640, value: row => row.normal_rate, text: row => number(row.normal_rate, 1) },
    ...[["messages", "Messages"], ["gaps", "Gaps"], ["rejected", "Rejected"], ["reconnects", "Reconnects"]].map(([id, title]) =>
      ({ id, title, isNumber: true, width: "78px", minWidth: 820, value: row => row[id], text: row => count(row[id]), className: row => (id === "gaps" || id === "rejected") && row[id] ? "down" : "" })),
    { id: "error", title: "Error", width: "minmax(80px, 2fr)", minWidth: 560, value: row => row.error ?? "", hint: row => row.error },
  ] });
  const desk = new Figures([
    { id: "name", label: "Desk" }, { id: "host", label: "This host" }, { id: "leader", label: "Leads" }, { id: "since", label: "Since" },
    { id: "epoch", label: "Epoch of its frames" }, { id: "term", label: "Its lease", title: "Number of the lease under which it leads: a later hub's is higher" },
    { id: "standby", label: "Hubs that stand by" }, { id: "edges", label: "Edges" },
  ]);
  const hosts = new Table({ label: "Hosts of the desk", key: row => `${row.host} ${row.pid}`, empty: "No other host has said anything.", maxRows: 12, columns: [
    { id: "host", title: "Host", width: "minmax(66px, 1.4fr)", value: row => row.host, text: row => row.isThis ? `${row.host} (this one)` : row.host, hint: row => row.host },
    { id: "does", title: "Does", width: "70px", value: row => row.does, className: row => row.does === "leads" ? "up" : "" },
    { id: "pid", title: "Pid", isNumber: true, width: "64px", minWidth: 560, value: row => row.pid },
    { id: "behind", title: "Behind", isNumber: true, width: "58px", value: row => row.behind, text: row => count(row.behind), hint: row => row.unit, className: row => row.behind ? "warn" : "",
      about: "Frames that an edge lacks; commits that a hub which stands by lacks" },
    { id: "lag", title: "Lag", isNumber: true, width: "66px", value: row => row.lag, text: row => row.lag === 0 ? "0 ms" : milliseconds(row.lag), className: row => row.lag > LATE_MS ? "warn" : "",
      about: "Of an edge: from the hub's publishing of a frame to its arrival. Of a hub that stands by: for how long it has lacked something" },
    { id: "clients", title: "Clients", isNumber: true, width: "64px", minWidth: 420, value: row => row.clients, text: row => count(row.clients) },
    { id: "version", title: "Version", width: "70px", minWidth: 640, value: row => row.version },
    { id: "age", title: "Said", isNumber: true, width: "84px", minWidth: 480, value: row => row.age_seconds, text: row => `${row.age_seconds.toFixed(1)} s ago`, about: "Each host says it once a second; after 5 s it is taken to be gone" },
  ] });
  const deskFault = h("p", { class: "fault" });
  const ofHub = h("p", { class: "dim", text: "Host, clients, store, latency and processes below are those of the hub that leads.", hidden: true });
  const sites = sitesTable(() => app.settings.zone);
  const ofSites = panel("Sites", { controls: [sites.csvButton("sites")], body: [sites.element] });
  ofSites.hidden = true;
  const lines = new Table({ label: "Log", key: row => row.key, empty: "No line is like that.", maxRows: 16, onopen: showLine, columns: [
    { id: "timestamp", title: "Time", width: "64px", value: row => row.timestamp, text: row => app.time(row.timestamp), hint: row => row.timestamp },
    { id: "level", title: "Level", width: "66px", value: row => row.level, className: row => LEVEL_TONES[row.level] ?? "dim" },
    { id: "process", title: "Process", width: "76px", minWidth: 700, value: row => row.process ?? row.source },
    { id: "logger", title: "Logger", width: "minmax(90px, .5fr)", minWidth: 560, value: row => row.logger },
    { id: "message", title: "Message", width: "minmax(100px, 3fr)", value: row => row.message, hint: row => row.message },
  ] });
  const line = h("pre", { class: "line", hidden: true });
  const search = h("input", { type: "search", placeholder: "Search (/)", "aria-label": "Search the log", value: query,
    oninput: () => { query = search.value; app.setParams({ q: query }); showLogs(); } });
  const levels = h("select", { "aria-label": "Least level", onchange: () => { level = levels.value; app.setParams({ level }); load(); } },
    ...LEVELS.map(name => h("option", { value: name, text: name, selected: name === level })));
  const fault = h("p", { class: "fault" });
  const recorded = h("p", { class: "note", hidden: true, text: "Clients, store, latency and processes are those recorded last before this moment, about ten seconds apart." });
  const deskPanels = [
    panel("Desk", { className: "w4", body: [desk.element, deskFault, ofHub] }),
    panel("Hosts of the desk", { className: "w8", controls: [hosts.csvButton("hosts")], body: [hosts.element] }),
  ];
  const showPanels = isShown => { for (const each of deskPanels) each.hidden = !isShown; };
  showPanels(false);
  root.append(
    recorded,
    ofSites,
    ...deskPanels,
    panel("Host", { className: "w3", body: [host.element] }),
    panel("Clients", { className: "w3", body: [clients.element] }),
    panel("Data and store", { className: "w3", body: [data.element] }),
    panel("This page", { className: "w3", body: [page.element] }),
    panel("Latency along the path", { className: "w5", controls: [path.csvButton("latency")], body: [path.element] }),
    panel("Processes and components", { className: "w7", controls: [processes.csvButton("components")], body: [processes.element] }),
    panel("Live sources", { controls: [sources.csvButton("sources")], body: [sources.element] }),
    panel("Log", { controls: [search, levels, lines.csvButton("log")], body: [lines.element, line, fault] }));

  function showLine(row) {
    line.hidden = false;
    write(line, `${row.timestamp} ${row.level} ${row.process ?? row.source} ${row.logger}: ${row.message}${row.fields ? `\n${JSON.stringify(row.fields, null, 1)}` : ""}`);
  }

  function showLogs() {
    const text = query.trim().toLowerCase();
    lines.set(text ? logs.filter(each => `${each.message} ${each.logger} ${each.process ?? ""}`.toLowerCase().includes(text)) : logs);
  }

  function load() {
    clearTimeout(timer);
    timer = setTimeout(load, POLL_MS);
    // A hidden page asks for nothing.
    if (document.hidden) return;
    const failed = error => write(fault, `${app.feed.isPast ? "Not in this recording" : "The server does not say"}: ${error.message}`);
    if (!isAlone) app.ask("health", () => app.document("system_health"), showDesk, failed);
    app.ask("performance", () => app.document("system_performance"), showPerformance, failed);
    app.ask("stats", () => app.document("system_stats"), showStats, failed);
    app.ask("components", () => app.document("system_components"), ({ components }) => {
      write(fault, "");
      processes.set(Object.entries(components).map(([name, each]) => ({ name, ...each })));
    }, failed);
    app.ask("logs", () => app.api.get(app.feed.isPast ? "/api/recordings/logs" : "/api/system/logs/recent", { level, limit: LOG_LINES, time: app.feed.moment }), answer => {
      logs = answer.logs.map((each, at) => ({ ...each, key: `${each.timestamp} ${each.process} ${answer.logs.length - at}` }));
      showLogs();
    }, failed);
  }

  function showDesk({ desk: found }) {
    // A host does not become part of a desk while it runs, but its own process may be away for a moment.
    isAlone = found === null && deskPanels[0].hidden;
    if (found === null) return;
    showPanels(true);
    ofHub.hidden = found.leads;
    const { leader } = found;
    desk.set("name", found.name);
    desk.set("host", `${found.leads ? "hub that leads" : found.role}: ${found.host}`);
    desk.set("leader", leader ? leader.host : "none", leader ? "up" : "down", found.trouble);
    desk.set("since", app.dateTime(leader?.since));
    desk.set("epoch", leader?.epoch ?? DASH);
    desk.set("term", leader ? count(leader.term) : DASH);
    desk.set("standby", count(found.standby.length), found.standby.length ? "" : "warn", found.standby.length ? null : "No hub takes the place of the one that leads.");
    desk.set("edges", count(found.edges.length));
    write(deskFault, found.trouble ?? "");
    hosts.set([
      ...(leader ? [{ ...leader, does: "leads" }] : []),
      ...found.standby.map(each => ({ ...each, does: "stands by", behind: each.records_behind, unit: "commits", lag: each.seconds_behind === null ? null : 1000 * each.seconds_behind })),
      ...found.edges.map(each => ({ ...each, does: "edge", behind: each.frames_behind, unit: "frames", lag: each.lag_ms })),
    ].map(each => ({ ...each, isThis: each.host === found.host && each.pid === found.pid })));
  }

  function showPerformance(found) {
    clients.set("sent", number(found.throughput_per_sec, 1));
    clients.set("behind", count(found.queues?.clients_behind), found.queues?.clients_behind ? "warn" : "");
    clients.set("skipped", count(found.frames_skipped), found.frames_skipped ? "warn" : "");
    clients.set("backlog", count(found.queues?.lane_backlog));
    clients.set("missed", count(found.ticks_missed), found.ticks_missed ? "warn" : "");
    data.set("rows", found.queues?.store_rows === undefined ? DASH : count(found.queues.store_rows), "", found.queues?.store_rows === undefined ? NO_STORE : null);
    path.set(Object.entries(found.path).map(([name, each]) => ({ name, title: PATH[name]?.[0] ?? name, about: PATH[name]?.[1], ...each })));
  }

  function showStats(found) {
    const { symbols, store, recorder } = found;
    data.set("symbols", `${count(symbols.tracked)} of ${count(symbols.max)}`, symbols.refused ? "down" : "", symbols.refused ? `${things(symbols.refused, "symbol")} ${symbols.refused === 1 ? "was" : "were"} refused` : null);
    data.set("events", count(Object.values(found.events).flatMap(each => Object.values(each)).reduce((sum, each) => sum + each, 0)));
    const stored = (id, text, tone = "") => data.set(id, store ? text() : DASH, tone, store ? null : NO_STORE);
    stored("store", () => bytes(store.bytes));
    stored("written", () => count(store.rows));
    stored("pruned", () => count(store.rows_pruned));
    stored("faults", () => `${count(store.errors)} / ${count(store.rows_lost)}`, store && (store.errors || store.rows_lost) ? "down" : "");
    data.set("recorder", recorder ? `${bytes(recorder.bytes)}, ${things(recorder.frames, "frame")}` : DASH, "", recorder ? null : NO_STORE);
    clients.set("websocket", count(found.connections.websocket));
    clients.set("http", count(found.connections.http));
    clients.set("requests", count(found.http_requests));
  }

  let seen = { seq: null, at: 0 };
  function update(snapshot) {
    const { system } = snapshot, { feed } = app;
    recorded.hidden = !feed.isPast;
    host.set("health", system.health ?? DASH, system.health === "healthy" ? "up" : "down", (system.health_reasons ?? []).join("; ") || null);
    host.set("uptime", duration(system.uptime_seconds));
    host.set("cpu", `${number(system.cpu_percent, 1)} %`, system.cpu_percent >= 95 ? "down" : "");
    host.set("memory", `${number(system.memory_percent, 1)} % of ${bytes(system.memory_limit_bytes)}`);
    host.set("disk", `${number(system.disk_percent, 1)} %`);
    host.set("lag", milliseconds(system.event_loop_lag_ms));
    host.set("rss", bytes(system.process_rss_bytes));
    host.set("fds", count(system.num_fds));
    if (ofSites.hidden && system.missing_sites) {
      // Only an aggregator has this section, and a hub does not take a channel that it has not got.
      ofSites.hidden = false;
      app.refreshSubscription();
    }
    if (snapshot.sites) sites.set(siteRows(snapshot));
    sources.set(Object.entries(system.sources ?? {}).map(([name, each]) => ({ name, ...each })));
    // What changes with every frame is written once a second.
    const now = performance.now();
    if (now - seen.at < 1000) return;
    const two = (list, show) => `${show(percentile(list, 50))} / ${show(percentile(list, 99))}`;
    page.set("busy", two(feed.times, milliseconds));
    page.set("renders", count(feed.renders));
    page.set("left", count(feed.skippedFrames));
    page.set("rate", seen.seq === null ? DASH : number(1000 * (feed.renders - seen.renders) / (now - seen.at), 1));
    page.set("heap", performance.memory ? bytes(performance.memory.usedJSHeapSize) : DASH, "", performance.memory ? null : "This browser does not say.");
    page.set("tick", two(feed.eyes.map(each => each.tick_to_eye_ms), milliseconds));
    page.set("eye", two(feed.eyes.map(each => each.event_to_eye_ms).filter(each => each !== null), milliseconds));
    page.set("bound", feed.eyes.length ? `± ${milliseconds(feed.eyes.at(-1).uncertainty_ms)}` : DASH);
    seen = { seq: snapshot.seq, at: now, renders: feed.renders };
  }

  load();
  return {
    subscription: () => ({ channels: ofSites.hidden ? ["system"] : ["system", "sites", "strategy"] }),
    update,
    move: load,
    change: changed => {
      query = search.value = changed.q ?? "";
      if (LEVELS.includes(changed.level)) level = levels.value = changed.level;
      showLogs();
    },
    unmount: () => {
      clearTimeout(timer);
      for (const table of [path, processes, sources, sites, hosts, lines]) table.close();
    },
  };
}

const NO_STORE = "The server keeps nothing on disk: it was started without a DATA_DIR.";

export default { id: "system", title: "System", key: "y", mount };
