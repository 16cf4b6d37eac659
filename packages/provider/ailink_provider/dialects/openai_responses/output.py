"""Items of a client's output while they are made: each yields the events of the stream that make it, and in the end is
the item of the whole reply. Events have no ``sequence_number`` yet. Nothing here knows the reply around them.
"""

from collections.abc import Iterator
from typing import Any

from ailink_provider.chat import PartDelta, Refusal, Text, Thinking, TokenLogprob, ToolCall
from ailink_provider.dialects.members import as_text
from ailink_provider.dialects.openai_responses import figures, reasoning
from ailink_provider.dialects.openai_responses.draft import call_id
from ailink_provider.dialects.openai_responses.errors import frame
from ailink_provider.dialects.openai_responses.fields import NAME

Events = Iterator[dict[str, Any]]

# The vendor's own citations; of any other vendor's only those of web pages can be shown.
_CITATIONS = ("url_citation", "file_citation", "container_file_citation", "file_path")


class Item:
    """An item at its place in the output. As it stands, one that is whole from the start and only shown."""

    def __init__(self, index: int, value: dict[str, Any]) -> None:
        self.value = value
        self.done = False
        self._index = index

    def start(self) -> Events:
        """Yield what opens the item."""
        yield {"type": "response.output_item.added", "output_index": self._index, "item": dict(self.value)}

    def more(self, event: PartDelta) -> Events:
        """Yield what adds to the item."""
        yield from ()

    def end(self) -> Events:
        """Yield what completes the item."""
        self.done = True
        yield {"type": "response.output_item.done", "output_index": self._index, "item": self.value}

    def _event(self, kind: str, **members: Any) -> dict[str, Any]:
        return {"type": f"response.{kind}", "item_id": self.value["id"], "output_index": self._index, **members}


class Call(Item):
    """A call of one of the client's tools; a function's arguments are never empty text."""

    def __init__(self, index: int, identifier: str, call: ToolCall) -> None:
        kind, self._member = ("custom_tool_call", "input") if call.custom else ("function_call", "arguments")
        self._deltas = f"{kind}_input" if call.custom else f"{kind}_arguments"
        extra = call.extra.value if call.extra is not None and call.extra.dialect == NAME else {}
        status = {} if call.custom else {"status": "in_progress"}
        self._fragments: list[str] = []
        super().__init__(index, {"id": identifier, "type": kind, "call_id": call_id(call.id), "name": call.name,
                                 self._member: ""} | status | extra)

    def more(self, event: PartDelta) -> Events:
        """Yield a delta of the arguments."""
        if event.text:
            self._fragments.append(event.text)
            yield self._event(f"{self._deltas}.delta", delta=event.text)

    def end(self) -> Events:
        """Yield the whole arguments and the item."""
        if not self._fragments and self._member == "arguments":
            yield from self.more(PartDelta(0, "{}"))
        text = self.value[self._member] = "".join(self._fragments)
        self.value |= {"status": "completed"} if "status" in self.value else {}
        yield self._event(f"{self._deltas}.done", **{self._member: text})
        yield from super().end()


class Thought(Item):
    """What a model thought, shown as a summary of one part, with what proves it."""

    def __init__(self, index: int, identifier: str, thought: Thinking) -> None:
        self._thought = Thinking("", thought.signature, thought.redacted, thought.signed_by)
        super().__init__(index, {"id": identifier, "type": "reasoning", "summary": []})

    def more(self, event: PartDelta) -> Events:
        """Yield a delta of the summary."""
        thought = self._thought
        thought.signature = event.signature or thought.signature
        if event.text:
            if not thought.text:
                yield self._event("reasoning_summary_part.added", summary_index=0, part=_summary(""))
            thought.text += event.text
            yield self._event("reasoning_summary_text.delta", summary_index=0, delta=event.text)

    def end(self) -> Events:
        """Yield the whole summary and the item."""
        text = self._thought.text
        if text:
            yield self._event("reasoning_summary_text.done", summary_index=0, text=text)
            yield self._event("reasoning_summary_part.done", summary_index=0, part=_summary(text))
        self.value = reasoning.show(self._thought, self.value["id"])
        yield from super().end()


def _summary(text: str) -> dict[str, Any]:
    return {"type": "summary_text", "text": text}


