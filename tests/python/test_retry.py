"""When a call is sent again, and after how long."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink._retry import retry_after, seconds_before_retry


def retried(repeatable, outcome):
    return seconds_before_retry(repeatable, 0, outcome) is not None


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 529])
def test_passing_failures_are_retried_for_what_is_repeatable_alone(status):
    assert retried(True, httpx2.Response(status))
    assert not retried(False, httpx2.Response(status))


def test_a_call_that_is_still_under_way_is_asked_for_again_when_the_gateway_says_so():
    assert retried(True, httpx2.Response(409, headers={"Retry-After": "1"}))
    assert not retried(False, httpx2.Response(409, headers={"Retry-After": "1"}))


@pytest.mark.parametrize("status", [200, 202, 301, 400, 401, 403, 404, 408, 409, 422])
def test_other_answers_are_final(status):
    assert not retried(True, httpx2.Response(status))


@pytest.mark.parametrize("error", [
    httpx2.ReadTimeout, httpx2.WriteTimeout, httpx2.PoolTimeout, httpx2.ReadError, httpx2.WriteError,
    httpx2.RemoteProtocolError, httpx2.ProxyError,
])
def test_a_broken_connection_is_retried_for_what_is_repeatable_alone(error):
    assert retried(True, error(""))
    assert not retried(False, error(""))


@pytest.mark.parametrize("error", [httpx2.ConnectError, httpx2.ConnectTimeout])
def test_a_connection_that_was_never_made_is_retried_for_all(error):
    assert retried(True, error(""))
    assert retried(False, error(""))


@pytest.mark.parametrize("error", [
    httpx2.LocalProtocolError, httpx2.UnsupportedProtocol, httpx2.DecodingError, httpx2.TooManyRedirects,
])
def test_what_would_fail_again_is_final(error):
    assert not retried(True, error(""))


@pytest.mark.parametrize(("repeatable", "status", "word", "again"), [
    (True, 503, "false", False),
    (True, 500, "false", False),
    (True, 400, "true", True),
    (True, 200, "true", False),
    (True, 503, "perhaps", True),
    (False, 503, "true", False),
])
def test_the_answers_own_word_counts(repeatable, status, word, again):
    assert retried(repeatable, httpx2.Response(status, headers={"x-should-retry": word})) is again


def test_a_kept_answer_is_not_asked_for_again():
    assert not retried(True, httpx2.Response(502, headers={"Idempotent-Replayed": "true"}))


@given(st.integers(min_value=0, max_value=10**6))
def test_waits_grow_and_stay_bounded(attempt):
    wait = seconds_before_retry(True, attempt, httpx2.Response(503))
    assert 0 <= wait <= min(8, 0.5 * 2 ** min(attempt, 10))


def test_waits_are_spread():
    assert len({seconds_before_retry(True, 3, httpx2.Response(503)) for _ in range(20)}) > 1


@pytest.mark.parametrize("asked", ["9", "9.5", "60"])
def test_no_wait_is_shorter_than_asked(asked):
    assert seconds_before_retry(True, 0, httpx2.Response(429, headers={"Retry-After": asked})) == float(asked)


def test_a_date_is_waited_for():
    moment = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 25 < seconds_before_retry(True, 0, httpx2.Response(429, headers={"Retry-After": moment})) <= 30


@pytest.mark.parametrize("asked", ["61", "86400", "Fri, 31 Dec 2999 23:59:59 GMT"])
def test_nobody_is_made_to_wait_for_minutes(asked):
    assert not retried(True, httpx2.Response(429, headers={"Retry-After": asked}))


@pytest.mark.parametrize(("value", "seconds"), [
    ("-5", 0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Wed, 21 Oct 2015 07:28:00 -0000", 0),
    ("", None), ("soon", None), ("nan", None), ("inf", None), ("Wed, 99 Oct 2015 07:28:00 GMT", None),
])
def test_odd_values_are_read_with_care(value, seconds):
    assert retry_after(httpx2.Headers({"Retry-After": value})) == seconds


@given(st.text(st.characters(max_codepoint=127)))
def test_no_value_is_too_odd_to_read(value):
    seconds = retry_after(httpx2.Headers({"Retry-After": value}))
    assert seconds is None or seconds >= 0
