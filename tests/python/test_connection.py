"""Calls over real sockets, by both clients: what is sent, what is sent again, what is never sent elsewhere."""

import pytest
import trustme

import ailink

WRITES = ["POST", "PUT", "PATCH", "DELETE"]


@pytest.fixture
def timeouts(monkeypatch):
    """Watches a client; returns the list that the timeouts of its calls will be in."""

    def watch(client):
        seen = []
        pool = client.target._connection.pool
        send = pool.send

        def note(request, **options):
            seen.append(request.extensions["timeout"])
            return send(request, **options)

        monkeypatch.setattr(pool, "send", note)
        return seen

    return watch


async def test_a_call_carries_key_agent_and_options(connect, gateway, token):
    client = connect(agent_name="billing-agent")
    gateway.answer(200, {"ok": True})
    response = await client.post(
        "/v1/charges?x=1", json={"amount": 5000}, params={"y": "2"}, headers={"x-ailink-no-cache": "true"}
    )
    assert (response.status_code, response.json()) == (200, {"ok": True})
    call = gateway.calls[0]
    assert (call.method, call.path, call.json) == ("POST", "/v1/charges?x=1&y=2", {"amount": 5000})
    assert call.headers["authorization"] == f"Bearer {token}"
    assert call.headers["x-ailink-agent-name"] == "billing-agent"
    assert call.headers["x-ailink-no-cache"] == "true"
    assert call.headers["user-agent"].startswith("ailink-python/")


async def test_an_agent_without_a_name_sends_none(client, gateway):
    await client.get("/v1/models")
    assert "x-ailink-agent-name" not in gateway.calls[0].headers


@pytest.mark.parametrize("method", ["GET", *WRITES])
async def test_each_method_has_its_word(client, gateway, method):
    await getattr(client, method.lower())("v1/customers")
    assert (gateway.calls[0].method, gateway.calls[0].path) == (method, "/v1/customers")


@pytest.mark.parametrize(("options", "body"), [
    ({"data": {"a": "1 2"}}, b"a=1+2"),
    ({"content": b"\x00raw"}, b"\x00raw"),
    ({"json": []}, b"[]"),
])
async def test_bodies_arrive_as_they_were_given(client, gateway, options, body):
    await client.put("/v1/things", **options)
    assert gateway.calls[0].body == body


async def test_a_gateway_below_a_path_is_found(connect, gateway):
    client = connect(gateway_url=f"{gateway.url}/ailink/")
    gateway.answer(200, {"data": []})
    await client.tokens.list()
    await client.get("/v1/models")
    assert [call.path for call in gateway.calls] == ["/ailink/api/v1/tokens", "/ailink/v1/models"]


async def test_a_path_cannot_lead_elsewhere(client, gateway):
    with pytest.raises(ValueError, match="not a whole URL"):
        await client.get("http://127.0.0.1:1/steal")
    await client.get("//127.0.0.1:1/steal")
    await client.get("@127.0.0.1:1/steal")
    assert len(gateway.calls) == 2


@pytest.mark.parametrize("status", [202, 302, 400, 401, 403, 404, 408, 422, 429, 500, 503])
async def test_what_the_api_answers_is_returned(connect, gateway, status):
    gateway.answer(status, {"error": {"message": "the API's own", "code": "policy_denied"}})
    response = await connect(retries=0).post("/v1/charges")
    assert response.status_code == status


@pytest.mark.parametrize(("status", "code", "kind"), [
    (401, "invalid_api_key", ailink.AuthenticationError),
    (402, "spend_cap_reached", ailink.SpendCapError),
    (403, "policy_denied", ailink.PolicyDeniedError),
    (404, "not_found", ailink.NotFoundError),
    (408, "approval_timeout", ailink.ApprovalTimeoutError),
    (429, "rate_limit_exceeded", ailink.RateLimitError),
    (502, "upstream_auth", ailink.GatewayError),
])
async def test_what_the_gateway_refuses_raises(connect, gateway, status, code, kind):
    gateway.refuse(status, code, request_id="req_1")
    with pytest.raises(kind) as caught:
        await connect(retries=0).post("/v1/charges")
    assert (caught.value.status_code, caught.value.code, caught.value.request_id) == (status, code, "req_1")


async def test_a_denial_names_policy_and_reason(client, gateway):
    gateway.refuse(403, "policy_denied", policy_name="read-only", reason="method_not_allowed")
    with pytest.raises(ailink.PolicyDeniedError) as caught:
        await client.post("/v1/charges")
    assert (caught.value.policy_name, caught.value.reason) == ("read-only", "method_not_allowed")


# --- again ---------------------------------------------------------------------------------------


