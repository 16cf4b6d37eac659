"""What Anthropic refuses in the turns of a conversation: empty text, unpaired tools, forged thoughts, false images."""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from ailink_provider.testing.anthropic.models import Model
from ailink_provider.testing.anthropic.replies import is_minted, sign
from ailink_provider.testing.vendor import Breach, Path

_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_MAGIC = {"image/png": b"\x89PNG", "image/jpeg": b"\xff\xd8\xff", "image/gif": b"GIF8", "image/webp": b"RIFF",
          "application/pdf": b"%PDF"}


def _roles(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    turns = body["messages"]
    if not turns:
        yield Breach("messages: at least one message is required", ("messages",))
        return
    if turns[0]["role"] != "user":
        yield Breach('messages: first message must use the "user" role', ("messages", 0, "role"))
    if turns[-1]["role"] == "assistant" and not facts.prefill:
        yield Breach("This model does not support assistant message prefill. The conversation must end with a user "
                     "message.", ("messages", len(turns) - 1))
    for index, turn in enumerate(turns):
        if turn["role"] == "system" and not facts.system_turns:
            yield Breach(f"messages.{index}.role: Input should be 'user' or 'assistant'", ("messages", index, "role"))


def _texts(body: dict[str, Any], _: Model) -> Iterator[Breach]:
    turns = body["messages"]
    for index, turn in enumerate(turns):
        last = index == len(turns) - 1 and turn["role"] == "assistant"
        if not turn["content"] and not last:
            yield Breach(f"messages.{index}: all messages must have non-empty content except for the optional final "
                         "assistant message", ("messages", index, "content"))
    for where, block in _all_blocks(body):
        if block["type"] != "text":
            continue
        if not block["text"]:
            yield Breach("messages: text content blocks must be non-empty", (*where, "text"))
        elif not block["text"].strip():
            yield Breach("messages: text content blocks must contain non-whitespace text", (*where, "text"))
    if turns and turns[-1]["role"] == "assistant" and turns[-1]["content"]:
        content = turns[-1]["content"]
        final = content if isinstance(content, str) else content[-1].get("text", "")
        if final != final.rstrip():
            yield Breach("messages: final assistant content cannot end with trailing whitespace",
                         ("messages", len(turns) - 1, "content"))


def _pairs(body: dict[str, Any], _: Model) -> Iterator[Breach]:
    """Every tool_use is answered at the very start of the next turn, and nothing else is."""
    seen: set[str] = set()
    waiting: list[str] = []
    for index, turn in enumerate([*body["messages"], {"role": "user", "content": []}]):
        final = index == len(body["messages"])
        blocks = _blocks(turn)
        answered: list[str] = []
        for position, block in enumerate(blocks):
            if block["type"] != "tool_result":
                continue
            where: Path = ("messages", index, "content", position)
            if block["tool_use_id"] not in waiting or block["tool_use_id"] in answered:
                yield Breach(f"messages.{index}.content.{position}: unexpected `tool_use_id` found in `tool_result` "
                             f"blocks: {block['tool_use_id']}. Each `tool_result` block must have a corresponding "
                             "`tool_use` block in the previous message.", where)
            elif position != len(answered):
                yield Breach(f"messages.{index}.content.{position}: `tool_result` blocks must come before any other "
                             "content of the message that answers `tool_use` blocks", where)
            answered.append(block["tool_use_id"])
        missing = [identifier for identifier in waiting if identifier not in answered]
        if missing:
            yield Breach(f"messages.{index - 1}: `tool_use` ids were found without `tool_result` blocks immediately "
                         f"after: {', '.join(missing)}. Each `tool_use` block must have a corresponding `tool_result` "
                         "block in the next message.", ("messages", index - 1))
        waiting = [block["id"] for block in blocks if block["type"] == "tool_use" and not final]
        yield from _call_ids(waiting, seen, index)


def _call_ids(identifiers: list[str], seen: set[str], index: int) -> Iterator[Breach]:
    for identifier in identifiers:
        if identifier in seen:
            yield Breach(f"messages.{index}.content: `tool_use` ids must be unique", ("messages", index, "content"))
        if not _CALL_ID.fullmatch(identifier):
            yield Breach(f"messages.{index}.content.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'",
                         ("messages", index, "content"))
        seen.add(identifier)


def _thoughts(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    """A thinking block comes back as it was made, to the model that made it; and before the tools it led to."""
    for where, block in _all_blocks(body):
        if block["type"] == "thinking" and block["signature"] != sign(block["thinking"], body["model"]):
            yield Breach(f"{'.'.join(map(str, where))}: Invalid `signature` in `thinking` block", where)
    enabled = (body.get("thinking") or {}).get("type") == "enabled"
    if not enabled and not facts.always_thinks:
        return
    replies = [(index, _blocks(turn)) for index, turn in enumerate(body["messages"]) if turn["role"] == "assistant"]
    if replies:
        index, blocks = replies[-1]
        kinds = [block["type"] for block in blocks]
        # A model that always thinks has thought before its own calls; those of history from elsewhere are let be.
        owed = [block for block in blocks if block["type"] == "tool_use" and (enabled or is_minted(block["id"]))]
        if owed and kinds[0] not in ("thinking", "redacted_thinking"):
            yield Breach(f"messages.{index}.content.0.type: Expected `thinking` or `redacted_thinking`, but found "
                         f"`{kinds[0]}`. When `thinking` is enabled, a final `assistant` message must start with a "
                         "thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks).",
                         ("messages", index, "content", 0))


def _media(body: dict[str, Any], _: Model) -> Iterator[Breach]:
    for where, block in _all_blocks(body):
        source = block.get("source")
        if not isinstance(source, dict):
            continue
        place = ".".join(map(str, where))
        if source["type"] == "url" and not source["url"].startswith("https://"):
            yield Breach(f"{place}.source.url: Only HTTPS URLs are supported.", (*where, "source"))
        elif source["type"] == "base64":
            try:
                data = b64decode(source["data"], validate=True)
            except binascii.Error:
                yield Breach(f"{place}.source.base64.data: invalid base64 data", (*where, "source"))
                continue
            if not data.startswith(_MAGIC[source["media_type"]]):
                yield Breach(f"{place}.source.base64: The image was specified using the {source['media_type']} media "
                             "type, but it does not appear to be one", (*where, "source"))


def _blocks(turn: dict[str, Any]) -> list[dict[str, Any]]:
    content = turn["content"]
    return [{"type": "text", "text": content}] if isinstance(content, str) and content else list(content)


def _all_blocks(body: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every content block with its path, those inside tool results after the result."""
    for index, turn in enumerate(body["messages"]):
        for position, block in enumerate(_blocks(turn)):
            where: Path = ("messages", index, "content", position)
            yield where, block
            inner = block.get("content")
            if block["type"] == "tool_result" and isinstance(inner, list):
                for depth, part in enumerate(inner):
                    yield (*where, "content", depth), part


RULES = (_roles, _texts, _pairs, _thoughts, _media)
