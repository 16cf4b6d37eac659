from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from ailink_gateway.store.credentials import find_credential
from ailink_gateway.store.store import Store
from ailink_gateway.vault import Vault, credential_place

Create = Callable[..., Awaitable[dict[str, Any]]]
CREDENTIALS = "/api/v1/credentials"
SECRET = "sk-Very-Secret.0123456789"


async def opened(store: Store, vault: Vault, credential_id: str) -> bytes:
    row = await store.read(find_credential, credential_id)
    return vault.open(row["sealed"], credential_place(row["project_id"], row["id"]))


async def test_a_secret_goes_in_and_never_comes_out(
    admin: httpx2.AsyncClient, create: Create, store: Store, vault: Vault,
) -> None:
    credential = await create("credentials", name="prod-openai", provider="openai", secret=SECRET)
    path = f"{CREDENTIALS}/{credential['id']}"
    answers = [
        await admin.get(path), await admin.get(CREDENTIALS), await admin.patch(path, json={"name": "renamed"}),
        await admin.post(f"{path}/rotate", json={"secret": SECRET}),
        await admin.post(CREDENTIALS, json={"name": "renamed", "secret": SECRET}),
        await admin.post(CREDENTIALS, json={"name": "", "secret": SECRET, "secrets": SECRET}),
        await admin.patch(path, json={"secret": SECRET}), await admin.delete(path),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 409, 422, 422, 200]
    assert not [answer.text for answer in answers if SECRET in answer.text]
    files = list(store.path.parent.glob("ailink.db*"))
    assert len(files) > 1, "the write-ahead log, too"
    assert not [file.name for file in files if SECRET.encode() in file.read_bytes()]


async def test_what_is_stored_opens_for_this_credential(create: Create, store: Store, vault: Vault) -> None:
    first, second = [await create("credentials", name=name, secret=SECRET + name) for name in "ab"]
    assert await opened(store, vault, first["id"]) == SECRET.encode() + b"a"
    assert await opened(store, vault, second["id"]) == SECRET.encode() + b"b"
    assert (await store.read(find_credential, first["id"]))["key_id"] == vault.key_id


async def test_what_a_credential_shows(create: Create) -> None:
    credential = await create("credentials", name="c", secret=SECRET)
    assert credential["id"].startswith("cred_")
    assert credential.pop("created_at").endswith("Z")
    assert credential == {
        "id": credential["id"], "name": "c", "project_id": "default", "provider": "generic", "injection": "bearer",
        "header_name": None, "query_name": None, "rotated_at": None,
    }


async def test_rotation_replaces_the_secret(
    admin: httpx2.AsyncClient, create: Create, store: Store, vault: Vault,
) -> None:
    credential = await create("credentials", name="c", secret=SECRET)
    response = await admin.post(f"{CREDENTIALS}/{credential['id']}/rotate", json={"secret": "new"})
    assert response.json()["rotated_at"] > credential["created_at"]
    assert await opened(store, vault, credential["id"]) == b"new"
    assert (await admin.post(f"{CREDENTIALS}/cred_none/rotate", json={"secret": "new"})).status_code == 404


async def test_every_change_reaches_the_data_plane(admin: httpx2.AsyncClient, create: Create, store: Store) -> None:
    told: list[int] = []
    store.on_change(told.append)
    credential = await create("credentials", name="c", secret=SECRET)
    path = f"{CREDENTIALS}/{credential['id']}"
    for send in (
        admin.post(f"{path}/rotate", json={"secret": "n"}), admin.patch(path, json={"name": "d"}), admin.delete(path),
    ):
        before = len(told)
        assert (await send).status_code == 200
        assert len(told) == before + 1
    assert len(told) == 4


async def test_a_credential_in_use_stays_and_its_users_are_named(admin: httpx2.AsyncClient, create: Create) -> None:
    credential = await create("credentials", name="c", secret=SECRET)
    users = [await create("tokens", name=f"user-{number}", credential_id=credential["id"]) for number in range(7)]
    response = await admin.delete(f"{CREDENTIALS}/{credential['id']}")
    assert response.status_code == 409
    assert "7 tokens" in response.json()["detail"]
    assert f"user-0 ({users[0]['id']})" in response.json()["detail"]
    assert "user-6" not in response.json()["detail"]
    for user in users:
        await admin.delete(f"/api/v1/tokens/{user['id']}")
    assert (await admin.delete(f"{CREDENTIALS}/{credential['id']}")).status_code == 200


@pytest.mark.parametrize("secret", [
    "", " ", "a b", "a\n", "\ta", "a\x00b", "a\r\nX-Evil: 1", "clé", "a" * 8193, None, 5, ["a"],
])
async def test_a_secret_that_no_header_can_carry_is_refused_and_not_quoted(
    admin: httpx2.AsyncClient, secret: object,
) -> None:
    for path in (CREDENTIALS, f"{CREDENTIALS}/cred_x/rotate"):
        body = {"secret": secret} if path.endswith("rotate") else {"name": "c", "secret": secret}
        response = await admin.post(path, json=body)
        assert response.status_code == 422
        assert response.json()["error"]["param"] == "secret"
        assert not isinstance(secret, str) or len(secret) < 3 or secret not in response.text


