"""Token counts, both ways.

On this wire ``input_tokens`` leaves out what the prompt cache gave or took; the canonical count is the total. Counts in
a stream are cumulative, and a later one replaces an earlier one.
"""

from typing import Any

from msgspec import Struct, structs

from ailink_provider.chat import Usage

_TIERS_READ = {"standard": "default", "priority": "priority", "batch": "batch"}
_TIERS_WRITTEN = {"default": "standard", "priority": "priority", "batch": "batch"}


class _CacheCreation(Struct):
    ephemeral_1h_input_tokens: int | None = None


class _OutputDetails(Struct):
    thinking_tokens: int | None = None


class WireUsage(Struct):
    """The ``usage`` of a message or of a ``message_delta``; what is absent is not known, not zero."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: _CacheCreation | None = None
    output_tokens_details: _OutputDetails | None = None
    service_tier: str | None = None
    speed: str | None = None

    def update(self, later: "WireUsage") -> None:
        """Take over what ``later`` knows."""
        for name, value in structs.asdict(later).items():
            if value is not None:
                setattr(self, name, value)

    def canonical(self) -> Usage:
        """Return the canonical totals."""
        read, write = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        return Usage(
            input_tokens=(self.input_tokens or 0) + read + write,
            output_tokens=self.output_tokens or 0,
            cache_read_tokens=read,
            cache_write_tokens=write,
            cache_write_1h_tokens=(self.cache_creation and self.cache_creation.ephemeral_1h_input_tokens) or 0,
            reasoning_tokens=(self.output_tokens_details and self.output_tokens_details.thinking_tokens) or 0,
        )

    def tier(self) -> str | None:
        """Return the canonical name of the service tier that answered."""
        return "fast" if self.speed == "fast" else _TIERS_READ.get(self.service_tier or "")


def write_usage(usage: Usage | None, tier: str | None = None) -> dict[str, Any]:
    """Return the ``usage`` of a whole message; zeros where nothing is known."""
    usage = usage or Usage()
    written = {
        "input_tokens": max(usage.input_tokens - usage.cache_read_tokens - usage.cache_write_tokens, 0),
        "cache_creation_input_tokens": usage.cache_write_tokens,
        "cache_read_input_tokens": usage.cache_read_tokens,
        "cache_creation": {
            "ephemeral_5m_input_tokens": max(usage.cache_write_tokens - usage.cache_write_1h_tokens, 0),
            "ephemeral_1h_input_tokens": usage.cache_write_1h_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": usage.reasoning_tokens},
    }
    return {**written, "service_tier": _TIERS_WRITTEN[tier]} if tier in _TIERS_WRITTEN else written


def write_delta_usage(usage: Usage | None) -> dict[str, Any]:
    """Return the ``usage`` of a ``message_delta``, which has no breakdown of the cache."""
    written = write_usage(usage)
    del written["cache_creation"]
    return written
