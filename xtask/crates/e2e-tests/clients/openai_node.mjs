import OpenAI, { AuthenticationError, NotFoundError } from "openai";
import assert from "node:assert/strict";
import * as t from "./support.mjs";

const client = new OpenAI({ baseURL: `${t.URL}/v1`, apiKey: t.KEY, maxRetries: 0 });
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
const answer = await client.chat.completions.create(question);
t.same(answer.choices[0].message.content, t.ANSWER);
t.ok("chat");

let text = "";
let tokens;
const stream = await client.chat.completions.create({
  ...question,
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  for (const choice of chunk.choices) text += choice.delta.content ?? "";
  tokens = chunk.usage?.completion_tokens ?? tokens;
}
t.same([text, tokens], [t.ANSWER, t.WORDS]);
t.ok("stream");

const long = { ...question, stream: true, max_tokens: t.MANY_WORDS };
for await (const _ of await client.chat.completions.create(long)) break;
t.ok("cancel");

const unknown = { ...question, model: t.UNKNOWN_MODEL };
const error = await t.fails(NotFoundError, () => client.chat.completions.create(unknown));
t.same(error.code, "MODEL_NOT_AVAILABLE");
t.has(error.message, t.UNKNOWN_MODEL);
assert.ok(error.requestID);
await t.fails(NotFoundError, () => client.responses.retrieve("resp_unknown"));
t.ok("errors");

if (t.TOKEN) {
  const stranger = client.withOptions({ apiKey: "a-wrong-token" });
  const error = await t.fails(AuthenticationError, () => stranger.chat.completions.create(question));
  t.has(error.message, "token");
}

const response = await client.responses.create({
  model: t.CHAT_MODEL,
  input: "count",
  max_output_tokens: t.WORDS,
  temperature: 0,
});
t.same(response.output_text, t.ANSWER);
t.ok("responses");

const embeddings = await client.embeddings.create({
  model: t.EMBEDDING_MODEL,
  input: ["one", "two"],
});
t.same(embeddings.data.length, 2);
assert.ok(embeddings.data[0].embedding.length > 8);
t.ok("embeddings");
