"""What the operator decides: flags over environment over config file over defaults. It is handed the environment and
reads no other.

It checks what must hold before the first socket opens, and says which setting is wrong. It never logs a secret.
"""

import re
from collections.abc import Mapping
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from msgspec import Meta, Struct, ValidationError, convert, field

from ailink_gateway.tokens import ADMIN_PREFIX
from ailink_provider.builtin import providers
from ailink_provider.config import load_config
from ailink_provider.errors import Failure
from ailink_provider.factory import ProviderConfig
from ailink_provider.prices import KINDS
from ailink_provider.transport import Guard, Origin

CONFIG_LIMIT = 1024 * 1024
# Values that stand in documents; a gateway that starts with one of them is open to whoever reads.
_PLACEHOLDERS = re.compile(
    r"\.\.\.|example|placeholder|change.?me|your[-_]|secret$|password|<|>|^ailink_admin_(test|admin|key|x+)$",
    re.IGNORECASE,
)
_PLACEHOLDER_KEYS = re.compile(r"\.\.\.|<|>|change.?me|your[-_]|^\W*(sk-)?x*$", re.IGNORECASE)
_COUNTED = ("0123456789", "1234567890", "abcdefghij", "00010203", "00112233")


class SettingsError(Exception):
    """A setting that must not stand. The message names it and says what to put there."""


_Rate = Annotated[float, Meta(ge=0, le=1_000_000)]


