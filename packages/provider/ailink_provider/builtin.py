"""What is built in: every dialect and every provider, by name. Read once, at composition."""

from dataclasses import replace
from fnmatch import fnmatchcase
from functools import lru_cache

from ailink_provider.auth import APIKeyAuth
from ailink_provider.dialects import Dialect
from ailink_provider.providers import Access, Given, Provider, compatible

_BEARER = ("authorization", "Bearer ")


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
    from ailink_provider.providers import anthropic, azure, bedrock, gemini, openai, vertex

    files = (openai, anthropic, gemini, bedrock, azure, vertex)
    rows = (*(file.PROVIDER for file in files), *compatible())
    return {row.name: row for row in rows}


def vendor_of(host: str) -> Provider | None:
    """Return the provider whose own host this is, or None for an unknown one."""
    return next(
        (row for row in providers().values() if any(fnmatchcase(host, pattern) for pattern in row.hosts)), None
    )


def credential_header(row: Provider) -> tuple[str, str]:
    """Return the header that carries a provider's key, and what stands before the key in it."""
    return row.credential_header or dialects()[row.dialect].credential_header


def dialect_of(row: Provider) -> Dialect:
    """Return the wire format of a provider, with what of it the provider serves."""
    dialect = dialects()[row.dialect]
    if not row.operations:
        return dialect
    return replace(dialect, operations={name: dialect.operations[name] for name in row.operations})


def open_access(row: Provider, given: Given) -> Access:
    """Return where a provider is asked and what signs the calls.

    This is how every built-in provider is opened, for the provider SDK and for the gateway alike. Raises ``Failure``
    (``credential_missing``, ``invalid_request``) for a key, a setting or an address that cannot be used.
    """
    if row.opener is not None:
        return row.opener(given)
    url = given.base_url or row.base_url
    if not given.key:
        return Access(url)
    header, prefix = credential_header(row)
    return Access(url, APIKeyAuth(given.key) if (header, prefix) == _BEARER else APIKeyAuth(given.key, header=header))
