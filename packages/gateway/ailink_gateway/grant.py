"""What a token may reach, compiled: immutable, and read by the data plane without another look-up.

A grant is made by a ``Directory`` and dropped when anything it was made from changes. It never shows a secret.
"""

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote_from_bytes

from msgspec import Struct, field
from msgspec.structs import force_setattr

from ailink_gateway.policy.compiled import NO_POLICIES, Policies
from ailink_gateway.pricing import PriceRule
from ailink_provider.auth import Auth
from ailink_provider.builtin import providers
from ailink_provider.catalog import Facts
from ailink_provider.dialects import Dialect
from ailink_provider.prices import HOUR, Price, price_in_hour
from ailink_provider.providers import Provider
from ailink_provider.transport import Origin, Sender


class Key(Struct, frozen=True):
    """An upstream secret, ready to be injected: as ``header`` with ``value``, or as the ``query`` parameter.

    ``spellings`` are how the secret reads by itself and where it is injected: an echo may have either.
    """

    secret: bytes
    header: bytes | None = None
    value: bytes = b""
    query: str | None = None
    spellings: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        injected = quote_from_bytes(self.secret, safe="").encode() if self.query else self.value.rpartition(b" ")[2]
        force_setattr(self, "spellings", (self.secret,) if injected == self.secret else (injected, self.secret))

    def __repr__(self) -> str:
        return f"Key(header={self.header!r}, query={self.query!r})"


class Upstream(Struct, frozen=True):
    """Where calls go and with which key, or signed by whom.

    ``provider`` is None for a host of no known vendor. ``base`` is the path below which an API's paths lie, ``models``
    the one below which models are asked, both without a final slash. ``key`` is None where the upstream wants none or
    the caller brings one, or where ``auth`` signs each call by itself. ``moved`` is how the dialect's paths begin and
    what stands in the place of that here. ``label`` is the URL that may be shown. ``generic`` says that it is a plain
    API that owns its paths. ``relays`` are the wire formats that it understands beside its ``dialect``. Of a token's
    upstreams those of the lowest ``priority`` are asked first, and among equals each as often as its ``weight`` says;
    without a priority they are asked in the order in which they stand.
    """

    provider: Provider | None
    dialect: Dialect
    origin: Origin
    base: str
    models: str
    label: str
    sender: Sender
    key: Key | None = None
    auth: Auth | None = None
    moved: tuple[str, str] = ("", "")
    generic: bool = False
    relays: tuple[Dialect, ...] = ()
    priority: int | None = None
    weight: int = 1

    @property
    def name(self) -> str:
        """The provider's name for records and metrics; the host where the vendor is unknown."""
        return self.provider.name if self.provider else self.origin.host


class Service(Struct, frozen=True):
    """An API that is called by name. ``methods`` and ``allowed_paths`` restrict where they are not empty; of
    ``denied_paths`` none may be called. ``serves_models`` says that its models' routes are a model's calls.
    """

    upstream: Upstream
    methods: tuple[str, ...] = ()
    allowed_paths: tuple[str, ...] = ()
    denied_paths: tuple[str, ...] = ()
    serves_models: bool = False


class Target(NamedTuple):
    """An upstream and the model asked of it.

    ``prices`` is the published list that the model stands in, "" if none is known. ``own_price`` is the operator's own,
    which goes before it; ``fallback`` is what counts where neither knows the model.
    """

    upstream: Upstream
    model: str
    facts: Facts
    prices: str = ""
    own_price: Price | None = None
    fallback: Price | None = None

    def known_price(self, now: float) -> Price | None:
        """Return the model's price at ``now`` (Unix seconds), or None if nobody knows it."""
        return self.own_price or price_in_hour(self.prices, self.model, int(now // HOUR))

    def price(self, now: float) -> Price | None:
        """Return the price that counts: the known one, else the fallback, else None."""
        # As above: to ask that takes longer than to look the price up.
        return self.own_price or price_in_hour(self.prices, self.model, int(now // HOUR)) or self.fallback


class Breaker(Struct, frozen=True):
    """When calls to a failing upstream stop, and when they are tried again (after seconds)."""

    enabled: bool = True
    failure_threshold: int = 3
    recovery_cooldown_secs: float = 30
    half_open_max_requests: int = 1


class Retry(Struct, frozen=True):
    """When a failed attempt is made again. The pause doubles from ``base_delay_ms`` to ``max_backoff_ms``, with up to
    ``jitter_ms`` more; ``status_codes`` are an upstream's answers that are worth it. No answer always is.
    """

    max_retries: int = 2
    base_delay_ms: int = 500
    max_backoff_ms: int = 10_000
    jitter_ms: int = 100
    status_codes: frozenset[int] = frozenset({429, 500, 502, 503, 504, 529})


class Grant(Struct, frozen=True):
    """A token compiled for the data plane.

    ``own`` is the token's own upstream and ``further`` are those beside it, by priority; ``passthrough`` says that only
    the caller's key may go there. ``project`` are the project's credentials by provider, ``services`` its services by
    name. ``strict`` refuses what a target's dialect cannot express instead of warning. ``log_level`` is metadata,
    redacted or full: what is kept of its calls. Of limits None is the gateway's default and 0 none; ``own_rate_limit``
    says that a policy stands in for the default. ``prices`` are the
    operator's own, in the order in which they are tried.
    """

    token_id: str | None
    token_name: str
    project_id: str
    own: Upstream | None = None
    further: tuple[Upstream, ...] = ()
    passthrough: bool = False
    project: Mapping[str, Upstream] = {}
    services: Mapping[str, Service] = {}
    default_model: str | None = None
    allowed_models: tuple[str, ...] = ()
    raw_paths: bool = False
    allow_upstream_key: bool = False
    strict: bool = False
    log_level: str = "metadata"
    prices: tuple[PriceRule, ...] = ()
    expires_at: float | None = None
    requests_per_minute: int | None = None
    tokens_per_minute: int = 0
    concurrent_requests: int = 0
    own_rate_limit: bool = False
    breaker: Breaker = Breaker()
    policies: Policies = NO_POLICIES
    resolved: dict[str, list[Target]] = field(default_factory=dict)

    @property
    def tenant(self) -> str:
        """Who owns what is kept between calls: this token, or the project of callers without one. No id of a token has
        a colon.
        """
        return self.token_id or f"anonymous:{self.project_id}"

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """All upstreams of the token itself, ``own`` first."""
        return () if self.own is None else (self.own, *self.further)


class Snapshot(Struct, frozen=True):
    """What every token may reach: the known providers, upstreams with a key from the environment, aliases, the models
    that ``fallbacks`` declares for when a model's own targets fail, and in ``dev`` the simulator. ``discovered`` are
    the models that providers said they have, by the provider's name; it alone changes, as they are asked again.
    ``prices`` are the config's own, ``unknown_price`` is that of models that nobody knows one of.
    """

    providers: Mapping[str, Provider] = field(default_factory=providers)
    environment: Mapping[str, Upstream] = {}
    simulated: Upstream | None = None
    aliases: Mapping[str, str] = {}
    fallbacks: Mapping[str, tuple[str, ...]] = {}
    default_model: str | None = None
    discovered: dict[str, tuple[str, ...]] = field(default_factory=dict)
    prices: tuple[PriceRule, ...] = ()
    unknown_price: Price | None = None
