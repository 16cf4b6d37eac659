"""One choice of a stream: its deltas, to the canonical events of its parts and from them.

Knows nothing of frames and chunks. Takes what services that resemble OpenAI really send: calls without index or id, one
index for several calls, deltas that interleave, thoughts under three names.
"""

from collections.abc import Callable
from typing import Any

from ailink_provider.chat import (
    Event,
    Finish,
    Media,
    MessageDelta,
    Native,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
)
from ailink_provider.dialects.members import as_object, as_objects, as_text
from ailink_provider.dialects.openai_chat import reasoning, replies
from ailink_provider.dialects.openai_chat.messages import read_signature, write_signature
from ailink_provider.dialects.openai_chat.words import NAME

Emit = Callable[[Event], None]

_STREAMED_AUDIO = ("data", "transcript")  # the members of `audio` that come in pieces


class _Call:
    """A tool call that is being streamed; ``index`` is that of its part, None until its name is known."""

    def __init__(self, identifier: str) -> None:
        self.id = identifier
        self.index: int | None = None
        self.name = ""
        self.pending = ""
        self.custom = False


class ChoiceReader:
    """Reads the deltas of one choice. One text, thought or refusal is open at a time, and any number of calls."""

    def __init__(self, number: int, names: dict[str, str]) -> None:
        self._number = number
        self._names = names
        self._count = 0
        self._said: Text | Thinking | Refusal | None = None
        self._said_index = 0
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._audio: dict[str, list[Any]] = {}
        self._finished = False

    @property
    def finished(self) -> bool:
        """Whether the upstream has said why the choice ended."""
        return self._finished

    @property
    def text(self) -> int | None:
        """The index of the text that is open, None if none is."""
        return self._said_index if type(self._said) is Text and not self._finished else None

    def read(self, choice: dict[str, Any], delta: dict[str, Any], logprobs: list[TokenLogprob] | None,
             emit: Emit) -> None:
        """Emit the events of what one chunk adds to the choice."""
        if self._finished:
            return  # nothing that follows a finish is part of the reply
        again = not reasoning.bare(delta)
        for thought in reasoning.pieces(delta):
            self._think(thought, again, emit)
        for part in replies.spoken(delta):
            self._say(part, emit)
        if logprobs:
            emit(PartDelta(self._said_index, logprobs=logprobs, choice=self._number))
        for annotation in replies.read_annotations(delta):
            self._say(Text(""), emit)
            emit(PartDelta(self._said_index, annotation=annotation, choice=self._number))
        for image in replies.images(delta):
            self._whole(image, emit)
        for key, value in as_object(delta.get("audio")).items():
            self._audio.setdefault(key, []).append(value)
        for call in as_objects(delta.get("tool_calls")):
            self._call(call, emit)
        if (legacy := as_object(delta.get("function_call"))):
            self._call({"index": 0, "function": legacy}, emit)
        finish = replies.read_finish(choice, bool(self._calls))
        if finish is not None:
            self.finish(finish, emit)

    def finish(self, finish: Finish | None, emit: Emit) -> None:
        """Close what is open and say why the choice ended; None if the upstream did not."""
        if self._finished:
            return
        self._finished = True
        self._hush(emit)
        if self._audio:
            audio = {key: "".join(map(as_text, values)) if key in _STREAMED_AUDIO else values[-1]
                     for key, values in self._audio.items()}
            self._whole(Native(NAME, {"audio": audio}), emit)
        for call in self._calls:
            emit(PartEnd(self._begin(call, emit), self._number))
        emit(MessageDelta(finish or Finish("tool_calls" if self._calls else "stop"), choice=self._number))

    def _open(self, part: Part, emit: Emit) -> int:
        index, self._count = self._count, self._count + 1
        emit(PartStart(index, part, self._number))
        return index

    def _whole(self, part: Media | Native | Thinking, emit: Emit) -> None:
        self._hush(emit)
        emit(PartEnd(self._open(part, emit), self._number))

    def _hush(self, emit: Emit) -> None:
        if self._said is not None:
            emit(PartEnd(self._said_index, self._number))
            self._said = None

    def _say(self, part: Text | Thinking | Refusal, emit: Emit) -> None:
        if type(self._said) is not type(part):
            self._hush(emit)
            self._said = part
            opening = Thinking(signed_by=part.signed_by) if isinstance(part, Thinking) else type(part)("")
            self._said_index = self._open(opening, emit)
        if part.text:
            emit(PartDelta(self._said_index, part.text, choice=self._number))

    def _think(self, thought: Thinking, again: bool, emit: Emit) -> None:
        """Take a piece of a thought; ``again``: a block without bare text beside it, which may have come before."""
        if thought.redacted is not None:
            self._whole(thought, emit)
            return
        said = self._said
        if isinstance(said, Thinking) and said.signed_by == NAME != thought.signed_by:
            if again:
                return  # the same text has come as bare text already
            self._hush(emit)
        self._say(thought, emit)
        if thought.signature is not None:
            emit(PartDelta(self._said_index, signature=thought.signature, choice=self._number))
            self._hush(emit)

    def _call(self, piece: dict[str, Any], emit: Emit) -> None:
        self._hush(emit)
        identifier, name, arguments = replies.call_pieces(piece)
        call = self._which(piece.get("index"), identifier, name)
        call.custom = call.custom or replies.is_custom(piece)
        call.name = call.name or name
        if call.index is None:
            call.pending += arguments
            if call.name:
                self._begin(call, emit, *read_signature(piece))
        elif arguments:
            emit(PartDelta(call.index, arguments, choice=self._number))

    def _which(self, index: Any, identifier: str, name: str) -> _Call:
        """Return the call a piece belongs to. By index, unless another id and a name tell of a new call under an old
        index; without one by id; without either it is new if it has a name, else it goes on with the last."""
        call: _Call | None
        if isinstance(index, int):
            call = self._by_index.get(index)
            if call is not None and call.name and name and identifier not in ("", call.id):
                call = None
        elif identifier:
            call = next((known for known in self._calls if known.id == identifier), None)
        else:
            call = None if name or not self._calls else self._calls[-1]
        if call is None:
            call = _Call(identifier or replies.new_call_id())
            self._calls.append(call)
            if isinstance(index, int):
                self._by_index[index] = call
        elif call.index is None and identifier:
            call.id = identifier
        return call

    def _begin(self, call: _Call, emit: Emit, signature: str | None = None, signed_by: str | None = None) -> int:
        """Open a call's part if it is not open yet; return its index."""
        if call.index is None:
            name = self._names.get(call.name, call.name)
            call.index = self._open(ToolCall(call.id, name, "", call.custom, signature, signed_by), emit)
            if call.pending:
                emit(PartDelta(call.index, call.pending, choice=self._number))
        return call.index


