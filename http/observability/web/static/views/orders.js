// Orders and trades: what the system does in the market now, why not, and what became of each order.
//
// Reports and trades come over the lanes as they happen. What a lane cannot say of an order (what of it is filled, at which
// average price, in inverse contracts too) is asked of the server, at most once a second, for the orders that have changed.

import { Figures, Tabs, h, panel, setAttribute, write } from "../js/dom.js";
import { DASH, bps, count, milliseconds, number, percent, quantity, signed, things, tone } from "../js/format.js";
import { Table } from "../js/table.js";
import { SiteChoice } from "./site_choice.js";

const PAGE = 200;
// Rows kept while new ones come in; older ones are asked for again.
const MAX_ROWS = 5000;
const REFRESH_MS = 1000;
// Up to so many orders are asked for one by one; of more, the newest page.
const MAX_SINGLE = 6;
const STATUSES = ["pending_new", "new", "partially_filled", "filled", "canceled", "rejected", "expired", "replaced",
  "pending_cancel", "pending_replace"];
const ENDED = new Set(["filled", "canceled", "rejected", "expired", "replaced"]);
const TONES = { __proto__: null, rejected: "down", expired: "warn", filled: "up", canceled: "dim", replaced: "dim" };
/** The legs of an order, by what the server calls them. */
export const LEGS = {
  __proto__: null,
  decision_to_send: "Decision to send", send_to_ack: "Send to acknowledgement", ack_to_first_fill: "Acknowledgement to first fill",
  send_to_first_fill: "Send to first fill", send_to_complete: "Send to end", cancel_to_ack: "Cancel to acknowledgement",
};
const FILTERS = ["strategy", "symbol", "side", "status", "venue"];

const words = status => (status ?? DASH).replaceAll("_", " ");
const sideTone = side => side === "buy" ? "up" : "down";
const keyOf = order => `${order.symbol} ${order.order_id}`;
const isCorrection = entry => entry.type === "booking" && ["bust", "correct"].includes(entry.kind);

