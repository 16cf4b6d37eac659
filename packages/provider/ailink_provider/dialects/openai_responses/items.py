"""The conversation: ``instructions`` and the items of ``input``, read into messages and written from them.

Here a turn of the model's is a run of items: what it thought, said and called. Reading gathers such a run into one
message, so that dialects which want the calls of a turn together find them so; writing takes it apart again.
"""

from collections.abc import Callable, Iterator
from typing import Any

from ailink_provider.chat import Chat, Message, Native, Part, Refusal, Role, Text, Thinking, ToolCall, ToolResult
from ailink_provider.dialects.members import invalid, one_object, optional, required, unsupported
from ailink_provider.dialects.openai_responses import reasoning
from ailink_provider.dialects.openai_responses.draft import Draft, call_id
from ailink_provider.dialects.openai_responses.fields import NAME, leftover
from ailink_provider.dialects.openai_responses.parts import is_content, read_content, write_content
from ailink_provider.errors import Failure

_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system", "developer": "developer"}
# The type of a call -> the member with what the model wrote.
CALLS = {"function_call": "arguments", "custom_tool_call": "input"}

# Items beside the calls that are of the model's turn.
_OF_THE_MODEL = frozenset({"mcp_list_tools", "mcp_approval_request", "program"})
# An id and a status say nothing to a model; that it made a call itself is no news.
_CALL = ("type", "id", "status", "call_id", "name", "arguments", "input")
_DIRECT_CALLER = {"type": "direct"}
_RESULT = ("type", "id", "status", "call_id", "name", "output")
# What is only a name for something that the vendor keeps, or that its models alone can read.
_BOUND: dict[str, Callable[[str], Failure]] = {
    "item_reference": lambda where: invalid(where, "is an item that only its vendor keeps; send the item itself"),
    "compaction": lambda where: unsupported(where, "can be read only by its vendor's models; send what it stands for"),
}


def read_messages(chat: Chat, body: dict[str, Any]) -> None:
    """Set the conversation of ``chat``. Raises ``Failure`` for anything that is not one."""
    instructions = optional(body, "instructions", str)
    if instructions:
        chat.messages.append(Message("system", [Text(instructions)]))
        chat.apart = 1
    value = body.get("input")
    if isinstance(value, str):
        chat.messages.append(Message("user", [Text(value)]))
    elif isinstance(value, list):
        reader = _Reader(chat)
        for index, item in enumerate(value):
            reader.read(one_object(item, f"input[{index}]"), f"input[{index}]")
    elif value is not None:
        raise invalid("input", "must be a string or a list of items")
    if value in (None, []) and not chat.bound:
        raise invalid("input", "is required: a string or a list of at least one item")


class _Reader:
    """Reads items in order; remembers the calls, so that a result knows its tool."""

    def __init__(self, chat: Chat) -> None:
        self._chat = chat
        self._names: dict[str, str] = {}

    def read(self, item: dict[str, Any], where: str) -> None:
        """Add one item to the conversation."""
        kind = optional(item, "type", str, where) or ("message" if "role" in item else "item_reference")
        _READERS.get(kind, _Reader._native)(self, item | {"type": kind}, where)

    def _add(self, role: Role, parts: list[Part]) -> None:
        messages = self._chat.messages
        if role == "assistant" and messages and messages[-1].role == role:
            messages[-1].parts += parts
        else:
            messages.append(Message(role, parts))

    def _message(self, item: dict[str, Any], where: str) -> None:
        role = required(item, "role", str, where)
        if role not in _ROLES:
            raise invalid(f"{where}.role", f"must be one of {', '.join(_ROLES)}")
        parts = read_content(item.get("content"), f"{where}.content")
        if phase := optional(item, "phase", str, where):
            parts.insert(0, Native(NAME, {"phase": phase}))
        self._add(_ROLES[role], parts)

    def _reasoning(self, item: dict[str, Any], where: str) -> None:
        self._add("assistant", [reasoning.read_item(item, where)])

    def _call(self, item: dict[str, Any], where: str) -> None:
        kind = item["type"]
        call = ToolCall(required(item, "call_id", str, where), required(item, "name", str, where),
                        optional(item, CALLS[kind], str, where) or "", kind == "custom_tool_call",
                        extra=call_extra(item))
        self._names[call.id] = call.name
        self._add("assistant", [call])

    def _result(self, item: dict[str, Any], where: str) -> None:
        identifier = required(item, "call_id", str, where)
        name = self._names.get(identifier) or optional(item, "name", str, where)
        self._add("user", [ToolResult(identifier, read_content(item.get("output"), f"{where}.output"), name=name,
                                      extra=leftover(_own(item), _RESULT))])

    def _native(self, item: dict[str, Any], where: str) -> None:
        kind = item["type"]
        if kind == "item_reference":
            required(item, "id", str, where)
        if kind in _BOUND:
            self._chat.bound.append(_BOUND[kind](where))
        role: Role = "assistant" if kind.endswith("_call") or kind in _OF_THE_MODEL else "user"
        self._add(role, [Native(NAME, item)])


