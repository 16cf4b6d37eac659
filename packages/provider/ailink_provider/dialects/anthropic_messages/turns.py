"""The conversation as the vendor wants it: a system prompt, then turns that alternate.

Turns of one role are merged, the tool results of a turn stand in one user message and before its text, nothing empty is
sent. Source: the Messages API reference, the tool use and mid-conversation system guides.
"""

from collections.abc import Callable
from typing import Any

from ailink_provider.chat import CacheMark, Media, Message, Native, Part, Refusal, Text, Thinking, ToolCall, ToolResult
from ailink_provider.dialects.anthropic_messages.caching import write_mark
from ailink_provider.dialects.anthropic_messages.draft import Draft
from ailink_provider.dialects.anthropic_messages.media import write_media
from ailink_provider.dialects.anthropic_messages.words import CITATIONS, NAME, call_id
from ailink_provider.dialects.arguments import arguments_of
from ailink_provider.dialects.fields import unsupported
from ailink_provider.errors import Failure

Block = dict[str, Any]
_SYSTEM = ("system", "developer")


def write_turns(draft: Draft) -> tuple[list[Block], list[dict[str, Any]]]:
    """Return the blocks of the system prompt and the messages. Raises ``Failure`` if nothing is left to say."""
    messages = draft.chat.messages
    leading = next((index for index, message in enumerate(messages) if message.role not in _SYSTEM), len(messages) - 1)
    system = [block for index in range(leading) for block in _system_blocks(messages[index], index, draft)]
    for index, message in enumerate(messages):
        if message.name:
            draft.lose(f"{draft.at(index)}.name", "messages have no names")
    turns = _Turns(draft)
    for index, message in enumerate(messages[max(leading, 0):], max(leading, 0)):
        if message.role in _SYSTEM:
            turns.instruct(_system_blocks(message, index, draft), index)
        else:
            turns.add(message.role, _blocks(message.parts, f"{draft.at(index)}.content", message.role, draft))
    written = turns.close()
    if not written:
        raise Failure("invalid_request", "The conversation has no content: send at least one message that is not "
                                         "empty.", param="messages")
    return system, written


def compact(blocks: list[Block]) -> str | list[Block]:
    """Return the short form of a content: the text alone, where there is nothing else."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        text: str = blocks[0]["text"]
        return text
    return blocks


class _Turns:
    """Alternating turns, built message by message."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._turns: list[tuple[str, list[Block]]] = []
        self._instructions: list[tuple[Block, int]] = []

    def add(self, role: str, blocks: list[Block]) -> None:
        if not blocks:
            return
        if role == "assistant":
            self._place()
        if self._turns and self._turns[-1][0] == role:
            self._turns[-1][1].extend(blocks)
        else:
            self._turns.append((role, blocks))

    def instruct(self, blocks: list[Block], index: int) -> None:
        """Take a system message that stands in mid-conversation."""
        if self._draft.facts.system_turns:
            self._instructions += [(block, index) for block in blocks]
        else:
            self._wrap([(block, index) for block in blocks])

    def close(self) -> list[dict[str, Any]]:
        self._place()
        turns = [(role, self._ordered(role, blocks)) for role, blocks in self._turns]
        if turns and turns[-1][0] == "assistant" and turns[-1][1][-1]["type"] == "text":
            # What the model is to go on from may not end in white space.
            last = turns[-1][1][-1]
            last["text"] = last["text"].rstrip()
        return [{"role": role, "content": compact(blocks)} for role, blocks in turns]

    def _place(self) -> None:
        # The vendor wants a system message right behind a user's, and an assistant's or nothing behind it. So it waits
        # until the user has said all, which also keeps it from coming between a tool call and its result.
        instructions, self._instructions = self._instructions, []
        if not instructions:
            return
        if self._turns and self._turns[-1][0] == "user":
            self._turns.append(("system", [block for block, _ in instructions]))
        else:
            self._wrap(instructions)

    def _wrap(self, instructions: list[tuple[Block, int]]) -> None:
        for index in sorted({index for _, index in instructions}):
            self._draft.lose(f"{self._draft.at(index)}.role",
                             "a system message cannot stand here; it is sent as user text")
        self.add("user", [{**block, "text": f"<system>{block['text']}</system>"} if "text" in block else block
                          for block, _ in instructions])

    def _ordered(self, role: str, blocks: list[Block]) -> list[Block]:
        if role == "user":
            return sorted(blocks, key=lambda block: block["type"] != "tool_result")
        if role == "assistant" and not self._draft.own:
            return _thoughtful(blocks)
        return blocks


