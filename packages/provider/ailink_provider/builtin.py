"""What is built in: every dialect and every provider, by name. Read once, at composition."""

from functools import lru_cache

from ailink_provider.dialects import Dialect
from ailink_provider.providers import Provider, compatible


@lru_cache(maxsize=1)
def dialects() -> dict[str, Dialect]:
    """Return the wire formats by name."""
    from ailink_provider.dialects import (
        anthropic_messages,
        bedrock_converse,
        gemini,
        ollama,
        openai_chat,
        openai_responses,
    )

    modules = (openai_chat, openai_responses, anthropic_messages, gemini, bedrock_converse, ollama)
    return {module.DIALECT.name: module.DIALECT for module in modules}


@lru_cache(maxsize=1)
def providers() -> dict[str, Provider]:
    """Return the providers by name; the order is the one in which a model's name is looked for."""
    from ailink_provider.providers import anthropic, gemini, openai

    rows = (openai.PROVIDER, anthropic.PROVIDER, gemini.PROVIDER, *compatible())
    return {row.name: row for row in rows}


def vendor_of(host: str) -> Provider | None:
    """Return the provider whose own host this is, or None for an unknown one."""
    return next((provider for provider in providers().values() if host in provider.hosts), None)
