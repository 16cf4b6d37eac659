"""A request of this dialect while it is being written. Decides nothing about the wire."""

from dataclasses import dataclass, field
from typing import Any

from ailink_provider.chat import CacheMark
from ailink_provider.dialects import draft
from ailink_provider.dialects.bedrock_converse.words import NAME, vendor


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
class Draft(draft.Draft):
    """``inference``, ``output`` and ``additional`` become inferenceConfig, outputConfig and
    additionalModelRequestFields; ``documents`` are the names that documents of this request have taken."""

    dialect = NAME

    inference: dict[str, Any] = field(default_factory=dict)
    output: dict[str, Any] = field(default_factory=dict)
    additional: dict[str, Any] = field(default_factory=dict)
    custom: set[str] = field(default_factory=set)
    schema_tool: str | None = None
    documents: set[str] = field(default_factory=set)
    vendor: str = field(init=False)

    def __post_init__(self) -> None:
        self.vendor = vendor(self.chat.model)

    @property
    def takes_claude_fields(self) -> bool:
        """Whether the fields of Anthropic's own API may be sent beside those of this one."""
        return self.vendor == "anthropic" or (self.own and not self.vendor)

    def content(self, index: int) -> str:
        """Return the client's path to the content of a message."""
        path = self.at(index)
        return path if path == "system" else f"{path}.content"
