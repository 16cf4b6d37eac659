"""The management API, by both clients: which call each method makes, and what comes back."""

from datetime import UTC, datetime

import pytest

import ailink

PUBLIC_ID = "tok_AbCdEf012345"
RESOURCES = {"projects": ailink.Project, "credentials": ailink.Credential, "tokens": ailink.Token}


@pytest.fixture(params=RESOURCES)
def resource(request):
    return request.param


async def test_create(admin, gateway, admin_key, resource):
    gateway.answer(201, {"id": "x_1", "name": "prod"})
    made = await getattr(admin, resource).create(name="prod", provider=None)
    assert type(made) is RESOURCES[resource]
    assert made["id"] == made.id == "x_1"
    call = gateway.calls[0]
    assert (call.method, call.path, call.json) == ("POST", f"/api/v1/{resource}", {"name": "prod", "provider": None})
    assert call.headers["authorization"] == f"Bearer {admin_key}"


async def test_list(admin, gateway, resource):
    gateway.answer(200, {"data": [{"id": "2", "name": "b"}, {"id": "1", "name": "a"}], "has_more": True})
    found = await getattr(admin, resource).list(limit=2, starting_after="3", project_id=None)
    assert isinstance(found, list)
    assert [type(one) for one in found] == [RESOURCES[resource]] * 2
    assert [one.id for one in found] == ["2", "1"]
    assert gateway.calls[0].path == f"/api/v1/{resource}?limit=2&starting_after=3"


async def test_get(admin, gateway, resource):
    gateway.answer(200, {"id": "x 1", "name": "a"})
    assert (await getattr(admin, resource).get("x 1")).name == "a"
    assert (gateway.calls[0].method, gateway.calls[0].path) == ("GET", f"/api/v1/{resource}/x%201")


async def test_update(admin, gateway, resource):
    gateway.answer(200, {"id": "x_1", "name": "b"})
    assert (await getattr(admin, resource).update("x_1", name="b", credential_id=None)).name == "b"
    call = gateway.calls[0]
    assert (call.method, call.path) == ("PATCH", f"/api/v1/{resource}/x_1")
    assert call.json == {"name": "b", "credential_id": None}


@pytest.mark.parametrize("status", [200, 204])
async def test_delete(admin, gateway, resource, status):
    gateway.answer(status, b"")
    assert await getattr(admin, resource).delete("x_1") is None
    assert (gateway.calls[0].method, gateway.calls[0].path) == ("DELETE", f"/api/v1/{resource}/x_1")


async def test_a_new_token_holds_its_secret_and_does_not_print_it(admin, gateway, token, secret):
    gateway.answer(201, {"id": PUBLIC_ID, "token_id": token, "name": "billing-bot"})
    made = await admin.tokens.create(
        name="billing-bot", upstream_url="https://api.openai.com", circuit_breaker={"enabled": False}
    )
    assert made["token_id"] == made.token_id == token
    assert secret not in repr(made)
    assert gateway.calls[0].json["circuit_breaker"] == {"enabled": False}


@pytest.mark.parametrize("whole", [True, False])
async def test_of_a_token_only_its_public_id_is_sent(admin, gateway, token, secret, whole):
    identifier = token if whole else PUBLIC_ID
    for _ in range(3):
        gateway.answer(200, {"id": PUBLIC_ID, "name": "bot"})
    await admin.tokens.get(identifier)
    await admin.tokens.update(identifier, name="bot")
    await admin.tokens.rotate(identifier)
    await admin.tokens.revoke(identifier)
    gateway.answer(200, {"data": []})
    await admin.audit.list(token_id=identifier)
    assert [(call.method, call.path) for call in gateway.calls] == [
        ("GET", f"/api/v1/tokens/{PUBLIC_ID}"),
        ("PATCH", f"/api/v1/tokens/{PUBLIC_ID}"),
        ("POST", f"/api/v1/tokens/{PUBLIC_ID}/rotate"),
        ("DELETE", f"/api/v1/tokens/{PUBLIC_ID}"),
        ("GET", f"/api/v1/audit?token_id={PUBLIC_ID}"),
    ]
    assert not any(secret.encode() in call.body for call in gateway.calls)


async def test_revoking_what_is_not_there(admin, gateway):
    gateway.refuse(404, "not_found")
    with pytest.raises(ailink.NotFoundError) as caught:
        await admin.tokens.revoke("nonexistent")
    assert (caught.value.message, caught.value.status_code) == ("refused: not_found", 404)
    assert gateway.calls[0].path == "/api/v1/tokens/nonexistent"


async def test_a_rotated_token_comes_back_whole(admin, gateway, token):
    gateway.answer(200, {"id": PUBLIC_ID, "name": "bot", "token_id": token})
    assert (await admin.tokens.rotate(PUBLIC_ID)).token_id == token
    assert gateway.calls[0].body == b""


async def test_a_credential_gets_a_new_secret(admin, gateway):
    gateway.answer(200, {"id": "cred_1", "name": "prod", "provider": "openai"})
    assert (await admin.credentials.rotate("cred_1", secret="sk-new")).provider == "openai"
    call = gateway.calls[0]
    assert (call.method, call.path) == ("POST", "/api/v1/credentials/cred_1/rotate")
    assert call.json == {"secret": "sk-new"}


async def test_the_audit_log_is_read(admin, gateway):
    row = {"id": "a_1", "method": "POST", "path": "/v1/charges", "upstream_status": 200, "cost_usd": "0.0000975"}
    gateway.answer(200, {"data": [row], "has_more": False})
    logs = await admin.audit.list(limit=50, from_=datetime(2026, 5, 1, tzinfo=UTC), model="gpt-4o")
    assert type(logs[0]) is ailink.AuditLog
    assert (logs[0].upstream_status, logs[0].cost_usd) == (200, 0.0000975)
    assert gateway.calls[0].path == "/api/v1/audit?limit=50&from=2026-05-01T00%3A00%3A00%2B00%3A00&model=gpt-4o"
    gateway.answer(200, row)
    assert (await admin.audit.get("a_1")).path == "/v1/charges"


async def test_the_audit_log_cannot_be_changed(admin):
    assert not any(hasattr(admin.target.audit, method) for method in ("create", "update", "delete"))


@pytest.mark.parametrize(("status", "kind"), [
    (401, ailink.AuthenticationError), (403, ailink.PolicyDeniedError), (404, ailink.NotFoundError),
    (409, ailink.ConflictError), (422, ailink.ValidationError), (500, ailink.GatewayError),
])
async def test_whoever_refuses_a_management_call_it_raises(admin, gateway, status, kind):
    gateway.answer(status, b"<html>not a gateway's words</html>")
    with pytest.raises(kind, match=f"was answered {status}"):
        await admin.tokens.create(name="bot")


async def test_a_page_that_is_no_gateways_raises(admin, gateway):
    gateway.answer(200, b"<html>Welcome to nginx!</html>", headers={"Content-Type": "text/html"})
    with pytest.raises(ailink.GatewayError, match="is gateway_url an AIlink gateway's"):
        await admin.tokens.list()


async def test_a_token_may_see_itself(client, gateway, token):
    gateway.answer(200, {"data": [{"id": PUBLIC_ID, "name": "bot"}], "has_more": False})
    assert [one.id for one in await client.tokens.list()] == [PUBLIC_ID]
    assert gateway.calls[0].headers["authorization"] == f"Bearer {token}"
