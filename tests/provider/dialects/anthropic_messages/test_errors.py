"""Errors of the vendor become failures, failures become errors that the vendor's client raises."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import anthropic
import msgspec
import pytest

from ailink_provider.dialects.anthropic_messages import DIALECT
from ailink_provider.errors import CODES, Failure


def read(status, kind="api_error", message="Sorry", headers=None, **members):
    error = {"type": kind, "message": message, **members}
    body = msgspec.json.encode({"type": "error", "error": error, "request_id": "r"})
    return DIALECT.read_error(status, headers or {}, body)


@pytest.mark.parametrize(("status", "kind", "message", "code"), [
    (400, "invalid_request_error", "messages.0.content: Input should be a list", "invalid_request"),
    (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum", "context_length_exceeded"),
    (400, "invalid_request_error", "input length and `max_tokens` exceed context limit: 1 + 2 > 3",
     "context_length_exceeded"),
    (400, "invalid_request_error", "Your credit balance is too low to access the Anthropic API", "insufficient_quota"),
    (400, "invalid_request_error", "You have reached your specified API usage limits.", "insufficient_quota"),
    (401, "authentication_error", "invalid x-api-key sk-ant-123", "upstream_auth"),
    (402, "billing_error", "pay", "insufficient_quota"),
    (403, "permission_error", "key sk-ant-123 may not", "upstream_auth"),
    (404, "not_found_error", "model: claude-9", "model_not_found"),
    (404, "not_found_error", "no such file", "not_found"),
    (408, "timeout_error", "slow", "upstream_timeout"),
    (409, "conflict_error", "busy", "conflict"),
    (413, "request_too_large", "Request exceeds the maximum size", "payload_too_large"),
    (413, "request_too_large", "too many tokens in prompt", "context_length_exceeded"),
    (422, "invalid_request_error", "odd", "invalid_request"),
    (424, "api_error", "no", "upstream_failed"),
    (429, "rate_limit_error", "This request would exceed the rate limit of 80,000 input tokens per minute",
     "rate_limit_exceeded"),
    (429, "rate_limit_error", "You have reached your monthly spend limit", "insufficient_quota"),
    (500, "api_error", "oops", "upstream_failed"),
    (500, "overloaded_error", "busy", "upstream_overloaded"),
    (502, "api_error", "oops", "upstream_failed"),
    (503, "api_error", "oops", "upstream_overloaded"),
    (503, "unknown_error", "oops", "upstream_overloaded"),
    (504, "timeout_error", "slow", "upstream_timeout"),
    (529, "overloaded_error", "busy", "upstream_overloaded"),
    (200, "overloaded_error", "busy", "upstream_overloaded"),
])
def test_errors_are_read(status, kind, message, code):
    failure = read(status, kind, message)
    assert failure.code == code
    assert failure.upstream_status is not None
    assert "sk-ant" not in failure.message


def test_a_spend_limit_may_be_told_by_its_code_alone():
    assert read(429, "rate_limit_error", "no", details={"error_code": "contract_spend_limit_reached"}).code == (
        "insufficient_quota")


def test_the_field_is_named_in_the_client_s_way():
    failure = read(400, "invalid_request_error", "messages.3.content.0.text.text: Field required")
    assert failure.param == "messages[3].content[0].text.text"
    assert read(400, "invalid_request_error", "Something else: is wrong").param is None


@pytest.mark.parametrize(("status", "body", "code"), [
    (500, b"<html>\x00bad</html>", "upstream_failed"), (400, b"<html>", "upstream_failed"),
    (404, b"not here", "not_found"), (400, b"", "invalid_request"), (418, b"", "invalid_request"),
    (404, b"no such model", "model_not_found"), (404, b"<html>", "upstream_failed"), (400, b"[1]", "invalid_request"),
    (502, b"", "upstream_failed"), (503, b"busy", "upstream_overloaded"),
    (401, b"key sk-ant-1", "upstream_auth"), (429, b"{}", "rate_limit_exceeded"),
    (500, b"[" * 100_000, "upstream_failed"), (500, b'{"error": "text"}', "upstream_failed"),
    (413, b"<html>", "payload_too_large"), (500, b"\xff\xfe", "upstream_failed"), (302, b"", "upstream_failed"),
])
def test_what_is_not_the_vendor_s_error(status, body, code):
    failure = DIALECT.read_error(status, {}, body)
    assert (failure.code, failure.upstream_status) == (code, status)
    assert "sk-ant" not in failure.message
    assert "\x00" not in failure.message


def test_foreign_text_is_cut():
    assert len(DIALECT.read_error(500, {}, b"x" * 10_000).message) < 400
    assert len(read(500, "api_error", "y\n" * 10_000).message) <= 300


@pytest.mark.parametrize(("headers", "seconds"), [
    ({"retry-after": "7"}, 7), ({"retry-after": "1.5"}, 1.5), ({"retry-after-ms": "250", "retry-after": "7"}, 0.25),
    ({}, None), ({"retry-after": "soon"}, None), ({"retry-after": "-3"}, None), ({"retry-after": "nan"}, None),
    ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
])
def test_when_to_come_again(headers, seconds):
    failure = read(429, "rate_limit_error", headers=headers)
    assert failure.retry_after == seconds
    assert DIALECT.read_error(503, headers, b"busy").retry_after == seconds


def test_when_to_come_again_by_the_calendar():
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    assert 60 < read(429, "rate_limit_error", headers={"retry-after": later}).retry_after <= 90


@pytest.mark.parametrize(("code", "status", "kind"), [
    ("invalid_request", 400, "invalid_request_error"), ("context_length_exceeded", 400, "invalid_request_error"),
    ("invalid_api_key", 401, "authentication_error"), ("budget_exceeded", 402, "billing_error"),
    ("policy_denied", 403, "permission_error"), ("model_not_found", 404, "not_found_error"),
    ("conflict", 409, "conflict_error"), ("payload_too_large", 413, "request_too_large"),
    ("rate_limit_exceeded", 429, "rate_limit_error"), ("insufficient_quota", 402, "billing_error"),
    ("internal_error", 500, "api_error"), ("upstream_failed", 502, "api_error"), ("upstream_auth", 502, "api_error"),
    ("upstream_overloaded", 529, "overloaded_error"), ("circuit_open", 503, "overloaded_error"),
    ("upstream_timeout", 504, "timeout_error"),
])
def test_failures_are_written(code, status, kind):
    answered, body = DIALECT.write_error(Failure(code, "Sorry."), "req_1")
    assert (answered, body) == (status, {"type": "error", "error": {"type": kind, "message": "Sorry."},
                                         "request_id": "req_1"})


def test_a_kept_status_is_kept():
    assert DIALECT.write_error(Failure("upstream_overloaded", "m", status=500), "r")[0] == 500


def test_what_a_policy_says_is_said():
    _, body = DIALECT.write_error(Failure("policy_denied", "m", policy_name="p", reason="path_not_allowed",
                                          details={"rule": 1}), "r")
    assert body["error"] == {"type": "permission_error", "message": "m", "policy_name": "p",
                             "reason": "path_not_allowed", "details": {"rule": 1}}


@pytest.mark.parametrize("code", sorted(CODES))
def test_the_vendor_s_client_raises_every_failure(client, code):
    status, body = DIALECT.write_error(Failure(code, "Sorry.", details=["a"]), "req_1")
    with pytest.raises(anthropic.APIStatusError) as caught:
        client(msgspec.json.encode(body), status=status).messages.create(
            model="m", max_tokens=1, messages=[{"role": "user", "content": "Hi"}])
    assert (caught.value.status_code, caught.value.api_message) == (status, "Sorry.")
    assert caught.value.type == body["error"]["type"]
