"""Failures as OpenAI words them, which is how most services answer and how the gateway does: read from an upstream's
answer, written for a client. Knows no dialect; those whose errors have this shape share it. Raises nothing itself.

The shape is ``{"error": {"message", "type", "param", "code"}}``; services that only resemble it also send
``{"error": "text"}``, ``{"message": ...}``, ``{"detail": ...}``, lists of any of these, or HTML.
"""

import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

import msgspec

from ailink_provider.errors import Failure

# What msgspec raises on bytes that are no JSON, no text, or nested beyond reason.
UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_QUOTED_LIMIT = 1000
_UNPARSED_LIMIT = 300
_DEPTH = 6  # of wrappings within wrappings
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
# Upstreams like to quote the key they refuse, and the account it belongs to.
_KEY_LIKE = re.compile(r"\b(?:sk|pk|rk|gsk|xai|org|proj|key|AIza)[-_][\w*.-]{4,}|\bAIza[\w-]{8,}")
_CONTEXT = re.compile(
    r"context[ _]length|context[ _]window|maximum context|(?:prompt|input) is too long|too many (?:input )?tokens"
    r"|too large for model|token count exceeds|reduce the length of the (?:messages|prompt)", re.IGNORECASE)
_KEY_REFUSED = re.compile(
    r"(?:invalid|incorrect|expired|missing)[\w ]{0,20} api[ _-]?key|api[ _-]?key[\w ]{0,12} not valid", re.IGNORECASE)
_QUOTA = re.compile(
    r"insufficient[ _](?:quota|credit|balance|funds)|exceeded your current quota|billing", re.IGNORECASE)

_STATUS_CODES = {
    401: "upstream_auth", 403: "upstream_auth", 402: "insufficient_quota", 408: "upstream_timeout", 409: "conflict",
    413: "payload_too_large", 422: "invalid_request", 424: "upstream_failed", 429: "rate_limit_exceeded",
    503: "upstream_overloaded", 504: "upstream_timeout", 529: "upstream_overloaded",
}
# What an error inside a stream says of itself, where it gives no status.
_WORD_STATUSES = (
    ("rate_limit", 429), ("too_many_requests", 429), ("insufficient_quota", 402), ("overloaded", 529),
    ("unavailable", 503), ("timeout", 504), ("authentication", 401), ("permission", 403), ("not_found", 404),
    ("conflict", 409), ("too_large", 413), ("invalid_request", 400), ("context_length", 400),
)
_MESSAGES = {
    "upstream_auth": "The upstream refused the gateway's key, or its right to this. Check the credential in use.",
    "insufficient_quota": "The upstream account has run out of credit or quota.",
}


class Said(NamedTuple):
    """What an error body says, in whatever shape it says it."""

    message: str = ""
    kind: str = ""
    code: str = ""
    param: str | None = None


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Return the failure that an upstream's error answer means. ``headers`` have lower-case names."""
    try:
        said = _said(msgspec.json.decode(body))
    except UNREADABLE:
        said = None
    if said is None or not (said.message or said.code or said.kind):
        text = _clean(body.decode("utf-8", "replace"), _UNPARSED_LIMIT)
        code = _STATUS_CODES.get(status, "upstream_failed") if is_page(body) else _code(status, Said(text))
        said = Said(wordless(status, text))
    else:
        code = _code(status, said)
    return _failure(code, said, status, _retry_after(headers))


def is_page(body: bytes) -> bool:
    """Whether an error's body is HTML: a page by a proxy on the way, which says nothing of the request itself, whatever
    its status. An empty body or plain text is taken to be the vendor's.
    """
    return body.lstrip().startswith(b"<")


def wordless(status: int, text: str) -> str:
    """Return the message of an error that is none of the vendor's usual ones; ``text`` is its cleaned body."""
    return f"The upstream answered {status}: {text}" if text else f"The upstream answered {status} with an empty body."


def stream_error(chunk: Any) -> Failure:
    """Return the failure that an error inside a stream, or inside a reply with status 200, means."""
    said = _said(chunk) or Said()
    words = f"{said.kind} {said.code}".lower()
    status = next((status for word, status in _WORD_STATUSES if word in words), 500)
    if len(said.code) == 3 and said.code.isdecimal() and 400 <= int(said.code) < 600:
        status = int(said.code)
    if not said.message:
        said = said._replace(message="The upstream broke off its answer with an error.")
    return _failure(_code(status, said), said, status, None)


def write_error(failure: Failure, request_id: str) -> tuple[int, dict[str, Any]]:
    """Return status and body of a failure for the client."""
    error: dict[str, Any] = {"message": failure.message, "type": failure.kind, "code": failure.code,
                             "param": failure.param}
    if request_id:
        error["request_id"] = request_id
    for name in ("policy_name", "reason", "details"):
        if (value := getattr(failure, name)) is not None:
            error[name] = value
    return failure.status, {"error": error, "detail": failure.message}


def _said(value: Any) -> Said | None:
    for _ in range(_DEPTH):
        if isinstance(value, list):
            value = value[0] if value else None
        elif isinstance(value, dict) and (inner := _inner(value)):
            value = inner
        else:
            break
    if isinstance(value, str):
        return Said(value)
    if not isinstance(value, dict):
        return None
    message = value.get("message") or value.get("detail") or value.get("msg")
    kind, code, param = value.get("type") or value.get("status"), value.get("code"), value.get("param")
    return Said(str(message or ""), kind if isinstance(kind, str) else "",
                str(code) if isinstance(code, str | int) else "", param if isinstance(param, str) else None)


def _inner(value: dict[str, Any]) -> Any:
    wrapped = value.get("error") or value.get("errors")
    if wrapped:
        return wrapped
    return next((value[key] for key in ("message", "detail") if isinstance(value.get(key), dict | list)), None)


def _code(status: int, said: Said) -> str:
    words = f"{said.kind} {said.code} {said.message}"
    if status in (400, 413, 422, 500) and _CONTEXT.search(words):
        return "context_length_exceeded"
    if status == 400 and (said.code == "invalid_api_key" or _KEY_REFUSED.search(words)):
        return "upstream_auth"
    if status == 429 and _QUOTA.search(words):
        return "insufficient_quota"
    if status == 404:
        return "model_not_found" if "model" in words.lower() else "not_found"
    return _STATUS_CODES.get(status) or ("invalid_request" if 400 <= status < 500 else "upstream_failed")


def _failure(code: str, said: Said, status: int, retry_after: float | None) -> Failure:
    message = _MESSAGES.get(code) or _clean(said.message, _QUOTED_LIMIT) or f"The upstream answered {status}."
    return Failure(code, message, param=said.param if code == "invalid_request" else None, retry_after=retry_after,
                   upstream_status=status)


def _clean(text: str, limit: int) -> str:
    text = _KEY_LIKE.sub("***", _CONTROLS.sub(" ", text)).strip()
    return text if len(text) <= limit else text[:limit - 1] + "…"


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds to wait: OpenAI's exact milliseconds, else HTTP's seconds or date."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "nan")) / scale
        except ValueError:
            continue
        if math.isfinite(seconds):
            return max(seconds, 0.0)
    try:
        return max(parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
