"""What a client's constructor accepts, and where it then believes the gateway to be."""

import warnings

import pytest

from ailink import AIlinkClient, AsyncClient
from ailink._configuration import Configuration


def configured(**given):
    defaults = {
        "api_key": "key", "gateway_url": None, "agent_name": None, "timeout": 30, "retries": 3, "verify_ssl": True,
    }
    return Configuration.create(**defaults | given)


def test_the_gateway_is_on_this_machine_unless_said_otherwise():
    assert configured().gateway_url == "http://127.0.0.1:8080"


def test_the_environment_names_the_gateway(monkeypatch):
    monkeypatch.setenv("AILINK_GATEWAY_URL", "https://gateway.example.com")
    assert configured().gateway_url == "https://gateway.example.com"


def test_the_argument_wins_over_the_environment(monkeypatch):
    monkeypatch.setenv("AILINK_GATEWAY_URL", "https://gateway.example.com")
    assert configured(gateway_url="https://other.example.com").gateway_url == "https://other.example.com"


def test_an_empty_variable_counts_as_unset(monkeypatch):
    monkeypatch.setenv("AILINK_GATEWAY_URL", "")
    assert configured().gateway_url == "http://127.0.0.1:8080"


@pytest.mark.parametrize(("given", "kept"), [
    ("https://gateway.example.com/", "https://gateway.example.com"),
    ("https://example.com/ailink/", "https://example.com/ailink"),
    ("https://example.com:8443", "https://example.com:8443"),
])
def test_a_url_loses_its_last_slash_only(given, kept):
    assert configured(gateway_url=given).gateway_url == kept


@pytest.mark.parametrize("url", [
    "", "gateway.example.com", "ftp://example.com", "http://", "https://user:pass@example.com",
    "https://example.com?x=1", "https://example.com#top", "https://example.com:port", "https://exa\x00mple.com",
])
def test_a_url_that_cannot_be_a_gateways_is_refused(url):
    with pytest.raises(ValueError, match="gateway_url"):
        configured(gateway_url=url)


@pytest.mark.parametrize("key", ["", "key\n", "a key", "ключ"])
def test_a_key_that_no_header_can_carry_is_refused_unseen(key):
    with pytest.raises(ValueError, match="api_key must be printable") as caught:
        configured(api_key=key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(("name", "value"), [("agent_name", "a\r\nX: y"), ("timeout", 0), ("retries", -1)])
def test_other_values_that_cannot_work_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        configured(**{name: value})


@pytest.mark.parametrize("client", [AIlinkClient, AsyncClient])
def test_a_key_in_the_clear_is_warned_about_where_the_client_is_made(client):
    with pytest.warns(UserWarning, match="unencrypted to http://gateway.internal:8080") as caught:
        client("top-secret", gateway_url="http://gateway.internal:8080")
    assert caught[0].filename == __file__
    assert "top-secret" not in str(caught[0].message)


@pytest.mark.parametrize("url", [
    "https://gateway.example.com", "http://localhost:8080", "http://127.0.0.1", "http://127.8.9.10", "http://[::1]:8080",
])
def test_a_key_that_stays_here_or_is_encrypted_is_not_warned_about(url):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        configured(gateway_url=url)


@pytest.mark.parametrize("client", [AIlinkClient, AsyncClient])
def test_nothing_printed_shows_the_key(client):
    made = client.admin("ailink_admin_secret", agent_name="operator")
    assert repr(made) == f"{client.__name__}(gateway_url='http://127.0.0.1:8080', agent_name='operator')"
    assert "ailink_admin_secret" not in repr(configured(api_key="ailink_admin_secret"))
