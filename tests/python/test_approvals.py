"""Waiting for a human, and what the call that waited comes back with."""

import asyncio
import base64
import threading
from queue import Queue

import httpx2
import pytest

import ailink
from ailink import AIlinkClient
from ailink._approvals import finish_sync

ID = "apr_9Xk2"
EXPIRES = "2030-01-01T00:00:00Z"
PENDING = {"id": ID, "token_id": "tok_1", "status": "pending", "execution": "none", "expires_at": EXPIRES}
DONE = {
    **PENDING, "status": "approved", "execution": "done", "reason": "fine",
    "response": {"status_code": 201, "headers": {"x-charge": "ch_1", "content-length": "9"}, "body": '{"id": "ch_1"}'},
}
REJECTED = {**PENDING, "status": "rejected", "reason": "too much"}
EXPIRED = {**PENDING, "status": "expired"}


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch, waits):
    monkeypatch.setattr("ailink._sync.resources.sleep", waits)
    monkeypatch.setattr("ailink._async.resources.sleep", waits.later)


def ask(gateway, *answers):
    """Let the gateway ask a human, who answers so."""
    body = {"status": "pending", "request_id": ID, "expires_at": EXPIRES, "poll_url": f"/api/v1/approvals/{ID}"}
    gateway.answer(202, body, headers={"Location": f"/api/v1/approvals/{ID}"})
    for answer in answers:
        gateway.answer(200, answer)


async def test_without_waiting_the_202_is_the_answer(client, gateway):
    ask(gateway)
    response = await client.post("/v1/charges", json={"amount": 50000})
    assert (response.status_code, response.json()["request_id"]) == (202, ID)


async def test_the_result_of_an_approved_call(client, gateway):
    for answer in (PENDING, {**PENDING, "status": "approved", "execution": "running"}, DONE):
        gateway.answer(200, answer)
    result = await client.wait_for_approval(ID, timeout=300)
    assert (result.approved, result.reason, result.execution) == (True, "fine", "done")
    assert (result.response.status_code, result.response.json()) == (201, {"id": "ch_1"})
    assert result.response.headers["x-charge"] == "ch_1"
    assert [call.path.partition("?")[0] for call in gateway.calls] == [f"/api/v1/approvals/{ID}"] * 3
    assert gateway.calls[0].path.endswith("?wait=25")


async def test_the_result_of_a_rejected_call(client, gateway):
    gateway.answer(200, REJECTED)
    result = await client.wait_for_approval(ID, timeout=300)
    assert (result.approved, result.reason, result.response) == (False, "too much", None)


async def test_bytes_come_back_as_they_were(client, gateway):
    kept = {"status_code": 200, "headers": {}, "body": base64.b64encode(b"\xff\x00").decode(), "encoding": "base64"}
    gateway.answer(200, {**DONE, "response": kept})
    assert (await client.wait_for_approval(ID)).response.content == b"\xff\x00"


@pytest.mark.parametrize("answers", [[EXPIRED], [PENDING] * 9])
async def test_nobody_decided(client, gateway, waits, monkeypatch, answers):
    for answer in answers:
        gateway.answer(200, answer)
    passed = iter(range(0, 1000, 10))
    monkeypatch.setattr("ailink._sync.resources.monotonic", lambda: next(passed))
    monkeypatch.setattr("ailink._async.resources.monotonic", lambda: next(passed))
    with pytest.raises(ailink.ApprovalTimeoutError) as caught:
        await client.wait_for_approval(ID, timeout=60)
    assert caught.value.timeout == 60


@pytest.mark.parametrize("retries", [0, 3])
async def test_a_gateway_that_restarts_is_waited_for(connect, gateway, waits, retries):
    client = connect(retries=retries)
    gateway.drop()
    gateway.refuse(503, "spool_full")
    gateway.answer(429, headers={"Retry-After": "60"})
    gateway.answer(200, DONE)
    assert (await client.wait_for_approval(ID, timeout=300)).approved
    assert waits.seconds == [1.0, 1.0, 1.0], "it asks again by itself, and nothing beneath it does"


async def test_an_unknown_approval_is_no_waiting(client, gateway):
    gateway.refuse(404, "not_found")
    with pytest.raises(ailink.NotFoundError):
        await client.wait_for_approval("apr_none")


