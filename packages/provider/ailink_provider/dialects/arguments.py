"""A tool call's arguments, which are text in a chat and an object on some wires, and free text wrapped as one.

Knows no dialect; those whose calls carry objects share it.
"""

from typing import Any

import msgspec

from ailink_provider.chat import ToolCall
from ailink_provider.errors import Failure


def arguments_of(call: ToolCall, path: str) -> dict[str, Any]:
    """Return a call's arguments as an object, in which free text stands as ``input``. Raises ``Failure``
    (``invalid_request``) for the call at ``path`` if they are none."""
    if call.custom:
        return {"input": call.arguments}
    try:
        arguments = msgspec.json.decode(call.arguments) if call.arguments.strip() else {}
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise Failure("invalid_request", f"The arguments of tool call {call.id!r} to {call.name!r} are not a JSON "
                                         "object.", param=path)
    return arguments


def free_text(arguments: str) -> str:
    """Return the text that a wrapped free-text tool was called with, or ``arguments`` if they are not of that form."""
    try:
        decoded = msgspec.json.decode(arguments or "{}")
    except (ValueError, RecursionError):
        return arguments
    if decoded == {}:
        return ""
    text = decoded.get("input") if isinstance(decoded, dict) else None
    return text if isinstance(text, str) else arguments
