"""Canonical events, written as the vendor's stream for a client."""

from typing import Any

import msgspec

from ailink_provider.chat import (
    Chat,
    Event,
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
from ailink_provider.dialects.anthropic_messages.errors import error_event
from ailink_provider.dialects.anthropic_messages.replies import (
    new_id,
    thinking_block,
    tool_use_block,
    write_citation,
    write_ending,
)
from ailink_provider.dialects.anthropic_messages.usage import write_delta_usage, write_usage
from ailink_provider.dialects.anthropic_messages.words import NAME
from ailink_provider.dialects.blocks import BlockWriter, Track
from ailink_provider.dialects.seals import seal
from ailink_provider.estimate import estimate_chat


class Writer(BlockWriter):
    """Writes one stream."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, request: Chat, request_id: str = "") -> None:
        super().__init__()
        self._request_id = request_id
        self._request = request
        self._begun = False
        self._text_head: bytes | None = None  # how a delta of the open block begins, if that is one of text
        self._called = False
        self._usage: Usage | None = None

    def write(self, event: Event) -> bytes:
        """Return the bytes that this event becomes. Choices after the first have no place here."""
        if (self._text_head is not None and type(event) is PartDelta and event.index == self._open and event.text
                and event.annotation is None and event.choice == 0):
            return self._text_head + msgspec.json.encode(event.text) + b"}}\n\n"
        match event:
            case PartDelta(choice=0):
                return self._delta(event)
            case PartStart(choice=0):
                return self._start(event)
            case PartEnd(choice=0):
                return self._end(event)
            case MessageStart():
                return self._message_start(event)
            case MessageDelta():
                # The reason and the usage go out together, once both can be known.
                if event.choice == 0 and event.finish is not None:
                    self._finish = event.finish
                    self._text_head = None
                self._usage = event.usage or self._usage
                return b""
            case MessageEnd():
                return self._message_end()
            case MessageError():
                return error_event(event.failure, self._request_id)
            case _:
                return b""

    def _message_start(self, event: MessageStart) -> bytes:
        self._begun = True
        # This wire tells the input before the output; upstreams that do not are believed later, in the message_delta.
        self._usage = event.usage or Usage(input_tokens=estimate_chat(self._request))
        return _event("message_start", message={
            "id": event.id or new_id(), "type": "message", "role": "assistant",
            "model": event.model or self._request.model, "content": [], "stop_reason": None, "stop_sequence": None,
            "usage": write_usage(self._usage, event.service_tier),
        })

    def _message_end(self) -> bytes:
        written = b"" if self._begun else self._message_start(MessageStart())
        written += self._end_all()
        delta = write_ending(self._finish, self._called)
        return (written + _event("message_delta", delta=delta, usage=write_delta_usage(self._usage))
                + _event("message_stop"))

    # --- parts -----------------------------------------------------------------------------------

    def _opening(self, track: Track) -> bytes:
        part = track.part
        if isinstance(part, ToolCall):
            self._called = True
            return self._begin(tool_use_block(part)) + self._content(track, PartDelta(0, part.arguments))
        if isinstance(part, Native):
            return self._native(part)
        if isinstance(part, Thinking):
            if part.redacted is not None:
                return self._begin(thinking_block(part) or {})
            return self._content(track, PartDelta(0, part.text, signature=part.signature))
        if isinstance(part, Text | Refusal):
            notes = part.annotations if isinstance(part, Text) else None
            return self._content(track, PartDelta(0, part.text)) + b"".join(
                [self._content(track, PartDelta(0, annotation=note)) for note in notes or ()])
        return b""

    def _native(self, part: Native) -> bytes:
        if part.dialect != NAME:
            return b""
        # The vendor streams the input of its own tools as it does that of the client's.
        if str(part.value.get("type")).endswith("tool_use") and isinstance(part.value.get("input"), dict):
            return self._begin({**part.value, "input": {}}) + self._block_delta(
                "input_json_delta", partial_json=msgspec.json.encode(part.value["input"]).decode())
        return self._begin(part.value)

    # --- blocks ----------------------------------------------------------------------------------

    def _content(self, track: Track, event: PartDelta) -> bytes:
        """Write a delta of the open part. A block of text or thought begins with its first content: none is empty."""
        part = track.part
        written = b""
        if isinstance(part, ToolCall):
            if event.text:
                track.filled = True
                written += self._block_delta("input_json_delta", partial_json=event.text)
        elif isinstance(part, Thinking):
            if event.text:
                written += self._ensure(track) + self._block_delta("thinking_delta", thinking=event.text)
            if event.signature:
                written += self._ensure(track) + self._block_delta(
                    "signature_delta", signature=seal(event.signature, part.signed_by, NAME))
        elif isinstance(part, Text | Refusal):
            if event.text:
                written += self._ensure(track) + self._block_delta("text_delta", text=event.text)
            citation = write_citation(event.annotation) if event.annotation is not None else None
            track.citations += [citation] if citation is not None else []
            while self._in_block and track.citations:
                written += self._block_delta("citations_delta", citation=track.citations.pop(0))
        return written

    def _ensure(self, track: Track) -> bytes:
        if self._in_block:
            return b""
        if isinstance(track.part, Thinking):
            return self._begin({"type": "thinking", "thinking": "", "signature": ""})
        written = self._begin({"type": "text", "text": ""})
        self._text_head = self._block_delta("text_delta", text="").removesuffix(b'""}}\n\n')
        return written

    def _begin(self, block: dict[str, Any]) -> bytes:
        self._in_block = True
        return _event("content_block_start", index=self._blocks, content_block=block)

    def _block_delta(self, kind: str, **content: Any) -> bytes:
        return _event("content_block_delta", index=self._blocks, delta={"type": kind, **content})

    def _stop(self) -> bytes:
        self._text_head = None
        return _event("content_block_stop", index=self._blocks)


def _event(name: str, **data: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode({"type": name, **data}) + b"\n\n"
