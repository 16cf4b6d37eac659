"""The conversation as the service wants it: a system prompt, then turns of user and assistant that alternate.

Turns of one role are merged, the tool results of a turn stand in one user message and before its text, nothing empty
is sent, and a document never comes without words. Source: `Message` of the Amazon Bedrock Runtime API, the
mid-conversation system guide.
"""

from collections.abc import Callable
from typing import Any

from ailink_provider.chat import CacheMark, Media, Message, Native, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from ailink_provider.dialects.arguments import arguments_of
from ailink_provider.dialects.bedrock_converse.citations import cited, returned
from ailink_provider.dialects.bedrock_converse.draft import Draft, Entry
from ailink_provider.dialects.bedrock_converse.media import write_media
from ailink_provider.dialects.bedrock_converse.words import NAME, call_id
from ailink_provider.dialects.fields import unsupported
from ailink_provider.errors import Failure

Turn = tuple[str, list[Entry]]

_SYSTEM = ("system", "developer")
# What stands where the service demands words and the client had none.
_ATTACHED = {"text": "The document is attached."}
_SILENT = {"text": "(no output)"}
_OPENING = {"text": "(The conversation begins.)"}
_THOUGHT, _CALL = "reasoningContent", "toolUse"
# Whose models know that a tool's result can be an error; an id that does not tell is trusted.
_TOLD_OF_ERRORS = ("", "anthropic", "amazon")


def write_turns(draft: Draft) -> tuple[list[Entry], list[Turn]]:
    """Return the system prompt and the turns. Raises ``Failure`` if nothing is left to say."""
    messages = draft.chat.messages
    leading = next((index for index, message in enumerate(messages) if message.role not in _SYSTEM), len(messages) - 1)
    system = [entry for index in range(leading) for entry in _system_entries(messages[index], index, draft)]
    for index, message in enumerate(messages):
        if message.name:
            draft.lose(f"{draft.at(index)}.name", "messages have no names")
    turns = _Turns(draft)
    for index, message in enumerate(messages[max(leading, 0):], max(leading, 0)):
        if message.role in _SYSTEM:
            turns.instruct(_system_entries(message, index, draft), index)
        else:
            turns.add(message.role, _entries(message.parts, draft.content(index), message.role, draft))
    written = turns.close()
    if not written:
        raise Failure("invalid_request", "The conversation has no content: send at least one message that is not "
                                         "empty.", param="messages")
    return system, written


def calls_seen(turns: list[Turn]) -> list[str] | None:
    """Return the names of the tools that were called in these turns, None if there is no trace of a tool at all."""
    blocks = [entry.block for _, entries in turns for entry in entries]
    if not any("toolUse" in block or "toolResult" in block for block in blocks):
        return None
    calls = [block["toolUse"] for block in blocks if isinstance(block.get("toolUse"), dict)]
    return [call["name"] for call in calls if isinstance(call.get("name"), str)]


class _Turns:
    """Alternating turns, built message by message."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._turns: list[Turn] = []
        self._instructions: list[tuple[Entry, int]] = []

    def add(self, role: str, entries: list[Entry]) -> None:
        if not entries:
            return
        if role == "assistant":
            self._place()
            if not self._turns and not self._draft.own:
                self._draft.lose("messages[0].role", "a conversation starts with the user; a neutral message was added")
                self._turns.append(("user", [Entry(dict(_OPENING))]))
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(entries)
        else:
            self._turns.append((role, entries))

    def instruct(self, entries: list[Entry], index: int) -> None:
        """Take a system message that stands in mid-conversation."""
        if self._draft.facts.system_turns or self._draft.own:
            self._instructions += [(entry, index) for entry in entries]
        else:
            self._wrap([(entry, index) for entry in entries])

    def close(self) -> list[Turn]:
        self._place()
        turns = [(role, self._ordered(role, entries)) for role, entries in self._turns]
        last = turns[-1][1][-1].block if turns else {}
        if turns and turns[-1][0] == "assistant" and "text" in last:
            # What the model is to go on from may not end in white space.
            last["text"] = last["text"].rstrip()
        return turns

    def _place(self) -> None:
        # A system message stands right behind a user's, and an assistant's or nothing behind it. So it waits until the
        # user has said all, which also keeps it from coming between a tool call and its result.
        instructions, self._instructions = self._instructions, []
        if not instructions:
            return
        if self._turns and self._turns[-1][0] == "user":
            self._turns.append(("system", [entry for entry, _ in instructions]))
        else:
            self._wrap(instructions)

    def _wrap(self, instructions: list[tuple[Entry, int]]) -> None:
        for index in sorted({index for _, index in instructions}):
            self._draft.lose(f"{self._draft.at(index)}.role",
                             "a system message cannot stand here; it is sent as user text")
        self.add("user", [Entry({"text": f"<system>{entry.block['text']}</system>"}, entry.mark)
                          if "text" in entry.block else entry for entry, _ in instructions])

    def _ordered(self, role: str, entries: list[Entry]) -> list[Entry]:
        if role == "user":
            return _accompanied(sorted(entries, key=lambda entry: entry.kind != "toolResult"))
        if role == "assistant" and not self._draft.own:
            return _thoughtful(entries)
        return entries


def _thoughtful(entries: list[Entry]) -> list[Entry]:
    """Return entries that came in another dialect's order in this one's: a thought first, calls last.

    A turn that begins with a thought has the model's order as to its thoughts, which are proven in their places."""
    if entries[0].kind != _THOUGHT:
        entries = sorted(entries, key=lambda entry: entry.kind != _THOUGHT)
    called = next((place for place, entry in enumerate(entries) if entry.kind == _CALL), len(entries))
    return entries[:called] + sorted(entries[called:], key=lambda entry: entry.kind in (_THOUGHT, _CALL))


