"""Prompt-cache points, both ways, and the limits that the service sets on them.

A point is a block of its own behind what it covers: never inside a tool's result, never first in a message, not behind
a thought. A request holds at most four; in the order tools, system, messages those of one hour come before those of
five minutes. Source: the prompt caching guide, the service's own refusals.
"""

from typing import Any

from ailink_provider.chat import CacheMark, Media, Native, Part, Text, ToolCall, ToolResult
from ailink_provider.dialects import fields
from ailink_provider.dialects.bedrock_converse.draft import Draft, Entry
from ailink_provider.dialects.bedrock_converse.words import NAME

POINTS = 4
_LIFETIMES = ("5m", "1h")
_KNOWN = ("type", "ttl")
# Whose models cache, and which of tools, system and messages; an id that does not tell is trusted.
_CACHING = {"": ("tools", "system", "messages"), "anthropic": ("tools", "system", "messages"),
            "amazon": ("system", "messages")}
# Whose models keep everything for five minutes, and are not told so.
_BRIEF = ("amazon",)


def read_point(value: Any, path: str) -> CacheMark:
    """Return the mark that a ``cachePoint`` is."""
    point = fields.record(value, path)
    if fields.required(point, "type", fields.text, path) != "default" or fields.rest(point, _KNOWN):
        raise fields.invalid(path, "must be {'type': 'default'} with a 'ttl' or none")
    return CacheMark(fields.optional(point, "ttl", fields.text, path))


def mark_last(parts: list[Part], mark: CacheMark) -> None:
    """Put a mark on the part before it, or keep the point as it is where that part cannot have one."""
    last = parts[-1] if parts else None
    if isinstance(last, Text | Media | ToolCall | ToolResult) and last.cache is None:
        last.cache = mark
    else:
        parts.append(Native(NAME, _point(mark)))


def limit_marks(tools: list[Entry], system: list[Entry], messages: list[Entry], draft: Draft) -> None:
    """Bring the marks of a whole request within the limits. The entries are ours to change."""
    allowed = _CACHING.get(draft.vendor, ())
    for place, entries in (("tools", tools), ("system", system), ("messages", messages)):
        if place not in allowed and any(entry.mark for entry in entries):
            draft.lose(_word(draft), f"this model caches no {place}")
            _clear(entries)
    _limit_number([*messages, *system, *tools], draft)
    _limit_lifetimes([*tools, *system, *messages], draft)


def place_points(entries: list[Entry], draft: Draft) -> list[dict[str, Any]]:
    """Return the blocks with a point behind each that is marked."""
    blocks: list[dict[str, Any]] = []
    for entry in entries:
        blocks.append(entry.block)
        if entry.mark is None:
            continue
        place = len(blocks)
        # The service cannot put a point behind a document other than PDF: it goes before the run of them.
        while place and _is_text_document(blocks[place - 1]):
            place -= 1
        if place == 0 or "reasoningContent" in blocks[place - 1] or "cachePoint" in blocks[place - 1]:
            draft.lose(_word(draft), "there is nothing before it that can be cached")
        else:
            blocks.insert(place, _point(entry.mark))
    return blocks


def _limit_number(entries: list[Entry], draft: Draft) -> None:
    marked = [entry for entry in entries if entry.mark is not None]
    excess = len(marked) - POINTS
    if excess > 0:
        # A later mark covers what an earlier one did; those on tools and system are shared by conversations.
        _clear(marked[:excess])
        draft.lose(_word(draft), f"a request holds at most {POINTS} cache points, so {excess} were left out")


def _limit_lifetimes(entries: list[Entry], draft: Draft) -> None:
    short = draft.vendor in _BRIEF
    for entry in entries:
        if entry.mark is None:
            continue
        lifetime = entry.mark.ttl or "5m"
        if lifetime not in _LIFETIMES or (short and lifetime == "1h"):
            draft.lose(f"{_word(draft)}.ttl", f"a mark of {lifetime} cannot stand here; it is kept for 5 minutes")
            lifetime, entry.mark = "5m", CacheMark("5m")
        if draft.vendor in _BRIEF:
            entry.mark = CacheMark()
        short = short or lifetime == "5m"


def _point(mark: CacheMark) -> dict[str, Any]:
    return {"cachePoint": {"type": "default", **({"ttl": mark.ttl} if mark.ttl else {})}}


def _word(draft: Draft) -> str:
    return "cachePoint" if draft.own else "cache_control"


def _clear(entries: list[Entry]) -> None:
    for entry in entries:
        entry.mark = None


def _is_text_document(block: dict[str, Any]) -> bool:
    document = block.get("document")
    return isinstance(document, dict) and document.get("format") != "pdf"
