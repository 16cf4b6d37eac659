"""Settings that must not stand stop the start, and say which and why."""

from decimal import Decimal
from pathlib import Path

import pytest

from ailink_gateway.settings import SettingsError, load

MASTER = "8f3a1c9e27b54d60aa91f7e3c2d85b1604e6f9ab37c8d215e0934bfa6d7c1e58"
ADMIN = "ailink_admin_9f2b7c4e1a8d5036bf7e2c91"
GOOD = {"AILINK_MASTER_KEY": MASTER, "AILINK_ADMIN_KEY": ADMIN}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_flags_win_over_the_environment_over_defaults(tmp_path: Path) -> None:
    environment = {**GOOD, "AILINK_HOST": "127.0.0.2", "AILINK_PORT": "9000"}
    assert load("serve", GOOD).port == 8080
    assert load("serve", environment).port == 9000
    settings = load("serve", environment, host="::1", port=1, data=tmp_path)
    assert (settings.host, settings.port, settings.data_dir) == ("::1", 1, tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"AILINK_MASTER_KEY": ""}, "AILINK_MASTER_KEY is empty"),
        ({"AILINK_MASTER_KEY": "0" * 64}, "AILINK_MASTER_KEY is a default"),
        ({"AILINK_MASTER_KEY": "deadbeef" * 8}, "AILINK_MASTER_KEY is a default"),
        ({"AILINK_MASTER_KEY": "0123456789abcdef" * 4}, "AILINK_MASTER_KEY is a default"),
        ({"AILINK_MASTER_KEY": "xyz"}, "64 hex characters"),
        ({"AILINK_ADMIN_KEY": "ailink_admin_..."}, "AILINK_ADMIN_KEY"),
        ({"AILINK_ADMIN_KEY": "your-admin-key"}, "AILINK_ADMIN_KEY"),
        ({"AILINK_ADMIN_KEY": "ailink_admin_"}, "AILINK_ADMIN_KEY"),
        ({"AILINK_ADMIN_KEY": "ailink_admin_" + "a" * 40}, "AILINK_ADMIN_KEY"),
        ({"AILINK_MASTER_KEY": bytes(range(32)).hex()}, "AILINK_MASTER_KEY is a default"),
        ({"AILINK_ADMIN_KEY": "ailink_admin_" + "0123456789abcdef" * 2}, "AILINK_ADMIN_KEY"),
        ({"AILINK_ADMIN_KEY": "ailink_admin_" + "q7w3e9" * 5}, "AILINK_ADMIN_KEY"),
        ({"AILINK_ADMIN_KEY": ""}, "AILINK_ADMIN_KEY is empty"),
        ({"AILINK_ADMIN_KEY": "", "AILINK_ADMIN_KEY_FILE": "/dev/null"}, "AILINK_ADMIN_KEY"),
        ({"OPENAI_API_KEY": "sk-..."}, "OPENAI_API_KEY is a placeholder"),
        ({"OPENAI_API_KEY": "sk-your-api-key"}, "OPENAI_API_KEY is a placeholder"),
        ({"ANTHROPIC_API_KEY": "<key>"}, "ANTHROPIC_API_KEY is a placeholder"),
        ({"GEMINI_API_KEY": "xxxx"}, "GEMINI_API_KEY is a placeholder"),
        ({"AILINK_PORT": "http"}, "AILINK_PORT"),
        ({"AILINK_PORT": "70000"}, "AILINK_PORT"),
        ({"AILINK_ALLOW_UPSTREAMS": "not an address"}, "AILINK_ALLOW_UPSTREAMS"),
        ({"AILINK_TRUSTED_PROXIES": "proxy"}, "AILINK_TRUSTED_PROXIES"),
        ({"AILINK_PUBLIC_URL": "gateway.example"}, "AILINK_PUBLIC_URL"),
        ({"AILINK_PUBLIC_URL": "https://gateway.example/?x"}, "AILINK_PUBLIC_URL"),
        ({"OPENAI_BASE_URL": "ftp://x"}, "OPENAI_BASE_URL"),
        ({"AILINK_MASTER_KEY_FILE": "/does/not/exist", "AILINK_MASTER_KEY": ""}, "AILINK_MASTER_KEY_FILE"),
        ({"AILINK_DATABASE_URL": "postgresql://x"}, "AILINK_DATABASE_URL"),
    ],
)
def test_what_must_not_stand(change: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as caught:
        load("serve", {**GOOD, **change})
    for value in change.values():
        assert len(value) < 20 or value not in str(caught.value), "a secret is not repeated"


def test_without_an_admin_key_only_this_machine_is_served() -> None:
    without = {name: value for name, value in GOOD.items() if name != "AILINK_ADMIN_KEY"}
    assert load("serve", without).admin_key is None
    with pytest.raises(SettingsError, match="AILINK_ADMIN_KEY is not set"):
        load("serve", without, host="0.0.0.0")


def test_an_empty_key_of_a_provider_is_none() -> None:
    assert load("serve", {**GOOD, "OPENAI_API_KEY": ""}).providers["openai"].key is None


def test_development_needs_nothing_and_stays_here() -> None:
    settings = load("dev", {"AILINK_ADMIN_KEY": ""})
    assert settings.admin_key is None
    assert "127.0.0.0/8" in settings.allow_upstreams
    for host in ("0.0.0.0", "192.168.1.5", "::", "example.com"):
        with pytest.raises(SettingsError, match="loopback only"):
            load("dev", {}, host=host)


def test_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("sk-from-file\n")
    settings = load("dev", {"OPENAI_API_KEY_FILE": str(tmp_path / "key"), "OPENAI_BASE_URL": "http://127.0.0.1:1/v1"})
    assert settings.providers["openai"].key == "sk-from-file"
    assert settings.providers["openai"].base_url == "http://127.0.0.1:1/v1"
    assert "sk-from-file" not in repr(settings) + repr(settings.providers)
    with pytest.raises(SettingsError, match="keep one"):
        load("dev", {"OPENAI_API_KEY_FILE": str(tmp_path / "key"), "OPENAI_API_KEY": "sk"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("aliases: [1", "not valid"),
        ("aliases: 7", "not valid"),
        ("alias: {a: b}", "alias"),
        ("a: &x 1\nb: *x", "aliases"),
        ("aliases: !!python/object:os.system {}", "not valid"),
        ("- 1", "not valid"),
        ("fallbacks: {a: b}", "fallbacks"),
        ("call_timeout_seconds: 0", "call_timeout_seconds"),
        ("x" * 2_000_000, "larger than"),
    ],
)
def test_a_broken_config_file_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=says) as caught:
        load("dev", {}, config=path)
    assert "bad.yaml" in str(caught.value)


