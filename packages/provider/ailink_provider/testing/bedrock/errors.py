"""Bedrock's errors, in its own words: the exception's name in a header, or in a frame. Source: the exceptions of the
Amazon Bedrock Runtime API and what it is seen to answer."""

from ailink_provider.testing.bedrock.frames import exception
from ailink_provider.testing.server import Headers
from ailink_provider.testing.vendor import Refusal, Whole, encode

# kind -> (status, exception, message)
_ERRORS: dict[str, tuple[int, str, str]] = {
    "invalid": (400, "ValidationException", "The request is not valid."),
    "context": (400, "ValidationException", "Input is too long for requested model."),
    "auth": (403, "AccessDeniedException", "Authentication failed: Please make sure your API Key is valid."),
    "permission": (403, "AccessDeniedException", "You don't have access to the model with the specified model ID."),
    "model": (404, "ResourceNotFoundException", "Model {model} not found."),
    "method": (405, "UnknownOperationException", "The requested operation is not recognized by the service."),
    "timeout": (408, "ModelTimeoutException", "The request took too long to process."),
    "too_large": (413, "ValidationException", "The request body is too large."),
    "rate_limit": (429, "ThrottlingException", "Too many requests, please wait before trying again."),
    "quota": (400, "ServiceQuotaExceededException", "Your request exceeds the service quota for your account."),
    "server": (500, "InternalServerException", "The system encountered an unexpected error during processing. Try "
                                               "your request again."),
    "overloaded": (503, "ServiceUnavailableException", "Bedrock is unable to process your request."),
}
# The only exceptions that a stream can bring; the others' faults are the model's.
_IN_STREAMS = {"ValidationException", "ThrottlingException", "InternalServerException", "ServiceUnavailableException"}

STATUSES = {
    400: "invalid", 401: "auth", 403: "auth", 404: "model", 405: "method", 408: "timeout", 413: "too_large",
    429: "rate_limit", 500: "server", 503: "overloaded", 504: "timeout", 529: "overloaded",
}


def common_headers(serial: int, content_type: str = "application/json") -> Headers:
    """Return the headers of every answer."""
    return [("content-type", content_type), ("x-amzn-requestid", f"00000000-0000-4000-8000-{serial:012x}")]


def refuse(refusal: Refusal) -> Whole:
    """Return the whole answer that declines."""
    status, name, message = _ERRORS[refusal.kind]
    headers = [*common_headers(0), ("x-amzn-errortype", f"{name}:http://internal.amazon.com/coral/com.amazon.bedrock/")]
    if refusal.retry_after is not None:
        headers.append(("retry-after", str(-int(-refusal.retry_after // 1))))
    text = refusal.message or message.format(model=refusal.model)
    return Whole(refusal.status or status, headers, encode({"message": text}))


def error_event(refusal: Refusal) -> bytes:
    """Return the frame that breaks off a stream."""
    _, name, message = _ERRORS[refusal.kind]
    name = name if name in _IN_STREAMS else "ModelStreamErrorException"
    return exception(name[:1].lower() + name[1:], refusal.message or message.format(model=refusal.model))
