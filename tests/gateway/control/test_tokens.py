from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from ailink_gateway.store.grants import load_token
from ailink_gateway.store.store import Store
from ailink_gateway.tokens import fingerprint, parse
from ailink_gateway.vault import TOKEN_FINGERPRINTS, Vault

Create = Callable[..., Awaitable[dict[str, Any]]]
TOKENS = "/api/v1/tokens"
BREAKER = {"enabled": True, "failure_threshold": 3, "recovery_cooldown_secs": 30, "half_open_max_requests": 1}


async def test_the_whole_token_is_shown_once(admin: httpx2.AsyncClient, create: Create, store: Store) -> None:
    token = await create("tokens", name="billing-bot", upstream_url="https://api.openai.com")
    parsed = parse(token["token_id"])
    assert parsed == ("default", token["id"])
    path = f"{TOKENS}/{token['id']}"
    for answer in (await admin.get(path), await admin.get(TOKENS), await admin.patch(path, json={"name": "b"})):
        assert "token_id" not in answer.text
        assert token["token_id"] not in answer.text
    secret = token["token_id"][-38:].encode()
    assert not [file.name for file in store.path.parent.glob("ailink.db*") if secret in file.read_bytes()]


async def test_what_a_token_shows_if_nothing_was_said(create: Create) -> None:
    token = await create("tokens", name="t")
    assert token.pop("created_at").endswith("Z")
    assert token.pop("token_id")
    assert token == {
        "id": token["id"], "name": "t", "project_id": "default", "credential_id": None, "upstream_url": None,
        "default_model": None, "allowed_models": [], "scopes": [], "policy_ids": [], "raw_paths": False,
        "allow_upstream_key": False, "strict_parameters": False, "circuit_breaker": BREAKER, "is_active": True,
        "log_level": "metadata",
        "expires_at": None, "rotated_at": None, "revoked_at": None, "upstreams": [], "requests_per_minute": None,
        "tokens_per_minute": None, "concurrent_requests": None,
    }


async def test_what_is_said_is_kept(admin: httpx2.AsyncClient, create: Create) -> None:
    project = (await create("projects", name="p"))["id"]
    credential = await create("credentials", name="c", secret="s", project_id=project)
    said = {
        "name": "prod", "project_id": project, "credential_id": credential["id"],
        "upstream_url": "http://[2a00::1]:8080/v1",
        "default_model": "m", "allowed_models": ["m*", "n"], "scopes": ["chat", "a:b"], "raw_paths": True,
        "allow_upstream_key": True, "strict_parameters": True, "log_level": "redacted",
        "expires_at": "2030-01-01T12:00:00+02:00",
        "circuit_breaker": {"enabled": False, "failure_threshold": 5},
        "upstreams": [{"url": "https://a.example", "credential_id": credential["id"], "weight": 3, "priority": 0}],
        "requests_per_minute": 0, "tokens_per_minute": 90_000, "concurrent_requests": 4,
    }
    token = await create("tokens", **said)
    assert parse(token["token_id"]) == (project, token["id"])
    del token["token_id"]
    assert (await admin.get(f"{TOKENS}/{token['id']}")).json() == token
    breaker = {**BREAKER, "enabled": False, "failure_threshold": 5}
    kept = {**said, "expires_at": "2030-01-01T10:00:00Z", "circuit_breaker": breaker}
    assert {name: token[name] for name in kept} == kept


async def test_the_data_plane_finds_it_by_its_fingerprint(create: Create, store: Store, vault: Vault) -> None:
    token = await create("tokens", name="t")
    row = await store.read(load_token, fingerprint(vault.derive(TOKEN_FINGERPRINTS), token["token_id"]))
    assert row is not None
    assert row.id == token["id"]


