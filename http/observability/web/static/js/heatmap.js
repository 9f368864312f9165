// Durations over time: how many fell into each interval and each range of durations, with the median and the 99th percentile.

import { h, setAttribute, styleOf, write } from "./dom.js";
import { count, milliseconds, things, time } from "./format.js";
import { percentile } from "./state.js";

const COLUMNS = 72;
const ROWS_PER_DECADE = 5;
const LEFT = 6, RIGHT = 62, TOP = 8, BOTTOM = 22;
// The shortest duration that has a row of its own; what is shorter is in the lowest row.
const SHORTEST_MS = 0.01;
const LABELS = 5;

/** `label` says to a screen reader what is drawn; the figures in words are in `said`. */
export class HeatMap {
  #settings; #height; #canvas; #data = null; #observer; #redraw; #label;

  constructor(settings, { label, height = 220 }) {
    this.#settings = settings;
    this.#height = height;
    this.#label = label;
    this.#canvas = h("canvas", { class: "heat", role: "img", "aria-label": label });
    this.said = h("p", { class: "note num" });
    this.element = h("div", { class: "chart" }, this.#canvas, this.said);
    this.#observer = new ResizeObserver(() => this.#draw());
    this.#observer.observe(this.element);
    this.#redraw = () => this.#draw();
    settings.addEventListener("change", this.#redraw);
    this.#canvas.addEventListener("pointermove", event => this.#point(event));
    this.#canvas.addEventListener("pointerleave", () => this.#say());
  }

  close() {
    this.#observer.disconnect();
    this.#settings.removeEventListener("change", this.#redraw);
  }

  /** Draws `points` of {at, ms}, times in milliseconds since 1970, from `from` up to `to`. */
  set(points, from, to) {
    const found = points.filter(({ at, ms }) => at >= from && at < to && ms !== null);
    const all = found.map(({ ms }) => Math.max(ms, SHORTEST_MS));
    const decade = value => Math.log10(value);
    const low = all.length ? Math.floor(decade(Math.min(...all)) + 1e-9) : -2, high = all.length ? Math.max(low + 2, Math.ceil(decade(Math.max(...all)) + 1e-9)) : 2;
    const rows = (high - low) * ROWS_PER_DECADE, cells = Array.from({ length: COLUMNS }, () => new Array(rows).fill(0));
    const byColumn = Array.from({ length: COLUMNS }, () => []);
    for (const { at, ms } of found) {
      const column = Math.min(COLUMNS - 1, Math.floor((at - from) / (to - from) * COLUMNS));
      const row = Math.min(rows - 1, Math.max(0, Math.floor((decade(Math.max(ms, SHORTEST_MS)) - low) * ROWS_PER_DECADE)));
      cells[column][row]++;
      byColumn[column].push(ms);
    }
    const p50 = byColumn.map(each => percentile(each, 50)), p99 = byColumn.map(each => percentile(each, 99));
    this.#data = { from, to, low, high, rows, cells, p50, p99, byColumn, most: Math.max(1, ...cells.flat()),
      n: found.length, all: found.map(({ ms }) => ms) };
    this.#draw();
    this.#say();
  }

  #say() {
    if (this.#data === null) return;
    const { n, all } = this.#data;
    const text = n ? `${things(n, "order")}: median ${milliseconds(percentile(all, 50))}, 99 % within ${milliseconds(percentile(all, 99))}, longest ${milliseconds(Math.max(...all))}`
      : "No order of this time has this latency.";
    write(this.said, text);
    setAttribute(this.#canvas, "aria-label", `${this.#label}. ${text}`);
  }

  #point(event) {
    if (this.#data === null) return;
    const { from, to, low, high, rows, cells, byColumn, p50, p99 } = this.#data, box = this.#canvas.getBoundingClientRect();
    const x = (event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT), y = 1 - (event.clientY - box.top - TOP) / (box.height - TOP - BOTTOM);
    const column = Math.floor(x * COLUMNS), row = Math.floor(y * rows);
    if (column < 0 || column >= COLUMNS || row < 0 || row >= rows) return this.#say();
    const zone = this.#settings.zone, at = share => time(from + share * (to - from), zone), bound = each => 10 ** (low + each / ROWS_PER_DECADE);
    write(this.said, `${at(column / COLUMNS)} to ${at((column + 1) / COLUMNS)}, ${milliseconds(bound(row))} to ${milliseconds(bound(row + 1))}: ${count(cells[column][row])} of ${things(byColumn[column].length, "order")}`
      + (byColumn[column].length ? `; median ${milliseconds(p50[column])}, p99 ${milliseconds(p99[column])}` : ""));
    return undefined;
  }

  #draw() {
    const width = this.element.clientWidth;
    if (this.#data === null || width === 0) return;
    const canvas = this.#canvas, height = this.#height, scale = devicePixelRatio || 1;
    canvas.width = width * scale;
    canvas.height = height * scale;
    canvas.style.height = `${height}px`;
    const context = canvas.getContext("2d"), { from, to, low, high, rows, cells, p50, p99, most } = this.#data;
    context.scale(scale, scale);
    context.font = `11px ${styleOf("--font")}`;
    const wide = width - LEFT - RIGHT, tall = height - TOP - BOTTOM, cellWidth = wide / COLUMNS, cellHeight = tall / rows;
    const yOf = ms => TOP + tall * (1 - (Math.log10(Math.max(ms, 10 ** low)) - low) / (high - low));
    context.fillStyle = styleOf("--dim");
    context.strokeStyle = styleOf("--grid");
    context.textBaseline = "middle";
    for (let decade = low; decade <= high; decade++) {
      const y = yOf(10 ** decade);
      context.beginPath();
      context.moveTo(LEFT, y);
      context.lineTo(LEFT + wide, y);
      context.stroke();
      context.fillText(milliseconds(10 ** decade), LEFT + wide + 6, Math.min(Math.max(y, TOP + 4), TOP + tall));
    }
    context.textAlign = "center";
    const marks = width < 420 ? 3 : LABELS;
    for (let mark = 0; mark < marks; mark++) {
      const share = mark / (marks - 1);
      context.textAlign = mark === 0 ? "left" : mark === marks - 1 ? "right" : "center";
      context.fillText(time(from + share * (to - from), this.#settings.zone), LEFT + share * wide, height - BOTTOM / 2);
    }
    const accent = styleOf("--accent");
    context.fillStyle = accent;
    cells.forEach((column, x) => column.forEach((n, y) => {
      if (n === 0) return;
      // The eye compares areas better than it does shades: few are still seen beside many.
      context.globalAlpha = 0.15 + 0.85 * Math.sqrt(n / most);
      context.fillRect(LEFT + x * cellWidth, TOP + tall - (y + 1) * cellHeight, Math.max(1, cellWidth - 0.5), Math.max(1, cellHeight - 0.5));
    }));
    context.globalAlpha = 1;
    for (const [values, name, dash] of [[p50, "--text", []], [p99, "--warn", [4, 3]]]) {
      context.strokeStyle = styleOf(name);
      context.setLineDash(dash);
      context.lineWidth = 1.4;
      context.beginPath();
      let isDrawing = false;
      values.forEach((value, x) => {
        if (value === null) return;
        const at = [LEFT + (x + 0.5) * cellWidth, yOf(value)];
        if (isDrawing) context.lineTo(...at);
        else context.moveTo(...at);
        isDrawing = true;
      });
      context.stroke();
    }
    context.setLineDash([]);
  }
}
