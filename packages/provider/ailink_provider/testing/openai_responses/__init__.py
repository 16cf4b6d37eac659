"""OpenAI's Responses API as the mock plays it: the vendor's second format, under the same key and with the same errors.
"""

from collections.abc import Iterator

from ailink_provider.testing.openai import errors
from ailink_provider.testing.openai_responses import replies, rules
from ailink_provider.testing.script import Answer
from ailink_provider.testing.server import Received
from ailink_provider.testing.vendor import Breach, Refusal, Stream, Whole

_PATH = "/v1/responses"


class Responses:
    """The vendor, as far as it speaks this format. It keeps no answer: what refers to one is not found."""

    name = "openai"
    credentials: tuple[tuple[str, str], ...] = (("authorization", "Bearer "),)
    errors = errors.STATUSES

    def operation(self, method: str, path: str) -> str | None:
        """Return the operation's name; with another method it is "method"."""
        if path != _PATH:
            return None
        return "responses" if method == "POST" else "method"

    def breaches(self, operation: str, request: Received) -> Iterator[Breach]:
        """Yield the rules that the request breaks."""
        return rules.breaches(request.json)

    def model(self, request: Received) -> str:
        """Return the model that the body names."""
        return str(request.json.get("model", "")) if request.body else ""

    def reply(self, operation: str, request: Received, answer: Answer, serial: int) -> Whole | Stream:
        """Return the answer."""
        return replies.respond(request.json, answer, serial)

    def refuse(self, refusal: Refusal) -> Whole:
        """Return the error."""
        return errors.refuse(refusal)

    def error_event(self, refusal: Refusal) -> bytes:
        """Return the event that breaks off a stream."""
        return replies.frame({"type": "error", "sequence_number": 0, "error": errors.described(refusal)})


VENDOR = Responses()
