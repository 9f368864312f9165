// Market: every symbol, found and sorted, with its quote, its spread and how old it is, in words; one of them with its chart.
//
// Up to ALL_SYMBOLS the server is asked for all of them. Of more it is asked for those in view; the others have their
// figures of the last whole snapshot, by which the table is sorted.

import { memberOf } from "../js/api.js";
import { Chart, Sparkline } from "../js/chart.js";
import { Figures, Tabs, h, panel, setAttribute, write } from "../js/dom.js";
import { DASH, count, duration, milliseconds, number, quantity, things } from "../js/format.js";
import { Table } from "../js/table.js";

const ALL_SYMBOLS = 60;
// What a subscription takes.
const MAX_WANTED = 250;
// Figures out of view decide the order by any column but the name, and what is stale.
const WHOLE_MS = 5000, NAMES_MS = 30e3;
const SPARK_MS = 60e3;
const SETTLE_MS = 150;
const RANGES = {
  __proto__: null,
  "1h": { title: "1 h", interval: "10s", ms: 3600e3 }, "24h": { title: "24 h", interval: "5m", ms: 86400e3 },
  "7d": { title: "7 d", interval: "1h", ms: 7 * 86400e3 },
};

// Says how old the quote and print of a symbol are: {word, tone}.
function freshness(quote, now) {
  if (quote === undefined || quote.updated === null) return { word: "nothing yet", tone: "dim" };
  const age = text => duration(Math.max(0, (now - Date.parse(text)) / 1000));
  if (quote.quote_updated === null) return quote.print_stale ? { word: `print ${age(quote.print_updated)} old`, tone: "warn" } : { word: "prints only", tone: "" };
  if (quote.quote_stale) return { word: `quote ${age(quote.quote_updated)} old`, tone: "warn" };
  if (quote.crossed) return { word: "crossed", tone: "down" };
  if (quote.print_stale) return { word: `no print for ${age(quote.print_updated)}`, tone: "dim" };
  return { word: "fresh", tone: "up" };
}

