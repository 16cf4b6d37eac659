"""OpenAI's errors, in its own words. Source: its API reference and what its API is seen to answer."""

from typing import Any

from ailink_provider.testing.server import Headers
from ailink_provider.testing.vendor import Refusal, Whole, dotted, encode

# kind -> (status, type, code, message)
_ERRORS: dict[str, tuple[int, str, str | None, str]] = {
    "invalid": (400, "invalid_request_error", None, "The request is not valid."),
    "context": (
        400, "invalid_request_error", "context_length_exceeded",
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 128011 tokens. "
        "Please reduce the length of the messages."),
    "auth": (
        401, "invalid_request_error", "invalid_api_key",
        "Incorrect API key provided: sk-wrong***********************7890. You can find your API key at "
        "https://platform.openai.com/account/api-keys."),
    "permission": (
        403, "invalid_request_error", "unsupported_country_region_territory",
        "Country, region, or territory not supported"),
    "model": (
        404, "invalid_request_error", "model_not_found",
        "The model `{model}` does not exist or you do not have access to it."),
    "method": (405, "invalid_request_error", "method_not_supported", "Not allowed to use this method here."),
    "timeout": (408, "server_error", None, "The request timed out."),
    "too_large": (413, "invalid_request_error", None, "Request body is too large."),
    "rate_limit": (
        429, "requests", "rate_limit_exceeded",
        "Rate limit reached for {model} in organization org-mock on requests per min (RPM): Limit 500, Used 500, "
        "Requested 1. Please try again later."),
    "quota": (
        429, "insufficient_quota", "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details."),
    "server": (
        500, "server_error", None, "The server had an error while processing your request. Sorry about that!"),
    "overloaded": (
        503, "server_error", None, "The engine is currently overloaded, please try again later."),
}

STATUSES = {
    400: "invalid", 401: "auth", 403: "permission", 404: "model", 405: "method", 408: "timeout", 413: "too_large",
    429: "rate_limit", 500: "server", 503: "overloaded", 529: "overloaded",
}


def common_headers(serial: int) -> Headers:
    """Return the headers of every answer; the cookie is the one that its edge really sets."""
    return [
        ("openai-organization", "org-mock"), ("openai-processing-ms", "12"), ("openai-version", "2020-10-01"),
        ("x-request-id", f"req_{serial:032x}"),
        ("set-cookie", "__cf_bm=mock; path=/; domain=.api.openai.com; HttpOnly; Secure"),
    ]


def refuse(refusal: Refusal) -> Whole:
    """Return the whole answer that declines."""
    status = refusal.status or _ERRORS[refusal.kind][0]
    headers: Headers = [("content-type", "application/json"), *common_headers(0)]
    if refusal.retry_after is not None:
        headers += [
            ("retry-after", str(-int(-refusal.retry_after // 1))),
            ("retry-after-ms", str(round(refusal.retry_after * 1000))),
            ("x-ratelimit-limit-requests", "500"), ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-requests", f"{refusal.retry_after:g}s"),
        ]
    return Whole(status, headers, encode({"error": described(refusal)}))


def error_event(refusal: Refusal) -> bytes:
    """Return the frame that breaks off a stream."""
    return b"data: %b\n\n" % encode({"error": described(refusal)})


def described(refusal: Refusal) -> dict[str, Any]:
    """Return the error itself."""
    _, kind, code, message = _ERRORS[refusal.kind]
    return {
        "message": refusal.message or message.format(model=refusal.model),
        "type": kind,
        "param": dotted(refusal.where) or ("messages" if refusal.kind == "context" else None),
        "code": refusal.code or code,
    }
