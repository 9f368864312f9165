// Overview: does the system make money, and is it alive?

import { CURVE_RANGES as RANGES, EquityCurves } from "../js/chart.js";
import { Figures, Tabs, h, panel, write } from "../js/dom.js";
import { DASH, bps, count, dateTime, duration, milliseconds, number, percent, signed, things, tone } from "../js/format.js";
import { Table } from "../js/table.js";

// A gap of more than this in what was drawn is filled from the server: the page was hidden, or the connection lost.
const GAP_MS = 15e3;
const RELOAD_MS = 60e3;
const YOUNG_SECONDS = 900;

function mount(root, app, params) {
  const money = value => number(value), gained = value => signed(value);
  const pnl = new Figures([
    { id: "daily", label: "P&L today" }, { id: "total", label: "P&L in all" }, { id: "realized", label: "Realised" },
    { id: "unrealized", label: "Unrealised" }, { id: "equity", label: "Equity" }, { id: "drawdown", label: "Drawdown" },
    { id: "share", label: "Of its peak" }, { id: "maxDrawdown", label: "Deepest drawdown" },
  ], { className: "tiles" });
  const exposure = new Figures([
    { id: "gross", label: "Gross exposure" }, { id: "net", label: "Net exposure" }, { id: "leverage", label: "Gross / equity" },
    { id: "positions", label: "Open positions" }, { id: "strategies", label: "Strategies" }, { id: "fees", label: "Fees" },
    { id: "winRate", label: "Win rate", title: "Of trades that closed something" },
  ]);
  const execution = new Figures([
    { id: "orders", label: "Orders today" }, { id: "fills", label: "Fills today" }, { id: "open", label: "Open orders" },
    { id: "fillRate", label: "Fill rate" }, { id: "rejectRate", label: "Reject rate" },
    { id: "latency", label: "Latency p50 / p99" }, { id: "slippage", label: "Slippage" },
  ]);
  const health = new Figures([
    { id: "health", label: "Health" }, { id: "alerts", label: "Open alerts" },
    { id: "market", label: "Newest market data", title: "Age of the newest quote or print" },
    { id: "strategy", label: "Newest fill or position", title: "Age of the newest input of the strategy section" },
    { id: "execution", label: "Newest order report" }, { id: "cpu", label: "CPU / memory" }, { id: "lag", label: "Loop lag" },
  ]);
  const reasons = h("ul", { class: "list" });

  let range = params.range in RANGES ? params.range : "1h", loadedAt = 0;
  const fault = h("p", { class: "fault", role: "status" }), corrected = h("p", { class: "note", role: "status" });
  const curves = new EquityCurves(app.settings, { about: "over time", heights: [300, 130] });
  const tabs = new Tabs("Range", RANGES, id => { app.setParams({ range: id }); choose(id); });
  tabs.press(range);

  const sources = new Table({ label: "Sources and components", key: row => row.name, empty: "No source is connected.", maxRows: 8,
    columns: [
      { id: "name", title: "Source or component", width: "minmax(90px, 2fr)", value: row => row.name },
      { id: "state", title: "State", width: "84px", value: row => row.state, className: row => row.tone },
      { id: "age", title: "Newest", width: "72px", isNumber: true, value: row => row.age, text: row => duration(row.age) },
      { id: "rate", title: "Per second", width: "76px", isNumber: true, value: row => row.rate, text: row => number(row.rate, 1), minWidth: 380 },
      { id: "note", title: "Note", width: "minmax(60px, 1.4fr)", value: row => row.note, minWidth: 460 },
    ] });
  const strategies = new Table({ label: "Strategies", key: row => row.name, empty: "No strategy has traded yet.", maxRows: 8,
    onopen: row => app.go("strategies", { name: row.name }), sort: { id: "total", isDescending: true },
    columns: [
      { id: "name", title: "Strategy", width: "minmax(110px, 2fr)", value: row => row.name },
      { id: "daily", title: "Today", isNumber: true, width: "minmax(80px, 1fr)", value: row => row.daily_pnl, text: row => gained(row.daily_pnl), className: row => tone(row.daily_pnl), minWidth: 380 },
      { id: "total", title: "In all", isNumber: true, width: "minmax(80px, 1fr)", value: row => row.total_pnl, text: row => gained(row.total_pnl), className: row => tone(row.total_pnl) },
      { id: "drawdown", title: "Drawdown", isNumber: true, width: "minmax(80px, 1fr)", value: row => row.drawdown, text: row => money(row.drawdown), minWidth: 420 },
      { id: "winRate", title: "Win rate", isNumber: true, width: "72px", value: row => row.win_rate, text: row => percent(row.win_rate), minWidth: 500 },
      { id: "fills", title: "Fills", isNumber: true, width: "60px", value: row => row.fills, text: row => count(row.fills) },
    ] });

  root.append(
    panel("Profit and loss", { body: [pnl.element] }),
    panel("Equity", { className: "w9", controls: [tabs.element],
      body: [...curves.elements, corrected, fault] }),
    h("div", { class: "column w3" }, panel("Exposure", { body: [exposure.element] }), panel("Health", { body: [health.element, reasons] })),
    h("div", { class: "column w9" },
      panel("Strategies", { controls: [strategies.csvButton("strategies")], body: [strategies.element] }),
      panel("Sources and components", { controls: [sources.csvButton("sources")], body: [sources.element] })),
    panel("Execution", { className: "w3", body: [execution.element] }),
  );

  function choose(id) {
    range = id;
    tabs.press(id);
    load();
  }

  function load() {
    const asked = range, { interval, ms } = RANGES[asked];
    loadedAt = Date.now();
    app.ask("curve", () => {
      // A server that has just started has few points of ten seconds.
      const isYoung = asked === "1h" && !app.feed.isPast && app.feed.snapshot?.system.uptime_seconds < YOUNG_SECONDS;
      return app.api.history({ ...app.before(asked, ms), interval: isYoung ? "1s" : interval, metric_types: ["strategy"], metrics: ["equity", "drawdown"] });
    }, ({ data, corrections, corrections_total: total }) => {
      if (asked !== range) return;
      const until = (corrections ?? []).map(each => each.shown_until).sort().at(-1);
      write(corrected, until ? `Figures before ${dateTime(Date.parse(until), app.settings.zone)} were shown before a correction (${count(total)} in this time).` : "");
      write(fault, "");
      curves.set(data[0]);
    }, error => write(fault, `The history cannot be shown: ${error.message}`));
  }

  let last = null, epoch = null, isPast = app.feed.isPast;
  function update(snapshot) {
    const { strategy, execution: orders, system, age_ms: age } = snapshot;
    const at = Date.parse(snapshot.timestamp), { ms, interval } = RANGES[range];
    const hasGap = last !== null && Math.abs(at - last) > GAP_MS || isPast !== app.feed.isPast;
    if (epoch !== snapshot.epoch || hasGap || interval !== "10s" && Date.now() - loadedAt > RELOAD_MS) load();
    if (last === null || hasGap || at - last >= 950) {
      // Points of longer ranges are minutes and more apart, and come from the server.
      // A sum that lacks a site is no point of the curve of all.
      if (interval === "10s") curves.append(at, strategy.missing_sites?.length ? { equity: null, drawdown: null } : strategy, ms);
      last = at;
    }
    epoch = snapshot.epoch;
    isPast = app.feed.isPast;
    const reason = strategy.path_reason ?? strategy.unconverted_reason;
    const gain = (id, value) => pnl.set(id, gained(value), tone(value), value === null ? reason : null);
    gain("daily", strategy.daily_pnl);
    gain("total", strategy.total_pnl);
    gain("realized", strategy.realized_pnl);
    gain("unrealized", strategy.unrealized_pnl);
    pnl.set("equity", money(strategy.equity), "", reason);
    pnl.set("drawdown", money(strategy.drawdown), strategy.drawdown > 0 ? "down" : "", reason);
    pnl.set("share", strategy.drawdown_pct === null ? DASH : `${number(strategy.drawdown_pct)} %`, "", reason);
    pnl.set("maxDrawdown", money(strategy.max_drawdown), "",
      strategy.max_drawdown_pct === null ? reason : `At most ${number(strategy.max_drawdown_pct)} % of a peak`);
    exposure.set("gross", money(strategy.gross_exposure));
    exposure.set("net", gained(strategy.net_exposure));
    exposure.set("leverage", strategy.equity > 0 ? `${number(strategy.gross_exposure / strategy.equity)} ×` : DASH);
    exposure.set("positions", count(strategy.open_positions));
    exposure.set("strategies", count(Object.keys(strategy.strategies).length));
    exposure.set("fees", money(strategy.fees));
    exposure.set("winRate", percent(strategy.win_rate), "", strategy.win_rate === null ? "No trade has closed anything yet." : null);
    execution.set("orders", count(orders.orders_today));
    execution.set("fills", count(orders.fills_today));
    execution.set("open", count(orders.open_orders));
    execution.set("fillRate", percent(orders.fill_rate), "", orders.fill_rate_reason);
    execution.set("rejectRate", percent(orders.reject_rate), orders.reject_rate > 0.05 ? "down" : "");
    execution.set("latency", `${milliseconds(orders.latency_p50_ms)} / ${milliseconds(orders.latency_p99_ms)}`, "",
      orders.n_latency ? things(orders.n_latency, "order") : "No order has been acknowledged yet.");
    execution.set("slippage", bps(orders.avg_slippage_bps), "",
      orders.n_slippage ? things(orders.n_slippage, "fill") : "No fill has an arrival price yet.");
    const aged = value => value === null ? DASH : `${duration(value / 1000)} ago`;
    health.set("health", system.health ?? DASH, system.health === "healthy" ? "up" : "down");
    health.set("alerts", `${count(system.active_alerts)}${system.critical_alerts ? `, ${system.critical_alerts} critical` : ""}`,
      system.active_alerts ? "down" : "");
    health.set("market", aged(age.market_data), age.market_data > 5000 ? "warn" : "");
    health.set("strategy", aged(age.strategy));
    health.set("execution", aged(age.execution));
    health.set("cpu", `${number(system.cpu_percent, 1)} % / ${number(system.memory_percent, 1)} %`);
    health.set("lag", milliseconds(system.event_loop_lag_ms));
    const words = (system.health_reasons ?? []).map(each => typeof each === "string" ? each : JSON.stringify(each));
    if (reasons.dataset.words !== words.join("\n")) {
      reasons.dataset.words = words.join("\n");
      reasons.replaceChildren(...words.map(text => h("li", { class: "down", text })));
    }
    strategies.set(Object.entries(strategy.strategies).map(([name, each]) => ({ name, ...each })));
    sources.set(sourceRows(system, age));
  }

  return {
    subscription: () => ({ channels: ["strategy", "execution", "system"] }),
    update,
    change: changed => { if (changed.range in RANGES) choose(changed.range); },
    unmount: () => {
      for (const each of [curves, sources, strategies]) each.close();
    },
  };
}

const SOURCE_TONES = { __proto__: null, connected: "up", silent: "down", failed: "down", connecting: "warn" };

function sourceRows(system, age) {
  const rows = Object.entries(system.sources ?? {}).map(([name, source]) => ({
    name, state: source.state, tone: SOURCE_TONES[source.state] ?? "", age: source.age_seconds, rate: source.rate,
    note: source.error ?? (source.gaps ? things(source.gaps, "gap") : ""),
  }));
  for (const name of ["market_data", "strategy", "execution", "system"])
    rows.push({ name, state: age[name] === null ? "no input" : "ok", tone: age[name] === null ? "dim" : "up",
      age: age[name] === null ? null : age[name] / 1000, rate: null, note: "" });
  return rows;
}

export default { id: "overview", title: "Overview", key: "v", mount };
