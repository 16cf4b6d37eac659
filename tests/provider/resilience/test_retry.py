"""Retries: which errors are tried again, after which pauses, and where it ends."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_provider.errors import CODES, RETRYABLE, Failure
from ailink_provider.resilience import APIError, RetryConfig, default_retryable, retry_with_backoff

Run = Callable[..., Any]
STEADY = RetryConfig(jitter=0)


class Upstream:
    """Fails with these errors, one a call, then answers. Notes the virtual seconds of its calls."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls: list[float] = []

    async def __call__(self) -> str:
        self.calls.append(asyncio.get_running_loop().time() - 1024)
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        return "answer"

    @property
    def pauses(self) -> list[float]:
        return [round(after - before, 6) for before, after in zip(self.calls, self.calls[1:], strict=False)]


def test_what_goes_well_is_done_once(run: Run) -> None:
    upstream = Upstream()
    assert run(retry_with_backoff(RetryConfig(), upstream)) == "answer"
    assert upstream.calls == [0]


def test_pauses_grow_up_to_their_limit(run: Run) -> None:
    upstream = Upstream(*[APIError(503, "busy")] * 6)
    config = RetryConfig(max_retries=6, initial_backoff=0.5, max_backoff=3, backoff_factor=2, jitter=0)
    assert run(retry_with_backoff(config, upstream)) == "answer"
    assert upstream.pauses == [0.5, 1, 2, 3, 3, 3]


def test_fractions_of_a_second_work(run: Run) -> None:
    upstream = Upstream(*[TimeoutError()] * 2)
    run(retry_with_backoff(RetryConfig(initial_backoff=0.001, backoff_factor=1.5, jitter=0), upstream))
    assert upstream.pauses == [0.001, 0.0015]


def test_the_last_error_is_raised(run: Run) -> None:
    errors = [APIError(500, f"number {number}") for number in range(5)]
    upstream = Upstream(*errors)
    with pytest.raises(APIError, match="number 3") as caught:
        run(retry_with_backoff(STEADY, upstream))
    assert caught.value is errors[3]
    assert caught.value.__context__ is None, "the errors before it are not its causes"
    assert len(upstream.calls) == 4


@pytest.mark.parametrize("error", [APIError(400, "bad"), ValueError("bad"), Failure("invalid_request", "bad")])
def test_what_no_attempt_cures_is_raised_at_once(run: Run, error: Exception) -> None:
    upstream = Upstream(error)
    with pytest.raises(type(error)) as caught:
        run(retry_with_backoff(STEADY, upstream))
    assert caught.value is error
    assert upstream.calls == [0]


def test_the_caller_decides_what_is_tried_again(run: Run) -> None:
    config = RetryConfig(retry_if=lambda error: isinstance(error, KeyError), jitter=0)
    upstream = Upstream(KeyError(), KeyError(), APIError(503, "busy"))
    with pytest.raises(APIError):
        run(retry_with_backoff(config, upstream))
    assert len(upstream.calls) == 3


def test_no_retries_means_one_attempt(run: Run) -> None:
    upstream = Upstream(APIError(503, "busy"))
    with pytest.raises(APIError):
        run(retry_with_backoff(RetryConfig(max_retries=0), upstream))
    assert upstream.calls == [0]


# --- what the upstream asks ----------------------------------------------------------------------


def wrapped(error: Exception) -> Exception:
    try:
        raise RuntimeError("the call failed") from error
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "pause"),
    [
        (APIError(429, "slow down", retry_after=7.5), 7.5),
        (Failure("rate_limit_exceeded", "slow down", retry_after=7.5), 7.5),
        (wrapped(APIError(429, "slow down", retry_after=7.5)), 7.5),
        (APIError(429, "slow down", retry_after=90), 90),
        (APIError(429, "slow down", retry_after=0.01), 0.1),
        (APIError(429, "slow down", retry_after=-5), 0.1),
        (APIError(429, "slow down", retry_after=float("inf")), 0.1),
        (APIError(429, "slow down"), 0.1),
    ],
)
def test_nobody_is_asked_sooner_than_it_wants(run: Run, error: Exception, pause: float) -> None:
    upstream = Upstream(error)
    assert run(retry_with_backoff(STEADY, upstream)) == "answer"
    assert upstream.pauses == [pause]


# --- the deadline --------------------------------------------------------------------------------


def test_no_pause_reaches_beyond_the_deadline(run: Run) -> None:
    error = APIError(429, "slow down", retry_after=10)
    for seconds, calls in ((10.5, 2), (10, 1), (3, 1)):
        upstream = Upstream(error, error)
        with pytest.raises(APIError) as caught:
            run(within(STEADY, upstream, seconds))
        assert caught.value is error
        assert len(upstream.calls) == calls


async def within(config: RetryConfig, func: Any, seconds: float) -> Any:
    return await retry_with_backoff(config, func, deadline=asyncio.get_running_loop().time() + seconds)


def test_an_attempt_that_passes_the_deadline_is_cancelled(run: Run) -> None:
    ended: list[float] = []

    async def slow() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(asyncio.get_running_loop().time() - 1024)

    with pytest.raises(Failure) as caught:
        run(within(RetryConfig(initial_backoff=0), slow, 2.5))
    assert (caught.value.code, caught.value.reason) == ("upstream_timeout", "total_timeout")
    assert ended == [2.5]


