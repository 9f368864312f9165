// Figures and times as text. The same in every locale: a point for the decimals, commas between thousands.
// What is not known is a dash, never 0; who knows why gives the reason as a title.

export const DASH = "–";
// Browsers format up to this many decimals.
const MAX_DECIMALS = 20;

const formats = new Map();
function formatOf(least, most) {
  const key = least * 100 + most;
  let format = formats.get(key);
  if (format === undefined) {
    format = new Intl.NumberFormat("en-US", { minimumFractionDigits: least, maximumFractionDigits: most });
    formats.set(key, format);
  }
  return format;
}

const isKnown = value => value !== null && value !== undefined && Number.isFinite(value);

/** Returns a figure with a fixed number of decimals. One that would read as zero and is none keeps two digits. */
export function number(value, digits = 2) {
  if (!isKnown(value)) return DASH;
  const size = Math.abs(value);
  if (size !== 0 && size < 0.5 * 10 ** -digits) {
    const decimals = Math.min(MAX_DECIMALS, 1 - Math.floor(Math.log10(size)));
    return formatOf(0, decimals).format(value);
  }
  // hot: once per figure and frame. Below a thousand there is nothing to group, and this takes a third of the time.
  return size < 1000 - 0.5 * 10 ** -digits ? value.toFixed(digits) : formatOf(digits, digits).format(value);
}

/** Returns money with a sign: +1,234.50. */
export function signed(value, digits = 2) {
  return isKnown(value) && value > 0 ? `+${number(value, digits)}` : number(value, digits);
}

/** Returns a count or quantity with as many decimals as it has, but at least eight digits of a small one. */
export function quantity(value) {
  if (!isKnown(value)) return DASH;
  const size = Math.abs(value);
  const most = size < 1 && size !== 0 ? Math.min(MAX_DECIMALS, 7 - Math.floor(Math.log10(size))) : 8;
  return formatOf(0, most).format(value);
}

/** Returns a number of things. */
export const count = value => isKnown(value) ? formatOf(0, 0).format(value) : DASH;

/** Returns a number of things by their name: 1 order, 1,200 orders. */
export const things = (value, name) => `${count(value)} ${name}${value === 1 ? "" : "s"}`;

/** Returns a fraction, 0 to 1, in per cent. */
export const percent = (value, digits = 1) => isKnown(value) ? `${number(100 * value, digits)} %` : DASH;

/** Returns how many decimals a number has, as its shortest text shows. */
function decimalsOf(value) {
  const [mantissa, exponent = "0"] = String(Math.abs(value)).split("e");
  const point = mantissa.indexOf(".");
  return Math.min(MAX_DECIMALS, Math.max(0, (point < 0 ? 0 : mantissa.length - point - 1) - Number(exponent)));
}

// The decimals of ten digits: more of an average of prices, as 200.0458064516129, are noise, and a table would cut them off.
const decimalsShown = value => value === 0 ? 2 : 9 - Math.floor(Math.log10(Math.abs(value)));

// Says whether so many decimals are enough. The double next to a quotient of whole numbers is that of the decimal text.
function hasDecimals(value, decimals) {
  const scale = 10 ** decimals, whole = Math.round(value * scale);
  return whole / scale === value && Math.abs(whole) < Number.MAX_SAFE_INTEGER;
}

/** The decimals of each symbol's prices: those of its tick, else as many as its quotes and prints have had. */
export class Precision {
  constructor() {
    this.bySymbol = new Map();
  }

  /** Takes the tick sizes of instruments, as far as they are known. */
  describe(instruments) {
    for (const { symbol, tick_size: tick } of instruments) if (tick) this.note(symbol, tick);
  }

  /** Takes the quote and print of a symbol. Returns the decimals of its prices. */
  note(symbol, ...prices) {
    // hot: once per symbol and frame. A price that its decimals do not change is told apart without its text.
    const known = this.bySymbol.get(symbol) ?? 0;
    let most = known;
    for (const price of prices) if (isKnown(price) && !hasDecimals(price, most)) most = Math.max(most, decimalsOf(price));
    if (most !== known || !this.bySymbol.has(symbol)) this.bySymbol.set(symbol, most);
    return most;
  }

  /** Returns a price of a symbol. `extra` decimals are for averages. */
  price(symbol, value, extra = 0) {
    if (!isKnown(value)) return DASH;
    const known = this.bySymbol.get(symbol);
    const digits = known === undefined ? Math.max(2, Math.min(decimalsOf(value), decimalsShown(value))) : Math.max(known, 2) + extra;
    return number(value, Math.min(MAX_DECIMALS, digits));
  }
}

export const bps = value => isKnown(value) ? `${number(value, 2)} bps` : DASH;

/** Returns a duration in its two largest units: 3 d 4 h, 2 min 5 s, 0.4 s. */
export function duration(seconds) {
  if (!isKnown(seconds)) return DASH;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  const whole = Math.floor(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)} h ${Math.floor(whole % 3600 / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor(whole % 86400 / 3600)} h`;
}

/** Returns milliseconds with three significant digits: 0 ms, 0.26 µs, 0.042 ms, 1.31 ms, 250 ms, 1.4 s. */
export function milliseconds(value) {
  if (!isKnown(value)) return DASH;
  if (value === 0) return "0 ms";
  if (Math.abs(value) < 0.001) return `${number(1000 * value, 2)} µs`;
  if (value >= 1000) return `${number(value / 1000, 2)} s`;
  return `${number(value, value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3)} ms`;
}

export function bytes(value) {
  if (!isKnown(value)) return DASH;
  const units = ["B", "KB", "MB", "GB", "TB"];
  let at = 0;
  while (value >= 1024 && at < units.length - 1) [value, at] = [value / 1024, at + 1];
  return `${number(value, at === 0 || value >= 100 ? 0 : 1)} ${units[at]}`;
}

/** Returns `up`, `down` or nothing, by the sign. */
export const tone = value => value > 0 ? "up" : value < 0 ? "down" : "";

const clocks = new Map();
function clockOf(zone, hasDate) {
  const key = `${zone} ${hasDate}`;
  let clock = clocks.get(key);
  if (clock === undefined) {
    clock = new Intl.DateTimeFormat("en-GB", {
      timeZone: zone, hourCycle: "h23", hour: "2-digit", minute: "2-digit", second: "2-digit",
      ...(hasDate ? { year: "numeric", month: "2-digit", day: "2-digit" } : {}),
    });
    clocks.set(key, clock);
  }
  return clock;
}

/** Returns the time of day of an ISO time, or of milliseconds since 1970, in a zone of the IANA database. */
export function time(value, zone, { hasMs = false } = {}) {
  if (value === null || value === undefined || value === "") return DASH;
  const date = new Date(value);
  const text = clockOf(zone, false).format(date);
  return hasMs ? `${text}.${String(date.getUTCMilliseconds()).padStart(3, "0")}` : text;
}

/** Returns date and time of day: 2025-10-21 22:00:00. */
export function dateTime(value, zone, { hasMs = false } = {}) {
  if (value === null || value === undefined || value === "") return DASH;
  const date = new Date(value), parts = {};
  for (const { type, value: text } of clockOf(zone, true).formatToParts(date)) parts[type] = text;
  const ms = hasMs ? `.${String(date.getUTCMilliseconds()).padStart(3, "0")}` : "";
  return `${parts.year}-${parts.month}-${parts.day} ${parts.hour}:${parts.minute}:${parts.second}${ms}`;
}
