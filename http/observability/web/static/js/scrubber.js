// The scrubber: a line of time under every view, from live to any recorded moment and back.
//
//   [Past] [◂] [▸ play] [▸] [1×]  |----|--▲-------●---|  [time] [1 h]     ▲ alerts, | fills
//
// What it moves is the feed; views do not know whether the frames that they show are past ones.

import { h, setAttribute, write } from "./dom.js";
import { momentOf } from "./router.js";

const SPANS = [["5 min", 300], ["1 h", 3600], ["8 h", 28800], ["1 day", 86400], ["1 week", 604800]];
const SPEEDS = [0.25, 1, 2, 5, 10, 60, 600];
const RELOAD_MS = 15000;
// While the handle is dragged: the server reads a frame for each of these.
const SEEK_MS = 100;
const MARK_POINTS = 400;
// In the present the line moves at this pace, and asks for what is new on it at the other one.
const MOVE_MS = 1000, MARKS_MS = 5000;
const NOT_PLAYED = "This server is an edge, which shows the present: the hub plays the past";

export class Scrubber {
  #app; #range = null; #past = null; #marks = []; #span = 3600; #end = 0; #isDragged = false; #seekTimer = null; #wanted = null; #isPlayed = true;
  #movedTo = 0; #hasAsked = false; #markedAt = -MARKS_MS; #question = null;

