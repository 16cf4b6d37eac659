import pytest

from ailink_provider.errors import Failure
from ailink_provider.transport import Guard, Origin

HOST = Origin("https", "host.example", 443)

CLOSED = [
    "0.0.0.0", "0.1.2.3", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1", "127.255.0.1",
    "169.254.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.0.170", "192.0.2.1",
    "192.88.99.1", "192.168.0.1", "192.168.255.255", "198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.7",
    "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
    "::", "::1", "::8.8.8.8", "::ffff:127.0.0.1", "::ffff:8.8.8.8", "::ffff:0:8.8.8.8", "64:ff9b::7f00:1",
    "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:db8::1",
    "2002:7f00:1::", "2002:808:808::", "3fff::1", "5f00::1", "fc00::1", "fd12:3456::1", "fe80::1", "fe80::1%eth0",
    "fec0::1", "ff02::1", "ffff::",
]
OPEN = [
    "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.1.1.1", "128.0.0.1",
    "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0",
    "198.17.255.255", "198.20.0.0", "223.255.255.255", "2001:200::1", "2001:4860:4860::8888", "2606:4700::1111",
    "2003::1", "2a00::1", "3ffe::1",
]


@pytest.mark.parametrize("address", CLOSED)
def test_refuses_what_is_not_global(address: str) -> None:
    for addresses in ([address], ["8.8.8.8", address], [address, "8.8.8.8"]):
        with pytest.raises(Failure) as raised:
            Guard().check(HOST, addresses)
        assert (raised.value.code, raised.value.reason) == ("upstream_failed", "address_not_allowed")
        assert address not in raised.value.message  # what a name leads to is nobody's business


@pytest.mark.parametrize("address", OPEN)
def test_lets_global_addresses_through(address: str) -> None:
    Guard().check(HOST, [address])


@pytest.mark.parametrize(("entry", "origin", "address", "allowed"), [
    ("10.1.0.0/16", HOST, "10.1.2.3", True),
    ("10.1.0.0/16", HOST, "10.2.2.3", False),
    ("10.1.0.0/16", HOST, "::ffff:10.1.2.3", False),
    ("127.0.0.1", HOST, "127.0.0.1", True),
    ("127.0.0.1", HOST, "127.0.0.2", False),
    ("::1", HOST, "::1", True),
    ("fd00::/8", HOST, "fd12::1", True),
    ("fd00::/8", HOST, "fe80::1", False),
    ("localhost:11434", Origin("http", "localhost", 11434), "127.0.0.1", True),
    ("LocalHost:11434", Origin("http", "localhost", 11434), "::1", True),
    ("localhost:11434", Origin("http", "localhost", 11435), "127.0.0.1", False),
    ("localhost:11434", Origin("http", "other", 11434), "127.0.0.1", False),
    ("10.0.0.1:80", Origin("http", "10.0.0.1", 80), "10.0.0.1", True),
    ("[::1]:8000", Origin("http", "::1", 8000), "::1", True),
    ("[::1]:8000", Origin("http", "::1", 8001), "::1", False),
])
def test_opens_what_is_listed_and_no_more(entry: str, origin: Origin, address: str, allowed: bool) -> None:
    guard = Guard([entry])
    if allowed:
        guard.check(origin, [address])
    else:
        with pytest.raises(Failure):
            guard.check(origin, [address])


def test_a_listed_address_does_not_vouch_for_another() -> None:
    with pytest.raises(Failure):
        Guard(["10.0.0.0/8"]).check(HOST, ["10.0.0.1", "192.168.0.1"])


@pytest.mark.parametrize("entry", [
    "", "*", "localhost", "10.0.0.0/33", "10.0.0.1/8", "localhost:0", "localhost:port", "http://localhost:80",
    "user@localhost:80", "localhost:80/path", "localhost:80/", "a b:80", "[::1]", "127.1:80",
])
def test_refuses_entries_it_does_not_understand(entry: str) -> None:
    with pytest.raises(Failure) as raised:
        Guard([entry])
    assert raised.value.code == "invalid_request"


@pytest.mark.parametrize("url", [
    *(f"https://{f'[{host}]' if ':' in host else host}/v1" for host in CLOSED if "%" not in host),
    "http://localhost", "http://LOCALHOST:8080", "http://api.localhost", "http://[0:0:0:0:0:0:0:1]",
])
def test_foresees_what_a_host_itself_says(url: str) -> None:
    with pytest.raises(Failure) as raised:
        Guard().foresee(Origin.parse(url)[0])
    assert (raised.value.code, raised.value.reason) == ("upstream_failed", "address_not_allowed")


@pytest.mark.parametrize("host", [
    "2130706433", "0x7f000001", "0x7f.0.0.1", "017700000001", "0177.0.0.1", "127.1", "127.0.1", "127.0.0.1.",
    "localhost.", "0", "%6cocalhost", "[::ffff:127.0.0.1%25lo]", "１２７.0.0.1", "127。0。0。1", "x@127.0.0.1",
])
def test_other_spellings_are_no_urls(host: str) -> None:
    with pytest.raises(Failure) as raised:
        Origin.parse(f"http://{host}")
    assert raised.value.code == "invalid_request"


@pytest.mark.parametrize(("allow", "host", "allowed"), [
    ([], "8.8.8.8", True), ([], "internal.example", True), ([], "localhost.example", True),
    (["127.0.0.0/8"], "127.0.0.1", True), (["127.0.0.0/8"], "localhost", True), (["::1"], "localhost", True),
    (["127.0.0.0/8"], "10.0.0.1", False), (["10.0.0.0/8"], "localhost", False),
    (["localhost:80"], "localhost", True), (["localhost:81"], "localhost", False), (["10.1.2.3:80"], "10.1.2.3", True),
])
def test_foresees_no_more_than_is_sure(allow: list[str], host: str, allowed: bool) -> None:
    if allowed:
        Guard(allow).foresee(Origin("http", host, 80))
    else:
        with pytest.raises(Failure):
            Guard(allow).foresee(Origin("http", host, 80))
