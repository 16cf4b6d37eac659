"""What can be asked in this dialect: a message, and how many tokens a request for one would have."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Embed, Reply
from ailink_provider.dialects import Measured, Meter, Sent, StreamReader, StreamWriter
from ailink_provider.dialects.anthropic_messages import meter, replies, requests, stream_writer, streams
from ailink_provider.errors import Failure


class Messages:
    """``POST /v1/messages``: whole or streamed."""

    name = "chat"
    speaks: type[Chat] | type[Embed] = Chat

    def path(self, model: str, stream: bool) -> str:
        """Return the path; model and streaming are in the body."""
        return "/v1/messages"

    def read_request(self, body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Chat:
        """Return the canonical request. Raises ``Failure`` (``invalid_request``)."""
        return requests.read_request(body, model, stream, counting=False)

    def write_request(self, request: Chat, facts: Facts) -> Sent:
        """Return the body for a model with these facts. Raises ``Failure`` for what must not be dropped."""
        return requests.write_request(request, facts)

    def read_reply(self, body: dict[str, Any], sent: Sent) -> Reply:
        """Return the canonical reply. Raises ``Failure`` (``upstream_failed``) if it is not one."""
        return replies.read_reply(body, sent)

    def write_reply(self, reply: Reply, request: Chat) -> dict[str, Any]:
        """Return the client's body."""
        return replies.write_reply(reply, request)

    def reader(self, sent: Sent) -> StreamReader:
        """Return a fresh reader of the answer to ``sent``."""
        return streams.Reader(sent)

    def writer(self, request: Chat) -> StreamWriter:
        """Return a fresh writer for the client that asked ``request``."""
        return stream_writer.Writer(request)

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Set the model. Usage is always reported in this dialect."""
        body["model"] = Raw(msgspec.json.encode(model))

    def meter(self, body: Mapping[str, Raw]) -> Meter:
        """Return a fresh meter; nothing a client can ask changes what is measured."""
        return meter.Meter()

    def measure(self, body: bytes) -> Measured:
        """Read usage off a whole reply that passes through."""
        return meter.measure(body)


class CountTokens(Messages):
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

    def reader(self, sent: Sent) -> StreamReader:
        """Raise ``Failure``: a count is not streamed."""
        raise _not_streamed()

    def writer(self, request: Chat) -> StreamWriter:
        """Raise ``Failure``: a count is not streamed."""
        raise _not_streamed()

    def meter(self, body: Mapping[str, Raw]) -> Meter:
        """Raise ``Failure``: a count is not streamed."""
        raise _not_streamed()

    def measure(self, body: bytes) -> Measured:
        """Return nothing to bill: counting is free."""
        return Measured(complete=True)


def _not_streamed() -> Failure:
    return Failure("invalid_request", "Counting tokens does not stream: leave out 'stream'.", param="stream")
