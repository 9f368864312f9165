// What a person has chosen, kept by the browser: colours, time zone, sound, the watch list.

const KEY = "observability.settings";
const DEFAULTS = { theme: "auto", zone: "utc", sound: false, watched: [] };
const ZONES = ["utc", "session", "local"];
const THEMES = ["auto", "dark", "light"];

export class Settings extends EventTarget {
  #values; #session = { timezone: "UTC" };

  constructor() {
    super();
    this.#values = { ...DEFAULTS, ...this.#load() };
    if (!ZONES.includes(this.#values.zone)) this.#values.zone = DEFAULTS.zone;
    if (!THEMES.includes(this.#values.theme)) this.#values.theme = DEFAULTS.theme;
    matchMedia("(prefers-color-scheme: light)").addEventListener("change", () => this.#announce());
  }

  get(name) {
    return this.#values[name];
  }

  set(name, value) {
    this.#values[name] = value;
    try {
      localStorage.setItem(KEY, JSON.stringify(this.#values));
    } catch {
      // A browser that keeps nothing keeps the choice as long as the page.
    }
    this.#announce();
  }

  /** Goes to the next choice of `theme` or `zone`. */
  cycle(name) {
    const choices = name === "theme" ? THEMES : ZONES;
    this.set(name, choices[(choices.indexOf(this.get(name)) + 1) % choices.length]);
  }

  /** Takes the session of the server, whose `timezone` is one of the choices. */
  setSession(session) {
    this.#session = session;
    this.#announce();
  }

  /** The IANA name of the chosen time zone. */
  get zone() {
    const chosen = this.get("zone");
    if (chosen === "session") return this.#session.timezone;
    return chosen === "local" ? Intl.DateTimeFormat().resolvedOptions().timeZone : "UTC";
  }

  get isLight() {
    const theme = this.get("theme");
    return theme === "light" || theme === "auto" && matchMedia("(prefers-color-scheme: light)").matches;
  }

  #load() {
    try {
      return JSON.parse(localStorage.getItem(KEY)) ?? {};
    } catch {
      return {};
    }
  }

  #announce() {
    this.dispatchEvent(new Event("change"));
  }
}
