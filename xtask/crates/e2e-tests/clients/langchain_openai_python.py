from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai import AuthenticationError, NotFoundError
from support import *


def chat(model=CHAT_MODEL, words=WORDS, key=KEY):
    return ChatOpenAI(
        model=model,
        base_url=URL + "/v1",
        api_key=key,
        temperature=0,
        max_tokens=words,
        max_retries=0,
    )


same(chat().invoke("count").content, ANSWER)
ok("chat")
same("".join(chunk.content for chunk in chat().stream("count")), ANSWER)
ok("stream")
stream = chat(words=MANY_WORDS).stream("count")
next(stream)
stream.close()
ok("cancel")
error = fails(NotFoundError, lambda: chat(model=UNKNOWN_MODEL).invoke("count"))
has(error, UNKNOWN_MODEL)
ok("errors")
if TOKEN:
    fails(AuthenticationError, lambda: chat(key="a-wrong-token").invoke("count"))
embeddings = OpenAIEmbeddings(
    model=EMBEDDING_MODEL,
    base_url=URL + "/v1",
    api_key=KEY,
    # It would fetch OpenAI's tokenizer.
    check_embedding_ctx_length=False,
)
assert len(embeddings.embed_query("one")) > 8
ok("embeddings")
