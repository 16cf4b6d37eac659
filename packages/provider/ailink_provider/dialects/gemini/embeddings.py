"""Embeddings: ``batchEmbedContents`` and the single ``embedContent``, both ways.

Canonical inputs are texts, so a content of several texts is their concatenation and anything else is refused. Every
request of a batch has to ask for the same task and size: that is all the canonical request can say.
"""

from typing import Any

import msgspec
from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Embed, Embeddings, Usage
from ailink_provider.dialects import Loss, Measured, Sent
from ailink_provider.dialects.gemini.fields import decode, integer, join, many, members, number, refuse, text
from ailink_provider.dialects.gemini.names import NAME, bare, path, resource
from ailink_provider.dialects.gemini.usage import read_metadata, read_usage
from ailink_provider.dialects.whole import Whole
from ailink_provider.errors import Failure


class BatchEmbedding(Whole):
    """``batchEmbedContents``: any number of texts."""

    name = "embeddings"
    speaks: type[Chat] | type[Embed] = Embed

    def path(self, model: str, stream: bool) -> str:
        """Return the path below the base URL."""
        return path(model, "batchEmbedContents")

    def read_request(self, body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Embed:
        """Return the canonical request."""
        requests = many(members(body, "").get("requests"), "requests")
        if not requests:
            raise refuse("requests", "a list of at least one request")
        read = [_read_request(item, f"requests[{position}]", model) for position, item in enumerate(requests)]
        first = read[0]
        for position, other in enumerate(read):
            if msgspec.structs.replace(other, inputs=first.inputs) != first:
                raise Failure(
                    "invalid_request",
                    f"'requests[{position}]' differs from the first in more than its "
                    "content. Send such requests apart.",
                    param=f"requests[{position}]",
                )
        return msgspec.structs.replace(first, inputs=[one for other in read for one in other.inputs])

    def write_request(self, request: Embed, facts: Facts) -> Sent:
        """Return the body."""
        sent = Sent({})
        sent.body["requests"] = [{"model": resource(request.model), **item} for item in _write_requests(request, sent)]
        return sent

    def read_reply(self, body: dict[str, Any], sent: Sent) -> Embeddings:
        """Return the canonical vectors."""
        requests = sent.body.get("requests") or [{}]
        return _read_reply(body, "embeddings", requests[0].get("model", ""))

    def write_reply(self, reply: Embeddings, request: Embed) -> dict[str, Any]:
        """Return the client's body."""
        return {"embeddings": [{"values": vector} for vector in reply.vectors], **_write_usage(reply.usage)}

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Name the model in every request, as it is named in the path."""
        try:
            requests = msgspec.json.decode(body.get("requests", b"[]"), type=list[dict[str, Raw]])
        except (ValueError, RecursionError) as error:
            raise refuse("requests", "a list of objects") from error
        for item in requests:
            item["model"] = Raw(msgspec.json.encode(resource(model)))
        body["requests"] = Raw(msgspec.json.encode(requests))

    def measure(self, body: bytes) -> Measured:
        """Read usage off a reply that passes through."""
        try:
            decoded = decode(body)
        except ValueError:
            decoded = None
        metadata = read_metadata(decoded.get("usageMetadata")) if isinstance(decoded, dict) else None
        return Measured(usage=read_usage(metadata) if metadata else None, complete=True)


class SingleEmbedding(BatchEmbedding):
    """``embedContent``: one text."""

    name = "embed_content"

    def path(self, model: str, stream: bool) -> str:
        """Return the path below the base URL."""
        return path(model, "embedContent")

    def read_request(self, body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Embed:
        """Return the canonical request."""
        return _read_request(body, "", model)

    def write_request(self, request: Embed, facts: Facts) -> Sent:
        """Return the body. Raises ``Failure`` for more than one input."""
        if len(request.inputs) != 1:
            raise Failure(
                "invalid_request", "embedContent takes one input; batchEmbedContents takes several.", param="input"
            )
        sent = Sent({})
        sent.body = {"model": resource(request.model), **_write_requests(request, sent)[0]}
        return sent

    def read_reply(self, body: dict[str, Any], sent: Sent) -> Embeddings:
        """Return the canonical vector."""
        return _read_reply(body, "embedding", sent.body.get("model", ""))

    def write_reply(self, reply: Embeddings, request: Embed) -> dict[str, Any]:
        """Return the client's body."""
        return {"embedding": {"values": reply.vectors[0] if reply.vectors else []}, **_write_usage(reply.usage)}

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Name the model as it is named in the path."""
        body["model"] = Raw(msgspec.json.encode(resource(model)))


def _read_request(value: Any, where: str, model: str | None) -> Embed:
    fields = members(value, where)
    named = text(fields.pop("model", ""), join(where, "model"))
    content_path = join(where, "content")
    content = members(fields.pop("content", None), content_path)
    words = []
    for position, item in enumerate(many(content.get("parts", []), join(content_path, "parts"))):
        here = f"{content_path}.parts[{position}]"
        part = members(item, here)
        if "text" not in part:
            raise Failure(
                "unsupported_parameter", f"'{here}' is not text, and only text can be embedded here.", param=here
            )
        words.append(text(part["text"], join(here, "text")))
    embed = Embed(bare(model or named), ["".join(words)], dialect=NAME, single=not where)
    if "outputDimensionality" in fields:
        embed.dimensions = integer(fields.pop("outputDimensionality"), join(where, "outputDimensionality"))
    if "taskType" in fields:
        embed.task = text(fields.pop("taskType"), join(where, "taskType"))
    embed.extras = fields
    return embed


def _write_requests(request: Embed, sent: Sent) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {}
    if request.task is not None:
        shared["taskType"] = request.task
    if request.dimensions is not None:
        shared["outputDimensionality"] = request.dimensions
    if request.dialect == NAME:
        shared.update(request.extras)
    else:
        sent.losses += [Loss(key, "Gemini has no such field") for key in request.extras]
    written = []
    for position, words in enumerate(request.inputs):
        if not isinstance(words, str):
            raise Failure(
                "unsupported_parameter", "Gemini embeds texts, not lists of tokens.", param=f"input[{position}]"
            )
        written.append({"content": {"parts": [{"text": words}]}, **shared})
    return written


def _read_reply(body: dict[str, Any], key: str, model: str) -> Embeddings:
    try:
        fields = members(body, "")
        vectors = []
        for position, item in enumerate(many(fields.get(key), key)):
            where = f"{key}[{position}]"
            values = members(item, where).get("values")
            if not isinstance(values, list):
                raise refuse(join(where, "values"), "a list of numbers")
            vectors.append([float(number(value, join(where, "values"))) for value in values])
    except Failure as failure:
        raise Failure("upstream_failed", f"The upstream's answer cannot be read: {failure.message}") from failure
    metadata = read_metadata(fields.get("usageMetadata"))
    return Embeddings(bare(model), vectors, read_usage(metadata) if metadata else Usage())


def _write_usage(usage: Usage) -> dict[str, Any]:
    if not usage.input_tokens:
        return {}
    return {"usageMetadata": {"promptTokenCount": usage.input_tokens, "totalTokenCount": usage.input_tokens}}
