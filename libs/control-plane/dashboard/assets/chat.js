// One streamed chat, and how long each part of it took.

import { Refused, eventsOf, send } from "./server.js";

/**
 * Sends a chat and calls `hear` with how far it is, once per frame at most: `{ text, tokens, headers, queueMs,
 * firstMs, totalMs, done, stopped, error }`. Times are milliseconds since the request was sent; `queueMs` is what the
 * server says. Gives the last of them, whatever happened.
 */
export async function chat({ body, headers, signal }, hear) {
  const begin = performance.now();
  const now = { text: "", tokens: 0, headers: null, queueMs: null, firstMs: null, totalMs: 0, done: false };
  let pending = false;
  const changed = () => {
    now.totalMs = performance.now() - begin;
    if (pending) return;
    pending = true;
    requestAnimationFrame(() => {
      pending = false;
      if (!now.done) hear(now);
    });
  };
  try {
    const given = Object.fromEntries(Object.entries(headers).filter(([, value]) => value));
    const response = await send("/v1/chat/completions", { method: "POST", body, headers: given, signal });
    take(now, response.headers);
    for await (const event of eventsOf(response)) {
      if (event.data === "[DONE]") break;
      piece(now, event, () => performance.now() - begin);
      changed();
    }
  } catch (error) {
    if (signal.aborted) now.stopped = true;
    else now.error = error instanceof Refused ? error : { message: "The connection broke off before the answer was complete." };
    if (error.headers) take(now, error.headers);
  }
  now.done = true;
  now.totalMs = performance.now() - begin;
  return now;
}

function take(now, headers) {
  const number = (name) => (headers.get(name) === null ? null : Number(headers.get(name)));
  now.headers = {
    node: headers.get("x-llorch-node"),
    pool: headers.get("x-llorch-pool"),
    replica: headers.get("x-llorch-replica"),
    attempts: number("x-llorch-attempts"),
    requestId: headers.get("x-request-id"),
  };
  now.queueMs = number("x-llorch-queue-ms");
}

function piece(now, event, elapsed) {
  const data = JSON.parse(event.data);
  if (data.error) throw new Refused(0, data.error.code, data.error.message);
  const delta = data.choices?.[0]?.delta ?? {};
  const words = (delta.reasoning_content ?? "") + (delta.content ?? "");
  if (words) {
    now.firstMs ??= elapsed();
    now.text += words;
    now.tokens += 1;
  }
  // What the engine counted is better than what came in pieces.
  if (data.usage?.completion_tokens) now.tokens = data.usage.completion_tokens;
}
