"""The numbers of a reply, both ways: tokens used and log-probabilities."""

from typing import Any

from ailink_provider.chat import TokenLogprob, Usage
from ailink_provider.dialects.members import as_count, as_object, as_objects, as_text


def read_usage(value: Any) -> Usage | None:
    """Return the tokens counted, None if there are none."""
    if not isinstance(value, dict) or not value:
        return None
    details, produced = as_object(value.get("input_tokens_details")), as_object(value.get("output_tokens_details"))
    return Usage(
        input_tokens=as_count(value.get("input_tokens")), output_tokens=as_count(value.get("output_tokens")),
        cache_read_tokens=as_count(details.get("cached_tokens")),
        cache_write_tokens=as_count(details.get("cache_write_tokens")),
        reasoning_tokens=as_count(produced.get("reasoning_tokens")))


def write_usage(usage: Usage) -> dict[str, Any]:
    """Return the ``usage`` object."""
    return {
        "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "total_tokens": usage.total_tokens,
        "input_tokens_details": {"cached_tokens": usage.cache_read_tokens,
                                 "cache_write_tokens": usage.cache_write_tokens},
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }


def read_logprobs(value: Any) -> list[TokenLogprob]:
    """Return log-probabilities; a stream's have no bytes."""
    return [_read_logprob(entry) for entry in as_objects(value)]


def _read_logprob(entry: dict[str, Any]) -> TokenLogprob:
    number, octets = entry.get("logprob"), entry.get("bytes")
    return TokenLogprob(
        as_text(entry.get("token")), float(number) if isinstance(number, int | float) else 0.0,
        [as_count(octet) for octet in octets] if isinstance(octets, list) else None,
        read_logprobs(entry.get("top_logprobs")))


def write_logprobs(logprobs: list[TokenLogprob]) -> list[dict[str, Any]]:
    """Return the ``logprobs`` of a text."""
    return [_rival(entry) | {"top_logprobs": [_rival(rival) for rival in entry.top]} for entry in logprobs]


def _rival(entry: TokenLogprob) -> dict[str, Any]:
    octets = entry.bytes if entry.bytes is not None else list(entry.token.encode("utf-8", "surrogatepass"))
    return {"token": entry.token, "logprob": entry.logprob, "bytes": octets}
