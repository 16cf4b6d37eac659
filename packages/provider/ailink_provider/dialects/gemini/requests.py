"""A request for a reply, read and written: the body of ``generateContent`` and its siblings.

The model and the wish for a stream are in the path, not in the body. Each part of the body has a room of its own
(contents, tools, generation); this one puts them together and accounts for every field that is left.
"""

from typing import Any

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, ToolResult
from ailink_provider.dialects import Loss, Sent, refuse_bound
from ailink_provider.dialects.gemini.contents import read_contents, read_system, write_contents
from ailink_provider.dialects.gemini.fields import members, refuse, text
from ailink_provider.dialects.gemini.generation import read_generation, write_generation
from ailink_provider.dialects.gemini.names import NAME, bare
from ailink_provider.dialects.gemini.tools import read_tool_config, read_tools, write_tools
from ailink_provider.errors import Failure

# The client's word for a tier, and Gemini's.
TIERS = {
    "auto": "standard",
    "default": "standard",
    "standard": "standard",
    "standard_only": "standard",
    "flex": "flex",
    "priority": "priority",
    "fast": "priority",
}
# Gemini's word, and the canonical one.
TIER_WORDS = {"standard": "default", "flex": "flex", "priority": "priority"}

# The members whose own members can be extras, outer before inner.
_NESTED = ("generationConfig", "toolConfig", "functionCallingConfig")


def read_chat(body: dict[str, Any], model: str | None, stream: bool | None) -> Chat:
    """Return the canonical request. Raises ``Failure`` (``invalid_request``, with ``param``) on anything malformed."""
    fields = members(body, "")
    named = text(fields.pop("model", ""), "model")
    chat = Chat(model=bare(model or named), messages=[], dialect=NAME, stream=bool(stream), include_usage=True)
    if "systemInstruction" in fields:
        chat.messages += read_system(fields.pop("systemInstruction"))
        chat.apart = len(chat.messages)
    if not fields.get("contents"):
        raise refuse("contents", "a list of at least one turn")
    chat.messages += read_contents(fields.pop("contents"))
    if "tools" in fields:
        read_tools(fields.pop("tools"), chat)
    if "toolConfig" in fields:
        read_tool_config(fields.pop("toolConfig"), chat)
    if "generationConfig" in fields:
        read_generation(fields.pop("generationConfig"), chat)
    if "serviceTier" in fields:
        tier = text(fields.pop("serviceTier"), "serviceTier").lower()
        if tier in TIER_WORDS:
            chat.service_tier = TIER_WORDS[tier]
        elif tier != "unspecified":
            chat.extras["serviceTier"] = tier
    for name, value in fields.items():
        if "." in name:  # the names of extras are paths
            raise refuse(name, "a field of this API; it is not one")
        chat.extras[name] = value
        if name == "cachedContent":
            said = "'cachedContent' names a part of the conversation that only Gemini keeps: send the content itself."
            chat.bound.append(Failure("unsupported_parameter", said, param=name))
    return chat


def write_chat(chat: Chat, facts: Facts) -> Sent:
    """Return the body for a model with these facts, and what was lost. Raises ``Failure`` for what must not be."""
    refuse_bound(chat, NAME)
    sent = Sent({})
    write_contents(chat, facts, sent)
    write_tools(chat, facts, sent)
    write_generation(chat, facts, sent)
    if chat.service_tier in TIERS:
        sent.body["serviceTier"] = TIERS[chat.service_tier]
    elif chat.service_tier:
        sent.losses.append(Loss("service_tier", "Gemini has no such tier"))
    if chat.dialect == NAME:
        _put_extras(chat.extras, sent.body)
    else:
        sent.losses += [Loss(key, "Gemini has no such field") for key in chat.extras]
    _account(chat, sent)
    return sent


def _put_extras(extras: dict[str, Any], body: dict[str, Any]) -> None:
    for path, value in extras.items():
        place, name = body, path
        for outer in _NESTED:
            if name.startswith(f"{outer}."):
                place, name = place.setdefault(outer, {}), name[len(outer) + 1 :]
        place[name] = value


def _account(chat: Chat, sent: Sent) -> None:
    """Report the canonical fields that Gemini has no words for."""
    unsaid = {
        "parallel_tool_calls": (chat.parallel_tool_calls is False, "it may call several tools at once"),
        "user": (chat.user is not None, "the end user is not named"),
        "metadata": (bool(chat.metadata), "it is kept in the gateway's record alone"),
        "cache_control": (_has_cache_mark(chat), "caching is implicit, or by a cachedContent resource"),
    }
    sent.losses += [Loss(field, why) for field, (lost, why) in unsaid.items() if lost]


def _has_cache_mark(chat: Chat) -> bool:
    parts: list[Any] = [part for message in chat.messages for part in message.parts]
    parts += [nested for part in parts if isinstance(part, ToolResult) for nested in part.parts]
    return any(getattr(item, "cache", None) for item in [*parts, *chat.tools])
