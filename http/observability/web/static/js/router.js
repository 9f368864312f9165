// Where the page is: the view and its parameters, in the address after the #, so that any state can be sent as a link.
//
//   #/market?q=BTC&sort=volume      the view `market` with the parameters {q: "BTC", sort: "volume"}
//   #/strategies/mean               the same, with what follows the view's name as the parameter `name`

/** Returns the members of a query that say something: neither null nor empty. */
export function given(query) {
  return Object.fromEntries(Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== ""));
}

/** Returns `?name=value&…` of the members that say something. */
export function queryOf(query) {
  const text = new URLSearchParams(given(query)).toString();
  return text ? `?${text}` : "";
}

export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [id, ...rest] = path.split("/");
  const params = Object.fromEntries(new URLSearchParams(query));
  if (rest.length) params.name = rest.map(decode).join("/");
  return { id, params };
}

/** Returns a time of the address in the server's form; null for what is no time: ISO 8601 with an offset, or nanoseconds. */
export function momentOf(text) {
  // A + is a space in an address.
  const iso = text.trim().replace(" ", "+"), isNumber = /^\d{1,19}$/.test(text);
  const time = isNumber ? Number(text) / 1e6 : /^\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:?\d\d)$/.test(iso) ? Date.parse(iso) : NaN;
  return Number.isNaN(time) || time < 0 ? null : new Date(time).toISOString();
}

export function link(id, params = {}) {
  const { name, ...others } = params;
  return `#/${id}${name ? `/${encodeURIComponent(name)}` : ""}${queryOf(others)}`;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
