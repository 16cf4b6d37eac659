"""What Bedrock refuses in the turns of a conversation: blank text, unpaired tools, documents alone, forged thoughts."""

import binascii
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

from ailink_provider.testing.bedrock.models import Model
from ailink_provider.testing.bedrock.replies import sign
from ailink_provider.testing.vendor import Breach, Path

_MAGIC = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "gif": b"GIF8", "webp": b"RIFF", "pdf": b"%PDF"}
_DOCUMENT_NAME = re.compile(r"[A-Za-z0-9()\[\]-]+( [A-Za-z0-9()\[\]-]+)*")


def _roles(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    turns = body["messages"]
    if not turns or turns[0]["role"] != "user":
        yield Breach("A conversation must start with a user message. Try again with a conversation that starts with a "
                     "user message.", ("messages", 0, "role"))
    roles = [turn["role"] for turn in turns]
    for index, role in enumerate(roles):
        where: Path = ("messages", index, "role")
        if role == "system" and not (facts.claude is not None and facts.claude.system_turns):
            yield Breach("This model doesn't support system messages in the conversation.", where)
        if index and role == roles[index - 1]:
            yield Breach("A conversation must alternate between user and assistant roles. Make sure the conversation "
                         "alternates between user and assistant roles and try again.", where)
        if not turns[index]["content"]:
            yield Breach(f"The content field in the Message object at messages.{index} is empty. Add a ContentBlock "
                         "object to the content field and try again.", ("messages", index, "content"))
    if roles and roles[-1] == "assistant" and facts.claude is not None and not facts.claude.prefill:
        yield Breach("This model does not support assistant message prefill. The conversation must end with a user "
                     "message.", ("messages", len(turns) - 1))


def _texts(body: dict[str, Any], _: Model) -> Iterator[Breach]:
    for where, block in _all_blocks(body):
        if "text" in block and not block["text"].strip():
            yield Breach(f"The text field in the ContentBlock object at {'.'.join(map(str, where))} is blank. Add text "
                         "to the text field, and try again.", where)
    for index, block in enumerate(body.get("system") or ()):
        if "text" in block and not block["text"].strip():
            yield Breach(f"The text field in the SystemContentBlock object at system.{index} is blank.",
                         ("system", index))


def _pairs(body: dict[str, Any], _: Model) -> Iterator[Breach]:
    """Every toolUse is answered in the next turn, and nothing else is; whoever speaks of tools has a toolConfig."""
    waiting: list[str] = []
    for index, turn in enumerate([*body["messages"], {"role": "user", "content": []}]):
        answered = [block["toolResult"]["toolUseId"] for block in turn["content"] if "toolResult" in block]
        where: Path = ("messages", index, "content")
        missing = [identifier for identifier in waiting if identifier not in answered]
        if missing:
            yield Breach(f"Expected toolResult blocks at messages.{index}.content for the following Ids: "
                         f"{', '.join(missing)}", where)
        if len(answered) > len(waiting) or len(set(answered)) < len(answered):
            yield Breach(f"The number of toolResult blocks at messages.{index}.content exceeds the number of toolUse "
                         "blocks of previous turn.", where)
        waiting = [block["toolUse"]["toolUseId"] for block in turn["content"] if "toolUse" in block]
        if len(set(waiting)) < len(waiting):
            yield Breach(f"The toolUse blocks at messages.{index}.content contain duplicate Ids.", where)
    spoken = any("toolUse" in block or "toolResult" in block for _, block in _all_blocks(body))
    if spoken and not (body.get("toolConfig") or {}).get("tools"):
        yield Breach("The toolConfig field must be defined when using toolUse and toolResult content blocks.",
                     ("toolConfig",))
    for where, block in _all_blocks(body):
        if "toolUse" in block and not isinstance(block["toolUse"]["input"], dict):
            yield Breach(f"The format of the value at {'.'.join(map(str, where))}.toolUse.input is invalid. Provide a "
                         "json object for the field and try again.", where)


def _documents(body: dict[str, Any], _: Model) -> Iterator[Breach]:
    named: list[str] = []
    for index, turn in enumerate(body["messages"]):
        names = [block["document"]["name"] for block in turn["content"] if "document" in block]
        if names and not any("text" in block for block in turn["content"]):
            yield Breach("The content of a message that has a document must have a text block as well: "
                         f"messages.{index}.content has none.", ("messages", index, "content"))
    for where, block in _all_blocks(body):
        if "document" in block:
            name = block["document"]["name"]
            if not _DOCUMENT_NAME.fullmatch(name):
                yield Breach("The document file name can only contain alphanumeric characters, whitespace characters, "
                             "hyphens, parentheses, and square brackets. The name can't contain more than one "
                             "consecutive whitespace character.", where)
            if name in named:
                yield Breach("The document names of a conversation must be unique.", where)
            named.append(name)


def _media(body: dict[str, Any], _: Model) -> Iterator[Breach]:
    for where, block in _all_blocks(body):
        medium = block.get("image") or block.get("document") or {}
        data = medium.get("source", {}).get("bytes")
        if data is None:
            continue
        try:
            content = b64decode(data, validate=True)
        except binascii.Error:
            yield Breach("The bytes are not base64.", where)
            continue
        magic = _MAGIC.get(medium.get("format", ""), b"")
        if not content.startswith(magic):
            yield Breach(f"Could not process image: its bytes are not of the format {medium['format']}.", where)


def thoughts(name: str, body: dict[str, Any]) -> Iterator[Breach]:
    """Yield the thoughts that do not come back as the model ``name`` made them."""
    for where, block in _all_blocks(body):
        text = block.get("reasoningContent", {}).get("reasoningText")
        if text is not None and text.get("signature") != sign(text["text"], name):
            yield Breach(f"{'.'.join(map(str, where))}: Invalid `signature` in `thinking` block", where)


def _all_blocks(body: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield every content block with its path, those inside tool results after the result."""
    for index, turn in enumerate(body["messages"]):
        for position, block in enumerate(turn["content"]):
            where: Path = ("messages", index, "content", position)
            yield where, block
            for depth, part in enumerate(block.get("toolResult", {}).get("content") or ()):
                yield (*where, "toolResult", "content", depth), part


RULES = (_roles, _texts, _pairs, _documents, _media)
