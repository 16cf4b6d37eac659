"""Errors, both ways: an upstream's answer into a ``Failure``, a ``Failure`` into the body and status a client expects.

An exception has a name, in the header ``x-amzn-errortype`` or in the body, and a message; inside a stream it is a frame
of its own. Source: the exceptions of the Amazon Bedrock Runtime API, AWS's common errors. An upstream's words about our
key are never passed on.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from ailink_provider.dialects.bedrock_converse.eventstream import Frame, encode
from ailink_provider.dialects.failures import is_page, wordless
from ailink_provider.errors import Failure

# Exceptions whose name says more than their status does.
_CODE_OF_NAME = {
    "AccessDeniedException": "upstream_auth", "ExpiredTokenException": "upstream_auth",
    "IncompleteSignatureException": "upstream_auth", "InvalidSignatureException": "upstream_auth",
    "MissingAuthenticationTokenException": "upstream_auth", "UnrecognizedClientException": "upstream_auth",
    "ModelNotReadyException": "upstream_overloaded", "ServiceQuotaExceededException": "insufficient_quota",
    "ResourceNotFoundException": "model_not_found",
}
_STATUS_OF_NAME = {
    "ValidationException": 400, "AccessDeniedException": 403, "ResourceNotFoundException": 404,
    "ModelTimeoutException": 408, "ModelErrorException": 424, "ModelStreamErrorException": 424,
    "ModelNotReadyException": 429, "ThrottlingException": 429, "InternalServerException": 500,
    "ServiceUnavailableException": 503,
}
_CODE_OF_STATUS = {
    400: "invalid_request", 401: "upstream_auth", 402: "insufficient_quota", 403: "upstream_auth",
    405: "invalid_request", 408: "upstream_timeout", 409: "conflict", 413: "payload_too_large",
    422: "invalid_request", 424: "upstream_failed", 429: "rate_limit_exceeded", 503: "upstream_overloaded",
    504: "upstream_timeout",
}
_TOO_LONG = re.compile(
    r"(input|prompt) is too long|exceeds? (the )?(context|maximum context)|maximum context length|context window|"
    r"too many (input )?tokens|input (token count|tokens) exceed|too large for model|maximum input length",
    re.IGNORECASE)
_NO_MODEL = re.compile(r"model identifier is invalid|model .{0,200}(not found|does not exist|end of its life)",
                       re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_SECONDS = re.compile(r"\d{1,9}(\.\d{1,9})?")
_LONGEST = 2000
_LONGEST_OF_OTHERS = 300
_MESSAGES = {
    "upstream_auth": "Amazon Bedrock refused the credential that is configured for it: check the key, its region and "
                     "which models it may use.",
    "insufficient_quota": "Amazon Bedrock reports that a quota of the account behind this credential is used up.",
}

# status -> the exception that a client of this API raises for it
_NAMES = {
    400: "ValidationException", 401: "AccessDeniedException", 402: "ServiceQuotaExceededException",
    403: "AccessDeniedException", 404: "ResourceNotFoundException", 408: "ModelTimeoutException",
    409: "ConflictException", 413: "ValidationException", 422: "ValidationException", 424: "ModelErrorException",
    429: "ThrottlingException", 503: "ServiceUnavailableException", 504: "ModelTimeoutException",
}
_NAMES_IN_STREAMS = {
    429: "throttlingException", 424: "modelStreamErrorException", 502: "modelStreamErrorException",
    503: "serviceUnavailableException", 504: "serviceUnavailableException",
}


# --- reading -------------------------------------------------------------------------------------


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """Return the failure that an upstream's answer means. ``headers`` have lower-case names."""
    try:
        decoded = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        decoded = None
    error = decoded if isinstance(decoded, dict) else {}
    kind = str(headers.get("x-amzn-errortype") or error.get("__type") or error.get("code") or "")
    waited = headers.get("retry-after", "")
    retry_after = float(waited) if _SECONDS.fullmatch(waited) else None
    message = error.get("message") or error.get("Message")
    if isinstance(message, str):
        return failure_of(kind, message, status, retry_after)
    if status == 404 and not kind and not is_page(body):
        code = "not_found"
    else:
        code = _CODE_OF_NAME.get(_bare(kind)) or _CODE_OF_STATUS.get(status, "upstream_failed")
        if code == "invalid_request" and is_page(body):
            code = "upstream_failed"
    said = wordless(status, _clean(body[:_LONGEST].decode("utf-8", "replace"), _LONGEST_OF_OTHERS))
    return Failure(code, _MESSAGES.get(code, said), retry_after=retry_after, upstream_status=status)


def failure_of(kind: str, message: str, status: int | None = None, retry_after: float | None = None) -> Failure:
    """Return the failure that an exception means. ``kind`` is its name as it came; ``status`` is None inside a stream,
    where the name decides."""
    name = _bare(kind)
    if status is None or status < 400:
        status = _STATUS_OF_NAME.get(name, 500)
    message = _clean(message, _LONGEST_OF_OTHERS if status >= 500 else _LONGEST) or f"The upstream answered {status}."
    code = _CODE_OF_NAME.get(name) or _CODE_OF_STATUS.get(status, "upstream_failed")
    if status in (400, 413, 424) and _TOO_LONG.search(message):
        code = "context_length_exceeded"
    elif code == "invalid_request" and _NO_MODEL.search(message):
        code = "model_not_found"
    return Failure(code, _MESSAGES.get(code, message), retry_after=retry_after, upstream_status=status)


def failure_in(frame: Frame) -> Failure:
    """Return the failure that an exception or error inside a stream means."""
    if frame.word(":message-type") == "error":
        return failure_of(frame.word(":error-code"), frame.word(":error-message"))
    try:
        payload = msgspec.json.decode(frame.payload)
    except (ValueError, RecursionError):
        payload = None
    message = payload.get("message") if isinstance(payload, dict) else None
    return failure_of(frame.word(":exception-type"), message if isinstance(message, str) else "")


def _bare(kind: str) -> str:
    """Return the name of an exception without its namespace, its documentation and the lower case of streams."""
    name = kind.partition(":")[0].rpartition("#")[2]
    return name[:1].upper() + name[1:]


def _clean(text: str, longest: int) -> str:
    return _CONTROL.sub(" ", text).strip()[:longest]


# --- writing -------------------------------------------------------------------------------------


def write_error(failure: Failure, request_id: str) -> tuple[int, dict[str, Any]]:
    """Return status and body for a client of this dialect. Its name stands in the body, where SDKs look for one that
    is not in a header."""
    name = _NAMES.get(failure.status, "ValidationException" if failure.status < 500 else "InternalServerException")
    body: dict[str, Any] = {"__type": name, "message": failure.message, "request_id": request_id}
    for member in ("policy_name", "reason", "details"):
        if getattr(failure, member) is not None:
            body[member] = getattr(failure, member)
    return failure.status, body


def error_frame(failure: Failure, request_id: str = "") -> bytes:
    """Return the frame that ends a stream with an exception."""
    usual = "validationException" if failure.status < 500 else "internalServerException"
    name = _NAMES_IN_STREAMS.get(failure.status, usual)
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    body = {"message": failure.message} | ({"request_id": request_id} if request_id else {})
    return encode(headers, msgspec.json.encode(body))
