// The live page.
//
//   app.js            what is above all views: navigation, state, clock, keys, token; one view at a time below it
//   client.js         the stream's client, which other pages and node use too
//   js/dom.js         elements: h(tag, properties, ...children), write(element, text), panel(), Tabs, Figures
//   js/state.js       Feed: newest snapshot, one render per animation frame, entries of lanes, reports of painted frames
//   js/honest.js      stateOf(): live, demo, replay, past, ended, stale, lost, refused: a word, a colour, a sentence
//   js/format.js      figures, prices at a symbol's precision, durations, times in the chosen zone
//   js/table.js       Table: rows in view only; sort, selection, copy, CSV, keys
//   js/chart.js       Chart (uPlot), EquityCurves, Sparkline
//   js/bell.js        Bell: alerts in the title of the tab, a sound
//   js/heatmap.js     HeatMap: durations over time
//   js/api.js         Api: questions by HTTP with the token; ApiError
//   js/scrubber.js    Scrubber: the line of time under every view
//   js/settings.js    Settings: colours, time zone, sound, watch list
//   js/router.js      links: #/VIEW/NAME?PARAMETERS
//   js/keyboard.js    keys;  js/dialogs.js  token and help
//   views/*.js        one module per view
//   vendor/           uPlot, the exact files of its package
//
// A view is {id, title, key, mount(root, app, params)}. `mount` fills `root` and returns what the page calls:
//
//   subscription()          {channels, symbols}: what to ask the server for; app.refreshSubscription() asks again
//   update(snapshot)        once per animation frame at most, and only while the view is shown
//   entries(list, missed)   entries of lanes since the last frame; `missed`: some were dropped, ask the server again
//   change(params)          the parameters of the address have changed; false, or no `change`: mount the view anew
//   move()                  another moment of the past is shown, or the present again: ask for documents of it
//   unmount()               the view goes: timers, tables and charts end here
//
// All but `subscription` are optional. `app` has feed, api, settings, precision, bell, and
//
//   app.go(id, params)      goes to a view
//   app.setParams(params)   changes the address of this one, without a new entry, and returns all its parameters
//   app.time(value), app.dateTime(value), app.shortTime(value)     times in the chosen zone; the last with the day if that is another
//   app.ask(subject, question, show, fail)   asks the server and shows the answer; those about one subject come in order
//   app.tell(question, show, fail)           the same for what changes something
//   app.document(name)                       one of the server's documents, as of now or of the past moment that is shown
//   app.before(range, ms)                    fields of a history question: before now, or before the past moment that is shown
//   app.announce(text)      tells a screen reader;  app.login(reason)  asks for a token
//   app.setBadge(text)      puts a text before the title of the tab

import { Api, ApiError } from "./js/api.js";
import { Bell } from "./js/bell.js";
import { HelpDialog, TokenDialog } from "./js/dialogs.js";
import { h, setAttribute, setClass, write } from "./js/dom.js";
import * as format from "./js/format.js";
import { stateOf } from "./js/honest.js";
import { Keyboard } from "./js/keyboard.js";
import { given, link, parse } from "./js/router.js";
import { Scrubber } from "./js/scrubber.js";
import { Settings } from "./js/settings.js";
import { Feed } from "./js/state.js";
import alerts from "./views/alerts.js";
import execution from "./views/execution.js";
import market from "./views/market.js";
import orders from "./views/orders.js";
import overview from "./views/overview.js";
import strategies from "./views/strategies.js";
import system from "./views/system.js";

// The order is that of the navigation. The first one is shown where the address names none.
const VIEWS = [overview, market, strategies, orders, execution, alerts, system];

const byId = id => document.getElementById(id);
const ZONE_NAMES = { __proto__: null, utc: "UTC", session: "Session", local: "Local" };
const DOCUMENTS = {
  __proto__: null,
  instruments: "/api/instruments", strategy_performance: "/api/strategy/performance", execution_quality: "/api/trades/execution/quality",
  system_alerts: "/api/system/alerts", alert_rules: "/api/system/alerts/rules", system_silences: "/api/system/silences",
  system_notifications: "/api/system/notifications", system_performance: "/api/system/performance", system_stats: "/api/system/stats",
  system_components: "/api/system/components", system_health: "/api/system/health",
};
const THEME_NAMES = { __proto__: null, auto: "Auto", dark: "Dark", light: "Light" };

class App {
  #view = null; #mounted = null; #params = {}; #badge = ""; #stateName = ""; #turns = new Map(); #moment = null; #hasTerms = false;

