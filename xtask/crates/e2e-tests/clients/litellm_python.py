import os

# It would fetch a list of prices.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from support import *

litellm.suppress_debug_info = True
litellm.telemetry = False


def question(model=CHAT_MODEL, words=WORDS, key=KEY, api="openai"):
    return dict(
        model=f"{api}/{model}",
        api_base=URL if api == "anthropic" else URL + "/v1",
        api_key=key,
        messages=MESSAGES,
        max_tokens=words,
        temperature=0,
        num_retries=0,
        max_retries=0,
    )


for api in ["openai", "anthropic"]:
    answer = litellm.completion(**question(api=api))
    same(answer.choices[0].message.content, ANSWER)
ok("chat")
for api in ["openai", "anthropic"]:
    stream = litellm.completion(stream=True, **question(api=api))
    same("".join(chunk.choices[0].delta.content or "" for chunk in stream), ANSWER)
ok("stream")
stream = litellm.completion(stream=True, **question(words=MANY_WORDS))
next(iter(stream))
stream.completion_stream.close()
ok("cancel")
error = fails(litellm.NotFoundError, lambda: litellm.completion(**question(model=UNKNOWN_MODEL)))
has(error, UNKNOWN_MODEL)
ok("errors")
if TOKEN:
    for api in ["openai", "anthropic"]:
        wrong = question(key="a-wrong-token", api=api)
        fails(litellm.AuthenticationError, lambda: litellm.completion(**wrong))
answer = litellm.embedding(
    model=f"openai/{EMBEDDING_MODEL}", api_base=URL + "/v1", api_key=KEY, input=["one", "two"]
)
same(len(answer.data), 2)
ok("embeddings")
