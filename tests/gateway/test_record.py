"""Each call leaves one record that says what happened, before its last byte, whatever client and upstream send."""

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ailink_gateway import delivery
from ailink_gateway.app import Gateway
from ailink_gateway.backends.spool import LINE_LIMIT, Spool
from ailink_gateway.chain import Chain, ChainKey, Node
from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.grant import Grant, Target
from ailink_gateway.pipeline import compose
from ailink_gateway.record import COST_LIMIT, Opened, capped, unknown
from ailink_gateway.record import Record as Row
from ailink_gateway.settings import load
from ailink_gateway.stages.record import Record, refuse, row
from ailink_gateway.store.records import find_record, insert_records
from ailink_gateway.store.store import Store, StoreUnavailable
from ailink_gateway.transcript import BODY_KEPT, Transcript
from ailink_provider.catalog import Facts
from ailink_provider.chat import Usage
from ailink_provider.errors import CODES, Failure
from ailink_provider.prices import own_price
from ailink_provider.transport import Response

PATIENCE = 5.0
TRACE = b"4bf92f3577b34da6a3ce929d0e0e4736"
MakeExchange = Callable[..., Exchange]
MESSAGES = [
    ("/v1/chat/completions", "openai"),
    ("/v1/messages", "anthropic"),
    ("/v1beta/models/m:countTokens", "gemini"),
]


def grant(own: Any = None, **fields: Any) -> Grant:
    return Grant(token_id="tok_a", token_name="a", project_id="p", own=own, **fields)


def read(exchange: Exchange) -> Exchange:
    exchange.body_read = True
    exchange.receive.__self__.incoming.clear()  # type: ignore[attr-defined]
    return exchange


async def recorded(exchange: Exchange, journal: Any, proceed: Callable[[Exchange], Awaitable[Reply]]) -> Row:
    """Run the stage around ``proceed`` and return the one record."""
    await Record(journal)(exchange, proceed)
    (record,) = journal.records
    return record  # type: ignore[no-any-return]


def answering(reply: Reply | BaseException) -> Callable[[Exchange], Awaitable[Reply]]:
    async def proceed(exchange: Exchange) -> Reply:
        if isinstance(reply, BaseException):
            raise reply
        return reply

    return proceed


async def chunks(*parts: bytes | BaseException) -> AsyncGenerator[bytes, None]:
    for part in parts:
        if isinstance(part, BaseException):
            raise part
        yield part


