// The site of an aggregator that a view shows, where the hub of one site answers. Other servers have none, and no choice.

import { h } from "../js/dom.js";

// Returns an entry of a lane with the names that its own site uses, in place of `SITE/NAME`.
function ownNames(entry) {
  const own = name => typeof name === "string" && name.startsWith(`${entry.site}/`) ? name.slice(entry.site.length + 1) : name;
  return { ...entry, symbol: own(entry.symbol), strategy: own(entry.strategy) };
}

export class SiteChoice {
  /** `choose(name)` is called when somebody chooses a site. */
  constructor(choose) {
    /** The name of the site; undefined where there is none. */
    this.name = undefined;
    this.element = h("select", { "aria-label": "site", hidden: true, onchange: event => choose(event.target.value) });
  }

  /** Takes the sites that a snapshot names, and the one that is wanted; the first one is shown without any. Returns whether
   * another one is shown than before. */
  update(snapshot, wanted) {
    const { sites, missing_sites: missing } = snapshot?.system ?? {};
    if (missing === undefined) return false;
    const names = [...new Set([...Object.keys(sites ?? {}), ...missing])].sort(), before = this.name;
    if (names.join() !== [...this.element.options].map(each => each.value).join())
      this.element.replaceChildren(...names.map(value => h("option", { value, text: value })));
    this.name = names.includes(wanted) ? wanted : names[0];
    this.element.value = this.name;
    this.element.hidden = false;
    return this.name !== before;
  }

  /** Returns a symbol as the stream names it. */
  streamed(symbol) {
    return this.name === undefined ? symbol : `${this.name}/${symbol}`;
  }

  /** Returns the entries of lanes that are of the site, with its own names. */
  entries(entries) {
    return this.name === undefined ? entries : entries.filter(({ site }) => site === this.name).map(ownNames);
  }
}
