import Anthropic, { AuthenticationError, NotFoundError } from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import * as t from "./support.mjs";

const client = new Anthropic({ baseURL: t.URL, apiKey: t.KEY, maxRetries: 0 });
const question = {
  model: t.CHAT_MODEL,
  messages: t.MESSAGES,
  max_tokens: t.WORDS,
  temperature: 0,
};

const names = [];
for await (const model of client.models.list()) names.push(model.id);
t.same(names.sort(), [t.CHAT_MODEL, t.EMBEDDING_MODEL].sort());
t.ok("list");
t.same((await client.models.retrieve(t.CHAT_MODEL)).id, t.CHAT_MODEL);
t.ok("retrieve");
const answer = await client.messages.create(question);
t.same(answer.content[0].text, t.ANSWER);
assert.ok(answer._request_id);
t.ok("chat");

const whole = await client.messages.stream(question).finalMessage();
t.same([whole.content[0].text, whole.usage.output_tokens], [t.ANSWER, t.WORDS]);
t.ok("stream");

const long = client.messages.stream({ ...question, max_tokens: t.MANY_WORDS });
for await (const event of long) if (event.type === "content_block_delta") break;
t.ok("cancel");

const unknown = { ...question, model: t.UNKNOWN_MODEL };
const error = await t.fails(NotFoundError, () => client.messages.create(unknown));
t.same(error.error.error.type, "not_found_error");
t.has(error.message, t.UNKNOWN_MODEL);
assert.ok(error.requestID);
t.ok("errors");

if (t.TOKEN) {
  const stranger = client.withOptions({ apiKey: "a-wrong-token" });
  const error = await t.fails(AuthenticationError, () => stranger.messages.create(question));
  t.has(error.message, "token");
  assert.ok(error.requestID);
}
