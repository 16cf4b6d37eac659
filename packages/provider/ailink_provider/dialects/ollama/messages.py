"""Messages, read and written: who said what, which calls were made and what the tools answered. Knows no other field.

Ollama matches results to calls by the tool's name and their order, so results are written in the order of the calls
and always with the name. Media that a tool returned, which few models take from one, follow in a ``user`` message.
"""

from itertools import groupby
from typing import Any

from ailink_provider.chat import (
    Media,
    Message,
    Native,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from ailink_provider.dialects.fields import leftover
from ailink_provider.dialects.members import invalid, json_text, one_object
from ailink_provider.dialects.ollama.calls import arguments_of, is_placed, placed_id
from ailink_provider.dialects.ollama.draft import Draft
from ailink_provider.dialects.ollama.fields import NAME, optional, required
from ailink_provider.dialects.ollama.images import read_images, write_document, write_image

_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "user"}
_ROLE_WORDS: dict[Role, str] = {"developer": "system"}

_READ = ("role", "content", "images", "thinking", "tool_calls", "tool_name", "tool_call_id")
_READ_OF_CALL = ("id", "type", "function")


def read_messages(value: Any) -> list[Message]:
    """Return the conversation. Raises ``Failure`` for anything that is not one."""
    if not isinstance(value, list) or not value:
        raise invalid("messages", "must be a list of at least one message")
    reader = _Reader()
    return [reader.message(one_object(message, f"messages[{index}]"), index) for index, message in enumerate(value)]


class _Reader:
    """Reads messages in order; remembers the calls that wait for a result, since a result may name its tool alone."""

    def __init__(self) -> None:
        self._waiting: list[ToolCall] = []

    def message(self, source: dict[str, Any], index: int) -> Message:
        where = f"messages[{index}]"
        role = required(source, "role", str, where).lower()
        if role not in _ROLES:
            raise invalid(f"{where}.role", f"must be one of {', '.join(_ROLES)}")
        content = optional(source, "content", str, where)
        said: list[Part] = [*read_images(source, where), *([Text(content)] if content else [])]
        extra = leftover(source, _READ, NAME)
        if role == "tool":
            return Message("user", [self._result(source, index, said, extra)])
        if role == "user":
            self._waiting.clear()
        thinking = optional(source, "thinking", str, where)
        thoughts: list[Part] = [Thinking(thinking, signed_by=NAME)] if thinking else []
        calls = optional(source, "tool_calls", list, where) or ()
        made = [self._call(call, index, ordinal) for ordinal, call in enumerate(calls)]
        return Message(_ROLES[role], [*thoughts, *said, *made, *([extra] if extra is not None else [])])

    def _call(self, entry: Any, index: int, ordinal: int) -> ToolCall:
        where = f"messages[{index}].tool_calls[{ordinal}]"
        source = one_object(entry, where)
        function, place = required(source, "function", dict, where), f"{where}.function"
        arguments = json_text(optional(function, "arguments", dict, place) or {}, f"{place}.arguments")
        call = ToolCall(
            optional(source, "id", str, where) or placed_id(index, ordinal),
            required(function, "name", str, place),
            arguments,
            extra=leftover(source, _READ_OF_CALL, NAME),
        )
        self._waiting.append(call)
        return call

    def _result(self, source: dict[str, Any], index: int, said: list[Part], extra: Native | None) -> ToolResult:
        where = f"messages[{index}]"
        identifier = optional(source, "tool_call_id", str, where)
        name = optional(source, "tool_name", str, where)
        call = next((call for call in self._waiting if _answers(call, identifier, name)), None)
        if call is not None:
            self._waiting.remove(call)
            identifier, name = call.id, name or call.name
        return ToolResult(identifier or placed_id(index, 0), said, name=name, extra=extra)


def _answers(call: ToolCall, identifier: str | None, name: str | None) -> bool:
    """Whether a result with this id and name may be the call's: without an id the name decides, without both any."""
    return call.id == identifier if identifier else name in (None, "", call.name)


def write_messages(draft: Draft) -> list[dict[str, Any]]:
    """Return ``messages`` for the model. Raises ``Failure`` for arguments that are no object, and foreign media."""
    writer = _Writer(draft)
    written: list[dict[str, Any]] = []
    # At home every message stays where the client put it; abroad a turn of the user's is put into Ollama's order.
    runs = groupby(enumerate(draft.chat.messages), key=lambda item: (item[1].role, draft.own and item[0]))
    for (role, _), run in runs:
        turn = list(run)
        if role == "user":
            written += writer.user_turn(turn)
        else:
            written += [value for index, message in turn if (value := writer.message(message, index)) is not None]
    return written


