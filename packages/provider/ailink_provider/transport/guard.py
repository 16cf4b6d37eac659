"""Which addresses an upstream may have. Decides on addresses alone; it resolves no name and opens no socket.

Only addresses that are reachable from everywhere are let through, so that a name in a caller's hands never leads
into the operator's own network. The ranges are the IANA special-purpose registries (RFC 6890 and its updates).
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from ailink_provider.errors import Failure
from ailink_provider.transport.origin import Origin

_CLOSED_4 = tuple(map(ip_network, (
    "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
    "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
)))
# Global unicast is 2000::/3. All else is closed: unspecified, loopback, IPv4-mapped and -translated, NAT64,
# unique local, link-local, multicast; and so are the parts of it that wrap an IPv4 address or serve protocols.
_GLOBAL_6 = ip_network("2000::/3")
_CLOSED_6 = tuple(map(ip_network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))
_LOOPBACK = ("127.0.0.1", "::1")


class Guard:
    """Lets only global addresses through, and those that the operator lists.

    Args:
        allow: entries of ``AILINK_ALLOW_UPSTREAMS``. A CIDR or an address ("10.1.0.0/16", "::1") opens these
            addresses to every upstream; "host:port" ("localhost:11434") opens whatever address this host has,
            on this port. Raises ``Failure`` (``invalid_request``) for anything else.
    """

    def __init__(self, allow: Iterable[str] = ()) -> None:
        self._networks = []
        self._authorities = set()
        for entry in allow:
            try:
                self._networks.append(ip_network(entry))
            except ValueError:
                self._authorities.add(_authority(entry))

    def check(self, origin: Origin, addresses: Iterable[str]) -> None:
        """Raise ``Failure`` (``upstream_failed``, reason ``address_not_allowed``) unless every address is allowed."""
        if origin.authority in self._authorities:
            return
        for text in addresses:
            if not self._allows(ip_address(text)):
                raise Failure(
                    "upstream_failed",
                    f"{origin.authority} has an address that is not on the public internet. An operator can "
                    "permit it with AILINK_ALLOW_UPSTREAMS.",
                    reason="address_not_allowed",
                )

    def foresee(self, origin: Origin) -> None:
        """Raise as ``check`` does if the host alone says that every connection would be refused: it is an address, or
        this machine's name. What other names lead to is known when they are looked up, each time.
        """
        addresses = _said_by(origin.host)
        if not any(self._allows(ip_address(address)) for address in addresses):
            self.check(origin, addresses)

    def _allows(self, address: IPv4Address | IPv6Address) -> bool:
        return _is_global(address) or any(address in network for network in self._networks)


def _said_by(host: str) -> tuple[str, ...]:
    try:
        ip_address(host)
    except ValueError:
        return _LOOPBACK if host == "localhost" or host.endswith(".localhost") else ()
    return (host,)


def _is_global(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _CLOSED_4)
    return address in _GLOBAL_6 and not any(address in network for network in _CLOSED_6)


def _authority(entry: str) -> str:
    origin, path = Origin.parse(f"http://{entry}")
    if path or entry.lower() != origin.authority:
        raise Failure("invalid_request", f"{entry!r} is neither a CIDR nor host:port.", param="AILINK_ALLOW_UPSTREAMS")
    return origin.authority
