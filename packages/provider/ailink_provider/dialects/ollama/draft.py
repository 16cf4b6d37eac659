"""A request of this dialect while it is being written. Decides nothing about the wire."""

from dataclasses import dataclass, field

from ailink_provider.dialects import draft
from ailink_provider.dialects.ollama.fields import NAME


@dataclass(slots=True)
class Draft(draft.Draft):
    """``custom`` collects the names of free-text tools that were wrapped as functions."""

    dialect = NAME

    custom: set[str] = field(default_factory=set)
