// A table of any number of rows, of which the page holds those in view.
//
// A row in view keeps its elements and text nodes: an update writes the texts that have changed. While text of the
// table is selected, the table stands still, so that the selection and a copy of it survive.

import { h, setAttribute, write } from "./dom.js";

const ROW_HEIGHT = 26;
const SPARE_ROWS = 4;
// Rows that move under the pointer cannot be read, so the order follows figures at this pace.
const SORT_MS = 1000;
const VISIBLE_ROWS = 16;
const SLOW_MS = 1000, SLOW_TURNS = 10;
// Where more rows than these change at once, one in three is written, and the others with the next updates, or after this
// time without one. Layout and painting of their text is most of what a tick costs: benchmarks/bench_page.py.
const AT_ONCE = 12, SHARE = 3, REST_MS = 200;

/** A row is any object; its `className` is that of its line, and one that changes `version` with its content costs nothing
 * while it stays the same. A column: {id, title, about, width (a CSS track), value(row), text(row), className(row), hint(row), draw(cell, row),
 * isNumber, isPlain, isSlow, minWidth}. `value` is what is sorted by and exported; `text` is shown, by default the value itself.
 * `draw` fills a cell by itself; `minWidth` is the width of the table in pixels below which the column is left out.
 * A cell of a column that `isPlain` depends on its value alone, and on the `edition` of the row; it is left alone while both stay
 * the same. One of a column that `isSlow` is written once a second, in each row at another moment. */
export class Table {
  #columns; #shown = []; #key; #onopen; #onrange; #rows = []; #ordered = []; #sort; #sortedAt = 0; #pool = [];
  #body; #spacer; #head; #empty; #headCells = new Map(); #first = 0; #width = 0; #onsort; #isHeld = false; #note; #current = null;
  #top = 0; #height = 0; #whole = 0; #turn = 0; #rest = null; #hasRest = false;

