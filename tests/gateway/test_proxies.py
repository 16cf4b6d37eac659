"""The client's address: what a proxy that is trusted says, and nothing that anybody could have written."""

import pytest

from ailink_gateway.proxies import canonical, client_ip

TRUSTED = frozenset({"10.0.0.1", "10.0.0.2", "::1"})


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.7", [b"198.51.100.1"], "203.0.113.7"),
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("10.0.0.1", [b"6.6.6.6, 198.51.100.1, 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", [b"6.6.6.6", b"198.51.100.1 ", b" 10.0.0.2"], "198.51.100.1"),
        ("10.0.0.1", [b"10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b"198.51.100.1, unknown"], "10.0.0.1"),
        ("10.0.0.1", [b"198.51.100.1, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", [b""], "10.0.0.1"),
        ("::1", [b"[2001:db8::1]:4711"], "2001:db8::1"),
        ("::1", [b"2001:DB8:0::1"], "2001:db8::1"),
        ("::1", [b"198.51.100.1:80"], "198.51.100.1"),
        ("::1", [b"::ffff:198.51.100.1"], "198.51.100.1"),
        (None, [b"198.51.100.1"], None),
    ],
)
def test_whose_address_it_is(peer: str | None, forwarded: list[bytes], client: str | None) -> None:
    headers = [(b"x-forwarded-for", value) for value in forwarded]
    assert client_ip(peer, headers, TRUSTED) == client


@pytest.mark.parametrize("text", ["", "host", "1.2.3", "1.2.3.4.5", "[::1", "::1::", "1.2.3.4, 5.6.7.8", "\xff"])
def test_what_is_no_address(text: str) -> None:
    assert canonical(text) in (None, "::1")
