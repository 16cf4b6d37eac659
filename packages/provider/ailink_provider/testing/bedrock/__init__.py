"""Amazon Bedrock as the mock plays it: Converse and ConverseStream, with a Bedrock API key.

``MockUpstream(keys={"bedrock": None})`` takes any credential, such as a signature of Amazon's, unread.
"""

import re
from collections.abc import Iterator

from ailink_provider.testing.bedrock import errors, replies, rules
from ailink_provider.testing.bedrock.models import model
from ailink_provider.testing.script import Answer
from ailink_provider.testing.server import Received
from ailink_provider.testing.vendor import Breach, Refusal, Stream, Whole

_PATH = re.compile(r"/model/(?P<model>.+)/(?P<method>converse|converse-stream)")


class Bedrock:
    """The vendor."""

    name = "bedrock"
    credentials: tuple[tuple[str, str], ...] = (("authorization", "Bearer "),)
    errors = errors.STATUSES

    def operation(self, method: str, path: str) -> str | None:
        """Return "converse" or "converse-stream", "method" where another one than POST is used."""
        match = _PATH.fullmatch(path)
        if match is None:
            return None
        return match["method"] if method == "POST" else "method"

    def breaches(self, operation: str, request: Received) -> Iterator[Breach]:
        """Yield the rules that the request breaks."""
        name = self.model(request)
        return rules.breaches(request.target, name, model(name), request.json)

    def model(self, request: Received) -> str:
        """Return the model that the path names."""
        match = _PATH.fullmatch(request.path)
        return match["model"] if match else ""

    def reply(self, operation: str, request: Received, answer: Answer, serial: int) -> Whole | Stream:
        """Return the answer."""
        name = self.model(request)
        streamed = operation == "converse-stream"
        return replies.converse(name, model(name), request.json, answer, serial, streamed=streamed)

    def refuse(self, refusal: Refusal) -> Whole:
        """Return the error."""
        return errors.refuse(refusal)

    def error_event(self, refusal: Refusal) -> bytes:
        """Return the frame that breaks off a stream."""
        return errors.error_event(refusal)


VENDOR = Bedrock()
