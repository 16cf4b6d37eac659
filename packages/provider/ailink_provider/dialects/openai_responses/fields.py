"""The names of this wire and its sibling, and what is carried of members that no other room reads."""

from collections.abc import Collection, Mapping
from typing import Any

from ailink_provider.chat import Native

NAME = "openai_responses"

# OpenAI's other wire format. The two share an account: its files, its cache keys, its names for a user.
SIBLING = "openai_chat"
FAMILY = (NAME, SIBLING)


def leftover(source: Mapping[str, Any], known: Collection[str]) -> Native | None:
    """Return the members of ``source`` that have a value and are not ``known``, to be carried unread."""
    rest = {key: value for key, value in source.items() if key not in known and value not in (None, [], {}, "")}
    return Native(NAME, rest) if rest else None
