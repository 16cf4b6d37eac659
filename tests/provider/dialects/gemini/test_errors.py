"""Errors, both ways."""

from typing import Any

import msgspec
import pytest

from ailink_provider.dialects.gemini import DIALECT
from ailink_provider.dialects.gemini.errors import read_error_object
from ailink_provider.errors import CODES, Failure

RPC = "type.googleapis.com/google.rpc."


def body(code: int, message: str, status: str = "", *details: dict[str, Any]) -> bytes:
    return msgspec.json.encode(
        {"error": {"code": code, "message": message, "status": status, "details": list(details)}}
    )


@pytest.mark.parametrize(
    ("status", "message", "word", "details", "code"),
    [
        (400, "Invalid value at 'contents'", "INVALID_ARGUMENT", (), "invalid_request"),
        (
            400,
            "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
            "INVALID_ARGUMENT",
            (),
            "context_length_exceeded",
        ),
        (400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT", (), "upstream_auth"),
        (
            400,
            "Renew it.",
            "INVALID_ARGUMENT",
            ({"@type": RPC + "ErrorInfo", "reason": "API_KEY_INVALID"},),
            "upstream_auth",
        ),
        (400, "User location is not supported for the API use.", "FAILED_PRECONDITION", (), "upstream_failed"),
        (401, "Bad credentials", "UNAUTHENTICATED", (), "upstream_auth"),
        (402, "Pay", "", (), "insufficient_quota"),
        (403, "Method doesn't allow unregistered callers", "PERMISSION_DENIED", (), "upstream_auth"),
        (404, "models/x is not found for API version v1beta", "NOT_FOUND", (), "model_not_found"),
        (408, "Late", "", (), "upstream_timeout"),
        (409, "Aborted", "ABORTED", (), "invalid_request"),
        (413, "Request payload size exceeds the limit", "", (), "payload_too_large"),
        (413, "Too many tokens", "", (), "context_length_exceeded"),
        (429, "You exceeded your current quota", "RESOURCE_EXHAUSTED", (), "rate_limit_exceeded"),
        (429, "Your prepayment credits are depleted.", "RESOURCE_EXHAUSTED", (), "insufficient_quota"),
        (499, "Cancelled", "CANCELLED", (), "upstream_failed"),
        (500, "Internal error", "INTERNAL", (), "upstream_failed"),
        (501, "Not implemented", "UNIMPLEMENTED", (), "upstream_failed"),
        (503, "The model is overloaded.", "UNAVAILABLE", (), "upstream_overloaded"),
        (504, "Deadline expired", "DEADLINE_EXCEEDED", (), "upstream_timeout"),
        (529, "Busy", "", (), "upstream_overloaded"),
    ],
)
def test_statuses(status: int, message: str, word: str, details: tuple[dict[str, Any], ...], code: str) -> None:
    failure = DIALECT.read_error(status, {}, body(status, message, word, *details))
    assert (failure.code, failure.upstream_status) == (code, status)
    if code == "upstream_auth":
        assert message not in failure.message
    else:
        assert failure.message == message


def test_how_long_to_wait_stands_in_the_body() -> None:
    details = (
        {"@type": RPC + "QuotaFailure", "violations": [{"quotaMetric": "x"}]},
        {"@type": RPC + "RetryInfo", "retryDelay": "34.4s"},
    )
    assert DIALECT.read_error(429, {"retry-after": "9"}, body(429, "Wait", "", *details)).retry_after == 34.4
    assert DIALECT.read_error(429, {"retry-after": "9"}, body(429, "Wait")).retry_after == 9
    assert (
        DIALECT.read_error(429, {"retry-after": "Fri, 21 Nov 2026 07:28:00 GMT"}, body(429, "Wait")).retry_after is None
    )


def test_the_field_at_fault() -> None:
    detail = {"@type": RPC + "BadRequest", "fieldViolations": [{"field": "contents[0].parts", "description": "x"}]}
    assert DIALECT.read_error(400, {}, body(400, "Bad", "INVALID_ARGUMENT", detail)).param == "contents[0].parts"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>\x00\x1b[31m" + b"x" * 5000,
        b"null",
        b"[]",
        b"[5]",
        b'{"error": "sad"}',
        b'{"error": {"message": 5, "details": 7}}',
        b'{"error": {"details": [5, {"fieldViolations": 5}, {"fieldViolations": [5]}, {"retryDelay": 5}]}}',
        b"\xff\xfe",
    ],
)
def test_anything_may_come_from_an_upstream(content: bytes) -> None:
    failure = DIALECT.read_error(502, {}, content)
    assert failure.code == "upstream_failed"
    assert 0 < len(failure.message) <= 300
    assert failure.message.isprintable()