_READERS: dict[str, Callable[[_Reader, dict[str, Any], str], None]] = {
    "message": _Reader._message, "reasoning": _Reader._reasoning,
    "function_call": _Reader._call, "custom_tool_call": _Reader._call,
    "function_call_output": _Reader._result, "custom_tool_call_output": _Reader._result,
}


def _own(item: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in item.items() if key != "caller" or value != _DIRECT_CALLER}


def call_extra(item: dict[str, Any]) -> Native | None:
    """Return the members of a call that only this dialect knows."""
    return leftover(_own(item), _CALL)


def write_messages(draft: Draft) -> dict[str, Any]:
    """Return ``instructions`` and ``input``. Only a plain leading system prompt can be the former."""
    messages = list(enumerate(draft.chat.messages))
    fields: dict[str, Any] = {}
    if len(messages) > 1 or (messages and draft.chat.bound):
        first = messages[0][1]
        if first.role == "system" and len(first.parts) == 1 and first.name is None:
            content = write_content(draft, _placed(first, draft.at(0)))
            if isinstance(content, str) and content:
                fields["instructions"] = content
                del messages[0]
    writer = _Writer(draft)
    items = [item for index, message in messages for item in writer.write(message, draft.at(index))]
    return fields | ({"input": items} if items or not draft.chat.bound else {})


def _placed(message: Message, where: str) -> list[tuple[str, Part]]:
    return [(f"{where}.content[{index}]", part) for index, part in enumerate(message.parts)]


class _Writer:
    """Writes messages in order; remembers which calls were of free-text tools, whose results have a type of their
    own."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._custom: set[str] = set()
        self._stored = draft.own or draft.chat.extras.get("store") is True

    def write(self, message: Message, where: str) -> Iterator[dict[str, Any]]:
        """Yield the items of a message."""
        if message.name is not None:
            self._draft.lose(f"{where}.name", "messages of the target have no name")
        if message.role == "assistant":
            yield from self._assistant(message, where)
        else:
            yield from self._other(message, where)

    def _other(self, message: Message, where: str) -> Iterator[dict[str, Any]]:
        said: list[tuple[str, Part]] = []
        apart = False
        for place, part in _placed(message, where):
            item = self._item(part, place)
            if item is None:
                said.append((place, part))
                continue
            apart = True
            if said:
                yield _message(message.role, write_content(self._draft, said))
                said = []
            yield item
        if said or not apart:
            yield _message(message.role, write_content(self._draft, said))

    def _assistant(self, message: Message, where: str) -> Iterator[dict[str, Any]]:
        phase: dict[str, Any] = {}
        for place, part in _placed(message, where):
            item = self._item(part, place)
            if item is not None:
                phase = {}
                yield item
            elif isinstance(part, Text | Refusal):
                self._draft.mark(part.cache if isinstance(part, Text) else None, possible=False)
                if part.text:
                    yield _message("assistant", part.text) | phase
            elif isinstance(part, Native) and part.dialect == NAME and "phase" in part.value:
                phase = part.value
            elif not isinstance(part, Thinking):
                kind = f"what only {part.dialect} can say" if isinstance(part, Native) else type(part).__name__.lower()
                self._draft.lose(place, f"{kind} has no place in a turn of the target's model")

    def _item(self, part: Part, where: str) -> dict[str, Any] | None:
        """Return the item that a part is by itself, None if it is part of what a message says."""
        if isinstance(part, Thinking):
            return reasoning.write_item(part, self._stored)
        if isinstance(part, ToolCall):
            return self._call(part, where)
        if isinstance(part, ToolResult):
            return self._result(part, where)
        if isinstance(part, Native) and part.dialect == NAME and "type" in part.value and not is_content(part):
            return part.value
        return None

    def _call(self, call: ToolCall, where: str) -> dict[str, Any]:
        draft = self._draft
        draft.mark(call.cache, possible=False)
        item = {"call_id": call_id(call.id), "name": draft.tool(call.name)} | draft.members(call.extra, where)
        if call.custom:
            self._custom.add(call.id)
            return {"type": "custom_tool_call", "input": call.arguments} | item
        return {"type": "function_call", "arguments": call.arguments or "{}"} | item

    def _result(self, result: ToolResult, where: str) -> dict[str, Any]:
        draft = self._draft
        draft.mark(result.cache, possible=False)
        if result.is_error:
            draft.lose("is_error", "the target is not told that a tool failed, except by what the tool said")
        kind = "custom_tool_call_output" if result.call_id in self._custom else "function_call_output"
        parts = [(f"{where}.content[{index}]", part) for index, part in enumerate(result.parts)]
        return {"type": kind, "call_id": call_id(result.call_id), "output": write_content(draft, parts),
                } | draft.members(result.extra, where)


def _message(role: Role, content: str | list[dict[str, Any]]) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": content}
