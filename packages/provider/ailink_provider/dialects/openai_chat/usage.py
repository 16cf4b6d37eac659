"""The ``usage`` object: read from whatever resembles OpenAI's, written as OpenAI's own."""

from typing import Any

import msgspec
from msgspec import Struct

from ailink_provider.chat import Usage


class _Details(Struct, gc=False):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    cache_creation_tokens: int | None = None
    audio_tokens: int | None = None
    reasoning_tokens: int | None = None


_NONE = _Details()


class Counted(Struct, gc=False):
    """A ``usage`` object as it came. Knows where DeepSeek, Moonshot and LiteLLM put cached tokens."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    prompt_cache_hit_tokens: int | None = None
    cached_tokens: int | None = None
    cache_creation_input_tokens: int | None = None

    def canonical(self) -> Usage | None:
        """Return the tokens counted, None if nothing was. xAI and Google count reasoning in the total alone."""
        prompt, total = _count(self.prompt_tokens), _count(self.total_tokens)
        if self.prompt_tokens is None and self.completion_tokens is None and self.total_tokens is None:
            return None
        details = self.prompt_tokens_details or _NONE
        produced = self.completion_tokens_details or _NONE
        return Usage(
            input_tokens=prompt,
            output_tokens=max(_count(self.completion_tokens), total - prompt),
            cache_read_tokens=_count(details.cached_tokens or self.prompt_cache_hit_tokens or self.cached_tokens),
            cache_write_tokens=_count(
                details.cache_write_tokens or details.cache_creation_tokens or self.cache_creation_input_tokens
            ),
            reasoning_tokens=_count(produced.reasoning_tokens),
            input_audio_tokens=_count(details.audio_tokens),
            output_audio_tokens=_count(produced.audio_tokens),
        )


def read_usage(value: Any) -> Usage | None:
    """Return the tokens counted, None if there are none. What is no count counts for nothing."""
    if not isinstance(value, dict):
        return None
    try:
        counted = msgspec.convert(value, Counted)
    except msgspec.ValidationError:
        counted = msgspec.convert(_counts_of(value), Counted)
    return counted.canonical()


def write_usage(usage: Usage) -> dict[str, Any]:
    """Return the ``usage`` object."""
    return {
        "prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read_tokens, "audio_tokens": usage.input_audio_tokens,
                                  "cache_write_tokens": usage.cache_write_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens,
                                      "audio_tokens": usage.output_audio_tokens},
    }  # fmt: skip


def _count(value: int | None) -> int:
    return value if value is not None and value > 0 else 0


def _counts_of(value: dict[str, Any]) -> dict[str, Any]:
    """Return what of an object counts something, and the same of the objects in it."""
    return {
        key: _counts_of(entry) if isinstance(entry, dict) else entry
        for key, entry in value.items()
        if isinstance(entry, dict) == key.endswith("_details") and (isinstance(entry, dict) or type(entry) is int)
    }
