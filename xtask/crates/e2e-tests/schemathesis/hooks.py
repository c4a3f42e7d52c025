"""What Schemathesis cannot know of this API: which refusals are the daemon's and which an engine's, passed on."""

import schemathesis
from schemathesis import GenerationMode


def says(response, code):
    """Whether the daemon itself answered with this code; an engine's codes are other ones."""
    return f'"code":"{code}"' in response.text


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
    # Which model is meant by a body that names none depends on how many there are just then.
    names_none = isinstance(case.body, dict) and case.body.get("model") is None
    # What one field may be by another is more than a schema can say.
    too_free = "slots_free must be at most slots_total" in response.text
    if not names_none and not too_free:
        assert not says(response, "INVALID_REQUEST"), f"the daemon refuses a valid request: {response.text}"
