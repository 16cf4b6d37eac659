"""Streams, read into canonical events and written from them. What a choice's deltas mean has a room of its own.

Reading takes what services that resemble OpenAI really send: usage on any chunk or after the finish, ``choices: null``,
an opening chunk without a reply. Writing is exact.
"""

from typing import Any

import msgspec
from msgspec import Struct

from ailink_provider.chat import (
    Chat,
    Event,
    Finish,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    PartDelta,
    PartEnd,
    PartStart,
    TokenLogprob,
    Usage,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.failures import UNREADABLE
from ailink_provider.dialects.halves import decode
from ailink_provider.dialects.members import as_count, as_object, as_objects, as_text
from ailink_provider.dialects.openai_chat import errors, replies
from ailink_provider.dialects.openai_chat.choices import ChoiceReader, ChoiceWriter, Emit
from ailink_provider.dialects.openai_chat.usage import read_usage, write_usage
from ailink_provider.errors import Failure
from ailink_provider.sse import Frame, Frames

DONE = b"[DONE]"


class _Content(Struct, forbid_unknown_fields=True, gc=False):
    """A delta of text alone; services differ in what they say is null."""

    content: str
    role: str | None = None
    reasoning_content: None = None
    reasoning: None = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None


class _Saying(Struct, gc=False):
    delta: _Content
    index: int = 0
    logprobs: None = None
    finish_reason: None = None
    error: None = None


class _Ordinary(Struct, gc=False):
    """What nearly every chunk of a stream is: more text, and nothing else."""

    choices: tuple[_Saying]
    usage: None = None
    error: None = None


_ordinary = msgspec.json.Decoder(_Ordinary).decode

_CHOICES_LIMIT = 128  # the API's own, of `n`
NOT_JSON = "The upstream sent an event that is not JSON."
CUT_SHORT = "The upstream's stream ended before it was complete."


def is_error(chunk: dict[str, Any]) -> bool:
    """Whether a chunk tells of an error: OpenAI's has one, that of vLLM and its like is one."""
    return bool(chunk.get("error")) or chunk.get("object") == "error"


class ChatReader:
    """Reads an upstream's stream of ``chat.completion.chunk``."""

    may_be_ordinary = True

    def __init__(self, sent: Sent) -> None:
        self._frames = Frames()
        self._names = sent.names
        self._choices: dict[int, ChoiceReader] = {}
        self._usage: Usage | None = None
        self._started = False
        self._ended = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that these bytes complete."""
        events: list[Event] = []
        if not self._ended:
            try:
                self._read(self._frames.feed(chunk), events.append)
            except Failure as failure:
                self._fail(failure, events.append)
        return events

    def close(self) -> list[Event]:
        """The upstream closed: return what was pending, and the error if the stream was not complete.

        Some services end without ``[DONE]``: a reply whose every choice has said why it ended is whole.
        """
        events: list[Event] = []
        if not self._ended:
            self._read(self._frames.close(), events.append)
        if not self._ended and self._choices and all(choice.finished for choice in self._choices.values()):
            self._end(events.append)
        if not self._ended:
            self._fail(Failure("upstream_failed", CUT_SHORT), events.append)
        return events

    def delta(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Return what a choice of a chunk adds, as a chat's delta."""
        return as_object(choice.get("delta"))

    def logprobs(self, choice: dict[str, Any]) -> Any:
        """Return a choice's log-probabilities in the chat's form."""
        return choice.get("logprobs")

    def _read(self, frames: list[Frame], emit: Emit) -> None:
        for frame in frames:
            if self._ended:
                return
            if frame.data is None or not (data := frame.data.strip()):
                continue
            if data == DONE:
                self._end(emit)
                return
            if self.may_be_ordinary and self._text(data, emit):
                continue
            try:
                chunk: Any = decode(data)
            except UNREADABLE:
                self._fail(Failure("upstream_failed", NOT_JSON), emit)
                return
            if frame.event == b"error" or is_error(as_object(chunk)):
                self._fail(errors.stream_error(chunk), emit)
            else:
                self._chunk(as_object(chunk), emit)

    def _text(self, data: bytes, emit: Emit) -> bool:
        """Take a chunk that says more of the text that is open; return whether it is one."""
        choice = self._choices.get(0)
        if choice is None or (index := choice.text) is None:
            return False
        try:
            said = _ordinary(data).choices[0]
        except UNREADABLE:
            return False  # another chunk: a closer look follows
        if said.index != 0:
            return False
        if said.delta.content:
            emit(PartDelta(index, said.delta.content))
        return True

    def _chunk(self, chunk: dict[str, Any], emit: Emit) -> None:
        choices = as_objects(chunk.get("choices"))
        usage = read_usage(chunk.get("usage"))
        if not self._started:
            if not (choices or usage or chunk.get("id")):
                return  # Azure opens with the verdict on the prompt, before there is a reply
            self._start(chunk, emit)
        for choice in choices:
            number = as_count(choice.get("index"))
            if choice.get("error") or number >= _CHOICES_LIMIT:
                self._fail(errors.stream_error(choice), emit)
                return
            reader = self._choices.get(number) or self._choices.setdefault(number, ChoiceReader(number, self._names))
            reader.read(choice, self.delta(choice), replies.read_logprobs(self.logprobs(choice)), emit)
        if usage is not None and usage != self._usage:
            self._usage = usage
            emit(MessageDelta(usage=usage))

    def _start(self, chunk: dict[str, Any], emit: Emit) -> None:
        self._started = True
        emit(MessageStart(as_text(chunk.get("id")), as_text(chunk.get("model")), as_count(chunk.get("created")),
                          service_tier=as_text(chunk.get("service_tier")) or None))

    def _end(self, emit: Emit) -> None:
        if not self._choices:
            self._fail(Failure("upstream_failed", "The upstream's stream held no reply."), emit)
            return
        for choice in self._choices.values():
            choice.finish(None, emit)
        self._ended = True
        emit(MessageEnd())

    def _fail(self, failure: Failure, emit: Emit) -> None:
        self._ended = True
        emit(MessageError(failure))


class ChatWriter:
    """Writes a client's stream of ``chat.completion.chunk``.

    A choice's finish is written when the reply is whole, so that nothing follows it whatever order an upstream had.
    """

    content_type = "text/event-stream"

    def __init__(self, chat: Chat, request_id: str = "") -> None:
        self._request_id = request_id
        self.model = chat.model
        self._legacy = chat.legacy_functions
        self._shows_usage = chat.include_usage
        self._usage: Usage | None = None
        self._choices: dict[int, ChoiceWriter] = {}
        self._head = b""
        self._tail = b'],"usage":null}\n\n' if chat.include_usage else b"]}\n\n"
        self._around: dict[int, tuple[bytes, bytes] | None] = {}

    def write(self, event: Event) -> bytes:
        """Return the bytes that this event becomes."""
        if isinstance(event, PartDelta):
            choice = self._choice(event.choice)
            if (event.annotation is None and event.logprobs is None and (around := self._around.get(event.choice))
                    and choice.says(event.index, event.text)):
                return around[0] + msgspec.json.encode(event.text) + around[1]
            return self._chunks(event.choice, choice.delta(event), event.logprobs)
        if isinstance(event, PartStart):
            if event.choice not in self._around:
                self._around[event.choice] = self._split(event.choice)
            return self._chunks(event.choice, self._choice(event.choice).start(event.index, event.part))
        if isinstance(event, PartEnd):
            return self._chunks(event.choice, self._choice(event.choice).end(event.index))
        if isinstance(event, MessageStart):
            return self._start(event)
        if isinstance(event, MessageDelta):
            self._usage = event.usage or self._usage
            if event.finish is not None:
                self._choice(event.choice).finish = event.finish
            return b""
        if isinstance(event, MessageError):
            return errors.write_stream_error(event.failure, self._request_id)
        return self._end()

    def opening(self, start: MessageStart) -> dict[str, Any]:
        """Return the members every chunk starts with."""
        model = start.model or self.model
        return replies.head(start.id, model, start.created, "chat.completion.chunk", "chatcmpl") | replies.tier(
            start.service_tier)

    def choice(self, number: int, delta: dict[str, Any], logprobs: list[TokenLogprob] | None,
               finish: dict[str, Any]) -> dict[str, Any] | None:
        """Return the choice of a chunk, None where there is nothing to say."""
        return {"index": number, "delta": delta,
                "logprobs": replies.write_logprobs(logprobs) if logprobs else None} | finish

    def _start(self, start: MessageStart) -> bytes:
        self._usage = start.usage
        self._head = b"data: " + msgspec.json.encode(self.opening(start))[:-1] + b',"choices":['
        return self._chunks(0, self._choice(0).introduce({}))

    def _choice(self, number: int) -> ChoiceWriter:
        return self._choices.get(number) or self._choices.setdefault(number, ChoiceWriter(self._legacy))

    def _chunks(self, number: int, deltas: list[dict[str, Any]], logprobs: list[TokenLogprob] | None = None) -> bytes:
        if logprobs and not deltas:
            deltas = [{}]
        written = b""
        for delta in deltas:
            written += self._chunk(self.choice(number, delta, logprobs, {"finish_reason": None}))
            logprobs = None
        return written

    def _split(self, number: int) -> tuple[bytes, bytes] | None:
        """Return what stands before and after the text in a chunk of text alone, None where there is no such chunk."""
        chunk = self._chunk(self.choice(number, {"content": ""}, None, {"finish_reason": None}))
        before, found, after = chunk.partition(b'"content":""')
        return (before + b'"content":', after) if found else None

    def _chunk(self, choice: dict[str, Any] | None) -> bytes:
        return b"" if choice is None else self._head + msgspec.json.encode(choice) + self._tail

    def _end(self) -> bytes:
        written = b""
        for number, choice in sorted(self._choices.items()):
            written += self._chunks(number, choice.last())
            finish = replies.write_finish(choice.finish or Finish("stop"), self._legacy)
            written += self._chunk(self.choice(number, {}, None, finish))
        if self._shows_usage and self._usage is not None:
            usage = msgspec.json.encode(write_usage(self._usage))
            written += self._head + b'],"usage":' + usage + b"}\n\n"
        return written + b"data: [DONE]\n\n"
