"""What can be asked in this dialect: a message, and how many tokens a request for one would have."""

from functools import partial
from typing import Any

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Reply
from ailink_provider.dialects import Measured, Sent
from ailink_provider.dialects.anthropic_messages import meter, replies, requests, stream_writer, streams
from ailink_provider.dialects.conversation import Conversation, Rooms
from ailink_provider.dialects.whole import Whole


class Messages(Conversation):
    """``POST /v1/messages``: whole or streamed."""

    rooms = Rooms(partial(requests.read_request, counting=False), requests.write_request, replies.read_reply,
                  replies.write_reply, streams.Reader, stream_writer.Writer, meter.Meter, meter.measure)

    def path(self, model: str, stream: bool) -> str:
        """Return the path; model and streaming are in the body."""
        return "/v1/messages"


class CountTokens(Whole, Messages):
    """``POST /v1/messages/count_tokens``: never streamed, never billed. The reply's usage holds the count."""

    name = "count_tokens"

    def path(self, model: str, stream: bool) -> str:
        """Return the path; the model is in the body."""
        return "/v1/messages/count_tokens"

    def read_request(self, body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Chat:
        """Return the canonical request, which needs no limit here. Raises ``Failure`` (``invalid_request``)."""
        return requests.read_request(body, model, False, counting=True)

    def write_request(self, request: Chat, facts: Facts) -> Sent:
        """Return the body, without what does not bear on the count."""
        return requests.write_count(request, facts)

    def read_reply(self, body: dict[str, Any], sent: Sent) -> Reply:
        """Return a reply without choices. Raises ``Failure`` (``upstream_failed``) if there is no count."""
        return replies.read_count(body)

    def write_reply(self, reply: Reply, request: Chat) -> dict[str, Any]:
        """Return the client's body."""
        return {"input_tokens": reply.usage.input_tokens if reply.usage is not None else 0}

    def measure(self, body: bytes) -> Measured:
        """Return nothing to bill: counting is free."""
        return Measured(complete=True)