function mount(root, app, params) {
  let shownDay = "", shownUntil = app.feed.moment;
  const views = { orders: new OrdersPart(app), trades: new TradesPart(app) };
  let current = "orders", wanted = params;
  const site = new SiteChoice(name => choose({ site: name, name: null, of: null }));
  const detail = detailPart(app, site, () => openOrder(null));

  const tabs = new Tabs("Orders or trades", { orders: "Orders", trades: "Trades" }, id => choose({ tab: id === "orders" ? null : id }));
  const search = h("input", { type: "search", placeholder: "Id, symbol, reason …", "aria-label": "Search the rows", autocomplete: "off",
    oninput: event => choose({ q: event.target.value }) });
  const fields = Object.fromEntries(FILTERS.map(name => [name, h("select", { "aria-label": name,
    onchange: event => choose({ [name]: event.target.value }) })]));
  const isOpen = h("input", { type: "checkbox", onchange: event => choose({ open: event.target.checked ? "true" : null }) });
  const openLabel = h("label", {}, isOpen, "open only");
  const clear = h("button", { type: "button", class: "quiet", text: "Clear",
    onclick: () => choose({ q: null, open: null, ...Object.fromEntries(FILTERS.map(name => [name, null])) }) });
  const csv = h("span", {}), note = h("p", { class: "note", role: "status" }), fault = h("p", { class: "fault", role: "alert" });
  const older = h("button", { type: "button", class: "quiet", text: "Load older", onclick: () => views[current].more() });
  const place = h("div", {});
  const list = panel("Blotter", {
    controls: [tabs.element, csv],
    body: [h("div", { class: "filters" }, site.element, search, ...FILTERS.map(name => fields[name]), openLabel, clear), fault, place,
      h("div", { class: "filters" }, note, older)] });
  root.append(list, detail.element);

  for (const view of Object.values(views)) {
    view.onchange = () => showList();
    view.onopen = (id, symbol) => openOrder(id, symbol);
  }

  function openOrder(id, symbol) {
    wanted = app.setParams({ name: id, of: id ? symbol : null });
    showDetail();
  }

  function showDetail() {
    detail.show(wanted.name ?? null, wanted.of);
    list.classList.toggle("w8", Boolean(wanted.name));
  }

  function choose(changes) {
    apply(app.setParams(changes));
    app.refreshSubscription();
  }

  function apply(next) {
    wanted = next;
    if (site.update(app.feed.snapshot, next.site)) for (const view of Object.values(views)) view.forget();
    current = Object.hasOwn(views, next.tab ?? "") ? next.tab : "orders";
    tabs.press(current);
    if (search.value !== (next.q ?? "")) search.value = next.q ?? "";
    isOpen.checked = next.open === "true";
    openLabel.hidden = fields.status.hidden = current !== "orders";
    const view = views[current];
    place.replaceChildren(view.table.element);
    csv.replaceChildren(view.table.csvButton(current));
    view.filter({ ...next, site: site.name });
    showList();
  }

  // The choices are what the rows have, and what was chosen.
  function showList() {
    const view = views[current];
    for (const name of FILTERS) {
      const chosen = wanted[name] ?? "", found = name === "status" ? STATUSES : name === "side" ? ["buy", "sell"] : [...view.values[name]];
      const choices = [...new Set([...found, ...(chosen ? [chosen] : [])])];
      if (name !== "status" && name !== "side") choices.sort();
      const field = fields[name], texts = ["", ...choices];
      if (JSON.stringify([...field.options].map(each => each.value)) !== JSON.stringify(texts))
        field.replaceChildren(...texts.map(text => h("option", { value: text, text: text ? words(text) : `any ${name}` })));
      if (field.value !== chosen) field.value = chosen;
    }
    const shown = view.table.rows.length;
    write(note, !view.isLoaded ? "" : `${things(shown, current === "orders" ? "order" : "trade")} shown${view.hasMore ? "" : view.isCut ? "; older ones were dropped, filter to see them" : ", which is all"}${shownUntil ? `; as of ${app.dateTime(shownUntil)}` : ""}`);
    older.hidden = !view.hasMore;
    write(fault, view.fault);
    fault.hidden = view.fault === "";
  }

  // Of the past, what had come by then; asked for again as the moment moves on.
  function move() {
    shownUntil = app.feed.moment;
    for (const view of Object.values(views)) view.question = null;
    views[current].filter({ ...wanted, site: site.name });
    detail.move();
  }

  apply(params);
  showDetail();
  const timer = setInterval(() => {
    for (const view of Object.values(views)) view.refresh();
    detail.refresh();
  }, REFRESH_MS);

  return {
    subscription: () => ({ channels: ["orders", "trades", "bookings"], symbols: wanted.symbol ? [site.streamed(wanted.symbol)] : [] }),
    entries(entries, hasMissed) {
      // Of the past they are asked for as of the moment.
      if (app.feed.isPast) return;
      const found = site.entries(entries);
      for (const view of Object.values(views)) view.take(found, hasMissed);
      detail.take(found);
      showList();
    },
    update() {
      // The first snapshot tells what sites there are.
      if (site.update(app.feed.snapshot, wanted.site)) {
        choose({});
        showDetail();
      }
      // Times of another day have it before them; before the first snapshot there is no day of the figures.
      const day = `${app.today} ${app.settings.zone}`;
      if (shownDay === day) return;
      shownDay = day;
      for (const view of Object.values(views)) view.show();
      detail.draw();
    },
    move,
    change(next) {
      apply(next);
      showDetail();
    },
    unmount() {
      clearInterval(timer);
      for (const view of Object.values(views)) view.table.close();
    },
  };
}

// What the lists of orders and trades share: rows by key, newest first, from pages of the server and from the lanes.
class Part {
  constructor(app) {
    this.app = app;
    this.rows = [];
    this.byKey = new Map();
    this.values = { strategy: new Set(), symbol: new Set(), venue: new Set() };
    this.cursor = null;
    this.hasMore = false;
    this.isCut = false;
    this.isLoaded = false;
    this.fault = "";
    this.filters = {};
    this.question = null;
    this.generation = 0;
    this.onchange = () => {};
    this.onopen = () => {};
  }

  /** Forgets the choices that the rows of another site had. */
  forget() {
    for (const found of Object.values(this.values)) found.clear();
  }

