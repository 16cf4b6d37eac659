"""A configuration goes out and comes back: whole or not at all, the same twice, and without a secret."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
import yaml

from ailink_gateway.store.grants import load_token
from ailink_gateway.store.store import Store
from ailink_gateway.tokens import fingerprint
from ailink_gateway.vault import TOKEN_FINGERPRINTS, Vault

CONFIG = "/api/v1/config"
Create = Callable[..., Awaitable[dict[str, Any]]]
RULE = {"when": {"field": "request.method", "op": "eq", "value": "DELETE"}, "then": {"type": "deny"}}


async def export(admin: httpx2.AsyncClient) -> str:
    answer = await admin.get(f"{CONFIG}/export")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/yaml"
    return answer.text


async def bring(admin: httpx2.AsyncClient, document: Any, dry_run: bool = False) -> dict[str, Any]:
    text = document if isinstance(document, str) else json.dumps(document)
    answer = await admin.post(f"{CONFIG}/import", params={"dry_run": dry_run}, content=text)
    assert answer.status_code == 200, answer.text
    imported: dict[str, Any] = answer.json()
    return imported


async def refused(admin: httpx2.AsyncClient, document: Any) -> dict[str, Any]:
    """Return the error of an import that must change nothing."""
    before = await export(admin)
    text = document if isinstance(document, str) else json.dumps(document)
    answer = await admin.post(f"{CONFIG}/import", content=text)
    assert answer.status_code == 422, answer.text
    assert await export(admin) == before
    error: dict[str, Any] = answer.json()["error"]
    return error


FULL = {
    "version": "1.0",
    "projects": [{"name": "default"}, {"name": "finance", "policies": ["no-deletes"]}],
    "policies": [
        {"name": "no-deletes", "project": "finance", "rules": [RULE]},
        {"name": "watch", "project": "finance", "mode": "shadow", "rules": [RULE],
         "retry": {"max_retries": 2, "base_delay_ms": 100}},
    ],
    "services": [{"name": "stripe", "project": "finance", "base_url": "https://api.stripe.com", "methods": ["GET"]}],
    "tokens": [
        {"name": "bot", "project": "finance", "policies": ["watch", "no-deletes"], "log_level": "redacted",
         "circuit_breaker": {"failure_threshold": 7}, "expires_at": "2030-01-01T00:00:00Z"},
        {"name": "off", "is_active": False},
    ],
}  # fmt: skip


async def test_what_is_missing_is_made(admin: httpx2.AsyncClient, store: Store, vault: Vault) -> None:
    done = await bring(admin, FULL)
    assert (done["dry_run"], done["drift"], done["unchanged"], done["not_in_file"]) == (False, True, 1, [])
    assert [(change["action"], change["kind"], change["project"], change["name"]) for change in done["changes"]] == [
        ("create", "policy", "finance", "no-deletes"), ("create", "policy", "finance", "watch"),
        ("create", "service", "finance", "stripe"), ("create", "token", "finance", "bot"),
        ("create", "token", "default", "off"), ("create", "project", None, "finance"),
    ]  # fmt: skip
    tokens = {token["name"]: token for token in (await admin.get("/api/v1/tokens")).json()["data"]}
    assert tokens["bot"]["circuit_breaker"] == {
        "enabled": True, "failure_threshold": 7, "recovery_cooldown_secs": 30, "half_open_max_requests": 1,
    }  # fmt: skip
    assert (tokens["bot"]["log_level"], tokens["bot"]["expires_at"]) == ("redacted", "2030-01-01T00:00:00Z")
    assert len(tokens["bot"]["policy_ids"]) == 2
    assert tokens["off"]["is_active"] is False
    for made in done["tokens"]:
        row = store.look(load_token, fingerprint(vault.derive(TOKEN_FINGERPRINTS), made["token_id"]))
        assert row is not None and (row.id, row.name) == (made["id"], made["name"])
        assert made["name"] != "bot" or len(row.project_policy_ids) == 1


async def test_twice_is_once_and_an_export_changes_nothing(admin: httpx2.AsyncClient) -> None:
    await bring(admin, FULL)
    first = await export(admin)
    for document in (FULL, first):
        done = await bring(admin, document)
        assert (done["drift"], done["changes"], done["tokens"], done["unchanged"]) == (False, [], [], 7)
    assert await export(admin) == first


async def test_an_export_makes_the_same_elsewhere(admin: httpx2.AsyncClient, create: Create, store: Store) -> None:
    await bring(admin, FULL)
    text = await export(admin)
    tree = yaml.safe_load(text)
    assert list(tree) == ["version", "projects", "policies", "services", "tokens"]
    assert tree["projects"] == [{"name": "default", "policies": []}, {"name": "finance", "policies": ["no-deletes"]}]
    assert tree["policies"][0] == {
        "project": "finance", "name": "no-deletes", "mode": "enforce", "phase": "pre", "rules": [RULE], "retry": None,
    }  # fmt: skip
    assert tree["tokens"][1]["policies"] == ["watch", "no-deletes"]
    assert "pol_" not in text and "tok_" not in text and "svc_" not in text
    for project in (await admin.get("/api/v1/projects")).json()["data"]:
        if project["name"] == "finance":
            assert (await admin.delete(f"/api/v1/projects/{project['id']}")).status_code == 200
    for token in (await admin.get("/api/v1/tokens?is_active=false")).json()["data"]:
        await admin.delete(f"/api/v1/tokens/{token['id']}")
    assert yaml.safe_load(await export(admin))["tokens"] == []
    await bring(admin, text)
    assert await export(admin) == text


async def test_no_secret_is_exported(admin: httpx2.AsyncClient, create: Create) -> None:
    credential = await create("credentials", name="key", secret="sk-very-secret-0123456789")
    token = await create("tokens", name="t", credential_id=credential["id"])
    text = await export(admin)
    assert "sk-very-secret" not in text and token["token_id"][-30:] not in text
    assert yaml.safe_load(text)["tokens"][0]["credential"] == "key"


async def test_credentials_are_named(admin: httpx2.AsyncClient, create: Create) -> None:
    credential = await create("credentials", name="key", secret="s")
    await bring(admin, {"tokens": [{"name": "t", "credential": "key", "upstream_url": "https://api.example.com"}],
                        "services": [{"name": "s", "base_url": "https://x.example", "credential": "key"}]})  # fmt: skip
    (token,) = (await admin.get("/api/v1/tokens")).json()["data"]
    (service,) = (await admin.get("/api/v1/services")).json()["data"]
    assert token["credential_id"] == service["credential_id"] == credential["id"]
    await bring(admin, {"tokens": [{"name": "t", "credential": None}]})
    (token,) = (await admin.get("/api/v1/tokens")).json()["data"]
    assert (token["credential_id"], token["upstream_url"]) == (None, "https://api.example.com")


async def test_a_dry_run_shows_the_plan_and_changes_nothing(admin: httpx2.AsyncClient, store: Store) -> None:
    before = await export(admin)
    plan = await bring(admin, FULL, dry_run=True)
    assert (plan["dry_run"], plan["drift"], plan["tokens"]) == (True, True, [])
    assert await export(admin) == before
    done = await bring(admin, FULL)
    assert done["changes"] == plan["changes"]


async def test_drift_is_told_by_field(admin: httpx2.AsyncClient, create: Create) -> None:
    await bring(admin, FULL)
    (bot,) = [one for one in (await admin.get("/api/v1/tokens")).json()["data"] if one["name"] == "bot"]
    await admin.patch(f"/api/v1/tokens/{bot['id']}", json={"log_level": "full", "default_model": "gpt-4o"})
    await create("tokens", name="by-hand")
    plan = await bring(admin, FULL, dry_run=True)
    assert plan["changes"] == [
        {"kind": "token", "project": "finance", "name": "bot", "action": "update",
         "fields": {"log_level": {"before": "full", "after": "redacted"}}}
    ]  # fmt: skip
    assert plan["not_in_file"] == [{"kind": "token", "project": "default", "name": "by-hand"}]
    assert plan["drift"]
    await bring(admin, FULL)
    (bot,) = [one for one in (await admin.get("/api/v1/tokens")).json()["data"] if one["name"] == "bot"]
    assert (bot["log_level"], bot["default_model"]) == ("redacted", "gpt-4o"), "what is not mentioned stays"


async def test_what_stands_beside_the_file_is_drift_alone(admin: httpx2.AsyncClient, create: Create) -> None:
    await create("tokens", name="by-hand")
    assert (await bring(admin, {"tokens": []}))["drift"]
    assert not (await bring(admin, {"services": []}))["drift"]
    assert (await admin.get("/api/v1/tokens")).json()["data"]


async def test_a_policy_that_changes_gets_a_version(admin: httpx2.AsyncClient, store: Store) -> None:
    await bring(admin, FULL)
    changed = {"policies": [{"name": "watch", "project": "finance", "mode": "enforce"}]}
    assert (await bring(admin, changed))["changes"][0]["fields"] == {"mode": {"before": "shadow", "after": "enforce"}}
    await bring(admin, changed)

    def versions(connection: Any) -> list[Any]:
        query = (
            "SELECT p.name, v.version, json_extract(v.document, '$.mode') FROM policy_versions v "
            "JOIN policies p ON p.id = v.policy_id ORDER BY p.name, v.version"
        )
        return [tuple(row) for row in connection.exec_driver_sql(query)]

    assert store.look(versions) == [("no-deletes", 1, "enforce"), ("watch", 1, "shadow"), ("watch", 2, "enforce")]


async def test_a_token_that_changes_is_another_at_once(admin: httpx2.AsyncClient, store: Store) -> None:
    heard: list[int] = []
    store.on_change(heard.append)
    await bring(admin, FULL, dry_run=True)
    assert not heard
    await bring(admin, FULL)
    assert len(heard) == 1


@pytest.mark.parametrize(
    ("document", "param", "said"),
    [
        ({"tokens": [{"name": "a"}, {"name": "t", "credential": "none"}]}, "tokens.1.credential", "no credential"),
        ({"tokens": [{"name": "a"}, {"name": "t", "policies": ["none"]}]}, "tokens.1.policies", "no policy"),
        ({"tokens": [{"name": "t", "project": "none"}]}, "tokens.0.project", "no project"),
        ({"tokens": [{"name": "t"}, {"name": "t"}]}, "tokens.1", "stands twice"),
        ({"tokens": [{"name": "t", "secret": "x"}]}, "tokens.0.secret", "Extra inputs"),
        ({"tokens": [{"name": "t", "project_id": "default"}]}, "tokens.0.project_id", "'project'"),
        ({"tokens": [{"name": "t", "log_level": "loud"}]}, "tokens.0.log_level", "metadata"),
        ({"tokens": [{"name": "t", "upstream_url": "ftp://x"}]}, "tokens.0.upstream_url", ""),
        ({"tokens": [{"name": "t", "expires_at": "2020-01-01T00:00:00Z"}]}, "tokens.0.expires_at", "past"),
        ({"tokens": [{"project": "default"}]}, "tokens.0.name", "needs a name"),
        ({"tokens": [{"name": "t", "project": None}]}, "tokens.0.project", "by name"),
        ({"tokens": [{"name": "t", "policies": "p"}]}, "tokens.0.policies", "valid list"),
        ({"tokens": [{"name": "t", "upstreams": [{"url": "https://a.example", "credential": "none"}]}]},
         "tokens.0.upstreams.0.credential", "no credential"),
        ({"tokens": [{"name": "t", "upstreams": [{"url": "https://a.example", "credential_id": "cred_1"}]}]},
         "tokens.0.upstreams.0.credential_id", "'credential'"),
        ({"policies": [{"name": "p", "rules": [RULE]}], "tokens": [{"name": "t", "policies": ["p", "p"]}]},
         "tokens.0.policies", "twice"),
        ({"tokens": "all"}, "tokens", "list"), ({"token": []}, "token", "Extra inputs"),
        ({"projects": [{"name": "new"}], "services": [{"name": "a b", "base_url": "https://x.example"}]},
         "services.0.name", "pattern"),
        ({"projects": [{"name": "p", "policies": ["none"]}]}, "projects.0.policies", "no policy"),
        ({"policies": [{"name": "p", "mode": "maybe", "rules": []}]}, "policies.0.mode", "enforce"),
        ({"policies": [{"name": "p"}]}, "policies.0.rules", "required"),
        ({"version": "2.0"}, "version", "'1.0'"), ("version: 2", "version", "'1.0'"),
        ("tokens: [", "body", "in line"), ("a: &x 1\nb: *x", "a", "aliases"),
        ("!!python/object:os.system {}", "body", "tags"),
        ("tokens: []\ntokens: []", "body", "stand once"), ("[]", "body", "dictionary"),
        ("a: 1\n--- \nb: 2", "body", "second"),
        ("\x00", "body", ""), ("tokens: " + "[" * 1000, "tokens", "nested"),
    ],
)  # fmt: skip
async def test_a_file_that_cannot_be_is_refused_whole(
    admin: httpx2.AsyncClient, document: Any, param: str, said: str
) -> None:
    error = await refused(admin, document)
    assert error["code"] == "validation_error"
    assert error["param"] == param
    assert said in error["message"]


async def test_a_bomb_is_no_bomb(admin: httpx2.AsyncClient) -> None:
    bomb = "x0: &x0 [x, x]\n" + "".join(f"x{n + 1}: &x{n + 1} [*x{n}, *x{n}]\n" for n in range(20))
    assert "aliases" in (await refused(admin, bomb))["message"]
    answer = await admin.post(f"{CONFIG}/import", content=b"#" * (1024 * 1024 + 1))
    assert answer.status_code == 413


async def test_what_is_not_utf8_is_refused(admin: httpx2.AsyncClient) -> None:
    answer = await admin.post(f"{CONFIG}/import", content=b"tokens: \xff")
    assert answer.status_code == 422 and "UTF-8" in answer.text


async def test_an_expiry_that_is_over_stays_as_it_is(admin: httpx2.AsyncClient, clock: Any) -> None:
    await bring(admin, {"tokens": [{"name": "t", "expires_at": "2026-08-01T00:00:00Z"}]})
    text = await export(admin)
    clock.now += 90 * 86_400
    assert not (await bring(admin, text))["drift"]
    earlier = {"tokens": [{"name": "t", "expires_at": "2026-07-01T00:00:00Z"}]}
    assert (await refused(admin, earlier))["param"] == "tokens.0.expires_at"


async def test_without_a_project_it_is_the_default_one_whatever_that_is_called(admin: httpx2.AsyncClient) -> None:
    assert (await admin.patch("/api/v1/projects/default", json={"name": "main"})).status_code == 200
    made = await bring(admin, {"policies": [{"name": "p", "rules": [RULE]}], "tokens": [{"name": "t"}]})
    assert [change["project"] for change in made["changes"]] == ["main", "main"]
    assert (await admin.get("/api/v1/tokens")).json()["data"][0]["project_id"] == "default"


async def test_what_was_changed_in_part_goes_out_and_comes_back(admin: httpx2.AsyncClient, create: Create) -> None:
    token = await create("tokens", name="t")
    policy = await create("policies", name="p", rules=[RULE])
    for path, change in (
        (f"tokens/{token['id']}", {"upstreams": [{"url": "https://a.example"}]}),
        (f"tokens/{token['id']}", {"circuit_breaker": {"failure_threshold": 9}}),
        (f"policies/{policy['id']}", {"retry": {"max_retries": 1}}),
    ):
        assert (await admin.patch(f"/api/v1/{path}", json=change)).status_code == 200
    assert not (await bring(admin, await export(admin)))["drift"]


@pytest.mark.parametrize(
    "name", ["yes", "null", "1.0", "0x1F", "1e3", "~", "- a", "a: b", "# c", "é", "'", '"', "2020-01-01"]
)
async def test_any_name_comes_back_as_it_was(admin: httpx2.AsyncClient, create: Create, name: str) -> None:
    await create("tokens", name=name)
    text = await export(admin)
    assert not (await bring(admin, text))["drift"]


async def test_a_key_imports_no_more_than_it_could_make_otherwise(
    admin: httpx2.AsyncClient, caller: Callable[..., httpx2.AsyncClient]
) -> None:
    made = await admin.post("/api/v1/admin-keys", json={"name": "ci", "scopes": ["config:write", "projects:write"]})
    limited = caller(x_admin_key=made.json()["key"])
    refused = await limited.post("/api/v1/config/import", content="projects: []\ntokens: [{name: mine}]")
    assert (refused.status_code, refused.json()["error"]["reason"]) == (403, "scope_missing")
    assert "tokens:write" in refused.json()["detail"]
    assert (await admin.get("/api/v1/tokens")).json()["data"] == []
    assert (await limited.post("/api/v1/config/import", content="projects: [{name: own}]")).status_code == 200
