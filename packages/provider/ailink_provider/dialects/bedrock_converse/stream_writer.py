"""Canonical events, written as the service's stream for a client.

Clients take the blocks of a stream one after the other, while canonical parts may be open side by side: what belongs to
a part that is not the open one waits, but text gives way, since text can go on in a block of its own.
"""

from typing import Any

import msgspec
from msgspec import Struct, field

from ailink_provider.chat import (
    Event,
    Finish,
    Media,
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
from ailink_provider.dialects.bedrock_converse.citations import write_citation
from ailink_provider.dialects.bedrock_converse.errors import error_frame
from ailink_provider.dialects.bedrock_converse.eventstream import CONTENT_TYPE, encode
from ailink_provider.dialects.bedrock_converse.replies import tool_use, write_block, write_ending, write_tier
from ailink_provider.dialects.bedrock_converse.usage import write_usage
from ailink_provider.dialects.bedrock_converse.words import seal

# Blocks that begin with a member of their own, each with the members of it that come as a delta instead.
_ANNOUNCED = {"toolUse": ("input",), "toolResult": ("content",), "image": ("source",)}


class _Track(Struct):
    """A part: what it is, what waits to be written of it, citations that wait for the text they are about, whether
    writing has begun, whether anything was written, whether it has ended."""

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

    content_type = CONTENT_TYPE

    def __init__(self) -> None:
        self._tracks: dict[int, _Track] = {}
        self._open: int | None = None
        self._blocks = 0
        self._begun = False
        self._in_block = False
        self._called = False
        self._finish: Finish | None = None
        self._usage: Usage | None = None
        self._tier: str | None = None

    def write(self, event: Event) -> bytes:
        """Return the bytes that this event becomes. Choices after the first have no place here."""
        match event:
            case PartDelta(choice=0) | PartStart(choice=0) if self._finish is None:
                return self._more(event)
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
                return error_frame(event.failure)
            case _:
                return b""

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return _event("messageStart", role="assistant")

    def _close_message(self) -> bytes:
        written = self._begin() + self._close()
        for track in self._tracks.values():
            track.ended = True
        written += self._resume() + _event("messageStop", **write_ending(self._finish, self._called))
        return written + _event("metadata", usage=write_usage(self._usage), metrics={"latencyMs": 0},
                                **write_tier(self._tier))

    # --- parts -----------------------------------------------------------------------------------

    def _more(self, event: PartDelta | PartStart) -> bytes:
        if isinstance(event, PartStart):
            self._tracks[event.index] = _Track(event.part)
        track = self._tracks.get(event.index)
        if track is None:
            return b""
        if isinstance(event, PartDelta):
            if self._open == event.index:
                return self._content(track, event)
            track.waiting.append(event)
        written = self._begin()
        if self._open is not None and self._tracks[self._open].yields:
            written += self._close()
        return written if self._open is not None else written + self._resume()

    def _end(self, event: PartEnd) -> bytes:
        track = self._tracks.get(event.index)
        if track is None:
            return b""
        track.ended = True
        return self._close() + self._resume() if self._open == event.index else b""

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

    def _content(self, track: _Track, event: PartDelta) -> bytes:
        """Write a delta of the open part. A block of text or thought begins with its first words: none is empty."""
        part = track.part
        written = b""
        if isinstance(part, ToolCall) and event.text:
            track.filled = True
            written += self._delta(toolUse={"input": event.text})
        elif isinstance(part, Thinking):
            if event.text:
                written += self._delta(reasoningContent={"text": event.text})
            if event.signature:
                written += self._delta(reasoningContent={"signature": seal(event.signature, part.signed_by)})
        elif isinstance(part, Text | Refusal):
            if event.text:
                written += self._delta(text=event.text)
            citation = write_citation(event.annotation) if event.annotation is not None else None
            track.citations += [citation] if citation is not None else []
            while self._in_block and track.citations:
                written += self._delta(citation=track.citations.pop(0))
        return written

    def _whole(self, block: dict[str, Any] | None) -> bytes:
        """Write a block that is known from its beginning; what streams have no event for is left out."""
        kind, value = next(iter((block or {}).items()), ("", None))
        if kind == "reasoningContent":
            return self._delta(reasoningContent=value)
        if kind not in _ANNOUNCED or not isinstance(value, dict):
            return b""
        late = {key: value[key] for key in _ANNOUNCED[kind] if key in value}
        start = {key: item for key, item in value.items() if key not in late}
        self._in_block = True
        written = _event("contentBlockStart", start={kind: start}, contentBlockIndex=self._blocks)
        if kind == "toolUse":
            return written + self._delta(toolUse={"input": msgspec.json.encode(late.get("input", {})).decode()})
        return written + self._delta(**{kind: late.get("content", []) if kind == "toolResult" else late})

    def _delta(self, **delta: Any) -> bytes:
        self._in_block = True
        return _event("contentBlockDelta", delta=delta, contentBlockIndex=self._blocks)

    def _close(self) -> bytes:
        """Close the open part's block."""
        if self._open is None:
            return b""
        track = self._tracks[self._open]
        self._open = None
        if not self._in_block:
            return b""
        # A call without arguments is a call with none, not with unreadable ones.
        empty = isinstance(track.part, ToolCall) and not track.filled
        written = self._delta(toolUse={"input": "{}"}) if empty else b""
        written += _event("contentBlockStop", contentBlockIndex=self._blocks)
        self._in_block = False
        self._blocks += 1
        return written


def _event(name: str, **payload: Any) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return encode(headers, msgspec.json.encode(payload))
