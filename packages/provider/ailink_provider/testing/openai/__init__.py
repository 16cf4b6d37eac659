"""OpenAI as the mock plays it: chat completions, completions, embeddings, models."""

import re
from collections.abc import Callable, Iterator
from typing import Any

from ailink_provider.testing.openai import errors, replies, rules
from ailink_provider.testing.script import Answer
from ailink_provider.testing.server import Received
from ailink_provider.testing.vendor import Breach, Refusal, Stream, Whole

_PATHS = {
    ("POST", "/v1/chat/completions"): "chat",
    ("POST", "/v1/completions"): "completions",
    ("POST", "/v1/embeddings"): "embeddings",
    ("GET", "/v1/models"): "models",
}
_MODEL_PATH = re.compile(r"/v1/models/(?P<model>[^/:]+)")
_REPLIES: dict[str, Callable[[dict[str, Any], Answer, int], Whole | Stream]] = {
    "chat": replies.chat, "completions": replies.completions, "embeddings": replies.embeddings,
}


class OpenAI:
    """The vendor."""

    name = "openai"
    credentials: tuple[tuple[str, str], ...] = (("authorization", "Bearer "),)
    errors = errors.STATUSES

    def operation(self, method: str, path: str) -> str | None:
        """Return the operation's name. The path of an operation with another method is "method"."""
        if (method, path) in _PATHS:
            return _PATHS[method, path]
        if any(path == known for _, known in _PATHS):
            return "method"
        return "model" if method == "GET" and _MODEL_PATH.fullmatch(path) else None

    def breaches(self, operation: str, request: Received) -> Iterator[Breach]:
        """Yield the rules that the request breaks."""
        return rules.breaches(operation, request.json)

    def model(self, request: Received) -> str:
        """Return the model that the body names."""
        return str(request.json.get("model", "")) if request.body else ""

    def reply(self, operation: str, request: Received, answer: Answer, serial: int) -> Whole | Stream:
        """Return the answer."""
        if operation == "models":
            return replies.models(replies.MODELS, serial)
        if operation == "model":
            name = request.path.rpartition("/")[2]
            known = name in replies.MODELS
            return replies.model(name, serial) if known else self.refuse(Refusal("model", model=name))
        return _REPLIES[operation](request.json, answer, serial)

    def refuse(self, refusal: Refusal) -> Whole:
        """Return the error."""
        return errors.refuse(refusal)

    def error_event(self, refusal: Refusal) -> bytes:
        """Return the frame that breaks off a stream."""
        return errors.error_event(refusal)


VENDOR = OpenAI()