  /** Shows what passes the filters; asks the server again if it has to. */
  filter(filters) {
    this.filters = filters;
    const question = JSON.stringify(this.query());
    if (question === this.question) this.show();
    else {
      this.question = question;
      this.reload();
    }
  }

  reload() {
    this.generation++;
    this.isLoaded = this.isLoading = false;
    this.table.setEmpty("Loading …");
    this.ask(() => this.query(), rows => {
      this.rows = [];
      this.byKey.clear();
      this.isCut = false;
      for (const row of rows) this.put(row);
      this.table.setEmpty("Nothing matches.");
    });
  }

  more() {
    if (!this.hasMore || this.isLoading || !this.isLoaded) return;
    this.isLoading = true;
    this.ask(() => ({ ...this.query(), cursor: this.cursor }), rows => {
      this.isLoading = false;
      for (const row of rows) this.put(row);
    }, () => { this.isLoading = false; });
  }

  ask(query, take, fail = () => {}) {
    const { app, generation } = this;
    app.ask(this.list, () => app.api.get(this.path, { ...query(), limit: PAGE }), document => {
      if (generation !== this.generation) return;
      take(document[this.list]);
      this.cursor = document.next_cursor;
      this.hasMore = document.next_cursor !== null;
      this.fault = "";
      this.isLoaded = true;
      this.show();
      this.onchange();
    }, error => {
      if (generation !== this.generation) return;
      fail();
      this.fault = `The ${this.list} cannot be shown: ${error.message}`;
      this.table.setEmpty("");
      this.onchange();
    });
  }

  /** Adds a row or writes over one; a new one of the lanes goes first. */
  put(row, isNewest = false) {
    const key = this.keyOf(row), known = this.byKey.get(key);
    for (const name of Object.keys(this.values)) if (row[name]) this.values[name].add(row[name]);
    if (known) Object.assign(known, row);
    else {
      this.byKey.set(key, row);
      if (isNewest) this.rows.unshift(row);
      else this.rows.push(row);
      if (isNewest && this.rows.length > MAX_ROWS) {
        for (const gone of this.rows.splice(MAX_ROWS)) this.byKey.delete(this.keyOf(gone));
        this.hasMore = false;
        this.isCut = true;
      }
    }
  }

  show() {
    this.table.set(this.rows.filter(row => this.passes(row)));
  }

  passes(row) {
    const { strategy, symbol, venue, side, q } = this.filters;
    if (strategy && row.strategy !== strategy || symbol && row.symbol !== symbol) return false;
    if (venue && row.venue !== venue || side && row.side !== side) return false;
    if (!q) return true;
    return this.text(row).toLowerCase().includes(q.toLowerCase());
  }

  /** Loads older rows when those in view are the last ones. A table calls it while it is made, too. */
  loadAtEnd() {
    const body = this.table?.element.querySelector(".body");
    if (body && this.hasMore && body.scrollTop > 0 && body.scrollTop + body.clientHeight > body.scrollHeight - 200) this.more();
  }

  refresh() {}
}

class OrdersPart extends Part {
  #changed = new Map();

