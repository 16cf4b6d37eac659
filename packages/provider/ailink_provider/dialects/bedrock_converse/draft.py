"""A request while it is being written: what is asked, what the model accepts, and what could not be said.

It holds the state that the writing functions share and decides nothing about the wire.
"""

from dataclasses import dataclass, field
from typing import Any

from ailink_provider.catalog import Facts
from ailink_provider.chat import CacheMark, Chat, Native
from ailink_provider.dialects import Loss
from ailink_provider.dialects.bedrock_converse.words import NAME, tool_name, vendor
from ailink_provider.errors import Failure


@dataclass(slots=True)
class Entry:
    """A block of a request, or a tool, and the cache point that is to follow it."""

    block: dict[str, Any]
    mark: CacheMark | None = None

    @property
    def kind(self) -> str:
        """The one member of the block: "text", "toolUse" ..."""
        return next(iter(self.block))


@dataclass(slots=True)
class Draft:
    """``inference``, ``output`` and ``additional`` become inferenceConfig, outputConfig and
    additionalModelRequestFields; ``names`` maps tool names on the wire to the client's, where they differ;
    ``documents`` are the names that documents of this request have taken."""

    chat: Chat
    facts: Facts
    inference: dict[str, Any] = field(default_factory=dict)
    output: dict[str, Any] = field(default_factory=dict)
    additional: dict[str, Any] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    custom: set[str] = field(default_factory=set)
    schema_tool: str | None = None
    documents: set[str] = field(default_factory=set)
    vendor: str = field(init=False)

    def __post_init__(self) -> None:
        self.vendor = vendor(self.chat.model)

    @property
    def own(self) -> bool:
        """Whether the client speaks this dialect: what it asks of a model that is not known goes out as it is."""
        return self.chat.dialect == NAME

    @property
    def takes_claude_fields(self) -> bool:
        """Whether the fields of Anthropic's own API may be sent beside those of this one."""
        return self.vendor == "anthropic" or (self.own and not self.vendor)

    def lose(self, path: str, why: str) -> None:
        """Report a field that is not sent, or not as asked."""
        self.losses.append(Loss(path, why))

    def at(self, index: int) -> str:
        """Return the client's path to a message of the chat."""
        return f"messages[{index - self.chat.apart}]" if index >= self.chat.apart else "system"

    def content(self, index: int) -> str:
        """Return the client's path to the content of a message."""
        path = self.at(index)
        return path if path == "system" else f"{path}.content"

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
