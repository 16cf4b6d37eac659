"""Failures, read from an upstream's answer and written for a client, whole or within a stream. Raises nothing itself.

The shape is the one that ``failures`` knows; only an error inside a stream has a form of its own.
"""

import msgspec

from ailink_provider.dialects.failures import read_error, stream_error, write_error
from ailink_provider.errors import Failure

__all__ = ["read_error", "stream_error", "write_error", "write_stream_error"]


def write_stream_error(failure: Failure, request_id: str = "") -> bytes:
    """Return the event that ends a broken stream: OpenAI's SDKs raise ``APIError`` on it."""
    return b"data: " + msgspec.json.encode(write_error(failure, request_id)[1]) + b"\n\n"
