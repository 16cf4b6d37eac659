"""Prompt-cache marks, both ways, and the limits that the vendor sets on them.

Source: the prompt caching guide. At most four marks a request; in the order tools, system, messages every mark of one
hour comes before those of five minutes.
"""

from collections.abc import Iterator
from typing import Any

from ailink_provider.chat import CacheMark
from ailink_provider.dialects import fields
from ailink_provider.dialects.anthropic_messages.draft import Draft

MARKS = 4
_LIFETIMES = ("5m", "1h")


def read_mark(block: dict[str, Any], path: str) -> CacheMark | None:
    """Return the mark of a block or tool, if it has one."""
    control = fields.optional(block, "cache_control", fields.record, path)
    if control is None:
        return None
    where = f"{path}.cache_control"
    if fields.required(control, "type", fields.text, where) != "ephemeral":
        raise fields.invalid(f"{where}.type", "must be 'ephemeral'")
    return CacheMark(fields.optional(control, "ttl", fields.text, where))


def write_mark(mark: CacheMark | None) -> dict[str, Any]:
    """Return the member that marks a block, {} for none."""
    if mark is None:
        return {}
    return {"cache_control": {"type": "ephemeral"} | ({"ttl": mark.ttl} if mark.ttl else {})}


def limit_marks(body: dict[str, Any], draft: Draft) -> None:
    """Bring the marks of a whole request within the vendor's limits. ``body`` is ours to change."""
    tools = list(_marked(body.get("tools", [])))
    system = list(_marked(body["system"])) if isinstance(body.get("system"), list) else []
    messages = [block for message in body["messages"] for block in _marked(message["content"])]
    top = [body] if body.get("cache_control") else []
    excess = len(tools) + len(system) + len(messages) + len(top) - MARKS
    if excess > 0:
        # A later mark covers what an earlier one did; those on tools and system are shared by conversations.
        for block in [*messages, *system, *tools][:excess]:
            del block["cache_control"]
        draft.lose("cache_control", f"a request holds at most {MARKS} cache marks, so {excess} were left out")
    short = False
    for block in [*tools, *system, *messages]:
        control = block.get("cache_control")
        if control is None:
            continue
        lifetime = control.get("ttl", "5m")
        if lifetime not in _LIFETIMES or (short and lifetime == "1h"):
            draft.lose("cache_control.ttl", f"a mark of {lifetime} cannot stand here; it is kept for 5 minutes")
            lifetime = "5m"
            block["cache_control"] = {"type": "ephemeral", "ttl": lifetime}
        short = short or lifetime == "5m"


def _marked(blocks: Any) -> Iterator[dict[str, Any]]:
    for block in blocks if isinstance(blocks, list) else ():
        if block.get("type") == "tool_result":
            yield from _marked(block.get("content"))
        if isinstance(block.get("cache_control"), dict):
            yield block
