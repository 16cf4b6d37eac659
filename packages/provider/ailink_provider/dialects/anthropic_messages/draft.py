"""A request of this dialect while it is being written. Decides nothing about the wire."""

from dataclasses import dataclass, field

from ailink_provider.dialects import draft
from ailink_provider.dialects.anthropic_messages.words import NAME


@dataclass(slots=True)
class Draft(draft.Draft):
    """``custom`` are the wire names of free-text tools that were wrapped, ``schema_tool`` the one that stands in for
    structured output."""

    dialect = NAME

    custom: set[str] = field(default_factory=set)
    schema_tool: str | None = None
