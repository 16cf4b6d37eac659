"""Upstreams' errors, read; failures, written for clients. What they share with Chat Completions is tested there."""

from collections.abc import Callable
from typing import Any

import msgspec
import openai
import pytest

from ailink_provider.dialects.openai_responses import DIALECT
from ailink_provider.errors import CODES, Failure


@pytest.mark.parametrize(("status", "error", "code"), [
    (400, {"message": "Unknown parameter", "param": "input[0].foo"}, "invalid_request"),
    (400, {"message": "x", "code": "context_length_exceeded"}, "context_length_exceeded"),
    (401, {"message": "Incorrect API key provided: sk-123"}, "upstream_auth"),
    (404, {"message": "The model `x` does not exist", "code": "model_not_found"}, "model_not_found"),
    (404, {"message": "Previous response with id 'resp_1' not found."}, "not_found"),
    (429, {"message": "Slow."}, "rate_limit_exceeded"), (503, {"message": "Busy."}, "upstream_overloaded"),
    (500, {"message": "Oops."}, "upstream_failed"),
])
def test_an_upstreams_error(status: int, error: dict[str, Any], code: str) -> None:
    failure = DIALECT.read_error(status, {"retry-after": "3"}, msgspec.json.encode({"error": error}))
    assert (failure.code, failure.upstream_status, failure.retry_after) == (code, status, 3.0)
    assert "sk-123" not in failure.message
    assert failure.param == error.get("param")


@pytest.mark.parametrize("code", list(CODES))
def test_a_failure_raises_in_openais_client(code: str, sdk: Callable[..., openai.OpenAI]) -> None:
    status, body = DIALECT.write_error(Failure(code, "Why.", param="input"), "req-1")
    assert status == CODES[code][0]
    assert body["detail"] == "Why."
    with pytest.raises(openai.APIStatusError, match=r"Why\.") as caught:
        sdk(body, status).responses.create(model="m", input="Hi")
    assert (caught.value.code, caught.value.param, caught.value.type) == (code, "input", CODES[code][1])
