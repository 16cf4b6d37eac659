import asyncio
import csv
import io
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI

from ailink_gateway.control import Broadcaster, audit
from ailink_gateway.store.bodies import insert_bodies
from ailink_gateway.store.store import Store
from ailink_gateway.vault import Vault, body_place
from tests.gateway.rows import insert_records

AUDIT = "/api/v1/audit"
JULY = 1_783_000_000.25


def row(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"req_{number:04}", "created_at": JULY + number, "method": "POST", "path": "/v1/chat/completions",
        "outcome": "answered", **fields,
    }


async def listed(admin: httpx2.AsyncClient, **query: Any) -> list[str]:
    response = await admin.get(AUDIT, params=query)
    assert response.status_code == 200, response.text
    return [record["id"] for record in response.json()["data"]]


async def test_a_record_shows_every_field_of_the_contract(admin: httpx2.AsyncClient, store: Store) -> None:
    full = row(
        1, finished_at=JULY + 2, token_id="tok_0123456789AB", project_id="default", operation="chat", dialect="d",
        status=200, upstream_status=200, response_latency_ms=12.5, first_byte_ms=3.5, attempts=1,
        agent_name="a", session_id="s",
        parent_span_id="p", model="m", requested_model="m", provider="v", upstream="https://u", prompt_tokens=11,
        completion_tokens=7, cache_read_tokens=0, cache_write_tokens=0, reasoning_tokens=0, usage_estimated=False,
        cost_nano=97_500, cache_hit=False, is_streaming=True, finish_reason="stop", error_code=None,
        policy_result="deny", policy_name="no-deletes", shadow_violations=["later"], tags={"team": "red"},
        service="stripe", approval_id="apr_1", trace_id="4bf92f3577b34da6a3ce929d0e0e4736", span_id="00f067aa0ba902b7",
        chain="node-1", chain_sequence=1, chain_code="ab" * 32,
    )
    await store.write(insert_records, [full])
    record = (await admin.get(f"{AUDIT}/req_0001")).json()
    shown = {**full, "request_id": "req_0001", "created_at": "2026-07-02T13:46:41.250000Z", "cost_usd": 0.0000975,
             "finished_at": "2026-07-02T13:46:42.250000Z"}
    del shown["cost_nano"]
    assert record == shown
    assert (await admin.get(AUDIT)).json() == {"data": [record], "has_more": False}


async def test_what_is_not_known_is_null(admin: httpx2.AsyncClient, store: Store) -> None:
    await store.write(insert_records, [row(1)])
    record = (await admin.get(f"{AUDIT}/req_0001")).json()
    unknown = ("upstream_status", "cost_usd", "prompt_tokens", "model", "token_id", "finish_reason", "error_code")
    assert [record[name] for name in unknown] == [None] * len(unknown)
    assert (record["cache_hit"], record["is_streaming"], record["shadow_violations"]) == (False, False, [])
    assert record["tags"] == {}


@pytest.mark.parametrize("nano", [0, 1, 97_500, 123_456_789_123_456_789, 999_999_999])
async def test_money_is_exact_to_the_nano_dollar(admin: httpx2.AsyncClient, store: Store, nano: int) -> None:
    await store.write(insert_records, [row(1, cost_nano=nano)])
    shown = (await admin.get(f"{AUDIT}/req_0001")).json()["cost_usd"]
    if nano < 10**15:
        assert f"{shown:.9f}" == f"{nano // 10**9}.{nano % 10**9:09}"
    else:
        assert shown == pytest.approx(nano / 1e9, rel=1e-15)


async def test_records_are_found_by_what_the_contract_names(admin: httpx2.AsyncClient, store: Store) -> None:
    token = "ailink_v1_proj_default_tok_0123456789ABabcdefghijklmnopqrstuvwxyzABCDEF44ViFR"
    fields = [
        {"session_id": "s"}, {"parent_span_id": "p"}, {"agent_name": "a%"}, {"token_id": "tok_0123456789AB"},
        {"model": "m"}, {"status": 429},
    ]
    await store.write(insert_records, [row(number, **field) for number, field in enumerate(fields)])
    await store.write(insert_records, [row(9, agent_name="ab", status=200)])
    for number, field in enumerate(fields):
        assert await listed(admin, **field) == [f"req_{number:04}"]
    assert await listed(admin, token_id=token) == ["req_0003"], "the whole token is understood, too"
    assert await listed(admin, session_id="s", model="m") == []


