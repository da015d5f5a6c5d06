// Asking the server, with the token where there is one.
//
// Invariants: the token is sent to this server alone, in a header; it is kept in this tab's session
// and never in a link, a log or the page. A question that is not answered ends by itself.

import { object, text } from "./model/format.mjs";

const KEY = "dspex-token";
/** Longer than any healthy answer, shorter than a visitor's patience. */
const READ_MS = 4000;
/** A command waits until the controller has taken it. */
const COMMAND_MS = 30_000;

/** The tab's memory. A browser may refuse it; then the token lives as long as the page. */
function memory() {
  try {
    return globalThis.sessionStorage ?? null;
  } catch {
    return null;
  }
}

export class Api {
  #token = null;

  constructor() {
    this.#token = text(memory()?.getItem(KEY));
  }

  get hasToken() {
    return this.#token !== null;
  }

  setToken(token) {
    this.#token = text(token)?.trim() ?? null;
    if (this.#token === null) memory()?.removeItem(KEY);
    else memory()?.setItem(KEY, this.#token);
  }

  get(path) {
    return this.#ask(path, { method: "GET" }, READ_MS);
  }

  /** An HTML page as text, where the server has one; else its problem. */
  page(path) {
    return this.#ask(path, { method: "GET", headers: { Accept: "text/html" } }, READ_MS * 4);
  }

  post(path, body) {
    const headers = { "Content-Type": "application/json" };
    return this.#ask(path, { method: "POST", headers, body: JSON.stringify(body) }, COMMAND_MS);
  }

  /** `{status, data}`; status 0 where the server did not answer. Never throws. */
  async #ask(path, init, limit) {
    const headers = { Accept: "application/json", ...init.headers };
    if (this.#token !== null) headers.Authorization = `Bearer ${this.#token}`;
    try {
      const response = await fetch(path, {
        ...init,
        headers,
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: AbortSignal.timeout(limit),
      });
      const kind = response.headers.get("content-type") ?? "";
      const data = kind.startsWith("text/html") ? await response.text() : await response.json().catch(() => null);
      return { status: response.status, data };
    } catch {
      return { status: 0, data: null };
    }
  }
}

/** What a problem document says, in one line. */
export function problem({ status, data }) {
  if (status === 0) return "The server did not answer.";
  const { title, detail, hint } = object(data);
  const said = [text(detail) ?? text(title) ?? `The server answered ${status}`, text(hint)];
  return `${said.filter(Boolean).join(". ")}.`;
}
