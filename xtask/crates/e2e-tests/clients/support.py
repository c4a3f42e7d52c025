"""What the scripts of all Python clients share.

A script prints `ok FEATURE` for each feature that works, and ends with an error when one does not.
"""

import os

URL = os.environ["LLORCH_URL"]
# Without a token a client still sends one: most clients refuse an empty key.
TOKEN = os.environ.get("LLORCH_TOKEN") or ""
KEY = TOKEN or "none needed"
CHAT_MODEL = os.environ["LLORCH_CHAT_MODEL"]
EMBEDDING_MODEL = os.environ["LLORCH_EMBEDDING_MODEL"]
# The answer of the model to a question with WORDS tokens.
ANSWER = os.environ["LLORCH_ANSWER"]
WORDS = 12
# More words than a client that leaves waits for.
MANY_WORDS = 1500
UNKNOWN_MODEL = "no-such/model"
MESSAGES = [{"role": "user", "content": "count"}]


def ok(feature):
    print("ok", feature, flush=True)


def same(found, expected):
    assert found == expected, f"{found!r} is not {expected!r}"


def has(text, part):
    assert part in str(text), f"{part!r} is not in {text!r}"


def fails(kind, call):
    """The error of this kind that `call` raises."""
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")
