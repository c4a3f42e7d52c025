import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embed, generateText, streamText } from "ai";
import * as t from "./support.mjs";

const settings = (apiKey) => ({ baseURL: `${t.URL}/v1`, apiKey });
const models = (apiKey) => [
  (name) => createOpenAICompatible({ name: "llorch", ...settings(apiKey) })(name),
  (name) => createOpenAI(settings(apiKey)).chat(name),
  // OpenAI's responses.
  (name) => createOpenAI(settings(apiKey))(name),
  (name) => createAnthropic(settings(apiKey))(name),
];
const question = { prompt: "count", maxOutputTokens: t.WORDS, temperature: 0, maxRetries: 0 };

for (const model of models(t.KEY)) {
  const { text } = await generateText({ ...question, model: model(t.CHAT_MODEL) });
  t.same(text, t.ANSWER);
}
t.ok("chat");
t.ok("responses");

for (const model of models(t.KEY)) {
  let text = "";
  const { textStream } = streamText({ ...question, model: model(t.CHAT_MODEL) });
  for await (const piece of textStream) text += piece;
  t.same(text, t.ANSWER);
}
t.ok("stream");

for (const model of models(t.KEY)) {
  const abort = new AbortController();
  const { textStream } = streamText({
    ...question,
    model: model(t.CHAT_MODEL),
    maxOutputTokens: t.MANY_WORDS,
    abortSignal: abort.signal,
  });
  try {
    for await (const _ of textStream) {
      abort.abort();
      break;
    }
  } catch (error) {
    if (error.name !== "AbortError") throw error;
  }
  t.ok("cancel");
}

for (const model of models(t.KEY)) {
  const error = await t.fails(APICallError, () =>
    generateText({ ...question, model: model(t.UNKNOWN_MODEL) }),
  );
  t.same(error.statusCode, 404);
  t.has(error.message, t.UNKNOWN_MODEL);
}
t.ok("errors");

if (t.TOKEN) {
  for (const model of models("a-wrong-token")) {
    const error = await t.fails(APICallError, () =>
      generateText({ ...question, model: model(t.CHAT_MODEL) }),
    );
    t.same(error.statusCode, 401);
    t.has(error.message, "token");
  }
}

const provider = createOpenAICompatible({ name: "llorch", ...settings(t.KEY) });
const { embedding } = await embed({
  model: provider.textEmbeddingModel(t.EMBEDDING_MODEL),
  value: "one",
});
t.same(embedding.length > 8, true);
t.ok("embeddings");
