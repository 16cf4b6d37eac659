"""What can be asked in this dialect: a reply, whole (``Converse``) or streamed (``ConverseStream``)."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Embed, Reply
from ailink_provider.dialects import Measured, Meter, Sent, StreamReader, StreamWriter
from ailink_provider.dialects.bedrock_converse import meter, replies, requests, stream_writer, streams


class Converse:
    """``POST /model/{id}/converse`` and ``/converse-stream``."""

    name = "chat"
    speaks: type[Chat] | type[Embed] = Chat

    def path(self, model: str, stream: bool) -> str:
        """Return the path. The colons and slashes of an id or ARN are encoded, as the service's own SDKs do."""
        return f"/model/{quote(model, safe='')}/{'converse-stream' if stream else 'converse'}"

    def read_request(self, body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Chat:
        """Return the canonical request. Raises ``Failure`` (``invalid_request``)."""
        return requests.read_request(body, model, stream)

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
        return stream_writer.Writer()

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Leave the model to the path. Usage is always reported in this dialect."""
        body.pop("modelId", None)

    def meter(self, body: Mapping[str, Raw]) -> Meter:
        """Return a fresh meter; nothing a client can ask changes what is measured."""
        return meter.Meter()

    def measure(self, body: bytes) -> Measured:
        """Read usage off a whole reply that passes through."""
        return meter.measure(body)
