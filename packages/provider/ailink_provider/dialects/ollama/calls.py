"""Tool calls, both ways: their arguments, which are objects here, and their ids, which here may be missing.

An id that was not given is made from the place of its call, so the same body always reads the same. Those of an answer
depend on the moment it was made, too: a client puts answers of many turns into one conversation.
"""

import re
from hashlib import sha256
from typing import Any

import msgspec

from ailink_provider.chat import ToolCall
from ailink_provider.dialects.failures import UNREADABLE

_PLACED = re.compile(r"call_\d+_\d+")


def placed_id(message: int, ordinal: int) -> str:
    """Return the id of a call that a conversation gives none: by the numbers of its message and of its place in it."""
    return f"call_{message}_{ordinal}"


def is_placed(identifier: str) -> bool:
    """Whether an id was made by ``placed_id``, so that the client knows nothing of it."""
    return _PLACED.fullmatch(identifier) is not None


def made_id(seed: str, ordinal: int) -> str:
    """Return the id of an answer's call that came without one. ``seed`` tells one answer from another."""
    return f"call_{sha256(f'{seed} {ordinal}'.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


def arguments_of(call: ToolCall) -> dict[str, Any] | None:
    """Return a call's arguments as an object, None if its text is not one. Free text stands in a member ``input``."""
    if call.custom:
        return {"input": call.arguments}
    if not call.arguments.strip():
        return {}
    try:
        arguments = msgspec.json.decode(call.arguments)
    except (*UNREADABLE, UnicodeEncodeError):
        return None
    return arguments if isinstance(arguments, dict) else None
