"""Anthropic's errors, in its own words. Source: its API reference and what its API is seen to answer."""

from datetime import UTC, datetime, timedelta
from typing import Any

from ailink_provider.testing.server import Headers
from ailink_provider.testing.vendor import Refusal, Whole, encode

# kind -> (status, type, message)
_ERRORS: dict[str, tuple[int, str, str]] = {
    "invalid": (400, "invalid_request_error", "The request is not valid."),
    "context": (400, "invalid_request_error", "prompt is too long: 200011 tokens > 200000 maximum"),
    "auth": (401, "authentication_error", "invalid x-api-key"),
    "quota": (
        402, "billing_error",
        "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
        "purchase credits."),
    "permission": (403, "permission_error", "Your API key does not have permission to use the specified resource."),
    "model": (404, "not_found_error", "model: {model}"),
    "method": (405, "invalid_request_error", "Method Not Allowed"),
    "too_large": (413, "request_too_large", "Request exceeds the maximum size"),
    "rate_limit": (
        429, "rate_limit_error",
        "This request would exceed your organization's rate limit of 50 requests per minute."),
    "server": (500, "api_error", "Internal server error"),
    "timeout": (504, "timeout_error", "Request timed out"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
}

STATUSES = {
    400: "invalid", 401: "auth", 402: "quota", 403: "permission", 404: "model", 405: "method", 413: "too_large",
    429: "rate_limit", 500: "server", 503: "overloaded", 504: "timeout", 529: "overloaded",
}


def common_headers(serial: int) -> Headers:
    """Return the headers of every answer."""
    return [("request-id", _request_id(serial)), ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
            ("anthropic-ratelimit-requests-limit", "50"), ("anthropic-ratelimit-requests-remaining", "49")]


def refuse(refusal: Refusal) -> Whole:
    """Return the whole answer that declines."""
    status = refusal.status or _ERRORS[refusal.kind][0]
    headers: Headers = [("content-type", "application/json"), ("request-id", _request_id(0))]
    if refusal.retry_after is not None:
        reset = datetime.now(UTC) + timedelta(seconds=refusal.retry_after)
        headers += [
            ("retry-after", str(-int(-refusal.retry_after // 1))),
            ("anthropic-ratelimit-requests-limit", "50"), ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", reset.strftime("%Y-%m-%dT%H:%M:%SZ")),
            ("anthropic-ratelimit-unified-status", "rejected"),
        ]
    return Whole(status, headers, encode({**_body(refusal), "request_id": _request_id(0)}))


def error_event(refusal: Refusal) -> bytes:
    """Return the frame that breaks off a stream."""
    return b"event: error\ndata: %b\n\n" % encode(_body(refusal))


def _body(refusal: Refusal) -> dict[str, Any]:
    _, kind, message = _ERRORS[refusal.kind]
    return {"type": "error", "error": {"type": kind, "message": refusal.message or message.format(model=refusal.model)}}


def _request_id(serial: int) -> str:
    return f"req_011C{serial:020d}"
