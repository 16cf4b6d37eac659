"""The operation "chat": ``POST /chat/completions``. Joins the rooms of this dialect, translates nothing itself."""

from collections.abc import Mapping

import msgspec
from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.dialects.conversation import Conversation, Rooms
from ailink_provider.dialects.failures import UNREADABLE
from ailink_provider.dialects.members import invalid
from ailink_provider.dialects.openai_chat import meter, replies, requests
from ailink_provider.dialects.openai_chat.streams import ChatReader, ChatWriter


class ChatCompletions(Conversation):
    """Asks for the next message of a conversation. See ``Operation`` for what each method promises."""

    rooms = Rooms(requests.read_request, requests.write_request, replies.read_reply, replies.write_reply,
                  ChatReader, ChatWriter, meter.StreamMeter, meter.measure)

    def path(self, model: str, stream: bool) -> str:
        """Return the path below the base URL."""
        return "/chat/completions"

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Set the model, call the token limit as the model wants it, and have usage reported, in place."""
        amend_stream(body, model)
        if facts.completion_limit and "max_tokens" in body and not _given(body, "max_completion_tokens"):
            body["max_completion_tokens"] = body.pop("max_tokens")

    def meter(self, body: Mapping[str, Raw], request_id: str = "") -> meter.StreamMeter:
        """Return a fresh meter for the client that sent ``body``."""
        return meter.StreamMeter(request_id, hides_usage=not meter.asks_for_usage(body))


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
