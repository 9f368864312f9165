// Questions to the server by HTTP. The token is kept for the tab.

import { queryOf } from "./router.js";

const TOKEN_KEY = "observability.token";
// A browser waits for minutes on a connection that has died without a word, and later questions wait for the answer.
const ANSWER_MS = 30e3;

/** Returns the member of a document's object that people have named; undefined if there is none. To the object itself every
 * name of its prototype is one, as `constructor`. */
export const memberOf = (object, name) => object !== undefined && object !== null && Object.hasOwn(object, name) ? object[name] : undefined;

/** A refusal: the status and the server's own words. Status 0: the server did not answer. */
export class ApiError extends Error {
  constructor(status, title, detail, errors = []) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.errors = errors;
  }
}

export class Api {
  #onrefused;

  /** `onrefused(role)` is called when the server wants a token that may `read` or `write`. */
  constructor(onrefused) {
    this.#onrefused = onrefused;
  }

  get token() {
    return sessionStorage.getItem(TOKEN_KEY);
  }

  set token(token) {
    if (token) sessionStorage.setItem(TOKEN_KEY, token);
    else sessionStorage.removeItem(TOKEN_KEY);
  }

  /** Returns a document. `query` may have null members, which are left out. Raises ApiError. */
  get(path, query = {}, options = {}) {
    return this.#ask("GET", path + queryOf(query), undefined, options);
  }

  /** Sends JSON and returns the answer. Raises ApiError. */
  post(path, body = {}, options = {}) {
    return this.#ask("POST", path, JSON.stringify(body), options);
  }

  delete(path, options = {}) {
    return this.#ask("DELETE", path, undefined, options);
  }

  /** Returns the columns of a history by series: [{type, symbol?, strategy?, timestamp: [ms], FIELD: []}]. */
  async history(question, options = {}) {
    const answer = await this.post("/api/metrics/history", { format: "columns", ...question }, options);
    for (const series of answer.data) series.timestamp = series.timestamp.map(text => Date.parse(text));
    return answer;
  }

  async #ask(method, path, body, { signal } = {}) {
    const headers = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    let answer;
    try {
      answer = await fetch(path, { method, headers, body, signal: signal ?? AbortSignal.timeout(ANSWER_MS), cache: "no-cache" });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ApiError(0, "no answer", "the server does not answer");
    }
    const document = await answer.json().catch(() => ({}));
    if (answer.ok) return document;
    if (answer.status === 401 || answer.status === 403) this.#onrefused(method === "GET" ? "read" : "write", document.detail);
    throw new ApiError(answer.status, document.title ?? answer.statusText, document.detail, document.errors);
  }
}