  constructor(app) {
    super(app);
    this.path = "/api/orders";
    this.list = "orders";
    this.keyOf = keyOf;
    const price = (row, value) => app.precision.price(row.symbol, value);
    this.table = new Table({
      label: "Orders", key: keyOf, empty: "Loading …", maxRows: 22,
      onopen: row => this.onopen(row.order_id, row.symbol),
      onrange: () => this.loadAtEnd(),
      columns: [
        { id: "created", title: "Time", width: "96px", value: row => row.created, text: row => app.shortTime(row.created, { hasMs: true }), hint: row => app.dateTime(row.created, { hasMs: true }), minWidth: 420 },
        { id: "symbol", title: "Symbol", width: "minmax(64px, 1.8fr)", value: row => row.symbol },
        { id: "side", title: "Side", width: "38px", value: row => row.side, className: row => sideTone(row.side) },
        { id: "quantity", title: "Quantity", width: "minmax(54px, 0.8fr)", isNumber: true, value: row => row.quantity, text: row => quantity(row.quantity) },
        { id: "filled_quantity", title: "Filled", width: "minmax(54px, 0.8fr)", isNumber: true, value: row => row.filled_quantity, text: row => quantity(row.filled_quantity), minWidth: 420 },
        { id: "price", title: "Limit", width: "minmax(62px, 0.8fr)", isNumber: true, value: row => row.price, text: row => price(row, row.price), minWidth: 640 },
        { id: "average_price", title: "Average", width: "minmax(62px, 0.8fr)", isNumber: true, value: row => row.average_price, text: row => price(row, row.average_price), minWidth: 560 },
        { id: "status", title: "Status", width: "minmax(84px, 0.9fr)", value: row => row.status, text: row => words(row.status), className: row => TONES[row.status] ?? "info" },
        { id: "reason", title: "Reason", width: "minmax(60px, 1.6fr)", value: row => row.reason, hint: row => row.reason || null, minWidth: 760 },
        { id: "strategy", title: "Strategy", width: "minmax(70px, 1.1fr)", value: row => row.strategy, minWidth: 700 },
        { id: "venue", title: "Venue", width: "minmax(50px, 0.6fr)", value: row => row.venue, minWidth: 820 },
        { id: "slippage_bps", title: "Slippage", about: "Against the arrival price, in basis points; a cost when positive", width: "66px", isNumber: true, value: row => row.slippage_bps, text: row => number(row.slippage_bps, 1), className: row => tone(-row.slippage_bps), minWidth: 900 },
        { id: "latency_ms", title: "Latency", about: "From pending_new to acknowledgement", width: "72px", isNumber: true, value: row => row.latency_ms, text: row => milliseconds(row.latency_ms), minWidth: 980 },
        { id: "order_id", title: "Order", width: "minmax(70px, 1fr)", value: row => row.order_id, hint: row => row.order_id, minWidth: 1100 },
        { id: "updated", title: "Updated", width: "96px", value: row => row.updated, text: row => app.shortTime(row.updated, { hasMs: true }), minWidth: 1240 },
      ] });
  }

  query() {
    const { strategy, symbol, venue, status, open, site } = this.filters;
    return { strategy, symbol, venue, status, open, site, time: this.app.feed.moment };
  }

  passes(row) {
    const { status, open } = this.filters;
    return (!status || row.status === status) && (open !== "true" || row.open) && super.passes(row);
  }

  text(row) {
    return [row.order_id, row.client_order_id, row.symbol, row.strategy, row.venue, row.reason, row.status, row.order_type].join("\n");
  }

  take(entries, hasMissed) {
    let hasNews = false;
    for (const entry of entries) {
      if (entry.type === "order") {
        const { order_id, client_order_id, symbol, side, strategy, venue, status, quantity: whole, price, order_type, reason, timestamp } = entry;
        const isKnown = this.byKey.has(keyOf(entry)), report = { order_id, symbol, side, status, quantity: whole, price, updated: timestamp };
        for (const [name, value] of Object.entries({ client_order_id, strategy, venue, order_type, reason })) if (value) report[name] = value;
        report.open = !ENDED.has(status);
        // One that has begun before may have been filled; the server is asked.
        if (!isKnown) Object.assign(report, { created: timestamp, filled_quantity: status === "pending_new" ? 0 : null, reason: reason ?? "", strategy, venue, average_price: null, slippage_bps: null, latency_ms: null });
        this.put(report, !isKnown);
        this.#changed.set(keyOf(entry), { order_id, symbol });
        hasNews = true;
      } else if (entry.order_id && (entry.type === "trade" || isCorrection(entry))) this.#changed.set(keyOf(entry), { order_id: entry.order_id, symbol: entry.symbol });
    }
    if (hasMissed) this.reload();
    else if (hasNews) this.show();
  }