class Speech(Item):
    """A message: texts and refusals, each a part of its content. It ends when it is sealed and its parts have ended."""

    def __init__(self, index: int, identifier: str) -> None:
        self._parts: list[Said] = []
        self._sealed = False
        super().__init__(index, {"id": identifier, "type": "message", "status": "in_progress", "role": "assistant",
                                 "content": []})

    def open(self, part: Text | Refusal) -> "tuple[Said, dict[str, Any]]":
        """Return a new part of the content, and the event that opens it."""
        opened = Said(len(self._parts), part)
        before, _, after = frame(self._delta(opened, "", [])).partition(b'"delta":""')
        opened.around = before + b'"delta":', after.removesuffix(b"}\n\n") + b',"sequence_number":'
        self._parts.append(opened)
        return opened, self._event("content_part.added", content_index=opened.index, part=opened.value())

    def say(self, part: "Said", event: PartDelta) -> Events:
        """Yield what adds to a part."""
        logprobs = event.logprobs or []
        part.logprobs += logprobs
        if not part.open:
            self.value["content"] = [known.value() for known in self._parts]  # what was only counted comes late
            return
        if event.text or logprobs:
            part.fragments.append(event.text)
            yield self._delta(part, event.text, logprobs)
        if event.annotation is not None and (citation := part.cite(event.annotation)) is not None:
            yield self._event("output_text.annotation.added", content_index=part.index,
                              annotation_index=len(part.annotations) - 1, annotation=citation)

    def _delta(self, part: "Said", text: str, logprobs: list[TokenLogprob]) -> dict[str, Any]:
        shown = {"logprobs": figures.write_logprobs(logprobs)} if part.kind == "output_text" else {}
        return self._event(f"{part.kind}.delta", content_index=part.index, delta=text, **shown)

    def close(self, part: "Said") -> Events:
        """Yield what completes a part, and the message if it was the last to be waited for."""
        if part.open:
            part.open = False
            value = part.value()
            whole = {key: value[key] for key in ("text", "refusal", "logprobs") if key in value}
            yield self._event(f"{part.kind}.done", content_index=part.index, **whole)
            yield self._event("content_part.done", content_index=part.index, part=value)
            yield from self._end_if_said()

    def seal(self) -> Events:
        """Yield what completes the message, if nothing more of it is to come."""
        self._sealed = True
        yield from self._end_if_said()

    def end(self) -> Events:
        """Yield what completes the parts that are open, and the message."""
        for part in self._parts:
            yield from self.close(part)
        yield from self.seal()

    def _end_if_said(self) -> Events:
        if self._sealed and not self.done and not any(part.open for part in self._parts):
            self.value |= {"status": "completed", "content": [part.value() for part in self._parts]}
            yield from super().end()


class Said:
    """A text or a refusal that is being said. ``around`` is what its deltas on the wire have before the text and behind
    it."""

    around: tuple[bytes, bytes]

    def __init__(self, index: int, part: Text | Refusal) -> None:
        self.index = index
        self.kind = "output_text" if isinstance(part, Text) else "refusal"
        self.fragments: list[str] = []
        self.annotations: list[dict[str, Any]] = []
        self.logprobs: list[TokenLogprob] = []
        self.open = True

    def value(self) -> dict[str, Any]:
        """Return the part as it stands."""
        text = "".join(self.fragments)
        if self.kind == "refusal":
            return {"type": self.kind, "refusal": text}
        return {"type": self.kind, "text": text, "annotations": [_bounded(note, text) for note in self.annotations],
                "logprobs": figures.write_logprobs(self.logprobs)}

    def cite(self, annotation: dict[str, Any]) -> dict[str, Any] | None:
        """Add a citation and return it; None for one that has no form here."""
        if annotation.get("type") not in _CITATIONS:
            url = as_text(annotation.get("url"))
            if not url:
                return None
            annotation = {"type": "url_citation", "url": url, "title": as_text(annotation.get("title")) or url}
        self.annotations.append(annotation)
        return _bounded(annotation, "".join(self.fragments))


def _bounded(annotation: dict[str, Any], text: str) -> dict[str, Any]:
    # Where a vendor does not say on which words a citation stands, it stands on all of its text.
    if annotation["type"] != "url_citation":
        return annotation
    return {"start_index": 0, "end_index": len(text), "title": annotation.get("url")} | annotation