# --- nothing stays behind ----------------------------------------------------------------------------


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_call_that_lasted_waits_for_no_garbage_collector(
    make_exchange: MakeExchange, journal: Any, client: Any, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    """Its departure was watched and its end awaited: neither may leave a circle, as the collector comes rarely."""
    monkeypatch.setattr(delivery, "WATCH_SECONDS", 0.001)

    async def lasting() -> AsyncGenerator[bytes, None]:
        yield b"one"
        await asyncio.wait_for(client.receiving.wait(), PATIENCE)  # the client is watched now
        if leaves:
            client.gone.set()
            await asyncio.sleep(PATIENCE)
        yield b"two"

    async def call() -> None:
        exchange = read(make_exchange())
        exchange.endings.append(lambda: exchange.warnings.append("ended"))
        await Record(journal)(exchange, answering(Reply(200, [], lasting())))

    gc.collect()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        await asyncio.wait([asyncio.create_task(call())], timeout=PATIENCE)
        await asyncio.sleep(0)  # the watch ends
        gc.collect()
        left = [type(kept).__name__ for kept in gc.garbage if isinstance(kept, Exchange | delivery.Departure)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    assert left == []
    assert client.body == (b"one" if leaves else b"onetwo")
    assert [record.outcome for record in journal.records] == ["cancelled" if leaves else "answered"]


# --- once, whatever happens --------------------------------------------------------------------------


async def test_an_answer(make_exchange: MakeExchange, journal: Any, client: Any) -> None:
    record = await recorded(make_exchange(), journal, answering(Reply(200, [], b"body")))
    assert (record.outcome, record.status, record.error_code) == ("answered", 200, None)
    assert client.body == b"body"


async def test_a_stream(make_exchange: MakeExchange, journal: Any, client: Any) -> None:
    record = await recorded(make_exchange(), journal, answering(Reply(200, [], chunks(b"a", b"b"))))
    assert (record.outcome, record.status, record.error_code) == ("answered", 200, None)
    assert client.body == b"ab" and client.ended


async def test_a_failure(make_exchange: MakeExchange, journal: Any, client: Any) -> None:
    record = await recorded(make_exchange(), journal, answering(Failure("rate_limit_exceeded", "slow down")))
    assert (record.outcome, record.status, record.error_code) == ("failed", 429, "rate_limit_exceeded")
    assert client.status == 429 and b"slow down" in client.body


async def test_a_defect_is_answered_and_says_nothing_of_itself(
    make_exchange: MakeExchange, journal: Any, client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    record = await recorded(make_exchange(), journal, answering(KeyError("sk-secret-in-an-exception")))
    assert (record.outcome, record.status, record.error_code) == ("failed", 500, "internal_error")
    assert b"secret" not in client.body
    assert record.id in caplog.text, "an operator finds it by the id that the client was given"


@pytest.mark.parametrize(
    ("error", "code"), [(Failure("upstream_failed", "cut"), "internal_error"), (ZeroDivisionError(), "internal_error")]
)
async def test_a_stream_that_breaks_is_no_answer(
    make_exchange: MakeExchange, journal: Any, client: Any, error: Exception, code: str
) -> None:
    with pytest.raises(type(error)):
        await Record(journal)(make_exchange(), answering(Reply(200, [], chunks(b"a", error))))
    (record,) = journal.records
    assert (record.outcome, record.status, record.error_code) == ("failed", 200, code)
    assert not client.ended


async def test_a_broken_stream_keeps_the_reason_that_was_found(make_exchange: MakeExchange, journal: Any) -> None:
    exchange = make_exchange()
    exchange.error_code = "upstream_timeout"
    with pytest.raises(Failure):
        await Record(journal)(exchange, answering(Reply(200, [], chunks(Failure("upstream_failed", "x")))))
    assert journal.records[0].error_code == "upstream_timeout"


async def waiting(exchange: Exchange) -> Reply:
    await asyncio.Event().wait()
    raise AssertionError


async def endless(exchange: Exchange) -> Reply:
    async def stream() -> AsyncGenerator[bytes, None]:
        yield b"first"
        await asyncio.Event().wait()

    return Reply(200, [], stream())


@pytest.mark.parametrize("proceed", [waiting, endless])
async def test_a_client_that_leaves(
    make_exchange: MakeExchange, journal: Any, client: Any, proceed: Callable[[Exchange], Awaitable[Reply]]
) -> None:
    exchange = read(make_exchange())
    call = asyncio.ensure_future(Record(journal)(exchange, proceed))
    await asyncio.wait_for(client.receiving.wait(), PATIENCE)
    client.gone.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, PATIENCE)
    assert exchange.cancelled_by_client
    (record,) = journal.records
    assert (record.outcome, record.error_code) == ("cancelled", "client_closed")
    assert record.status == (200 if proceed is endless else None)


@pytest.mark.parametrize("proceed", [waiting, endless])
async def test_a_server_that_stops_has_not_answered(
    make_exchange: MakeExchange, journal: Any, client: Any, proceed: Callable[[Exchange], Awaitable[Reply]]
) -> None:
    exchange = read(make_exchange())
    call = asyncio.ensure_future(Record(journal)(exchange, proceed))
    await asyncio.wait_for(client.receiving.wait(), PATIENCE)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert not exchange.cancelled_by_client
    (record,) = journal.records
    assert (record.outcome, record.error_code) == ("failed", "internal_error")


async def test_a_client_that_leaves_in_the_middle_of_its_body(
    make_exchange: MakeExchange, journal: Any, client: Any
) -> None:
    exchange = make_exchange()
    client.incoming = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]

    async def proceed(exchange: Exchange) -> Reply:
        await exchange.read_body()
        raise AssertionError

    record = await recorded(exchange, journal, proceed)
    assert (record.outcome, record.error_code, record.upstream_status) == ("cancelled", "client_closed", None)


class Unopened(Gateway):
    """A gateway with a pipeline and nothing else."""

    def __init__(self, data: Path, *stages: Any) -> None:
        self.settings = load("serve", {"AILINK_MASTER_KEY": "0f1e2d3c4b5a6978" * 3 + "8796a5b4c3d2e1f0"}, data=data)
        self._pipeline = compose(stages)
        self._is_control = lambda method, path: False


@pytest.mark.parametrize("leaves", [True, False])
async def test_only_the_clients_own_departure_is_swallowed(
    make_client: type[Any], journal: Any, tmp_path: Path, leaves: bool
) -> None:
    async def hold(exchange: Exchange, proceed: Any) -> Reply:
        exchange.body_read = True
        return await waiting(exchange)

    gateway = Unopened(tmp_path, Record(journal), hold)
    caller = make_client()
    scope = {"type": "http", "method": "GET", "path": "/x", "raw_path": b"/x", "query_string": b"", "headers": [],
             "client": None}  # fmt: skip
    call = asyncio.ensure_future(gateway(scope, caller.receive, caller.send))
    await asyncio.wait_for(caller.receiving.wait(), PATIENCE)
    if leaves:
        caller.gone.set()
        await asyncio.wait_for(call, PATIENCE)
    else:
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert len(journal.records) == 1


class Hanging:
    """An upstream's body that stops in the middle."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = list(pieces)
        self.closed = False

    def __aiter__(self) -> "Hanging":
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces:
            await asyncio.Event().wait()
        return self._pieces.pop(0)

    def close(self) -> None:
        self.closed = True


BEGUN = b"""event: message_start
data: {"type":"message_start","message":{"id":"m","type":"message","role":"assistant","model":"claude-opus-5",\
"content":[],"stop_reason":null,"usage":{"input_tokens":25,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}

"""


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/chat/completions"])
async def test_what_was_produced_before_a_client_left_is_on_its_bill(
    call: Any, journal: Any, listener: Any, client: Any, make_upstream: Any, path: str
) -> None:
    body = Hanging(BEGUN % (b"x" * 400))
    listener.answers.append(Response(200, [(b"content-type", b"text/event-stream")], body))
    request = b'{"model":"claude-opus-5","stream":true,"max_tokens":500,"messages":[{"role":"user","content":"x"}]}'
    asking = asyncio.ensure_future(call(grant(make_upstream("anthropic")), "POST", path, request, caller=client))
    await asyncio.wait_for(client.receiving.wait(), PATIENCE)
    client.gone.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(asking, PATIENCE)
    assert body.closed
    (record,) = journal.records
    assert (record.outcome, record.prompt_tokens, record.completion_tokens) == ("cancelled", 25, 100)
    assert record.usage_estimated and record.cost_nano


# --- before the last byte ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "sent_before"),
    [
        (Reply(200, [], b"whole"), 0),
        (Failure("not_found", "nothing here"), 0),
        (lambda: Reply(200, [], chunks(b"a", b"b")), 3),
    ],
)
async def test_the_record_precedes_the_last_byte(
    make_exchange: MakeExchange, journal: Any, client: Any, reply: Any, sent_before: int
) -> None:
    sent: list[int] = []
    close = journal.close

    def closing(record: Row) -> None:
        sent.append(len(client.got))
        close(record)

    journal.close = closing
    await recorded(make_exchange(), journal, answering(reply() if callable(reply) else reply))
    assert sent == [sent_before] and client.ended
    assert len(client.got) > sent_before


BROKEN = [OSError(28, "No space left on device"), Failure("spool_full", "The audit spool is full.", retry_after=5)]


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("reply", [Reply(200, [], b"a costly answer"), Failure("not_found", "a costly nothing")])
async def test_what_cannot_be_recorded_is_not_answered(
    make_exchange: MakeExchange, journal: Any, client: Any, broken: Exception, reply: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    journal.broken = broken
    await Record(journal)(make_exchange(), answering(reply))
    assert (client.status, client.headers["x-ailink-error"], client.headers["retry-after"]) == (503, "spool_full", "5")
    assert client.ended and b"costly" not in client.body
    assert "x-should-retry" not in client.headers
    assert ("No space left" in caplog.text) is isinstance(broken, OSError)


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("complete", [True, False])
async def test_a_stream_that_cannot_be_recorded_gets_no_end(
    make_exchange: MakeExchange, journal: Any, client: Any, broken: Exception, complete: bool
) -> None:
    exchange = make_exchange()
    journal.broken = broken

    async def stream() -> AsyncGenerator[bytes, None]:
        yield b"first"
        exchange.measured.complete = complete
        yield b"last"

    with pytest.raises(Failure) as caught:
        await Record(journal)(exchange, answering(Reply(200, [], stream())))
    assert caught.value.code == "spool_full"
    assert client.body == (b"first" if complete else b"firstlast") and not client.ended


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("leaves", [True, False])
async def test_a_broken_journal_does_not_swallow_a_cancellation(
    make_exchange: MakeExchange, journal: Any, client: Any, broken: Exception, leaves: bool
) -> None:
    journal.broken = broken
    call = asyncio.ensure_future(Record(journal)(read(make_exchange()), waiting))
    await asyncio.wait_for(client.receiving.wait(), PATIENCE)
    client.gone.set() if leaves else call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, PATIENCE)


async def test_a_full_spool_refuses_in_the_clients_words_before_the_upstream_is_asked(
    call: Any, journal: Any, listener: Any, make_upstream: Any
) -> None:
    def full(opened: Opened) -> None:
        raise Failure("spool_full", "The audit spool is full.", retry_after=5)

    journal.open = full
    body = b'{"model":"claude-opus-5","max_tokens":1,"messages":[{"role":"user","content":"x"}]}'
    answer = await call(grant(make_upstream("anthropic")), "POST", "/v1/messages", body)
    assert (answer.status, listener.asked) == (503, [])
    assert msgspec.json.decode(answer.body)["type"] == "error"


# --- how a failure is told ---------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "dialect"), MESSAGES)
@pytest.mark.parametrize("code", CODES)
def test_a_failure_in_each_dialect(make_exchange: MakeExchange, path: str, dialect: str, code: str) -> None:
    exchange = make_exchange(path=path)
    failure = Failure(code, "What is wrong.", param="model", retry_after=1.4)
    reply = refuse(exchange, failure)
    headers = {name.decode(): value.decode() for name, value in reply.headers}
    assert headers["x-ailink-error"] == code == exchange.error_code
    assert headers["content-type"] == "application/json" and headers["retry-after"] == "2"
    assert headers.get("x-should-retry") == (None if failure.retryable else "false")
    assert headers.get("connection") == ("close" if code == "payload_too_large" else None)
    assert isinstance(reply.body, bytes)
    body = msgspec.json.decode(reply.body)
    assert 400 <= reply.status < 600
    assert body["error"]["message"] == "What is wrong."
    assert exchange.id in reply.body.decode()
    if dialect == "openai":
        assert (body["error"]["code"], body["error"]["param"], body["detail"]) == (code, "model", "What is wrong.")
    elif dialect == "anthropic":
        assert body["type"] == "error"
    else:
        assert body["error"]["code"] == reply.status


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (None, None), (0.0, "1"), (0.2, "1"), (1.6, "2"), (30.0, "30"), (34.4, "35"), (-5.0, "1"), (1e9, "86400"),
        (float("inf"), "86400"), (float("nan"), "1"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("path", "dialect"), MESSAGES)
def test_retry_after_is_a_number_of_seconds(
    make_exchange: MakeExchange, path: str, dialect: str, seconds: float | None, expected: str | None
) -> None:
    reply = refuse(make_exchange(path=path), Failure("rate_limit_exceeded", "x", retry_after=seconds))
    found = dict(reply.headers).get(b"retry-after")
    assert (found.decode() if found else None) == expected


async def test_an_absurd_retry_after_of_an_upstream_is_no_defect_of_ours(
    call: Any, listener: Any, make_upstream: Any
) -> None:
    nines = b"9" * 400
    body = b'{"error":{"code":429,"message":"x","details":[{"@type":"x/google.rpc.RetryInfo","retryDelay":"%bs"}]}}'
    for own, path in (("gemini", "/v1beta/models/m:generateContent"), ("openai", "/v1/chat/completions")):
        listener.answers.append(Response(429, [(b"retry-after", nines)], body % nines if own == "gemini" else b"{}"))
        request = b'{"model":"m","contents":[],"messages":[{"role":"user","content":"x"}]}'
        answer = await call(grant(make_upstream(own)), "POST", path, request)
        assert answer.status == 429


# --- what a record may hold --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"session-1", "session-1"),
        (b"", None),
        ("Übung".encode(), "Übung"),
        (b"\xff\xfe\x80", "\ufffd\ufffd\ufffd"),
        (b"a\xc3", "a\ufffd"),
        (b"a\tb", "a\ufffdb"),
        (b"a\x7f\xc2\x85b", "a\ufffd\ufffdb"),
        (b'"quoted"', '"quoted"'),
        (b"x" * 300, "x" * 256),
    ],
)
@pytest.mark.parametrize("name", ["session_id", "agent_name", "parent_span_id"])
def test_names_survive_odd_bytes(make_exchange: MakeExchange, name: str, value: bytes, expected: str | None) -> None:
    header = {"agent_name": b"x-ailink-agent-name"}.get(name, f"x-{name.replace('_', '-')}".encode())
    record = row(make_exchange(headers=[(header, value)]))
    assert getattr(record, name) == expected
    assert msgspec.json.decode(msgspec.json.encode(record), type=Row) == record


@given(st.text(max_size=400), st.integers(1, 300))
def test_capped_text_fits_and_begins_as_it_was(text: str, limit: int) -> None:
    short = capped(text, limit)
    assert len(msgspec.json.encode(short)) - 2 <= limit
    assert short.isprintable()
    for ours, theirs in zip(short, text, strict=False):
        assert ours == theirs or (ours == "\ufffd" and not theirs.isprintable())
    assert capped(short, limit) == short


NASTY = ["\x01", '"', "\\", "é", "\U0001f600", "\u2028", "x", "\x00", "\ufffd"]


def worst(make_exchange: MakeExchange, make_upstream: Any, letter: str) -> Exchange:
    """Return an exchange in which everything that others may choose is as long as it gets."""
    names = [b"x-session-id", b"x-ailink-agent-name", b"x-parent-span-id"]
    value = (letter * 5000).encode()
    exchange = make_exchange(headers=[(name, value) for name in names])
    exchange.path = letter * 100_000
    exchange.model = exchange.requested_model = letter * 10_000
    exchange.grant = Grant(token_id="tok_" + "x" * 12, token_name="x" * 128, project_id="p" * 32)
    url = "https://" + ".".join(["x" * 63] * 3) + ".example/" + "y" * 1800
    exchange.target = Target(make_upstream(None, url), letter * 10_000, Facts())
    exchange.measured.finish = letter * 10_000
    exchange.measured.usage = Usage(*[10**30] * 8)
    exchange.status = exchange.upstream_status = 599
    exchange.error_code = "all_upstreams_unavailable"
    exchange.policy_result = "approval"
    exchange.policy_name = letter * 1000
    exchange.shadow_violations = [{"policy": letter * 100, "rule": number} for number in range(100)]
    exchange.tags = {letter * 500 + str(number): letter * 500 for number in range(100)}
    exchange.service = letter * 1000
    exchange.approval_id = "apr_" + "x" * 24
    exchange.headers[b"traceparent"] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    return exchange


@pytest.mark.parametrize("letter", NASTY)
def test_a_record_fits_into_its_line_whatever_is_in_it(
    make_exchange: MakeExchange, make_upstream: Any, letter: str
) -> None:
    chain = Chain(ChainKey(bytes(32)), Node("0123456789ab", 10**9))
    chain.sequence = 10**15
    line, _ = chain.link(row(worst(make_exchange, make_upstream, letter)))
    assert len(line) < LINE_LIMIT
    assert b"\n" not in line


@pytest.mark.parametrize("counts", [10**30, 2**63, 2**31, -1, -(10**30), 0, 5])
def test_whatever_an_upstream_counts_can_be_stored(
    make_exchange: MakeExchange, make_upstream: Any, store: Store, counts: int
) -> None:
    exchange = make_exchange()
    exchange.target = Target(make_upstream("openai"), "gpt-4o", Facts(), "openai")
    exchange.measured.usage = Usage(*[counts] * 8)
    record = row(exchange)
    store.call(insert_records, [record])
    stored = store.call(find_record, record.id)
    assert 0 <= stored["prompt_tokens"] < 2**31
    assert stored["cost_nano"] is not None and stored["cost_nano"] >= 0, "nobody is paid for calling"
    assert counts != 5 or (stored["prompt_tokens"], stored["completion_tokens"]) == (5, 5)


@pytest.fixture
def store(tmp_path: Path) -> Any:
    store = Store(tmp_path / "ailink.db")
    store.upgrade()
    yield store
    store.close()


async def test_the_longest_records_never_outgrow_what_was_set_aside_for_them(
    make_exchange: MakeExchange, make_upstream: Any, tmp_path: Path
) -> None:
    spool = Spool(tmp_path / "spool", segment_bytes=8 * LINE_LIMIT, limit_bytes=99 * 8 * LINE_LIMIT)
    spool.chain = Chain(ChainKey(bytes(32)), Node("node", 1))
    rows: list[Row] = []

    async def insert(records: Any) -> None:
        rows.extend(records)

    async def known(ids: Any) -> frozenset[str]:
        return frozenset()

    exchanges = [worst(make_exchange, make_upstream, "\x01") for _ in range(60)]
    for first in range(0, len(exchanges), 3):
        under_way = exchanges[first : first + 3]
        for exchange in under_way:
            spool.open(Opened(exchange.id, 1.0, None, None, "POST", exchange.path[:1024], "chat", "m", "p"))
        for exchange in under_way:
            spool.close(row(exchange))
            # As a shipper does that syncs after every single record.
            spool._segments[-1].turn_page(keep=spool._reserved)
    spool.stop()
    await spool.run(insert, known, lambda: 9.0)
    spool.release()
    assert [record.id for record in rows] == [exchange.id for exchange in exchanges]


def test_no_cost_is_too_large_to_be_stored_and_summed_up(make_exchange: MakeExchange, make_upstream: Any) -> None:
    exchange = make_exchange()
    price = own_price({"input": Decimal(1_000_000), "output": Decimal(1_000_000)})
    exchange.target = Target(make_upstream("openai"), "m", Facts(), own_price=price)
    exchange.measured.usage = Usage(input_tokens=10**12, output_tokens=10**12)
    assert row(exchange).cost_nano == COST_LIMIT
    opened = Opened("req_1", 1.0, None, None, "POST", "/x", "chat", "m", "p", held_nano=2**70)
    assert unknown(opened, 2.0).cost_nano == COST_LIMIT
    assert 1000 * COST_LIMIT < 2**63


def test_a_count_of_tokens_is_no_usage(make_exchange: MakeExchange, make_upstream: Any) -> None:
    exchange = make_exchange(path="/v1/messages/count_tokens")
    exchange.target = Target(make_upstream("anthropic"), "claude-opus-5", Facts(), "anthropic")
    exchange.measured.usage = Usage(input_tokens=5)
    assert (row(exchange).prompt_tokens, row(exchange).cost_nano) == (None, None)


# --- who called, and in which trace ------------------------------------------------------------------


class Counts:
    """A meter and a keeper of bodies that remember what they were given."""

    def __init__(self) -> None:
        self.counted: list[Row] = []
        self.refused: list[str] = []
        self.kept: list[Transcript] = []

    def count(self, record: Row) -> None:
        self.counted.append(record)

    def refuse(self, code: str, request_id: str, client_ip: str | None) -> None:
        self.refused.append(code)

    def keep(self, transcript: Transcript) -> None:
        self.kept.append(transcript)


@pytest.mark.parametrize(
    "failure", [Failure("invalid_api_key", "who are you"), StoreUnavailable("gone")], ids=["stranger", "no store"]
)
async def test_whoever_is_not_known_is_counted_and_not_recorded(
    make_exchange: MakeExchange, journal: Any, client: Any, failure: Failure
) -> None:
    counts = Counts()
    exchange = make_exchange()
    await Record(journal, counts, counts)(exchange, answering(failure))
    assert client.status == failure.status and client.ended
    assert (journal.records, counts.counted, counts.kept) == ([], [], [])
    assert counts.refused == [failure.code]


async def test_a_known_caller_is_recorded_whatever_happens(make_exchange: MakeExchange, journal: Any) -> None:
    counts = Counts()
    exchange = make_exchange()
    exchange.grant = grant()
    await Record(journal, counts)(exchange, answering(StoreUnavailable("gone")))
    assert journal.records == counts.counted and not counts.refused


def test_every_field_stands_in_its_own_place(make_exchange: MakeExchange, make_upstream: Any) -> None:
    """The row is made by position, so every field here has a value that no other has."""
    exchange = make_exchange(
        headers=[
            (b"traceparent", b"00-%b-00f067aa0ba902b7-01" % TRACE),
            (b"x-parent-span-id", b"the-parent"),
            (b"x-session-id", b"the-session"),
            (b"x-ailink-agent-name", b"the-agent"),
        ]
    )
    exchange.grant, exchange.requested_model, exchange.streaming = grant(), "asked", True
    exchange.target = Target(
        make_upstream("openai"), "answered", Facts(), own_price=own_price({"input": Decimal(1), "output": Decimal(1)})
    )
    exchange.status, exchange.upstream_status, exchange.attempts, exchange.usage_estimated = 200, 201, 7, True
    exchange.first_byte_at = exchange.started_at + 1e-9
    exchange.measured.usage = Usage(
        input_tokens=100, output_tokens=50, cache_read_tokens=40, cache_write_tokens=30, reasoning_tokens=20
    )
    exchange.measured.finish = "stop"
    exchange.policy_result, exchange.policy_name, exchange.service = "rewrite", "the-policy", "the-service"
    exchange.tags, exchange.shadow_violations, exchange.approval_id = {"team": "red"}, ["later"], "apr_1"
    record = row(exchange)
    assert record.finished_at is not None and record.response_latency_ms is not None
    assert record.finished_at - record.created_at == pytest.approx(record.response_latency_ms / 1000, abs=1e-4)
    assert record.first_byte_ms == pytest.approx(1e-6, abs=1e-6) != record.response_latency_ms
    expected = {
        "id": exchange.id, "request_id": exchange.id, "created_at": exchange.created_at, "token_id": "tok_a",
        "project_id": "p", "method": "POST", "path": "/v1/chat/completions", "operation": "chat",
        "dialect": "openai_chat", "status": 200, "upstream_status": 201, "agent_name": "the-agent",
        "session_id": "the-session", "parent_span_id": "the-parent", "model": "answered", "requested_model": "asked",
        "provider": "openai", "upstream": exchange.target.upstream.label, "prompt_tokens": 100,
        "completion_tokens": 50, "cache_read_tokens": 40, "cache_write_tokens": 30, "reasoning_tokens": 20,
        "usage_estimated": True, "cost_nano": 150_000, "cache_hit": False, "is_streaming": True,
        "finish_reason": "stop", "error_code": None, "outcome": "answered", "attempts": 7, "policy_result": "rewrite",
        "policy_name": "the-policy", "shadow_violations": ["later"], "tags": {"team": "red"}, "service": "the-service",
        "approval_id": "apr_1", "trace_id": TRACE.decode(), "span_id": exchange.id[-16:], "chain": None,
        "chain_sequence": None, "chain_code": None,
    }  # fmt: skip
    measured = {"finished_at", "response_latency_ms", "first_byte_ms"}
    assert {name: getattr(record, name) for name in Row.__struct_fields__ if name not in measured} == expected


async def test_decisions_are_on_the_record(make_exchange: MakeExchange) -> None:
    exchange = make_exchange()
    exchange.policy_result, exchange.policy_name, exchange.service = "deny", "no-deletes", "stripe"
    exchange.tags, exchange.shadow_violations, exchange.approval_id = {"team": "red"}, ["later"], "apr_1"
    record = row(exchange)
    assert (record.policy_result, record.policy_name, record.service) == ("deny", "no-deletes", "stripe")
    assert (record.tags, record.shadow_violations, record.approval_id) == ({"team": "red"}, ["later"], "apr_1")
    assert (record.trace_id, record.span_id) == (None, None)


@pytest.mark.parametrize(
    ("traceparent", "parent", "expected"),
    [
        (b"00-%b-00f067aa0ba902b7-01" % TRACE, None, "00f067aa0ba902b7"),
        (b"00-%b-00f067aa0ba902b7-00" % TRACE, b"my-span", "my-span"),
        (b"00-%b-0000000000000000-01" % TRACE, None, None),
        (b"00-%b-00f067aa0ba902b7-01" % (b"0" * 32), b"my-span", "my-span"),
        (b"00-%b-00F067AA0BA902B7-01" % TRACE, None, None),
        (b"ff-%b-00f067aa0ba902b7-01" % TRACE, None, None),
        (b"", None, None),
    ],
)
def test_a_trace_is_recorded_if_it_is_one(
    make_exchange: MakeExchange, traceparent: bytes, parent: bytes | None, expected: str | None
) -> None:
    headers = [(b"traceparent", traceparent), *([(b"x-parent-span-id", parent)] if parent else [])]
    exchange = make_exchange(headers=headers)
    record = row(exchange)
    valid = traceparent.startswith(b"00-%b-00f0" % TRACE)
    assert record.trace_id == (TRACE.decode() if valid else None)
    assert record.span_id == (exchange.id[-16:] if valid else None)
    assert record.parent_span_id == expected


# --- bodies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["metadata", "redacted", "full"])
@pytest.mark.parametrize("streamed", [True, False])
async def test_bodies_are_kept_for_tokens_that_say_so(
    make_exchange: MakeExchange, journal: Any, client: Any, level: str, streamed: bool
) -> None:
    counts = Counts()
    exchange = make_exchange(headers=[(b"content-type", b"application/json")])
    exchange.grant = grant(log_level=level)
    exchange.body = b'{"model":"m"}'
    reply = Reply(200, [(b"content-type", b"text/plain")], chunks(b"on", b"e") if streamed else b"one")
    await Record(journal, counts, counts)(exchange, answering(reply))
    assert client.body == b"one" and client.ended
    if level == "metadata":
        assert not counts.kept
        return
    (kept,) = counts.kept
    assert (kept.record_id, kept.project_id, kept.level) == (exchange.id, "p", level)
    assert (kept.request, bytes(kept.reply), kept.reply_size) == (b'{"model":"m"}', b"one", 3)
    assert (kept.request_type, kept.reply_type) == ("application/json", "text/plain")


async def test_a_body_is_kept_up_to_its_limit(make_exchange: MakeExchange, journal: Any, client: Any) -> None:
    counts = Counts()
    exchange = make_exchange()
    exchange.grant = grant(log_level="full")
    exchange.body = b"x" * (BODY_KEPT + 1)
    piece = b"y" * 100_000
    await Record(journal, counts, counts)(exchange, answering(Reply(200, [], chunks(*[piece] * 5))))
    assert client.body == piece * 5
    (kept,) = counts.kept
    assert (len(kept.request), kept.request_size) == (BODY_KEPT, BODY_KEPT + 1)
    assert (len(kept.reply), kept.reply_size) == (BODY_KEPT, 500_000)


async def test_what_a_client_got_before_it_left_is_kept(make_exchange: MakeExchange, journal: Any, client: Any) -> None:
    counts = Counts()
    exchange = read(make_exchange())
    exchange.grant = grant(log_level="full")
    call = asyncio.ensure_future(Record(journal, counts, counts)(exchange, endless))
    await asyncio.wait_for(client.receiving.wait(), PATIENCE)
    client.gone.set()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(call, PATIENCE)
    assert bytes(counts.kept[0].reply) == b"first"


# --- malformed requests, through all stages ----------------------------------------------------------

ROUTES = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages", "/v1/messages/count_tokens",
          "/v1beta/models/m:generateContent", "/v1beta/models/m:embedContent", "/v1beta/models/m:batchEmbedContents",
          "/v1beta/models/m:countTokens"]  # fmt: skip
KEYS = ["model", "messages", "content", "role", "stream", "input", "prompt", "contents", "parts", "text", "tools",
        "max_tokens", "requests", "system", "type", "generateContentRequest", "stop", "\x00", ""]  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["user", "text", "gpt-4o", "", "\x00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(ROUTES), st.sampled_from(["openai", "anthropic", "gemini"]),
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=5),
)  # fmt: skip
def test_no_request_is_a_defect_and_each_leaves_one_record(
    call: Any, journal: Any, listener: Any, make_upstream: Any, path: str, own: str, body: dict[str, Any]
) -> None:
    journal.records.clear()
    listener.answers = [Failure("upstream_failed", "not today")]
    holder = grant(make_upstream(own), default_model="m")
    answer = asyncio.run(call(holder, "POST", path, msgspec.json.encode(body)))
    assert answer.status != 500, answer.body
    (record,) = journal.records
    assert record.status == answer.status
    assert record.outcome == ("answered" if answer.status == 200 else "failed")