async def test_records_are_found_by_time(admin: httpx2.AsyncClient, store: Store) -> None:
    await store.write(insert_records, [row(number) for number in range(5)])
    window = {"from": "2026-07-02T13:46:41.25Z", "to": "2026-07-02T13:46:43.25Z"}
    assert await listed(admin, **window) == ["req_0002", "req_0001"]
    assert await listed(admin, **{"from": "2026-07-02T15:46:44.25+02:00"}) == ["req_0004"]
    assert len(await listed(admin, to="2026-07-03")) == 5, "a day means its first moment in UTC"


@pytest.mark.parametrize("query", [
    "status=ok", "status=99", "from=yesterday", "sesion_id=x", "session_id=", "session_id=" + "x" * 257, "limit=0",
])
async def test_a_question_that_makes_no_sense_is_refused(admin: httpx2.AsyncClient, query: str) -> None:
    assert (await admin.get(f"{AUDIT}?{query}")).status_code == 422


async def test_what_looks_like_sql_is_only_text(admin: httpx2.AsyncClient, store: Store) -> None:
    await store.write(insert_records, [row(1, agent_name="a")])
    for text in ("' OR 1=1 --", "%", "_", "a%", '"; DROP TABLE records; --'):
        assert await listed(admin, agent_name=text) == []
    assert await listed(admin, agent_name="a") == ["req_0001"]


async def test_pages(admin: httpx2.AsyncClient, store: Store) -> None:
    await store.write(insert_records, [row(number, session_id="s") for number in range(5)])
    assert await listed(admin, limit=2, session_id="s") == ["req_0004", "req_0003"]
    rest = await listed(admin, limit=3, session_id="s", starting_after="req_0003")
    assert rest == ["req_0002", "req_0001", "req_0000"]
    assert (await admin.get(f"{AUDIT}/req_9999")).status_code == 404


# --- export ----------------------------------------------------------------------------------------