_THOUGHTS = ("thinking", "redacted_thinking")


def _thoughtful(blocks: list[Block]) -> list[Block]:
    """Return blocks that came in another dialect's order in this vendor's: a thought first, calls last.

    A turn that begins with a thought has the vendor's order as to its thoughts, which are proven in their places."""
    if blocks[0]["type"] not in _THOUGHTS:
        blocks = sorted(blocks, key=lambda block: block["type"] not in _THOUGHTS)
    called = next((place for place, block in enumerate(blocks) if block["type"] == "tool_use"), len(blocks))
    return blocks[:called] + sorted(blocks[called:], key=lambda block: block["type"] in (*_THOUGHTS, "tool_use"))


def _system_blocks(message: Message, index: int, draft: Draft) -> list[Block]:
    path = f"{draft.at(index)}.content"
    blocks = _blocks(message.parts, path, "system", draft)
    for block in blocks:
        if block["type"] != "text" and not draft.own:
            raise unsupported(path, f"A system message holds only text here, no {block['type']}.")
    return blocks


def _blocks(parts: list[Part], path: str, role: str, draft: Draft) -> list[Block]:
    written = []
    for index, part in enumerate(parts):
        where = f"{path}[{index}]"
        if isinstance(part, Media) and role == "assistant":
            draft.lose(where, f"an assistant's message holds no {part.kind}")
            continue
        block = _WRITERS[type(part)](part, where, draft)
        if block is not None:
            written.append(block)
    return written


def _text(part: Text, path: str, draft: Draft) -> Block | None:
    if not part.text.strip():
        _lose_mark(part.cache, path, draft)
        return None
    # Without its index a citation is one that was made for the client, of a page that another vendor's model had read.
    citations = [note for note in part.annotations or ()
                 if note.get("type") in CITATIONS and note.get("encrypted_index") != ""]
    if part.annotations and not citations:
        draft.lose(f"{path}.annotations", "they are another vendor's")
    return {"type": "text", "text": part.text, **({"citations": citations} if citations else {}),
            **write_mark(part.cache)}


def _lose_mark(cache: CacheMark | None, path: str, draft: Draft) -> None:
    if cache is not None:
        draft.lose(f"{path}.cache_control", "an empty text cannot be marked")


def _media(part: Media, path: str, draft: Draft) -> Block:
    return {**write_media(part, path, draft), **write_mark(part.cache)}


def _tool_call(part: ToolCall, path: str, draft: Draft) -> Block:
    return {"type": "tool_use", "id": call_id(part.id), "name": draft.tool(part.name),
            "input": arguments_of(part, path), **draft.members(part.extra, path), **write_mark(part.cache)}


def _tool_result(part: ToolResult, path: str, draft: Draft) -> Block:
    content = _blocks(part.parts, f"{path}.content", "user", draft)
    failed = part.is_error and all(block["type"] == "text" for block in content)
    if failed != part.is_error:
        draft.lose(f"{path}.is_error", "an error is told in text alone")
    return {
        "type": "tool_result", "tool_use_id": call_id(part.call_id),
        **({"content": compact(content)} if content else {}), **({"is_error": True} if failed else {}),
        **draft.members(part.extra, path), **write_mark(part.cache),
    }


def _thinking(part: Thinking, path: str, draft: Draft) -> Block | None:
    if part.signed_by != NAME:
        return None
    if part.redacted:
        return {"type": "redacted_thinking", "data": part.redacted}
    return {"type": "thinking", "thinking": part.text, "signature": part.signature} if part.signature else None


def _refusal(part: Refusal, path: str, draft: Draft) -> Block | None:
    return _text(Text(part.text), path, draft)


def _native(part: Native, path: str, draft: Draft) -> Block | None:
    if part.dialect == NAME:
        return dict(part.value)
    draft.lose(path, f"only {part.dialect} can say it")
    return None


_WRITERS: dict[type[Part], Callable[[Any, str, Draft], Block | None]] = {
    Text: _text, Media: _media, ToolCall: _tool_call, ToolResult: _tool_result, Thinking: _thinking,
    Refusal: _refusal, Native: _native,
}


def continues_assistant(messages: list[dict[str, Any]]) -> bool:
    """Whether the last turn is an assistant's to be continued word by word; a paused turn of server tools is not."""
    last = messages[-1]
    if last["role"] != "assistant":
        return False
    blocks = last["content"] if isinstance(last["content"], list) else []
    return not any(str(block["type"]).startswith(("server_", "mcp_")) or str(block["type"]).endswith("_tool_result")
                   for block in blocks)
