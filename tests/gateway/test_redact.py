"""Secrets that are recognised leave no trace in a kept body, whatever the body is; everything else stays."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_gateway.redact import HIDDEN, redacted

SECRET = "correct horse battery"


@pytest.mark.parametrize(
    "name",
    ["password", "api_key", "apiKey", "X-Api-Key", "client_secret", "refreshToken", "access_token", "Authorization",
     "privateKey", "db.password", "OTP", "cvc", "card_number", "Set-Cookie", "aws_secret_access_key", "credentials"],
)  # fmt: skip
def test_fields_that_are_named_like_a_secret(name: str) -> None:
    document = {"model": "m", name: SECRET, "deep": [{name: 'with "quotes" and \\ \n lines', "kept": "yes"}]}
    for text in (json.dumps(document), json.dumps(document, separators=(",", ":")), json.dumps(document, indent=1)):
        tree = json.loads(redacted(text))
        assert tree == {"model": "m", name: HIDDEN, "deep": [{name: HIDDEN, "kept": "yes"}]}


@pytest.mark.parametrize(
    "document",
    [{"max_tokens": 500}, {"prompt_tokens": 5, "text": "hello"}, {"tokens": "many"}, {"token_count": "5"},
     {"password_hint": "cat"}, {"text": "my password is long"}, {"passwords": ["x"]}, {"secretary": "Ann"},
     {"model": "sk-2"}, {"text": "ask-me-anything-about-things"}, {"text": "the basic idea of it"},
     {"url": "https://example.com/a:b@c"}],
)  # fmt: skip
def test_what_is_no_secret_stays(document: dict[str, object]) -> None:
    text = json.dumps(document)
    assert redacted(text) == text


def test_arguments_of_tools_are_json_in_json() -> None:
    arguments = json.dumps({"user": "ann", "password": 'a "quoted" one', "nested": {"token": "t-1"}, "city": "Rome"})
    text = json.dumps({"tool_calls": [{"function": {"name": "login", "arguments": arguments}}]})
    tree = json.loads(redacted(text))
    inner = json.loads(tree["tool_calls"][0]["function"]["arguments"])
    assert inner == {"user": "ann", "password": HIDDEN, "nested": {"token": HIDDEN}, "city": "Rome"}


@pytest.mark.parametrize(
    "secret",
    ["ailink_v1_proj_default_tok_4fT0aZbY21qKx8Pq3VnR7sLw0dHc5JmEa9UgQb6TtXyZkB1fO2", "ailink_admin_0123456789abcdef",
     "sk-proj-abcdefghijklmnop1234", "sk_live_abcdefghijklmnop", "AKIAIOSFODNN7EXAMPLE", "ghp_" + "a1" * 18,
     "xoxb-123456789012-abcdef", "AIza" + "b2" * 18, "glpat-" + "c3" * 10, "github_pat_" + "d4" * 20,
     "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl", "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"
     "-----END RSA PRIVATE KEY-----"],
)  # fmt: skip
def test_strings_that_look_like_a_secret(secret: str) -> None:
    for text in (f"use {secret} for it", json.dumps({"text": f"use {secret} for it"}), f"data: {secret}\n\n"):
        assert secret.splitlines()[0] not in redacted(text)
        assert "MIIE" not in redacted(text)
        assert HIDDEN in redacted(text)


def test_credentials_in_urls_headers_and_forms() -> None:
    assert redacted("postgres://ann:hunter22@db/x") == f"postgres://{HIDDEN}@db/x"
    assert redacted("Authorization: Bearer abcdefgh12345") == f"Authorization: Bearer {HIDDEN}"
    assert redacted("user=ann&password=hunter22&go=1") == f"user=ann&password={HIDDEN}&go=1"
    assert redacted("https://x/y?api_key=abc&z=1") == f"https://x/y?api_key={HIDDEN}&z=1"


@pytest.mark.parametrize("cut", range(1, 30))
def test_a_body_that_was_cut_inside_a_secret(cut: int) -> None:
    text = json.dumps({"password": SECRET})[: len('{"password": "') + cut]
    assert SECRET[:3] not in redacted(text)


@given(st.text('"\\:{}[]password=& \nabc', max_size=200))
def test_any_text_ends_and_twice_is_once(text: str) -> None:
    once = redacted(text)
    assert redacted(once) == once


@pytest.mark.parametrize(
    "piece", ['"password":"', '\\"token\\":\\"', "a" * 70, "_token", "://", "eyJ", "-----BEGIN ", "\\", '\\\\"', "&x="]
)
def test_hostile_text_is_searched_to_its_end(piece: str) -> None:
    """Work that grows with the square of the text would take hours here."""
    text = piece * (256 * 1024 // len(piece))
    assert "abcdefgh12345" not in redacted(f"{text}\n Bearer abcdefgh12345")