class _Writer:
    """Writes messages in order; remembers the calls, for the names and the order of their results."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._called: dict[str, tuple[int, str]] = {}

    def user_turn(self, turn: list[tuple[int, Message]]) -> list[dict[str, Any]]:
        """Return a run of user messages: results first, then the images they brought, then the rest."""
        results: list[tuple[int, dict[str, Any]]] = []
        attached: list[str] = []
        spoken: list[dict[str, Any]] = []
        for index, message in turn:
            for place, part in enumerate(message.parts):
                if isinstance(part, ToolResult):
                    results.append(self._result(part, f"{self._draft.at(index)}.content[{place}]", attached))
            if not message.parts or not all(isinstance(part, ToolResult) for part in message.parts):
                value = self.message(message, index)
                spoken += [value] if value is not None else []
        results.sort(key=lambda result: result[0])
        pictures = [{"role": "user", "content": "", "images": attached}] if attached else []
        return [value for _, value in results] + pictures + spoken

    def message(self, message: Message, index: int) -> dict[str, Any] | None:
        """Return a message without its results, None if it held only what another model thought."""
        where = self._draft.at(index)
        if message.name:
            self._draft.lose(f"{where}.name", "no one is named in a conversation")
        if message.parts and all(isinstance(part, Thinking) and part.signed_by != NAME for part in message.parts):
            return None
        images: list[str] = []
        value: dict[str, Any] = {
            "role": _ROLE_WORDS.get(message.role, message.role),
            "content": self._said(message.parts, f"{where}.content", images),
        }
        thoughts = [part.text for part in message.parts if isinstance(part, Thinking) and part.signed_by == NAME]
        if thinking := "".join(thoughts):
            value["thinking"] = thinking
        if images:
            value["images"] = images
        calls = [
            self._call(part, f"{where}.content[{place}]")
            for place, part in enumerate(message.parts)
            if isinstance(part, ToolCall)
        ]
        if calls:
            value["tool_calls"] = calls
        for part in message.parts:
            if isinstance(part, Native) and part.dialect == NAME:
                value |= part.value
        # Nothing said is nothing to a model, but an empty system prompt would replace the one that it comes with.
        empty = value.keys() == {"role", "content"} and not value["content"] and value["role"] != "user"
        return None if empty and not self._draft.own else value

    def _said(self, parts: list[Part], where: str, images: list[str]) -> str:
        """Return the text of a message or a result; its images are put into ``images``."""
        words: list[str] = []
        for place, part in enumerate(parts):
            here = f"{where}[{place}]"
            if isinstance(part, Text | Refusal):
                words.append(part.text)
            elif isinstance(part, Media):
                self._draft.members(part.extra, here)
                text = write_document(part, here)
                if text is None:
                    images.append(write_image(self._draft, part, here))
                else:
                    words.append(text)
            elif isinstance(part, Native) and part.dialect != NAME:
                self._draft.lose(here, f"only {part.dialect} can say it")
        return "\n".join(words)

    def _call(self, call: ToolCall, where: str) -> dict[str, Any]:
        arguments = arguments_of(call)
        if arguments is None:
            raise invalid(where, f"calls the tool '{call.name}' with arguments that are not a JSON object")
        self._called[call.id] = len(self._called), call.name
        value: dict[str, Any] = {"function": {"name": call.name, "arguments": arguments}}
        return self._identify("id", call.id) | value | self._draft.members(call.extra, where)

    def _result(self, result: ToolResult, where: str, attached: list[str]) -> tuple[int, dict[str, Any]]:
        """Return a result's place among the calls and its message; images that it may not hold go to ``attached``."""
        place, called = self._called.get(result.call_id, (len(self._called), None))
        name = result.name or called
        if not name and not self._draft.own:
            self._draft.lose(f"{where}.name", "its call is not in the conversation, so its tool is not known")
        if result.is_error:
            self._draft.lose("is_error", "the target is not told that a tool failed, except by what the tool said")
        images: list[str] = []
        value: dict[str, Any] = {"role": "tool", "content": self._said(result.parts, f"{where}.content", images)}
        if name:
            value["tool_name"] = name
        value |= self._identify("tool_call_id", result.call_id) | self._draft.members(result.extra, where)
        if images and self._draft.own:
            value["images"] = images
        elif images:
            attached += images
            value["content"] = "\n".join(filter(None, [value["content"], *["[image attached]"] * len(images)]))
        return place, value

    def _identify(self, key: str, identifier: str) -> dict[str, Any]:
        """Return the member for an id: only what the client itself has said in this dialect."""
        return {key: identifier} if self._draft.own and not is_placed(identifier) else {}
