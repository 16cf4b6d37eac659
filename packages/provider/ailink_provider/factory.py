"""From a configuration to a provider: factories by type, built-in, registered and installed, through one door.

A type is looked up among what ``register_factory`` was told, then among what is built in, then among the entry points
of installed packages (group ``ailink.providers``: a type's name, and a factory). Those are loaded when asked for.
"""

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from inspect import isawaitable
from math import isfinite
from time import time
from typing import Any, TypeAlias

from ailink_provider import prices
from ailink_provider.builder import ProviderBuilder
from ailink_provider.built import BuiltProvider
from ailink_provider.builtin import open_access, providers
from ailink_provider.catalog import facts
from ailink_provider.chat import Usage
from ailink_provider.contain import contained
from ailink_provider.errors import Failure
from ailink_provider.estimate import estimate_chat
from ailink_provider.provider import Capability, CompletionRequest, CostEstimate, Provider, check_name
from ailink_provider.providers import Given
from ailink_provider.providers import Provider as Row
from ailink_provider.transport import Sender

CUSTOM = "custom"
GROUP = "ailink.providers"
logger = logging.getLogger("ailink")


@dataclass(frozen=True)
class ProviderConfig:
    """What a provider is made from. Its ``repr`` shows no secret.

    Args:
        name: what routes, logs and records call this instance.
        type: the factory that makes it.
        api_key: "" where none is needed.
        model: what a request without a model gets; "" leaves it to the factory.
        endpoint: the base URL; "" is the vendor's own.
        enabled: whether it may be asked.
        priority: the higher, the earlier in a failover.
        weight: its share of requests beside the others', 0 or more.
        display_name: for people.
        max_tokens: the limit of output for requests that give none.
        timeout: seconds that a call may take.
        settings: whatever else a factory wants to know, such as the region of a cloud.
        credentials: secrets beside the key, or the parts that make it.
        http_client: what carries requests, instead of a transport of the provider's own.
    """

    name: str
    type: str = CUSTOM
    api_key: str = field(default="", repr=False)
    model: str = ""
    endpoint: str = ""
    enabled: bool = True
    priority: int = 0
    weight: float = 1.0
    display_name: str = ""
    max_tokens: int | None = None
    timeout: float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    http_client: Sender | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_name(self.name)
        check_name(self.type, "type")
        if not isfinite(self.weight) or self.weight < 0:
            raise Failure("invalid_request", "A provider's weight is a number from 0 up.", param="weight")


Factory: TypeAlias = Callable[[ProviderConfig], Provider | Awaitable[Provider]]
_registered: dict[str, Factory] = {}


def register_factory(type: str, factory: Factory) -> None:
    """Have ``factory`` make the providers of ``type``, instead of whoever did. It may be asynchronous."""
    check_name(type, "type")
    _registered[type] = factory


def factories() -> dict[str, Factory]:
    """Return the factories by type that are built in or registered, without loading any installed package."""
    rows = {**providers(), CUSTOM: Row(name=CUSTOM, needs_key=False)}
    return {**{name: partial(_of_row, row) for name, row in rows.items()}, **_registered}


def discover() -> Iterator[tuple[str, Factory]]:
    """Yield type and factory of every entry point of installed packages, loading each when its turn comes.

    One that cannot be loaded is logged and left out.
    """
    for entry in entry_points(group=GROUP):
        factory = _load(entry)
        if factory is not None:
            yield entry.name, factory


async def create(config: ProviderConfig) -> Provider:
    """Return a new provider. A built-in one takes a key, an address or a setting that ``config`` does not give from the
    environment's usual variables.

    Raises ``Failure``: ``invalid_request`` for a type without a factory, ``credential_missing`` for a missing key,
    ``internal_error`` if what the factory returns is no provider; whatever else it raises is an ``upstream_failed``.
    """
    factory = factories().get(config.type) or _installed(config.type)
    with contained(f"The factory of {config.type!r}"):
        made = factory(config)
        provider = await made if isawaitable(made) else made
    if not isinstance(provider, Provider):
        raise Failure(
            "internal_error",
            f"The factory of {config.type!r} returned {type(provider).__name__}, which lacks what a Provider has.",
            param="type",
        )
    return provider


