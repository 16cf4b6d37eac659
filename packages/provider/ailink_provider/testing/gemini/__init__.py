"""Gemini as the mock plays it: generated content, token counts, embeddings."""

import re
from collections.abc import Iterator
from typing import Any

from ailink_provider.testing.gemini import errors, replies, rules
from ailink_provider.testing.gemini.models import model
from ailink_provider.testing.gemini.names import canonical
from ailink_provider.testing.script import Answer
from ailink_provider.testing.server import Received
from ailink_provider.testing.vendor import Breach, Refusal, Stream, Whole

_PATH = re.compile(
    r"/v1(?:alpha|beta)?/models/(?P<model>[^/:]+):"
    r"(?P<method>generateContent|streamGenerateContent|countTokens|embedContent|batchEmbedContents)"
)


class Gemini:
    """The vendor."""

    name = "gemini"
    credentials: tuple[tuple[str, str], ...] = (("x-goog-api-key", ""),)
    errors = errors.STATUSES

    def operation(self, method: str, path: str) -> str | None:
        """Return the method that the path names, as the API spells it."""
        match = _PATH.fullmatch(path)
        return match["method"] if match and method == "POST" else None

    def breaches(self, operation: str, request: Received) -> Iterator[Breach]:
        """Yield the rules that the request breaks."""
        name = self.model(request)
        return rules.breaches(operation, name, model(name), request.query, _body(request))

    def model(self, request: Received) -> str:
        """Return the model that the path names."""
        match = _PATH.fullmatch(request.path)
        return match["model"] if match else ""

    def reply(self, operation: str, request: Received, answer: Answer, serial: int) -> Whole | Stream:
        """Return the answer."""
        name, body = self.model(request), _body(request)
        if operation == "countTokens":
            return replies.count_tokens(answer)
        if operation == "embedContent":
            return replies.embed(name, body)
        if operation == "batchEmbedContents":
            return replies.batch_embed(name, body)
        if operation == "generateContent":
            return replies.generate(name, model(name), body, answer, serial)
        sse = ("alt", "sse") in request.query
        return replies.stream(name, model(name), body, answer, serial, sse=sse)

    def refuse(self, refusal: Refusal) -> Whole:
        """Return the error."""
        return errors.refuse(refusal)

    def error_event(self, refusal: Refusal) -> bytes:
        """Return the frame that breaks off a stream."""
        return errors.error_event(refusal)


def _body(request: Received) -> dict[str, Any]:
    body: dict[str, Any] = canonical(request.json)
    return body


VENDOR = Gemini()
