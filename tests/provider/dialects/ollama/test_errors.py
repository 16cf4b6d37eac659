"""Upstreams' errors, read; failures, written for clients."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest

from ailink_provider.dialects.ollama import DIALECT
from ailink_provider.errors import CODES, Failure


def read(status: int, body: Any, headers: dict[str, str] | None = None) -> Failure:
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return DIALECT.read_error(status, headers or {}, data)


@pytest.mark.parametrize(
    ("status", "said", "code"),
    [
        (400, "registry.ollama.ai/library/llama3 does not support tools", "invalid_request"),
        (400, '"llama3" does not support thinking', "invalid_request"),
        (400, "the input length exceeds the context length", "context_length_exceeded"),
        (500, "input length exceeds maximum context length", "context_length_exceeded"),
        (400, "the prompt exceeds the available context size. try increasing it", "context_length_exceeded"),
        (401, "unauthorized", "upstream_auth"),
        (403, "forbidden", "upstream_auth"),
        (402, "payment required", "insufficient_quota"),
        (404, 'model "llama9" not found, try pulling it first', "model_not_found"),
        (404, "page not found", "not_found"),
        (405, "method not allowed", "invalid_request"),
        (408, "x", "upstream_timeout"),
        (409, "x", "conflict"),
        (413, "request body too large", "payload_too_large"),
        (413, "too many tokens", "context_length_exceeded"),
        (422, "x", "invalid_request"),
        (429, "you've reached your hourly usage limit", "rate_limit_exceeded"),
        (429, "insufficient credit: see billing", "insufficient_quota"),
        (500, "llama runner process has terminated: exit status 2", "upstream_failed"),
        (500, "model requires more system memory (12 GiB) than is available (8 GiB)", "upstream_failed"),
        (502, "x", "upstream_failed"),
        (503, "server busy, please try again.  maximum pending requests exceeded", "upstream_overloaded"),
        (504, "x", "upstream_timeout"),
        (529, "x", "upstream_overloaded"),
        (302, "x", "upstream_failed"),
    ],
)
def test_a_status_means_a_code(status: int, said: str, code: str) -> None:
    failure = read(status, {"error": said})
    assert (failure.code, failure.upstream_status) == (code, status)


@pytest.mark.parametrize(
    "body",
    [
        {"error": "it says"}, {"error": {"message": "it says"}}, {"message": "it says"}, {"detail": "it says"},
        "it says", {"error": {"detail": "it says", "code": 7}},
    ],
)  # fmt: skip
def test_every_shape_is_understood(body: Any) -> None:
    assert read(400, body).message == "it says"


@pytest.mark.parametrize("status", [401, 403, 402])
def test_the_upstream_s_words_about_a_key_are_never_quoted(status: int) -> None:
    for body in ({"error": "key abcdef refused"}, b"<html>key abcdef</html>"):
        assert "abcdef" not in read(status, body).message


def test_unparsable_text_is_cut_and_cleaned() -> None:
    failure = read(502, b"<html>\x00\r\n" + b"y" * 5000)
    assert failure.code == "upstream_failed"
    assert len(failure.message) <= 300
    assert failure.message.isprintable()
    assert read(404, b"model not here").code == "model_not_found"
    assert (read(400, b"").code, read(400, b"").message) == (
        "invalid_request", "The upstream answered 400 with an empty body.")
    assert read(404, b"<html>404 model</html>").code == "upstream_failed"


def seconds_ahead(seconds: int) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [("20", 20, 20), ("1.5", 1.5, 1.5), ("-4", 0, 0), (seconds_ahead(86400), 80000, 86400), (seconds_ahead(-60), 0, 0)],
    ids=["whole", "fraction", "past", "date", "past date"],
)
def test_the_time_to_wait_is_read(value: str, low: float, high: float) -> None:
    wait = read(429, {"error": "slow"}, {"retry-after": value}).retry_after
    assert wait is not None
    assert low <= wait <= high


@pytest.mark.parametrize("value", ["", "soon", "nan", "inf", "Fri, 99 Foo 2026 00:00:00 GMT"])
def test_a_senseless_time_to_wait_is_none(value: str) -> None:
    assert read(429, {"error": "slow"}, {"retry-after": value}).retry_after is None


@pytest.mark.parametrize("body", [b"[" * 99_999, b'"\xff"', b"7", b"null", b"[]", b"{}", b'{"error":{}}', b""])
def test_nothing_it_reads_raises(body: bytes) -> None:
    assert read(500, body).code == "upstream_failed"


def test_the_body_is_ollama_s_and_says_what_is_known() -> None:
    assert DIALECT.write_error(Failure("model_not_found", "No such model.", param="model"), "req-1") == (
        404,
        {"error": "No such model.", "code": "model_not_found", "param": "model", "request_id": "req-1"},
    )
    failure = Failure("policy_denied", "Denied.", reason="path_not_allowed", policy_name="p", details={"a": 1})
    assert DIALECT.write_error(failure, "")[1] == {
        "error": "Denied.", "code": "policy_denied", "reason": "path_not_allowed", "policy_name": "p",
        "details": {"a": 1},
    }  # fmt: skip


def test_every_code_can_be_written() -> None:
    for code, (status, _) in CODES.items():
        assert DIALECT.write_error(Failure(code, "m"), "") == (status, {"error": "m", "code": code})
