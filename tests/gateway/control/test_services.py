from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from ailink_gateway.store.store import Store

Create = Callable[..., Awaitable[dict[str, Any]]]
SERVICES = "/api/v1/services"
STRIPE = {"name": "stripe", "base_url": "https://api.stripe.com", "description": "Payment processing"}


async def test_what_a_service_shows(create: Create) -> None:
    credential = await create("credentials", name="stripe", secret="sk-live-0123456789")
    service = await create("services", **STRIPE, service_type="generic", credential_id=credential["id"])
    assert service["id"].startswith("svc_")
    assert service.pop("created_at").endswith("Z")
    assert service == {
        **STRIPE, "id": service["id"], "project_id": "default", "service_type": "generic", "methods": [],
        "credential_id": credential["id"], "allowed_paths": [], "denied_paths": [], "is_active": True,
    }


async def test_from_creation_to_deletion(admin: httpx2.AsyncClient, create: Create) -> None:
    first = await create("services", **STRIPE)
    second = await create("services", **{**STRIPE, "name": "slack"})
    listed = (await admin.get(SERVICES)).json()
    assert [service["id"] for service in listed["data"]] == [second["id"], first["id"]]
    path = f"{SERVICES}/{first['id']}"
    changed = await admin.patch(path, json={"methods": ["GET"], "is_active": False})
    assert (changed.json()["methods"], changed.json()["is_active"]) == (["GET"], False)
    assert (await admin.get(path)).json() == changed.json()
    assert (await admin.delete(path)).json() == {"id": first["id"], "deleted": True}
    assert [(await send).status_code for send in (admin.get(path), admin.delete(path))] == [404, 404]
    await create("services", **STRIPE)


@pytest.mark.parametrize(("fields", "param"), [
    ({"name": "a/b"}, "name"), ({"name": ""}, "name"), ({"name": "../x"}, "name"),
    ({"base_url": "ftp://x"}, "base_url"),
    ({"base_url": "https://user:pw@x.example"}, "base_url"), ({"service_type": "soap"}, "service_type"),
    ({"credential_id": "cred_none"}, "credential_id"), ({"project_id": "none"}, "project_id"),
    ({"methods": ["get"]}, "methods.0"), ({"allowed_paths": ["charges"]}, "allowed_paths.0"), ({"colour": 1}, "colour"),
])
async def test_a_wrong_field_is_named(admin: httpx2.AsyncClient, fields: dict[str, Any], param: str) -> None:
    response = await admin.post(SERVICES, json={**STRIPE, **fields})
    assert (response.status_code, response.json()["error"]["param"]) == (422, param)


async def test_names_are_one_services_within_its_project(admin: httpx2.AsyncClient, create: Create) -> None:
    other = await create("projects", name="other")
    await create("services", **STRIPE)
    slack = await create("services", **{**STRIPE, "name": "slack"})
    await create("services", **STRIPE, project_id=other["id"])
    assert (await admin.post(SERVICES, json=STRIPE)).status_code == 409
    assert (await admin.patch(f"{SERVICES}/{slack['id']}", json={"name": "stripe"})).status_code == 409
    of_other = (await admin.get(SERVICES, params={"project_id": other["id"]})).json()["data"]
    assert [service["project_id"] for service in of_other] == [other["id"]]


async def test_a_credential_in_use_stays_and_one_of_another_project_is_not_to_be_had(
    admin: httpx2.AsyncClient, create: Create
) -> None:
    other = await create("projects", name="other")
    foreign = await create("credentials", name="c", secret="sk-0123456789", project_id=other["id"])
    own = await create("credentials", name="c", secret="sk-0123456789")
    assert (await admin.post(SERVICES, json={**STRIPE, "credential_id": foreign["id"]})).status_code == 422
    service = await create("services", **STRIPE, credential_id=own["id"])
    refused = await admin.delete(f"/api/v1/credentials/{own['id']}")
    assert refused.status_code == 409
    assert "stripe" in refused.json()["detail"]
    await admin.delete(f"{SERVICES}/{service['id']}")
    assert (await admin.delete(f"/api/v1/credentials/{own['id']}")).status_code == 200


async def test_a_deleted_project_takes_its_services_with_it(admin: httpx2.AsyncClient, create: Create) -> None:
    project = await create("projects", name="other")
    service = await create("services", **STRIPE, project_id=project["id"])
    await admin.delete(f"/api/v1/projects/{project['id']}")
    assert (await admin.get(f"{SERVICES}/{service['id']}")).status_code == 404


async def test_every_change_reaches_the_data_plane(admin: httpx2.AsyncClient, create: Create, store: Store) -> None:
    told: list[int] = []
    store.on_change(told.append)
    service = await create("services", **STRIPE)
    await admin.patch(f"{SERVICES}/{service['id']}", json={"is_active": False})
    await admin.delete(f"{SERVICES}/{service['id']}")
    assert len(told) == 3
