"""How a client is set up: checked once, when the client is made, and never changed after.

The environment is read here and nowhere else, for ``AILINK_GATEWAY_URL`` alone.
"""

import functools
import importlib.metadata
import ipaddress
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import httpx2

DEFAULT_GATEWAY_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What a client was told. ``timeout`` is in seconds, for each of connecting, writing and reading; ``retries``
    counts the attempts after the first; ``gateway_url`` has no slash at its end. ``scope_headers`` go with every call:
    a session's name, or an upstream key of the caller's own."""

    api_key: str = field(repr=False)
    gateway_url: str
    agent_name: str | None
    timeout: float
    retries: int
    verify_ssl: bool
    scope_headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def create(
        cls, *, api_key: str, gateway_url: str | None, agent_name: str | None, timeout: float, retries: int,
        verify_ssl: bool,
    ) -> "Configuration":
        """Checks what a client's constructor was given.

        Raises ``ValueError`` for what cannot work. Warns when the key would travel in the clear.
        """
        if gateway_url is None:
            gateway_url = os.environ.get("AILINK_GATEWAY_URL") or DEFAULT_GATEWAY_URL
        _check_header("api_key", api_key, spaces=False)
        if agent_name is not None:
            _check_header("agent_name", agent_name, spaces=True)
        if timeout <= 0:
            raise ValueError("timeout must be more than 0 seconds")
        if retries < 0:
            raise ValueError("retries must be 0 or more")
        url = _checked_url(gateway_url)
        if url.scheme == "http" and not _is_loopback(url.host):
            warnings.warn(
                f"The API key travels unencrypted to {url}: use https for a gateway on another machine",
                UserWarning, stacklevel=3,  # whoever called the client's constructor
            )
        return cls(
            api_key=api_key, gateway_url=str(url).rstrip("/"), agent_name=agent_name, timeout=timeout,
            retries=retries, verify_ssl=verify_ssl,
        )

    def with_scope(self, headers: Mapping[str, str]) -> "Configuration":
        """The same, with these headers in every call. Raises ``ValueError`` for a value that no header can carry."""
        for name, value in headers.items():
            _check_header(name, value, spaces=True)
        return replace(self, scope_headers={**self.scope_headers, **headers})

    @property
    def agent_headers(self) -> dict[str, str]:
        """Who is calling and in which scope, for the gateway's records."""
        agent = {} if self.agent_name is None else {"X-AILink-Agent-Name": self.agent_name}
        return {**agent, **self.scope_headers}

    @property
    def headers(self) -> dict[str, str]:
        """What goes with every call that this package makes itself."""
        return {"Authorization": f"Bearer {self.api_key}", "User-Agent": _user_agent(), **self.agent_headers}

    @property
    def mounts(self) -> dict[str, None]:
        """httpx2's exceptions from the environment's proxies: a gateway on this machine is not behind one."""
        host = httpx2.URL(self.gateway_url).host
        if not _is_loopback(host):
            return {}
        return {f"all://[{host}]" if ":" in host else f"all://{host}": None}


def _check_header(name: str, value: str, *, spaces: bool) -> None:
    """Refuses what cannot be sent in a header, without showing it."""
    if not value or not value.isascii() or not value.isprintable() or (not spaces and " " in value):
        also = "" if spaces else " and no space"
        raise ValueError(f"{name} must be printable ASCII with no line break{also}, and not empty")


def _checked_url(gateway_url: str) -> httpx2.URL:
    try:
        url = httpx2.URL(gateway_url)
    except httpx2.InvalidURL as error:
        raise ValueError(f"gateway_url is not a URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise ValueError(
            "gateway_url must look like https://gateway.example.com, "
            "with no user name, query or fragment (a port and a path may follow)"
        )
    return url


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        return False


@functools.cache
def _user_agent() -> str:
    return f"ailink-python/{importlib.metadata.version('ailink')}"
