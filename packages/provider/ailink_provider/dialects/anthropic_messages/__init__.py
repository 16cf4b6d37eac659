"""Anthropic's Messages API as a dialect: bodies, replies, streams and errors, both ways. It opens no socket.

Sources: the API reference and guides at platform.claude.com/docs, the types of the vendor's Python SDK 2.11. Base URLs
of this dialect have no version: paths begin with ``/v1``.
"""

from ailink_provider.dialects import Dialect, OutputLimit
from ailink_provider.dialects.anthropic_messages.errors import read_error, write_error
from ailink_provider.dialects.anthropic_messages.instructions import instruct
from ailink_provider.dialects.anthropic_messages.listing import write_models
from ailink_provider.dialects.anthropic_messages.operations import CountTokens, Messages
from ailink_provider.dialects.anthropic_messages.words import NAME

_LIMITS = ("requests", "tokens", "input-tokens", "output-tokens")
_ASPECTS = ("limit", "remaining", "reset")

DIALECT = Dialect(
    name=NAME,
    operations={"chat": Messages(), "count_tokens": CountTokens()},
    read_error=read_error,
    write_error=write_error,
    write_models=write_models,
    limits={"chat": OutputLimit(("max_tokens",), thinking=("thinking", "output_config"), budget=("budget_tokens",))},
    credential_header=("x-api-key", ""),
    request_headers=("anthropic-version", "anthropic-beta"),
    fixed_headers={"anthropic-version": "2023-06-01"},
    response_headers=(
        "request-id",
        *(f"anthropic-ratelimit-{limit}-{aspect}" for limit in _LIMITS for aspect in _ASPECTS),
        *(f"anthropic-ratelimit-unified-{word}" for word in ("status", "reset", "fallback")),
    ),
    instruct=instruct,
)
