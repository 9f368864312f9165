// The feed of the page: the stream's client, the newest snapshot, one render for each animation frame.
//
//   client ─► newest snapshot ─► animation frame ─► render(snapshot)      a hidden page has no frames, so it renders
//          └► lane entries ─────┘                 └► entries(list)        once when it is shown again, without a backlog

import { Stream } from "../client.js";

// The bar above all views needs these.
const ALWAYS = ["system", "alerts"];
// Entries that wait for a frame. A hidden page drops the oldest and says so, and the view asks the server again.
const MAX_ENTRIES = 1000;
const KEPT_TIMES = 600;
const REPORT_MS = 1000;
const KEPT_EYES = 300;

/** Events: `state` when the connection changes, `past` with where in the past it is, `alert` with each transition of an alert in `detail`. */
export class Feed extends EventTarget {
  #api; #stream = null; #view = { channels: [], symbols: [] }; #past = null; #entries = []; #hasMissed = false;
  #isScheduled = false; #receivedAt = 0; #receivedDate = 0; #busyMs = 0; #reportedAt = -REPORT_MS; #rtt = null; #sentAt = 0;

  constructor(api) {
    super();
    this.#api = api;
    /** The newest snapshot of what is shown, or null. */
    this.snapshot = null;
    /** The state of the client: connecting, live, stale, lost, refused or closed. */
    this.connection = "connecting";
    /** Called once per animation frame with the newest snapshot. */
    this.onrender = () => {};
    /** Called before `onrender` with the entries of lanes since the last frame, and whether some were dropped. */
    this.onentries = () => {};
    this.renders = 0;
    // Who comes back to a page, or to the network, does not wait for the next attempt.
    addEventListener("online", () => this.#stream?.retry());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.#stream?.retry(); });
    /** Main-thread milliseconds of the last ticks, from the message to the end of the render. */
    this.times = [];
    /** The newest answers of the server to reports of painted frames. */
    this.eyes = [];
  }

  /** Starts, or starts again with the token of the API. */
  open() {
    this.#stream?.close();
    this.#rtt = null;
    this.#stream = new Stream(location.origin, {
      ...this.#wanted(),
      mode: "delta",
      token: this.#api.token,
      parameters: this.#past ?? {},
      onsnapshot: snapshot => this.#take(snapshot),
      onentry: entry => this.#takeEntry(entry),
      onpast: past => this.dispatchEvent(new CustomEvent("past", { detail: past })),
      onpainted: answer => this.#takeAnswer(answer),
      onstate: state => { if (state !== "closed") this.#change(state); },
    });
    this.#change(this.#stream.state);
  }

  /** Changes what the page asks for: sections and lanes, and the symbols in view (none: all of them). */
  show({ channels = [], symbols = [] }) {
    const before = this.#wanted();
    this.#view = { channels, symbols };
    const wanted = this.#wanted();
    if (JSON.stringify(before) !== JSON.stringify(wanted)) this.#stream?.subscribe(wanted);
  }

  /** Shows the past instead of the present: `parameters` of the stream's URL (`at`, `speed`), or null for the present. */
  travel(parameters) {
    this.#past = parameters;
    // Figures of another time must not stand under the word of this one.
    this.snapshot = null;
    this.open();
  }

  get isPast() {
    return this.#past !== null;
  }

  /** The moment of the past that is shown, as a text; null in the present. */
  get moment() {
    return this.isPast ? this.snapshot?.timestamp ?? this.#past.at : null;
  }

  /** Sends a message over the stream, as the scrubber's `seek`. Returns whether there is a connection. */
  send(message) {
    return this.#stream?.send(message) ?? false;
  }

  /** The time of the newest snapshot in milliseconds since 1970; that of this computer before there is one. */
  get now() {
    const time = this.snapshot?.timestamp ?? this.moment;
    return time === null ? Date.now() : Date.parse(time);
  }

  /** Seconds since the newest snapshot came, also over a sleep of the computer. */
  get age() {
    if (this.snapshot === null) return null;
    return Math.max(performance.now() - this.#receivedAt, Date.now() - this.#receivedDate, 0) / 1000;
  }

  /** Frames that were left out because this page or its connection was slow. */
  get skippedFrames() {
    return this.#stream?.skippedFrames ?? 0;
  }

  #wanted() {
    const { channels, symbols } = this.#view;
    return { channels: [...new Set([...ALWAYS, ...channels])].sort(), symbols: [...symbols].sort() };
  }

  #take(snapshot) {
    this.snapshot = snapshot;
    this.#receivedAt = this.#stream.receivedAt;
    this.#receivedDate = Date.now();
    this.#busyMs += performance.now() - this.#stream.receivedAt;
    this.#schedule();
  }

  #takeEntry(entry) {
    if (entry.type === "alert" && !this.isPast) this.dispatchEvent(new CustomEvent("alert", { detail: entry }));
    this.#entries.push(entry);
    if (this.#entries.length > MAX_ENTRIES) {
      this.#entries.shift();
      this.#hasMissed = true;
    }
    this.#schedule();
  }

  #schedule() {
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    requestAnimationFrame(() => this.#render());
  }

  #render() {
    this.#isScheduled = false;
    this.renders++;
    const start = performance.now(), { snapshot } = this;
    const entries = this.#entries, hasMissed = this.#hasMissed;
    this.#entries = [];
    this.#hasMissed = false;
    if (entries.length) this.onentries(entries, hasMissed);
    if (snapshot !== null) this.onrender(snapshot);
    this.times.push(this.#busyMs + performance.now() - start);
    if (this.times.length > KEPT_TIMES) this.times.shift();
    this.#busyMs = 0;
    if (snapshot !== null && !this.isPast && start - this.#reportedAt >= REPORT_MS) this.#report(snapshot, start);
  }

  // A task that is posted from an animation frame runs once the frame has been painted.
  #report({ epoch, seq }, now) {
    this.#reportedAt = now;
    const stream = this.#stream, receivedAt = this.#receivedAt, { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      if (stream !== this.#stream) return;
      this.#sentAt = performance.now();
      stream.send({ type: "painted", epoch, seq, paint_ms: this.#sentAt - receivedAt, rtt_ms: this.#rtt });
    };
    port2.postMessage(null);
  }

  #takeAnswer(answer) {
    this.#rtt = this.#stream.receivedAt - this.#sentAt;
    if (answer.tick_to_eye_ms === null) return;
    this.eyes.push(answer);
    if (this.eyes.length > KEPT_EYES) this.eyes.shift();
  }

  #change(state) {
    this.connection = state;
    this.dispatchEvent(new Event("state"));
  }
}

/** Returns the value that `percent` of the numbers do not exceed; null of none. */
export function percentile(numbers, percent) {
  if (!numbers.length) return null;
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * percent / 100) - 1)];
}
