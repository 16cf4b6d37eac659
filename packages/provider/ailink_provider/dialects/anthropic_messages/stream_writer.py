"""Canonical events, written as the vendor's stream for a client.

Blocks of this wire follow one another, while canonical parts may be open side by side: what belongs to a part that is
not the open one waits, but text gives way, since text can go on in a block of its own.
"""

from typing import Any

import msgspec
from msgspec import Struct, field

from ailink_provider.chat import (
    Chat,
    Event,
    Finish,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    Native,
    Part,
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
from ailink_provider.dialects.anthropic_messages.words import NAME, seal
from ailink_provider.estimate import estimate_chat


class _Track(Struct):
    """A part: what it is, what waits to be written of it, citations that wait for the text they stand on, whether a
    block of it is open and whether it has ended."""

    part: Part
    waiting: list[PartDelta] = field(default_factory=list)
    citations: list[dict[str, Any]] = field(default_factory=list)
    started: bool = False
    filled: bool = False
    ended: bool = False

    @property
    def yields(self) -> bool:
        """Whether its block may be closed before its end: not a call's, nor a thought's that is yet to be signed."""
        part = self.part
        return isinstance(part, Text | Refusal) or (isinstance(part, Thinking) and part.signed_by is None)


class Writer:
    """Writes one stream."""

    content_type = "text/event-stream; charset=utf-8"

    def __init__(self, request: Chat) -> None:
        self._request = request
        self._tracks: dict[int, _Track] = {}
        self._open: int | None = None
        self._blocks = 0
        self._begun = False
        self._in_block = False
        self._text_head: bytes | None = None  # how a delta of the open block begins, if that is one of text
        self._called = False
        self._finish: Finish | None = None
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
                return error_event(event.failure)
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
        written += self._close()
        for track in self._tracks.values():
            track.ended = True
        written += self._resume()
        delta = write_ending(self._finish, self._called)
        return (written + _event("message_delta", delta=delta, usage=write_delta_usage(self._usage))
                + _event("message_stop"))

    # --- parts -----------------------------------------------------------------------------------

    def _start(self, event: PartStart) -> bytes:
        if self._finish is not None:
            return b""
        self._tracks[event.index] = _Track(event.part)
        return self._give_way() + self._resume()

    def _delta(self, event: PartDelta) -> bytes:
        track = self._tracks.get(event.index)
        if track is None or self._finish is not None:
            return b""
        if self._open == event.index:
            return self._content(track, event)
        track.waiting.append(event)
        return self._give_way() + self._resume()

    def _end(self, event: PartEnd) -> bytes:
        track = self._tracks.get(event.index)
        if track is None:
            return b""
        track.ended = True
        if self._open != event.index:
            return b""
        return self._close() + self._resume()

    def _give_way(self) -> bytes:
        """Close the open block if it is one that can go on later in another."""
        if self._open is not None and self._tracks[self._open].yields:
            return self._close()
        return b""

    def _resume(self) -> bytes:
        """Write what waits, part by part, until one is found that has not ended: that one stays open."""
        written = b""
        for index, track in self._tracks.items():
            if self._open is None and (track.waiting or not track.started):
                written += self._enter(index, track)
                written += self._close() if track.ended else b""
        return written

    def _enter(self, index: int, track: _Track) -> bytes:
        """Make a part the open one and write what is known of it."""
        self._open = index
        first, track.started = not track.started, True
        waiting, track.waiting = track.waiting, []
        written = self._opening(track) if first else b""
        return written + b"".join([self._content(track, event) for event in waiting])

    def _opening(self, track: _Track) -> bytes:
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

    def _content(self, track: _Track, event: PartDelta) -> bytes:
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
                    "signature_delta", signature=seal(event.signature, part.signed_by))
        elif isinstance(part, Text | Refusal):
            if event.text:
                written += self._ensure(track) + self._block_delta("text_delta", text=event.text)
            citation = write_citation(event.annotation) if event.annotation is not None else None
            track.citations += [citation] if citation is not None else []
            while self._in_block and track.citations:
                written += self._block_delta("citations_delta", citation=track.citations.pop(0))
        return written

    def _ensure(self, track: _Track) -> bytes:
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

    def _close(self) -> bytes:
        """Close the open part's block."""
        if self._open is None:
            return b""
        track = self._tracks[self._open]
        self._open = self._text_head = None
        if not self._in_block:
            return b""
        # A call without arguments is a call with none, not with unreadable ones.
        written = self._block_delta("input_json_delta", partial_json="{}") if (
            isinstance(track.part, ToolCall) and not track.filled) else b""
        written += _event("content_block_stop", index=self._blocks)
        self._in_block = False
        self._blocks += 1
        return written


def _event(name: str, **data: Any) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode({"type": name, **data}) + b"\n\n"