function mount(root, app, params) {
  if (params.name) return mountSymbol(root, app, params);
  let names = [], query = params.q ?? "", only = params.only ?? "", shown = [], wanted = [], now = Date.now();
  let isSettling = null, timer = null, isPast = app.feed.isPast, wholeAt = app.feed.now;
  const rows = new Map(), sparks = new Map();
  const rowOf = symbol => {
    let row = rows.get(symbol);
    if (row === undefined) rows.set(symbol, row = { symbol, quote: undefined, className: "", fresh: freshness(undefined, now), version: 0 });
    return row;
  };
  const price = (row, field, extra) => app.precision.price(row.symbol, row.quote?.[field], extra);
  const priced = (id, title, field, minWidth, extra = 0) => ({ id, title, isNumber: true, isPlain: true, width: "minmax(76px, 1fr)", minWidth,
    value: row => row.quote?.[field], text: row => price(row, field, extra) });
  const isWatched = symbol => app.settings.get("watched").includes(symbol);
  const table = new Table({
    label: "Symbols", key: row => row.symbol, empty: "No symbol yet.", maxRows: rowsOfScreen(),
    sort: params.sort ? { id: params.sort, isDescending: params.desc === "1" } : { id: "symbol", isDescending: false },
    onopen: row => app.go("market", { name: row.symbol }),
    onsort: sort => { app.setParams({ sort: sort.id, desc: sort.isDescending ? "1" : "" }); loadWhole(); },
    onrange: settle,
    columns: [
      { id: "watch", title: "", about: "Watch list", width: "18px", draw: drawStar },
      { id: "symbol", title: "Symbol", isPlain: true, width: "minmax(62px, 1.3fr)", value: row => row.symbol },
      priced("last", "Last", "last_price"),
      priced("bid", "Bid", "bid", 560),
      priced("ask", "Ask", "ask", 560),
      { id: "spread", title: "Spread", about: "Hundredths of a per cent of the mid price", isNumber: true, isPlain: true, width: "76px", minWidth: 460,
        value: row => row.quote?.spread_bps, text: row => row.quote?.spread_bps == null ? DASH : `${number(row.quote.spread_bps)} bp` },
      { id: "spark", title: "Mid, 1 h", width: "96px", minWidth: 720, draw: drawSpark },
      { id: "volume", title: "Volume", isNumber: true, isPlain: true, width: "minmax(76px, 1fr)", minWidth: 640, value: row => row.quote?.volume, text: row => quantity(row.quote?.volume) },
      { id: "trades", title: "Prints", isNumber: true, isPlain: true, width: "64px", minWidth: 900, value: row => row.quote?.trades, text: row => count(row.quote?.trades) },
      priced("vwap", "VWAP", "vwap", 1000, 2),
      priced("high", "High", "high", 1450),
      priced("low", "Low", "low", 1450),
      { id: "rate", title: "Per s", about: "Quotes and prints per second", isNumber: true, isPlain: true, isSlow: true, width: "54px", minWidth: 820,
        value: row => row.quote?.update_rate, text: row => number(row.quote?.update_rate, 1) },
      { id: "latency", title: "Feed p99", about: "99 of 100 came within this time of the exchange's own", isNumber: true, isPlain: true, width: "72px", minWidth: 1180,
        value: row => row.quote?.feed_latency_p99_ms, text: row => milliseconds(row.quote?.feed_latency_p99_ms) },
      { id: "updated", title: "State", width: "minmax(72px, 1.1fr)", value: row => row.quote?.updated, text: row => row.fresh.word, className: row => row.fresh.tone },
    ],
  });
  const search = h("input", { type: "search", placeholder: "Search (/)", "aria-label": "Search symbols", value: query,
    oninput: () => { query = search.value; app.setParams({ q: query }); filter(); } });
  const toggles = [["watched", "Watch list"], ["stale", "Stale"]].map(([id, title]) =>
    h("button", { type: "button", class: "quiet", text: title, "aria-pressed": String(only === id), dataset: { only: id },
      onclick: () => { only = only === id ? "" : id; app.setParams({ only }); filter(); loadWhole(); } }));
  const summary = h("span", { class: "note num" });
  const fault = h("p", { class: "fault" });
  root.append(panel("Market", { controls: [summary, search, ...toggles, table.csvButton("market")], body: [table.element, fault] }));

  function drawStar(cell, row) {
    let star = cell.firstChild;
    if (star === null) {
      star = h("button", { type: "button", class: "star", onclick: event => watch(event.currentTarget.dataset.symbol) }, "");
      cell.append(star);
    }
    const has = isWatched(row.symbol);
    if (star.dataset.symbol !== row.symbol || star.dataset.has !== String(has)) {
      star.dataset.symbol = row.symbol;
      star.dataset.has = has;
      star.textContent = has ? "★" : "☆";
      star.setAttribute("aria-pressed", has);
      star.setAttribute("aria-label", `Watch ${row.symbol}`);
    }
  }

  function watch(symbol) {
    const watched = app.settings.get("watched");
    rowOf(symbol).version++;
    app.settings.set("watched", isWatched(symbol) ? watched.filter(each => each !== symbol) : [...watched, symbol].sort());
    filter();
  }

  function drawSpark(cell, row) {
    cell.spark ??= new Sparkline("Mid price of the last hour");
    if (cell.firstChild === null) cell.append(cell.spark.element);
    cell.spark.draw(sparks.get(row.symbol)?.values ?? NOTHING);
  }

  function filter() {
    const text = query.trim().toLowerCase();
    shown = names.filter(symbol => (!text || symbol.toLowerCase().includes(text))
      && (only !== "watched" || isWatched(symbol)) && (only !== "stale" || rowOf(symbol).quote?.stale)).map(rowOf);
    for (const toggle of toggles) setAttribute(toggle, "aria-pressed", String(toggle.dataset.only === only));
    table.setEmpty(names.length === 0 ? "No symbol yet." : "No symbol is like that.");
    table.set(shown);
    const stale = names.reduce((sum, symbol) => sum + (rowOf(symbol).quote?.stale ? 1 : 0), 0);
    write(summary, `${count(shown.length)} of ${things(names.length, "symbol")}${stale ? `, ${count(stale)} stale` : ""}`);
  }

  // What is in view is asked for once scrolling has come to rest.
  function settle(inView) {
    const symbols = inView.map(row => row.symbol).slice(0, MAX_WANTED);
    if (symbols.length === wanted.length && symbols.every((symbol, at) => symbol === wanted[at])) return;
    wanted = symbols;
    clearTimeout(isSettling);
    isSettling = setTimeout(() => {
      app.refreshSubscription();
      loadSparks();
    }, SETTLE_MS);
  }

  function loadSparks() {
    const staleOnes = () => wanted.filter(symbol => !(Date.now() - sparks.get(symbol)?.at < SPARK_MS));
    if (!staleOnes().length || table.element.clientWidth < 720) return;
    app.ask("sparks", () => {
      const symbols = staleOnes();
      for (const symbol of symbols) sparks.set(symbol, { at: Date.now(), values: sparks.get(symbol)?.values ?? NOTHING });
      return app.api.history({ ...app.before("1h", 3600e3), interval: "10s", metric_types: ["market_data"], metrics: ["mid"], symbols });
    }, ({ data }) => {
      for (const series of data) {
        sparks.set(series.symbol, { at: Date.now(), values: series.mid });
        rowOf(series.symbol).version++;
      }
      table.set(shown);
    });
  }

  // The whole snapshot: the names, and what symbols out of view are sorted by.
  function loadWhole() {
    clearTimeout(timer);
    timer = setTimeout(loadWhole, only === "stale" || table.sort?.id !== "symbol" ? WHOLE_MS : NAMES_MS);
    app.ask("whole", () => {
      const time = app.feed.moment;
      return time === null ? app.api.get("/api/metrics/current") : app.api.get("/api/metrics/at", { time });
    }, snapshot => {
      write(fault, "");
      names = Object.keys(snapshot.market_data);
      take(snapshot);
      filter();
      app.refreshSubscription();
    }, error => {
      write(fault, `The symbols cannot be shown: ${error.message}`);
      clearTimeout(timer);
      timer = setTimeout(loadWhole, WHOLE_MS);
    });
  }

  function take(snapshot) {
    now = Date.parse(snapshot.timestamp);
    for (const [symbol, quote] of Object.entries(snapshot.market_data)) {
      const row = rowOf(symbol);
      const fresh = freshness(quote, now);
      if (row.quote === quote && row.fresh.word === fresh.word) continue;
      row.quote = quote;
      row.fresh = fresh;
      row.className = quote.stale ? "stale" : "";
      row.version++;
      row.edition = app.precision.note(symbol, quote.bid, quote.ask, quote.last_price);
    }
  }

  function update(snapshot) {
    take(snapshot);
    if (names.length <= ALL_SYMBOLS && Object.keys(snapshot.market_data).length > names.length) {
      names = Object.keys(snapshot.market_data);
      filter();
    } else table.set(shown);
  }

  const resize = () => table.setMaxRows(rowsOfScreen());
  addEventListener("resize", resize);
  const sparkTimer = setInterval(loadSparks, 5000);
  loadWhole();

  return {
    subscription: () => ({ channels: ["market_data"], symbols: names.length > ALL_SYMBOLS ? wanted : [] }),
    update,
    // What is out of view, and the hour before, are of another moment now.
    move() {
      if (isPast === app.feed.isPast && Math.abs(app.feed.now - wholeAt) < SPARK_MS) return;
      isPast = app.feed.isPast;
      wholeAt = app.feed.now;
      sparks.clear();
      loadSparks();
      loadWhole();
    },
    change: changed => {
      if (changed.name) return false;
      query = search.value = changed.q ?? "";
      only = changed.only ?? "";
      filter();
      return true;
    },
    unmount: () => {
      removeEventListener("resize", resize);
      clearInterval(sparkTimer);
      clearTimeout(timer);
      clearTimeout(isSettling);
      table.close();
    },
  };
}

