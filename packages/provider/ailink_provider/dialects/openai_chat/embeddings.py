"""The operation "embeddings": ``POST /embeddings``, vectors as numbers or as base64 of little-endian float32.

Input of any kind is carried as it came; nothing is ever streamed.
"""

import base64
import sys
from array import array
from typing import Any

import msgspec
from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Embed, Embeddings, Usage
from ailink_provider.dialects import Loss, Measured, Sent
from ailink_provider.dialects.members import as_count, as_object, as_objects, as_text, invalid, optional
from ailink_provider.dialects.openai_chat import errors, meter, requests
from ailink_provider.dialects.openai_chat.usage import read_usage
from ailink_provider.dialects.openai_chat.words import NAME
from ailink_provider.dialects.whole import Whole
from ailink_provider.errors import Failure

_READ = frozenset({"model", "input", "dimensions", "encoding_format"})


class Embeds(Whole):
    """Asks for the vectors of texts. See ``Operation`` for what each method promises."""

    name = "embeddings"
    speaks: type[Chat] | type[Embed] = Embed

    def path(self, model: str, stream: bool) -> str:
        """Return the path below the base URL."""
        return "/embeddings"

    def read_request(self, body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Embed:
        """Return the canonical request. Raises ``Failure`` on anything malformed."""
        inputs, single = _read_input(body.get("input"))
        encoding = optional(body, "encoding_format", str) or "float"
        if encoding not in ("float", "base64"):
            raise invalid("encoding_format", "must be float or base64")
        extras = {key: value for key, value in body.items() if key not in _READ and value is not None}
        return Embed(requests.read_model(body, model), inputs, NAME, optional(body, "dimensions", int),
                     "base64" if encoding == "base64" else "float", single=single, extras=extras)

    def write_request(self, request: Embed, facts: Facts) -> Sent:
        """Return the body."""
        at_home = request.dialect == NAME
        losses = [] if at_home else [Loss(key, "the target's dialect has no such field") for key in request.extras]
        if request.task is not None:
            losses.append(Loss("task", "the target does not embed for a purpose"))
        body: dict[str, Any] = {"model": request.model,
                                "input": request.inputs[0] if request.single else request.inputs}
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        if request.encoding != "float":
            body["encoding_format"] = request.encoding
        return Sent(request.extras | body if at_home else body, losses)

    def read_reply(self, body: dict[str, Any], sent: Sent) -> Embeddings:
        """Return the vectors in the order of the inputs. Raises ``Failure`` if the body is an error or no reply."""
        entries = as_objects(as_object(body).get("data"))
        if not entries:
            if as_object(body).get("error"):
                raise errors.stream_error(body)
            raise Failure("upstream_failed", "The upstream's answer has no embeddings.")
        entries.sort(key=lambda entry: as_count(entry.get("index")))
        return Embeddings(as_text(body.get("model")), [_read_vector(entry.get("embedding")) for entry in entries],
                          read_usage(body.get("usage")) or Usage())

    def write_reply(self, reply: Embeddings, request: Embed) -> dict[str, Any]:
        """Return the client's body, in the encoding it asked for."""
        write = _write_base64 if request.encoding == "base64" else list
        data = [{"object": "embedding", "index": index, "embedding": write(vector)}
                for index, vector in enumerate(reply.vectors)]
        return {"object": "list", "data": data, "model": reply.model,
                "usage": {"prompt_tokens": reply.usage.input_tokens, "total_tokens": reply.usage.total_tokens}}

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Set the model, in place."""
        body["model"] = Raw(msgspec.json.encode(model))

    def measure(self, body: bytes) -> Measured:
        """Read usage off a whole reply."""
        return meter.measure(body)


def _read_input(value: Any) -> tuple[list[str | list[int]], bool]:
    """Return the inputs, and whether the client sent one that is no list of inputs."""
    if isinstance(value, str):
        return [value], True
    if not isinstance(value, list) or not value:
        raise invalid("input", "is required and must be a string or a list that is not empty")
    if _are_tokens(value):
        return [value], True
    for index, entry in enumerate(value):
        if not isinstance(entry, str) and not _are_tokens(entry):
            raise invalid(f"input[{index}]", "must be a string or a list of token ids")
    return value, False


def _are_tokens(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(type(token) is int for token in value)


def _read_vector(value: Any) -> list[float]:
    if isinstance(value, str):
        try:
            return _floats(base64.b64decode(value, validate=True)).tolist()
        except ValueError:
            raise Failure("upstream_failed", "The upstream sent an embedding that is not base64 of float32.") from None
    if not isinstance(value, list) or not all(isinstance(number, int | float) for number in value):
        raise Failure("upstream_failed", "The upstream sent an embedding that is not a list of numbers.")
    return value


def _write_base64(vector: list[float]) -> str:
    try:
        numbers = array("f", vector)
    except OverflowError:
        raise Failure("upstream_failed", "The upstream sent an embedding that is not of float32.") from None
    return base64.b64encode(_little_endian(numbers).tobytes()).decode("ascii")


def _floats(data: bytes) -> "array[float]":
    numbers = array("f")
    numbers.frombytes(data)
    return _little_endian(numbers)


def _little_endian(numbers: "array[float]") -> "array[float]":
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers
