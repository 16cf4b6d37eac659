"""Names and ids made to fit a vendor's pattern: deterministic, and different for different inputs.

Kept as they are when they conform, otherwise a cleaned prefix and eight hex digits of SHA-256, so a call and
its result, translated apart, still agree.
"""

import re
from hashlib import sha256

_TOOL_NAME = re.compile(r"[A-Za-z0-9_-]")
_TOOL_NAME_LIMIT = 64


def conform(name: str, allowed: re.Pattern[str], limit: int) -> str:
    """Return ``name`` if every character is ``allowed`` (a one-character class) and it has 1 to ``limit`` of them,
    else its conforming stand-in."""
    if 0 < len(name) <= limit and all(map(allowed.match, name)):
        return name
    cleaned = "".join(character if allowed.match(character) else "_" for character in name)[: limit - 9]
    return f"{cleaned or 'x'}_{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def tool_name(name: str) -> str:
    """Return a tool's or a schema's name, or the stand-in for it that fits ``^[A-Za-z0-9_-]{1,64}$``, which most
    services ask for."""
    return conform(name, _TOOL_NAME, _TOOL_NAME_LIMIT)
