"""Attempt: tries the targets in their order until one answers. Nothing is repeated once an answer has begun.

An upstream whose circuit is open is left alone, an attempt that failed is made again as far as the policies' ``retry``
and the deadline allow, and then the next target is asked. A write to an API is sent twice only if it cannot have an
effect twice.
"""

import random
import re
from asyncio import get_running_loop, sleep, timeout_at
from email.utils import parsedate_to_datetime
from functools import partial
from time import monotonic, time

from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.grant import Retry, Target
from ailink_gateway.ports import Breakers
from ailink_gateway.stages import Proceed
from ailink_provider.dialects import Measured
from ailink_provider.errors import Failure
from ailink_provider.resilience import CircuitBreaker, CircuitState

CALL_SECONDS = 600.0
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
# What an upstream that is broken brings about; what only we refused or waited for is not its fault.
OUTAGES = frozenset({"upstream_failed", "upstream_overloaded", "upstream_timeout"})
OURS = frozenset({"address_not_allowed", "pool_full", "pool_timeout"})
# What speaks against our account with an upstream: another one may have a good one.
ACCOUNT = frozenset({"credential_missing", "insufficient_quota", "upstream_auth"})
TOO_MANY = 429
_NO_RETRY = Retry(max_retries=0)
_NUMBER = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")


class Attempt:
    """Needs the breakers.

    ``call_seconds`` is how long a call may take with all its attempts and its whole reply, unless something gave the
    exchange another deadline.
    """

    def __init__(self, breakers: Breakers, call_seconds: float = CALL_SECONDS) -> None:
        self._breakers, self._call_seconds = breakers, call_seconds

    async def __call__(self, exchange: Exchange, proceed: Proceed) -> Reply:
        if exchange.deadline is None:
            exchange.deadline = get_running_loop().time() + self._call_seconds
        grant, targets = exchange.grant, exchange.targets
        assert grant is not None  # Authenticate stands before this stage
        if len(targets) == 1 and exchange.retry is None:
            exchange.target = target = targets[0]
            breaker = self._breakers.of(grant.token_id, target.upstream.label, grant.breaker)
            try:
                return await _once(exchange, proceed, _admitted(breaker, target))
            finally:
                _tell(exchange, target, breaker)
        turns = _Turns(exchange, proceed)
        try:
            breakers = [self._breakers.of(grant.token_id, target.upstream.label, grant.breaker) for target in targets]
            for number, (target, breaker) in enumerate(zip(targets, breakers, strict=True), 1):
                others = sum(other is None or other.state is not CircuitState.OPEN for other in breakers[number:])
                reply = await turns.ask(target, breaker, is_last=number == len(targets), others=others)
                if reply is not None:
                    return reply
            raise turns.failure()
        finally:
            if exchange.target is not None:
                _tell(exchange, exchange.target, turns.breaker)


async def _once(exchange: Exchange, proceed: Proceed, breaker: CircuitBreaker | None) -> Reply:
    """Make one attempt, and tell the breaker how it went as soon as that is known."""
    exchange.attempts += 1
    if breaker is None:
        return await proceed(exchange)
    probe = _Probe(breaker) if breaker.state is not CircuitState.CLOSED else None
    try:
        reply = await proceed(exchange)
    except BaseException as error:
        if isinstance(error, Failure) and is_outage(error):
            _count(breaker, probe)
        elif isinstance(error, Failure) and error.upstream_status not in (None, TOO_MANY):
            breaker.record_success()
        elif probe is not None:
            probe.end()
        raise
    if reply.status >= 500:
        _count(breaker, probe)
    elif exchange.upstream_status in (None, TOO_MANY):  # nothing was sent, or it says nothing of its health
        if probe is not None:
            probe.end()
    else:
        if probe is not None or isinstance(reply.body, bytes):
            breaker.record_success()
        if not isinstance(reply.body, bytes):
            exchange.endings.append(lambda: _judge(exchange, breaker))
    return reply