  // Asks for what the orders that have changed are now.
  refresh() {
    if (!this.#changed.size || document.hidden) return;
    let generation;
    this.app.ask("changed orders", () => {
      const changed = [...this.#changed.values()];
      this.#changed.clear();
      ({ generation } = this);
      return changed.length <= MAX_SINGLE ? this.#askForEach(changed) : this.#askForMany(changed);
    }, orders => {
      if (generation !== this.generation) return;
      // Newest first, so that those that are new to this page come in their order.
      for (const order of orders.reverse()) if (order && (this.byKey.has(keyOf(order)) || this.passes(order))) this.put(listed(order), !this.byKey.has(keyOf(order)));
      this.show();
      this.onchange();
    });
  }

  #askForEach(orders) {
    return Promise.all(orders.map(({ order_id, symbol }) => this.app.api.get(`/api/orders/${encodeURIComponent(order_id)}`, { symbol, site: this.filters.site }).catch(() => null)));
  }

  // Of those shown that are older than the newest page, so many as are asked for one by one; the others' turn comes next.
  async #askForMany(changed) {
    const { orders } = await this.app.api.get("/api/orders", { ...this.query(), limit: PAGE });
    const found = new Set(orders.map(keyOf));
    const older = changed.filter(order => !found.has(keyOf(order)) && this.byKey.has(keyOf(order)) && this.passes(this.byKey.get(keyOf(order))));
    for (const order of older.slice(MAX_SINGLE)) this.#changed.set(keyOf(order), order);
    return [...orders, ...await this.#askForEach(older.slice(0, MAX_SINGLE))];
  }
}

// An order of `GET /api/orders/ID` as the list has it.
function listed({ latency, effective_spread, markouts, chain, reports, fills, complete, ...order }) {
  return order;
}

class TradesPart extends Part {
  constructor(app) {
    super(app);
    this.path = "/api/trades";
    this.list = "trades";
    this.keyOf = trade => [trade.venue, trade.symbol, trade.order_id, trade.trade_id, trade.side, trade.timestamp, trade.quantity].join(" ");
    const price = (row, value) => app.precision.price(row.symbol, value);
    this.table = new Table({
      label: "Trades", key: this.keyOf, empty: "Loading …", maxRows: 22,
      onopen: row => row.order_id && this.onopen(row.order_id, row.symbol),
      onrange: () => this.loadAtEnd(),
      columns: [
        { id: "timestamp", title: "Time", width: "96px", value: row => row.timestamp, text: row => app.shortTime(row.timestamp, { hasMs: true }), hint: row => app.dateTime(row.timestamp, { hasMs: true }), minWidth: 420 },
        { id: "symbol", title: "Symbol", width: "minmax(64px, 1.8fr)", value: row => row.symbol },
        { id: "side", title: "Side", width: "38px", value: row => row.side, className: row => sideTone(row.side) },
        { id: "quantity", title: "Quantity", width: "minmax(54px, 0.8fr)", isNumber: true, value: row => row.quantity, text: row => quantity(row.quantity) },
        { id: "price", title: "Price", width: "minmax(62px, 0.9fr)", isNumber: true, value: row => row.price, text: row => price(row, row.price) },
        { id: "pnl", title: "P&L", about: "What it realised, net of fees; a dash if it closed nothing", width: "minmax(66px, 0.9fr)", isNumber: true, value: row => row.pnl, text: row => signed(row.pnl), className: row => tone(row.pnl), minWidth: 330 },
        { id: "commission", title: "Fee", width: "64px", isNumber: true, value: row => row.commission, text: row => number(row.commission), minWidth: 620 },
        { id: "commission_asset", title: "In", width: "44px", value: row => row.commission_asset, minWidth: 900 },
        { id: "slippage_bps", title: "Slippage", about: "Against the arrival price, in basis points; a cost when positive", width: "66px", isNumber: true, value: row => row.slippage_bps, text: row => number(row.slippage_bps, 1), className: row => tone(-row.slippage_bps), minWidth: 680 },
        { id: "liquidity", title: "Liquidity", width: "60px", value: row => row.liquidity, minWidth: 800 },
        { id: "strategy", title: "Strategy", width: "minmax(70px, 1.1fr)", value: row => row.strategy, minWidth: 560 },
        { id: "venue", title: "Venue", width: "minmax(50px, 0.6fr)", value: row => row.venue, minWidth: 740 },
        { id: "status", title: "Status", about: "Busted or corrected; a reason, if no order did it", width: "minmax(60px, 0.9fr)", value: row => row.status ?? row.reason, text: row => row.status ?? (row.reason || ""), className: row => row.status === "busted" ? "down" : "warn", minWidth: 860 },
        { id: "trade_id", title: "Trade", width: "minmax(70px, 1fr)", value: row => row.trade_id, hint: row => row.trade_id, minWidth: 1000 },
        { id: "order_id", title: "Order", width: "minmax(70px, 1fr)", value: row => row.order_id, hint: row => row.order_id, minWidth: 1100 },
      ] });
  }

