"""Errors in Gemini's shape: ``{"error": {"code", "message", "status", "details"}}``, both ways.

``details`` are google.rpc messages; how long to wait stands there (``RetryInfo``), not in a header. The text of an
upstream that refused our credential is never repeated, since it may hold a piece of it.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ailink_provider.dialects.failures import is_page, wordless
from ailink_provider.dialects.gemini.fields import decode
from ailink_provider.errors import Failure

STATUS_WORDS = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# The status of an error whose code is missing, as happens inside a stream.
_STATUSES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "DATA_LOSS": 500,
    "UNIMPLEMENTED": 501,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_CODES = {
    401: "upstream_auth",
    402: "insufficient_quota",
    403: "upstream_auth",
    404: "model_not_found",
    408: "upstream_timeout",
    413: "payload_too_large",
    429: "rate_limit_exceeded",
    499: "upstream_failed",
    503: "upstream_overloaded",
    504: "upstream_timeout",
    529: "upstream_overloaded",
}
_TYPE = "type.googleapis.com/google.rpc."
_MESSAGE_LIMIT = 300
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
_OVERFLOW = re.compile(
    r"token count.{0,80}exceeds|too many tokens|too large for model|maximum context length"
    r"|(?:prompt|input) is too long",
    re.IGNORECASE,
)
_TOO_MANY_TOKENS = re.compile(r"token", re.IGNORECASE)
_OUT_OF_MONEY = re.compile(r"(?:credits?|prepay\w*|funds).{0,40}(?:depleted|exhausted)|limit: 0\b", re.IGNORECASE)


def write_error(failure: Failure, request_id: str) -> tuple[int, dict[str, Any]]:
    """Return status and body for a client that speaks Gemini. ``request_id`` is empty where none is known."""
    known = {"request_id": request_id, "policy_name": failure.policy_name, "reason": failure.reason}
    metadata = {key: value for key, value in known.items() if value}
    if failure.details is not None:
        metadata["details"] = msgspec.json.encode(failure.details, enc_hook=str).decode()
    details: list[dict[str, Any]] = [
        {"@type": _TYPE + "ErrorInfo", "reason": failure.code.upper(), "domain": "ailink", "metadata": metadata}
    ]
    if failure.param:
        details.append(
            {
                "@type": _TYPE + "BadRequest",
                "fieldViolations": [{"field": failure.param, "description": failure.message}],
            }
        )
    if failure.retry_after is not None:
        details.append({"@type": _TYPE + "RetryInfo", "retryDelay": f"{failure.retry_after:g}s"})
    word = STATUS_WORDS.get(failure.status, "INTERNAL" if failure.status >= 500 else "INVALID_ARGUMENT")
    return failure.status, {
        "error": {"code": failure.status, "message": failure.message, "status": word, "details": details}
    }


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Return the failure that an upstream's answer means. ``headers`` have lower-case names."""
    try:
        decoded = decode(body)
    except ValueError:  # HTML of a proxy, or nothing
        decoded = None
    if isinstance(decoded, list):  # a stream that was asked for without alt=sse fails with a list of one
        decoded = decoded[0] if decoded else None
    error = decoded.get("error") if isinstance(decoded, dict) else None
    if not isinstance(error, dict):
        said = wordless(status, _clean(body[: 4 * _MESSAGE_LIMIT].decode("utf-8", "replace")))
        if is_page(body) and 400 <= status < 500 and _CODES.get(status, "model_not_found") == "model_not_found":
            return Failure("upstream_failed", said[:_MESSAGE_LIMIT], upstream_status=status)
        error = {"message": said}
    return read_error_object(error, status, headers.get("retry-after"))


def read_error_object(error: Any, status: int | None = None, retry_after: str | None = None) -> Failure:
    """Return the failure that the value of an ``error`` member means. ``status`` is HTTP's, if it is known."""
    error = error if isinstance(error, dict) else {"message": str(error)}
    word = error.get("status")
    if status is None:
        code = error.get("code")
        status = code if isinstance(code, int) and 100 <= code < 600 else _STATUSES.get(str(word), 500)
    message = _clean(error.get("message"))
    details = (
        [item for item in error.get("details") or () if isinstance(item, dict)]
        if isinstance(error.get("details"), list)
        else []
    )
    code_word = _code(status, str(word), message, details)
    if code_word == "upstream_auth":
        return Failure(
            code_word,
            "The upstream refused the credential that this gateway holds for it. Its owner has to check or replace it.",
            upstream_status=status,
        )
    return Failure(
        code_word,
        message or f"The upstream answered with status {status}.",
        param=_field(details),
        retry_after=_retry_after(details, retry_after),
        upstream_status=status,
    )


def _code(status: int, word: str, message: str, details: list[dict[str, Any]]) -> str:
    reasons = [str(item.get("reason")) for item in details]
    if status == 400:
        if any(reason.startswith("API_KEY") for reason in reasons) or message.startswith("API key"):
            return "upstream_auth"
        if word == "FAILED_PRECONDITION":  # the account behind our key: its country, its billing
            return "upstream_failed"
        return "context_length_exceeded" if _OVERFLOW.search(message) else "invalid_request"
    if status == 413 and _TOO_MANY_TOKENS.search(message):
        return "context_length_exceeded"
    if status == 429 and _OUT_OF_MONEY.search(message):
        return "insufficient_quota"
    return _CODES.get(status, "invalid_request" if 400 <= status < 500 else "upstream_failed")


def _clean(message: Any) -> str:
    return _CONTROL.sub(" ", message).strip()[:_MESSAGE_LIMIT] if isinstance(message, str) else ""


def _field(details: list[dict[str, Any]]) -> str | None:
    for item in details:
        violations = item.get("fieldViolations")
        if isinstance(violations, list) and violations and isinstance(violations[0], dict):
            field = violations[0].get("field")
            return field if isinstance(field, str) and field else None
    return None


def _retry_after(details: list[dict[str, Any]], header: str | None) -> float | None:
    for item in details:
        delay = _DURATION.fullmatch(str(item.get("retryDelay")))
        if delay:
            return float(delay[1])
    seconds = _DURATION.fullmatch(f"{header}s")
    return float(seconds[1]) if seconds else None