  constructor() {
    /** What is wrong with the address; the banner shows it while figures are current. */
    this.notice = "";
    this.settings = new Settings();
    this.precision = new format.Precision();
    this.api = new Api((role, detail) => this.login(detail ?? `This needs a token that may ${role}.`));
    this.feed = new Feed(this.api);
    this.bell = new Bell(this);
    this.keyboard = new Keyboard();
    this.tokenDialog = new TokenDialog(token => this.#useToken(token));
    this.helpDialog = new HelpDialog(this.keyboard);
    this.#takeTokenFromAddress();
    this.scrubber = new Scrubber(this);
    byId("main").after(this.scrubber.element);
    this.#applySettings();
    this.#addBar();
    this.#addKeys();
    this.feed.onrender = snapshot => this.#render(snapshot);
    this.feed.onentries = (entries, hasMissed) => this.#mounted?.entries?.(entries, hasMissed);
    this.feed.addEventListener("state", () => this.#showState());
    this.settings.addEventListener("change", () => this.#applySettings());
    addEventListener("hashchange", () => this.#route());
    setInterval(() => this.#showState(), 500);
    setInterval(() => this.#follow(), 1000);
    this.#moment = this.feed.moment;
    this.#route();
    this.feed.open();
  }

  /** Goes to a view. */
  go(id, params = {}) {
    location.hash = link(id, params);
  }

  /** Writes parameters of the view that is shown into the address; null removes one. Returns all that there are then. */
  setParams(params) {
    this.#params = given({ ...this.#params, ...params });
    history.replaceState(null, "", link(this.#view.id, this.#params));
    return this.#params;
  }

  refreshSubscription() {
    if (this.#mounted !== null) this.feed.show(this.#mounted.subscription());
  }

  time(value, options) {
    return format.time(value, this.settings.zone, options);
  }

  dateTime(value, options) {
    return format.dateTime(value, this.settings.zone, options);
  }

  /** The day of the figures shown, in the chosen zone. */
  get today() {
    return this.dateTime(this.feed.now).slice(0, 10);
  }

  /** Returns a time of day, with the day before it unless that is the day of the figures shown. */
  shortTime(value, options) {
    if (!value) return format.DASH;
    const day = this.dateTime(value).slice(0, 10);
    return day === this.today ? this.time(value, options) : `${day.slice(5)} ${this.time(value)}`;
  }

  /** Shows the answer to a question about a subject, or the ApiError, unless another view is shown by then. `question`
   * returns a promise. It is called once that before it about the same subject is answered, so that no answer replaces a
   * newer one; of those that wait for this, the newest alone. Where the past has been entered or left meanwhile, it is
   * called again. */
  async ask(subject, question, show, fail = () => {}) {
    const turns = this.#turns, isBusy = turns.has(subject);
    turns.set(subject, { question, show, fail });
    if (isBusy) return;
    try {
      for (let turn; (turn = turns.get(subject)) !== null;) {
        turns.set(subject, null);
        const { isPast } = this.feed, take = await outcomeOf(turn);
        if (turns !== this.#turns) return;
        if (isPast === this.feed.isPast) take();
        else turns.set(subject, turns.get(subject) ?? turn);
      }
    } finally {
      turns.delete(subject);
    }
  }

  /** Does what changes something, and shows the answer, or the ApiError, unless another view is shown by then. */
  async tell(question, show, fail) {
    const turns = this.#turns, take = await outcomeOf({ question, show, fail });
    if (turns === this.#turns) take();
  }

  /** Returns a document: as it is now, or as it was at the moment that is shown. `query` is that of now. Raises ApiError. */
  async document(name, query = {}) {
    const time = this.feed.moment;
    if (time === null) return this.api.get(DOCUMENTS[name], query);
    const { document, reason } = await this.api.get(`/api/recordings/documents/${name}`, { time });
    if (document === null) throw new ApiError(404, "not recorded", reason);
    return document;
  }

  /** Returns the fields of a question for the `ms` before what is shown: of the range before now, or before a past moment. */
  before(range, ms) {
    if (!this.feed.isPast) return { time_range: range };
    const end = Date.parse(this.feed.moment);
    return { start_time: new Date(end - ms).toISOString(), end_time: new Date(end + 1).toISOString() };
  }

  announce(text) {
    byId("announcer").textContent = text;
  }

  login(reason) {
    this.tokenDialog.open(reason);
  }

  setBadge(text) {
    this.#badge = text;
    this.#showTitle();
  }

  #route() {
    if (this.#takeTokenFromAddress()) this.feed.open();
    const { id, params } = parse(location.hash);
    const view = VIEWS.find(each => each.id === id) ?? VIEWS[0];
    const isSame = view === this.#view;
    this.#params = params;
    if (isSame && this.#mounted?.change && this.#mounted.change(params) !== false) {
      this.refreshSubscription();
      return;
    }
    this.#mounted?.unmount?.();
    this.#turns = new Map();
    this.#view = view;
    const main = byId("main");
    main.replaceChildren(h("h1", { class: "unseen", text: view.title }));
    main.className = `view-${view.id}`;
    this.#mounted = view.mount(main, this, params);
    for (const anchor of byId("nav").children)
      if (anchor.dataset.view === view.id) anchor.setAttribute("aria-current", "page");
      else anchor.removeAttribute("aria-current");
    this.#showTitle();
    this.refreshSubscription();
    if (this.feed.snapshot) this.#render(this.feed.snapshot);
    scrollTo(0, 0);
  }

  // A view that needs what the snapshot does not have yet is updated once it is there.
  #render(snapshot) {
    write(byId("clock"), this.time(snapshot.timestamp));
    if (!this.#hasTerms) this.#loadTerms(snapshot);
    if (snapshot.system && !this.feed.isPast) this.bell.show(snapshot.system.active_alerts);
    this.scrubber.update(snapshot);
    this.#showState();
    const { channels } = this.#mounted.subscription();
    if (channels.every(name => name in snapshot || !this.#isSection(name))) {
      this.#mounted.update?.(snapshot);
      setAttribute(byId("main"), "data-view", location.hash);
    }
  }

  #follow() {
    if (this.feed.moment === this.#moment || document.hidden) return;
    this.#moment = this.feed.moment;
    this.#mounted?.move?.();
  }

  #isSection(name) {
    return !["trades", "alerts", "bookings", "orders"].includes(name);
  }

  #showState() {
    const { feed } = this, zone = this.settings.zone;
    const state = stateOf({ connection: feed.connection, snapshot: feed.snapshot, age: feed.age, past: feed.isPast, zone });
    write(byId("state"), state.word);
    setClass(byId("state"), state.tone);
    const banner = byId("banner");
    const notice = state.isCurrent ? this.notice : "", sentence = `${notice} ${state.sentence}`.trim();
    banner.hidden = sentence === "";
    setClass(banner, notice ? "warn" : state.tone);
    write(banner, sentence);
    setAttribute(document.documentElement, "data-current", state.isCurrent);
    if (state.name === this.#stateName) return;
    this.#stateName = state.name;
    if (state.name === "refused") this.login(state.sentence);
    this.#showTitle();
  }

  #showTitle() {
    const state = ["live", "connecting", ""].includes(this.#stateName) ? "" : ` · ${this.#stateName}`;
    document.title = `${this.#badge}${this.#view.title}${state} · observability`;
  }

  #addBar() {
    byId("nav").append(...VIEWS.map(({ id, title, key }) =>
      h("a", { href: link(id), text: title, dataset: { view: id }, title: `g ${key}` })));
    byId("zone").addEventListener("click", () => this.settings.cycle("zone"));
    byId("theme").addEventListener("click", () => this.settings.cycle("theme"));
    byId("help").addEventListener("click", () => this.helpDialog.open());
  }

  #addKeys() {
    const { keyboard } = this;
    keyboard.on("/", "Search", () => document.querySelector("#main [type=search]")?.focus());
    keyboard.on("?", "Show these keys", () => this.helpDialog.open());
    for (const { id, title, key } of VIEWS) keyboard.on(`g ${key}`, `Go to ${title}`, () => this.go(id));
    keyboard.on("t", "Change the colours", () => this.settings.cycle("theme"));
    keyboard.on("z", "Change the time zone", () => this.settings.cycle("zone"));
  }

  #applySettings() {
    const { settings } = this;
    document.documentElement.dataset.theme = settings.isLight ? "light" : "dark";
    const zone = settings.get("zone"), theme = settings.get("theme");
    write(byId("zone"), ZONE_NAMES[zone]);
    byId("zone").title = `Times are in ${settings.zone}. Change the time zone (z)`;
    write(byId("theme"), THEME_NAMES[theme]);
    byId("theme").title = "Change the colours (t)";
    if (this.feed.snapshot) this.#render(this.feed.snapshot);
  }

  // The session and the ticks of prices. Without them times are in UTC, and prices have the decimals that quotes have.
  // An aggregator has none of its own.
  #loadTerms({ system }) {
    this.#hasTerms = true;
    if (system?.missing_sites !== undefined) return;
    this.document("instruments").then(({ instruments }) => this.precision.describe(instruments), () => {});
    this.document("strategy_performance").then(({ session }) => this.settings.setSession(session), () => {});
  }

  // The browser keeps what follows the # to itself. The token goes from there, so that no link that is copied has it.
  #takeTokenFromAddress() {
    const token = new URLSearchParams(location.hash.slice(1)).get("token");
    if (!token) return false;
    this.api.token = token;
    history.replaceState(null, "", location.pathname + location.search);
    return true;
  }

  #useToken(token) {
    this.api.token = token;
    this.#hasTerms = false;
    this.feed.open();
    // What the view has asked for in vain it asks for again.
    this.#mounted?.unmount?.();
    this.#view = null;
    this.#mounted = null;
    this.#route();
  }
}

// Returns what is to be done with the answer to a question.
async function outcomeOf({ question, show, fail }) {
  try {
    const answer = await question();
    return () => show(answer);
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return () => fail(error);
  }
}

globalThis.app = new App();
