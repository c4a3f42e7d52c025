from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from support import *

client = InferenceClient(base_url=URL + "/v1", api_key=KEY)
question = dict(model=CHAT_MODEL, messages=MESSAGES, max_tokens=WORDS, temperature=0)

same(client.chat_completion(**question).choices[0].message.content, ANSWER)
ok("chat")
text = ""
for chunk in client.chat_completion(stream=True, **question):
    for choice in chunk.choices:
        text += choice.delta.content or ""
same(text, ANSWER)
ok("stream")
stream = client.chat_completion(stream=True, **{**question, "max_tokens": MANY_WORDS})
next(iter(stream))
stream.close()
ok("cancel")
unknown = {**question, "model": UNKNOWN_MODEL}
error = fails(HfHubHTTPError, lambda: client.chat_completion(**unknown))
same(error.response.status_code, 404)
has(error.server_message or error, UNKNOWN_MODEL)
ok("errors")
if TOKEN:
    stranger = InferenceClient(base_url=URL + "/v1", api_key="a-wrong-token")
    error = fails(HfHubHTTPError, lambda: stranger.chat_completion(**question))
    same(error.response.status_code, 401)
