"""A request of this dialect while it is being written: how its calls are named, and what of others is lost."""

import re

from ailink_provider.dialects import draft
from ailink_provider.dialects.identifiers import conform
from ailink_provider.dialects.openai_chat.words import NAME

_CALL_ID = re.compile(r"[!-~]")
_CALL_ID_LIMIT = 40  # longer ones are refused: "string too long. Expected a string with maximum length 40"


class Draft(draft.Draft):
    """Adds nothing to write down."""

    dialect = NAME

    @property
    def signs(self) -> bool:
        """Whether the model wants the signatures of its calls back."""
        return self.facts.thinking == "level"

    def call(self, identifier: str) -> str:
        """Return the id of a call and of its result as they are sent."""
        return conform(identifier, _CALL_ID, _CALL_ID_LIMIT)
