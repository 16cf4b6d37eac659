"""A URL that says itself that it may not be called is refused when it is stored, wherever it stands."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from ailink_provider.transport import Guard

Create = Callable[..., Awaitable[dict[str, Any]]]
Told = Callable[[str], dict[str, Any]]
CLOSED = ["http://10.0.0.5:8000/v1", "https://169.254.169.254", "http://[::ffff:127.0.0.1]", "http://localhost:8080",
          "http://224.0.0.1", "http://[fe80::1]", "http://127.0.0.1/v1"]  # fmt: skip
SPELLED = ["http://2130706433", "http://0x7f000001", "http://0177.0.0.1", "http://127.1", "http://localhost."]
OPEN = "https://api.example/v1"

# What may hold a URL: resource, fields and the parameter that an answer names.
HOLDERS: list[tuple[str, Told, str]] = [
    ("services", lambda url: {"base_url": url}, "base_url"),
    ("tokens", lambda url: {"upstream_url": url}, "upstream_url"),
    ("tokens", lambda url: {"upstreams": [{"url": OPEN}, {"url": url}]}, "upstreams.1.url"),
    ("policies", lambda url: {"rules": [{"type": "webhook", "url": each} for each in (OPEN, url)]}, "rules[1]"),
    (
        "policies",
        lambda url: {"rules": [{"then": [{"require_approval": {"notify": [{"type": "slack", "url": url}]}}]}]},
        "rules[0]",
    ),
]
holders = pytest.mark.parametrize(("resource", "fields", "param"), HOLDERS)


def check(answer: httpx2.Response, param: str) -> None:
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (422, "validation_error", param), answer.text
    assert "AILINK_ALLOW_UPSTREAMS" in error["message"]
    assert [detail["field"] for detail in error["details"]] == [param]


@holders
@pytest.mark.parametrize("url", CLOSED)
async def test_a_closed_address_is_refused(
    admin: httpx2.AsyncClient, create: Create, url: str, resource: str, fields: Told, param: str
) -> None:
    check(await admin.post(f"/api/v1/{resource}", json={"name": "n", **fields(url)}), param)
    made = await create(resource, name="n", **fields("https://api.example"))
    for method in ("PATCH", "PUT"):
        check(await admin.request(method, f"/api/v1/{resource}/{made['id']}", json=fields(url)), param)
    kept = (await admin.get(f"/api/v1/{resource}/{made['id']}")).json()
    assert kept == {field: value for field, value in made.items() if field != "token_id"}


@holders
@pytest.mark.parametrize("url", SPELLED)
async def test_another_spelling_of_one_is_no_url(
    admin: httpx2.AsyncClient, url: str, resource: str, fields: Told, param: str
) -> None:
    answer = await admin.post(f"/api/v1/{resource}", json={"name": "n", **fields(url)})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"].startswith(param)


@holders
async def test_an_import_is_refused_whole(
    admin: httpx2.AsyncClient, create: Create, resource: str, fields: Told, param: str
) -> None:
    document = {resource: [{"name": "fine", **fields(OPEN)}, {"name": "n", **fields("http://10.0.0.5")}]}
    place = "policies[n]" if resource == "policies" else f"{resource}.1"
    for made in (False, True):
        if made:
            await create(resource, name="n", **fields(OPEN))
        check(await admin.post("/api/v1/config/import", content=json.dumps(document)), f"{place}.{param}")


async def test_a_draft_is_refused_as_it_would_be_saved(admin: httpx2.AsyncClient) -> None:
    draft = {"rules": [{"type": "webhook", "url": "http://10.0.0.5"}]}
    body = {"policy": draft, "requests": [{"method": "GET", "path": "/"}]}
    check(await admin.post("/api/v1/policies/test", json=body), "policy.rules[0]")


@holders
async def test_what_the_operator_allows_is_stored(
    control: FastAPI, create: Create, resource: str, fields: Told, param: str
) -> None:
    control.state.context = control.state.context._replace(guard=Guard(["10.0.0.0/8", "localhost:8080"]))
    for index, url in enumerate(("http://10.0.0.5", "http://localhost:8080", "https://db.internal")):
        await create(resource, name=f"n{index}", **fields(url))
