// The stream of a server, for pages and for node: snapshots that survive lost connections, and lanes without a gap.
//
//   import { Stream } from "/static/client.js";
//   new Stream(location.origin, { onsnapshot: snapshot => show(snapshot.strategy.total_pnl) });
//
//   for await (const message of new Stream("http://localhost:8000", { channels: ["trades"] })) console.log(message.price);
//
// A lost connection is opened again after a random delay. The client then resumes: it asks for the frames that it has
// missed (`since`) and for what the lanes brought meanwhile (`lane_since`), and drops what it already had.
// Types are in client.d.ts; docs/clients.md says more.

const LANES = { __proto__: null, trade: "trades", alert: "alerts", booking: "bookings", order: "orders" };
const FIRST_DELAY = 200, MAX_DELAY = 15000, LATE_FRAMES = 5, MIN_STALE = 1000;
// Connections on which nothing comes for this many heartbeats are half open.
const SILENT_HEARTBEATS = 2.5;

const OPEN = 1, VIEW = "view";

const isObject = value => value !== null && typeof value === "object" && !Array.isArray(value);

/** Returns the snapshot that a delta makes of `held`, which is not changed. `groups` are those of `connected`. */
export function applyDelta(held, delta, groups) {
  const { prev_seq, removed, ...changed } = delta;
  const next = { ...held, ...changed, type: "metrics_update" };
  for (const [name, value] of Object.entries(changed)) {
    if (!isObject(value) || !isObject(held[name])) continue;
    const named = groups.filter(path => path[0] === name);
    if (named.some(path => path.length === 1)) next[name] = { ...held[name], ...value };
    else if (named.length) next[name] = mergeSection(held[name], value, named.map(path => path[1]));
  }
  for (const path of removed) remove(next, path);
  return next;
}

// Fields come first and all together, so that one that is gone is not kept, and their order is the server's.
function mergeSection(held, changed, groups) {
  const isGroup = name => groups.includes(name);
  const fields = Object.keys(changed).every(isGroup) ? held : changed, next = {};
  for (const [name, value] of Object.entries(fields)) if (!isGroup(name)) next[name] = value;
  for (const name of new Set([...Object.keys(held), ...Object.keys(changed)].filter(isGroup)))
    next[name] = mergeGroup(held[name], changed[name]);
  return next;
}

function mergeGroup(held, changed) {
  if (held === undefined || changed === undefined) return changed ?? held;
  if (!Array.isArray(changed)) return { ...held, ...changed };
  const members = new Map(held.map(member => [member.key, member]));
  for (const member of changed) members.set(member.key, member);
  return [...members.values()];
}

// What a view does not hold cannot be removed from it.
function remove(document, path) {
  const key = path.at(-1);
  for (const name of path.slice(0, -1)) {
    const value = document[name];
    if (Array.isArray(value)) {
      document[name] = value.filter(member => member.key !== key);
      return;
    }
    if (!isObject(value)) return;
    document = document[name] = { ...value };
  }
  delete document[key];
}

/** A subscription that keeps itself alive. */
export class Stream {
  #url; #token; #view; #lanes; #hasMetrics; #options; #socket = null; #groups = []; #epoch = ""; #laneEpoch = null;
  #received; #attempts = 0; #staleAfter = MIN_STALE; #silentAfter = 60000; #staleTimer; #silentTimer; #retryTimer; #beat;
  #waiting = []; #newest = null; #wake = null; #isNewView = false;

  constructor(url, options = {}) {
    const { channels = ["metrics"], symbols = [], mode = "full", laneSince = {}, token = null, parameters = {} } = options;
    this.#options = options;
    this.#token = token;
    this.#url = new URL("/ws/metrics", url);
    this.#url.protocol = this.#url.protocol.replace("http", "ws");
    this.#url.searchParams.set("mode", mode);
    for (const [name, value] of Object.entries(parameters)) this.#url.searchParams.set(name, value);
    this.#want(channels, symbols);
    this.state = "connecting";
    this.snapshot = null;
    /** When the newest message came, by `performance.now()`. */
    this.receivedAt = 0;
    this.skippedFrames = 0;
    this.lostEntries = 0;
    this.laneSeqs = { ...laneSince };
    this.#received = { ...laneSince };
    this.#connect();
  }

