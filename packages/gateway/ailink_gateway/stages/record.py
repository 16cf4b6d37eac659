"""Record: times a call, delivers its reply and writes one record of it, exactly once, whatever happened below.

The record is in the journal before the last byte goes out. This is where a cancelled call is accounted for. A request
of someone who could not be told leaves none, or anyone could fill the audit: it is counted.
"""

import asyncio
import contextlib
import logging
from time import monotonic

from ailink_gateway import record as rows
from ailink_gateway.charges import FREE, charge, plausible
from ailink_gateway.delivery import Departures, deliver, refuse
from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.ports import Bodies, Journal, Meter
from ailink_gateway.stages import Proceed
from ailink_gateway.trace import read_traceparent, span_of
from ailink_gateway.transcript import transcribe
from ailink_provider.errors import Failure

logger = logging.getLogger("ailink")

UNAVAILABLE = 503
_AROUND_TAG = len('["",""],')


class Record:
    """Needs the journal that records go to; counts in ``meter`` and keeps bodies in ``bodies``, if they are given."""

    def __init__(self, journal: Journal, meter: Meter | None = None, bodies: Bodies | None = None) -> None:
        self._journal = journal
        self._meter = meter
        self._bodies = bodies
        self._departures = Departures()

    async def __call__(self, exchange: Exchange, proceed: Proceed) -> Reply:
        departure = self._departures.expect(exchange)
        transcript = None
        try:
            reply = await self._answer(exchange, proceed)
            if self._bodies is not None:
                transcript = transcribe(exchange, reply)
            try:
                await deliver(exchange, reply, lambda: self._settle(exchange), departure)
            except Failure as failure:
                if not isinstance(reply.body, bytes):
                    raise  # it has begun: all that is left is to break it off
                reply = refuse(exchange, failure)  # what cannot be recorded is not answered
                await deliver(exchange, reply, lambda: None, departure)
            return reply
        except asyncio.CancelledError:
            exchange.cancelled_by_client = departure.noticed
            raise
        finally:
            departure.cancel()
            if not exchange.recorded:  # cut short: what comes to its end is settled by its delivery
                exchange.error_code = exchange.error_code or "internal_error"
                with contextlib.suppress(Failure):  # it is logged, and the mark that the call was opened stays
                    self._settle(exchange)
            if transcript is not None and self._bodies is not None:
                self._bodies.keep(transcript)

    async def _answer(self, exchange: Exchange, proceed: Proceed) -> Reply:
        try:
            return await proceed(exchange)
        except Failure as failure:
            return refuse(exchange, failure)
        except Exception as error:  # the one place where a defect becomes an answer, and a record
            logger.error("%s failed inside the gateway", exchange.id, exc_info=error)
            return refuse(
                exchange, Failure("internal_error", "The gateway failed while it handled this request; it was logged.")
            )

    def _settle(self, exchange: Exchange) -> None:
        if exchange.recorded:
            return
        exchange.recorded = True
        for ending in exchange.endings:
            ending()
        exchange.endings.clear()  # they refer to the exchange, which would wait for the garbage collector
        if exchange.error_code is not None and _is_strangers(exchange):
            if self._meter is not None:
                self._meter.refuse(exchange.error_code, exchange.id, exchange.client_ip)
            return
        record = row(exchange)
        try:
            self._journal.close(record)
        except OSError as error:
            logger.error("the record of %s cannot be written: %s", exchange.id, error.strerror)
            raise Failure(
                "spool_full",
                "The gateway could not record this call, so its answer is held back; try again soon.",
                retry_after=5,
            ) from None
        if self._meter is not None:
            self._meter.count(record)


def _is_strangers(exchange: Exchange) -> bool:
    """Whether it is not known who calls: the secret is none, or could not be looked up."""
    return exchange.grant is None and (exchange.error_code == "invalid_api_key" or exchange.status == UNAVAILABLE)