def open_provider(
    row: Row, api_key: str, model: str | None = None, endpoint: str | None = None, *, name: str | None = None,
    max_tokens: int | None = None, timeout: float | None = None, http_client: Sender | None = None,
    settings: Mapping[str, Any] | None = None,
) -> BuiltProvider:
    """Return a provider for a row of ``registry.providers()``: its dialect, over the transport.

    Args:
        row: the service.
        api_key: its key; "" only where it needs none.
        model: what a request without a model gets, instead of the row's.
        endpoint: the base URL, instead of the row's.
        name: of this instance, instead of the row's.
        max_tokens, timeout, http_client, settings: as in ``ProviderConfig``.

    Raises ``Failure`` (``credential_missing``, ``invalid_request``) for what is missing or cannot be used.
    """
    name = name or row.name
    if row.needs_key and not api_key:
        raise Failure("credential_missing", f"The provider {name!r} needs an API key: set api_key.", param="api_key")
    if not (endpoint or row.base_url):
        raise Failure("invalid_request", f"The provider {name!r} has no address: set endpoint.", param="endpoint")
    texts = {key: value for key, value in (settings or {}).items() if isinstance(value, str)}
    access = open_access(row, Given(api_key, endpoint or "", texts, http_client))
    builder = (
        ProviderBuilder(name, row.name)
        .with_dialect(row.dialect)
        .with_endpoint(access.base_url)
        .with_moved_paths(*access.moved)
        .with_capabilities(*_CAPABILITIES)
        .with_cost_estimator(partial(_estimate, row.prices))
    )
    if access.auth is not None:
        builder.with_auth(access.auth)
    if model or row.default_model:
        builder.with_model(model or row.default_model or "")
    if max_tokens is not None:
        builder.with_max_tokens(max_tokens)
    if timeout is not None:
        builder.with_timeout(timeout)
    if http_client is not None:
        builder.with_http_client(http_client)
    return builder.build()


_CAPABILITIES = (
    Capability.CHAT, Capability.COMPLETION, Capability.STREAMING, Capability.FUNCTION_CALLING, Capability.VISION,
)


def _of_row(row: Row, config: ProviderConfig) -> Provider:
    from ailink_provider.config import completed  # which reads files of what is made here

    config = completed(config, row)
    return open_provider(
        row, config.api_key, config.model, config.endpoint, name=config.name, max_tokens=config.max_tokens,
        timeout=config.timeout, http_client=config.http_client, settings=config.settings,
    )


def _estimate(source: str, request: CompletionRequest) -> CostEstimate | None:
    """Return the price of the input, estimated, and of all the output that is allowed."""
    price = prices.price(source, request.model, time())
    if price is None:
        return None
    output = request.max_tokens or facts(request.model).max_output_tokens
    usage = Usage(estimate_chat(request.chat), output)
    return CostEstimate(price.cost(usage), usage.input_tokens, usage.output_tokens)


def _installed(type: str) -> Factory:
    entry = next(iter(entry_points(group=GROUP, name=type)), None)
    factory = _load(entry) if entry is not None else None
    if factory is None:
        broken = "its package is installed but cannot be loaded, see the log" if entry else "nothing makes it"
        raise Failure(
            "invalid_request",
            f"There is no provider of type {type!r}: {broken}. Call register_factory, or use one of "
            f"{', '.join(factories())}.",
            param="type",
        )
    return factory


def _load(entry: EntryPoint) -> Factory | None:
    try:
        with contained(f"The provider package {entry.value}"):
            factory: Factory = entry.load()
            return factory
    except Failure as failure:
        logger.warning("the provider type %r is left out: %s", entry.name, failure.message, exc_info=failure)
        return None
