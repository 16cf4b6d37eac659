"""The format of tokens and ids: made, taken apart and fingerprinted here. Looks nothing up and keeps no secret.

A token reads ``ailink_v1_proj_<project>_tok_<id:12><secret:32><check:6>``, all base62. The id is public and stands in
URLs, logs and lists. The check digits are the CRC-32 of everything before them: garbage is refused before a look-up.
"""

import hmac
import re
import secrets
import zlib
from typing import NamedTuple

ADMIN_PREFIX = "ailink_admin_"
ID_LENGTH = 12
SECRET_LENGTH = 32
_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_TOKEN = re.compile(r"ailink_v1_proj_([0-9A-Za-z]{1,32})_tok_([0-9A-Za-z]{12})[0-9A-Za-z]{32}([0-9A-Za-z]{6})")
_ADMIN_KEY = re.compile(r"ailink_admin_[0-9A-Za-z]{44}([0-9A-Za-z]{6})")
_PUBLIC_ID = re.compile(r"tok_[0-9A-Za-z]{12}")


class Parsed(NamedTuple):
    """What a well-formed token says of itself: its project, and its public id with the prefix ``tok_``."""

    project: str
    id: str


def new_id() -> str:
    """Return a new public id."""
    return f"tok_{random_base62(ID_LENGTH)}"


def mint(project: str, public_id: str | None = None) -> str:
    """Return a new token of a project, with a fresh secret; ``public_id`` if the token has its id already."""
    body = f"ailink_v1_proj_{project}_{public_id or new_id()}{random_base62(SECRET_LENGTH)}"
    return body + _check(body)


def parse(text: str) -> Parsed | None:
    """Return what ``text`` says if it is a token with right check digits, else None. Takes about a microsecond."""
    match = _TOKEN.fullmatch(text)
    if match is None or _check(text[:-6]) != match[3]:
        return None
    return Parsed(match[1], f"tok_{match[2]}")


def public_id(text: str) -> str | None:
    """Return the public id that ``text`` is, or that the token ``text`` carries; None if it is neither."""
    if _PUBLIC_ID.fullmatch(text):
        return text
    parsed = parse(text)
    return parsed.id if parsed else None


def mint_admin_key() -> str:
    """Return a new admin key: ``ailink_admin_<secret:44><check:6>``."""
    body = f"{ADMIN_PREFIX}{random_base62(44)}"
    return body + _check(body)


def is_admin_key(text: str) -> bool:
    """Whether ``text`` is an admin key as ``mint_admin_key`` makes them, with right check digits."""
    match = _ADMIN_KEY.fullmatch(text)
    return match is not None and _check(text[:-6]) == match[1]


def fingerprint(key: bytes, token: str) -> bytes:
    """Return the HMAC-SHA256 of a whole token: all that is ever stored of its secret."""
    return hmac.digest(key, token.encode(), "sha256")


def random_base62(length: int) -> str:
    """Return ``length`` characters, each of 62 equally likely."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _check(body: str) -> str:
    # Written out, because it is on the way of every call and a loop takes half as long again.
    number, digit = zlib.crc32(body.encode()), _ALPHABET
    return (
        digit[number // 62**5] + digit[number // 62**4 % 62] + digit[number // 62**3 % 62]
        + digit[number // 62**2 % 62] + digit[number // 62 % 62] + digit[number % 62]
    )
