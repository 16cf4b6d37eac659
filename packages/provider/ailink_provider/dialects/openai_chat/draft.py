"""A request in the making: whether it is at home here, what it loses and what it renames on the way out."""

import re
from dataclasses import dataclass, field
from typing import Any

from ailink_provider.chat import Chat, Native
from ailink_provider.dialects import Loss
from ailink_provider.dialects.identifiers import conform
from ailink_provider.dialects.openai_chat.fields import NAME
from ailink_provider.dialects.strictness import is_strict

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]")
_TOOL_NAME_LIMIT = 64
_CALL_ID = re.compile(r"[!-~]")
_CALL_ID_LIMIT = 40  # longer ones are refused: "string too long. Expected a string with maximum length 40"


@dataclass(slots=True)
class Draft:
    """``names`` collects the tools' names on the wire with the client's, where they differ. ``signs`` tells whether
    the model wants the signatures of its calls back."""

    chat: Chat
    signs: bool = False
    losses: list[Loss] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)

    @property
    def at_home(self) -> bool:
        """Whether this dialect read the request, so that all that it alone can say may be said again."""
        return self.chat.dialect == NAME

    def lose(self, name: str, why: str) -> None:
        """Note, once, that a field of the client's is left out."""
        loss = Loss(name, why)
        if loss not in self.losses:
            self.losses.append(loss)

    def lose_members(self, extra: Native | None, where: str) -> None:
        """Note the members of an object that only another dialect knows; this one carries none of its own that way."""
        if extra is not None:
            for key in extra.value:
                self.lose(f"{where}.{key}", f"only {extra.dialect} knows it")

    def strict(self, wish: bool | None, schema: Any, where: str) -> bool | None:
        """Return how strictly the model is held to a schema: at home as asked, else only if the schema allows it."""
        if not wish or self.at_home or is_strict(schema):
            return wish
        self.lose(f"{where}.strict", "the target holds a model only to schemas whose objects require all they have")
        return None

    def tool(self, name: str) -> str:
        """Return the name under which the model knows the client's tool."""
        wire = conform(name, _TOOL_NAME, _TOOL_NAME_LIMIT)
        if wire != name:
            self.names[wire] = name
        return wire

    def call(self, identifier: str) -> str:
        """Return the id of a call and of its result as they are sent."""
        return conform(identifier, _CALL_ID, _CALL_ID_LIMIT)
