"""Gemini's errors, in its own words: retry times and reasons stand in the body. Source: google.rpc.Status and what
its API is seen to answer."""

from typing import Any

from ailink_provider.testing.server import Headers
from ailink_provider.testing.vendor import Path, Refusal, Whole, encode

_TYPES = "type.googleapis.com/google.rpc."
_BAD_KEY = {"@type": f"{_TYPES}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com",
            "metadata": {"service": "generativelanguage.googleapis.com"}}
_QUOTA = {"@type": f"{_TYPES}QuotaFailure", "violations": [{
    "quotaMetric": "generativelanguage.googleapis.com/generate_content_free_tier_requests",
    "quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}

# kind -> (HTTP status and code, status word, message, details)
_ERRORS: dict[str, tuple[int, str, str, list[dict[str, Any]]]] = {
    "invalid": (400, "INVALID_ARGUMENT", "Request contains an invalid argument.", []),
    "context": (
        400, "INVALID_ARGUMENT",
        "The input token count (1048587) exceeds the maximum number of tokens allowed (1048576).", []),
    "auth": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [_BAD_KEY]),
    "unauthenticated": (
        401, "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
        "authentication credential.", []),
    "permission": (403, "PERMISSION_DENIED", "The caller does not have permission", []),
    "model": (
        404, "NOT_FOUND",
        "models/{model} is not found for API version v1beta, or is not supported for generateContent. Call ListModels "
        "to see the list of available models and their supported methods.", []),
    "too_large": (413, "INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes.", []),
    "rate_limit": (
        429, "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.", [_QUOTA]),
    "quota": (
        429, "RESOURCE_EXHAUSTED",
        "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing.", []),
    "server": (500, "INTERNAL", "An internal error has occurred. Please retry or report.", []),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later.", []),
    "timeout": (504, "DEADLINE_EXCEEDED", "The request timed out. Please try again.", []),
}

STATUSES = {
    400: "invalid", 401: "unauthenticated", 403: "permission", 404: "model", 413: "too_large", 429: "rate_limit",
    500: "server", 503: "overloaded", 504: "timeout", 529: "overloaded",
}


def common_headers(content_type: str) -> Headers:
    """Return the headers of every answer."""
    return [("content-type", content_type), ("vary", "Origin"), ("vary", "X-Origin"),
            ("server", "scaffolding on HTTPServer2"), ("x-content-type-options", "nosniff")]


def refuse(refusal: Refusal) -> Whole:
    """Return the whole answer that declines."""
    body = _body(refusal)
    return Whole(refusal.status or _ERRORS[refusal.kind][0], common_headers("application/json; charset=UTF-8"),
                 encode(body))


def error_event(refusal: Refusal) -> bytes:
    """Return the frame that breaks off a stream."""
    return b"data: %b\r\n\r\n" % encode(_body(refusal))


def place(where: Path) -> str:
    """Return a path as Google's messages write it: ``contents[0].parts[0].function_call``."""
    text = ""
    for step in where:
        snake = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in str(step))
        text += f"[{step}]" if isinstance(step, int) else f".{snake}"
    return text.removeprefix(".")


def _body(refusal: Refusal) -> dict[str, Any]:
    code, status, message, details = _ERRORS[refusal.kind]
    if refusal.retry_after is not None:
        details = [*details, {"@type": f"{_TYPES}RetryInfo", "retryDelay": f"{refusal.retry_after:g}s"}]
    text = refusal.message or message.format(model=refusal.model)
    error: dict[str, Any] = {"code": refusal.status or code, "message": text, "status": status}
    return {"error": {**error, "details": details} if details else error}