def test_the_config_file_beside_us_is_read(tmp_path: Path) -> None:
    (tmp_path / "ailink.yaml").write_text(
        "version: '1.0'\naliases: {fast: gpt-4o-mini}\ndefault_model: fast\n"
        "fallbacks: {gpt-4o: [gpt-4o-mini, claude-haiku-4-5]}\ncall_timeout_seconds: 90\n"
    )
    config = load("dev", {}).config
    assert config.aliases == {"fast": "gpt-4o-mini"}
    assert config.default_model == "fast"
    assert config.fallbacks == {"gpt-4o": ("gpt-4o-mini", "claude-haiku-4-5")}
    assert config.call_timeout_seconds == 90


def test_prices_of_the_config_are_read(tmp_path: Path) -> None:
    (tmp_path / "ailink.yaml").write_text(
        "prices:\n  - {provider: openai, model: gpt-4o*, input: 2.5, output: 10, cache_read: 0.1}\n"
        "unknown_price: {input: 1, output: 2}\n"
    )
    config = load("dev", {}).config
    (rule,) = config.prices
    assert (rule.provider, rule.model) == ("openai", "gpt-4o*")
    assert rule.usd() == {"input": Decimal("2.5"), "output": Decimal(10), "cache_read": Decimal("0.1")}
    assert config.unknown_price is not None
    assert config.unknown_price.usd() == {"input": Decimal(1), "output": Decimal(2)}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prices: [{provider: x, model: y, input: -1, output: 1}]", "prices"),
        ("prices: [{provider: x, model: y, input: 1}]", "output"),
        ("prices: [{provider: x, model: y, input: .nan, output: 1}]", "input"),
        ("prices: [{provider: x, input: 1, output: 1}]", "model"),
        ("prices: [{provider: x, model: y, input: 1, output: 1, inptu: 1}]", "inptu"),
        ("prices: {gpt-4o: 1}", "prices"),
        ("unknown_price: 5", "unknown_price"),
        ("unknown_price: {input: .inf, output: 1}", "unknown_price"),
    ],
)
def test_a_price_that_is_none_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "ailink.yaml").write_text(text)
    with pytest.raises(SettingsError, match=says):
        load("dev", {})
