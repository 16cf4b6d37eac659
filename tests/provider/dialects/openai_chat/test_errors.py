"""Upstreams' errors, read; failures, written for clients."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import openai
import pytest

from ailink_provider.dialects.openai_chat import DIALECT
from ailink_provider.errors import CODES, Failure


def read(status: int, body: Any, headers: dict[str, str] | None = None) -> Failure:
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return DIALECT.read_error(status, headers or {}, data)


def openai_error(message: str = "m", kind: str | None = None, code: str | None = None, param: str | None = None) -> Any:
    return {"error": {"message": message, "type": kind, "code": code, "param": param}}


@pytest.mark.parametrize(("status", "body", "code"), [
    (400, openai_error("Unknown parameter"), "invalid_request"),
    (400, openai_error("x", code="context_length_exceeded"), "context_length_exceeded"),
    (400, openai_error("This model's maximum context length is 8192 tokens."), "context_length_exceeded"),
    (400, openai_error("prompt is too long: 210000 tokens > 200000 maximum"), "context_length_exceeded"),
    (400, openai_error("max_tokens is too large: 99999."), "invalid_request"),
    (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "X"}}],
     "upstream_auth"),
    (401, openai_error("Incorrect API key provided: sk-123"), "upstream_auth"),
    (403, openai_error("Country not supported"), "upstream_auth"),
    (402, openai_error("Insufficient credits"), "insufficient_quota"),
    (404, openai_error("The model `x` does not exist", code="model_not_found"), "model_not_found"),
    (404, openai_error("No such response"), "not_found"),
    (404, b"<html>404</html>", "upstream_failed"),
    (404, b"", "not_found"),
    (404, b"no such model", "model_not_found"),
    (400, b"", "invalid_request"),
    (400, b"Bad Request", "invalid_request"),
    (400, b"{}", "invalid_request"),
    (400, b"<html>400</html>", "upstream_failed"),
    (418, b"", "invalid_request"),
    (408, openai_error(), "upstream_timeout"),
    (409, openai_error(), "conflict"),
    (413, openai_error("Request too large"), "payload_too_large"),
    (413, openai_error("too many tokens"), "context_length_exceeded"),
    (413, b"<html>413 Request Entity Too Large</html>", "payload_too_large"),
    (422, {"detail": [{"loc": ["body", "x"], "msg": "field required"}]}, "invalid_request"),
    (424, openai_error(), "upstream_failed"),
    (429, openai_error("Rate limit reached"), "rate_limit_exceeded"),
    (429, openai_error("You exceeded your current quota", "insufficient_quota", "insufficient_quota"),
     "insufficient_quota"),
    (429, b"", "rate_limit_exceeded"),
    (500, openai_error(), "upstream_failed"),
    (502, b"<html>Bad gateway</html>", "upstream_failed"),
    (503, openai_error(), "upstream_overloaded"),
    (504, b"", "upstream_timeout"),
    (529, openai_error(), "upstream_overloaded"),
    (302, b"", "upstream_failed"),
    (418, openai_error(), "invalid_request"),
])
def test_a_status_means_a_code(status: int, body: Any, code: str) -> None:
    failure = read(status, body)
    assert (failure.code, failure.upstream_status) == (code, status)


@pytest.mark.parametrize("body", [
    {"error": "it says"}, {"message": "it says"}, {"detail": "it says"}, {"detail": [{"msg": "it says"}]}, ["it says"],
    [{"error": {"message": "it says"}}], "it says", {"error": {"message": {"detail": "it says"}}},
    {"errors": [{"message": "it says"}]}, {"object": "error", "message": "it says", "code": 40003},
])
def test_every_shape_is_understood(body: Any) -> None:
    assert read(400, body).message == "it says"


def test_the_field_at_fault_is_named() -> None:
    failure = read(400, openai_error("Invalid type for 'n'", param="n"))
    assert (failure.message, failure.param) == ("Invalid type for 'n'", "n")


@pytest.mark.parametrize(("status", "body"), [
    (401, openai_error("Incorrect API key provided: sk-proj-abcdef")), (403, b"key sk-proj-abcdef refused"),
    (400, openai_error("Your key sk-proj-abcdef of org-abcdefgh is wrong")), (500, b"oops sk-proj-abcdef org-abcdefgh"),
    (429, openai_error("Rate limit reached for gpt-4o in organization org-abcdefgh")),
])
def test_keys_and_accounts_are_never_quoted(status: int, body: Any) -> None:
    assert "abcdef" not in read(status, body).message


def test_unparsable_text_is_cut_and_cleaned() -> None:
    assert read(400, b" \n").message == "The upstream answered 400 with an empty body."
    assert read(400, b"Bad Request").message == "The upstream answered 400: Bad Request"
    message = read(502, b"<html>\x00\r\n" + b"y" * 5000).message
    assert len(message) <= 330
    assert message.isprintable()
    assert len(read(400, openai_error("y" * 5000)).message) <= 1000


def seconds_ahead(seconds: int) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(("headers", "low", "high"), [
    ({"retry-after": "20"}, 20, 20), ({"retry-after": "1.5"}, 1.5, 1.5),
    ({"retry-after-ms": "250", "retry-after": "9"}, 0.25, 0.25),
    ({"retry-after-ms": "soon", "retry-after": "9"}, 9, 9), ({"retry-after": "-4"}, 0, 0),
    # Reckoned when the tests are collected, which may be long before they run.
    ({"retry-after": seconds_ahead(24 * 3600)}, 23 * 3600, 24 * 3600), ({"retry-after": seconds_ahead(-3600)}, 0, 0),
])
def test_the_time_to_wait_is_read(headers: dict[str, str], low: float, high: float) -> None:
    wait = read(429, openai_error(), headers).retry_after
    assert wait is not None
    assert low <= wait <= high


@pytest.mark.parametrize("value", ["", "soon", "nan", "inf", "Fri, 99 Foo 2026 00:00:00 GMT"])
def test_a_senseless_time_to_wait_is_none(value: str) -> None:
    assert read(429, openai_error(), {"retry-after": value}).retry_after is None


@pytest.mark.parametrize("body", [b"[" * 99_999, b'"\xff"', b"7", b"null", b"[]", b"{}", b'{"error":{}}',
                                  b'{"error":7}',
                                  b'{"message":{"message":{"message":{"message":{"message":{"message":{}}}}}}}'])
def test_nothing_it_reads_raises(body: bytes) -> None:
    assert read(500, body).code == "upstream_failed"


def test_the_body_is_the_contracts() -> None:
    assert DIALECT.write_error(Failure("model_not_found", "No such model.", param="model"), "req-1") == (404, {
        "error": {"message": "No such model.", "type": "not_found_error", "code": "model_not_found", "param": "model",
                  "request_id": "req-1"}, "detail": "No such model."})


def test_what_is_set_is_told() -> None:
    failure = Failure("policy_denied", "Denied.", reason="model_not_allowed", policy_name="p", details={"a": 1})
    status, body = DIALECT.write_error(failure, "req-1")
    assert status == 403
    assert body["error"] == {"message": "Denied.", "type": "permission_error", "code": "policy_denied", "param": None,
                             "request_id": "req-1", "reason": "model_not_allowed", "policy_name": "p",
                             "details": {"a": 1}}


@pytest.mark.parametrize(("code", "kind"), [
    ("invalid_request", openai.BadRequestError), ("invalid_api_key", openai.AuthenticationError),
    ("policy_denied", openai.PermissionDeniedError), ("model_not_found", openai.NotFoundError),
    ("rate_limit_exceeded", openai.RateLimitError), ("upstream_failed", openai.InternalServerError),
])
def test_openais_client_raises_what_its_users_catch(sdk: Callable[..., openai.OpenAI], code: str,
                                                    kind: type[Exception]) -> None:
    status, body = DIALECT.write_error(Failure(code, "It failed.", param="p"), "req-1")
    with pytest.raises(kind, match=r"It failed\.") as caught:
        sdk(body, status).chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}])
    assert isinstance(caught.value, openai.APIStatusError)
    assert (caught.value.code, caught.value.param, caught.value.type) == (code, "p", CODES[code][1])


def test_every_code_can_be_written() -> None:
    for code, (status, kind) in CODES.items():
        written, body = DIALECT.write_error(Failure(code, "m"), "")
        assert (written, body["error"]["type"]) == (status, kind)
        assert body["error"].keys() == {"message", "type", "code", "param"}