def test_a_deadline_that_has_passed_begins_nothing(run: Run) -> None:
    upstream = Upstream()
    with pytest.raises(Failure, match="deadline"):
        run(within(STEADY, upstream, 0))
    assert upstream.calls == []


def test_a_timeout_of_the_function_s_own_is_tried_again(run: Run) -> None:
    upstream = Upstream(TimeoutError("its own"))
    assert run(within(STEADY, upstream, 60)) == "answer"
    assert upstream.pauses == [0.1]


# --- cancellation --------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", [0.0, 0.05])
def test_cancellation_passes_through(run: Run, moment: float) -> None:
    upstream = Upstream(APIError(503, "busy"), asyncio.CancelledError())

    async def main() -> None:
        task = asyncio.create_task(retry_with_backoff(STEADY, upstream))
        await asyncio.sleep(moment)  # during an attempt, or during a pause
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        run(main())
    assert len(upstream.calls) <= 1


def test_an_attempt_that_was_cancelled_is_not_tried_again(run: Run) -> None:
    upstream = Upstream(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        run(retry_with_backoff(RetryConfig(retry_if=lambda error: True), upstream))
    assert upstream.calls == [0]


# --- what is worth another attempt ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (APIError(429, "x"), True),
        (APIError(429, "x", "insufficient_quota"), False),
        (APIError(500, "x"), True),
        (APIError(503, "x"), True),
        (APIError(529, "x"), True),
        (APIError(408, "x"), True),
        (APIError(200, "x", "overloaded_error"), True),
        (APIError(400, "x", "rate_limit_error"), True),
        (APIError(400, "x"), False),
        (APIError(401, "x"), False),
        (APIError(404, "x", ["odd"]), False),  # type: ignore[arg-type]
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (ValueError(), False),
        (OSError(), False),
    ],
)
def test_what_is_worth_another_attempt(error: Exception, expected: bool) -> None:
    assert default_retryable(error) is expected


def test_a_failure_knows_by_its_code() -> None:
    for code in CODES:
        assert default_retryable(Failure(code, "x")) is (code in RETRYABLE)


class VendorError(Exception):
    """Any SDK's error with a status."""

    status_code = 503


def test_the_errors_of_other_sdks_are_known_by_their_status() -> None:
    assert default_retryable(VendorError())


def test_it_is_found_through_causes_and_contexts() -> None:
    def raised(suppress: bool) -> BaseException:
        try:
            try:
                raise APIError(503, "busy")
            except APIError:
                if suppress:
                    raise RuntimeError("outer") from None
                raise RuntimeError("outer")  # noqa: B904 - the context is what is tested
        except RuntimeError as error:
            return error

    assert default_retryable(wrapped(wrapped(APIError(503, "busy"))))
    assert default_retryable(raised(suppress=False))
    assert not default_retryable(raised(suppress=True)), "what was hidden on purpose stays hidden"
    assert not default_retryable(wrapped(ValueError()))


def test_the_first_that_tells_decides() -> None:
    refused = Failure("invalid_request", "x")
    refused.__cause__ = APIError(503, "busy")
    assert not default_retryable(refused)
    busy = APIError(503, "busy")
    busy.__cause__ = refused
    assert default_retryable(busy)


def test_a_loop_of_errors_ends() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert not default_retryable(first)


# --- the configuration ---------------------------------------------------------------------------


def test_defaults() -> None:
    config = RetryConfig()
    assert (config.max_retries, config.initial_backoff, config.max_backoff) == (3, 0.1, 30.0)
    assert (config.backoff_factor, config.jitter, config.retry_if) == (2.0, 0.1, default_retryable)


@given(
    st.integers(0, 2000),
    st.floats(0, 5),
    st.floats(0, 60),
    st.floats(1, 10),
    st.floats(0, 1),
)
def test_pauses_stay_within_their_bounds(
    retries: int, initial: float, most: float, factor: float, jitter: float
) -> None:
    config = RetryConfig(retries, initial, most, factor, jitter)
    pauses = list(config.pauses())
    assert len(pauses) == retries
    backoff = min(initial, most)
    for pause in pauses:
        assert backoff * (1 - jitter) * 0.999999 <= pause <= min(backoff * (1 + jitter) * 1.000001, most)
        backoff = min(backoff * factor, most)


def test_jitter_spreads_those_who_failed_together() -> None:
    pauses = {next(RetryConfig(jitter=0.5).pauses()) for _ in range(50)}
    assert len(pauses) > 40
    assert min(pauses) < 0.09 < 0.11 < max(pauses)


@pytest.mark.parametrize(
    "fields",
    [
        {"max_retries": -1},
        {"initial_backoff": -0.1},
        {"max_backoff": float("nan")},
        {"backoff_factor": 0.5},
        {"jitter": -0.1},
        {"jitter": 1.1},
    ],
)
def test_values_that_make_no_sense(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(fields))):
        RetryConfig(**fields)


def test_an_api_error_says_what_it_is() -> None:
    error = APIError(429, "slow down", "rate_limit_error", 2.5)
    assert (error.status_code, error.message, error.type, error.retry_after) == (
        429, "slow down", "rate_limit_error", 2.5,
    )  # fmt: skip
    assert str(error) == "slow down"
    assert "429" in repr(error)
