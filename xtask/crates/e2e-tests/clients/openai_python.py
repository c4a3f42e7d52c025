from openai import AuthenticationError, NotFoundError, OpenAI
from support import *

client = OpenAI(base_url=URL + "/v1", api_key=KEY, max_retries=0)
question = dict(model=CHAT_MODEL, messages=MESSAGES, max_tokens=WORDS, temperature=0)

names = [model.id for model in client.models.list()]
same(sorted(names), sorted([CHAT_MODEL, EMBEDDING_MODEL]))
ok("list")
same(client.models.retrieve(CHAT_MODEL).id, CHAT_MODEL)
ok("retrieve")
same(client.chat.completions.create(**question).choices[0].message.content, ANSWER)
ok("chat")

text, tokens = "", None
stream = client.chat.completions.create(
    stream=True, stream_options={"include_usage": True}, **question
)
for chunk in stream:
    for choice in chunk.choices:
        text += choice.delta.content or ""
    tokens = chunk.usage.completion_tokens if chunk.usage else tokens
same((text, tokens), (ANSWER, WORDS))
ok("stream")

stream = client.chat.completions.create(stream=True, **{**question, "max_tokens": MANY_WORDS})
next(iter(stream))
stream.close()
ok("cancel")

unknown = {**question, "model": UNKNOWN_MODEL}
error = fails(NotFoundError, lambda: client.chat.completions.create(**unknown))
same(error.code, "MODEL_NOT_AVAILABLE")
has(error.message, UNKNOWN_MODEL)
assert error.request_id
fails(NotFoundError, lambda: client.models.retrieve(UNKNOWN_MODEL))
fails(NotFoundError, lambda: client.responses.retrieve("resp_unknown"))
ok("errors")

if TOKEN:
    stranger = client.with_options(api_key="a-wrong-token")
    error = fails(AuthenticationError, stranger.models.list)
    has(error.message, "token")

answer = client.responses.create(
    model=CHAT_MODEL, input="count", max_output_tokens=WORDS, temperature=0
)
same(answer.output_text, ANSWER)
ok("responses")

embedding = client.embeddings.create(model=EMBEDDING_MODEL, input=["one", "two"])
same(len(embedding.data), 2)
assert len(embedding.data[0].embedding) > 8
ok("embeddings")
