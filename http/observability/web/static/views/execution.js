// Execution quality: how fast orders are, what they cost, and why some are refused. Every figure has its sample count.

import { Chart } from "../js/chart.js";
import { memberOf } from "../js/api.js";
import { Figures, Tabs, h, panel, write } from "../js/dom.js";
import { DASH, bps, count, milliseconds, number, percent, signed, things, tone } from "../js/format.js";
import { HeatMap } from "../js/heatmap.js";
import { Table } from "../js/table.js";
import { LEGS as ORDER_LEGS } from "./orders.js";
import { SiteChoice } from "./site_choice.js";

const QUALITY_MS = 3000;
const ORDERS_MS = 5000;
const ROUNDS = 12;
const MINUTE = 60e3;
const SEND_TO_ACK = "send_to_ack";
const RANGES = {
  __proto__: null,
  "15m": { title: "15 min", ms: 15 * MINUTE }, "1h": { title: "1 h", ms: 60 * MINUTE },
  "6h": { title: "6 h", ms: 360 * MINUTE }, "24h": { title: "24 h", ms: 1440 * MINUTE },
};
// The latency of so many orders is drawn at most; the newest are.
const MAX_PAGES = 5;
const PAGE = 1000;
// Standard errors to either side of a mean that hold 95 % of chance.
const Z95 = 1.96;
const LEGS = { __proto__: null, ...ORDER_LEGS, reported_by_fills: "As fills report it" };
const PARTS = { delay: "Delay", trading: "Trading", opportunity: "Opportunity", fees: "Fees", total: "Total" };
const PART_MEANINGS = {
  __proto__: null,
  delay: "From the decision to the arrival", trading: "From the arrival to the fills", opportunity: "What was not filled",
  fees: "Fees", total: "All of it",
};
const DIMENSIONS = { __proto__: null, strategy: "Strategies", symbol: "Symbols", venue: "Venues" };

const leftOut = reasons => Object.entries(reasons ?? {}).map(([reason, n]) => `${n} ${reason.replaceAll("_", " ")}`).join(", ");

