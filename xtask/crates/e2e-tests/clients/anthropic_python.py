from anthropic import Anthropic, AuthenticationError, NotFoundError
from support import *

client = Anthropic(base_url=URL, api_key=KEY, max_retries=0)
question = dict(model=CHAT_MODEL, messages=MESSAGES, max_tokens=WORDS, temperature=0)

names = [model.id for model in client.models.list()]
same(sorted(names), sorted([CHAT_MODEL, EMBEDDING_MODEL]))
ok("list")
same(client.models.retrieve(CHAT_MODEL).id, CHAT_MODEL)
ok("retrieve")
answer = client.messages.create(**question)
same(answer.content[0].text, ANSWER)
assert answer._request_id
assert client.messages.count_tokens(model=CHAT_MODEL, messages=MESSAGES).input_tokens > 0
ok("chat")

with client.messages.stream(**question) as stream:
    same("".join(stream.text_stream), ANSWER)
    same(stream.get_final_message().usage.output_tokens, WORDS)
ok("stream")

with client.messages.stream(**{**question, "max_tokens": MANY_WORDS}) as stream:
    next(iter(stream.text_stream))
ok("cancel")

unknown = {**question, "model": UNKNOWN_MODEL}
error = fails(NotFoundError, lambda: client.messages.create(**unknown))
same(error.body["error"]["type"], "not_found_error")
has(error.body["error"]["message"], UNKNOWN_MODEL)
assert error.request_id
ok("errors")

if TOKEN:
    stranger = client.with_options(api_key="a-wrong-token")
    error = fails(AuthenticationError, lambda: stranger.messages.create(**question))
    has(error.body["error"]["message"], "token")
    assert error.request_id