def test_an_empty_body_is_said_to_be_one() -> None:
    failure = DIALECT.read_error(400, {}, b"")
    assert (failure.code, failure.message) == ("invalid_request", "The upstream answered 400 with an empty body.")


@pytest.mark.parametrize(("status", "code"), [
    (400, "upstream_failed"), (404, "upstream_failed"), (403, "upstream_auth"), (429, "rate_limit_exceeded"),
])  # fmt: skip
def test_a_page_says_nothing_of_the_request(status: int, code: str) -> None:
    assert DIALECT.read_error(status, {}, b"<!DOCTYPE html><title>Error</title>").code == code


def test_a_list_of_one_is_how_a_stream_fails() -> None:
    assert (
        DIALECT.read_error(404, {}, b"[" + body(404, "models/x is not found") + b"]").message == "models/x is not found"
    )


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ({"status": "UNAVAILABLE"}, 503, "upstream_overloaded"),
        ({"code": "x", "status": "RESOURCE_EXHAUSTED"}, 429, "rate_limit_exceeded"),
        ({}, 500, "upstream_failed"),
        ("sad", 500, "upstream_failed"),
        ({"code": 7}, 500, "upstream_failed"),
    ],
)
def test_an_error_without_a_status_of_http(error: Any, status: int, code: str) -> None:
    failure = read_error_object(error)
    assert (failure.upstream_status, failure.code) == (status, code)


def test_a_clients_error() -> None:
    failure = Failure(
        "rate_limit_exceeded", "Slow down.", param="contents", retry_after=1.5, policy_name="p", reason="r", details=[1]
    )
    assert DIALECT.write_error(failure, "req_1") == (
        429,
        {
            "error": {
                "code": 429,
                "message": "Slow down.",
                "status": "RESOURCE_EXHAUSTED",
                "details": [
                    {
                        "@type": RPC + "ErrorInfo",
                        "reason": "RATE_LIMIT_EXCEEDED",
                        "domain": "ailink",
                        "metadata": {"request_id": "req_1", "policy_name": "p", "reason": "r", "details": "[1]"},
                    },
                    {
                        "@type": RPC + "BadRequest",
                        "fieldViolations": [{"field": "contents", "description": "Slow down."}],
                    },
                    {"@type": RPC + "RetryInfo", "retryDelay": "1.5s"},
                ],
            }
        },
    )


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_status_of_google(code: str) -> None:
    status, written = DIALECT.write_error(Failure(code, "x"), "")
    assert status == CODES[code][0]
    assert written["error"]["status"] in {
        "INVALID_ARGUMENT",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "NOT_FOUND",
        "RESOURCE_EXHAUSTED",
        "UNAVAILABLE",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
        "ABORTED",
        "UNIMPLEMENTED",
        "CANCELLED",
    }
    assert written["error"]["details"][0] == {
        "@type": RPC + "ErrorInfo",
        "reason": code.upper(),
        "domain": "ailink",
        "metadata": {},
    }


def test_what_is_written_reads_back() -> None:
    failure = Failure("rate_limit_exceeded", "Slow down.", param="contents", retry_after=12)
    status, written = DIALECT.write_error(failure, "req_1")
    found = DIALECT.read_error(status, {}, msgspec.json.encode(written))
    assert (found.code, found.message, found.param, found.retry_after) == (
        "rate_limit_exceeded",
        "Slow down.",
        "contents",
        12,
    )