class _Part:
    """A part that is being written. ``ordinal`` is its place in the delta's list, where it has one; ``start`` is where
    a text begins; ``empty`` says that no text of it was written yet."""

    def __init__(self, part: Part, start: int) -> None:
        self.part = part
        self.ordinal: int | None = None
        self.start = start
        self.empty = True


class ChoiceWriter:
    """One choice of a stream that is being written: the events of its parts, to deltas in the API's form."""

    def __init__(self, legacy: bool) -> None:
        self.finish: Finish | None = None
        self._legacy = legacy
        self._parts: dict[int, _Part] = {}
        self._counts = {"tool_calls": 0, "thinking_blocks": 0, "images": 0}
        self._length = 0
        self._citations: list[dict[str, Any]] = []
        self._refused = False
        self._introduced = False

    def introduce(self, delta: dict[str, Any]) -> list[dict[str, Any]]:
        """Return ``delta``, if it says anything, after the one that names the speaker, if that was not written yet."""
        opening = [] if self._introduced else [{"role": "assistant", "content": "", "refusal": None}]
        self._introduced = True
        return [*opening, delta] if delta else opening

    def says(self, index: int, text: str) -> bool:
        """Whether a part's delta is no more than this content, which is counted then."""
        opened = self._parts.get(index)
        if opened is None or type(opened.part) is not Text or not text:
            return False
        opened.empty = False
        self._length += len(text)
        return True

    def start(self, index: int, part: Part) -> list[dict[str, Any]]:
        """Return the deltas that open a part, with all that is known of it."""
        opened = self._parts[index] = _Part(part, self._length)
        said: dict[str, Any] = {}
        if isinstance(part, Text | Refusal):
            said = self._more(opened, part.text)
            for annotation in (part.annotations or ()) if isinstance(part, Text) else ():
                self._cite(opened, annotation)
        elif isinstance(part, ToolCall):
            said = self._open_call(opened, part)
        elif isinstance(part, Thinking):
            said = self._thought(opened, part, part.text, part.signature)
        elif isinstance(part, Media) and part.kind == "image":
            said = self._entry(opened, "images", replies.write_image(part))
        elif isinstance(part, Native) and part.dialect == NAME:
            said = part.value
        return self.introduce(said)

    def delta(self, event: PartDelta) -> list[dict[str, Any]]:
        """Return the deltas for more of a part."""
        opened = self._parts.get(event.index)
        if opened is None:
            return self.introduce({})
        if isinstance(opened.part, Thinking):
            return self.introduce(self._thought(opened, opened.part, event.text, event.signature))
        said = self.introduce(self._more(opened, event.text))
        if event.annotation is not None:
            self._cite(opened, event.annotation)
        if event.signature is not None and isinstance(opened.part, ToolCall) and not self._legacy:
            signed = ToolCall("", "", signature=event.signature, signed_by=opened.part.signed_by)
            said += self.introduce(self._entry(opened, "tool_calls", write_signature(signed)))
        return said

    def end(self, index: int) -> list[dict[str, Any]]:
        """Return the deltas that complete a part: a call without arguments gets its ``{}``."""
        opened = self._parts.get(index)
        if opened is None or not isinstance(opened.part, ToolCall) or opened.part.custom or not opened.empty:
            return []
        return self.introduce(self._more(opened, "{}"))

    def last(self) -> list[dict[str, Any]]:
        """Return the deltas that come before the finish."""
        said = [delta for index in self._parts for delta in self.end(index)]
        if self._citations:
            said += self.introduce({"annotations": self._citations})
        if self.finish is not None and self.finish.explanation and not self._refused:
            said += self.introduce({"refusal": self.finish.explanation})
        return said

    def _more(self, opened: _Part, text: str) -> dict[str, Any]:
        if not text:
            return {}
        opened.empty = False
        part = opened.part
        if isinstance(part, Text):
            self._length += len(text)
            return {"content": text}
        if isinstance(part, Refusal):
            self._refused = True
            return {"refusal": text}
        if not isinstance(part, ToolCall):
            return {}
        if self._legacy:
            return {} if opened.ordinal else {"function_call": {"arguments": text}}
        member = {"custom": {"input": text}} if part.custom else {"function": {"arguments": text}}
        return self._entry(opened, "tool_calls", member)

    def _open_call(self, opened: _Part, call: ToolCall) -> dict[str, Any]:
        opened.empty = not call.arguments
        kind, key = ("custom", "input") if call.custom else ("function", "arguments")
        inner = {"name": call.name, key: call.arguments}
        entry = self._entry(opened, "tool_calls", {"id": call.id, "type": kind, kind: inner} | write_signature(call))
        if self._legacy:
            return {} if opened.ordinal else {"function_call": inner}
        return entry

    def _thought(self, opened: _Part, part: Thinking, text: str, signature: str | None) -> dict[str, Any]:
        """Return a thought's delta: bare text for all and, for the model that will want it back, a piece of its block.
        Only the first piece names the signer: OpenAI's SDKs join all other strings of an entry, by its index."""
        delta: dict[str, Any] = {"reasoning_content": text} if text else {}
        if not (signature or part.redacted) and (not text or part.signed_by in (None, NAME)):
            return delta
        piece = Thinking(text, signature, part.redacted, part.signed_by if opened.ordinal is None else None)
        return delta | self._entry(opened, "thinking_blocks", reasoning.block(piece))

    def _entry(self, opened: _Part, key: str, members: dict[str, Any]) -> dict[str, Any]:
        """Return a delta with one entry of the list ``key``, which keeps the ordinal that its part got first."""
        if not members:
            return {}
        if opened.ordinal is None:
            opened.ordinal, self._counts[key] = self._counts[key], self._counts[key] + 1
        return {key: [{"index": opened.ordinal} | members]}

    def _cite(self, opened: _Part, annotation: dict[str, Any]) -> None:
        self._citations += replies.citation(annotation, opened.start, self._length)
