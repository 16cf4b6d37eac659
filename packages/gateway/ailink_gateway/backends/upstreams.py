"""Where calls go and with which key: an upstream, made from a provider or an address. Stores nothing and sends nothing.
"""

import logging
import re
from base64 import b64encode

from ailink_gateway.grant import Key, Upstream
from ailink_provider.auth import Auth, Fixed, Unusable
from ailink_provider.builtin import dialect_of, dialects, open_access
from ailink_provider.errors import Failure
from ailink_provider.providers import Access, Given, Provider
from ailink_provider.transport import Origin, Sender

logger = logging.getLogger("ailink")

# Where calls to a provider go that has no address: nowhere, as its credential cannot be used either.
UNREACHABLE = "http://unreachable.invalid"
_VERSION = re.compile(r"/v[0-9]+[a-z0-9]*$")


def inject(injection: str, secret: bytes, header_name: str | None, query_name: str | None) -> Key:
    """Return how a secret is injected: as bearer or basic credentials, in a named header, or in a query parameter."""
    if injection == "query":
        return Key(secret, query=query_name or "api_key")
    if injection == "header":
        return Key(secret, (header_name or "x-api-key").lower().encode(), secret)
    if injection == "basic":
        return Key(secret, b"authorization", b"Basic " + b64encode(secret if b":" in secret else secret + b":"))
    return Key(secret, b"authorization", b"Bearer " + secret)


def reach(provider: Provider, given: Given) -> Upstream:
    """Return the upstream of a provider, opened with what is given. One that cannot be used tells so in every call."""
    assert given.sender is not None  # calls go with it
    return at(provider, opened(provider, given), given.sender, given.key.encode())


def opened(provider: Provider, given: Given) -> Access:
    """Return where a provider is asked; a key or a setting that cannot be used is the calls' failure, not the
    caller's.
    """
    try:
        return open_access(provider, given)
    except Failure as failure:
        logger.warning("the provider %s cannot be used: %s", provider.name, failure.message)
        return Access(given.base_url or provider.base_url or UNREACHABLE, Unusable(failure))


def at(provider: Provider, access: Access, sender: Sender, secret: bytes) -> Upstream:
    """Return the upstream of a provider that was opened. A key that is the same for every call is compiled here."""
    key, auth = _static(access.auth, secret), None
    if key is None:
        auth = access.auth
    return upstream(provider, access.base_url, sender, key, auth=auth, moved=access.moved)


def _static(auth: Auth | None, secret: bytes) -> Key | None:
    if not isinstance(auth, Fixed):
        return None
    ((header, value),) = auth.signed.headers.items()
    return Key(secret, header.encode(), value.encode())


def upstream(
    provider: Provider | None,
    url: str,
    sender: Sender,
    key: Key | None,
    *,
    auth: Auth | None = None,
    moved: tuple[str, str] = ("", ""),
    generic: bool = False,
) -> Upstream:
    """Return the upstream at ``url``. Models are asked below the version that their dialect's paths do not carry
    themselves.
    """
    origin, base = Origin.parse(url)
    base = base.rstrip("/")
    dialect = dialect_of(provider) if provider is not None else dialects()["openai_chat"]
    version = _VERSION.search(base)
    if dialect.base_version:
        models = base if version else base + dialect.base_version
    else:
        models = base[: version.start()] if version else base
    return Upstream(
        provider=provider,
        dialect=dialect,
        origin=origin,
        base=base,
        models=models,
        label=url.rstrip("/"),
        sender=sender,
        key=key,
        auth=auth,
        moved=moved,
        generic=generic,
        relays=tuple(dialects()[name] for name in provider.relays) if provider is not None else (),
    )
