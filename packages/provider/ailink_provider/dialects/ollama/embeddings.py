"""The operation "embeddings": ``POST /api/embed``. Texts in, vectors of numbers out; nothing is ever streamed."""

from typing import Any

import msgspec
from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Embed, Embeddings, Usage
from ailink_provider.dialects import Loss, Measured, Sent
from ailink_provider.dialects.members import as_object, as_text, invalid, unsupported
from ailink_provider.dialects.ollama import errors, meter, replies, requests
from ailink_provider.dialects.ollama.fields import NAME, optional
from ailink_provider.dialects.whole import Whole
from ailink_provider.errors import Failure

_READ = frozenset({"model", "input", "dimensions"})


class Embeds(Whole):
    """Asks for the vectors of texts. See ``Operation`` for what each method promises."""

    name = "embeddings"
    speaks: type[Chat] | type[Embed] = Embed

    def path(self, model: str, stream: bool) -> str:
        """Return the path below the base URL."""
        return "/api/embed"

    def read_request(self, body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Embed:
        """Return the canonical request. Raises ``Failure`` on anything malformed."""
        value = body.get("input")
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise invalid("input", "must be a string or a list of at least one string")
        extras = {key: value for key, value in body.items() if key not in _READ and value is not None}
        return Embed(
            requests.read_model(body, model),
            texts,
            NAME,
            optional(body, "dimensions", int),
            single=isinstance(value, str),
            extras=extras,
        )

    def write_request(self, request: Embed, facts: Facts) -> Sent:
        """Return the body. Raises ``Failure`` for inputs that are not texts."""
        for index, text in enumerate(request.inputs):
            if not isinstance(text, str):
                raise unsupported(f"input[{index}]", "is a list of tokens, and Ollama embeds only texts")
        at_home = request.dialect == NAME
        losses = [] if at_home else [Loss(key, "the target's dialect has no such field") for key in request.extras]
        if request.task is not None:
            losses.append(Loss("task", "the target does not embed for a purpose"))
        body: dict[str, Any] = {
            "model": request.model,
            "input": request.inputs[0] if request.single and request.inputs else request.inputs,
        }
        if request.dimensions is not None:
            body["dimensions"] = request.dimensions
        return Sent(request.extras | body if at_home else body, losses)

    def read_reply(self, body: dict[str, Any], sent: Sent) -> Embeddings:
        """Return the vectors in the order of the inputs. Raises ``Failure`` if the body is an error or no reply."""
        source = as_object(body)
        if source.get("error"):
            raise errors.stream_error(source)
        vectors = source.get("embeddings")
        if not isinstance(vectors, list) or not vectors:
            raise Failure("upstream_failed", "The upstream's answer has no embeddings.")
        return Embeddings(
            as_text(source.get("model")), list(map(_read_vector, vectors)), replies.read_usage(source) or Usage()
        )

    def write_reply(self, reply: Embeddings, request: Embed) -> dict[str, Any]:
        """Return the client's body."""
        return {
            "model": reply.model or request.model,
            "embeddings": reply.vectors,
            "prompt_eval_count": reply.usage.input_tokens,
        }

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Set the model, in place."""
        body["model"] = Raw(msgspec.json.encode(model))

    def measure(self, body: bytes) -> Measured:
        """Read usage off a whole reply."""
        return meter.measure(body)


def _read_vector(value: Any) -> list[float]:
    if not isinstance(value, list) or not all(isinstance(number, int | float) for number in value):
        raise Failure("upstream_failed", "The upstream sent an embedding that is not a list of numbers.")
    return value
