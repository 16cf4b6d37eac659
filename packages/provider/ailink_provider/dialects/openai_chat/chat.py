"""The operation "chat": ``POST /chat/completions``. Joins the rooms of this dialect, translates nothing itself."""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Embed, Reply
from ailink_provider.dialects import Measured, Sent
from ailink_provider.dialects.openai_chat import meter, replies, requests
from ailink_provider.dialects.openai_chat.fields import UNREADABLE, invalid
from ailink_provider.dialects.openai_chat.streams import ChatReader, ChatWriter


class ChatCompletions:
    """Asks for the next message of a conversation. See ``Operation`` for what each method promises."""

    name = "chat"
    speaks: type[Chat] | type[Embed] = Chat

    def path(self, model: str, stream: bool) -> str:
        """Return the path below the base URL."""
        return "/chat/completions"

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

    def reader(self, sent: Sent) -> ChatReader:
        """Return a fresh reader of a stream."""
        return ChatReader(sent)

    def writer(self, request: Chat) -> ChatWriter:
        """Return a fresh writer of a stream."""
        return ChatWriter(request)

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Set the model, call the token limit as the model wants it, and have usage reported, in place."""
        amend_stream(body, model)
        if facts.completion_limit and "max_tokens" in body and not _given(body, "max_completion_tokens"):
            body["max_completion_tokens"] = body.pop("max_tokens")

    def meter(self, body: Mapping[str, Raw]) -> meter.StreamMeter:
        """Return a fresh meter for the client that sent ``body``."""
        return meter.StreamMeter(hides_usage=not meter.asks_for_usage(body))

    def measure(self, body: bytes) -> Measured:
        """Read usage off a whole reply."""
        return meter.measure(body)


def amend_stream(body: dict[str, Raw], model: str) -> None:
    """Set the model of a request and, if it asks for a stream, that usage is reported; nothing else is touched."""
    body["model"] = Raw(msgspec.json.encode(model))
    if bytes(body.get("stream", b"")).strip() != b"true":
        return
    try:
        options = msgspec.json.decode(body.get("stream_options", b"null"), type=dict[str, Raw] | None)
    except UNREADABLE:
        raise invalid("stream_options", "must be an object") from None
    body["stream_options"] = Raw(msgspec.json.encode((options or {}) | {"include_usage": Raw(b"true")}))


def _given(body: Mapping[str, Raw], name: str) -> bool:
    return bytes(body.get(name, b"null")).strip() != b"null"