@pytest.mark.parametrize(("fields", "stored"), [
    ({"provider": "openai"}, (None, None, None)),
    ({"provider": "openai", "injection": "bearer"}, ("bearer", None, None)),
    ({"injection": "basic"}, ("basic", None, None)),
    ({"injection": "header", "header_name": "X-Api-Key"}, ("header", "X-Api-Key", None)),
    ({"injection": "query", "query_name": "api_key"}, ("query", None, "api_key")),
])
async def test_how_a_secret_is_injected(create: Create, fields: dict[str, str], stored: tuple[str | None, ...]) -> None:
    credential = await create("credentials", name="c", secret=SECRET, **fields)
    assert (credential["injection"], credential["header_name"], credential["query_name"]) == stored


@pytest.mark.parametrize("fields", [
    {"provider": "unheard-of"}, {"provider": ""}, {"injection": "cookie"}, {"injection": "header"},
    {"injection": "query"},
    {"header_name": "X-Key"}, {"query_name": "key"}, {"injection": "bearer", "header_name": "X-Key"},
    {"injection": "header", "header_name": "X-Key", "query_name": "k"}, {"injection": "header", "header_name": "a b"},
    {"injection": "header", "header_name": "X-Key\r\n"}, {"injection": "header", "header_name": "Host"},
    {"injection": "header", "header_name": "transfer_encoding"},
    {"injection": "header", "header_name": "X-AILink-Agent-Name"},
    {"injection": "header", "header_name": ""}, {"injection": "query", "query_name": "a&b"}, {"id": "cred_mine"},
    {"created_at": 0}, {"project_id": "nowhere"}, {"project_id": "../x"}, {"project_id": None},
])
async def test_what_makes_no_sense_is_refused(admin: httpx2.AsyncClient, fields: dict[str, Any]) -> None:
    response = await admin.post(CREDENTIALS, json={"name": "c", "secret": SECRET, **fields})
    assert response.status_code == 422, response.text
    assert response.json()["error"]["details"][0]["field"]


@pytest.mark.parametrize(("fields", "param", "said"), [
    ({"injection": "header"}, "header_name", "needs"), ({"header_name": "X-Key"}, "header_name", "alone"),
    ({"injection": "query"}, "query_name", "needs"),
    ({"injection": "header", "header_name": "X-Key", "query_name": "k"}, "query_name", "alone"),
])
async def test_what_injection_lacks_is_named(
    admin: httpx2.AsyncClient, create: Create, fields: dict[str, Any], param: str, said: str
) -> None:
    credential = await create("credentials", name="c", secret=SECRET)
    for refused in (
        await admin.post(CREDENTIALS, json={"name": "d", "secret": SECRET, **fields}),
        await admin.patch(f"{CREDENTIALS}/{credential['id']}", json=fields),
    ):
        assert refused.status_code == 422
        error = refused.json()["error"]
        assert (error["param"], [detail["field"] for detail in error["details"]]) == (param, [param])
        assert said in error["message"] and "JSON object" not in error["message"]


async def test_injection_changes_as_a_whole(admin: httpx2.AsyncClient, create: Create) -> None:
    credential = await create("credentials", name="c", secret=SECRET, injection="header", header_name="X-Key")
    path = f"{CREDENTIALS}/{credential['id']}"
    assert (await admin.patch(path, json={"header_name": "X-Other"})).status_code == 422
    changed = (await admin.patch(path, json={"injection": "query", "query_name": "k"})).json()
    assert (changed["injection"], changed["header_name"], changed["query_name"]) == ("query", None, "k")
    assert (await admin.patch(path, json={"name": "d"})).json() == {**changed, "name": "d"}
    assert (await admin.patch(path, json={"injection": None})).json()["query_name"] is None


async def test_lists_are_of_one_project_or_provider(admin: httpx2.AsyncClient, create: Create) -> None:
    project = (await create("projects", name="p"))["id"]
    await create("credentials", name="a", secret="s", provider="openai")
    await create("credentials", name="a", secret="s", project_id=project)

    async def listed(**query: str) -> list[tuple[str, str]]:
        page = (await admin.get(CREDENTIALS, params=query)).json()
        return [(credential["project_id"], credential["provider"]) for credential in page["data"]]

    assert await listed() == [(project, "generic"), ("default", "openai")]
    assert await listed(project_id=project) == [(project, "generic")]
    assert await listed(provider="openai") == [("default", "openai")]
    assert await listed(provider="openai", project_id=project) == []


async def test_a_key_file_is_a_secret_on_one_line(create: Create, store: Store, vault: Vault) -> None:
    pretty = '{\n  "type": "service_account",\n  "private_key": "-----BEGIN PRIVATE KEY-----\\nabc\\n"\n}\n'
    credential = await create("credentials", name="c", secret=pretty)
    assert await opened(store, vault, credential["id"]) == (
        rb'{"type":"service_account","private_key":"-----BEGIN PRIVATE KEY-----\nabc\n"}'
    )


@pytest.mark.parametrize("secret", ["[ 1 ]", "{ not json }", '"a b"', "a b", "[" * 8000 + " "])
async def test_what_is_no_key_file_has_no_spaces(admin: httpx2.AsyncClient, secret: str) -> None:
    answer = await admin.post(CREDENTIALS, json={"name": "c", "secret": secret})
    assert answer.status_code == 422 and "spaces" in answer.text and secret not in answer.text
