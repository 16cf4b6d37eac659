"""Anthropic as the mock plays it: messages and token counts."""

from collections.abc import Callable, Iterator
from typing import Any

from ailink_provider.testing.anthropic import errors, replies, rules
from ailink_provider.testing.script import Answer
from ailink_provider.testing.server import Received
from ailink_provider.testing.vendor import Breach, Refusal, Stream, Whole

_PATHS = {"/v1/messages": "messages", "/v1/messages/count_tokens": "count_tokens"}
_REPLIES: dict[str, Callable[[dict[str, Any], Answer, int], Whole | Stream]] = {
    "messages": replies.messages, "count_tokens": replies.count_tokens,
}


class Anthropic:
    """The vendor."""

    name = "anthropic"
    credentials: tuple[tuple[str, str], ...] = (("x-api-key", ""), ("authorization", "Bearer "))
    errors = errors.STATUSES

    def operation(self, method: str, path: str) -> str | None:
        """Return the operation's name. The path of an operation with another method is "method"."""
        return "method" if path in _PATHS and method != "POST" else _PATHS.get(path)

    def breaches(self, operation: str, request: Received) -> Iterator[Breach]:
        """Yield the rules that the request breaks."""
        return rules.breaches(operation, request.headers, request.json)

    def model(self, request: Received) -> str:
        """Return the model that the body names."""
        return str(request.json.get("model", ""))

    def reply(self, operation: str, request: Received, answer: Answer, serial: int) -> Whole | Stream:
        """Return the answer."""
        return _REPLIES[operation](request.json, answer, serial)

    def refuse(self, refusal: Refusal) -> Whole:
        """Return the error."""
        return errors.refuse(refusal)

    def error_event(self, refusal: Refusal) -> bytes:
        """Return the frame that breaks off a stream."""
        return errors.error_event(refusal)


VENDOR = Anthropic()
