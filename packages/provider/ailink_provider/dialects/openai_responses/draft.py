"""A request of this dialect while it is being written: how its calls are named, and what is marked to be cached."""

import re
from typing import Any

from ailink_provider.chat import CacheMark
from ailink_provider.dialects import draft
from ailink_provider.dialects.identifiers import conform
from ailink_provider.dialects.openai_responses.fields import FAMILY, NAME

_CALL_ID = re.compile(r"[!-~]")
_CALL_ID_LIMIT = 64
_MARK_TTLS = (None, "30m", "12h")


def call_id(identifier: str) -> str:
    """Return the id of a call, or the stand-in for it that the API takes: the same for the call and its result."""
    return conform(identifier, _CALL_ID, _CALL_ID_LIMIT)


class Draft(draft.Draft):
    """Adds nothing to write down."""

    dialect = NAME

    @property
    def shares_account(self) -> bool:
        """Whether the client speaks to this vendor, so that the ids of its files may be valid at the target."""
        return self.chat.dialect in FAMILY

    def mark(self, mark: CacheMark | None, *, possible: bool = True) -> dict[str, Any]:
        """Return the member that sets a prompt-cache breakpoint, {} for none. ``possible``: whether one may stand
        there. Other vendors' lifetimes are not OpenAI's, and at its target a prefix is found without a mark."""
        if mark is None:
            return {}
        if possible and mark.ttl in _MARK_TTLS and (mark.ttl is not None or self.shares_account):
            return {"prompt_cache_breakpoint": {"mode": "explicit"} | ({"ttl": mark.ttl} if mark.ttl else {})}
        self.lose("cache_control", "the target decides by itself what it caches")
        return {}