class _Turns:
    """The attempts of one exchange that may have several, whichever target they are made at."""

    def __init__(self, exchange: Exchange, proceed: Proceed) -> None:
        self._exchange, self._proceed = exchange, proceed
        self._retry = exchange.retry or _NO_RETRY
        self._retries = 0
        self._sent = False  # whether an upstream may have got the request
        self._failures: list[Failure] = []
        self._warnings, self._endings = len(exchange.warnings), len(exchange.endings)
        self.breaker: CircuitBreaker | None = None  # of the exchange's target

    async def ask(self, target: Target, breaker: CircuitBreaker | None, is_last: bool, others: int) -> Reply | None:
        """Return what a target answers, after as many attempts as it may have; None if the next one should be asked.
        ``others`` is how many may be asked after it. Raises the ``Failure`` that no other target may cure.
        """
        until = self._until(others)
        while True:
            problem: Failure | Reply
            try:
                reply = problem = await self._attempt(target, breaker, until)
                if reply.status < 400:
                    return reply
                self._sent = True
            except Failure as failure:
                problem = failure
                if not failure.unsent:
                    self._sent = True
                elif self._sent:
                    failure.reason = None  # this attempt was not, but one before it
            pause = self._pause(problem, breaker, is_last, until)
            if pause is None:
                return self._give_up(problem, is_last)
            _discard(problem)
            self._retries += 1
            await sleep(pause)

    def failure(self) -> Failure:
        """Return what to say when no target is left."""
        failures = self._failures
        if len(failures) == 1 or not any(failure.retryable for failure in failures):
            return failures[0]
        return _unavailable(failures, self._sent)

    def _until(self, others: int) -> float | None:
        """Return the moment by which a target must have begun to answer: one that hangs leaves each of the ``others``
        an equal share of the call's time. None if the call's deadline is enough.
        """
        exchange = self._exchange
        if not others or exchange.deadline is None or (exchange.route.kind == "api" and not self._is_safe):
            return None
        now = get_running_loop().time()
        return now + (exchange.deadline - now) / (others + 1)

    async def _attempt(self, target: Target, breaker: CircuitBreaker | None, until: float | None) -> Reply:
        exchange = self._exchange
        if not exchange.attempts:  # what is passed over hides none that was asked
            exchange.target, self.breaker = target, breaker
        if exchange.deadline is not None and get_running_loop().time() >= exchange.deadline:
            raise Failure("upstream_timeout", "The call did not end before its deadline.", reason="total_timeout")
        admitted = _admitted(breaker, target, self._sent)
        exchange.target, self.breaker = target, breaker
        if exchange.attempts:
            del exchange.warnings[self._warnings :], exchange.endings[self._endings :]
            exchange.upstream_status = None
            exchange.measured = Measured()
            exchange.usage_estimated = False
        proceed = self._proceed if until is None else partial(_begin_by, until, self._proceed)
        return await _once(exchange, proceed, admitted)

    @property
    def _is_safe(self) -> bool:
        return self._exchange.method in SAFE_METHODS

    def _may_go_elsewhere(self) -> bool:
        """Whether another upstream may be sent the request without its having an effect twice."""
        return self._exchange.route.kind != "api" or self._is_safe or not self._sent

    def _may_go_again(self) -> bool:
        """Whether the same upstream may: it knows a request again that has an idempotency key."""
        return self._may_go_elsewhere() or self._exchange.idempotency_key is not None

    def _pause(
        self, problem: Failure | Reply, breaker: CircuitBreaker | None, is_last: bool, until: float | None
    ) -> float | None:
        """Return the seconds until this target is asked again, None if it is not."""
        retry, deadline = self._retry, self._exchange.deadline if until is None else until
        if self._retries >= retry.max_retries or (breaker is not None and breaker.state is not CircuitState.CLOSED):
            return None
        if isinstance(problem, Reply):
            worth, wait = problem.status in retry.status_codes, _seconds(problem)
        elif problem.upstream_status is not None:
            worth, wait = problem.upstream_status in retry.status_codes, problem.retry_after
        else:
            worth, wait = problem.code in OUTAGES, problem.retry_after
        if not worth or not self._may_go_again():
            return None
        longest = retry.max_backoff_ms / 1000
        pause = min(retry.base_delay_ms / 1000 * 2.0 ** min(self._retries, 64), longest)
        pause += random.uniform(0, retry.jitter_ms / 1000)  # noqa: S311
        if wait is not None:
            if wait > longest and not is_last:
                return None  # another target is there at once
            pause = max(pause, wait)
        in_time = deadline is None or get_running_loop().time() + pause < deadline
        return pause if in_time else None

    def _give_up(self, problem: Failure | Reply, is_last: bool) -> Reply | None:
        """Return an API's own answer, unless another target may give a better one; None if one may."""
        if isinstance(problem, Reply):
            failed = problem.status == TOO_MANY or problem.status >= 500
            if is_last or not failed or not self._may_go_elsewhere():
                return problem
            _discard(problem)
            problem = Failure("upstream_failed", "The upstream failed.", retry_after=_seconds(problem))
        elif not (problem.retryable or problem.code in ACCOUNT) or not self._may_go_elsewhere():
            raise problem
        self._failures.append(problem)
        return None