async def test_either_form_of_the_id_is_understood(admin: httpx2.AsyncClient, create: Create) -> None:
    token = await create("tokens", name="t")
    for form in (token["id"], token["token_id"]):
        assert (await admin.get(f"{TOKENS}/{form}")).json()["id"] == token["id"]
        assert (await admin.patch(f"{TOKENS}/{form}", json={"name": "n"})).json()["id"] == token["id"]
        assert (await admin.get(f"{TOKENS}/{form}/circuit-breaker")).json() == BREAKER
        assert (await admin.get(TOKENS, params={"starting_after": form})).json()["data"] == []
    assert (await admin.delete(f"{TOKENS}/{token['token_id']}")).json() == {"id": token["id"], "deleted": True}


async def test_revoking_is_for_good_and_leaves_the_token_to_be_seen(admin: httpx2.AsyncClient, create: Create) -> None:
    token = await create("tokens", name="t")
    path = f"{TOKENS}/{token['id']}"
    assert (await admin.delete(path)).status_code == 200
    first = (await admin.get(path)).json()
    assert not first["is_active"]
    assert (await admin.delete(path)).status_code == 200
    assert (await admin.get(path)).json()["revoked_at"] == first["revoked_at"]
    assert [row["id"] for row in (await admin.get(TOKENS)).json()["data"]] == [token["id"]]
    for answer in (
        await admin.patch(path, json={"is_active": True}), await admin.post(f"{path}/rotate"),
        await admin.patch(f"{path}/circuit-breaker", json={"enabled": False}),
    ):
        assert answer.status_code == 409
    await create("tokens", name="t")


@pytest.mark.parametrize("name", ["nonexistent", "tok_000000000000", "ailink_v1_...", "%00", "a'--", "x" * 200])
async def test_what_is_not_there_is_404(admin: httpx2.AsyncClient, name: str) -> None:
    for method, path in (("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/rotate"), ("GET", "/circuit-breaker")):
        answer = await admin.request(method, f"{TOKENS}/{name}{path}", json={} if method == "PATCH" else None)
        assert answer.status_code == 404, (method, path, answer.text)
        assert answer.json()["error"]["code"] == "not_found"


async def test_a_mistyped_token_is_not_quoted(admin: httpx2.AsyncClient, create: Create) -> None:
    token = (await create("tokens", name="t"))["token_id"]
    mistyped = token[:-1] + ("0" if token[-1] != "0" else "1")
    answer = await admin.get(f"{TOKENS}/{mistyped}")
    assert answer.status_code == 404
    assert token[-38:-6] not in answer.text


async def test_rotation_gives_another_secret_to_the_same_token(
    admin: httpx2.AsyncClient, create: Create, store: Store, vault: Vault,
) -> None:
    token = await create("tokens", name="t")
    rotated = (await admin.post(f"{TOKENS}/{token['id']}/rotate")).json()
    assert rotated["id"] == token["id"]
    assert parse(rotated["token_id"]) == parse(token["token_id"])
    assert rotated["token_id"] != token["token_id"]
    assert rotated["rotated_at"]
    key = vault.derive(TOKEN_FINGERPRINTS)
    assert await store.read(load_token, fingerprint(key, token["token_id"])) is None
    assert await store.read(load_token, fingerprint(key, rotated["token_id"])) is not None


async def test_a_change_touches_only_what_is_sent_and_null_takes_away(
    admin: httpx2.AsyncClient, create: Create,
) -> None:
    credential = await create("credentials", name="c", secret="s")
    token = await create(
        "tokens", name="t", credential_id=credential["id"], upstream_url="https://a.example", default_model="m",
        expires_at="2030-01-01T00:00:00Z",
    )
    del token["token_id"]
    path = f"{TOKENS}/{token['id']}"
    assert (await admin.patch(path, json={})).json() == token
    assert (await admin.put(path, json={"default_model": "n"})).json() == {**token, "default_model": "n"}
    emptied = dict.fromkeys(("credential_id", "upstream_url", "default_model", "expires_at"))
    assert (await admin.patch(path, json=emptied)).json() == {**token, **emptied}


@pytest.mark.parametrize("field", ["name", "is_active", "allowed_models", "raw_paths", "circuit_breaker", "scopes"])
async def test_what_cannot_be_empty_takes_no_null(admin: httpx2.AsyncClient, create: Create, field: str) -> None:
    token = await create("tokens", name="t")
    answer = await admin.patch(f"{TOKENS}/{token['id']}", json={field: None})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == field


