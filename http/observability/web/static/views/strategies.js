// Strategies and positions: each strategy's result and what it holds; and the page of one strategy.

import { CURVE_RANGES as RANGES, EquityCurves } from "../js/chart.js";
import { memberOf } from "../js/api.js";
import { Figures, Tabs, h, panel, write } from "../js/dom.js";
import { DASH, count, duration, number, percent, quantity, signed, tone } from "../js/format.js";
import { Table } from "../js/table.js";

const ROWS = 200;
// Fills and reports may come by the thousand; their lists are asked for again at this pace.
const RELOAD_MS = 2000;
// A longer gap in what was drawn is filled from the server, and so are ranges whose points are minutes apart.
const GAP_MS = 15e3, CURVE_MS = 60e3;

const gained = (id, title, minWidth, width = "minmax(84px, 1fr)") => ({ id, title, isNumber: true, width, minWidth,
  value: row => row[id], text: row => signed(row[id]), className: row => tone(row[id]) });

// The open positions; the money of one that is not in the reporting currency names its own.
function positionTable(app, { hasStrategy = true, maxRows = 12 } = {}) {
  let reporting = null;
  const money = (row, value) => value === null || row.currency === reporting ? signed(value) : `${signed(value, 4)} ${row.currency}`;
  const price = (row, field, extra) => app.precision.price(row.symbol, row[field], extra);
  const table = new Table({
    label: "Positions", key: row => row.key, empty: "No open position.", maxRows, sort: { id: "symbol", isDescending: false },
    onopen: row => app.go("market", { name: row.symbol }),
    columns: [
      { id: "symbol", title: "Symbol", width: "minmax(96px, 1.2fr)", value: row => row.symbol, text: row => row.position_side ? `${row.symbol} ${row.position_side}` : row.symbol },
      ...(hasStrategy ? [{ id: "strategy", title: "Strategy", width: "minmax(90px, 1.4fr)", value: row => row.strategy, minWidth: 560 }] : []),
      { id: "quantity", title: "Quantity", isNumber: true, width: "minmax(72px, 1fr)", value: row => row.quantity, text: row => quantity(row.quantity) },
      { id: "avg_price", title: "Average", isNumber: true, width: "minmax(90px, 1fr)", minWidth: 480, value: row => row.avg_price, text: row => price(row, "avg_price", 2) },
      { id: "mark", title: "Mark", isNumber: true, width: "minmax(76px, 1fr)", minWidth: 680, value: row => row.mark, text: row => price(row, "mark", 1),
        hint: row => row.mark_source ? `From ${row.mark_source}, at ${app.time(row.mark_updated)}` : "No price is known" },
      { id: "unrealized_pnl", title: "Unrealised", isNumber: true, width: "minmax(84px, 1fr)", value: row => row.unrealized_pnl, text: row => money(row, row.unrealized_pnl), className: row => tone(row.unrealized_pnl) },
      { id: "realized_pnl", title: "Realised", isNumber: true, width: "minmax(84px, 1fr)", minWidth: 720, value: row => row.realized_pnl, text: row => money(row, row.realized_pnl), className: row => tone(row.realized_pnl) },
      { id: "difference", title: "Engine differs by", isNumber: true, width: "104px", minWidth: 980, value: row => row.difference,
        text: row => row.difference === null ? DASH : row.difference === 0 ? "agrees" : quantity(row.difference), className: row => row.difference ? "down" : "",
        hint: row => row.difference === null ? "The engine has not reported this position." : `The engine says ${quantity(row.engine_quantity)}` },
      { id: "state", title: "Mark is", width: "minmax(76px, .8fr)", minWidth: 520, value: row => row.mark_updated,
        text: row => row.mark === null ? "unknown" : row.stale ? `${duration((row.now - Date.parse(row.mark_updated)) / 1000)} old` : "fresh",
        className: row => row.mark === null || row.stale ? "warn" : "up" },
    ],
  });
  return { table, set: (positions, strategy, now) => {
    reporting = strategy.reporting_currency;
    table.set(positions.map(position => ({ ...position, now, className: position.stale ? "stale" : "" })));
  } };
}

