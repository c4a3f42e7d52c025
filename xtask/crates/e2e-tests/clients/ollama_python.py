from ollama import Client, ResponseError
from support import *

client = Client(host=URL, headers={"Authorization": f"Bearer {KEY}"})
options = {"temperature": 0, "num_predict": WORDS}
question = dict(model=CHAT_MODEL, messages=MESSAGES, options=options)

names = [model.model for model in client.list().models]
same(sorted(names), sorted([CHAT_MODEL, EMBEDDING_MODEL]))
same(len(client.ps().models), 2)
ok("list")
assert client.show(CHAT_MODEL).capabilities
assert client.show(CHAT_MODEL + ":latest").capabilities
ok("retrieve")
answer = client.chat(**question)
same((answer.message.content, answer.eval_count), (ANSWER, WORDS))
same(answer.done_reason, "length")
answer = client.generate(model=CHAT_MODEL, prompt="count", options=options)
same((answer.response, answer.eval_count), (ANSWER, WORDS))
ok("chat")

parts = list(client.chat(stream=True, **question))
same("".join(part.message.content for part in parts), ANSWER)
same((parts[-1].done, parts[-1].eval_count), (True, WORDS))
parts = client.generate(model=CHAT_MODEL, prompt="count", options=options, stream=True)
same("".join(part.response for part in parts), ANSWER)
ok("stream")

long = {**question, "options": {**options, "num_predict": MANY_WORDS}}
stream = client.chat(stream=True, **long)
next(stream)
stream.close()
ok("cancel")

error = fails(ResponseError, lambda: client.chat(model=UNKNOWN_MODEL, messages=MESSAGES))
same(error.status_code, 404)
has(error.error, UNKNOWN_MODEL)
fails(ResponseError, lambda: list(client.chat(UNKNOWN_MODEL, MESSAGES, stream=True)))
fails(ResponseError, lambda: client.show(UNKNOWN_MODEL))
error = fails(ResponseError, lambda: client.pull("other"))
has(error.error, "not managed here")
ok("errors")

if TOKEN:
    stranger = Client(host=URL, headers={"Authorization": "Bearer a-wrong-token"})
    error = fails(ResponseError, lambda: stranger.chat(**question))
    same(error.status_code, 401)
    has(error.error, "token")

embedded = client.embed(model=EMBEDDING_MODEL, input=["one", "two"])
same(len(embedded.embeddings), 2)
assert len(client.embeddings(model=EMBEDDING_MODEL, prompt="one").embedding) > 8
ok("embeddings")
