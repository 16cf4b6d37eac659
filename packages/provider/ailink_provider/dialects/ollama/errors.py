"""Failures, read from an upstream's answer and written for a client, whole or within a stream. Raises nothing itself.

The shape is ``{"error": "text"}``; a proxy in between may send an object there, other names, or HTML. Within a stream
it is a line of its own, without a status.
"""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from ailink_provider.dialects.failures import UNREADABLE, is_page, wordless
from ailink_provider.dialects.members import as_object, as_text
from ailink_provider.errors import Failure

_TEXT_LIMIT = 300
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_CONTEXT = re.compile(
    r"exceeds?(?: the)?(?: available| maximum| model's)? context|context (?:length|size|window)"
    r"|(?:prompt|input) is too long|too many tokens",
    re.IGNORECASE,
)
_BUSY = re.compile(r"server busy|overloaded|maximum pending requests", re.IGNORECASE)
_QUOTA = re.compile(r"insufficient[ _](?:quota|credit|balance|funds)|billing|out of credit", re.IGNORECASE)

_STATUS_CODES = {
    401: "upstream_auth",
    402: "insufficient_quota",
    403: "upstream_auth",
    408: "upstream_timeout",
    409: "conflict",
    413: "payload_too_large",
    424: "upstream_failed",
    429: "rate_limit_exceeded",
    503: "upstream_overloaded",
    504: "upstream_timeout",
    529: "upstream_overloaded",
}
_MESSAGES = {
    "upstream_auth": "The upstream refused the gateway's key, or its right to this. Check the credential in use.",
    "insufficient_quota": "The upstream account has run out of credit or quota.",
}


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Return the failure that an upstream's error answer means. ``headers`` have lower-case names."""
    try:
        said = _said(msgspec.json.decode(body))
    except UNREADABLE:
        said = ""
    if said:
        code = _code(status, said)
    else:
        text = _clean(body.decode("utf-8", "replace"))
        code = _STATUS_CODES.get(status, "upstream_failed") if is_page(body) else _code(status, text)
        said = wordless(status, text)
    message = _MESSAGES.get(code) or _clean(said)
    return Failure(code, message, retry_after=_retry_after(headers), upstream_status=status)


def stream_error(body: Any) -> Failure:
    """Return the failure that an error in a stream, or in a reply with status 200, means."""
    said = _said(body) or "The upstream broke off its answer with an error."
    return Failure("upstream_overloaded" if _BUSY.search(said) else _code(500, said), _clean(said))


def write_error(failure: Failure, request_id: str) -> tuple[int, dict[str, Any]]:
    """Return status and body of a failure for the client. Clients read ``error``; what is beside it helps people."""
    body: dict[str, Any] = {"error": failure.message, "code": failure.code}
    beside = {"param": failure.param, "policy_name": failure.policy_name, "reason": failure.reason,
              "details": failure.details, "request_id": request_id or None}  # fmt: skip
    return failure.status, body | {name: value for name, value in beside.items() if value is not None}


def write_stream_error(failure: Failure, request_id: str = "") -> bytes:
    """Return the line that ends a broken stream: Ollama's SDKs raise on it."""
    return msgspec.json.encode(write_error(failure, request_id)[1]) + b"\n"


def _said(body: Any) -> str:
    """Return the text of an error in whatever shape, "" if there is none."""
    if isinstance(body, str):
        return body
    source = as_object(body)
    error = source.get("error")
    inner = error if isinstance(error, dict) else source
    return as_text(error) or next((text for key in ("message", "detail") if (text := as_text(inner.get(key)))), "")


def _code(status: int, said: str) -> str:
    if status in (400, 413, 422, 500) and _CONTEXT.search(said):
        return "context_length_exceeded"
    if status == 429 and _QUOTA.search(said):
        return "insufficient_quota"
    if status == 404:
        return "model_not_found" if "model" in said.lower() else "not_found"
    return _STATUS_CODES.get(status) or ("invalid_request" if 400 <= status < 500 else "upstream_failed")


def _clean(text: str) -> str:
    text = _CONTROLS.sub(" ", text[: 4 * _TEXT_LIMIT]).strip()
    return text if len(text) <= _TEXT_LIMIT else text[: _TEXT_LIMIT - 1] + "…"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait, given as a number or a date."""
    value = headers.get("retry-after", "")
    try:
        seconds = float(value)
        return max(seconds, 0.0) if math.isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
