// Keys: single ones, and `g` followed by the key of a view. None while a person writes.

// How long the second key may take.
const SEQUENCE_MS = 1500;

export class Keyboard {
  #keys = new Map(); #pendingUntil = 0;

  constructor() {
    document.addEventListener("keydown", event => this.#press(event));
  }

  /** Calls `action` for a key such as `?`, or for two such as `g o`. */
  on(keys, title, action) {
    this.#keys.set(keys, { title, action });
  }

  /** Returns [keys, title] of each. */
  get list() {
    return [...this.#keys].map(([keys, { title }]) => [keys, title]);
  }

  #press(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest?.("input, textarea, select, [contenteditable]")) {
      if (event.key === "Escape") event.target.blur();
      return;
    }
    if (document.querySelector("dialog[open]")) return;
    const isSecond = performance.now() < this.#pendingUntil;
    this.#pendingUntil = 0;
    const found = this.#keys.get(isSecond ? `g ${event.key}` : event.key);
    if (found) {
      event.preventDefault();
      found.action();
    } else if (event.key === "g") this.#pendingUntil = performance.now() + SEQUENCE_MS;
    else if (event.key === "Escape") getSelection().removeAllRanges();
  }
}
