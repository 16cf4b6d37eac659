"""The operation "responses": ``POST /responses``. Joins the rooms of this dialect, translates nothing itself."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Embed, Reply
from ailink_provider.dialects import Measured, Sent
from ailink_provider.dialects.openai_responses import meter, replies, requests
from ailink_provider.dialects.openai_responses.reasoning import restore
from ailink_provider.dialects.openai_responses.streams import Reader, Writer


class Responses:
    """Asks for the next turn of a conversation. See ``Operation`` for what each method promises."""

    name = "responses"
    speaks: type[Chat] | type[Embed] = Chat

    def path(self, model: str, stream: bool) -> str:
        """Return the path below the base URL."""
        return "/responses"

    def read_request(self, body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Chat:
        """Return the canonical chat. Raises ``Failure`` on anything malformed."""
        return requests.read_request(body, model, stream)

    def write_request(self, request: Chat, facts: Facts) -> Sent:
        """Return the body for a model with these facts."""
        return requests.write_request(request, facts)

    def read_reply(self, body: dict[str, Any], sent: Sent) -> Reply:
        """Return the canonical reply."""
        return replies.read_reply(body, sent)

    def write_reply(self, reply: Reply, request: Chat) -> dict[str, Any]:
        """Return the client's body."""
        return replies.write_reply(reply, request)

    def reader(self, sent: Sent) -> Reader:
        """Return a fresh reader of a stream."""
        return Reader(sent)

    def writer(self, request: Chat) -> Writer:
        """Return a fresh writer of a stream."""
        return Writer(request)

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Set the model, and open the thoughts that this gateway had sealed, in place. Usage is always reported."""
        body["model"] = Raw(msgspec.json.encode(model))
        if (restored := restore(body)) is not None:
            body["input"] = restored

    def meter(self, body: Mapping[str, Raw]) -> meter.StreamMeter:
        """Return a fresh meter; nothing a client can ask changes what is measured."""
        return meter.StreamMeter()

    def measure(self, body: bytes) -> Measured:
        """Read usage off a whole reply."""
        return meter.measure(body)