async def test_export_is_every_row_oldest_first(
    admin: httpx2.AsyncClient, store: Store, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "EXPORT_BATCH", 3)
    await store.write(insert_records, [row(number, created_at=JULY + number // 2) for number in reversed(range(10))])
    answer = await admin.get(f"{AUDIT}/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["content-disposition"] == 'attachment; filename="audit.jsonl"'
    records = [json.loads(line) for line in answer.text.splitlines()]
    assert [record["id"] for record in records] == [f"req_{number:04}" for number in range(10)]
    assert records[3] == (await admin.get(f"{AUDIT}/req_0003")).json()


async def test_export_takes_the_filters(admin: httpx2.AsyncClient, store: Store) -> None:
    await store.write(insert_records, [row(number, model="m" if number % 2 else "n") for number in range(6)])
    for form in ("jsonl", "csv"):
        query = {"format": form, "model": "m", "to": "2026-07-02T13:46:44.25Z"}
        text = (await admin.get(f"{AUDIT}/export", params=query)).text
        assert [number for number in range(6) if f"req_000{number}" in text] == [1, 3]
    assert (await admin.get(f"{AUDIT}/export", params={"format": "xml"})).status_code == 422
    assert (await admin.get(f"{AUDIT}/export", params={"model": "none"})).text == ""


async def test_csv_is_read_back_and_computes_nothing(admin: httpx2.AsyncClient, store: Store) -> None:
    nasty = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"]
    rows = [row(number, agent_name=text, session_id=f'a,"b\n{text}', cost_nano=97_500, tags={"a": "=b"})
            for number, text in enumerate(nasty)]  # fmt: skip
    await store.write(insert_records, rows)
    answer = await admin.get(f"{AUDIT}/export", params={"format": "csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    read = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert list(read[0]) == list((await admin.get(f"{AUDIT}/req_0001")).json())
    assert [line["agent_name"] for line in read] == [f"'{text}" for text in nasty]
    assert [line["session_id"] for line in read] == [f'a,"b\n{text}' for text in nasty]
    assert (read[0]["cost_usd"], read[0]["tags"], read[0]["model"]) == ("9.75e-05", '{"a": "=b"}', "")


# --- bodies ----------------------------------------------------------------------------------------


async def test_a_body_is_shown_until_it_expires(
    admin: httpx2.AsyncClient, store: Store, vault: Vault, clock: Any,
) -> None:
    side = {"content_type": None, "size_bytes": 2, "truncated": False, "encoding": "utf-8", "body": "hi"}
    kept = {"level": "full", "request": side, "response": side}
    sealed = vault.seal(json.dumps(kept).encode(), body_place("default", "req_0001"))
    await store.write(insert_bodies, [
        {"record_id": "req_0001", "project_id": "default", "sealed": sealed, "created_at": JULY,
         "expires_at": clock.now + 60.0},
    ])  # fmt: skip
    shown = (await admin.get(f"{AUDIT}/req_0001/body")).json()
    assert shown.pop("expires_at").startswith("2026-07-02T13:47:")
    assert shown == {"id": "req_0001", **kept}
    clock.now += 61
    assert (await admin.get(f"{AUDIT}/req_0001/body")).status_code == 404
    answer = await admin.get(f"{AUDIT}/req_0002/body")
    assert answer.status_code == 404 and "metadata alone" in answer.text


# --- the stream ------------------------------------------------------------------------------------


class Stream:
    """A client of the stream, as the server shows it to the application."""

    def __init__(self, control: FastAPI, admin_key: str, query: str, after: str | None) -> None:
        headers = [(b"x-admin-key", admin_key.encode())]
        if after is not None:
            headers.append((b"last-event-id", after.encode()))
        path = f"{AUDIT}/stream"
        scope = {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": query.encode(),
            "root_path": "", "headers": headers, "scheme": "http", "http_version": "1.1", "server": ("gateway", 80),
            "client": ("127.0.0.1", 1), "asgi": {"version": "3.0", "spec_version": "2.3"},
        }
        self._sent: asyncio.Queue[Any] = asyncio.Queue()
        self._gone = asyncio.Event()
        self.task = asyncio.create_task(control(scope, self._receive, self._sent.put))

    async def _receive(self) -> dict[str, Any]:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def start(self) -> dict[str, Any]:
        """The status and headers."""
        message: dict[str, Any] = await asyncio.wait_for(self._sent.get(), 5)
        return message

    async def lines(self) -> AsyncIterator[str]:
        while True:
            message = await asyncio.wait_for(self._sent.get(), 5)
            for line in message["body"].decode().splitlines():
                yield line
            if not message["more_body"]:
                return

    async def events(self) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        identity = ""
        async for line in self.lines():
            name, _, value = line.partition(": ")
            if name == "id":
                identity = value
            elif name == "data":
                yield identity, json.loads(value)

    async def leave(self) -> None:
        self._gone.set()
        await asyncio.wait_for(self.task, 5)


@pytest.fixture
async def follow(control: FastAPI, admin_key: str) -> AsyncIterator[Callable[..., Awaitable[Stream]]]:
    """Opens streams that have begun."""
    streams: list[Stream] = []

    async def open_stream(query: str = "", after: str | None = None) -> Stream:
        stream = Stream(control, admin_key, query, after)
        streams.append(stream)
        assert (await stream.start())["status"] == 200
        return stream

    yield open_stream
    for stream in streams:
        await stream.leave()


Follow = Callable[..., Awaitable[Stream]]


async def ship(store: Store, broadcaster: Broadcaster, *rows: dict[str, Any]) -> None:
    await store.write(insert_records, rows)
    broadcaster.publish(rows)


async def test_a_stream_brings_what_is_shipped_from_now_on(
    follow: Follow, store: Store, broadcaster: Broadcaster,
) -> None:
    await ship(store, broadcaster, row(1))
    arriving = (await follow()).events()
    await ship(store, broadcaster, row(2), row(0))
    assert [(await anext(arriving))[1]["id"] for _ in range(2)] == ["req_0002", "req_0000"]
    await ship(store, broadcaster, row(3, cost_nano=5))
    assert (await anext(arriving))[1]["cost_usd"] == 5e-9


async def test_a_stream_goes_on_where_it_was_left(follow: Follow, store: Store, broadcaster: Broadcaster) -> None:
    first = await follow()
    await ship(store, broadcaster, row(1), row(2))
    position, record = await anext(first.events())
    assert record["id"] == "req_0001"
    await first.leave()
    await ship(store, broadcaster, row(3))
    arriving = (await follow(after=position)).events()
    assert [(await anext(arriving))[1]["id"] for _ in range(2)] == ["req_0002", "req_0003"]


async def test_a_long_backlog_comes_in_batches_and_whole(
    follow: Follow, store: Store, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audit, "STREAM_BATCH", 3)
    await store.write(insert_records, [row(number) for number in range(10)])
    arriving = (await follow(after="0")).events()
    assert [(await anext(arriving))[1]["id"] for _ in range(10)] == [f"req_{number:04}" for number in range(10)]


async def test_a_stream_shows_only_what_it_was_asked_for(
    follow: Follow, store: Store, broadcaster: Broadcaster,
) -> None:
    stream = await follow("session_id=mine")
    await ship(store, broadcaster, row(1, session_id="other"), row(2, session_id="mine"))
    assert (await anext(stream.events()))[1]["id"] == "req_0002"


async def test_a_stream_ends_when_the_server_stops(follow: Follow, broadcaster: Broadcaster) -> None:
    before = await follow()
    broadcaster.close()
    after = await follow()
    for stream in (before, after):
        assert [event async for event in stream.events()] == []
        await asyncio.wait_for(stream.task, 5)


async def test_a_stream_ends_when_the_database_is_gone(
    follow: Follow, store: Store, broadcaster: Broadcaster,
) -> None:
    stream = await follow()
    store.close()
    broadcaster.publish([row(1)])
    assert [event async for event in stream.events()] == []


async def test_a_stream_that_waits_shows_that_it_lives(follow: Follow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "KEEP_ALIVE_SECONDS", 0.01)
    assert await anext((await follow()).lines()) == ": keep-alive"


async def test_streams_are_bounded_and_their_places_come_back(follow: Follow, admin: httpx2.AsyncClient) -> None:
    _first, second = await follow(), await follow()
    refused = await admin.get(f"{AUDIT}/stream")
    assert refused.status_code == 429
    assert refused.headers["x-ailink-error"] == "rate_limit_exceeded"
    assert refused.headers["retry-after"]
    await second.leave()
    await follow()


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "9223372036854775808"])
async def test_an_event_id_that_none_had_is_refused(admin: httpx2.AsyncClient, after: str) -> None:
    assert (await admin.get(f"{AUDIT}/stream", headers={"Last-Event-ID": after})).status_code == 422


async def test_over_the_wire_a_client_that_leaves_frees_its_place(
    control: FastAPI, store: Store, broadcaster: Broadcaster, admin_key: str,
) -> None:
    server = uvicorn.Server(uvicorn.Config(control, log_level="error", lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        base_url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with httpx2.AsyncClient(base_url=base_url, headers={"X-Admin-Key": admin_key}, timeout=5) as client:
            for number in range(5):  # there are places for two
                async with client.stream("GET", f"{AUDIT}/stream") as response:
                    assert response.status_code == 200
                    assert response.headers["content-type"].startswith("text/event-stream")
                    assert response.headers["x-request-id"]
                    await ship(store, broadcaster, row(number))
                    assert (await anext(response.aiter_lines())).startswith("id: ")
        server.should_exit = True
        await asyncio.wait_for(serving, 10)


def test_nothing_is_woken_by_nothing() -> None:
    broadcaster = Broadcaster()
    news = broadcaster.news
    broadcaster.publish([])
    assert not news.is_set()
    broadcaster.publish([{}])
    assert news.is_set()
    assert not broadcaster.news.is_set()
