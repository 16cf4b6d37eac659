"""Failures inside a stream or a reply, read and written; those of a whole answer have OpenAI's one shape, ``failures``.

A stream breaks with an ``error`` event, or ends with ``response.failed``. For clients it is both: OpenAI's SDKs raise
``APIError`` on an event that has an ``error``, other clients wait for a terminal event.
"""

from typing import Any

import msgspec

from ailink_provider.dialects.failures import read_error, stream_error, write_error
from ailink_provider.dialects.members import as_object, as_text
from ailink_provider.errors import Failure

__all__ = ["broken", "failed", "frame", "read_error", "refusal_of", "write_error"]

# How the codes begin that a reply fails with by its client's fault.
_OF_THE_CLIENT = ("invalid_", "image_", "empty_image", "unsupported_image", "failed_to_download", "bio_policy",
                  "misalignment_policy")
# Our codes that clients know by the same name, and what the API calls the rest.
_CODES = {"rate_limit_exceeded": "rate_limit_exceeded", "context_length_exceeded": "context_length_exceeded",
          "insufficient_quota": "insufficient_quota"}


def refusal_of(event: dict[str, Any]) -> Failure:
    """Return the failure that an ``error`` event means, flat or nested, or a reply that failed."""
    error = event.get("error") or event
    if isinstance(error, dict) and as_text(error.get("code")).startswith(_OF_THE_CLIENT):
        error = error | {"type": "invalid_request_error"}
    return stream_error(error)


def failed(failure: Failure, response: dict[str, Any]) -> dict[str, Any]:
    """Return a reply that is under way as one that failed."""
    code = _CODES.get(failure.code) or ("invalid_prompt" if failure.status < 500 else "server_error")
    return response | {"status": "failed", "error": {"code": code, "message": failure.message}}


def broken(failure: Failure, response: dict[str, Any], number: int, request_id: str = "") -> bytes:
    """Return the two events that end a broken stream, the first with this ``sequence_number``."""
    error = as_object(write_error(failure, request_id)[1]["error"])
    flat = {key: error[key] for key in ("code", "message", "param")}
    return (frame({"type": "error", "sequence_number": number} | flat | {"error": error})
            + frame({"type": "response.failed", "sequence_number": number + 1, "response": failed(failure, response)}))


def frame(event: dict[str, Any]) -> bytes:
    """Return the bytes of one event."""
    return b"event: " + as_text(event["type"]).encode() + b"\ndata: " + msgspec.json.encode(event) + b"\n\n"
