"""Messages, read and written: who said what, which calls were made and what the tools answered. Knows no other field.

Reading keeps one canonical message for each of the client's. Writing puts the results of a turn into ``tool`` messages
right after the calls, before all else of that turn, as the API demands; media in a result, which a ``tool`` message
cannot hold, follow in a ``user`` message.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any

from ailink_provider.chat import Media, Message, Native, Part, Refusal, Role, Text, Thinking, ToolCall, ToolResult
from ailink_provider.dialects.members import as_object, as_text, invalid, one_object, optional, required
from ailink_provider.dialects.openai_chat import reasoning
from ailink_provider.dialects.openai_chat.draft import Draft
from ailink_provider.dialects.openai_chat.parts import read_content, read_mark, write_mark, write_parts
from ailink_provider.dialects.openai_chat.words import NAME

_ROLES: dict[str, Role] = {"system": "system", "developer": "developer", "user": "user", "assistant": "assistant",
                           "tool": "user", "function": "user"}

# Members of a message that are read. `annotations` are a reply's: clients send them back, no model takes them.
_READ = frozenset({
    "role", "content", "name", "cache_control", "prompt_cache_breakpoint", "tool_call_id", "tool_calls",
    "function_call", "refusal", "annotations", "reasoning_content", "reasoning", "reasoning_details", "thinking_blocks",
})


def read_messages(value: Any) -> list[Message]:
    """Return the conversation. Raises ``Failure`` for anything that is not one."""
    if not isinstance(value, list) or not value:
        raise invalid("messages", "must be a list of at least one message")
    reader = _Reader()
    return [reader.message(one_object(message, f"messages[{index}]"), f"messages[{index}]")
            for index, message in enumerate(value)]


class _Reader:
    """Reads messages in order; remembers the calls, so that a result knows its tool."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._legacy: list[ToolCall] = []
        self._invented = 0

    def message(self, source: dict[str, Any], where: str) -> Message:
        role = required(source, "role", str, where)
        if role not in _ROLES:
            raise invalid(f"{where}.role", f"must be one of {', '.join(_ROLES)}")
        parts = {"assistant": self._assistant, "tool": self._tool, "function": self._function}.get(
            role, self._plain)(source, where)
        name = optional(source, "name", str, where) if role not in ("tool", "function") else None
        mark = read_mark(source, where)
        if mark is not None and parts and isinstance(parts[-1], Text | Media | ToolCall | ToolResult):
            parts[-1].cache = mark
        # What only this dialect has a word for (`audio`, `prefix` ...) rides along; dumps of empty members do not.
        rest = {key: member for key, member in source.items() if key not in _READ and member not in (None, [], {}, "")}
        if rest:
            parts.append(Native(NAME, rest))
        return Message(_ROLES[role], parts, name)

    def _plain(self, source: dict[str, Any], where: str) -> list[Part]:
        return read_content(source.get("content"), f"{where}.content")

    def _assistant(self, source: dict[str, Any], where: str) -> list[Part]:
        parts: list[Part] = list(reasoning.read_thoughts(source))
        if source.get("content") not in (None, ""):
            parts += read_content(source["content"], f"{where}.content")
        if refusal := optional(source, "refusal", str, where):
            parts.append(Refusal(refusal))
        for index, call in enumerate(optional(source, "tool_calls", list, where) or ()):
            place = f"{where}.tool_calls[{index}]"
            parts.append(self._call(one_object(call, place), place))
        legacy = optional(source, "function_call", dict, where)
        if legacy is not None:
            place = f"{where}.function_call"
            name = required(legacy, "name", str, place)
            made = ToolCall(self._invent(), name, _arguments(legacy, "arguments", place))
            self._legacy.append(made)
            parts.append(made)
        return parts

    def _call(self, source: dict[str, Any], where: str) -> ToolCall:
        identifier = required(source, "id", str, where)
        custom = source.get("type") == "custom"
        key, text = ("custom", "input") if custom else ("function", "arguments")
        inner, place = required(source, key, dict, where), f"{where}.{key}"
        call = ToolCall(identifier, required(inner, "name", str, place), _arguments(inner, text, place), custom,
                        cache=read_mark(source, where))
        call.signature, call.signed_by = read_signature(source)
        self._names[identifier] = call.name
        return call

    def _tool(self, source: dict[str, Any], where: str) -> list[Part]:
        identifier = required(source, "tool_call_id", str, where)
        name = self._names.get(identifier) or optional(source, "name", str, where)
        return [ToolResult(identifier, read_content(source.get("content"), f"{where}.content"), name=name)]

    def _function(self, source: dict[str, Any], where: str) -> list[Part]:
        # Results of legacy calls carry a name alone: each answers the first such call that has no answer yet.
        name = required(source, "name", str, where)
        call = next((call for call in self._legacy if call.name == name), None)
        if call is not None:
            self._legacy.remove(call)
        content = source.get("content")
        parts = [] if content is None else read_content(content, f"{where}.content")
        return [ToolResult(call.id if call is not None else self._invent(), parts, name=name)]

    def _invent(self) -> str:
        self._invented += 1
        return f"call_legacy_{self._invented}"