  query() {
    const { strategy, symbol, side, site } = this.filters;
    return { strategy, symbol, side, site, end_time: this.app.feed.isPast ? this.app.before("", 0).end_time : null };
  }

  text(row) {
    return [row.trade_id, row.order_id, row.symbol, row.strategy, row.venue, row.reason, row.status, row.liquidity].join("\n");
  }

  take(entries, hasMissed) {
    let hasNews = false, isCorrected = hasMissed;
    for (const entry of entries) {
      if (entry.type === "trade") {
        const { type, seq, prev, durable, ...trade } = entry;
        this.put(trade, true);
        hasNews = true;
      } else if (isCorrection(entry)) isCorrected = true;
    }
    if (isCorrected) this.reload();
    else if (hasNews) this.show();
  }
}

// The whole life of one order: what it cost, and what happened to it in order.
function detailPart(app, site, close) {
  const title = h("p", { class: "life-title num" }), fault = h("p", { class: "fault", role: "alert", hidden: true });
  const figures = new Figures([
    { id: "status", label: "Status" }, { id: "filled", label: "Filled" }, { id: "average", label: "Average price" },
    { id: "arrival", label: "Arrival price" }, { id: "slippage", label: "Slippage", title: "Against the arrival price; a cost when positive" },
    { id: "spread", label: "Effective spread", title: "2 × (price − mid at the fill), signed; a cost when positive" },
    { id: "fees", label: "Fees" }, { id: "strategy", label: "Strategy" }, { id: "venue", label: "Venue" }, { id: "ids", label: "Client id" },
  ]);
  const reason = h("p", { class: "fault" }), legs = new Figures(Object.entries(LEGS).map(([id, label]) => ({ id, label })));
  const markouts = h("dl", { class: "figures" }), events = h("ol", { class: "life" }), chain = h("p", { class: "note" }), complete = h("p", { class: "note" });
  const element = panel("Order", { className: "w4 detail",
    controls: [h("button", { type: "button", class: "quiet", text: "Close", onclick: close })],
    body: [title, fault, reason, figures.element, h("h3", { text: "What happened" }), events, complete, chain,
      h("h3", { text: "Latency" }), legs.element, h("h3", { text: "Markout of its fills" }), markouts] });
  setAttribute(element, "aria-label", "One order");
  let id = null, symbol = null, of = null, life = null, isDirty = false;

  // Two sites may have orders of the same id.
  function show(orderId, orderSymbol = null) {
    if (orderId === id && orderSymbol === symbol && site.name === of) return;
    [id, symbol, of, life] = [orderId, orderSymbol, site.name, null];
    element.hidden = id === null;
    if (id !== null) load();
  }

  function load() {
    const asked = id, askedOf = of;
    if (app.feed.isPast && life !== null && Date.parse(life.created) > app.feed.now) {
      fault.hidden = false;
      write(fault, "It had not begun by then.");
      return;
    }
    app.ask("order", () => app.api.get(`/api/orders/${encodeURIComponent(asked)}`, { symbol, site: askedOf, time: app.feed.moment }), answer => {
      if (asked !== id || askedOf !== of) return;
      const isNew = life === null;
      life = answer;
      fault.hidden = true;
      draw();
      if (isNew && matchMedia("(max-width: 1180px)").matches) element.scrollIntoView({ block: "start" });
    }, error => {
      if (asked !== id || askedOf !== of) return;
      fault.hidden = false;
      write(title, id);
      write(fault, error.status === 404 ? "No order of this id is known." : `The order cannot be shown: ${error.message}`);
    });
  }

  function draw() {
    if (life === null) return;
    const price = (value, extra = 0) => app.precision.price(life.symbol, value, extra);
    write(title, `${life.side.toUpperCase()} ${quantity(life.quantity)} ${life.symbol} ${life.price === null ? "at market" : `at ${price(life.price)}`}`);
    write(reason, life.reason);
    reason.hidden = life.reason === "";
    reason.className = life.status === "rejected" ? "fault" : "note";
    figures.set("status", words(life.status), TONES[life.status] ?? "info");
    figures.set("filled", life.quantity ? `${quantity(life.filled_quantity)} of ${quantity(life.quantity)} (${percent(life.filled_quantity / life.quantity, 0)})` : quantity(life.filled_quantity));
    figures.set("average", price(life.average_price, 2));
    figures.set("arrival", price(life.arrival_price));
    figures.set("slippage", bps(life.slippage_bps), tone(-life.slippage_bps), life.slippage_bps === null ? "It needs fills and an arrival price." : null);
    figures.set("spread", bps(life.effective_spread.bps), tone(-life.effective_spread.bps), life.effective_spread.bps === null ? "There was no fresh quote at its fills, or it is no longer in memory." : null);
    figures.set("fees", life.commission === null ? DASH : `${number(life.commission, 4)} ${life.currency ?? ""}`, "", life.commission === null ? "Some fees had no rate when their fills came." : null);
    figures.set("strategy", life.strategy || DASH);
    figures.set("venue", life.venue || DASH);
    figures.set("ids", life.client_order_id || DASH);
    for (const leg of Object.keys(LEGS)) legs.set(leg, milliseconds(life.latency[leg]));
    markouts.replaceChildren(...Object.entries(life.markouts).map(([horizon, { bps: value, n }]) => h("div", {},
      h("dt", { text: horizon }), h("dd", { class: `num ${tone(value)}`, text: value === null ? DASH : `${signed(value, 2)} bps (n ${n})` }))));
    // Of what is of the same moment, a fill comes before the report that counts it.
    const steps = [
      ...life.reports.map(report => ({ at: report.timestamp, order: report.status.endsWith("filled") ? 2 : 0, ...report })),
      ...life.fills.map(fill => ({ at: fill.timestamp, order: 1, isFill: true, ...fill })),
    ].sort((a, b) => a.at < b.at ? -1 : a.at > b.at ? 1 : a.order - b.order);
    let before = null;
    events.replaceChildren(...steps.map(step => {
      const gap = before === null ? "" : `+${count(Date.parse(step.at) - before)} ms`;
      before = Date.parse(step.at);
      const said = step.isFill
        ? h("span", { class: step.status === "busted" ? "down" : "up", text: `fill ${quantity(step.quantity)} at ${price(step.price)}${step.liquidity ? `, ${step.liquidity}` : ""}${step.status ? `, ${step.status}` : ""}` })
        : h("span", { class: TONES[step.status] ?? "info", text: words(step.status) });
      return h("li", {}, h("time", { class: "num dim", datetime: step.at, title: app.dateTime(step.at, { hasMs: true }), text: app.shortTime(step.at, { hasMs: true }) }),
        h("span", { class: "num dim gap", text: gap }), h("span", {}, said, step.reason && !step.isFill ? h("span", { class: "dim", text: `: ${step.reason}` }) : null));
    }));
    write(complete, life.complete ? "" : "Earlier reports or fills are no longer in memory.");
    complete.hidden = life.complete;
    chain.hidden = life.chain.length < 2;
    chain.replaceChildren("Replaced one another: ", ...life.chain.flatMap((each, at) => [at ? " → " : "",
      each === life.order_id ? h("strong", { text: each }) : h("button", { type: "button", class: "quiet", text: each, onclick: () => app.go("orders", { name: each, of: life.symbol, site: of }) })]));
  }

  element.hidden = true;
  return {
    element, show, draw,
    move() {
      if (id !== null) load();
    },
    take(entries) {
      if (id !== null) isDirty ||= entries.some(entry => entry.order_id === id);
    },
    refresh() {
      if (id === null || document.hidden) return;
      // Markouts come up to five minutes after a fill.
      const isYoung = life !== null && !app.feed.isPast && app.feed.snapshot && Date.parse(app.feed.snapshot.timestamp) - Date.parse(life.updated) < 310e3;
      if (isDirty || isYoung && Date.now() % 5000 < REFRESH_MS) {
        isDirty = false;
        load();
      }
    },
  };
}

export default { id: "orders", title: "Orders", key: "o", mount };