@pytest.mark.parametrize("fields", [
    {"token_id": "x"}, {"project": "default"}, {"policy_ids": ["pol_of_nobody"]}, {"is_active": False},
    {"credential_id": "cred-uuid"},
    {"project_id": "nowhere"}, {"project_id": "has_underscore"}, {"expires_at": "2020-01-01T00:00:00Z"},
    {"expires_at": "2030-01-01T00:00:00"}, {"expires_at": "9999-12-31T23:59:59.999999Z"}, {"expires_at": "soon"},
    {"allowed_models": "m"}, {"allowed_models": [""]},
    {"allowed_models": ["m"] * 101}, {"scopes": ["A B"]}, {"default_model": "\n"}, {"name": ""},
    {"circuit_breaker": {"failure_threshold": 0}}, {"circuit_breaker": {"recovery_cooldown_secs": 0}},
    {"circuit_breaker": {"half_open_max_requests": 101}}, {"circuit_breaker": {"cooldown": 3}},
    {"upstreams": [{"weight": 1}]}, {"upstreams": [{"url": "ftp://a"}]},
    {"upstreams": [{"url": "https://a", "weight": 0}]},
    {"upstreams": [{"url": "https://a", "key": "sk"}]}, {"upstreams": [{"url": "https://a", "priority": -1}]},
    {"upstreams": [{"url": "https://a"}] * 21}, {"upstreams": None}, {"requests_per_minute": -1},
    {"tokens_per_minute": 1.5}, {"concurrent_requests": "many"},
    {"circuit_breaker": None}, {"upstream_url": "https://" + "a" * 2048},
])
async def test_what_makes_no_sense_is_refused(admin: httpx2.AsyncClient, fields: dict[str, Any]) -> None:
    answer = await admin.post(TOKENS, json={"name": "t", **fields})
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"]["param"].split(".")[0] == next(iter(fields))


@pytest.mark.parametrize("url", [
    "", "api.openai.com", "ftp://a.example", "file:///etc/passwd", "https://", "https://user:password@a.example",
    "https://a.example/?q=1", "https://a.example/#f", "https://evil.example\\@a.example", "https://a.example/../x",
    "https://a example", "https://a.example:0", "https://a.example:99999", "https://a.example/\r\nX: 1",
    "javascript:alert(1)", "https://a.example/%2e%2e",
])
async def test_an_upstream_that_is_no_plain_url_is_refused(admin: httpx2.AsyncClient, create: Create, url: str) -> None:
    token = await create("tokens", name="t")
    for answer in (
        await admin.post(TOKENS, json={"name": "u", "upstream_url": url}),
        await admin.patch(f"{TOKENS}/{token['id']}", json={"upstream_url": url}),
    ):
        assert answer.status_code == 422
        assert answer.json()["error"]["param"] == "upstream_url"


async def test_a_credential_of_another_project_is_not_to_be_had(admin: httpx2.AsyncClient, create: Create) -> None:
    other = (await create("projects", name="other"))["id"]
    credential = await create("credentials", name="c", secret="s", project_id=other)
    token = await create("tokens", name="t")
    answers = [
        await admin.post(TOKENS, json={"name": "u", "credential_id": credential["id"]}),
        await admin.patch(f"{TOKENS}/{token['id']}", json={"credential_id": credential["id"]}),
        await admin.post(TOKENS, json={"name": "u", "credential_id": "cred_none"}),
    ]
    assert [answer.status_code for answer in answers] == [422] * 3
    said = {answer.json()["detail"].replace(credential["id"], "cred_none") for answer in answers}
    assert len(said) == 1, "whether it exists elsewhere does not show"


