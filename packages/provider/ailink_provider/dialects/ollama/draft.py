"""A request in the making: what is asked, what the model accepts, and what is lost on the way out."""

from dataclasses import dataclass, field

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Native
from ailink_provider.dialects import Loss
from ailink_provider.dialects.ollama.fields import NAME


@dataclass(slots=True)
class Draft:
    """``custom`` collects the names of free-text tools that were wrapped as functions."""

    chat: Chat
    facts: Facts
    losses: list[Loss] = field(default_factory=list)
    custom: set[str] = field(default_factory=set)

    @property
    def at_home(self) -> bool:
        """Whether this dialect read the request, so that all that it alone can say may be said again."""
        return self.chat.dialect == NAME

    def at(self, index: int) -> str:
        """Return the client's path to a message of the chat."""
        return f"messages[{index - self.chat.apart}]" if index >= self.chat.apart else "system"

    def lose(self, name: str, why: str) -> None:
        """Note, once, that a field of the client's is left out."""
        loss = Loss(name, why)
        if loss not in self.losses:
            self.losses.append(loss)

    def members(self, extra: Native | None, where: str) -> dict[str, object]:
        """Return the members that only this dialect knows; another dialect's are noted as lost."""
        if extra is None:
            return {}
        if extra.dialect == NAME:
            return extra.value
        for key in extra.value:
            self.lose(f"{where}.{key}", f"only {extra.dialect} knows it")
        return {}
