"""Whose call it is when proxies stand in between: the client's address, as far as anybody who is trusted says so."""

from collections.abc import Collection
from ipaddress import IPv6Address, ip_address

from ailink_gateway.exchange import Headers

FORWARDED_FOR = b"x-forwarded-for"


def client_ip(peer: str | None, headers: Headers, trusted: Collection[str]) -> str | None:
    """Return the client's address: the peer's, unless that is a trusted proxy; then the right-most one of
    X-Forwarded-For that no trusted proxy has. What stands left of it, anybody may have written.
    """
    address = peer
    if peer not in trusted:
        return peer
    hops = b",".join(value for name, value in headers if name == FORWARDED_FOR).split(b",")
    for hop in reversed(hops):
        known = canonical(hop.strip().decode("latin-1"))
        if known is None:
            break  # nothing beyond it can be told
        address = known
        if address not in trusted:
            break
    return address


def canonical(text: str) -> str | None:
    """Return an address in its one spelling, without a port; None if it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)
