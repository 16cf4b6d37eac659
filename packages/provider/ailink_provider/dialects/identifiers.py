"""Names and ids made to fit a vendor's pattern: deterministic, and different for different inputs.

Kept as they are when they conform, otherwise a cleaned prefix and eight hex digits of SHA-256, so a call and
its result, translated apart, still agree.
"""

import re
from hashlib import sha256


def conform(name: str, allowed: re.Pattern[str], limit: int) -> str:
    """Return ``name`` if every character is ``allowed`` (a one-character class) and it has 1 to ``limit`` of them,
    else its conforming stand-in."""
    if 0 < len(name) <= limit and all(map(allowed.match, name)):
        return name
    cleaned = "".join(character if allowed.match(character) else "_" for character in name)[: limit - 9]
    return f"{cleaned or 'x'}_{sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
