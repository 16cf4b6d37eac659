"""Canonical events, written as the service's stream for a client."""

from typing import Any

import msgspec

from ailink_provider.chat import (
    Chat,
    Event,
    Media,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    Native,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from ailink_provider.dialects.bedrock_converse.citations import write_citation
from ailink_provider.dialects.bedrock_converse.errors import error_frame
from ailink_provider.dialects.bedrock_converse.eventstream import CONTENT_TYPE, encode
from ailink_provider.dialects.bedrock_converse.replies import tool_use, write_block, write_ending, write_tier
from ailink_provider.dialects.bedrock_converse.usage import write_usage
from ailink_provider.dialects.bedrock_converse.words import NAME
from ailink_provider.dialects.blocks import BlockWriter, Track
from ailink_provider.dialects.seals import seal

# Blocks that begin with a member of their own, each with the members of it that come as a delta instead.
_ANNOUNCED = {"toolUse": ("input",), "toolResult": ("content",), "image": ("source",)}


class Writer(BlockWriter):
    """Writes one stream."""

    content_type = CONTENT_TYPE

    def __init__(self, request: Chat, request_id: str = "") -> None:
        super().__init__()
        self._request_id = request_id
        self._begun = False
        self._called = False
        self._usage: Usage | None = None
        self._tier: str | None = None

    def write(self, event: Event) -> bytes:
        """Return the bytes that this event becomes. Choices after the first have no place here."""
        match event:
            case PartDelta(choice=0):
                return self._delta(event)
            case PartStart(choice=0):
                return self._begin() + self._start(event)
            case PartEnd(choice=0):
                return self._end(event)
            case MessageStart():
                self._usage, self._tier = event.usage, event.service_tier
                return self._begin()
            case MessageDelta():
                # The reason and the usage go out together, once both can be known.
                if event.choice == 0 and event.finish is not None:
                    self._finish = event.finish
                self._usage, self._tier = event.usage or self._usage, event.service_tier or self._tier
                return b""
            case MessageEnd():
                return self._close_message()
            case MessageError():
                return error_frame(event.failure, self._request_id)
            case _:
                return b""

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return _event("messageStart", role="assistant")

    def _close_message(self) -> bytes:
        written = self._begin() + self._end_all()
        written += _event("messageStop", **write_ending(self._finish, self._called))
        return written + _event("metadata", usage=write_usage(self._usage), metrics={"latencyMs": 0},
                                **write_tier(self._tier))

    # --- parts -----------------------------------------------------------------------------------

    def _opening(self, track: Track) -> bytes:
        part = track.part
        match part:
            case ToolCall():
                self._called = True
                self._in_block = True
                start = _event("contentBlockStart", start={"toolUse": tool_use(part)}, contentBlockIndex=self._blocks)
                return start + self._content(track, PartDelta(0, part.arguments))
            case Thinking(redacted=None):
                return self._content(track, PartDelta(0, part.text, signature=part.signature))
            case Text():
                notes = [self._content(track, PartDelta(0, annotation=note)) for note in part.annotations or ()]
                return self._content(track, PartDelta(0, part.text)) + b"".join(notes)
            case Refusal():
                return self._content(track, PartDelta(0, part.text))
            case Thinking() | Native() | Media():
                return self._whole(write_block(part))
            case _:
                return b""

    # --- blocks ----------------------------------------------------------------------------------

    def _content(self, track: Track, event: PartDelta) -> bytes:
        """Write a delta of the open part. A block of text or thought begins with its first words: none is empty."""
        part = track.part
        written = b""
        if isinstance(part, ToolCall) and event.text:
            track.filled = True
            written += self._block_delta(toolUse={"input": event.text})
        elif isinstance(part, Thinking):
            if event.text:
                written += self._block_delta(reasoningContent={"text": event.text})
            if event.signature:
                signature = seal(event.signature, part.signed_by, NAME)
                written += self._block_delta(reasoningContent={"signature": signature})
        elif isinstance(part, Text | Refusal):
            if event.text:
                written += self._block_delta(text=event.text)
            citation = write_citation(event.annotation) if event.annotation is not None else None
            track.citations += [citation] if citation is not None else []
            while self._in_block and track.citations:
                written += self._block_delta(citation=track.citations.pop(0))
        return written

    def _whole(self, block: dict[str, Any] | None) -> bytes:
        """Write a block that is known from its beginning; what streams have no event for is left out."""
        kind, value = next(iter((block or {}).items()), ("", None))
        if kind == "reasoningContent":
            return self._block_delta(reasoningContent=value)
        if kind not in _ANNOUNCED or not isinstance(value, dict):
            return b""
        late = {key: value[key] for key in _ANNOUNCED[kind] if key in value}
        start = {key: item for key, item in value.items() if key not in late}
        self._in_block = True
        written = _event("contentBlockStart", start={kind: start}, contentBlockIndex=self._blocks)
        if kind == "toolUse":
            return written + self._block_delta(toolUse={"input": msgspec.json.encode(late.get("input", {})).decode()})
        return written + self._block_delta(**{kind: late.get("content", []) if kind == "toolResult" else late})

    def _block_delta(self, **delta: Any) -> bytes:
        self._in_block = True
        return _event("contentBlockDelta", delta=delta, contentBlockIndex=self._blocks)

    def _stop(self) -> bytes:
        return _event("contentBlockStop", contentBlockIndex=self._blocks)


def _event(name: str, **payload: Any) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return encode(headers, msgspec.json.encode(payload))
