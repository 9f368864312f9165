// The two dialogs of the page: the token, and the keys.

import { h } from "./dom.js";

/** Asks for a token and gives it to `onenter`; the browser keeps it until the tab is closed. */
export class TokenDialog {
  #dialog; #reason; #field; #onenter;

  constructor(onenter) {
    this.#onenter = onenter;
    this.#reason = h("p", { id: "token-reason" });
    this.#field = h("input", { type: "password", id: "token", autocomplete: "off", spellcheck: "false", required: true,
      "aria-describedby": "token-reason" });
    const form = h("form", { method: "dialog", onsubmit: event => this.#submit(event) },
      h("h2", { text: "Token" }), this.#reason,
      h("label", { for: "token", text: "Token" }), this.#field,
      h("p", { class: "hint", text: "It is kept for this tab only, and sent with each request of this page." }),
      h("div", { class: "buttons" },
        h("button", { type: "button", class: "quiet", text: "Cancel", onclick: () => this.#dialog.close() }),
        h("button", { type: "submit", class: "primary", text: "Use this token" })));
    this.#dialog = h("dialog", { "aria-label": "Token" }, form);
    document.body.append(this.#dialog);
  }

  open(reason) {
    this.#reason.textContent = reason;
    if (!this.#dialog.open) this.#dialog.showModal();
  }

  #submit(event) {
    event.preventDefault();
    const token = this.#field.value.trim();
    this.#field.value = "";
    this.#dialog.close();
    if (token) this.#onenter(token);
  }
}

/** Shows what keys there are. */
export class HelpDialog {
  #dialog; #list; #keyboard;

  constructor(keyboard) {
    this.#keyboard = keyboard;
    this.#list = h("dl", { class: "keys" });
    this.#dialog = h("dialog", { "aria-label": "Keyboard shortcuts" },
      h("h2", { text: "Keyboard" }), this.#list,
      h("form", { method: "dialog", class: "buttons" }, h("a", { href: "/docs", text: "API reference" }),
        h("button", { class: "primary", text: "Close" })));
    document.body.append(this.#dialog);
  }

  open() {
    this.#list.replaceChildren(...this.#keyboard.list.map(([keys, title]) => h("div", {},
      h("dt", {}, ...keys.split(" ").map(key => h("kbd", { text: key }))), h("dd", { text: title }))));
    if (!this.#dialog.open) this.#dialog.showModal();
  }
}