async def test_a_circuit_breaker_is_read_and_set_at_runtime(admin: httpx2.AsyncClient, create: Create) -> None:
    token = await create("tokens", name="t", circuit_breaker={"failure_threshold": 5, "recovery_cooldown_secs": 60})
    path = f"{TOKENS}/{token['token_id']}/circuit-breaker"
    assert (await admin.get(path)).json() == {**BREAKER, "failure_threshold": 5, "recovery_cooldown_secs": 60}
    for method in ("PATCH", "PUT"):
        assert (await admin.request(method, path, json={"enabled": False})).json() == {
            "enabled": False, "failure_threshold": 5, "recovery_cooldown_secs": 60, "half_open_max_requests": 1,
        }
    merged = await admin.patch(f"{TOKENS}/{token['id']}", json={"circuit_breaker": {"half_open_max_requests": 2}})
    assert merged.json()["circuit_breaker"]["recovery_cooldown_secs"] == 60
    assert merged.json()["circuit_breaker"]["half_open_max_requests"] == 2
    assert (await admin.patch(path, json={"enabled": None})).status_code == 422


async def test_names_are_one_tokens_within_its_project(admin: httpx2.AsyncClient, create: Create) -> None:
    project = (await create("projects", name="p"))["id"]
    await create("tokens", name="t")
    await create("tokens", name="t", project_id=project)
    assert (await admin.post(TOKENS, json={"name": "t"})).status_code == 409


async def test_lists_are_of_one_project_or_of_those_in_use(admin: httpx2.AsyncClient, create: Create) -> None:
    project = (await create("projects", name="p"))["id"]
    first, second = await create("tokens", name="a"), await create("tokens", name="b", project_id=project)
    await admin.delete(f"{TOKENS}/{first['id']}")

    async def listed(**query: str) -> list[str]:
        return [token["id"] for token in (await admin.get(TOKENS, params=query)).json()["data"]]

    assert await listed() == [second["id"], first["id"]]
    assert await listed(project_id="default") == [first["id"]]
    assert await listed(is_active="true") == [second["id"]]
    assert await listed(is_active="false", project_id=project) == []


async def test_every_change_reaches_the_data_plane(admin: httpx2.AsyncClient, create: Create, store: Store) -> None:
    told: list[int] = []
    store.on_change(told.append)
    token = await create("tokens", name="t")
    path = f"{TOKENS}/{token['id']}"
    for send in (
        admin.patch(path, json={"is_active": False}), admin.post(f"{path}/rotate"),
        admin.patch(f"{path}/circuit-breaker", json={"enabled": False}), admin.delete(path),
    ):
        before = len(told)
        assert (await send).status_code == 200
        assert len(told) == before + 1


async def test_the_admin_key_is_no_token(admin: httpx2.AsyncClient) -> None:
    assert (await admin.get(f"{TOKENS}/self")).status_code == 404


async def test_upstreams_name_the_projects_own_credentials(admin: httpx2.AsyncClient, create: Create) -> None:
    project = (await create("projects", name="p"))["id"]
    foreign = await create("credentials", name="c", secret="s", project_id=project)
    mine = await create("credentials", name="c", secret="s")
    token = await create("tokens", name="t")
    upstreams = [{"url": "https://a.example", "credential_id": each["id"]} for each in (mine, foreign)]
    for send in (
        admin.post(TOKENS, json={"name": "other", "upstreams": upstreams}),
        admin.patch(f"{TOKENS}/{token['id']}", json={"upstreams": upstreams}),
    ):
        refused = await send
        assert refused.status_code == 422
        assert refused.json()["error"]["param"] == "upstreams[1].credential_id"
    changed = await admin.patch(f"{TOKENS}/{token['id']}", json={"upstreams": upstreams[:1]})
    assert changed.json()["upstreams"] == [{**upstreams[0], "weight": 1, "priority": 1}]
    refused = await admin.delete(f"/api/v1/credentials/{mine['id']}")
    assert refused.status_code == 409
    assert token["id"] in refused.json()["detail"]
    await admin.patch(f"{TOKENS}/{token['id']}", json={"upstreams": []})
    assert (await admin.delete(f"/api/v1/credentials/{mine['id']}")).status_code == 200