  /** `key(row)` names a row; `onopen(row)` is called for a row that was chosen; `onrange(rows)` when others are in view;
   * `sort` is {id, isDescending} or null for the order given; `onsort(sort)` when a person chooses another one. */
  constructor({ label, columns, key, sort = null, onopen = null, onrange = null, onsort = null, empty = "Nothing here.",
    maxRows = VISIBLE_ROWS }) {
    this.#columns = columns;
    this.#key = key;
    // An address may name a column that there is not.
    this.#sort = columns.some(column => column.value && column.id === sort?.id) ? sort : null;
    this.#onopen = onopen;
    this.#onrange = onrange;
    this.#onsort = onsort;
    this.#head = h("div", { class: "head", role: "row", "aria-rowindex": 1 });
    this.#spacer = h("div", { class: "spacer", role: "presentation" });
    this.#body = h("div", { class: "body", role: "rowgroup", tabindex: 0, "aria-label": `${label}, rows` }, this.#spacer);
    this.#empty = h("p", { class: "empty", text: empty });
    this.#note = h("p", { class: "held", text: "Stands still while text is selected. Press Esc to go on.", hidden: true });
    this.element = h("div", { class: "table", role: "table", "aria-label": label },
      h("div", { role: "rowgroup" }, this.#head), this.#body, this.#empty, this.#note);
    this.maxRows = maxRows;
    this.#body.addEventListener("scroll", () => this.#scroll(), { passive: true });
    this.#body.addEventListener("click", event => this.#open(event));
    this.#body.addEventListener("keydown", event => this.#press(event));
    this.element.addEventListener("copy", event => this.#copy(event));
    this.observer = new ResizeObserver(() => this.#measure());
    this.observer.observe(this.element);
    // The spacer is narrower than the body by the scroll bar, and so must the head be.
    this.observer.observe(this.#spacer);
    this.onselection = () => this.#hold();
    document.addEventListener("selectionchange", this.onselection);
    this.#layOut();
  }

  /** Ends what the table listens to. */
  close() {
    clearTimeout(this.#rest);
    this.observer.disconnect();
    document.removeEventListener("selectionchange", this.onselection);
  }

  /** Shows these rows. The array is kept and not changed; the same array again shows what its rows have become. */
  set(rows) {
    const isSame = rows === this.#rows;
    this.#rows = rows;
    if (!this.#isHeld) this.#refresh(isSame);
  }

  /** Lets the table be as high as these many rows. */
  setMaxRows(rows) {
    if (rows === this.maxRows) return;
    this.maxRows = rows;
    this.#refresh();
  }

  /** Shows a word in place of rows. */
  setEmpty(text) {
    write(this.#empty, text);
  }

  get rows() {
    return this.#rows;
  }

  get sort() {
    return this.#sort;
  }

  /** Sorts by a column. */
  sortBy(sort) {
    this.#sort = sort;
    this.#sortedAt = 0;
    this.#markSort();
    this.#refresh();
  }

  /** Returns the rows in view, in order. */
  rowsInView() {
    return this.#ordered.slice(this.#first, this.#first + this.#inView());
  }

  /** Returns all rows as CSV (RFC 4180), in the order shown, with all columns and whole figures. */
  toCsv() {
    const columns = this.#columns.filter(column => column.value);
    const lines = [columns.map(column => column.id), ...this.#ordered.map(row => columns.map(column => column.value(row)))];
    return lines.map(line => line.map(csvField).join(",") + "\r\n").join("");
  }

  /** Returns a button that saves the table as `name.csv`. */
  csvButton(name) {
    return h("button", { type: "button", class: "quiet", text: "CSV", "aria-label": `Save ${name} as CSV`,
      onclick: () => save(`${name}.csv`, this.toCsv()) });
  }

  #measure() {
    const width = this.element.clientWidth;
    this.element.style.setProperty("--gutter", `${this.#body.offsetWidth - this.#body.clientWidth}px`);
    if (width !== this.#width) {
      this.#width = width;
      this.#layOut();
    }
    this.#place();
  }

  // Makes the head and drops the rows: the columns have changed.
  #layOut() {
    this.#shown = this.#columns.filter(column => !column.minWidth || this.#width === 0 || this.#width >= column.minWidth);
    this.element.style.setProperty("--columns", this.#shown.map(column => column.width ?? "1fr").join(" "));
    setAttribute(this.element, "aria-colcount", this.#shown.length);
    this.#headCells.clear();
    this.#head.replaceChildren(...this.#shown.map(column => {
      const inner = column.value && !column.isFixed
        ? h("button", { type: "button", text: column.title, title: column.about, onclick: () => this.#choose(column) })
        : h("span", { class: column.title ? "" : "unseen", text: column.title || column.about, title: column.about });
      const cell = h("div", { role: "columnheader", class: column.isNumber ? "number" : "" }, inner);
      this.#headCells.set(column.id, cell);
      return cell;
    }));
    for (const slot of this.#pool) slot.element.remove();
    this.#pool = [];
    this.#markSort();
    this.#refresh();
  }

  #markSort() {
    for (const [id, cell] of this.#headCells) {
      const isSorted = this.#sort?.id === id;
      setAttribute(cell, "aria-sort", isSorted ? (this.#sort.isDescending ? "descending" : "ascending") : null);
    }
  }

  #choose(column) {
    const isDescending = this.#sort?.id === column.id ? !this.#sort.isDescending : Boolean(column.isNumber);
    this.sortBy({ id: column.id, isDescending });
    this.#onsort?.(this.#sort);
  }

  #refresh(isSame = false) {
    const now = performance.now();
    if (isSame && (!this.#sort || now - this.#sortedAt < SORT_MS)) {
      this.#place();
      return;
    }
    if (!this.#sort) this.#ordered = this.#rows;
    else if (now - this.#sortedAt >= SORT_MS || this.#ordered.length !== this.#rows.length) {
      this.#sortedAt = now;
      if (!isSame || !this.#isInOrder()) this.#ordered = this.#sorted();
    } else this.#ordered = this.#inSameOrder();
    this.#empty.hidden = this.#rows.length > 0;
    this.#body.hidden = this.#rows.length === 0;
    setAttribute(this.element, "aria-rowcount", this.#rows.length + 1);
    const whole = this.#ordered.length * ROW_HEIGHT, height = Math.min(this.maxRows * ROW_HEIGHT, whole);
    if (whole !== this.#whole || height !== this.#height) {
      this.#whole = whole;
      this.#height = height;
      this.#body.style.height = `${height}px`;
      this.#spacer.style.height = `${whole}px`;
      this.#top = this.#body.scrollTop;
    }
    this.#place();
  }

  #scroll() {
    this.#top = this.#body.scrollTop;
    this.#place();
  }

  // The newest rows in the order of the ones before, until it is time to sort again.
  #inSameOrder() {
    const newest = new Map(this.#rows.map(row => [this.#key(row), row]));
    const rows = [];
    for (const row of this.#ordered) {
      const found = newest.get(this.#key(row));
      if (found !== undefined) rows.push(found);
    }
    return rows.length === this.#rows.length ? rows : this.#sorted();
  }

  #sorted() {
    const { value } = this.#sortColumn(), values = new Map(this.#rows.map(row => [row, value(row)]));
    return [...this.#rows].sort((one, other) => compare(values.get(one), values.get(other), this.#sort.isDescending));
  }

  // To see that nothing has moved costs a fraction of the sorting.
  #isInOrder() {
    const { value } = this.#sortColumn(), rows = this.#ordered;
    for (let at = 1; at < rows.length; at++)
      if (compare(value(rows[at - 1]), value(rows[at]), this.#sort.isDescending) > 0) return false;
    return true;
  }

  #sortColumn() {
    return this.#columns.find(column => column.id === this.#sort.id);
  }

  #inView() {
    return Math.ceil(this.#height / ROW_HEIGHT) + 1;
  }

  // hot: once per frame. To ask an element where it has scrolled to would lay out all that was written before.
  #place() {
    const first = Math.max(0, Math.floor(this.#top / ROW_HEIGHT)), inView = this.#inView();
    const from = Math.max(0, first - SPARE_ROWS), to = Math.min(this.#ordered.length, first + inView + SPARE_ROWS);
    this.#first = first;
    const size = Math.max(0, to - from);
    while (this.#pool.length < size) this.#pool.push(this.#makeSlot());
    while (this.#pool.length > size) this.#pool.pop().element.remove();
    // Row n always has the slot n modulo the number of slots, so that scrolling moves as few rows as possible.
    const isInView = index => index >= first && index < first + inView;
    let behind = 0;
    for (let index = from; index < to; index++) if (isInView(index) && isBehind(this.#pool[index % size], this.#ordered[index])) behind++;
    const turn = this.#turn % Math.max(1, size);
    let left = Math.max(AT_ONCE, Math.ceil(behind / SHARE)), isWaiting = false;
    this.#turn = 0;
    this.#hasRest = false;
    for (let step = 0; step < size; step++) {
      const at = (turn + step) % size, index = from + at, slot = this.#pool[index % size];
      const isLate = isBehind(slot, this.#ordered[index]), isSpare = !isInView(index);
      // A spare row is written when it comes into view, and then at once: it may be long behind.
      const mayWrite = !isLate || !isSpare && (slot.isSpare || left-- > 0);
      slot.isSpare = isSpare;
      this.#writeRow(slot, index, mayWrite);
      if (!mayWrite && !isSpare && !isWaiting) {
        isWaiting = true;
        this.#turn = at;
      }
    }
    clearTimeout(this.#rest);
    if (isWaiting || this.#hasRest) this.#rest = setTimeout(() => { if (!this.#isHeld) this.#place(); }, REST_MS);
    this.#onrange?.(this.rowsInView());
  }

  #makeSlot() {
    const cells = this.#shown.map(column => h("div", { role: "cell", class: column.isNumber ? "number" : "" }));
    const element = h("div", { class: "row", role: "row", ...(this.#onopen ? { tabindex: -1 } : {}) }, ...cells);
    this.#spacer.append(element);
    return { element, cells, index: -1, row: null, edition: undefined, version: undefined, values: [], texts: [], classes: [], slowAt: 0, className: "row", isSpare: false };
  }

  #writeRow(slot, index, mayWrite) {
    const row = this.#ordered[index], key = this.#key(row);
    if (slot.index !== index) {
      slot.index = index;
      slot.element.style.top = `${index * ROW_HEIGHT}px`;
      slot.element.setAttribute("aria-rowindex", index + 2);
    }
    const className = `row${row.className ? ` ${row.className}` : ""}${key === this.#current ? " current" : ""}`;
    if (slot.className !== className) slot.element.className = slot.className = className;
    // hot: once per row in view and frame. A row that says by its version that nothing has changed is left alone.
    if (!mayWrite || slot.row === row && slot.version !== undefined && slot.version === row.version) return;
    const isOther = slot.row !== row || slot.edition !== row.edition, now = performance.now();
    const isSlowTurn = isOther || now - slot.slowAt >= SLOW_MS;
    slot.row = row;
    slot.edition = row.edition;
    slot.version = row.version;
    if (isSlowTurn) slot.slowAt = isOther ? now - SLOW_MS * (index % SLOW_TURNS) / SLOW_TURNS : now;
    this.#shown.forEach((column, at) => {
      const cell = slot.cells[at];
      if (column.draw) {
        column.draw(cell, row);
        return;
      }
      if (column.isPlain) {
        const value = column.value(row);
        if (!isOther && slot.values[at] === value) return;
        if (column.isSlow && !isSlowTurn) {
          // The row is due again, even if nothing else of it changes.
          slot.version = undefined;
          this.#hasRest = true;
          return;
        }
        slot.values[at] = value;
      }
      const text = column.text ? column.text(row) : String(column.value(row) ?? "");
      if (slot.texts[at] !== text) {
        slot.texts[at] = text;
        write(cell, text);
      }
      const name = column.className?.(row) ?? "", whole = column.isNumber ? (name ? `number ${name}` : "number") : name;
      if (slot.classes[at] !== whole) {
        slot.classes[at] = whole;
        cell.className = whole;
      }
      if (column.hint) setAttribute(cell, "title", column.hint(row));
    });
  }

  #rowAt(target) {
    const element = target.closest(".row");
    const slot = this.#pool.find(each => each.element === element);
    return slot && this.#ordered[slot.index];
  }

  #open(event) {
    if (!this.#onopen || event.target.closest("button, a") || !getSelection().isCollapsed) return;
    const row = this.#rowAt(event.target);
    if (row) {
      this.#current = this.#key(row);
      this.#onopen(row);
      this.#place();
    }
  }

  #press(event) {
    const steps = { __proto__: null, ArrowDown: 1, ArrowUp: -1, PageDown: this.maxRows - 1, PageUp: 1 - this.maxRows, Home: -Infinity, End: Infinity };
    if (event.key === "Enter" && this.#onopen && this.#current !== null) {
      const row = this.#ordered.find(each => this.#key(each) === this.#current);
      if (row) this.#onopen(row);
    } else if (event.key in steps && this.#ordered.length) {
      event.preventDefault();
      const at = this.#ordered.findIndex(row => this.#key(row) === this.#current);
      const next = Math.min(this.#ordered.length - 1, Math.max(0, at + steps[event.key]));
      this.#current = this.#key(this.#ordered[next]);
      const top = next * ROW_HEIGHT;
      if (top < this.#top) this.#body.scrollTop = top;
      else if (top + ROW_HEIGHT > this.#top + this.#height) this.#body.scrollTop = top + ROW_HEIGHT - this.#height;
      this.#scroll();
    }
  }

  #hold() {
    const selection = getSelection();
    const isHeld = !selection.isCollapsed && selection.rangeCount > 0 && selection.getRangeAt(0).intersectsNode(this.#body);
    if (isHeld === this.#isHeld) return;
    this.#isHeld = isHeld;
    this.#note.hidden = !isHeld;
    if (!isHeld) this.#refresh();
  }

  // What is selected goes out as lines of cells with tabs between, as spreadsheets take it.
  #copy(event) {
    const range = getSelection().getRangeAt(0);
    const lines = this.#pool.filter(slot => range.intersectsNode(slot.element)).sort((a, b) => a.index - b.index);
    if (lines.length < 2) return;
    event.clipboardData.setData("text/plain",
      lines.map(slot => slot.cells.map(cell => cell.textContent).join("\t")).join("\n"));
    event.preventDefault();
  }
}

// Says whether a slot has an older version of its row. A slot that has another row is not behind, but wrong.
function isBehind(slot, row) {
  return slot.row === row && row.version !== undefined && slot.version !== row.version;
}

// What is not known comes last in either direction.
function compare(a, b, isDescending) {
  if (a === b) return 0;
  if (a === null || a === undefined) return 1;
  if (b === null || b === undefined) return -1;
  return a < b === Boolean(isDescending) ? 1 : -1;
}

/** Returns a value as a field. A text that a spreadsheet would take for a formula gets a ' in front, as OWASP says. */
export function csvField(value) {
  let text = value === null || value === undefined ? "" : String(value);
  if (typeof value === "string" && /^[=+\-@\t\r]/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// Lets a person save a text as a file.
function save(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  const link = h("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}
