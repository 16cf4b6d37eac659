"""What can be asked of a chat model in Gemini's words: an answer, and what a prompt counts.

Each operation gives the translation in the other rooms a name, a path and the shape of ``Operation``.
"""

from typing import Any

import msgspec
from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Embed, Reply, Usage
from ailink_provider.dialects import Measured, Sent
from ailink_provider.dialects.conversation import Conversation, Rooms
from ailink_provider.dialects.gemini.fields import integer, members
from ailink_provider.dialects.gemini.meters import Meter, measure
from ailink_provider.dialects.gemini.names import path, resource
from ailink_provider.dialects.gemini.replies import read_reply, write_reply
from ailink_provider.dialects.gemini.requests import read_chat, write_chat
from ailink_provider.dialects.gemini.streams import ArrayWriter, Reader, Writer
from ailink_provider.dialects.whole import Whole
from ailink_provider.errors import Failure


class Generation(Conversation):
    """``generateContent``, and ``streamGenerateContent`` as server-sent events."""

    rooms = Rooms(read_chat, write_chat, read_reply, write_reply, Reader, Writer, Meter, measure)

    def path(self, model: str, stream: bool) -> str:
        """Return the path below the base URL."""
        return path(model, "streamGenerateContent?alt=sse" if stream else "generateContent")

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Leave the model to the path. Usage is reported in any case."""
        body.pop("model", None)


class ArrayGeneration(Generation):
    """The same for a client that asks for a stream without ``alt=sse``: it is one JSON array."""

    name = "chat_array"

    def path(self, model: str, stream: bool) -> str:
        """Return the path below the base URL."""
        return path(model, "streamGenerateContent" if stream else "generateContent")

    def writer(self, request: Chat, request_id: str = "") -> ArrayWriter:
        """Return a fresh writer."""
        return ArrayWriter(request, request_id)


class TokenCount(Whole):
    """``countTokens``: the reply's usage is the count. Nothing is produced and nothing billed."""

    name = "count_tokens"
    speaks: type[Chat] | type[Embed] = Chat

    def path(self, model: str, stream: bool) -> str:
        """Return the path below the base URL."""
        return path(model, "countTokens")

    def read_request(self, body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Chat:
        """Return the canonical request: of ``contents`` alone, or of a whole ``generateContentRequest``."""
        fields = members(body, "")
        return read_chat(fields.get("generateContentRequest", fields), model, stream=False)

    def write_request(self, request: Chat, facts: Facts) -> Sent:
        """Return the body; the whole request is counted, its instructions and tools too."""
        sent = write_chat(request, facts)
        sent.body = {"generateContentRequest": {"model": resource(request.model), **sent.body}}
        return sent

    def read_reply(self, body: dict[str, Any], sent: Sent) -> Reply:
        """Return a reply without choices, whose usage is the count."""
        try:
            fields = members(body, "")
            total = integer(fields.get("totalTokens", 0), "totalTokens")
            cached = integer(fields.get("cachedContentTokenCount", 0), "cachedContentTokenCount")
        except Failure as failure:
            raise Failure("upstream_failed", f"The upstream's answer cannot be read: {failure.message}") from failure
        return Reply(usage=Usage(input_tokens=total, cache_read_tokens=cached))

    def write_reply(self, reply: Reply, request: Chat) -> dict[str, Any]:
        """Return the client's body."""
        usage = reply.usage or Usage()
        cached = {"cachedContentTokenCount": usage.cache_read_tokens} if usage.cache_read_tokens else {}
        return {"totalTokens": usage.input_tokens, **cached}

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Name the model where the request to count names one, as it is named in the path."""
        body.pop("model", None)
        for key in ("generateContentRequest", "generate_content_request"):
            if key in body:
                try:
                    inner = msgspec.json.decode(body[key], type=dict[str, Raw])
                except (ValueError, RecursionError) as error:
                    raise Failure("invalid_request", f"'{key}' must be an object.", param=key) from error
                inner["model"] = Raw(msgspec.json.encode(resource(model)))
                body[key] = Raw(msgspec.json.encode(inner))

    def measure(self, body: bytes) -> Measured:
        """Counting costs nothing, so there is nothing to read."""
        return Measured(complete=True)