def _accompanied(entries: list[Entry]) -> list[Entry]:
    kinds = [entry.kind for entry in entries]
    if "document" in kinds and "text" not in kinds:
        entries.insert(kinds.index("document"), Entry(dict(_ATTACHED)))
    return entries


def _system_entries(message: Message, index: int, draft: Draft) -> list[Entry]:
    path = draft.content(index)
    entries = _entries(message.parts, path, "system", draft)
    for entry in entries:
        if entry.kind != "text" and not draft.own:
            raise unsupported(path, f"A system message holds only text here, no {entry.kind}.")
    return entries


def _entries(parts: list[Part], path: str, role: str, draft: Draft) -> list[Entry]:
    written = []
    for index, part in enumerate(parts):
        where = f"{path}[{index}]"
        if isinstance(part, Media) and role == "assistant":
            draft.lose(where, f"an assistant's message holds no {part.kind}")
            continue
        block = _WRITERS[type(part)](part, where, draft)
        mark: CacheMark | None = getattr(part, "cache", None)
        if block is not None:
            written.append(Entry(block, mark))
        elif mark is not None:
            draft.lose(f"{where}.cache_control", "an empty text cannot be marked")
    return written


# --- parts ---------------------------------------------------------------------------------------


def _text(part: Text, path: str, draft: Draft) -> dict[str, Any] | None:
    if not part.text.strip():
        return None
    citations = returned(part.annotations)
    if len(citations) < len(part.annotations or ()):
        draft.lose(f"{path}.annotations", "citations of web pages and of other vendors are not sent back")
    return cited(part.text, citations)


def _tool_call(part: ToolCall, path: str, draft: Draft) -> dict[str, Any]:
    return {"toolUse": {"toolUseId": call_id(part.id), "name": draft.tool(part.name), "input": arguments_of(part, path),
                        **draft.members(part.extra, path)}}


def _tool_result(part: ToolResult, path: str, draft: Draft) -> dict[str, Any]:
    content = []
    for entry in _entries(part.parts, f"{path}.content", "user", draft):
        if entry.kind == "audio":
            raise unsupported(path, "A tool's result holds no audio here: send a transcript.")
        if entry.mark is not None:
            draft.lose(f"{path}.content.cache_control", "a cache point stands behind a tool's result, not inside it")
        content.append(entry.block)
    failed = part.is_error and draft.vendor in _TOLD_OF_ERRORS and all("text" in block for block in content)
    if part.is_error and not failed:
        draft.lose(f"{path}.is_error", "this model is told of errors in text alone, or not at all")
    return {"toolResult": {
        "toolUseId": call_id(part.call_id), "content": content or [dict(_SILENT)],
        **({"status": "error"} if failed else {}), **draft.members(part.extra, path)}}


def _thinking(part: Thinking, path: str, draft: Draft) -> dict[str, Any] | None:
    if part.signed_by != NAME:
        return None
    if part.redacted:
        return {"reasoningContent": {"redactedContent": part.redacted}}
    if not part.signature:
        return None
    return {"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature}}}


def _refusal(part: Refusal, path: str, draft: Draft) -> dict[str, Any] | None:
    return _text(Text(part.text), path, draft)


def _native(part: Native, path: str, draft: Draft) -> dict[str, Any] | None:
    if part.dialect == NAME:
        return dict(part.value)
    draft.lose(path, f"only {part.dialect} can say it")
    return None


_WRITERS: dict[type[Part], Callable[[Any, str, Draft], dict[str, Any] | None]] = {
    Text: _text, Media: write_media, ToolCall: _tool_call, ToolResult: _tool_result, Thinking: _thinking,
    Refusal: _refusal, Native: _native,
}