async def test_a_read_is_sent_again_until_it_succeeds(client, gateway, waits):
    gateway.answer(503)
    gateway.refuse(429, "rate_limit_exceeded")
    gateway.drop()
    gateway.answer(200, {"ok": True})
    response = await client.get("/v1/models")
    assert response.json() == {"ok": True}
    assert len(gateway.calls) == 4
    assert len(waits.seconds) == 3


async def test_management_reads_are_sent_again_too(client, gateway):
    gateway.answer(502)
    gateway.answer(200, {"data": []})
    assert await client.tokens.list() == []


@pytest.mark.parametrize("retries", [0, 1, 3])
async def test_attempts_are_counted(connect, gateway, retries):
    for _ in range(5):
        gateway.answer(503)
    response = await connect(retries=retries).get("/v1/models")
    assert response.status_code == 503
    assert len(gateway.calls) == retries + 1


async def test_head_is_a_read(client, gateway):
    gateway.answer(503)
    response = await client.request("HEAD", "/v1/models")
    assert response.status_code == 200
    assert len(gateway.calls) == 2


@pytest.mark.parametrize("method", WRITES)
async def test_a_write_is_sent_again_under_one_key(client, gateway, method):
    gateway.answer(503, headers={"Retry-After": "0"})
    gateway.drop()
    gateway.refuse(409, "idempotency_conflict", headers={"Retry-After": "1"})
    assert (await client.request(method, "/v1/charges")).status_code == 200
    await client.request(method, "/v1/charges")
    keys = [call.headers["idempotency-key"] for call in gateway.calls]
    assert len(keys) == 5
    assert len(set(keys[:4])) == 1
    assert keys[4] != keys[0], "another call is another operation"


async def test_a_callers_key_is_the_one_that_is_sent(client, gateway):
    await client.post("/v1/charges", idempotency_key="charge-order-12345")
    await client.post("/v1/charges", headers={"Idempotency-Key": "mine"})
    await client.get("/v1/charges")
    assert [call.headers.get("idempotency-key") for call in gateway.calls] == ["charge-order-12345", "mine", None]


@pytest.mark.parametrize("name", ["idempotency-key", "IDEMPOTENCY-KEY", "X-AILink-Idempotency-Key"])
async def test_a_key_in_a_header_of_any_spelling_is_the_only_one(client, gateway, name):
    gateway.answer(503, headers={"Retry-After": "0"})
    await client.post("/v1/charges", headers={name: "mine", "x-ailink-approval-timeout": "9"}, wait_for_approval=True)
    for call in gateway.calls:
        sent = [value for header, value in call.raw_headers if header.lower().endswith("idempotency-key")]
        assert sent == ["mine"]
        assert [value for header, value in call.raw_headers if header.lower().endswith("-timeout")] == ["9"]
    assert len(gateway.calls) == 2


async def test_a_write_without_a_key_is_never_sent_again(admin, gateway):
    gateway.answer(503, headers={"Retry-After": "0", "x-should-retry": "true"})
    with pytest.raises(ailink.GatewayError):
        await admin.projects.create(name="p")
    assert len(gateway.calls) == 1
    assert "idempotency-key" not in gateway.calls[0].headers


async def test_a_body_that_can_be_read_once_is_sent_once(connect, gateway):
    gateway.answer(503)
    client = connect()
    pieces = iter([b"a", b"b"])

    async def later():
        for piece in pieces:
            yield piece

    body = later() if isinstance(client.target, ailink.AsyncClient) else pieces
    response = await client.post("/v1/upload", content=body)
    assert response.status_code == 503
    assert len(gateway.calls) == 1


@pytest.mark.parametrize("method", ["GET", *WRITES])
async def test_any_call_is_sent_again_if_nobody_listened(connect, make_gateway, waits, method):
    gateway = make_gateway()
    client = connect(gateway_url=gateway.url)
    waits.meanwhile = gateway.start
    await client.request(method, "/v1/charges", json={"amount": 5})
    assert [(call.method, call.json) for call in gateway.calls] == [(method, {"amount": 5})]
    assert len(waits.seconds) == 1


async def test_nobody_listening_at_all_raises(connect, make_gateway, waits):
    gateway = make_gateway()
    with pytest.raises(ailink.APIConnectionError, match=gateway.url) as caught:
        await connect(gateway_url=gateway.url, retries=2).post("/v1/charges")
    assert not isinstance(caught.value, ailink.APITimeoutError)
    assert len(waits.seconds) == 2


async def test_silence_raises_a_timeout(connect, silent_url, waits):
    client = connect(gateway_url=silent_url, timeout=0.05)
    with pytest.raises(ailink.APITimeoutError, match="did not answer in time"):
        await client.post("/v1/charges")
    assert len(waits.seconds) == 3


