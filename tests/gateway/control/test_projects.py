from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from ailink_gateway.store.store import Store
from tests.gateway.rows import insert_records

Create = Callable[..., Awaitable[dict[str, Any]]]
PROJECTS = "/api/v1/projects"


async def test_the_default_project_is_there(admin: httpx2.AsyncClient) -> None:
    listed = (await admin.get(PROJECTS)).json()
    assert [(project["id"], project["name"]) for project in listed["data"]] == [("default", "default")]


async def test_a_project_is_made_read_renamed_and_deleted(admin: httpx2.AsyncClient, create: Create) -> None:
    project = await create("projects", name="finance-bot")
    assert set(project) == {"id", "name", "policy_ids", "created_at"}
    assert project["created_at"].startswith("2026-07-02T13:46:40.")
    assert project["created_at"].endswith("Z")
    path = f"{PROJECTS}/{project['id']}"
    assert (await admin.get(path)).json() == project
    for method in ("PATCH", "PUT"):
        response = await admin.request(method, path, json={"name": f"by-{method}"})
        assert response.json() == {**project, "name": f"by-{method}"}
    assert (await admin.patch(path, json={})).json()["name"] == "by-PUT"
    assert (await admin.delete(path)).json() == {"id": project["id"], "deleted": True}
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("PATCH", {}), ("DELETE", None)):
        assert (await admin.request(method, path, json=body)).status_code == 404, method
    assert project["id"] not in (await admin.get(PROJECTS)).text


async def test_a_name_is_one_projects_until_it_is_deleted(admin: httpx2.AsyncClient, create: Create) -> None:
    first, second = await create("projects", name="a"), await create("projects", name="b")
    for response in (
        await admin.post(PROJECTS, json={"name": "a"}),
        await admin.patch(f"{PROJECTS}/{second['id']}", json={"name": "a"}),
    ):
        assert response.status_code == 409
        assert response.json()["error"]["param"] == "name"
    assert (await admin.patch(f"{PROJECTS}/{first['id']}", json={"name": "a"})).status_code == 200
    await admin.delete(f"{PROJECTS}/{first['id']}")
    await create("projects", name="a")


async def test_default_stays(admin: httpx2.AsyncClient) -> None:
    response = await admin.delete(f"{PROJECTS}/default")
    assert response.status_code == 409
    assert response.json()["error"]["code"] == "conflict"


async def test_deleting_revokes_tokens_and_keeps_records(
    admin: httpx2.AsyncClient, create: Create, store: Store,
) -> None:
    project = (await create("projects", name="gone"))["id"]
    credential = await create("credentials", name="c", secret="s3cret", project_id=project)
    token = await create("tokens", name="t", project_id=project, credential_id=credential["id"])
    record = {"id": "r1", "created_at": 1.0, "method": "GET", "path": "/", "outcome": "answered", "project_id": project}
    await store.write(insert_records, [record])
    await admin.delete(f"{PROJECTS}/{project}")
    revoked = (await admin.get(f"/api/v1/tokens/{token['id']}")).json()
    assert not revoked["is_active"]
    assert revoked["revoked_at"]
    assert (await admin.get(f"/api/v1/credentials/{credential['id']}")).status_code == 404
    assert (await admin.get("/api/v1/audit/r1")).json()["project_id"] == project
    response = await admin.post("/api/v1/tokens", json={"name": "u", "project_id": project})
    assert response.status_code == 422
    assert response.json()["error"]["param"] == "project_id"


@pytest.mark.parametrize("name", ["", " a", "a ", "a\nb", "a\x00", "a" * 129, None, 7, ["a"], {}])
async def test_names_are_bounded_and_printable(admin: httpx2.AsyncClient, name: object) -> None:
    response = await admin.post(PROJECTS, json={"name": name})
    assert response.status_code == 422, response.text
    assert response.json()["error"]["param"] == "name"


async def test_half_a_character_is_refused(admin: httpx2.AsyncClient) -> None:
    headers = {"Content-Type": "application/json"}
    response = await admin.post(PROJECTS, content=b'{"name": "\\ud800"}', headers=headers)
    assert response.status_code == 422
    assert response.json()["error"]["param"] == "name"


async def test_names_may_be_in_any_language(create: Create) -> None:
    assert (await create("projects", name="Zürich 東京 🚀"))["name"] == "Zürich 東京 🚀"


async def test_pages_follow_each_other_without_gap(admin: httpx2.AsyncClient, create: Create) -> None:
    made = [(await create("projects", name=f"p{number}"))["id"] for number in range(5)]
    first = (await admin.get(PROJECTS, params={"limit": 2})).json()
    assert [project["id"] for project in first["data"]] == [made[4], made[3]]
    assert first["has_more"]
    await admin.delete(f"{PROJECTS}/{made[3]}")
    await create("projects", name="later")
    rest = (await admin.get(PROJECTS, params={"starting_after": made[3]})).json()
    assert [project["id"] for project in rest["data"]] == [made[2], made[1], made[0], "default"]
    assert not rest["has_more"]


@pytest.mark.parametrize(("query", "status"), [
    ("limit=0", 422), ("limit=101", 422), ("limit=x", 422), ("limit=1&limit=2", 200), ("limit=100", 200),
    ("starting_after=nothing", 400), ("starting_after=%00%ff';--", 400), ("starting_after=" + "x" * 257, 422),
    ("startingafter=x", 422),
])
async def test_what_a_list_may_be_asked(admin: httpx2.AsyncClient, query: str, status: int) -> None:
    assert (await admin.get(f"{PROJECTS}?{query}")).status_code == status