  /** Changes what the stream brings. The next snapshot is whole, and of the new view. */
  subscribe({ channels = ["metrics"], symbols = [] }) {
    const before = this.#view.channels;
    this.#want(channels, symbols);
    if (this.#socket?.readyState === OPEN) this.#changeView(before);
  }

  /** Connects now, if the next attempt to connect is only due later. */
  retry() {
    if (this.#socket !== null || this.state === "closed" || this.state === "refused") return;
    this.#connect();
  }

  /** Sends a message that the server knows. Returns whether there was a connection to send it by. */
  send(message) {
    const isOpen = this.#socket?.readyState === OPEN;
    if (isOpen) this.#send(message);
    return isOpen;
  }

  close() {
    clearTimeout(this.#retryTimer);
    this.#leave();
    this.#change("closed");
    this.#wake?.();
  }

  async *[Symbol.asyncIterator]() {
    try {
      for (;;) {
        if (this.#waiting.length) yield this.#waiting.shift();
        else if (this.#newest) {
          const snapshot = this.#newest;
          this.#newest = null;
          yield snapshot;
        } else if (this.state === "closed") return;
        else if (this.state === "refused") throw new Error("the server refuses this client: a token is needed");
        else await new Promise(resolve => { this.#wake = resolve; });
      }
    } finally {
      this.close();
    }
  }

  #want(channels, symbols) {
    const names = Object.values(LANES), metrics = channels.filter(name => !names.includes(name));
    this.#view = { channels, symbols };
    this.#lanes = channels.filter(name => names.includes(name));
    this.#hasMetrics = metrics.length > 0;
    if (metrics.some(name => name !== "metrics")) this.#url.searchParams.set("channels", metrics);
    else this.#url.searchParams.delete("channels");
    if (symbols.length) this.#url.searchParams.set("symbols", symbols);
    else this.#url.searchParams.delete("symbols");
  }

  #connect() {
    clearTimeout(this.#retryTimer);
    const url = new URL(this.#url);
    if (this.snapshot && this.#isPast) url.searchParams.set("at", this.snapshot.timestamp);
    else if (this.snapshot) url.searchParams.set("since", `${this.snapshot.epoch}:${this.snapshot.seq}`);
    // A URL ends up in logs, so a token does not belong into it.
    const protocols = this.#token ? ["observability", `bearer.${this.#token}`] : [];
    const socket = this.#socket = new (this.#options.WebSocket ?? WebSocket)(url, protocols);
    const view = this.#view;
    let hasOpened = false;
    socket.onopen = () => {
      hasOpened = true;
      if (view === this.#view) this.#subscribe();
      else this.#changeView(view.channels);
    };
    socket.onmessage = event => { if (socket === this.#socket) this.#receive(event.data); };
    socket.onclose = () => { if (socket === this.#socket) this.#lose(hasOpened); };
    this.#expectMessage();
  }

  #leave() {
    clearTimeout(this.#staleTimer);
    clearTimeout(this.#silentTimer);
    clearInterval(this.#beat);
    const socket = this.#socket;
    this.#socket = null;
    socket?.close();
  }

  async #lose(hasOpened) {
    this.#leave();
    this.#change(this.#epoch ? "lost" : "connecting");
    const delay = Math.random() * Math.min(MAX_DELAY, FIRST_DELAY * 2 ** Math.min(this.#attempts++, 10));
    // A browser does not tell why a handshake was refused.
    if (!hasOpened && await this.#isRefused()) this.#change("refused");
    else if (this.state !== "closed" && this.#socket === null) this.#retryTimer = setTimeout(() => this.#connect(), delay);
  }

  async #isRefused() {
    const url = new URL("/api/metrics/current", this.#url.href.replace(/^ws/, "http"));
    const headers = this.#token ? { Authorization: `Bearer ${this.#token}` } : {};
    try {
      return [401, 403].includes((await fetch(url, { method: "HEAD", headers })).status);
    } catch {
      return false;
    }
  }

  #subscribe(since = this.#received) {
    if (!this.#lanes.length) return;
    this.#send({ type: "subscribe", channels: this.#lanes, lane_since: since });
    if (!this.#hasMetrics) this.#send({ type: "unsubscribe", channels: ["metrics"] });
  }

  // The answers have the id of these messages, and each is followed by a whole snapshot.
  #changeView(before) {
    const { channels, symbols } = this.#view, lanes = Object.values(LANES), hasAll = channels.includes("metrics");
    // A lane that is left begins anew when it is wanted again.
    for (const name of lanes) if (!channels.includes(name)) delete this.#received[name];
    this.#send({ type: "subscribe", id: VIEW, channels, symbols, lane_since: this.#received });
    // The first sections replace "metrics", which has them all.
    const left = before.filter(name => !channels.includes(name)
      && (lanes.includes(name) || !this.#hasMetrics || !hasAll && name !== "metrics"));
    if (left.length) this.#send({ type: "unsubscribe", id: VIEW, channels: left });
  }

  #send(message) {
    this.#socket.send(JSON.stringify(message));
  }

  #receive(data) {
    this.receivedAt = performance.now();
    this.#expectMessage();
    if (data === "pong") return;
    const message = JSON.parse(data), { type } = message;
    if (type === "metrics_update" || type === "metrics_delta") this.#takeSnapshot(message);
    else if (type in LANES) this.#takeEntry(LANES[type], message);
    else if (type === "connected") {
      this.#attempts = 0;
      this.#epoch = message.epoch;
      if (message.past) this.#options.onpast?.(message.past);
      this.#groups = message.groups;
      this.#staleAfter = Math.max(MIN_STALE, LATE_FRAMES * 1000 / message.update_frequency_hz);
      // The server's own pings do not reach a page. Without the answer to these, a lane that is quiet would seem half open.
      const beat = 1000 * message.heartbeat_interval;
      this.#silentAfter = SILENT_HEARTBEATS * beat;
      this.#beat = setInterval(() => this.#socket.send("ping"), beat);
      this.#expectSnapshot();
    } else if (type === "subscribed" || type === "unsubscribed") {
      this.#isNewView = message.id === VIEW;
      this.#takeLanes(message.lanes);
    } else if (type === "past") this.#takePast(message);
    else if (type === "painted") this.#options.onpainted?.(message);
    else if (type === "stale") this.#change("stale");
    else if (type === "error") console.warn(`${this.#url}: the server answered ${message.code}: ${message.message}`);
  }

  get #isPast() {
    return this.#url.searchParams.has("at");
  }

  // A snapshot of another time follows, whole, and the lanes continue after what clients had by then.
  #takePast({ past }) {
    if (this.snapshot && past.time !== this.snapshot.timestamp) {
      this.snapshot = null;
      this.#received = {};
    }
    this.#options.onpast?.(past);
  }

  #takeSnapshot(message) {
    const held = this.snapshot, isSameEpoch = held?.epoch === message.epoch;
    if (!this.#hasMetrics || isSameEpoch && message.seq < held.seq) return;
    if (message.type === "metrics_delta") {
      if (!isSameEpoch || message.prev_seq !== held.seq) return;
      message = applyDelta(held, message, this.#groups);
    }
    this.snapshot = message;
    this.#expectSnapshot();
    const isNewView = this.#isNewView;
    this.#isNewView = false;
    if (isSameEpoch && message.seq === held.seq && !isNewView) return;
    if (isSameEpoch) this.skippedFrames += Math.max(0, message.seq - held.seq - 1);
    this.#newest = message;
    this.#options.onsnapshot?.(message);
    this.#wake?.();
  }

  #takeEntry(lane, message) {
    const last = this.#received[lane];
    if (message.seq <= last) return;
    if (message.prev > last) {
      this.lostEntries++;
      console.error(`${this.#url}: entries of the lane ${lane} after ${last} up to ${message.prev} are lost`);
    }
    this.#received[lane] = this.laneSeqs[lane] = message.seq;
    if (this.#options.onentry) this.#options.onentry(message);
    else this.#waiting.push(message);
    this.#wake?.();
  }

  // The position of each lane, so that what comes while the connection is lost is asked for. A server without a store
  // counts from 1 after a restart: all that it has is new.
  #takeLanes(lanes) {
    const hasRestarted = this.#laneEpoch !== null && this.#laneEpoch !== this.#epoch, restarted = [];
    this.#laneEpoch = this.#epoch;
    for (const [lane, { seq, stored }] of Object.entries(lanes)) {
      this.#received[lane] ??= seq;
      if (seq < this.#received[lane] || hasRestarted && !stored) {
        this.#received[lane] = 0;
        restarted.push(lane);
      }
    }
    if (!restarted.length) return;
    this.#send({ type: "unsubscribe", channels: restarted });
    this.#subscribe();
  }

  #expectMessage() {
    clearTimeout(this.#silentTimer);
    this.#silentTimer = setTimeout(() => this.#lose(true), this.#silentAfter);
  }

  #expectSnapshot() {
    this.#change("live");
    clearTimeout(this.#staleTimer);
    // The past may be paused.
    if (this.#hasMetrics && !this.#isPast) this.#staleTimer = setTimeout(() => this.#change("stale"), this.#staleAfter);
  }

  #change(state) {
    if (state === this.state || this.state === "closed") return;
    this.state = state;
    this.#options.onstate?.(state);
    this.#wake?.();
  }
}
