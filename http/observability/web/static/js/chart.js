// Lines over time, drawn by uPlot in the colours of the page and the time zone that was chosen.

import { h, styleOf } from "./dom.js";
import { DASH, dateTime, number, time } from "./format.js";

const uPlot = globalThis.uPlot;

/** A chart. `series` are {label, colour (a CSS variable), fill, width}; all share one axis.
 * Charts above one another have the same `axisWidth`. `label` says to a screen reader what is drawn. One that `grows` has at
 * least its `height`, and its share of what its panel is higher than all that is in it. */
export class Chart {
  #options; #plot = null; #data; #settings; #observer; #redraw; #host; #hasLegend;

  constructor(settings, options) {
    this.#settings = settings;
    this.#options = { height: 180, format: String, hasTime: true, ...options };
    this.#data = [[], ...this.#options.series.map(() => [])];
    this.#hasLegend = options.legend ?? this.#options.series.length > 1;
    this.#host = h("div", { class: "plot", role: "img", "aria-label": options.label });
    this.element = h("div", { class: "chart" }, this.#host);
    if (options.grows) this.element.style.flex = `${options.height} 0 ${options.height}px`;
    this.element.classList.toggle("grows", options.grows === true);
    this.#observer = new ResizeObserver(() => this.#resize());
    this.#observer.observe(this.element);
    this.#redraw = () => this.#make();
    settings.addEventListener("change", this.#redraw);
  }

  close() {
    this.#observer.disconnect();
    this.#settings.removeEventListener("change", this.#redraw);
    this.#plot?.destroy();
  }

  /** Draws `xs`, in milliseconds since 1970 or plain numbers without `hasTime`, and the values of each series. */
  set(xs, ...values) {
    this.#data = [this.#options.hasTime ? xs.map(ms => ms / 1000) : [...xs], ...values];
    this.#draw();
  }

  /** Draws one more point. Of points before `keepMs` ago none is kept. */
  append(ms, values, keepMs) {
    const [xs, ...series] = this.#data;
    if (xs.length && ms / 1000 <= xs.at(-1)) return;
    xs.push(ms / 1000);
    series.forEach((each, at) => each.push(values[at] ?? null));
    let gone = 0;
    while (xs[gone] < (ms - keepMs) / 1000) gone++;
    // Once in a while, so that a point costs no copy of all.
    if (gone > 60) this.#data = this.#data.map(each => each.slice(gone));
    this.#draw();
  }

  #draw() {
    if (this.#plot === null) this.#make();
    else this.#plot.setData(this.#data);
  }

  #make() {
    const width = this.#host.clientWidth;
    if (width === 0) return;
    this.#plot?.destroy();
    const { series, format, hasTime, xFormat, bands, axisWidth } = this.#options, height = this.#height(), zone = this.#settings.zone;
    const grid = { stroke: styleOf("--grid"), width: 1 }, font = `11px ${styleOf("--font")}`;
    const axis = { stroke: styleOf("--dim"), grid, ticks: { show: false }, font, gap: 4 };
    this.#plot = new uPlot({
      width, height,
      legend: { show: this.#hasLegend, live: true },
      cursor: { y: false, points: { size: 5 }, drag: { x: true, y: false } },
      padding: [8, 8, 0, 0],
      tzDate: seconds => uPlot.tzDate(new Date(seconds * 1000), zone),
      scales: { x: { time: hasTime }, y: this.#options.range ? { range: this.#options.range } : {} },
      bands: bands?.map(band => ({ ...band, fill: styleOf(band.fill) })),
      axes: [
        { ...axis, size: 24, space: xFormat ? 40 : 70, values: (plot, ticks, _, __, step) => ticks.map(tick => {
          // A label that would be cut off at the edge is left out.
          const x = plot.valToPos(tick, "x");
          if (x < LABEL_HALF || x > plot.over.clientWidth - LABEL_HALF + 40) return null;
          return xFormat ? xFormat(tick) : timeLabel(tick, step, zone);
        }) },
        { ...axis, side: 1, size: axisWidth ?? ((_, labels) => 12 + 6.4 * Math.max(3, ...(labels ?? []).map(text => text.length))),
          values: (_, ticks) => ticks.map(format) },
      ],
      series: [
        { value: (_, value) => value === null ? DASH : xFormat ? xFormat(value) : dateTime(1000 * value, zone) },
        ...series.map(each => ({
          label: each.label,
          stroke: styleOf(each.colour),
          fill: each.fill ? styleOf(each.fill) : undefined,
          width: each.width ?? 1.4,
          points: { show: false },
          spanGaps: false,
          value: (_, value) => value === null ? DASH : format(value),
        })),
      ],
    }, this.#data, this.#host);
  }

  #resize() {
    const width = this.#host.clientWidth, height = this.#height();
    if (this.#plot === null) this.#make();
    else if (width && (Math.abs(width - this.#plot.width) > 1 || height !== this.#plot.height)) this.#plot.setSize({ width, height });
  }

  #height() {
    return this.#options.grows ? Math.max(this.#options.height, this.element.clientHeight) : this.#options.height;
  }
}

/** The ranges of the curves: how far back, and how far apart the points are. */
export const CURVE_RANGES = {
  __proto__: null,
  "1h": { title: "1 h", interval: "10s", ms: 3600e3 },
  "24h": { title: "24 h", interval: "1m", ms: 86400e3 },
  "7d": { title: "7 d", interval: "10m", ms: 7 * 86400e3 },
  "30d": { title: "30 d", interval: "1h", ms: 30 * 86400e3 },
};

/** Equity, and below it how far it is below its peak. `about` says of what, and `heights` are those of both charts. */
export class EquityCurves {
  #equity; #drawdown;

  constructor(settings, { about, heights: [high, low] }) {
    const shared = { format: value => number(value), legend: false, axisWidth: 84, grows: true };
    this.#equity = new Chart(settings, { ...shared, label: `Equity ${about}`, height: high,
      series: [{ label: "Equity", colour: "--accent", fill: "--accent-fill" }] });
    this.#drawdown = new Chart(settings, { ...shared, label: `Drawdown ${about}`, height: low,
      range: (_, least) => [least < 0 ? least * 1.05 : -1, 0],
      series: [{ label: "Drawdown", colour: "--down", fill: "--down-fill" }] });
    this.elements = [this.#equity.element, this.#drawdown.element];
  }

  close() {
    this.#equity.close();
    this.#drawdown.close();
  }

  /** Draws the series of a history, which may have none. */
  set({ timestamp = [], equity = [], drawdown = [] } = {}) {
    this.#equity.set(timestamp, equity);
    this.#drawdown.set(timestamp, drawdown.map(below));
  }

  /** Draws one more point. Of points before `keepMs` ago none is kept. */
  append(ms, { equity, drawdown }, keepMs) {
    this.#equity.append(ms, [equity], keepMs);
    this.#drawdown.append(ms, [below(drawdown)], keepMs);
  }
}

const below = value => value === null ? null : -value;
const DAY = 86400;
const LABEL_HALF = 26;

// Ticks of less than a minute have seconds; those of a day or more, and midnight, have the date.
function timeLabel(seconds, step, zone) {
  const day = dateTime(1000 * seconds, zone).slice(5, 10), clock = time(1000 * seconds, zone);
  if (step >= DAY || clock === "00:00:00") return day;
  return step < 60 ? clock : clock.slice(0, 5);
}

// In pixels. Of the height one at the top and one at the bottom stay free, so that no line is cut.
const SPARK_WIDTH = 96, SPARK_HEIGHT = 18;
const SVG = "http://www.w3.org/2000/svg";

/** A line in the cell of a table, without axes. Draws only when its values have changed.
 *
 * It is no canvas: browsers make a layer of each, and to place all layers again, as they do whenever a text changes its
 * width, takes longer than all else of a tick: benchmarks/bench_page.py. */
export class Sparkline {
  #line = document.createElementNS(SVG, "path"); #drawn = null;

  constructor(label) {
    this.element = document.createElementNS(SVG, "svg");
    const attributes = { class: "spark", role: "img", "aria-label": label, viewBox: `0 0 ${SPARK_WIDTH} ${SPARK_HEIGHT}` };
    for (const [name, value] of Object.entries(attributes)) this.element.setAttribute(name, value);
    this.element.append(this.#line);
  }

  draw(values) {
    if (values === this.#drawn) return;
    this.#drawn = values;
    const known = values.filter(value => value !== null);
    if (known.length < 2) {
      this.#line.removeAttribute("d");
      return;
    }
    const low = Math.min(...known), span = Math.max(...known) - low || 1;
    let path = "", isDrawing = false;
    values.forEach((value, at) => {
      if (value !== null) {
        const x = at / (values.length - 1) * SPARK_WIDTH, y = SPARK_HEIGHT - 1 - (value - low) / span * (SPARK_HEIGHT - 2);
        path += `${isDrawing ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`;
      }
      isDrawing = value !== null;
    });
    this.#line.setAttribute("d", path);
    this.#line.setAttribute("class", known.at(-1) >= known[0] ? "up" : "down");
  }
}
