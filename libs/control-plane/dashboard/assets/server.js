// Talking to the server: questions, and streams that come back by themselves.

/** How long to wait before trying again: doubled each time, with some chance in it so that pages do not come together. */
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 15_000;

/** What the server said when it said no. `status` is 0 when it did not answer. */
export class Refused extends Error {
  constructor(status, code, message, retryAfterMs) {
    super(message);
    this.name = "Refused";
    this.status = status;
    this.code = code;
    this.retryAfterMs = retryAfterMs;
  }
}

/**
 * Who is signed in. A token goes to the server once; from then on a cookie stands for it, which no script can read.
 * `scopes` is null until the server has said them.
 */
export const session = {
  scopes: null,
  isCookie: false,
  may: (...scopes) => scopes.some((scope) => session.scopes?.includes(scope)),
  async open(token) {
    take(await ask("/v2/session", { method: "POST", headers: { authorization: `Bearer ${token}` } }));
  },
  async look() {
    take(await ask("/v2/session"));
  },
  async close() {
    const wasCookie = session.isCookie;
    take({ scopes: null, is_session: false });
    // Without an answer the cookie ends by itself.
    if (wasCookie) await send("/v2/session", { method: "DELETE" }).catch(() => {});
  },
};

function take({ scopes, is_session: isCookie }) {
  session.scopes = scopes;
  session.isCookie = isCookie;
}

/** Sends a request; gives the response when it is a good one, and throws `Refused` otherwise. */
export async function send(path, { method = "GET", body, headers: more, signal } = {}) {
  const json = body === undefined ? {} : { "content-type": "application/json" };
  let response;
  try {
    response = await fetch(path, {
      method,
      signal,
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
      headers: { ...json, ...more },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Refused(0, "NO_ANSWER", "The server does not answer.");
  }
  if (response.ok) return response;
  throw await refusal(response);
}

async function refusal(response) {
  let error = {};
  try {
    error = (await response.json()).error ?? {};
  } catch {
    // Not ours: a proxy on the way, perhaps. The status says enough.
  }
  const code = error.code ?? `HTTP ${response.status}`;
  const message = error.message ?? `The server answered ${response.status}.`;
  const refused = new Refused(response.status, code, message, error.retry_after_ms);
  refused.headers = response.headers;
  return refused;
}

export async function ask(path, options) {
  return (await send(path, options)).json();
}

/** The server-sent events of a response: `{ id, event, data }`, as they come (HTML standard, 9.2.6). */
export async function* eventsOf(response, onBytes) {
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  let one = { id: "", event: "message", data: [] };
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      onBytes?.();
      const lines = (rest + decoder.decode(value, { stream: true })).split(/\r\n|\n/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (one.data.length) yield { ...one, data: one.data.join("\n") };
          one = { id: "", event: "message", data: [] };
          continue;
        }
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const content = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "data") one.data.push(content);
        else if (field === "event" || field === "id") one[field] = content;
      }
    }
  } finally {
    // A reader that stops closes the connection.
    reader.cancel().catch(() => {});
  }
}

/**
 * Listens to a stream for as long as the page wants to, again and again.
 *
 * `onEvent(event)`; `onLink(state, detail)` with "open", "waiting" (and until when, and why) or "refused" (and how:
 * it is not tried again by itself). A stream that is silent for `silenceMs` counts as lost.
 */
export class Listener {
  #path;
  #options;
  #last = null;
  #failures = 0;
  #abort = null;
  #timer = null;
  #silence = null;
  #run = 0;

  constructor(path, options) {
    this.#path = path;
    this.#options = options;
  }

  start() {
    this.stop();
    this.#failures = 0;
    this.#listen();
  }

  stop() {
    this.#run += 1;
    clearTimeout(this.#timer);
    clearTimeout(this.#silence);
    this.#abort?.abort();
    this.#abort = null;
    this.#timer = null;
  }

  /** Does not wait any longer. */
  hurry() {
    if (this.#timer !== null) this.start();
  }

  async #listen() {
    const run = this.#run;
    const { onEvent, onLink, silenceMs } = this.#options;
    const abort = (this.#abort = new AbortController());
    const watch = () => {
      clearTimeout(this.#silence);
      if (silenceMs) this.#silence = setTimeout(() => abort.abort(), silenceMs);
    };
    let reason;
    try {
      watch();
      const more = { accept: "text/event-stream" };
      if (this.#last) more["last-event-id"] = this.#last;
      const response = await send(this.#path, { headers: more, signal: abort.signal });
      let open = false;
      for await (const event of eventsOf(response, watch)) {
        if (run !== this.#run) return;
        if (!open) onLink?.("open");
        open = true;
        this.#failures = 0;
        if (event.id) this.#last = event.id;
        onEvent(event);
      }
      reason = new Refused(0, "ENDED", "The server has ended the connection.");
    } catch (error) {
      reason = error instanceof Refused ? error : new Refused(0, "NO_ANSWER", "The server does not answer.");
    }
    if (run !== this.#run) return;
    clearTimeout(this.#silence);
    this.#abort = null;
    // Asking again would not change these.
    if ([401, 403, 404].includes(reason.status)) {
      onLink?.("refused", { reason });
      return;
    }
    const wait = Math.min(FIRST_WAIT_MS * 2 ** this.#failures, LONGEST_WAIT_MS) * (0.8 + 0.4 * Math.random());
    const ms = Math.max(wait, reason.retryAfterMs ?? 0);
    this.#failures += 1;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.#listen();
    }, ms);
    onLink?.("waiting", { reason, until: Date.now() + ms });
  }
}
