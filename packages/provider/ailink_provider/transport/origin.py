"""Scheme, host and port of an upstream, and the strict reading of the URL that names it."""

import re
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple

from ailink_provider.errors import Failure

_PORTS = {"http": 80, "https": 443}
_URL = re.compile(
    r"(?P<scheme>[A-Za-z]+)://(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9._-]+))(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~!$&'()*+,=:@-]+)*)/?"
)
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Origin(NamedTuple):
    """Where a connection goes: http or https, a lower-case name or an address without brackets, a port."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """``host:port``, for messages and allow-lists."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def host_header(self) -> bytes:
        """What the ``Host`` header says: the authority, without a port that the scheme implies."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}").encode("ascii")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_header.decode('ascii')}"

    @classmethod
    def parse(cls, url: str) -> tuple["Origin", str]:
        """Return the origin of ``url`` and its path without a final slash ("" or "/v1").

        Raises ``Failure`` (``invalid_request``) unless it is plainly ``http[s]://host[:port][/path]``: no user name,
        query, fragment, percent-encoding, empty or dot segment, backslash, space, control or non-ASCII character,
        and no number posing as a host name.
        """
        found = _URL.fullmatch(url)
        scheme = found["scheme"].lower() if found else ""
        if not found or scheme not in _PORTS:
            raise _invalid("It must be http[s]://host[:port][/path] and nothing more.")
        port = int(found["port"] or _PORTS[scheme])
        if not 0 < port < 65536:
            raise _invalid("Its port must be 1 to 65535.")
        return cls(scheme, _address(found["six"]) if found["six"] else _name(found["host"]), port), found["path"]


def _address(literal: str) -> str:
    try:
        return IPv6Address(literal).compressed
    except AddressValueError:
        raise _invalid("Its host is no valid IPv6 address.") from None


def _name(host: str) -> str:
    host = host.lower()
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise _invalid("Its host is no valid IPv4 address.") from None
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise _invalid("Its host is no valid name; write international names in their xn-- form.")
    return host


def _invalid(why: str) -> Failure:
    return Failure("invalid_request", f"This upstream URL cannot be used. {why}", param="url")
