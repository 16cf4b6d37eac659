import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_provider.errors import Failure
from ailink_provider.transport import Origin


@pytest.mark.parametrize(("url", "origin", "path", "host"), [
    ("https://api.openai.com/v1", Origin("https", "api.openai.com", 443), "/v1", b"api.openai.com"),
    ("https://api.openai.com", Origin("https", "api.openai.com", 443), "", b"api.openai.com"),
    ("https://api.openai.com/", Origin("https", "api.openai.com", 443), "", b"api.openai.com"),
    ("HTTPS://API.Example.COM:8443/A/b/", Origin("https", "api.example.com", 8443), "/A/b", b"api.example.com:8443"),
    ("http://localhost:80/x", Origin("http", "localhost", 80), "/x", b"localhost"),
    ("https://localhost:80", Origin("https", "localhost", 80), "", b"localhost:80"),
    ("http://model_server:11434", Origin("http", "model_server", 11434), "", b"model_server:11434"),
    ("http://10.0.0.1:8000/v1beta", Origin("http", "10.0.0.1", 8000), "/v1beta", b"10.0.0.1:8000"),
    ("http://[::1]:8000/v1", Origin("http", "::1", 8000), "/v1", b"[::1]:8000"),
    ("https://[2001:0DB8::0001]", Origin("https", "2001:db8::1", 443), "", b"[2001:db8::1]"),
    ("https://xn--bcher-kva.example/a:b@c", Origin("https", "xn--bcher-kva.example", 443), "/a:b@c",
     b"xn--bcher-kva.example"),
])
def test_reads_plain_urls(url: str, origin: Origin, path: str, host: bytes) -> None:
    assert Origin.parse(url) == (origin, path)
    assert origin.host_header == host
    assert Origin.parse(f"{origin}{path}") == (origin, path)


@pytest.mark.parametrize("url", [
    "", "api.openai.com", "//api.openai.com", "ftp://host", "https:/host", "https://", "https:///path", "unix:///s",
    "https://user@host", "https://user:secret@host", "https://a@b@host", "https://host?x", "https://host/p?x=1",
    "https://host#f", "https://host/#", "https://host\\@evil", "https://host/a\\b", "https://ho st", " https://host",
    "https://host ", "https://host\n", "https://host/\r\nX: y", "https://ho\0st", "https://host/\x7f", "https://hôst",
    "https://host/ü", "https://host:", "https://host:0", "https://host:65536", "https://host:-1", "https://host:8 0",
    "https://host:１", "https://host/..", "https://host/a/../b", "https://host/./b", "https://host/%2e%2e/",
    "https://host/a%2fb", "https://host//a", "https://host/a;b", "https://.host", "https://host.", "https://a..b",
    "https://-a.com", "https://a-.com", "https://" + "a" * 64 + ".com", "https://" + "a." * 127 + "com",
    "https://[::1", "https://::1", "https://[::g]", "https://[fe80::1%eth0]", "https://[v1.x]", "https://[]",
    "https://127.1", "https://2130706433", "https://0x7f000001", "https://0x7f.1", "https://0177.0.0.1",
    "https://256.0.0.1", "https://1.2.3.4.5", "https://a.0x", "https://[::ffff:1.2.3]", "https://host:99999999999",
])
def test_refuses_all_else(url: str) -> None:
    with pytest.raises(Failure) as raised:
        Origin.parse(url)
    assert raised.value.code == "invalid_request"
    assert raised.value.param == "url"
    assert "secret" not in raised.value.message


@given(st.text(alphabet=st.sampled_from("htps:/[].@#?\\%;a1-_~\r\n\0 é") , max_size=30).map("https://".__add__))
def test_what_is_read_is_plain(url: str) -> None:
    try:
        origin, path = Origin.parse(url)
    except Failure:
        return
    assert not set(f"{origin.host}{path}") & set("#?\\%;\r\n\0 é")
    assert "@" not in origin.host
    assert not {"", ".", ".."} & set(path.split("/")[1:])


def test_authority_brackets_addresses() -> None:
    assert Origin("http", "::1", 80).authority == "[::1]:80"
    assert Origin("http", "localhost", 80).authority == "localhost:80"