def _arguments(source: dict[str, Any], key: str, where: str) -> str:
    return optional(source, key, str, where) or ""


def read_signature(call: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return a call's thought signature and its signer, in the form Google gave them in this format; or two None."""
    google = as_object(as_object(call.get("extra_content")).get("google"))
    signature = as_text(google.get("thought_signature")) or None
    return signature, "gemini" if signature else None


def write_signature(call: ToolCall) -> dict[str, Any]:
    """Return the member that carries a call's thought signature, {} if it has none that this format can carry."""
    if call.signature is None or call.signed_by != "gemini":
        return {}
    return {"extra_content": {"google": {"thought_signature": call.signature}}}


def write_call(call: ToolCall, identifier: str, name: str) -> dict[str, Any]:
    """Return an entry of ``tool_calls``; a function's arguments are never empty text."""
    if call.custom:
        return {"id": identifier, "type": "custom", "custom": {"name": name, "input": call.arguments}}
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": call.arguments or "{}"}}


def write_messages(draft: Draft) -> list[dict[str, Any]]:
    """Return ``messages`` for the model."""
    placed = [(f"messages[{index - draft.chat.apart}]" if index >= draft.chat.apart else "system", message)
              for index, message in enumerate(draft.chat.messages)]
    written: list[dict[str, Any]] = []
    for role, run in groupby(placed, key=lambda item: item[1].role):
        if role == "user":
            written += _write_user_turn(draft, list(run))
        elif role == "assistant":
            written += [value for where, message in run if (value := _write_assistant(draft, message, where))]
        else:
            written += [_message(message, write_parts(draft, _placed(message, where))) for where, message in run]
    return written


def _placed(message: Message, where: str) -> Iterator[tuple[str, Part]]:
    return ((f"{where}.content[{index}]", part) for index, part in enumerate(message.parts))


def _is_members(part: Part) -> bool:
    """Whether a part is no part of the content but members of the message that were carried unread."""
    return isinstance(part, Native) and part.dialect == NAME and "type" not in part.value


def _message(message: Message, content: str | list[dict[str, Any]] | None) -> dict[str, Any]:
    value = {"role": message.role, "content": content} | ({"name": message.name} if message.name else {})
    return value | _members(message)


def _members(message: Message) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for part in message.parts:
        if isinstance(part, Native) and _is_members(part):
            members |= part.value
    return members


def _write_user_turn(draft: Draft, turn: list[tuple[str, Message]]) -> Iterator[dict[str, Any]]:
    attached: list[tuple[str, Part]] = []
    spoken: list[dict[str, Any]] = []
    for where, message in turn:
        rest: list[tuple[str, Part]] = []
        members = _members(message)
        for place, part in _placed(message, where):
            if isinstance(part, ToolResult):
                yield _write_result(draft, part, place, attached) | members
            elif not _is_members(part):
                rest.append((place, part))
        if rest or not any(isinstance(part, ToolResult) for part in message.parts):
            spoken.append(_message(message, write_parts(draft, rest, media=True)))
    if attached:
        yield {"role": "user", "content": write_parts(draft, attached, media=True)}
    yield from spoken


def _write_result(draft: Draft, result: ToolResult, where: str, attached: list[tuple[str, Part]]) -> dict[str, Any]:
    """Return the ``tool`` message of a result; its media are put into ``attached``."""
    parts: list[tuple[str, Part]] = []
    for part in result.parts:
        if isinstance(part, Media):
            attached.append((where, part))
            part = Text(f"[{part.kind} attached]")
        parts.append((where, part))
    draft.members(result.extra, where)
    if result.is_error:
        draft.lose("is_error", "the target is not told that a tool failed, except by what the tool said")
    return {"role": "tool", "tool_call_id": draft.call(result.call_id),
            "content": write_parts(draft, parts)} | write_mark(draft, result.cache, on_part=False)


def _write_assistant(draft: Draft, message: Message, where: str) -> dict[str, Any] | None:
    calls = [_write_call(draft, part, place) for place, part in _placed(message, where) if isinstance(part, ToolCall)]
    refusal = "".join(part.text for part in message.parts if isinstance(part, Refusal))
    said = [(place, part) for place, part in _placed(message, where)
            if not isinstance(part, ToolCall | Refusal | Thinking) and not _is_members(part)]
    thoughts = reasoning.request_fields(part for part in message.parts if isinstance(part, Thinking))
    if message.parts and not thoughts and all(isinstance(part, Thinking) for part in message.parts):
        return None  # it held only what another model thought
    content = write_parts(draft, said)
    silent = not content and (calls or refusal or _members(message))
    value = _message(message, None if silent else content)
    if refusal:
        value["refusal"] = refusal
    if calls:
        value["tool_calls"] = calls
    return value | thoughts


def _write_call(draft: Draft, call: ToolCall, where: str) -> dict[str, Any]:
    draft.members(call.extra, where)
    value = write_call(call, draft.call(call.id), draft.tool(call.name))
    # Models that sign want it back, in this format too; where none of them is served the member is refused.
    return value | (write_signature(call) if draft.signs else {}) | write_mark(draft, call.cache, on_part=False)