  constructor(app) {
    this.#app = app;
    const button = (label, title, action) => h("button", { type: "button", text: label, title, "aria-label": title, onclick: action });
    this.toggle = button("Past", "Look at the past (p)", () => this.switch());
    this.back = button("◂", "One tick back (,)", () => this.step(-1));
    this.play = button("▸", "Play (space)", () => this.playOrPause());
    this.forth = button("▸|", "One tick further (.)", () => this.step(1));
    this.speed = h("select", { "aria-label": "Speed", onchange: () => this.#sendPlay() },
      ...SPEEDS.map(speed => h("option", { value: speed, text: `${speed}×`, selected: speed === 1 })));
    this.handle = h("input", {
      type: "range", "aria-label": "Time", step: 100, oninput: () => this.#drag(), onchange: () => this.#drop(),
    });
    this.canvas = h("canvas", { "aria-hidden": "true" });
    this.clock = h("output", { class: "num" });
    this.spans = h("select", { "aria-label": "Length of the line of time", onchange: () => this.#setSpan() },
      ...SPANS.map(([label, seconds]) => h("option", { value: seconds, text: label, selected: seconds === 3600 })));
    this.element = h("footer", { id: "scrubber", "aria-label": "Recording", hidden: true }, this.toggle, this.back,
      this.play, this.forth, this.speed, h("div", { class: "line" }, this.canvas, this.handle), this.clock, this.spans);
    app.feed.addEventListener("past", event => this.#takePast(event.detail));
    const { keyboard } = app;
    keyboard.on("p", "Look at the past, and back at the present", () => this.switch());
    keyboard.on(",", "One tick back", () => this.step(-1));
    keyboard.on(".", "One tick further", () => this.step(1));
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
    setInterval(() => this.#load(), RELOAD_MS);
    // A bundle has no present, and says where it begins.
    const asked = new URLSearchParams(location.search).get("at") ?? document.documentElement.dataset.startTime;
    const at = asked ? momentOf(asked) : null;
    if (asked) this.#load();
    if (at) app.feed.travel({ at, speed: 0 });
    else if (asked) app.notice = `The address asks for “${asked.slice(0, 60)}”, which is no time. This is the present.`;
  }

  /** Goes from the present into the past, a minute back, or from the past into the present. */
  switch() {
    if (this.#app.feed.isPast) this.leave();
    else if (this.#range !== null) this.go(Math.max(this.#range.start, this.#now() - 60000));
  }

  /** Shows the present. */
  leave() {
    this.#app.notice = "";
    this.#past = null;
    this.#markedAt = -MARKS_MS;
    this.#app.feed.travel(null);
    this.#show();
    this.#load();
  }

  /** Shows a moment (milliseconds since the epoch). */
  go(time) {
    if (!this.#isPlayed) return;
    this.#app.notice = "";
    const at = new Date(time).toISOString();
    if (!this.#app.feed.isPast) {
      this.#app.feed.travel({ at, speed: 0 });
      this.#show();
    } else this.#app.feed.send({ type: "seek", time: at });
  }

  step(count) {
    if (this.#app.feed.isPast) this.#app.feed.send({ type: "step", count });
    else this.switch();
  }

  playOrPause() {
    if (!this.#app.feed.isPast) this.switch();
    else if (this.#past?.state === "paused") this.#sendPlay();
    else this.#app.feed.send({ type: "pause" });
  }

  /** Writes what has moved; called once per render. */
  update(snapshot) {
    const time = Date.parse(snapshot.timestamp), isPast = this.#app.feed.isPast;
    if (!this.#hasAsked) this.#load();
    if (!isPast && time >= this.#movedTo && time - this.#movedTo < MOVE_MS) return;
    this.#movedTo = time;
    write(this.clock, this.#app.dateTime(snapshot.timestamp));
    if (this.#isDragged) return;
    if (this.#range !== null && (time > this.#end || time < this.#end - this.#span * 1000)) this.#setEnd(time);
    this.handle.value = time;
    setAttribute(this.handle, "aria-valuetext", this.clock.textContent);
  }

  #sendPlay() {
    this.#app.feed.send({ type: "play", speed: Number(this.speed.value) });
  }

  #drag() {
    this.#isDragged = true;
    this.#wanted = Number(this.handle.value);
    this.#seekTimer ??= setTimeout(() => {
      this.#seekTimer = null;
      this.#seek();
    }, SEEK_MS);
  }

  #drop() {
    this.#isDragged = false;
    this.#seek();
  }

  #seek() {
    if (this.#wanted === null) return;
    this.go(this.#wanted);
    this.#wanted = null;
  }

  #takePast(past) {
    this.#past = past;
    if (past !== null && past.state !== "playing" && past.end_time) this.#range = { ...this.#range, end: Date.parse(past.end_time) };
    this.#show();
  }

  #now() {
    return Math.max(this.#range?.end ?? 0, Date.parse(this.#app.feed.snapshot?.timestamp ?? 0));
  }

  #setSpan() {
    this.#markedAt = -MARKS_MS;
    this.#span = Number(this.spans.value);
    this.#setEnd(Number(this.handle.value));
  }

  // The present is at the right end; a moment of the past is in the middle, if there is something after it.
  #setEnd(time) {
    const { isPast } = this.#app.feed, half = isPast ? this.#span * 500 : 0;
    this.#end = Math.min(time + half, Math.max(time, this.#now()));
    this.handle.min = this.#end - this.#span * 1000;
    this.handle.max = this.#end;
    this.handle.value = time;
    if (isPast || performance.now() - this.#markedAt >= MARKS_MS) this.#loadMarks();
    else this.#draw();
  }

  async #load() {
    // An aggregator records nothing, and would have to be asked for one of its sites.
    if (document.hidden || this.#app.feed.snapshot?.system?.missing_sites !== undefined) return;
    this.#hasAsked = true;
    const found = await this.#app.api.get("/api/recordings").catch(() => null);
    if (found === null) return;
    const { start_time: start, end_time: end, live, playback } = found;
    this.#isPlayed = playback !== false || start === null;
    if (!this.#isPlayed && this.#app.feed.isPast) {
      this.leave();
      this.#app.notice = `${NOT_PLAYED}. This is the present.`;
    }
    this.#range = start === null ? null : { start: Date.parse(start), end: Date.parse(end) };
    if (live && this.#range === null && this.#app.feed.isPast) {
      this.leave();
      this.#app.notice = "Nothing is recorded here, so there is no past to show. This is the present.";
    }
    // A bundle has no present.
    this.toggle.hidden = !live;
    if (this.#range !== null && !this.#app.feed.isPast) {
      if (live) this.#setEnd(this.#now());
      else this.go(this.#range.start);
    }
    this.#show();
  }

  async #loadMarks() {
    const iso = time => new Date(time).toISOString();
    const question = { start_time: iso(this.#end - this.#span * 1000), end_time: iso(this.#end), points: MARK_POINTS };
    this.#question = question;
    this.#markedAt = performance.now();
    const { marks } = await this.#app.api.get("/api/recordings/marks", question).catch(() => ({ marks: [] }));
    if (question !== this.#question) return;
    this.#marks = marks;
    this.#draw();
  }

  #show() {
    const { isPast } = this.#app.feed;
    this.element.hidden = this.#range === null && !isPast;
    write(this.toggle, !this.#isPlayed ? "Past: at the hub" : isPast ? "Live" : "Past");
    this.toggle.disabled = this.handle.disabled = !this.#isPlayed && !isPast;
    this.toggle.title = !this.#isPlayed ? NOT_PLAYED : isPast ? "Back to the present (p)" : "Look at the past (p)";
    setAttribute(this.toggle, "aria-label", this.toggle.title);
    setAttribute(this.toggle, "aria-pressed", isPast);
    const isPlaying = isPast && this.#past?.state !== "paused";
    write(this.play, isPlaying ? "❚❚" : "▸");
    setAttribute(this.play, "aria-label", isPlaying ? "Pause" : "Play");
    for (const control of [this.back, this.play, this.forth, this.speed]) control.disabled = !isPast;
    this.element.dataset.past = isPast;
  }

  #draw() {
    const { canvas } = this, { clientWidth: width, clientHeight: height } = canvas;
    if (!width) return;
    canvas.width = width * devicePixelRatio;
    canvas.height = height * devicePixelRatio;
    const context = canvas.getContext("2d"), style = getComputedStyle(canvas);
    context.scale(devicePixelRatio, devicePixelRatio);
    const start = this.#end - this.#span * 1000;
    const at = time => (time - start) / (this.#span * 1000) * width;
    if (this.#range !== null) {
      const from = Math.max(0, at(this.#range.start));
      context.fillStyle = style.getPropertyValue("--accent-fill");
      context.fillRect(from, 0, Math.max(0, Math.min(width, at(this.#now())) - from), height);
    }
    for (const mark of this.#marks) {
      const isAlert = mark.kind === "alert";
      context.fillStyle = style.getPropertyValue(
        !isAlert ? "--dim" : mark.state === "resolved" ? "--up" : mark.severity === "info" ? "--info" : "--down");
      context.fillRect(at(Date.parse(mark.time)) - 1, isAlert ? 0 : height - 5, 2, isAlert ? height : 5);
    }
  }
}
