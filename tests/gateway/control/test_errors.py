import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from ailink_gateway.control import edge
from ailink_gateway.store.store import Store

Caller = Callable[..., httpx2.AsyncClient]
Create = Callable[..., Awaitable[dict[str, Any]]]
PROJECTS = "/api/v1/projects"


def check(response: httpx2.Response, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    """That a response is a refusal as the contract words it; returns its error."""
    body = response.json()
    error: dict[str, Any] = body["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param), response.text
    assert set(body) == {"error", "detail"}
    assert body["detail"] == error["message"]
    assert error["type"]
    assert response.headers["x-ailink-error"] == code
    assert response.headers["x-request-id"] == error["request_id"]
    return error


async def test_a_path_that_is_not_there(admin: httpx2.AsyncClient) -> None:
    check(await admin.get("/api/v1/nothing"), 404, "not_found")
    check(await admin.get(f"{PROJECTS}/"), 404, "not_found")
    check(await admin.get(f"{PROJECTS}/a/b"), 404, "not_found")


@pytest.mark.parametrize(("path", "meant"), [
    ("/api/v1/token", "/api/v1/tokens"), ("/api/tokens", "/api/v1/tokens"), ("/api/v1/tokens/", "/api/v1/tokens"),
    ("/api/v1/token/tok_1/rotate", "/api/v1/tokens/tok_1/rotate"), ("/api/v1/adminkeys", "/api/v1/admin-keys"),
    ("/api/v1/nothing", None), ("/api/v1/" + "token" * 100, None),
])
async def test_what_was_probably_meant_is_named(admin: httpx2.AsyncClient, path: str, meant: str | None) -> None:
    message = check(await admin.get(path), 404, "not_found")["message"]
    assert message == f"There is nothing at {path}." + (f" Did you mean {meant}?" if meant else "")


async def test_a_key_of_few_scopes_learns_that_a_path_is_not_there(caller: Caller, create: Create) -> None:
    key = (await create("admin-keys", name="reader", scopes=["tokens:read"]))["key"]
    client = caller(x_admin_key=key)
    check(await client.get("/api/v1/token"), 404, "not_found")
    check(await client.delete(PROJECTS), 405, "method_not_allowed")
    check(await client.get("/nothing"), 403, "policy_denied")


async def test_a_method_that_is_not_there(admin: httpx2.AsyncClient) -> None:
    response = await admin.delete(PROJECTS)
    error = check(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, POST"
    assert "use GET, POST" in error["message"]


@pytest.mark.parametrize("body", [b"{", b"", b"nul", b'{"name": "a"', b'{"name": NaN', b"\xff\xfe", b"["])
async def test_a_body_that_is_no_json(admin: httpx2.AsyncClient, body: bytes) -> None:
    response = await admin.post(PROJECTS, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    check(response, response.status_code, response.headers["x-ailink-error"], response.json()["error"]["param"])


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"5", b"null", b"true"])
async def test_a_body_that_is_no_object(admin: httpx2.AsyncClient, body: bytes) -> None:
    response = await admin.post(PROJECTS, content=body, headers={"Content-Type": "application/json"})
    check(response, 422, "validation_error", "body")


async def test_a_body_of_another_kind_is_told_what_to_be(admin: httpx2.AsyncClient) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        response = await admin.post(PROJECTS, content=b'{"name": "a"}', headers={"Content-Type": kind})
        error = check(response, 422, "validation_error", "body")
        assert "Content-Type: application/json" in error["message"]


async def test_every_field_at_fault_is_listed(admin: httpx2.AsyncClient) -> None:
    body = {"circuit_breaker": {"failure_threshold": 0}, "raw_paths": "perhaps", "wrong": 1}
    error = check(await admin.post("/api/v1/tokens", json=body), 422, "validation_error", "name")
    fields = [detail["field"] for detail in error["details"]]
    assert fields == ["name", "raw_paths", "circuit_breaker.failure_threshold", "wrong"]
    assert all(detail["message"] in error["message"] for detail in error["details"])


async def test_a_rule_that_is_broken_is_listed_too(admin: httpx2.AsyncClient) -> None:
    response = await admin.post("/api/v1/tokens", json={"name": "t", "credential_id": "none"})
    error = check(response, 422, "validation_error", "credential_id")
    assert [detail["field"] for detail in error["details"]] == ["credential_id"]


async def test_deep_and_wide_bodies_do_no_harm(admin: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    deep = b'{"name": ' + b"[" * 50_000 + b"]" * 50_000 + b"}"
    assert (await admin.post(PROJECTS, content=deep, headers=headers)).status_code in (400, 422)
    wide = json.dumps({f"field{number}": 1 for number in range(5000)}).encode()
    error = check(await admin.post(PROJECTS, content=wide, headers=headers), 422, "validation_error", "name")
    assert len(error["details"]) == 20
    number = b'{"name": ' + b"9" * 5000 + b"}"
    assert (await admin.post(PROJECTS, content=number, headers=headers)).status_code in (400, 422)


async def test_a_body_is_bounded_whether_or_not_it_says_its_size(admin: httpx2.AsyncClient) -> None:
    async def unending() -> Any:
        while True:
            yield b"x" * 65536

    check(await admin.post(PROJECTS, content=unending()), 413, "payload_too_large")
    check(await admin.post(PROJECTS, content=b"x" * (edge.BODY_LIMIT + 1)), 413, "payload_too_large")


async def test_a_body_that_does_not_come_is_given_up(
    admin: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, control: FastAPI, admin_key: str,
) -> None:
    monkeypatch.setattr(edge, "BODY_SECONDS", 0.01)
    answers = await drive(control, admin_key, [])
    assert answers[0]["status"] == 408


async def test_a_client_that_leaves_with_half_a_body_changes_nothing(
    control: FastAPI, admin_key: str, admin: httpx2.AsyncClient,
) -> None:
    await drive(control, admin_key, [
        {"type": "http.request", "body": b'{"name": "a"}', "more_body": True}, {"type": "http.disconnect"},
    ])
    assert len((await admin.get(PROJECTS)).json()["data"]) == 1


async def drive(control: FastAPI, admin_key: str, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Post to the application as a server would, with these messages and then silence."""
    answers: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Any) -> None:
        answers.append(message)

    scope = {
        "type": "http", "method": "POST", "path": PROJECTS, "raw_path": PROJECTS.encode(), "query_string": b"",
        "headers": [(b"x-admin-key", admin_key.encode()), (b"content-type", b"application/json")],
        "root_path": "", "scheme": "http",
        "server": ("gateway", 80), "client": ("127.0.0.1", 1), "http_version": "1.1", "asgi": {"version": "3.0"},
    }
    await control(scope, receive, send)
    return answers


async def test_a_database_that_does_not_answer(
    admin: httpx2.AsyncClient, store: Store, caplog: pytest.LogCaptureFixture,
) -> None:
    store.close()
    response = await admin.get(PROJECTS)
    error = check(response, 503, "internal_error")
    assert response.headers["retry-after"] == "1"
    assert [record.getMessage() for record in caplog.records if error["request_id"] in record.getMessage()]


async def test_a_defect_is_500_and_says_nothing_of_itself(
    admin: httpx2.AsyncClient, control: FastAPI, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(control.state, "context", None)
    response = await admin.get(PROJECTS)
    error = check(response, 500, "internal_error")
    assert "NoneType" not in error["message"]


async def test_every_answer_has_a_name_of_its_own_and_is_not_kept(admin: httpx2.AsyncClient) -> None:
    first, second = [await admin.get(PROJECTS, headers={"X-Request-ID": "mine"}) for _ in range(2)]
    assert first.headers["x-request-id"].startswith("req_")
    assert len({first.headers["x-request-id"], second.headers["x-request-id"], "mine"}) == 3
    assert first.headers["cache-control"] == "no-store"
    assert first.headers["x-content-type-options"] == "nosniff"


async def test_a_refusal_that_stays_one_says_so(caller: Callable[..., httpx2.AsyncClient]) -> None:
    assert (await caller().get(PROJECTS)).headers["x-should-retry"] == "false"