const NOTHING = [];
const rowsOfScreen = () => Math.max(6, Math.floor((innerHeight - 150) / 26));

function mountSymbol(root, app, params) {
  const symbol = params.name;
  let range = params.range in RANGES ? params.range : "1h", last = 0, now = 0, loadedAt = 0, isPast = app.feed.isPast;
  const price = value => app.precision.price(symbol, value);
  const figures = new Figures([
    { id: "state", label: "State" }, { id: "last", label: "Last" }, { id: "bid", label: "Bid × size" }, { id: "ask", label: "Ask × size" },
    { id: "spread", label: "Spread" }, { id: "mean", label: "Time-weighted spread" }, { id: "vwap", label: "VWAP" }, { id: "range", label: "Low – high" },
    { id: "volume", label: "Volume" }, { id: "sides", label: "Bought / sold / unknown", title: "By the side of the aggressor" }, { id: "trades", label: "Prints" },
    { id: "rate", label: "Updates per second" }, { id: "latency", label: "Feed latency p50 / p99" }, { id: "offset", label: "Clock of the feed", title: "How far it is ahead of this host's" },
  ]);
  const chart = new Chart(app.settings, { label: `Mid and last price of ${symbol}`, height: 320, format: price,
    series: [{ label: "Mid", colour: "--accent" }, { label: "Last", colour: "--dim", width: 1 }] });
  const venues = new Table({ label: "Venues", key: row => row.name, empty: "One venue, or none that is named.", maxRows: 8, columns: [
    { id: "name", title: "Venue", value: row => row.name, width: "minmax(90px, 1.4fr)" },
    ...[["bid", "Bid"], ["ask", "Ask"], ["last_price", "Last"]].map(([id, title]) =>
      ({ id, title, isNumber: true, value: row => row[id], text: row => price(row[id]) })),
    { id: "volume", title: "Volume", isNumber: true, value: row => row.volume, text: row => quantity(row.volume) },
    { id: "state", title: "State", width: "minmax(90px, 1fr)", value: row => row.updated, className: row => row.stale ? "warn" : "up",
      text: row => row.stale ? `${duration((now - Date.parse(row.updated)) / 1000)} old` : "fresh" },
  ] });
  const fault = h("p", { class: "fault" }), nothing = `There is no history of ${symbol}.`;
  const tabs = new Tabs("Range", RANGES, id => { app.setParams({ range: id }); choose(id); });
  tabs.press(range);
  root.append(
    panel(symbol, { className: "w9", controls: [h("a", { href: "#/market", text: "All symbols" }), tabs.element],
      body: [chart.element, fault] }),
    panel("Quote", { className: "w3", body: [figures.element] }),
    panel("Venues", { body: [venues.element] }));

  function choose(id) {
    range = id;
    tabs.press(id);
    load();
  }

  function load() {
    const asked = range, { interval, ms } = RANGES[asked];
    loadedAt = Date.now();
    app.ask("history", () => app.api.history({ ...app.before(asked, ms), interval, metric_types: ["market_data"], metrics: ["mid", "last"], symbols: [symbol] }), ({ data: [series] }) => {
      if (asked !== range) return;
      chart.set(series?.timestamp ?? [], series?.mid ?? [], series?.last ?? []);
      write(fault, series ? "" : nothing);
    }, error => write(fault, `The history cannot be shown: ${error.message}`));
  }

  function update(snapshot) {
    const quote = memberOf(snapshot.market_data, symbol);
    now = Date.parse(snapshot.timestamp);
    const fresh = freshness(quote, now);
    figures.set("state", fresh.word, fresh.tone);
    if (quote === undefined) return;
    app.precision.note(symbol, quote.bid, quote.ask, quote.last_price);
    const sized = (value, size) => value === null ? DASH : `${price(value)} × ${quantity(size)}`;
    figures.set("last", price(quote.last_price));
    figures.set("bid", sized(quote.bid, quote.bid_size));
    figures.set("ask", sized(quote.ask, quote.ask_size));
    figures.set("spread", quote.spread_bps === null ? DASH : `${number(quote.spread_bps)} bp`, quote.crossed ? "down" : "");
    figures.set("mean", number(quote.time_weighted_spread, 4));
    figures.set("vwap", app.precision.price(symbol, quote.vwap, 2));
    figures.set("range", `${price(quote.low)} – ${price(quote.high)}`);
    figures.set("volume", quantity(quote.volume));
    figures.set("sides", [quote.buy_volume, quote.sell_volume, quote.unknown_volume].map(quantity).join(" / "));
    figures.set("trades", count(quote.trades));
    figures.set("rate", number(quote.update_rate, 1));
    figures.set("latency", `${milliseconds(quote.feed_latency_p50_ms)} / ${milliseconds(quote.feed_latency_p99_ms)}`, "",
      quote.n_feed_latency ? null : "The feed's events have no time of their own.");
    figures.set("offset", quote.clock_offset_ms === null ? DASH : `${number(quote.clock_offset_ms)} ms`);
    venues.set(Object.entries(quote.venues ?? {}).map(([name, venue]) => ({ name, ...venue })));
    if (last && Math.abs(now - last) > 15e3 || isPast !== app.feed.isPast || range !== "1h" && Date.now() - loadedAt > 60e3) load();
    isPast = app.feed.isPast;
    if (range !== "1h") last = now;
    else if (now - last >= 1000 || now < last) {
      const mid = quote.bid === null || quote.ask === null ? null : (quote.bid + quote.ask) / 2;
      chart.append(now, [mid, quote.last_price], RANGES[range].ms);
      if (fault.textContent === nothing) write(fault, "");
      last = now;
    }
  }

  load();
  return {
    subscription: () => ({ channels: ["market_data"], symbols: [symbol] }),
    update,
    unmount: () => { chart.close(); venues.close(); },
  };
}

export default { id: "market", title: "Market", key: "m", mount };
