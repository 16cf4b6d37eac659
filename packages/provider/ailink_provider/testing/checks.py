"""What every vendor's front door looks at before the body means anything: headers, the credential, JSON itself.

Stricter than the vendors where a gateway could leak: what belongs between a caller and its gateway is refused here.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from ailink_provider.testing.server import Received
from ailink_provider.testing.vendor import Breach

# Names that no upstream may ever see from a gateway; hop-by-hop ones too, but for Connection itself.
_PRIVATE = re.compile(
    r"x-ailink-.*|cookie2?|forwarded|x-forwarded(-.*)?|x-real-ip|x-real-authorization|x-admin-key|x-user-id"
    r"|x-session-id|x-parent-span-id|x-preferred-model|prefer|via|proxy-.*|keep-alive|te|trailer|upgrade"
)
_CARRIERS = ("authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key")
_SINGLE = ("host", "content-type", "content-length", *_CARRIERS)


def header_breaches(request: Received) -> Iterator[Breach]:
    """Yield what is wrong with the headers, whoever they are for."""
    names = [name.lower() for name, _ in request.raw_headers]
    for name in names:
        if _PRIVATE.fullmatch(name):
            yield Breach(f"mock: the header {name!r} must not reach an upstream")
    for name in _SINGLE:
        if names.count(name) > 1:
            yield Breach(f"mock: the header {name!r} arrived {names.count(name)} times")
    if "host" not in names:
        yield Breach("mock: there is no Host header")
    nominated = request.headers.get("connection", "keep-alive").lower()
    if nominated not in ("keep-alive", "close"):
        yield Breach(f"mock: Connection nominates {nominated!r}, which is for a proxy to act on")


def credential_breaches(request: Received, accepted: tuple[tuple[str, str], ...], key: str) -> Iterator[Breach]:
    """Yield what is wrong with the credential: exactly one must come, in the right header, with the right key.

    ``accepted`` are the headers it may come in and what stands before the key in each. A ``key`` in the query counts
    as a credential.
    """
    present = [header for header in _CARRIERS if header in request.headers]
    present += ["?key="] * sum(1 for parameter, _ in request.query if parameter == "key")
    if len(present) > 1:
        yield Breach(f"mock: several credentials arrived: {', '.join(present)}")
    if not any(request.headers.get(name) == f"{prefix}{key}" for name, prefix in accepted):
        expected = " or ".join(name for name, _ in accepted)
        yield Breach(f"mock: the right key did not come in {expected}; sent were: {', '.join(present) or 'none'}")


def body_breaches(request: Received) -> Iterator[Breach]:
    """Yield why the body is not one JSON object that everybody reads alike."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        yield Breach("mock: Content-Type must be application/json")
    if "content-encoding" in request.headers:
        yield Breach("mock: the body is compressed")
    try:
        body = json.loads(request.body.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except ValueError as error:
        yield Breach(f"mock: the body is not strict JSON: {error}")
    else:
        if not isinstance(body, dict):
            yield Breach("mock: the body is not a JSON object")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"the name {name!r} appears twice in one object")
    return dict(pairs)


def _constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")