function mount(root, app, params) {
  let wanted = params, quality = null, range = params.range in RANGES ? params.range : "15m";

  // -- controls

  const site = new SiteChoice(name => choose({ site: name, of: null }));
  const group = h("select", { "aria-label": "group", onchange: event => choose({ of: event.target.value || null }) });
  const scopes = new Tabs("Since", { session: "Session", start: "Since start" }, id => choose({ scope: id === "session" ? null : id }));
  const fault = h("p", { class: "fault", role: "alert", hidden: true }), why = h("p", { class: "note", hidden: true });
  const figures = new Figures([
    { id: "orders", label: "Orders", title: "Orders whose first report came in this session" }, { id: "fills", label: "Fills" },
    { id: "fillRate", label: "Fill rate", title: "Quantity filled / quantity ordered" },
    { id: "rejectRate", label: "Rejected" }, { id: "cancelRate", label: "Cancelled" },
    { id: "slippage", label: "Arrival slippage", title: "Against the arrival price; a cost when positive" },
    { id: "shortfall", label: "Shortfall", title: "Implementation shortfall; a cost when positive" },
    { id: "spread", label: "Effective spread", title: "2 × (price − mid at the fill), signed; a cost when positive" },
    { id: "vwap", label: "Against VWAP", title: "Against the market's VWAP of the order's time; a cost when positive" },
  ], { className: "tiles" });

  // -- latency

  const heat = new HeatMap(app.settings, { label: "Latency of orders over time" });
  const rangeTabs = new Tabs("Range", RANGES, id => choose({ range: id === "15m" ? null : id }));
  // What an order knows of itself; "as fills report it" is of fills.
  const legChoice = h("select", { "aria-label": "Leg", onchange: event => choose({ leg: event.target.value === SEND_TO_ACK ? null : event.target.value }) },
    ...Object.entries(LEGS).filter(([id]) => id !== "reported_by_fills").map(([value, text]) => h("option", { value, text })));
  const leg = () => wanted.leg in LEGS && wanted.leg !== "reported_by_fills" ? wanted.leg : SEND_TO_ACK;
  const heatNote = h("p", { class: "note", text: "Line: median. Dashes: 99th percentile." });
  const legs = new Table({ label: "Latency by leg", key: row => row.id, empty: "No order yet.", maxRows: 8, onopen: row => { if (row.id !== "reported_by_fills") choose({ leg: row.id }); }, columns: [
    { id: "leg", title: "Leg", width: "minmax(76px, 2.6fr)", value: row => row.title },
    { id: "n", title: "n", width: "minmax(40px, 0.6fr)", isNumber: true, value: row => row.n, text: row => count(row.n), hint: row => row.n_negative ? `${row.n_negative} were below zero, where clocks disagree; they are in no percentile` : null },
    ...["p50", "p90", "p95", "p99", "p999", "max"].map((name, at) => ({ id: name, title: name === "p999" ? "p99.9" : name, width: "minmax(56px, 1fr)", isNumber: true,
      value: row => row[`${name}_ms`], text: row => milliseconds(row[`${name}_ms`]), minWidth: [0, 620, 540, 0, 700, 460][at] })),
  ] });

  // -- cost

  const horizons = { labels: [] };
  const markout = new Chart(app.settings, { label: "Markout after fills", height: 190, hasTime: false, legend: false, format: value => number(value, 1),
    xFormat: at => Number.isInteger(at) ? horizons.labels[at] ?? "" : "",
    series: [{ label: "Markout, bps", colour: "--accent", width: 2 }, { label: "95 % above", colour: "--accent-fill" }, { label: "95 % below", colour: "--accent-fill" }],
    bands: [{ series: [2, 3], fill: "--accent-fill" }] });
  const markouts = new Table({ label: "Markouts", key: row => row.horizon, empty: "No fill yet.", maxRows: 6, columns: [
    { id: "horizon", title: "After", width: "56px", value: row => row.horizon },
    { id: "bps", title: "Markout", about: "Weighted by notional; a gain when positive", width: "minmax(72px, 1fr)", isNumber: true, value: row => row.bps, text: row => row.bps === null ? DASH : `${signed(row.bps, 2)} bps`, className: row => tone(row.bps) },
    { id: "realized_spread_bps", title: "Realised spread", width: "minmax(72px, 1fr)", isNumber: true, value: row => row.realized_spread_bps, text: row => bps(row.realized_spread_bps), minWidth: 360 },
    { id: "error", title: "± 95 %", about: "1.96 standard errors of the mean over orders", width: "minmax(58px, 1fr)", isNumber: true, value: row => row.standard_error_bps === null ? null : Z95 * row.standard_error_bps,
      text: row => row.standard_error_bps === null ? DASH : bps(Z95 * row.standard_error_bps), hint: row => row.standard_error_reason ?? `over ${things(row.orders, "order")}` },
    { id: "n", title: "n", width: "52px", isNumber: true, value: row => row.n, text: row => count(row.n) },
    { id: "left_out", title: "Left out", width: "minmax(60px, 1.6fr)", value: row => leftOut(row.left_out), hint: row => leftOut(row.left_out) || null, minWidth: 420 },
  ] });
  const pending = h("p", { class: "note" });
  const shortfall = h("div", { class: "bars" }), shortfallNote = h("p", { class: "note" });
  const rejects = new Table({ label: "Rejects", key: row => `${row.reason} ${row.venue}`, empty: "No order was rejected in this session.", maxRows: 10,
    onopen: row => app.go("orders", { status: "rejected", site: site.name, venue: row.venue || null, q: row.reason === "(other)" ? null : row.reason.slice(0, 60) }), columns: [
      { id: "orders", title: "Orders", width: "60px", isNumber: true, value: row => row.orders, text: row => count(row.orders) },
      { id: "reason", title: "Reason", width: "minmax(110px, 3fr)", value: row => row.reason, text: row => row.reason || "(none given)", hint: row => row.reason || null },
      { id: "venue", title: "Venue", width: "minmax(50px, 1fr)", value: row => row.venue, minWidth: 300 },
    ] });

  // -- groups

  const dimensionTabs = new Tabs("Compared by", DIMENSIONS, id => choose({ by: id === "strategy" ? null : id }));
  const money = (id, title, about, value) => ({ id, title, about, width: "minmax(66px, 1fr)", isNumber: true, value, text: row => bps(value(row)), className: row => tone(-value(row)) });
  const groups = new Table({ label: "Groups", key: row => row.name, empty: "No order yet.", maxRows: 12, sort: { id: "orders", isDescending: true },
    onopen: row => choose({ of: `${dimension()}:${row.name}` }), columns: [
      { id: "name", title: "Name", width: "minmax(100px, 2fr)", value: row => row.name },
      { id: "orders", title: "Orders", width: "62px", isNumber: true, value: row => row.orders, text: row => count(row.orders) },
      { id: "fills", title: "Fills", width: "56px", isNumber: true, value: row => row.fills, text: row => count(row.fills), minWidth: 420 },
      { id: "fill_rate", title: "Fill rate", width: "66px", isNumber: true, value: row => row.fill_rate.value, text: row => percent(row.fill_rate.value), hint: row => row.fill_rate.reason, minWidth: 480 },
      { id: "reject_rate", title: "Rejected", width: "66px", isNumber: true, value: row => row.reject_rate.value, text: row => percent(row.reject_rate.value), className: row => row.reject_rate.value > 0.05 ? "down" : "", minWidth: 380 },
      { ...money("slippage", "Slippage", "Arrival slippage; a cost when positive", row => row.arrival_slippage_bps.value) },
      { ...money("shortfall", "Shortfall", "Implementation shortfall; a cost when positive", row => row.implementation_shortfall.total_bps), minWidth: 560 },
      { ...money("spread", "Eff. spread", "Effective spread; a cost when positive", row => row.effective_spread.bps), minWidth: 640 },
      { id: "markout", title: "Markout 1 s", width: "minmax(72px, 1fr)", isNumber: true, value: row => row.markouts["1s"]?.bps ?? null, text: row => bps(row.markouts["1s"]?.bps), className: row => tone(row.markouts["1s"]?.bps), minWidth: 720 },
      { id: "p50", title: "Latency p50", width: "76px", isNumber: true, value: row => row.latency.send_to_ack.p50_ms, text: row => milliseconds(row.latency.send_to_ack.p50_ms), minWidth: 820 },
      { id: "p99", title: "p99", width: "76px", isNumber: true, value: row => row.latency.send_to_ack.p99_ms, text: row => milliseconds(row.latency.send_to_ack.p99_ms), minWidth: 820 },
    ] });

  root.append(
    panel("Execution", { controls: [site.element, group], body: [figures.element, why, fault] }),
    panel("Latency over time", { className: "w7", controls: [legChoice, rangeTabs.element], body: [heat.element, heatNote] }),
    panel("Latency by leg", { className: "w5", controls: [scopes.element, legs.csvButton("latencies")], body: [legs.element] }),
    panel("Markout after fills", { className: "w6", controls: [markouts.csvButton("markouts")], body: [markout.element, markouts.element, pending] }),
    panel("Implementation shortfall by part", { className: "w6", body: [shortfall, shortfallNote] }),
    panel("Rejects by reason", { className: "w5", controls: [rejects.csvButton("rejects")], body: [rejects.element] }),
    panel("Compared", { className: "w7", controls: [dimensionTabs.element, groups.csvButton("groups")], body: [groups.element] }),
  );

  const dimension = () => wanted.by in DIMENSIONS ? wanted.by : "strategy";

  function choose(changes) {
    change(app.setParams(changes));
  }

  function change(next) {
    const before = [wanted.of, range];
    wanted = next;
    const isOther = site.update(app.feed.snapshot, wanted.site);
    legChoice.value = leg();
    drawHeat();
    range = next.range in RANGES ? next.range : "15m";
    draw();
    if (isOther) begin();
    else if (before[0] !== wanted.of || before[1] !== range) loadOrders(true);
  }

  // Of another site nothing is known yet.
  function begin() {
    quality = null;
    draw();
    loadQuality();
    loadOrders(true);
  }

  // "strategy:mean" or null: what of the document is shown, and what of the orders.
  function chosen() {
    const at = (wanted.of ?? "").indexOf(":");
    return at < 0 ? null : { by: wanted.of.slice(0, at), name: wanted.of.slice(at + 1) };
  }

  function draw() {
    rangeTabs.press(range);
    scopes.press(wanted.scope ?? "session");
    dimensionTabs.press(dimension());
    if (quality === null) return;
    showGroups();
    const of = chosen(), shown = of === null ? quality : memberOf(memberOf(quality, `by_${of.by}`), of.name);
    fault.hidden = shown !== undefined;
    if (shown === undefined) {
      write(fault, `There is no order of ${of.by} ${of.name} in this session.`);
      return;
    }
    showFigures(shown);
    const latencies = wanted.scope === "start" ? shown.latency_total : shown.latency;
    legs.set(Object.entries(LEGS).filter(([id]) => id in latencies).map(([id, title]) => ({ id, title, ...latencies[id] })));
    const found = Object.entries(shown.markouts).map(([horizon, each]) => ({ horizon, ...each }));
    horizons.labels = found.map(each => each.horizon);
    const edge = sign => found.map(({ bps: mean, standard_error_bps: error }) => error === null ? null : mean + sign * Z95 * error);
    markout.set(found.map((_, at) => at), found.map(each => each.bps), edge(1), edge(-1));
    markouts.set(found);
    write(pending, `Band: where the mean is with 95 % of chance, by the spread over orders. ${things(quality.pending_markouts, "fill")} ${quality.pending_markouts === 1 ? "has a horizon still ahead of it" : "have a horizon still ahead of them"}.`);
    showShortfall(shown.implementation_shortfall);
    rejects.set(quality.reject_reasons);
    groups.set(Object.entries(quality[`by_${dimension()}`]).map(([name, each]) => ({ name, ...each })));
  }

  function showGroups() {
    const choices = [["", "All orders"]];
    for (const [by, title] of Object.entries(DIMENSIONS))
      for (const name of Object.keys(quality[`by_${by}`]).sort()) choices.push([`${by}:${name}`, name, title]);
    if (wanted.of && !choices.some(([value]) => value === wanted.of)) choices.push([wanted.of, chosen()?.name ?? wanted.of, "Chosen"]);
    const key = JSON.stringify(choices);
    if (group.dataset.choices !== key) {
      group.dataset.choices = key;
      const parts = new Map();
      for (const [value, text, title = ""] of choices) parts.set(title, [...(parts.get(title) ?? []), h("option", { value, text })]);
      group.replaceChildren(...[...parts].flatMap(([title, options]) => title ? [h("optgroup", { label: title }, ...options)] : options));
    }
    group.value = wanted.of ?? "";
  }

  function showFigures(shown) {
    figures.set("orders", count(shown.orders), "", shown.replaced ? `Replaced by others: ${count(shown.replaced)}` : null);
    figures.set("fills", count(shown.fills));
    const rate = (id, { value, n: samples, reason }) => figures.set(id, percent(value), id === "rejectRate" && value > 0.05 ? "down" : "", reason ?? things(samples, "order"));
    rate("fillRate", shown.fill_rate);
    rate("rejectRate", shown.reject_rate);
    rate("cancelRate", shown.cancel_rate);
    const cost = (id, value, samples, unit, reasons, reason) => figures.set(id, bps(value), tone(-value),
      [things(samples, unit), leftOut(reasons) && `left out: ${leftOut(reasons)}`, value === null ? reason : ""].filter(Boolean).join("; "));
    cost("slippage", shown.arrival_slippage_bps.value, shown.arrival_slippage_bps.n, "order");
    cost("shortfall", shown.implementation_shortfall.total_bps, shown.implementation_shortfall.n, "order", shown.implementation_shortfall.left_out);
    cost("spread", shown.effective_spread.bps, shown.effective_spread.n, "fill", shown.effective_spread.left_out, shown.effective_spread.reason);
    cost("vwap", shown.vwap_deviation_bps.value, shown.vwap_deviation_bps.n, "order", shown.vwap_deviation_bps.left_out);
    write(why, shown.unconverted_reason ? `Sums of money are unknown: ${shown.unconverted_reason}` : "");
    why.hidden = why.textContent === "";
  }

  function showShortfall(parts) {
    const most = Math.max(1e-9, ...Object.keys(PARTS).map(id => Math.abs(parts[`${id}_bps`] ?? 0)));
    shortfall.replaceChildren(...Object.entries(PARTS).map(([id, title]) => {
      const value = parts[`${id}_bps`], bar = h("span", { class: value > 0 ? "bar cost" : "bar gain" });
      const share = Math.abs(value ?? 0) / most * 50;
      bar.style.width = `${share}%`;
      bar.style.left = `${value > 0 ? 50 : 50 - share}%`;
      return h("div", { class: id === "total" ? "total" : "", title: PART_MEANINGS[id] }, h("span", { text: title }), h("span", { class: "track", "aria-hidden": "true" }, bar),
        h("span", { class: `num ${tone(-value)}`, text: bps(value) }), h("span", { class: "num dim", text: number(parts[id]) }));
    }));
    write(shortfallNote, `A cost when positive; ${things(parts.n, "order")}, notional ${number(parts.notional, 0)}${leftOut(parts.left_out) ? `; left out: ${leftOut(parts.left_out)}` : ""}.`);
  }

  // -- questions

  function loadQuality() {
    if (document.hidden) return;
    const asked = site.name;
    app.ask("quality", () => app.document("execution_quality", { site: asked }), answer => {
      if (asked !== site.name) return;
      quality = answer;
      draw();
    }, error => {
      fault.hidden = false;
      write(fault, `The figures cannot be shown: ${error.message}`);
    });
  }

  const known = new Map();
  let newest = null, isCut = false, rounds = 0, mustRenew = false;

  // All orders of the range at first, and then those since a little before the newest one, which may have been answered since.
  async function readOrders() {
    const isNew = mustRenew;
    mustRenew = false;
    const of = chosen(), from = app.feed.now - RANGES[range].ms;
    const start = isNew || newest === null ? from : Math.max(from, newest - 15e3);
    const query = { start_time: new Date(start).toISOString(), time: app.feed.moment, limit: PAGE, site: site.name, ...(of ? { [of.by]: of.name } : {}) };
    const found = [];
    let cursor = null, pages = 0;
    do {
      const document = await app.api.get("/api/orders", { ...query, cursor });
      found.push(...document.orders);
      cursor = document.next_cursor;
      pages++;
    } while (cursor !== null && pages < MAX_PAGES);
    return { isNew, found, hasMore: cursor !== null };
  }

  // Below zero, where clocks disagree, a leg is in no percentile.
  function drawHeat() {
    const to = app.feed.now, points = [...known.values()].map(({ at, latency }) => ({ at, ms: latency[leg()] })).filter(({ ms }) => ms !== null && ms >= 0);
    heat.set(points, to - RANGES[range].ms, to);
  }

  function loadOrders(isNew = false) {
    mustRenew ||= isNew;
    if (document.hidden && !isNew) return;
    const asked = site.name;
    app.ask("orders", readOrders, answer => {
      if (asked !== site.name) return;
      const { found, hasMore } = answer;
      if (answer.isNew) {
        known.clear();
        newest = null;
        isCut = hasMore;
      }
      const to = app.feed.now, from = to - RANGES[range].ms;
      // A leg may end long after its order has begun: all are read again after some rounds.
      rounds = answer.isNew ? 0 : rounds + 1;
      for (const order of found) {
        const at = Date.parse(order.created);
        newest = Math.max(newest ?? at, at);
        known.set(`${order.symbol} ${order.order_id}`, { at, latency: order.latency });
      }
      for (const [key, { at }] of known) if (at < from) known.delete(key);
      isCut ||= known.size > MAX_PAGES * PAGE;
      for (const [key] of [...known].sort(([, one], [, other]) => other.at - one.at).slice(MAX_PAGES * PAGE)) known.delete(key);
      drawHeat();
      write(heatNote, `Line: median. Dashes: 99th percentile.${isCut ? ` The newest ${count(MAX_PAGES * PAGE)} orders alone.` : ""}`);
    }, error => {
      mustRenew = true;
      write(heatNote, `The latencies cannot be shown: ${error.message}`);
    });
  }

  legChoice.value = leg();
  site.update(app.feed.snapshot, wanted.site);
  draw();
  loadQuality();
  let hasOrders = false;
  const timers = [setInterval(loadQuality, QUALITY_MS), setInterval(() => loadOrders(rounds >= ROUNDS), ORDERS_MS)];
  return {
    subscription: () => ({ channels: [] }),
    update() {
      // The range ends at the server's time, which the first snapshot tells; and it tells what sites there are.
      if (site.update(app.feed.snapshot, wanted.site)) {
        hasOrders = true;
        begin();
      } else if (!hasOrders) {
        hasOrders = true;
        loadOrders(true);
      }
    },
    change,
    move() {
      loadQuality();
      loadOrders(true);
    },
    unmount() {
      for (const timer of timers) clearInterval(timer);
      for (const each of [heat, legs, markout, markouts, rejects, groups]) each.close();
    },
  };
}

export default { id: "execution", title: "Execution", key: "e", mount };