class UnknownPrice(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """USD per million tokens, by kind (see ``ailink_provider.prices.KINDS``)."""

    input: _Rate
    output: _Rate
    cache_read: _Rate | None = None
    cache_write: _Rate | None = None
    cache_write_1h: _Rate | None = None
    input_audio: _Rate | None = None
    output_audio: _Rate | None = None

    def usd(self) -> dict[str, Decimal]:
        """Return the rates that are given, by kind."""
        return {kind: Decimal(str(rate)) for kind in KINDS if (rate := getattr(self, kind)) is not None}


class PriceSetting(UnknownPrice, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The price of the models that fit ``model``, a name or a glob, at ``provider``, a name or "*"."""

    provider: Annotated[str, Meta(min_length=1)]
    model: Annotated[str, Meta(min_length=1)]


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """``ailink.yaml``. ``aliases`` maps a name that clients use to a model's; ``default_model`` serves requests without
    one; ``fallbacks`` maps a model to those that are asked when it fails; a call with all its attempts has
    ``call_timeout_seconds``; ``llm_providers`` is read by ``ailink_provider.config``. ``prices`` go before the
    published ones, and ``unknown_price`` counts where there is none.
    """

    version: str = "1.0"
    aliases: dict[str, str] = field(default_factory=dict)
    default_model: str | None = None
    fallbacks: dict[str, tuple[str, ...]] = field(default_factory=dict)
    call_timeout_seconds: Annotated[float, Meta(gt=0, le=86_400)] = 600.0
    llm_providers: dict[str, Any] = field(default_factory=dict)
    prices: list[PriceSetting] = field(default_factory=list)
    unknown_price: UnknownPrice | None = None


class ProviderSetting(Struct, frozen=True):
    """What the environment says of one provider. ``settings`` are those that its row names."""

    key: str | None
    base_url: str | None
    settings: Mapping[str, str] = {}

    def __repr__(self) -> str:
        return f"ProviderSetting(key={'set' if self.key else None}, base_url={self.base_url!r})"


class Settings(Struct, frozen=True):
    """Everything that ``app`` is composed from.

    ``audit_days`` is how long audit rows are kept (None: for good), ``body_days`` how long bodies are. ``metrics_open``
    shows ``/metrics`` to other machines, too.
    """

    mode: Literal["dev", "serve"]
    host: str
    port: int
    data_dir: Path
    config: Config
    admin_key: str | None
    master_key: str | None
    allow_upstreams: tuple[str, ...]
    trusted_proxies: tuple[str, ...]
    providers: dict[str, ProviderSetting]
    configured: tuple[ProviderConfig, ...] = ()
    audit_days: int | None = None
    body_days: int = 30
    metrics_open: bool = False
    public_url: str | None = None

    def __repr__(self) -> str:
        return f"Settings(mode={self.mode!r}, host={self.host!r}, port={self.port}, data_dir={str(self.data_dir)!r})"


def load(
    mode: Literal["dev", "serve"],
    environment: Mapping[str, str],
    *,
    host: str | None = None,
    port: int | None = None,
    data: Path | None = None,
    config: Path | None = None,
) -> Settings:
    """Return the settings of this start. Raises ``SettingsError`` naming the first one that is wrong."""
    read = _Environment(environment)
    if mode == "serve":
        read.refuse_empty("AILINK_ADMIN_KEY", "AILINK_MASTER_KEY")
    for name in ("AILINK_DATABASE_URL", "AILINK_REDIS_URL"):
        if read.text(name):
            raise SettingsError(
                f"{name} is set, but this version runs embedded only: unset it to use SQLite in the data directory."
            )
    path = config or (Path(named) if (named := read.text("AILINK_CONFIG")) else _beside())
    settings = Settings(
        mode=mode,
        host=host or read.text("AILINK_HOST") or "127.0.0.1",
        port=port if port is not None else read.number("AILINK_PORT", 8080),
        data_dir=data or Path(read.text("AILINK_DATA_DIR") or "./.ailink"),
        config=_config(path),
        configured=_configured(path, environment),
        public_url=_public(read.text("AILINK_PUBLIC_URL")),
        admin_key=read.secret("AILINK_ADMIN_KEY"),
        master_key=read.secret("AILINK_MASTER_KEY"),
        allow_upstreams=_allowed(read.list("AILINK_ALLOW_UPSTREAMS"), mode),
        trusted_proxies=read.list("AILINK_TRUSTED_PROXIES"),
        providers={
            provider.name: ProviderSetting(
                provider.key_of(read.secret, read.file) or None,
                read.text(provider.base_url_variable),
                provider.settings_of(read.text),
            )
            for provider in providers().values()
        },
        audit_days=read.number("AILINK_AUDIT_DAYS", 0) or None,
        body_days=read.number("AILINK_BODY_DAYS", 30),
        metrics_open=read.flag("AILINK_METRICS_OPEN"),
    )
    _check(settings)
    return settings


def master_key(environment: Mapping[str, str]) -> str | None:
    """Return the master key that the environment gives, None if it gives none. Raises ``SettingsError`` for a bad one.
    """
    key = _Environment(environment).secret("AILINK_MASTER_KEY")
    if key is not None:
        check_master_key(key)
    return key


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine alone."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class _Environment:
    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str) -> str | None:
        return self._values.get(name, "").strip() or None

    def number(self, name: str, default: int) -> int:
        text = self.text(name)
        if text is None:
            return default
        if not text.isdecimal():
            raise SettingsError(f"{name} must be a whole number.")
        return int(text)

    def flag(self, name: str) -> bool:
        text = (self.text(name) or "false").lower()
        if text not in ("true", "false"):
            raise SettingsError(f"{name} must be true or false.")
        return text == "true"

    def list(self, name: str) -> tuple[str, ...]:
        return tuple(filter(None, (entry.strip() for entry in (self.text(name) or "").split(","))))

    def secret(self, name: str) -> str | None:
        """The value itself, or what stands in the file that ``NAME_FILE`` points to."""
        file = self.text(f"{name}_FILE")
        if file is None:
            return self.text(name)
        if self.text(name):
            raise SettingsError(f"Both {name} and {name}_FILE are set: keep one.")
        return self.file(f"{name}_FILE")

    def refuse_empty(self, *names: str) -> None:
        """Raise ``SettingsError`` for a secret that is set, itself or as a file, and empty."""
        for name in names:
            for source in (name, f"{name}_FILE"):
                if source in self._values and not self.secret(name):
                    raise SettingsError(f"{source} is empty: put the secret there, or unset it.")

    def file(self, name: str) -> str | None:
        """What stands in the file that the variable ``name`` points to."""
        path = self.text(name)
        try:
            return (Path(path).read_text(encoding="utf-8").strip() or None) if path else None
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{name} cannot be read: {type(error).__name__} at {path}.") from None


def _beside() -> Path | None:
    path = Path("ailink.yaml")
    return path if path.exists() else None


def _configured(path: Path | None, environment: Mapping[str, str]) -> tuple[ProviderConfig, ...]:
    if path is None:
        return ()
    try:
        return tuple(load_config(path, environment))
    except Failure as failure:
        raise SettingsError(failure.message) from None


def _config(path: Path | None) -> Config:
    if path is None:
        return Config()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"The config file {path} cannot be read: {type(error).__name__}.") from None
    if len(text) > CONFIG_LIMIT:
        raise SettingsError(f"The config file {path} is larger than {CONFIG_LIMIT} bytes.")
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise SettingsError(f"The config file {path} uses YAML aliases (*name): write the value out.")
        tree: Any = yaml.safe_load(text)
        return convert(tree if tree is not None else {}, Config, strict=False)
    except (yaml.YAMLError, ValidationError) as error:
        raise SettingsError(f"The config file {path} is not valid: {error}") from None


def _public(url: str | None) -> str | None:
    if url is None:
        return None
    try:
        Origin.parse(url)
    except Failure:
        raise SettingsError("AILINK_PUBLIC_URL must be http[s]://host[:port][/path] and nothing more.") from None
    return url.rstrip("/")


def _allowed(entries: tuple[str, ...], mode: str) -> tuple[str, ...]:
    if mode == "dev" and not entries:
        entries = ("127.0.0.0/8", "::1/128")
    for entry in entries:
        try:
            Guard([entry])
        except Failure:
            raise SettingsError(
                f"AILINK_ALLOW_UPSTREAMS: {entry!r} is neither a CIDR, an address nor host:port."
            ) from None
    return entries


def _check(settings: Settings) -> None:
    if not 0 <= settings.port <= 65535:
        raise SettingsError("AILINK_PORT must be between 0 and 65535.")
    for proxy in settings.trusted_proxies:
        try:
            ip_address(proxy)
        except ValueError:
            raise SettingsError(f"AILINK_TRUSTED_PROXIES: {proxy!r} is not an IP address.") from None
    for name, setting in settings.providers.items():
        if setting.base_url is not None:
            try:
                Origin.parse(setting.base_url)
            except Failure as failure:
                raise SettingsError(f"{providers()[name].base_url_variable}: {failure.message}") from None
    if settings.admin_key is not None:
        check_admin_key(settings.admin_key)
    if settings.master_key is not None:
        check_master_key(settings.master_key)
    if settings.mode == "dev":
        if not is_loopback(settings.host):
            raise SettingsError(f"`ailink dev` listens on loopback only, not on {settings.host}: use `ailink serve`.")
        return
    if settings.master_key is None:
        raise SettingsError(
            "AILINK_MASTER_KEY is not set: make one with `openssl rand -hex 32` and keep it safe, "
            "it opens every stored secret."
        )
    for name, setting in settings.providers.items():
        if setting.key is not None and _PLACEHOLDER_KEYS.search(setting.key):
            raise SettingsError(
                f"{providers()[name].key_source} is a placeholder: put {name}'s own key there, or unset it."
            )
    if settings.admin_key is None and not is_loopback(settings.host):
        raise SettingsError(
            f"AILINK_ADMIN_KEY is not set: listening on {settings.host} needs one. "
            f'Make it with `echo "{ADMIN_PREFIX}$(openssl rand -hex 24)"`.'
        )


def check_admin_key(key: str) -> None:
    """Raise ``SettingsError`` unless ``key`` looks like a real admin key."""
    if not key.startswith(ADMIN_PREFIX):
        raise SettingsError(f"AILINK_ADMIN_KEY must start with {ADMIN_PREFIX}.")
    rest = key.removeprefix(ADMIN_PREFIX)
    weak = len(rest) < 20 or len(set(rest)) < 6 or _is_patterned(rest)
    if weak or _PLACEHOLDERS.search(key) or not re.fullmatch(r"[A-Za-z0-9_-]+", rest):
        raise SettingsError(
            f"AILINK_ADMIN_KEY is empty, short or a placeholder: "
            f'make one with `echo "{ADMIN_PREFIX}$(openssl rand -hex 24)"`.'
        )


def _is_patterned(text: str) -> bool:
    """Whether ``text`` is some part of it again and again, or begins to count: no dice were thrown for it."""
    text = text.lower()
    repeats = any(text == (text[:size] * len(text))[: len(text)] for size in range(1, len(text) // 2 + 1))
    return repeats or text.startswith(_COUNTED)


def check_master_key(key: str) -> None:
    """Raise ``SettingsError`` unless ``key`` is 64 hex characters that look random."""
    if not re.fullmatch(r"[0-9a-fA-F]{64}", key):
        raise SettingsError("AILINK_MASTER_KEY must be 64 hex characters: make one with `openssl rand -hex 32`.")
    if len(set(key.lower())) < 8 or _is_patterned(key):
        raise SettingsError("AILINK_MASTER_KEY is a default or repeated key: make one with `openssl rand -hex 32`.")