def row(exchange: Exchange) -> rows.Record:
    """Return the record of an exchange as far as it came."""
    measured, target, grant, route = exchange.measured, exchange.target, exchange.grant, exchange.route
    usage = plausible(measured.usage) if measured.usage is not None and route.operation not in FREE else None
    failed = exchange.error_code is not None
    trace = read_traceparent(exchange.headers.get(b"traceparent"))
    parent = _named(exchange, b"x-parent-span-id")
    elapsed = monotonic() - exchange.started_at
    upstream = target.upstream if target else None
    model, requested, provider, url, finish, policy, service = _short(
        (target.model if target else exchange.model) or None,
        exchange.requested_model,
        upstream.name if upstream else None,
        upstream.label if upstream else None,
        measured.finish,
        exchange.policy_name,
        exchange.service,
    )
    # By position: by name, so many fields cost more than all else here. A test holds each to its name.
    return rows.Record(
        exchange.id,  # id
        exchange.id,  # request_id
        exchange.created_at,  # created_at
        exchange.created_at + elapsed,  # finished_at
        grant.token_id if grant else None,  # token_id
        grant.project_id if grant else None,  # project_id
        exchange.method,  # method
        rows.capped(exchange.path, rows.PATH_LIMIT),  # path
        route.operation or route.kind,  # operation
        route.dialect.name if route.kind == "model" else None,  # dialect
        exchange.status,  # status
        exchange.upstream_status,  # upstream_status
        elapsed * 1000,  # response_latency_ms
        (exchange.first_byte_at - exchange.started_at) * 1000 if exchange.first_byte_at else None,  # first_byte_ms
        _named(exchange, b"x-ailink-agent-name"),  # agent_name
        _named(exchange, b"x-session-id"),  # session_id
        trace.parent_id.decode() if parent is None and trace is not None else parent,  # parent_span_id
        model,  # model
        requested,  # requested_model
        provider,  # provider
        url,  # upstream
        usage.input_tokens if usage else None,  # prompt_tokens
        usage.output_tokens if usage else None,  # completion_tokens
        usage.cache_read_tokens if usage else None,  # cache_read_tokens
        usage.cache_write_tokens if usage else None,  # cache_write_tokens
        usage.reasoning_tokens if usage else None,  # reasoning_tokens
        exchange.usage_estimated,  # usage_estimated
        charge(exchange) if exchange.cost_nano is None else exchange.cost_nano,  # cost_nano
        False,  # cache_hit
        exchange.streaming,  # is_streaming
        finish,  # finish_reason
        "client_closed" if exchange.cancelled_by_client else exchange.error_code,  # error_code
        "cancelled" if exchange.cancelled_by_client else "failed" if failed else "answered",  # outcome
        exchange.attempts,  # attempts
        exchange.policy_result,  # policy_result
        policy,  # policy_name
        rows.capped_list(exchange.shadow_violations) if exchange.shadow_violations else None,  # shadow_violations
        _tags(exchange.tags) if exchange.tags else None,  # tags
        service,  # service
        exchange.approval_id,  # approval_id
        trace.trace_id.decode() if trace is not None else None,  # trace_id
        span_of(exchange.id) if trace is not None else None,  # span_id
    )


def _named(exchange: Exchange, name: bytes) -> str | None:
    value = exchange.headers.get(name)
    return _name(value[: rows.NAME_LIMIT].decode("utf-8", "replace")) if value else None


def _tags(tags: dict[str, str]) -> dict[str, str] | None:
    if rows.is_plain("".join([*tags, *tags.values()]), rows.LIST_LIMIT - _AROUND_TAG * len(tags)):  # nearly always
        return tags
    short = [[rows.capped(name, rows.NAME_LIMIT), rows.capped(value, rows.NAME_LIMIT)] for name, value in tags.items()]
    kept = rows.capped_list(short)
    return None if kept is None else dict(kept)


def _name(text: str | None) -> str | None:
    return None if text is None else rows.capped(text, rows.NAME_LIMIT)


def _short(*texts: str | None) -> tuple[str | None, ...]:
    """Return names as a record can hold them: nearly always as they are, which one look at all of them tells."""
    together = "".join([text for text in texts if text is not None])
    return texts if rows.is_plain(together, rows.NAME_LIMIT) else tuple(map(_name, texts))
