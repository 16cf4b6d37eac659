"""Requests to an upstream that is in this process: it stands where the transport stands and speaks OpenAI's wire
format, so that every other one reaches it through translation. Reads what is asked; answers nothing itself.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from ailink_provider.dialects import Operation
from ailink_provider.dialects.openai_chat import DIALECT
from ailink_provider.errors import Failure
from ailink_provider.transport import Request

JSON = (b"content-type", b"application/json")
STREAM = (b"content-type", b"text/event-stream")


async def asked(request: Request, names: Sequence[str], who: str) -> tuple[Operation, Any]:
    """Return which of the operations of these names a request asks for, and the canonical request of it.

    Raises ``Failure``: ``not_found`` or ``method_not_allowed``, in which ``who`` begins the sentence, or
    ``invalid_request``.
    """
    operation = _operation(request, names, who)
    return operation, operation.read_request(_decode(await _body(request)))


def _operation(request: Request, names: Sequence[str], who: str) -> Operation:
    path = request.target.partition(b"?")[0].decode("ascii", "replace")
    for name in names:
        if path.endswith(DIALECT.operations[name].path("", False)):
            if request.method == "POST":
                return DIALECT.operations[name]
            raise Failure("method_not_allowed", f"{who} takes POST on {path}.")
    raise Failure("not_found", f"{who} has nothing at {path}: it answers {', '.join(names)}.")


async def _body(request: Request) -> bytes:
    body = request.body
    if body is None or isinstance(body, bytes):
        return body or b""
    return b"".join([piece async for piece in body])


def _decode(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Failure("invalid_request", "The body is not a JSON object.") from None
