"""Ollama's errors, in its own words: one member, whatever went wrong. Source: its server, ``server/routes.go``."""

from ailink_provider.testing.vendor import Refusal, Whole, encode

# kind -> (status, message)
_ERRORS: dict[str, tuple[int, str]] = {
    "invalid": (400, "invalid request"),
    "context": (400, "the input length exceeds the context length"),
    "auth": (401, "unauthorized"),
    "quota": (402, "you have run out of credit"),
    "permission": (403, "forbidden"),
    "model": (404, "model '{model}' not found"),
    "method": (405, "method not allowed"),
    "too_large": (413, "http: request body too large"),
    "rate_limit": (429, "too many requests"),
    "server": (500, "llama runner process has terminated: signal: killed"),
    "overloaded": (503, "server busy, please try again.  maximum pending requests exceeded"),
}

STATUSES = {
    400: "invalid", 401: "auth", 402: "quota", 403: "permission", 404: "model", 405: "method", 413: "too_large",
    429: "rate_limit", 500: "server", 503: "overloaded", 529: "overloaded",
}


def refuse(refusal: Refusal) -> Whole:
    """Return the whole answer that declines."""
    headers = [("content-type", "application/json; charset=utf-8")]
    if refusal.retry_after is not None:
        headers.append(("retry-after", str(-int(-refusal.retry_after // 1))))
    return Whole(refusal.status or _ERRORS[refusal.kind][0], headers, encode({"error": _said(refusal)}))


def error_event(refusal: Refusal) -> bytes:
    """Return the line that breaks off a stream: it has no status."""
    return encode({"error": _said(refusal)}) + b"\n"


def _said(refusal: Refusal) -> str:
    return refusal.message or _ERRORS[refusal.kind][1].format(model=refusal.model)