function mount(root, app, params) {
  if (params.name) return mountStrategy(root, app, params);
  const list = new Table({
    label: "Strategies", key: row => row.name, empty: "No strategy has traded yet.", maxRows: 12, sort: { id: "total_pnl", isDescending: true },
    onopen: row => app.go("strategies", { name: row.name }),
    columns: [
      { id: "name", title: "Strategy", width: "minmax(90px, 2fr)", value: row => row.name },
      gained("daily_pnl", "Today", 400), gained("total_pnl", "In all"), gained("realized_pnl", "Realised", 760), gained("unrealized_pnl", "Unrealised", 680),
      { id: "drawdown", title: "Drawdown", isNumber: true, width: "minmax(84px, 1fr)", minWidth: 560, value: row => row.drawdown, text: row => number(row.drawdown) },
      { id: "gross_exposure", title: "Gross exposure", isNumber: true, width: "minmax(96px, 1fr)", minWidth: 860, value: row => row.gross_exposure, text: row => number(row.gross_exposure) },
      { id: "win_rate", title: "Win rate", isNumber: true, width: "72px", minWidth: 480, value: row => row.win_rate, text: row => percent(row.win_rate),
        hint: row => row.win_rate === null ? "Nothing was closed yet." : `${row.n_wins} won, ${row.n_losses} lost, ${row.n_breakeven} even` },
      { id: "open_positions", title: "Open", isNumber: true, width: "52px", minWidth: 340, value: row => row.open_positions, text: row => count(row.open_positions) },
      { id: "fills", title: "Fills", isNumber: true, width: "60px", value: row => row.fills, text: row => count(row.fills) },
    ],
  });
  const positions = positionTable(app);
  const symbols = new Table({
    label: "Result by symbol", key: row => row.symbol, empty: "Nothing was traded yet.", maxRows: 10, sort: { id: "total_pnl", isDescending: true },
    onopen: row => app.go("market", { name: row.symbol }),
    columns: [
      { id: "symbol", title: "Symbol", width: "minmax(100px, 1.5fr)", value: row => row.symbol },
      gained("total_pnl", "In all"), gained("realized_pnl", "Realised", 480), gained("unrealized_pnl", "Unrealised", 560),
      { id: "fees", title: "Fees", isNumber: true, width: "minmax(76px, 1fr)", minWidth: 420, value: row => row.fees, text: row => number(row.fees) },
      { id: "fills", title: "Fills", isNumber: true, width: "60px", value: row => row.fills, text: row => count(row.fills) },
    ],
  });
  root.append(
    panel("Strategies", { controls: [list.csvButton("strategies")], body: [list.element] }),
    panel("Positions", { controls: [positions.table.csvButton("positions")], body: [positions.table.element] }),
    panel("Result by symbol", { controls: [symbols.csvButton("symbols")], body: [symbols.element] }));
  return {
    subscription: () => ({ channels: ["strategy"] }),
    update: ({ strategy, timestamp }) => {
      list.set(Object.entries(strategy.strategies).map(([name, each]) => ({ name, ...each })));
      positions.set(strategy.positions, strategy, Date.parse(timestamp));
      symbols.set(Object.entries(strategy.symbols).map(([symbol, each]) => ({ symbol, ...each })));
    },
    unmount: () => { for (const table of [list, positions.table, symbols]) table.close(); },
  };
}

