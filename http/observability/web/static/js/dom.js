// Elements, made and written without markup: names of symbols and strategies are data.

/** Returns an element. `properties` are attributes, except `class`, `text`, `on…` handlers and the `dataset` of data. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "text") element.textContent = value;
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

/** Writes a text, if it is another one. An element that is written to has one text node and nothing else. */
export function write(element, text) {
  const node = element.firstChild;
  if (node === null) element.append(text);
  else if (node.data !== text) node.data = text;
}

/** Sets the class of an element, if it is another one. */
export function setClass(element, name) {
  if (element.className !== name) element.className = name;
}

/** Sets an attribute, if it has another value; null removes it. */
export function setAttribute(element, name, value) {
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/** Returns a colour, or the font, of the style sheet: the value of one of its variables. */
export const styleOf = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** Returns a panel: a section with a heading, a place for controls beside it, and a body. */
export function panel(title, { body = [], controls = [], className = "" } = {}) {
  return h("section", { class: `panel ${className}`.trim() },
    h("header", {}, h("h2", { text: title }), h("div", { class: "controls" }, ...controls)), ...body);
}

/** Buttons of which one is pressed. `choices` are texts, or what has a `title`, by the words that `onchoose` is called with. */
export class Tabs {
  #buttons;

  constructor(label, choices, onchoose) {
    this.#buttons = Object.entries(choices).map(([id, each]) =>
      h("button", { type: "button", class: "quiet", text: each.title ?? each, dataset: { id }, onclick: () => onchoose(id) }));
    this.element = h("div", { class: "tabs", role: "group", "aria-label": label }, ...this.#buttons);
  }

  press(id) {
    for (const button of this.#buttons) setAttribute(button, "aria-pressed", String(button.dataset.id === id));
  }
}

/** A list of names and figures that is written in place. `rows` are {id, label, title}. */
export class Figures {
  constructor(rows, { className = "" } = {}) {
    this.element = h("dl", { class: `figures ${className}`.trim() });
    this.values = new Map();
    for (const { id, label, title } of rows) {
      const value = h("dd", { class: "num" });
      this.values.set(id, value);
      this.element.append(h("div", { title }, h("dt", { text: label }), value));
    }
  }

  /** Writes one figure: its text, its class (`up`, `down`, `warn` or none), and why it is absent. */
  set(id, text, tone = "", reason = null) {
    const element = this.values.get(id);
    write(element, text);
    setClass(element, tone ? `num ${tone}` : "num");
    setAttribute(element, "title", reason);
  }
}
