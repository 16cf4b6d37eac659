"""A request while it is being written: what is asked, what the model accepts, and what could not be said.

It holds the state that a dialect's writing functions share and decides nothing about any wire. Each dialect has a draft
of its own, which names the dialect and adds what its wire needs.
"""

from dataclasses import dataclass, field
from typing import Any, ClassVar

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Native
from ailink_provider.dialects import Loss
from ailink_provider.dialects.identifiers import tool_name
from ailink_provider.dialects.strictness import is_strict


@dataclass(slots=True)
class Draft:
    """``dialect`` is the one that is written; ``names`` maps tool names on the wire to the client's, where they
    differ."""

    dialect: ClassVar[str]

    chat: Chat
    facts: Facts
    losses: list[Loss] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    _reported: set[Loss] = field(default_factory=set, init=False, repr=False)  # for looking up: they may be very many

    @property
    def own(self) -> bool:
        """Whether the client speaks this dialect, so that all that it alone can say may be said again."""
        return self.chat.dialect == self.dialect

    def lose(self, path: str, why: str) -> None:
        """Report, once, a field that is not sent, or not as asked."""
        loss = Loss(path, why)
        if loss not in self._reported:
            self._reported.add(loss)
            self.losses.append(loss)

    def at(self, index: int) -> str:
        """Return the client's path to a message of the chat."""
        return f"messages[{index - self.chat.apart}]" if index >= self.chat.apart else "system"

    def tool(self, name: str) -> str:
        """Return a tool's name on the wire, and remember the way back."""
        wire = tool_name(name)
        if wire != name:
            self.names[wire] = name
        return wire

    def members(self, extra: Native | None, path: str) -> dict[str, Any]:
        """Return the members of an object that only this dialect knows; another dialect's are reported."""
        if extra is None:
            return {}
        if extra.dialect == self.dialect:
            return extra.value
        for key in extra.value:
            self.lose(f"{path}.{key}", f"only {extra.dialect} knows it")
        return {}

    def strict(self, wish: bool | None, schema: Any, where: str) -> bool | None:
        """Return how strictly the model is held to a schema as OpenAI's strict mode does it: a client of this dialect
        has it as asked, another only if the schema allows it."""
        if not wish or self.own or is_strict(schema):
            return wish
        self.lose(f"{where}.strict", "the target holds a model only to schemas whose objects require all they have")
        return None
