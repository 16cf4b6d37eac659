from typing import Any

import httpx2
import pytest

from ailink_gateway.chain import ChainKey
from ailink_gateway.store.store import Store
from tests.gateway.rows import insert_chained

SESSIONS = "/api/v1/sessions"
JULY = 1_783_000_000.0
SIGN = ChainKey(bytes(32)).sign


def row(number: int, session: str | None = "s", **fields: Any) -> dict[str, Any]:
    return {
        "id": f"req_{number:03}", "created_at": JULY + number, "method": "POST", "path": "/v1/chat/completions",
        "outcome": "answered", "session_id": session, "project_id": "default", "status": 200, "prompt_tokens": 11,
        "completion_tokens": 7, "cost_nano": 97_500, **fields,
    }


async def ship(store: Store, *rows: dict[str, Any]) -> None:
    await store.write(insert_chained, rows, SIGN)


async def listed(admin: httpx2.AsyncClient, **query: Any) -> list[str]:
    response = await admin.get(SESSIONS, params=query)
    assert response.status_code == 200, response.text
    return [session["id"] for session in response.json()["data"]]


async def test_a_session_shows_its_sum_and_its_requests_in_order(admin: httpx2.AsyncClient, store: Store) -> None:
    await ship(store, row(3), row(1), row(9, session="other"), row(8, session=None))
    await ship(store, row(2, status=429, error_code="rate_limit_exceeded", prompt_tokens=None, completion_tokens=None,
                          cost_nano=None, parent_span_id="p", span_id="00f067aa0ba902b7"))  # fmt: skip
    session = (await admin.get(f"{SESSIONS}/s")).json()
    requests = session.pop("requests")
    assert session == {
        "id": "s", "project_id": "default", "created_at": "2026-07-02T13:46:41Z",
        "last_request_at": "2026-07-02T13:46:43Z", "request_count": 3, "error_count": 1, "prompt_tokens": 22,
        "completion_tokens": 14, "total_tokens": 36, "cost_usd": 0.000195, "has_more": False,
    }
    assert [request["id"] for request in requests] == ["req_001", "req_002", "req_003"]
    assert (requests[1]["parent_span_id"], requests[1]["span_id"]) == ("p", "00f067aa0ba902b7")
    (first, other) = (await admin.get(SESSIONS)).json()["data"]
    assert (first["id"], other) == ("other", {name: session[name] for name in session if name != "has_more"})


async def test_a_row_that_comes_twice_counts_once(admin: httpx2.AsyncClient, store: Store) -> None:
    await ship(store, row(1), row(2), row(1))
    await ship(store, row(2), row(3))
    assert (await admin.get(f"{SESSIONS}/s")).json()["request_count"] == 3


async def test_a_proxied_apis_refusal_is_an_error_too(admin: httpx2.AsyncClient, store: Store) -> None:
    await ship(store, row(1, status=404), row(2, status=302), row(3, status=None, error_code="client_closed"))
    assert (await admin.get(f"{SESSIONS}/s")).json()["error_count"] == 2


async def test_requests_come_in_pages(admin: httpx2.AsyncClient, store: Store) -> None:
    await ship(store, *map(row, range(5)))
    page = (await admin.get(f"{SESSIONS}/s", params={"limit": 2})).json()
    assert ([one["id"] for one in page["requests"]], page["has_more"]) == (["req_000", "req_001"], True)
    page = (await admin.get(f"{SESSIONS}/s", params={"limit": 3, "starting_after": "req_001"})).json()
    assert ([one["id"] for one in page["requests"]], page["has_more"]) == (["req_002", "req_003", "req_004"], False)
    assert (await admin.get(f"{SESSIONS}/s", params={"starting_after": "nowhere"})).status_code == 400
    assert (await admin.get(f"{SESSIONS}/s", params={"limit": 1001})).status_code == 422


async def test_sessions_are_one_projects_each(admin: httpx2.AsyncClient, store: Store) -> None:
    await ship(store, row(1), row(2, project_id="p"), row(3, project_id="p"))
    ours = (await admin.get(f"{SESSIONS}/s", params={"project_id": "p"})).json()
    assert (ours["request_count"], [one["id"] for one in ours["requests"]]) == (2, ["req_002", "req_003"])
    both = (await admin.get(f"{SESSIONS}/s")).json()
    assert (both["project_id"], both["request_count"], len(both["requests"])) == (None, 3, 3)
    assert await listed(admin, project_id="p") == ["s"]
    assert (await admin.get(f"{SESSIONS}/s", params={"project_id": "x"})).status_code == 404


async def test_pages_are_newest_first_and_complete(admin: httpx2.AsyncClient, store: Store) -> None:
    await ship(store, *(row(number, session=f"s{number // 2}") for number in range(10)))
    seen: list[str] = []
    more = True
    while more:
        query = {"limit": 2, **({"starting_after": seen[-1]} if seen else {})}
        page = (await admin.get(SESSIONS, params=query)).json()
        seen += [session["id"] for session in page["data"]]
        more = page["has_more"]
        # A session that goes on keeps its place.
        await ship(store, row(100 + len(seen), session="s0"))
    assert seen == ["s4", "s3", "s2", "s1", "s0"]


async def test_a_place_that_two_projects_have_is_asked_for(admin: httpx2.AsyncClient, store: Store) -> None:
    await ship(store, row(1, project_id="a"), row(2, session="t"), row(3, project_id="b"))
    answer = await admin.get(SESSIONS, params={"starting_after": "s"})
    assert answer.status_code == 400 and "project/id" in answer.text
    assert await listed(admin, starting_after="b/s") == ["t", "s"]
    assert await listed(admin, starting_after="s", project_id="a") == []
    assert (await admin.get(SESSIONS, params={"starting_after": "x"})).status_code == 400


@pytest.mark.parametrize("name", ["nothing", "' OR 1=1 --", "%"])
async def test_what_is_not_there_is_not_found(admin: httpx2.AsyncClient, store: Store, name: str) -> None:
    await ship(store, row(1))
    assert (await admin.get(f"{SESSIONS}/{name}")).status_code == 404