function mountStrategy(root, app, params) {
  const { name } = params;
  let range = params.range in RANGES ? params.range : "1h", last = 0, epoch = null, reloadAt = 0, loadedAt = 0, timer = null, isPast = app.feed.isPast;
  const figures = new Figures([
    { id: "daily_pnl", label: "P&L today" }, { id: "total_pnl", label: "P&L in all" }, { id: "realized_pnl", label: "Realised" }, { id: "unrealized_pnl", label: "Unrealised" },
    { id: "equity", label: "Equity" }, { id: "drawdown", label: "Drawdown" }, { id: "max_drawdown", label: "Deepest drawdown" }, { id: "win_rate", label: "Win rate" },
  ], { className: "tiles" });
  const more = new Figures([
    { id: "gross", label: "Gross exposure" }, { id: "net", label: "Net exposure" }, { id: "fees", label: "Fees" }, { id: "fills", label: "Fills" },
    { id: "outcomes", label: "Won / lost / even" }, { id: "signals", label: "Signals" }, { id: "signal", label: "Newest signal" },
  ]);
  const ratios = new Figures([
    { id: "profit_factor", label: "Profit factor" }, { id: "expectancy", label: "Expectancy" }, { id: "best", label: "Best" }, { id: "worst", label: "Worst" },
    { id: "holding_time_seconds", label: "Holding time" }, { id: "sharpe", label: "Sharpe" }, { id: "sortino", label: "Sortino" }, { id: "annual_return", label: "Return a year" },
  ]);
  const curves = new EquityCurves(app.settings, { about: `of ${name}`, heights: [210, 100] });
  const positions = positionTable(app, { hasStrategy: false, maxRows: 8 });
  const price = (row, field) => app.precision.price(row.symbol, row[field]);
  const when = { id: "timestamp", title: "Time", width: "64px", value: row => row.timestamp ?? row.created, text: row => app.time(row.timestamp ?? row.created) };
  const side = { id: "side", title: "Side", width: "40px", value: row => row.side, className: row => row.side === "buy" ? "up" : "down" };
  const fills = new Table({ label: "Fills", key: row => row.trade_id + row.timestamp, empty: "No fill yet.", maxRows: 12, columns: [
    { ...when, minWidth: 400 }, { id: "symbol", title: "Symbol", width: "minmax(70px, 1.2fr)", value: row => row.symbol }, side,
    { id: "quantity", title: "Quantity", isNumber: true, width: "minmax(56px, 1fr)", value: row => row.quantity, text: row => quantity(row.quantity) },
    { id: "price", title: "Price", isNumber: true, width: "minmax(70px, 1fr)", value: row => row.price, text: row => price(row, "price") },
    { id: "slippage_bps", title: "Slippage", isNumber: true, width: "70px", minWidth: 520, value: row => row.slippage_bps, text: row => row.slippage_bps === null ? DASH : `${number(row.slippage_bps)} bp` },
    { id: "pnl", title: "P&L", isNumber: true, width: "minmax(70px, 1fr)", minWidth: 380, value: row => row.pnl, text: row => signed(row.pnl), className: row => tone(row.pnl), hint: row => row.pnl === null ? "It closed nothing." : null },
  ] });
  const orders = new Table({ label: "Orders", key: row => row.order_id + row.symbol, empty: "No order yet.", maxRows: 12, onopen: row => app.go("orders", { name: row.order_id, of: row.symbol }), columns: [
    when, { id: "symbol", title: "Symbol", width: "minmax(70px, 1.2fr)", value: row => row.symbol }, side,
    { id: "quantity", title: "Quantity", isNumber: true, width: "minmax(56px, 1fr)", value: row => row.quantity, text: row => quantity(row.quantity) },
    { id: "filled", title: "Filled", isNumber: true, width: "minmax(56px, 1fr)", minWidth: 440, value: row => row.filled_quantity, text: row => quantity(row.filled_quantity) },
    { id: "average", title: "Average", isNumber: true, width: "minmax(70px, 1fr)", minWidth: 520, value: row => row.average_price, text: row => price(row, "average_price") },
    { id: "status", title: "Status", width: "minmax(64px, 1fr)", minWidth: 320, value: row => row.status, className: row => row.status === "rejected" ? "down" : row.open ? "info" : "", hint: row => row.reason || null },
  ] });
  const fault = h("p", { class: "fault" }), nothing = "There is no history of this strategy.";
  const tabs = new Tabs("Range", RANGES, id => { app.setParams({ range: id }); choose(id); });
  tabs.press(range);
  root.append(
    panel(name, { controls: [h("a", { href: "#/strategies", text: "All strategies" })], body: [figures.element] }),
    panel("Equity", { className: "w9", controls: [tabs.element], body: [...curves.elements, fault] }),
    panel("Ratios", { className: "w3", body: [ratios.element, more.element] }),
    panel("Positions", { controls: [positions.table.csvButton(`positions-${name}`)], body: [positions.table.element] }),
    panel("Orders", { className: "w6", controls: [h("a", { href: `#/orders?strategy=${encodeURIComponent(name)}`, text: "All" }), orders.csvButton(`orders-${name}`)], body: [orders.element] }),
    panel("Fills", { className: "w6", controls: [fills.csvButton(`fills-${name}`)], body: [fills.element] }));

  function choose(id) {
    range = id;
    tabs.press(id);
    loadCurve();
  }

  function loadCurve() {
    const asked = range, { interval, ms } = RANGES[asked];
    loadedAt = Date.now();
    app.ask("curve", () => app.api.history({ ...app.before(asked, ms), interval, metric_types: ["strategies"], strategies: [name], metrics: ["equity", "drawdown"] }), ({ data: [series] }) => {
      if (asked !== range) return;
      curves.set(series);
      write(fault, series ? "" : nothing);
    }, error => write(fault, `The history cannot be shown: ${error.message}`));
  }

  function loadLists() {
    clearTimeout(timer);
    timer = null;
    reloadAt = Date.now() + RELOAD_MS;
    app.ask("trades", () => app.api.get("/api/trades", { strategy: name, limit: ROWS, end_time: app.feed.isPast ? app.before("", 0).end_time : null }), ({ trades }) => fills.set(trades), error => fills.setEmpty(error.message));
    app.ask("orders", () => app.api.get("/api/orders", { strategy: name, limit: ROWS, time: app.feed.moment }), answer => orders.set(answer.orders), error => orders.setEmpty(error.message));
    app.ask("performance", () => app.document("strategy_performance"), ({ strategies }) => showRatios(memberOf(strategies, name)));
  }

  function showRatios(found) {
    const texts = { holding_time_seconds: duration, annual_return: percent, best: signed, worst: signed, expectancy: signed };
    for (const id of ratios.values.keys()) {
      const { value = null, n = 0, reason = "The strategy is not known yet." } = found?.[id] ?? {};
      ratios.set(id, value === null ? DASH : (texts[id] ?? number)(value), "", value === null ? reason : `${count(n)} behind it`);
    }
  }

  function update(snapshot) {
    const found = memberOf(snapshot.strategy.strategies, name), at = Date.parse(snapshot.timestamp);
    positions.set(snapshot.strategy.positions.filter(position => position.strategy === name), snapshot.strategy, at);
    if (found === undefined) return;
    for (const id of ["daily_pnl", "total_pnl", "realized_pnl", "unrealized_pnl"]) figures.set(id, signed(found[id]), tone(found[id]), found[id] === null ? found.unconverted_reason : null);
    figures.set("equity", number(found.equity), "", found.equity === null ? found.unconverted_reason : null);
    figures.set("drawdown", number(found.drawdown), found.drawdown > 0 ? "down" : "");
    figures.set("max_drawdown", number(found.max_drawdown));
    figures.set("win_rate", percent(found.win_rate), "", found.win_rate === null ? "Nothing was closed yet." : null);
    more.set("gross", number(found.gross_exposure));
    more.set("net", signed(found.net_exposure));
    more.set("fees", number(found.fees));
    more.set("fills", count(found.fills));
    more.set("outcomes", `${count(found.n_wins)} / ${count(found.n_losses)} / ${count(found.n_breakeven)}`);
    more.set("signals", count(found.signals));
    const signal = found.last_signal;
    more.set("signal", signal ? `${signal.action} ${signal.symbol}, ${app.time(signal.timestamp)}` : DASH);
    if (epoch !== null && epoch !== snapshot.epoch || last && Math.abs(at - last) > GAP_MS || isPast !== app.feed.isPast) {
      loadCurve();
      loadLists();
    } else if (range !== "1h" && Date.now() - loadedAt > CURVE_MS) loadCurve();
    else if (range === "1h" && at - last >= 1000) {
      curves.append(at, found, RANGES[range].ms);
      if (fault.textContent === nothing) write(fault, "");
    }
    if (at - last >= 1000 || at < last) last = at;
    epoch = snapshot.epoch;
    isPast = app.feed.isPast;
  }

  loadCurve();
  loadLists();
  return {
    subscription: () => ({ channels: ["strategy", "trades", "orders"] }),
    update,
    entries: (list, hasMissed) => {
      if (timer === null && (hasMissed || list.some(entry => entry.strategy === name))) timer = setTimeout(loadLists, Math.max(0, reloadAt - Date.now()));
    },
    move: loadLists,
    unmount: () => {
      clearTimeout(timer);
      for (const each of [curves, positions.table, fills, orders]) each.close();
    },
  };
}

export default { id: "strategies", title: "Strategies", key: "s", mount };
