"""A request while it is being written: what is asked, what the model accepts, and what could not be said.

It holds the state that the writing functions share and decides nothing about the wire.
"""

from dataclasses import dataclass, field
from typing import Any

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Native
from ailink_provider.dialects import Loss
from ailink_provider.dialects.anthropic_messages.words import NAME, tool_name
from ailink_provider.errors import Failure


@dataclass(slots=True)
class Draft:
    """``names`` maps tool names on the wire to the client's, where they differ."""

    chat: Chat
    facts: Facts
    losses: list[Loss] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    custom: set[str] = field(default_factory=set)
    schema_tool: str | None = None

    @property
    def own(self) -> bool:
        """Whether the client speaks this dialect: its files, extras and user ids may go out as they are."""
        return self.chat.dialect == NAME

    def lose(self, path: str, why: str) -> None:
        """Report a field that is not sent, or not as asked."""
        self.losses.append(Loss(path, why))

    def at(self, index: int) -> str:
        """Return the client's path to a message of the chat."""
        return f"messages[{index - self.chat.apart}]" if index >= self.chat.apart else "system"

    def name(self, name: str) -> str:
        """Return a tool's name on the wire, and remember the way back."""
        fitted = tool_name(name)
        if fitted != name:
            self.names[fitted] = name
        return fitted

    def members(self, extra: Native | None, path: str) -> dict[str, Any]:
        """Return the members that only this dialect knows; another dialect's are reported."""
        if extra is None:
            return {}
        if extra.dialect == NAME:
            return extra.value
        for key in extra.value:
            self.lose(f"{path}.{key}", f"only {extra.dialect} knows it")
        return {}


def unsupported(path: str, message: str) -> Failure:
    """Return the failure of a field whose loss would change the answer's meaning."""
    return Failure("unsupported_parameter", message, param=path)
