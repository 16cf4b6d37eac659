"""A reply for the client, made of canonical events: the response around the output, and which part is which item.

Streams and whole replies are made by the same steps, so they agree: a whole reply is what a stream of it ends with.
"""

import re
import time
from hashlib import sha256
from typing import Any
from uuid import uuid4

from ailink_provider.catalog import Facts
from ailink_provider.chat import (
    Chat,
    Event,
    Finish,
    Media,
    MessageDelta,
    MessageEnd,
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
from ailink_provider.dialects.identifiers import conform
from ailink_provider.dialects.openai_responses import figures
from ailink_provider.dialects.openai_responses.draft import Draft
from ailink_provider.dialects.openai_responses.fields import NAME
from ailink_provider.dialects.openai_responses.output import Call, Events, Item, Said, Speech, Thought
from ailink_provider.dialects.openai_responses.settings import write_settings
from ailink_provider.dialects.openai_responses.tools import write_tools

_ID = re.compile(r"[A-Za-z0-9_-]")
_ID_LIMIT = 64
_TIERS = {"standard": "default"}
_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter", "pause": None}

# What a reply says of its request where the request said nothing.
_UNASKED: dict[str, Any] = {
    "background": False, "conversation": None, "error": None, "incomplete_details": None, "instructions": None,
    "max_output_tokens": None, "metadata": {}, "parallel_tool_calls": True, "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None}, "store": False, "temperature": None,
    "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": None,
    "truncation": "disabled", "user": None, "usage": None,
}


class Answer:
    """The reply to one request. Feed it the events; ``response`` is the reply as it stands. Choices after the first
    have no place in it."""

    def __init__(self, chat: Chat) -> None:
        self.response: dict[str, Any] = _UNASKED | _asked(chat) | {
            "model": chat.model, "status": "in_progress", "output": []}
        self._begun = False
        self._items: list[Item] = []
        self._of_part: dict[int, Item] = {}
        self._words: dict[int, tuple[Speech, Said] | Text | Refusal] = {}
        self._speech: Speech | None = None
        self._finish = Finish("stop")
        self._usage: Usage | None = None

    def take(self, event: Event) -> Events:
        """Yield the events of the client's stream that ``event`` becomes, without their ``sequence_number``."""
        if not self._begun:
            yield from self._begin(event if isinstance(event, MessageStart) else MessageStart())
        match event:
            case PartDelta(choice=0):
                yield from self._more(event)
            case PartStart(choice=0):
                yield from self._start(event.index, event.part)
            case PartEnd(choice=0):
                yield from self._close(event.index)
            case MessageDelta():
                self._count(event)
            case MessageEnd():
                yield from self._end()

    def says(self, event: PartDelta) -> tuple[bytes, bytes] | None:
        """Take a delta that is no more than the text of what is being said; return what its event on the wire has
        before the text, and after it up to its number. None for any other delta."""
        words = self._words.get(event.index) if event.text and event.choice == 0 else None
        if not isinstance(words, tuple) or not words[1].open:
            return None
        words[1].fragments.append(event.text)
        return words[1].around

    def partial(self) -> dict[str, Any]:
        """Return the reply as far as it came, with the items that are whole."""
        if not self._begun:
            list(self._begin(MessageStart()))
        return self.response | self._produced()

    # --- the response --------------------------------------------------------------------------------

    def _begin(self, start: MessageStart) -> Events:
        self._begun = True
        self.response = {"id": _response_id(start.id), "object": "response",
                         "created_at": start.created or int(time.time())} | self.response
        if start.model:
            self.response["model"] = start.model
        self._count(MessageDelta(usage=start.usage, service_tier=start.service_tier))
        yield {"type": "response.created", "response": dict(self.response)}
        yield {"type": "response.in_progress", "response": dict(self.response)}

    def _count(self, event: MessageDelta) -> None:
        if event.finish is not None and event.choice == 0:
            self._finish = event.finish
        self._usage = event.usage or self._usage
        if event.service_tier is not None:
            self.response["service_tier"] = _TIERS.get(event.service_tier, event.service_tier)

    def _end(self) -> Events:
        refused = any(isinstance(words, tuple) and words[1].kind == "refusal" for words in self._words.values())
        if self._finish.explanation and not refused:
            refused = True
            yield from self._start(-1, Refusal(self._finish.explanation))
        for item in self._items:
            if not item.done:
                yield from item.end()
        status = "completed"
        if self._finish.reason in _INCOMPLETE and not (refused and self._finish.reason == "content_filter"):
            status = "incomplete"
            self.response["incomplete_details"] = {"reason": _INCOMPLETE[self._finish.reason]}
        self.response |= {"status": status} | self._produced()
        yield {"type": f"response.{status}", "response": self.response}

    def _produced(self) -> dict[str, Any]:
        return {"output": [item.value for item in self._items if item.done],
                "usage": figures.write_usage(self._usage) if self._usage is not None else None}

    # --- the parts -----------------------------------------------------------------------------------

    def _start(self, index: int, part: Part) -> Events:
        if isinstance(part, Text | Refusal):
            self._words[index] = part  # its message begins with its first word, so that none is empty
            yield from self._more(PartDelta(index, part.text))
            for annotation in (part.annotations or ()) if isinstance(part, Text) else ():
                yield from self._more(PartDelta(index, annotation=annotation))
            return
        if isinstance(part, ToolCall) and part.signature is not None:
            # A call has no place for a signature here; a thought before it has.
            proof = self._thought(Thinking(signature=part.signature, signed_by=part.signed_by))
            yield from self._add(proof)
            yield from proof.end()
        item = self._item(part)
        if item is None:
            return
        self._of_part[index] = item
        yield from self._add(item)
        if isinstance(part, Thinking | ToolCall):
            text = part.text if isinstance(part, Thinking) else part.arguments
            yield from item.more(PartDelta(index, text))

    def _add(self, item: Item) -> Events:
        self._items.append(item)
        if self._speech is not None:
            yield from self._speech.seal()
            self._speech = None
        yield from item.start()

    def _more(self, event: PartDelta) -> Events:
        words = self._words.get(event.index)
        if words is None:
            item = self._of_part.get(event.index)
            if item is not None and not item.done:
                yield from item.more(event)
            elif event.logprobs:
                yield from self._count_late(event)
            return
        if not isinstance(words, tuple):
            if not (event.text or event.annotation or event.logprobs):
                return
            if self._speech is None:
                speech = Speech(len(self._items), self._identifier("msg"))
                yield from self._add(speech)
                self._speech = speech
            said, opening = self._speech.open(words)
            yield opening
            words = self._words[event.index] = self._speech, said
        yield from words[0].say(words[1], event)

    def _count_late(self, event: PartDelta) -> Events:
        """Log-probabilities of a whole reply come after its parts, with the last: they are those of what was said."""
        for words in reversed(self._words.values()):
            if isinstance(words, tuple) and words[1].kind == "output_text":
                yield from words[0].say(words[1], PartDelta(event.index, logprobs=event.logprobs))
                return

    def _close(self, index: int) -> Events:
        words, item = self._words.get(index), self._of_part.get(index)
        if isinstance(words, tuple):
            yield from words[0].close(words[1])
        elif item is not None and not item.done:
            yield from item.end()

    def _item(self, part: Part) -> Item | None:
        """Return the item of a part, None if there is none for it."""
        place = len(self._items)
        if isinstance(part, Thinking):
            return self._thought(part)
        if isinstance(part, ToolCall):
            return Call(place, self._identifier("ctc" if part.custom else "fc"), part)
        if isinstance(part, Media) and part.kind == "image" and part.data is not None:
            return Item(place, {"id": self._identifier("ig"), "type": "image_generation_call", "status": "completed",
                                "result": part.data})
        if isinstance(part, Native) and part.dialect == NAME:
            return Item(place, dict(part.value))
        return None

    def _thought(self, thought: Thinking) -> Thought:
        return Thought(len(self._items), self._identifier("rs"), thought)

    def _identifier(self, prefix: str) -> str:
        """Return the id of the next item: the same whenever the same reply is written."""
        seed = f"{self.response['id']}/{len(self._items)}"
        return f"{prefix}_{sha256(seed.encode()).hexdigest()[:48]}"


def _response_id(identifier: str) -> str:
    if not identifier:
        return f"resp_{uuid4().hex}"
    fitted = conform(identifier, _ID, _ID_LIMIT)
    return fitted if fitted.startswith("resp_") else f"resp_{fitted}"


def _asked(chat: Chat) -> dict[str, Any]:
    """Return what a reply repeats of its request."""
    draft = Draft(chat, Facts(thinking="adaptive"))
    asked = write_settings(draft) | write_tools(draft)
    asked.pop("include", None)
    if "reasoning" in asked:
        asked["reasoning"] = _UNASKED["reasoning"] | asked["reasoning"]
    if chat.user is not None:
        asked["user"] = chat.user
    first = chat.messages[0] if chat.messages else None
    if first is not None and first.role == "system" and len(first.parts) == 1 and isinstance(first.parts[0], Text):
        asked["instructions"] = first.parts[0].text
    return asked
