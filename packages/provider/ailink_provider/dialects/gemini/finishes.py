"""Why an answer ended: ``finishReason``, to and from canonical ``Finish``; and which reasons are failures.

Gemini says STOP for a call as for plain text, so whether a function was called decides. Words that are not known here
end an answer as "stop" and stay readable in ``Finish.native``.
"""

from ailink_provider.chat import Finish, FinishReason
from ailink_provider.errors import Failure

_BLOCKED = (
    "SAFETY",
    "RECITATION",
    "BLOCKLIST",
    "PROHIBITED_CONTENT",
    "SPII",
    "IMAGE_SAFETY",
    "IMAGE_PROHIBITED_CONTENT",
    "IMAGE_RECITATION",
    "MODEL_ARMOR",
    "ESCALATION",
    "PUP_LIMITED_DISABLED",
)
_REASONS: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "CONTINUATION": "length",
    "LANGUAGE": "stop",
    "OTHER": "stop",
    "IMAGE_OTHER": "stop",
    "NO_IMAGE": "stop",
    **dict.fromkeys(_BLOCKED, "content_filter"),
}
_WORDS: dict[FinishReason, str] = {
    "stop": "STOP",
    "tool_calls": "STOP",
    "pause": "STOP",
    "length": "MAX_TOKENS",
    "content_filter": "SAFETY",
}
_BROKEN = {
    "MALFORMED_FUNCTION_CALL": "The model wrote a tool call that cannot be read. Another attempt may go well.",
    "UNEXPECTED_TOOL_CALL": "The model called a tool that it was not offered. Another attempt may go well.",
    "TOO_MANY_TOOL_CALLS": "The model called too many tools in one answer. Another attempt may go well.",
    "MALFORMED_RESPONSE": "The model wrote an answer that cannot be read. Another attempt may go well.",
    "MISSING_THOUGHT_SIGNATURE": "The model missed the thought signature of an earlier tool call. Send signatures "
    "back as they came, or begin the conversation anew.",
}


def check_finish(word: str, message: str | None) -> None:
    """Raise ``Failure`` (``upstream_failed``) if ``word`` means that there is no usable answer."""
    if word in _BROKEN:
        raise Failure("upstream_failed", f"{_BROKEN[word]} ({word}{f': {message[:200]}' if message else ''})")


def reason_for(word: str, called: bool) -> FinishReason:
    """Return the canonical reason. ``called`` says that a function call was seen in this choice."""
    reason = _REASONS.get(word, "stop")
    return "tool_calls" if called and word == "STOP" else reason


def blocked_prompt(word: str, message: str | None) -> Finish:
    """Return how a reply ends whose prompt was refused: there is no candidate then."""
    return Finish("content_filter", native=word, explanation=message or f"The prompt was blocked ({word}).")


def write_finish(finish: Finish | None) -> str:
    """Return the ``finishReason``: Gemini's own word where it was one, else the nearest."""
    if finish is None:
        return "STOP"
    if finish.native is not None and _REASONS.get(finish.native) == finish.reason:
        return finish.native
    return _WORDS[finish.reason]
