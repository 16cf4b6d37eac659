"""Whatever another's code raises is a Failure that tells what to do and shows no secret."""

import asyncio

import pytest

from ailink_provider.contain import contained, failure_of
from ailink_provider.errors import Failure
from ailink_provider.resilience import APIError


@pytest.mark.parametrize(("status", "code"), [
    (400, "invalid_request"), (401, "upstream_auth"), (402, "insufficient_quota"), (404, "not_found"),
    (418, "invalid_request"), (429, "rate_limit_exceeded"), (500, "upstream_failed"), (503, "upstream_overloaded"),
    (504, "upstream_timeout"), (529, "upstream_overloaded"), (302, "upstream_failed"),
])
def test_an_api_error_keeps_its_meaning(status: int, code: str) -> None:
    failure = failure_of(APIError(status, "said", retry_after=2.5), "x")
    assert (failure.code, failure.message, failure.retry_after, failure.upstream_status) == (code, "said", 2.5, status)


@pytest.mark.parametrize(("error", "code"), [
    (TimeoutError(), "upstream_timeout"), (ConnectionResetError("sk-secret"), "upstream_failed"),
    (KeyError("sk-secret"), "upstream_failed"), (Failure("circuit_open", "open"), "circuit_open"),
])
def test_any_error_has_a_code_and_tells_no_secret(error: Exception, code: str) -> None:
    failure = failure_of(error, "The thing")
    assert failure.code == code
    assert "sk-secret" not in str(failure)


def test_a_defect_is_logged_and_an_upstreams_error_is_not(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Failure) as caught, contained("The thing"):
        raise KeyError("x")
    assert isinstance(caught.value.__cause__, KeyError)
    assert [record.getMessage() for record in caplog.records] == ["The thing broke"]
    with pytest.raises(Failure), contained("The thing"):
        raise APIError(500, "down")
    assert len(caplog.records) == 1


def test_failures_and_cancellation_pass() -> None:
    failure = Failure("not_found", "x")
    with pytest.raises(Failure) as caught, contained("The thing"):
        raise failure
    assert caught.value is failure
    with pytest.raises(asyncio.CancelledError), contained("The thing"):
        raise asyncio.CancelledError
