"""A request in the making: whether it is at home here, what it loses and what it renames on the way out."""

import re
from dataclasses import dataclass, field
from typing import Any

from ailink_provider.catalog import Facts
from ailink_provider.chat import CacheMark, Chat, Native
from ailink_provider.dialects import Loss
from ailink_provider.dialects.identifiers import conform
from ailink_provider.dialects.openai_responses.fields import FAMILY, NAME
from ailink_provider.dialects.strictness import is_strict

_NAME = re.compile(r"[A-Za-z0-9_-]")
_NAME_LIMIT = 64
_CALL_ID = re.compile(r"[!-~]")
_CALL_ID_LIMIT = 64
_MARK_TTLS = (None, "30m", "12h")


def call_id(identifier: str) -> str:
    """Return the id of a call, or the stand-in for it that the API takes: the same for the call and its result."""
    return conform(identifier, _CALL_ID, _CALL_ID_LIMIT)


def wire_name(name: str) -> str:
    """Return a tool's or a schema's name, or the stand-in for it that fits ``^[a-zA-Z0-9_-]{1,64}$``."""
    return conform(name, _NAME, _NAME_LIMIT)


@dataclass(slots=True)
class Draft:
    """``names`` collects the tools' names on the wire with the client's, where they differ."""

    chat: Chat
    facts: Facts
    losses: list[Loss] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    @property
    def at_home(self) -> bool:
        """Whether this dialect read the request, so that all that it alone can say may be said again."""
        return self.chat.dialect == NAME

    @property
    def shares_account(self) -> bool:
        """Whether the client speaks to this vendor, so that the ids of its files may be valid at the target."""
        return self.chat.dialect in FAMILY

    def lose(self, name: str, why: str) -> None:
        """Note, once, that a field of the client's is left out."""
        loss = Loss(name, why)
        if loss not in self.losses:
            self.losses.append(loss)

    def at(self, index: int) -> str:
        """Return the client's path to a message of the chat."""
        return f"messages[{index - self.chat.apart}]" if index >= self.chat.apart else "system"

    def strict(self, wish: bool | None, schema: Any, where: str) -> bool | None:
        """Return how strictly the model is held to a schema: at home as asked, else only if the schema allows it."""
        if not wish or self.at_home or is_strict(schema):
            return wish
        self.lose(f"{where}.strict", "the target holds a model only to schemas whose objects require all they have")
        return None

    def tool(self, name: str) -> str:
        """Return the name under which the model knows the client's tool."""
        wire = wire_name(name)
        if wire != name:
            self.names[wire] = name
        return wire

    def mark(self, mark: CacheMark | None, *, possible: bool = True) -> dict[str, Any]:
        """Return the member that sets a prompt-cache breakpoint, {} for none. ``possible``: whether one may stand
        there. Other vendors' lifetimes are not OpenAI's, and at its target a prefix is found without a mark."""
        if mark is None:
            return {}
        if possible and mark.ttl in _MARK_TTLS and (mark.ttl is not None or self.shares_account):
            return {"prompt_cache_breakpoint": {"mode": "explicit"} | ({"ttl": mark.ttl} if mark.ttl else {})}
        self.lose("cache_control", "the target decides by itself what it caches")
        return {}

    def members(self, extra: Native | None, where: str) -> dict[str, Any]:
        """Return the members of an object that only this dialect knows; another's are reported."""
        if extra is None:
            return {}
        if extra.dialect == NAME:
            return extra.value
        for key in extra.value:
            self.lose(f"{where}.{key}", f"only {extra.dialect} knows it")
        return {}
