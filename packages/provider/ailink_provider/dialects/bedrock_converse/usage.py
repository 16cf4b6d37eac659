"""Token counts, both ways.

On this wire ``inputTokens`` leaves out what the prompt cache gave or took; the canonical count is the total. Source:
`TokenUsage` of the Amazon Bedrock Runtime API and the prompt caching guide.
"""

from typing import Any

from msgspec import Struct

from ailink_provider.chat import Usage


class _CacheDetail(Struct, rename="camel"):
    ttl: str = ""
    input_tokens: int = 0


class WireUsage(Struct, rename="camel"):
    """The ``usage`` of a reply, or of the last event of a stream."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_details: list[_CacheDetail] | None = None

    def canonical(self) -> Usage:
        """Return the canonical totals."""
        read, write = self.cache_read_input_tokens or 0, self.cache_write_input_tokens or 0
        return Usage(
            input_tokens=self.input_tokens + read + write,
            output_tokens=self.output_tokens,
            cache_read_tokens=read,
            cache_write_tokens=write,
            cache_write_1h_tokens=sum(item.input_tokens for item in self.cache_details or () if item.ttl == "1h"),
        )


def write_usage(usage: Usage | None) -> dict[str, Any]:
    """Return the ``usage`` of a reply; zeros where nothing is known."""
    usage = usage or Usage()
    read, write, hour = usage.cache_read_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens
    lifetimes = (("1h", hour), ("5m", write - hour))
    return {
        "inputTokens": max(usage.input_tokens - read - write, 0),
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.total_tokens,
        "cacheReadInputTokens": read,
        "cacheWriteInputTokens": write,
        "cacheDetails": [{"ttl": ttl, "inputTokens": tokens} for ttl, tokens in lifetimes if tokens > 0],
    }