async def _begin_by(until: float, proceed: Proceed, exchange: Exchange) -> Reply:
    """Make an attempt that has begun to be answered by this moment. Raises ``Failure`` if it has not."""
    timeout = timeout_at(until)
    try:
        async with timeout:
            return await proceed(exchange)
    except TimeoutError:
        if not timeout.expired():
            raise
        assert exchange.target is not None  # that of the attempt
        message = f"{exchange.target.upstream.label} did not begin its answer in time for another upstream's."
        raise Failure("upstream_timeout", message, reason="turn_timeout") from None


def _tell(exchange: Exchange, target: Target, breaker: CircuitBreaker | None) -> None:
    """Have the client told, whatever it is answered, which upstream was asked and how it stands now."""
    state = breaker.state if breaker is not None else "disabled"
    exchange.response_headers += (
        (b"x-ailink-upstream", target.upstream.label.encode()),
        (b"x-ailink-cb-state", state.encode()),
    )


def _admitted(breaker: CircuitBreaker | None, target: Target, sent: bool = False) -> CircuitBreaker | None:
    """Return the breaker if it lets a call through. Raises ``Failure`` (``circuit_open``) if not; ``sent`` says whether
    the request was sent before.
    """
    if breaker is not None and not breaker.allow():
        raise Failure(
            "circuit_open",
            f"{target.upstream.label} has failed repeatedly and is left alone for a while: try again later.",
            retry_after=breaker.cooldown or 1,
            reason=None if sent else "not_sent",
        )
    return breaker


def _unavailable(failures: list[Failure], sent: bool) -> Failure:
    waits = [failure.retry_after for failure in failures if failure.retry_after is not None]
    unavailable = Failure(
        "all_upstreams_unavailable",
        "All providers unavailable",
        retry_after=min(waits, default=None),
        reason=None if sent else "not_sent",
    )
    unavailable.__cause__ = failures[-1] if failures else None
    return unavailable


class _Probe:
    """A call to an upstream whose circuit is half open, and the place that it takes there."""

    def __init__(self, breaker: CircuitBreaker) -> None:
        self._breaker, self._began = breaker, monotonic()

    def end(self) -> None:
        """Give the place back, unless it has been given to another by now."""
        if monotonic() - self._began < self._breaker.reset_timeout:
            self._breaker.release()


def _count(breaker: CircuitBreaker, probe: _Probe | None = None) -> None:
    """Tell the breaker of a failure. One of a call from before the circuit opened says nothing of how the upstream is
    now, and must not end what a probe finds out.
    """
    if probe is not None or breaker.state is CircuitState.CLOSED:
        breaker.record_failure()


def is_outage(failure: Failure) -> bool:
    """Whether a failure speaks against the upstream: it is broken, late or out of reach."""
    status = failure.upstream_status
    return (
        failure.code in OUTAGES and failure.reason not in OURS and (status is None or not 300 <= status < 500)
    )


def _judge(exchange: Exchange, breaker: CircuitBreaker) -> None:
    """Tell the breaker how a reply ended that came in pieces. A client that left says nothing of the upstream."""
    measured = exchange.measured
    if measured.failure is not None:
        if is_outage(measured.failure):
            _count(breaker)
    elif exchange.error_code in OUTAGES:
        _count(breaker)
    elif measured.complete:
        breaker.record_success()


def _discard(problem: Failure | Reply) -> None:
    if isinstance(problem, Reply) and problem.close is not None:
        problem.close()


def _seconds(reply: Reply) -> float | None:
    """Return what an API's answer says about how long to wait, in seconds; it may say so by a date."""
    value = next((value for name, value in reply.headers if name == b"retry-after"), b"").decode("latin-1").strip()
    if _NUMBER.fullmatch(value):
        return float(value)
    try:
        return max(parsedate_to_datetime(value).timestamp() - time(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None
