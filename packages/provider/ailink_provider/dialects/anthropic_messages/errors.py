"""Errors, both ways: an upstream's answer into a ``Failure``, a ``Failure`` into the body and status a client expects.

Source: the vendor's page on errors, `ErrorType` of its SDK. An upstream's words about our key are never passed on.
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import msgspec

from ailink_provider.dialects.failures import is_page, wordless
from ailink_provider.errors import CODES, Failure

_STATUS_OF_TYPE = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "conflict_error": 409, "request_too_large": 413, "rate_limit_error": 429, "api_error": 500,
    "timeout_error": 504, "overloaded_error": 529,
}
_CODE_OF_STATUS = {
    400: "invalid_request", 401: "upstream_auth", 402: "insufficient_quota", 403: "upstream_auth", 404: "not_found",
    408: "upstream_timeout", 409: "conflict", 413: "payload_too_large", 422: "invalid_request", 424: "upstream_failed",
    429: "rate_limit_exceeded", 503: "upstream_overloaded", 504: "upstream_timeout", 529: "upstream_overloaded",
}
_TOO_LONG = re.compile(
    r"prompt is too long|exceeds? (the )?context|maximum context length|context window|input is too long|"
    r"too many (input )?tokens|input token count exceeds|too large for model", re.IGNORECASE)
_NO_MONEY = re.compile(r"credit balance|spend(ing)?[ _]limit|usage limits?|quota|billing", re.IGNORECASE)
_PATH = re.compile(r"^([a-z_]+(?:\.[\w-]+)*): ")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_LONGEST = 2000
_LONGEST_OF_OTHERS = 300

_MESSAGES = {
    "upstream_auth": "The provider refused the credential that is configured for it: check the key and what it may "
                     "use.",
    "insufficient_quota": "The provider reports that the account behind this credential is out of credit or at its "
                          "spending limit.",
}
_STATUSES = {"upstream_overloaded": 529, "insufficient_quota": 402}
_TYPES = {"insufficient_quota": "billing_error"}


# --- reading -------------------------------------------------------------------------------------


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Return the failure that an upstream's answer means. ``headers`` have lower-case names."""
    try:
        decoded = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        decoded = None
    error = decoded.get("error") if isinstance(decoded, dict) else None
    if isinstance(error, dict):
        return failure_of(error, status, _retry_after(headers))
    text = error if isinstance(error, str) else body[:_LONGEST].decode("utf-8", "replace")
    code = _code(status, "", text, {})
    if is_page(body) and code in ("not_found", "model_not_found", "invalid_request", "conflict"):
        code = "upstream_failed"
    message = _MESSAGES.get(code) or wordless(status, _clean(text, _LONGEST_OF_OTHERS))
    return Failure(code, message, retry_after=_retry_after(headers), upstream_status=status)


def failure_of(error: Any, status: int | None = None, retry_after: float | None = None) -> Failure:
    """Return the failure that an error object means. ``status`` is None inside a stream, where the type decides."""
    if not isinstance(error, dict):
        error = {"message": error}
    kind = str(error.get("type"))
    if status is None or status < 400 or (status >= 500 and kind in _STATUS_OF_TYPE and kind != "api_error"):
        status = _STATUS_OF_TYPE.get(kind, 500)
    message = _clean(str(error.get("message") or "no message"), _LONGEST_OF_OTHERS if status >= 500 else _LONGEST)
    code = _code(status, kind, message, error)
    path = _PATH.match(message) if code == "invalid_request" else None
    return Failure(
        code, _MESSAGES.get(code, message), param=_client_path(path.group(1)) if path else None,
        retry_after=retry_after, upstream_status=status)


def _code(status: int, kind: str, message: str, error: Mapping[str, Any]) -> str:
    if status in (400, 413) and _TOO_LONG.search(message):
        return "context_length_exceeded"
    details = error.get("details")
    reason = str(details.get("error_code")) if isinstance(details, dict) else ""
    if kind == "billing_error" or (status in (400, 403, 429) and _NO_MONEY.search(f"{message} {reason}")):
        return "insufficient_quota"
    if status == 404 and "model" in message.lower():
        return "model_not_found"
    return _CODE_OF_STATUS.get(status) or ("invalid_request" if 400 <= status < 500 else "upstream_failed")


def _client_path(path: str) -> str:
    """Return ``messages.0.content`` as ``messages[0].content``."""
    return re.sub(r"\.(\d+)", r"[\1]", path)


def _clean(text: str, longest: int) -> str:
    return _CONTROL.sub(" ", text).strip()[:longest]


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait, as ``retry-after-ms`` or ``retry-after`` (seconds or a date) give them."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "")
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
            return float(value) * scale
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time())
    except (ValueError, OverflowError):
        return None


# --- writing -------------------------------------------------------------------------------------


def write_error(failure: Failure, request_id: str) -> tuple[int, dict[str, Any]]:
    """Return status and body for a client of this dialect."""
    status = _STATUSES.get(failure.code, failure.status) if failure.status == CODES[failure.code][0] else failure.status
    return status, {**error_body(failure), "request_id": request_id}


def error_body(failure: Failure) -> dict[str, Any]:
    """Return the error object, as it also stands in a stream."""
    error: dict[str, Any] = {"type": _TYPES.get(failure.kind, failure.kind), "message": failure.message}
    for name in ("policy_name", "reason", "details"):
        if getattr(failure, name) is not None:
            error[name] = getattr(failure, name)
    return {"type": "error", "error": error}


def error_event(failure: Failure, request_id: str = "") -> bytes:
    """Return the event that ends a stream with an error."""
    body = error_body(failure) | ({"request_id": request_id} if request_id else {})
    return b"event: error\ndata: " + msgspec.json.encode(body) + b"\n\n"