async def test_a_calls_own_timeout_wins(connect, silent_url):
    with pytest.raises(ailink.APITimeoutError):
        await connect(gateway_url=silent_url, retries=0).post("/v1/charges", timeout=0.05)


async def test_a_call_waits_as_long_as_the_client_was_told(connect, timeouts):
    client = connect(timeout=7)
    seen = timeouts(client)
    await client.get("/v1/models")
    assert seen == [{"connect": 7, "read": 7, "write": 7, "pool": 7}]


async def test_the_gateway_says_how_long_to_wait(client, gateway, waits):
    gateway.answer(429, headers={"Retry-After": "42"})
    await client.get("/v1/models")
    assert waits.seconds == [42]


async def test_the_gateway_says_that_an_error_is_final(client, gateway):
    gateway.refuse(502, "upstream_auth", headers={"x-should-retry": "false"})
    with pytest.raises(ailink.GatewayError):
        await client.get("/v1/models")
    assert len(gateway.calls) == 1


async def test_a_body_that_is_sent_again_is_whole(client, gateway):
    gateway.answer(503)
    await client.request("GET", "/v1/search", json={"query": "x"})
    assert [call.json for call in gateway.calls] == [{"query": "x"}] * 2


# --- elsewhere -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(admin, gateway, make_gateway, status):
    elsewhere = make_gateway()
    elsewhere.start()
    gateway.answer(status, headers={"Location": f"{elsewhere.url}/api/v1/tokens"})
    with pytest.raises(ailink.AIlinkError, match=f"a redirect to {elsewhere.url}"):
        await admin.tokens.list()
    gateway.answer(status, headers={"Location": elsewhere.url})
    response = await admin.get("/v1/models")
    assert response.status_code == status
    assert elsewhere.calls == []


async def test_a_gateway_on_this_machine_is_not_behind_a_proxy(connect, gateway, monkeypatch):
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    await connect().get("/v1/models")
    assert len(gateway.calls) == 1


@pytest.mark.filterwarnings("ignore:The API key travels unencrypted")
async def test_a_gateway_elsewhere_may_be_behind_a_proxy(connect, gateway, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", gateway.url)
    await connect(gateway_url="http://gateway.example.com").get("/v1/models")
    assert gateway.calls[0].path == "http://gateway.example.com/v1/models"


async def test_a_certificate_of_a_trusted_authority_is_accepted(connect, serve_tls, authority):
    gateway = serve_tls(authority)
    await connect(gateway_url=gateway.url).get("/v1/models")
    assert len(gateway.calls) == 1


async def test_a_certificate_of_nobody_knows_whom_is_refused(connect, serve_tls):
    gateway = serve_tls(trustme.CA())
    with pytest.raises(ailink.APIConnectionError, match=r"(?i)certificate"):
        await connect(gateway_url=gateway.url).get("/v1/models")
    assert gateway.calls == []


async def test_any_certificate_is_accepted_if_one_insists(connect, serve_tls):
    gateway = serve_tls(trustme.CA())
    await connect(gateway_url=gateway.url, verify_ssl=False).get("/v1/models")
    assert len(gateway.calls) == 1


# --- health --------------------------------------------------------------------------------------


async def test_a_healthy_gateway_is_asked_without_a_key(client, gateway):
    assert await client.is_healthy() is True
    assert gateway.calls[0].path == "/healthz"
    assert "authorization" not in gateway.calls[0].headers


@pytest.mark.parametrize("status", [302, 404, 503])
async def test_an_unhealthy_gateway_is_asked_once(client, gateway, status):
    gateway.answer(status)
    assert await client.is_healthy() is False
    assert len(gateway.calls) == 1


async def test_a_gateway_that_is_gone_is_not_healthy(connect, make_gateway, silent_url, monkeypatch, waits):
    monkeypatch.setattr("ailink._sync.connection.HEALTH_TIMEOUT", 0.05)
    monkeypatch.setattr("ailink._async.connection.HEALTH_TIMEOUT", 0.05)
    assert await connect(gateway_url=make_gateway().url).is_healthy() is False
    assert await connect(gateway_url=silent_url).is_healthy() is False
    assert waits.seconds == []


async def test_a_name_that_cannot_be_looked_up_is_not_healthy(connect):
    assert await connect(gateway_url=f"https://{'a' * 70}.invalid").is_healthy() is False


async def test_health_waits_three_seconds_at_most(client, timeouts):
    seen = timeouts(client)
    await client.is_healthy()
    assert seen == [{"connect": 3, "read": 3, "write": 3, "pool": 3}]