@pytest.mark.parametrize(("answer", "status"), [(DONE, 201), (REJECTED, 403), (EXPIRED, 408)])
async def test_a_call_that_waits_returns_the_final_answer(client, gateway, answer, status):
    ask(gateway, PENDING, answer)
    response = await client.post("/v1/charges", json={"amount": 50000}, wait_for_approval=True, approval_timeout=300)
    assert response.status_code == status
    assert response.request.url.path == "/v1/charges"
    if status == 403:
        assert response.json()["error"]["code"] == "approval_rejected"
        assert response.json()["detail"] == "too much"


async def test_an_apis_own_202_is_not_waited_for(client, gateway):
    gateway.answer(202, {"request_id": "job-1"}, headers={"Location": "/jobs/1"})
    response = await client.post("/v1/jobs", wait_for_approval=True)
    assert response.json() == {"request_id": "job-1"}
    assert len(gateway.calls) == 1


@pytest.mark.parametrize(("status", "code"), [(403, "approval_rejected"), (408, "approval_timeout")])
async def test_a_model_call_that_was_held_ends_likewise(client, gateway, status, code):
    for _ in range(2):
        gateway.refuse(status, code)
    assert (await client.post("/v1/chat/completions", wait_for_approval=True)).status_code == status
    assert gateway.calls[-1].headers["x-ailink-approval-timeout"] == "300.000"
    with pytest.raises(ailink.AIlinkError) as caught:
        await client.post("/v1/chat/completions")
    assert caught.value.code == code
    assert isinstance(caught.value, ailink.PolicyDeniedError if status == 403 else ailink.ApprovalTimeoutError)


async def test_an_outcome_that_nobody_knows_is_not_made_up(client, gateway):
    ask(gateway, {**PENDING, "status": "approved", "execution": "unknown"})
    with pytest.raises(ailink.AIlinkError, match="not known"):
        await client.post("/v1/charges", wait_for_approval=True)


async def test_the_synchronous_client_can_be_awaited_and_the_loop_goes_on(gateway, token):
    ticks = 0

    async def tick():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    with AIlinkClient(token, gateway_url=gateway.url) as client:
        gateway.answer(200, DONE)
        gateway.answer(200, DONE)
        ticking = asyncio.ensure_future(tick())
        result = await client.wait_for_approval(ID, timeout=300)
        ticking.cancel()
        assert result.approved
        assert ticks > 1
        assert client.wait_for_approval(ID).approved, "in a notebook nobody awaits"


def test_who_gives_up_waiting_is_not_held_up_by_it():
    begun, told, left = asyncio.Event(), threading.Event(), Queue()

    async def give_up():
        loop = asyncio.get_running_loop()

        def wait():
            loop.call_soon_threadsafe(begun.set)
            left.put(told.wait(10))

        waiting = asyncio.ensure_future(finish_sync(wait))
        await begun.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(give_up())
    told.set()
    assert left.get(timeout=10), "the loop ended only after the wait"


async def test_what_goes_wrong_in_a_wait_reaches_who_awaits_it(gateway, token):
    with AIlinkClient(token, gateway_url=gateway.url) as client:
        gateway.refuse(404, "not_found")
        with pytest.raises(ailink.NotFoundError):
            await client.wait_for_approval("apr_none")


def test_the_synchronous_client_blocks_where_no_loop_runs(gateway, token):
    with AIlinkClient(token, gateway_url=gateway.url) as client:
        gateway.answer(200, DONE)
        result = client.wait_for_approval(ID, timeout=300)
        assert isinstance(result.response, httpx2.Response)

        async def awaited():
            return await result

        assert asyncio.run(awaited()) is result


async def test_deciding(admin, gateway):
    gateway.answer(200, {"data": [PENDING], "has_more": False})
    pending = await admin.approvals.list()
    for decision in ("approved", "rejected"):
        gateway.answer(200, {"id": ID, "status": decision, "updated": True})
    approved = await admin.approvals.approve(pending[0].id)
    rejected = await admin.approvals.reject(pending[0].id, reason="no")
    assert (approved.status, rejected.status, rejected.updated) == ("approved", "rejected", True)
    paths = [(call.method, call.path) for call in gateway.calls[1:]]
    assert paths == [("POST", f"/api/v1/approvals/{ID}/approve"), ("POST", f"/api/v1/approvals/{ID}/reject")]
    assert gateway.calls[2].json == {"reason": "no"}
