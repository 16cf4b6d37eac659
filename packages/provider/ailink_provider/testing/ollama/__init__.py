"""Ollama as the mock plays it: chats, embeddings, and the models that are there. It needs no key, and takes any."""

from collections.abc import Callable, Iterator
from typing import Any

from ailink_provider.testing.ollama import errors, replies, rules
from ailink_provider.testing.script import Answer
from ailink_provider.testing.server import Received
from ailink_provider.testing.vendor import Breach, Refusal, Stream, Whole

_PATHS = {("POST", "/api/chat"): "chat", ("POST", "/api/embed"): "embed", ("GET", "/api/tags"): "tags"}
_REPLIES: dict[str, Callable[[dict[str, Any], Answer, int], Whole | Stream]] = {
    "chat": replies.chat, "embed": replies.embed,
}


class Ollama:
    """The server."""

    name = "ollama"
    credentials: tuple[tuple[str, str], ...] = (("authorization", "Bearer "),)
    errors = errors.STATUSES

    def operation(self, method: str, path: str) -> str | None:
        """Return the operation's name. The path of an operation with another method is "method"."""
        if any(path == known for _, known in _PATHS):
            return _PATHS.get((method, path), "method")
        return None

    def breaches(self, operation: str, request: Received) -> Iterator[Breach]:
        """Yield the rules that the request breaks."""
        return rules.breaches(operation, request.json)

    def model(self, request: Received) -> str:
        """Return the model that the body names."""
        return str(request.json.get("model", "")) if request.body else ""

    def reply(self, operation: str, request: Received, answer: Answer, serial: int) -> Whole | Stream:
        """Return the answer."""
        return replies.tags() if operation == "tags" else _REPLIES[operation](request.json, answer, serial)

    def refuse(self, refusal: Refusal) -> Whole:
        """Return the error."""
        return errors.refuse(refusal)

    def error_event(self, refusal: Refusal) -> bytes:
        """Return the line that breaks off a stream."""
        return errors.error_event(refusal)


VENDOR = Ollama()
