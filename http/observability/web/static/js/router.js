// Where the page is: the view and its parameters, in the address after the #, so that any state can be sent as a link.
//
//   #/market?q=BTC&sort=volume      the view `market` with the parameters {q: "BTC", sort: "volume"}
//   #/strategies/mean               the same, with what follows the view's name as the parameter `name`

export function parse(hash) {
  const [path, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [id, ...rest] = path.split("/");
  const params = Object.fromEntries(new URLSearchParams(query));
  if (rest.length) params.name = rest.map(decode).join("/");
  return { id, params };
}

export function link(id, params = {}) {
  const { name, ...others } = params;
  const pairs = Object.entries(others).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = pairs.length ? `?${new URLSearchParams(pairs)}` : "";
  return `#/${id}${name ? `/${encodeURIComponent(name)}` : ""}${query}`;
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
