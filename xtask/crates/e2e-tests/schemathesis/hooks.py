"""What Schemathesis cannot know of this API: which refusals are the daemon's and which an engine's, passed on."""

import schemathesis
from schemathesis import GenerationMode


def says(response, code):
    """Whether the daemon itself answered with this code; an engine's codes are other ones."""
    return f'"code":"{code}"' in response.text


@schemathesis.hook
def filter_case(ctx, case):
    """A body of `null` is none, for old clients. The document leaves that out: generators of
    clients cannot express it."""
    return not (case.body is None and case.operation.path.endswith(("/drain", "/join-tokens")))


@schemathesis.check
def no_mistake_of_ours(ctx, response, case):
    """An engine's own 500 is passed on."""
    assert not says(response, "INTERNAL"), "an internal error of the daemon"


@schemathesis.check
def what_is_valid_is_not_refused_by_us(ctx, response, case):
    """An engine may want more of a body than the document says."""
    meta = case.meta
    if meta is None or meta.generation.mode != GenerationMode.POSITIVE:
        return
    # Which model is meant by a request that names none depends on how many there are just then.
    names_none = (isinstance(case.body, dict) and case.body.get("model") is None) or (
        case.method == "GET" and "`model` is missing" in response.text
    )
    # A schema cannot relate two fields, and cannot require that ids in a list of objects differ.
    beyond_schema = any(
        rule in response.text
        for rule in ("slots_free must be at most slots_total", "must name each device_id once",
                     "must name each pool once", "must name each replica_id once",
                     "with the scope node", "limits: only a key with", "without blanks at its ends", "message\":\"address: ")
    )
    # Ollama's errors have no code.
    assert "the body is not valid:" not in response.text, response.text
    if not names_none and not beyond_schema:
        assert not says(response, "INVALID_REQUEST"), f"the daemon refuses a valid request: {response.text}"
