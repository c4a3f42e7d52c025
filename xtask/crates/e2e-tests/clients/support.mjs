// What the scripts of all Node clients share.
//
// A script prints `ok FEATURE` for each feature that works, and ends with an error when one does
// not.

import assert from "node:assert/strict";

const env = process.env;
export let URL;
export let TOKEN;
// Without a token a client still sends one: most clients refuse an empty key.
export let KEY;

/** The server of the next script. */
export function use(server) {
  URL = server.url;
  TOKEN = server.token;
  KEY = TOKEN || "none needed";
}

export const CHAT_MODEL = env.LLORCH_CHAT_MODEL;
export const EMBEDDING_MODEL = env.LLORCH_EMBEDDING_MODEL;
// The answer of the model to a question with WORDS tokens.
export const ANSWER = env.LLORCH_ANSWER;
export const WORDS = 12;
// More words than a client that leaves waits for.
export const MANY_WORDS = 1500;
export const UNKNOWN_MODEL = "no-such/model";
export const MESSAGES = [{ role: "user", content: "count" }];

export const ok = (feature) => console.log("ok", feature);

export const same = (found, expected) => assert.deepEqual(found, expected);

export const has = (text, part) => assert.ok(String(text).includes(part), `${part} is not in ${text}`);

/** The error of this kind that `call` throws. */
export async function fails(kind, call) {
  try {
    await call();
  } catch (error) {
    if (error instanceof kind) return error;
    throw error;
  }
  throw new Error(`no ${kind.name}`);
}
