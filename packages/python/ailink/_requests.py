"""How calls are put into words: paths, public ids and query parameters.

Nothing here sends anything, and nothing here lets a key into a URL.
"""

import re
from collections.abc import AsyncIterable, Iterable, Mapping
from datetime import date
from typing import Any, TypedDict
from urllib.parse import quote

import httpx2

ABSOLUTE_URL = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)
PUBLIC_ID_LENGTH = 12
IDEMPOTENCY_HEADER = "Idempotency-Key"
IDEMPOTENCY_HEADERS = frozenset({"idempotency-key", "x-ailink-idempotency-key"})  # the gateway takes either
PATIENCE_HEADER = "X-AILink-Approval-Timeout"  # how long a model's call waits, on its connection, for a human


class RequestOptions(TypedDict, total=False):
    """What a call may carry, as httpx2 takes it. ``params`` are added to the path's own query; ``timeout`` is in
    seconds, None for no limit."""

    json: Any
    data: Mapping[str, Any]
    params: Mapping[str, Any]
    headers: Mapping[str, str]
    content: str | bytes | Iterable[bytes] | AsyncIterable[bytes]
    timeout: float | httpx2.Timeout | None


class CallOptions(RequestOptions, total=False):
    """What a call through the gateway may carry beside: ``idempotency_key`` names the operation, so that it happens
    once however often it is sent; ``wait_for_approval`` waits for a human's decision where one is needed, for up to
    ``approval_timeout`` seconds (300)."""

    idempotency_key: str
    wait_for_approval: bool
    approval_timeout: float


def url_for(gateway_url: str, path: str, params: Mapping[str, Any] | None = None) -> httpx2.URL:
    """The URL of ``path`` at the gateway. Raises ``ValueError`` for a URL: the key goes to the gateway alone."""
    if ABSOLUTE_URL.match(path):
        raise ValueError("pass a path such as /v1/customers, not a whole URL: the gateway knows the token's upstream")
    url = httpx2.URL(gateway_url + (path if path.startswith("/") else f"/{path}"))
    return url.copy_merge_params(params) if params else url


def with_header(given: Mapping[str, str] | None, name: str, value: str) -> dict[str, str]:
    """``given`` and the header ``name``, unless that is among them already, in whatever spelling.

    Raises ``ValueError`` for a value that no header can hold.
    """
    if not value.isprintable():
        raise ValueError(f"{name} is one line of text, without control characters, not {value[:80]!r}")
    headers = dict(given or {})
    same = IDEMPOTENCY_HEADERS if name == IDEMPOTENCY_HEADER else {name.lower()}
    return {name: value, **headers} if same.isdisjoint(each.lower() for each in headers) else headers


def management_path(resource: str, *segments: str) -> str:
    """The path of a resource (``tokens``) or of something in it (``tokens``, its id, ``rotate``)."""
    return "/".join(("/api/v1", resource, *map(_segment, segments)))


def public_id(value: str) -> str:
    """The part of a token that may be seen: ``tok_`` and the 12 characters after it. Anything else stays as it is.

    A token is ``ailink_v1_proj_<project>_tok_<id:12><secret:32><check:6>``; one that was cut short or mistyped
    still holds a secret, so it is not checked any further before it is cut.
    """
    head, mark, tail = value.rpartition("_tok_")
    if mark and head.startswith("ailink_v1"):
        return f"tok_{tail[:PUBLIC_ID_LENGTH]}"
    return value


def query_from(filters: Mapping[str, Any]) -> dict[str, Any]:
    """Filters as query parameters: those that are None left out, tokens cut to their public id, dates in ISO 8601.
    A name that is a word of Python's is written with an underscore after it: ``from_``."""
    return {name.rstrip("_"): _filter(value) for name, value in filters.items() if value is not None}


def _filter(value: Any) -> Any:
    match value:
        case str():
            return public_id(value)
        case date():
            return value.isoformat()
    return value


def _segment(value: str) -> str:
    """``value`` as one segment of a path, whatever is in it."""
    if not value:
        raise ValueError("an id is needed, not an empty string")
    encoded = quote(public_id(value), safe="")
    # A segment of only dots would be resolved away before it is sent, and the call would reach another resource.
    return encoded if encoded.strip(".") else encoded.replace(".", "%2E")
