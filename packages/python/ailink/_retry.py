"""Whether a call is sent again, and after how long: pure decisions, no waiting and no sending.

A call that may have had an effect is never sent twice: only what is repeatable is repeated, and anything when the
connection was never made. GET and HEAD are, and whatever carries an idempotency key.
"""

import math
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

FIRST_BACKOFF = 0.5  # seconds; doubled for each attempt
MOST_DOUBLINGS = 4
LONGEST_WAIT = 60.0  # a gateway that asks for more is not waited for: the caller decides

SAFE_METHODS = frozenset({"GET", "HEAD"})
REPLAYED_HEADER = "Idempotent-Replayed"  # the answer was kept from before: to ask again brings the same
NOTHING_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout)
PASSING_ERRORS = (httpx2.TimeoutException, httpx2.NetworkError, httpx2.RemoteProtocolError, httpx2.ProxyError)


def seconds_before_retry(
    repeatable: bool, attempt: int, outcome: httpx2.Response | httpx2.RequestError
) -> float | None:
    """How long to wait before sending the same again; None if ``outcome`` is final.

    Exponential backoff with full jitter, never shorter than the answer's ``Retry-After``; its ``x-should-retry``
    has the last word. ``attempt`` counts from 0.
    """
    if not _may_repeat(repeatable, outcome):
        return None
    backoff = random.uniform(0, FIRST_BACKOFF * 2 ** min(attempt, MOST_DOUBLINGS))  # noqa: S311 - no secret
    asked = retry_after(outcome.headers) if isinstance(outcome, httpx2.Response) else None
    if asked is None:
        return backoff
    return max(asked, backoff) if asked <= LONGEST_WAIT else None


def retry_after(headers: httpx2.Headers) -> float | None:
    """The seconds that a ``Retry-After`` header asks for, as a number or a date; None if it says nothing usable."""
    value = headers.get("Retry-After", "")
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value)
    return max(seconds, 0.0) if math.isfinite(seconds) else None


def _may_repeat(repeatable: bool, outcome: httpx2.Response | httpx2.RequestError) -> bool:
    if isinstance(outcome, NOTHING_SENT):
        return True
    if not repeatable:
        return False
    if isinstance(outcome, httpx2.RequestError):
        return isinstance(outcome, PASSING_ERRORS)
    if REPLAYED_HEADER in outcome.headers:
        return False
    match outcome.headers.get("x-should-retry"):
        case "true":
            return outcome.is_error
        case "false":
            return False
    # 409 with a time to come back: the same call, sent before, is still under way, and its answer is to come.
    under_way = outcome.status_code == 409 and "Retry-After" in outcome.headers
    return outcome.status_code == 429 or outcome.is_server_error or under_way


def _seconds_until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
        if moment.tzinfo is None:  # "-0000": UTC, of unknown origin
            moment = moment.replace(tzinfo=UTC)
        return (moment - datetime.now(UTC)).total_seconds()
    except (ValueError, OverflowError):
        return math.nan
