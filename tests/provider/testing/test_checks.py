"""The front door: headers that must not leak, exactly one credential, strict JSON; and the scripts and echoes."""

from typing import Any

import pytest

from ailink_provider.testing import KEYS, Fault, MockUpstream

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}]}
BEARER = {"authorization": f"Bearer {KEYS['openai']}"}
JSON = {**BEARER, "content-type": "application/json"}


@pytest.mark.parametrize("name", [
    "X-AILink-Agent-Name", "x-ailink-guardrails", "Cookie", "Forwarded", "X-Forwarded-For", "X-Forwarded-Proto",
    "X-Real-IP", "X-Real-Authorization", "X-Admin-Key", "X-User-ID", "X-Session-ID", "X-Parent-Span-ID", "Prefer",
    "Via", "Proxy-Authorization", "Keep-Alive", "TE", "Trailer",
])
@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/customers"])
async def test_refuses_what_must_not_leak(upstream: MockUpstream, http: Any, name: str, path: str) -> None:
    reply = await http.post(path, json=CHAT, headers={**BEARER, name: "trailers"})
    assert reply.status_code == 400
    assert any(name.lower() in violation.message for violation in upstream.violations)


async def test_refuses_repeated_headers_and_nominations(upstream: MockUpstream, http: Any) -> None:
    await http.post("/x", headers=[("Content-Type", "a/b"), ("content-type", "c/d")])
    await http.post("/x", headers={"connection": "x-secret"})
    assert [violation.message for violation in upstream.violations] == [
        "mock: the header 'content-type' arrived 2 times",
        "mock: Connection nominates 'x-secret', which is for a proxy to act on",
    ]


@pytest.mark.parametrize(("path", "headers"), [
    ("/v1/chat/completions", {}),
    ("/v1/chat/completions", {"authorization": "Bearer wrong"}),
    ("/v1/chat/completions", {"authorization": KEYS["openai"]}),
    ("/v1/chat/completions", {"x-api-key": KEYS["openai"]}),
    ("/v1/chat/completions", {**BEARER, "x-api-key": "another"}),
    ("/v1/chat/completions", {**BEARER, "x-goog-api-key": "another"}),
    ("/v1/chat/completions?key=another", BEARER),
    ("/v1/models", {}),
    ("/v1/messages", {"authorization": "Bearer wrong"}),
    ("/v1/messages", {"x-api-key": KEYS["anthropic"], "authorization": f"Bearer {KEYS['anthropic']}"}),
    ("/v1beta/models/gemini-2.5-flash:generateContent", {"authorization": f"Bearer {KEYS['gemini']}"}),
    (f"/v1beta/models/gemini-2.5-flash:generateContent?key={KEYS['gemini']}", {}),
])
async def test_wants_exactly_one_credential(
        upstream: MockUpstream, http: Any, path: str, headers: dict[str, str]) -> None:
    method = "GET" if path == "/v1/models" else "POST"
    reply = await http.request(method, path, json=CHAT, headers=headers)
    vendor = upstream.violations[0].vendor
    assert reply.status_code == (400 if vendor == "gemini" else 401)
    with pytest.raises(AssertionError, match=r"credentials arrived|right key did not come"):
        upstream.assert_clean()


async def test_takes_anthropics_key_as_a_bearer_too(upstream: MockUpstream, http: Any) -> None:
    headers = {"authorization": f"Bearer {KEYS['anthropic']}", "anthropic-version": "2026-10-21"}
    body = {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "Hi"}]}
    assert (await http.post("/v1/messages", json=body, headers=headers)).status_code == 200
    upstream.assert_clean()


async def test_other_apis_want_a_key_only_if_they_have_one(http: Any) -> None:
    async with MockUpstream(keys={"rest": "sk_live"}) as upstream:
        assert (await http.get(upstream.url("/x"), headers={"authorization": "Bearer sk_live"})).status_code == 200
        upstream.assert_clean()
        assert (await http.get(upstream.url("/x"))).status_code == 401
        assert len(upstream.violations) == 1


@pytest.mark.parametrize(("headers", "content", "message"), [
    (BEARER, b"{}", "Content-Type must be application/json"),
    ({**JSON, "content-encoding": "gzip"}, b"{}", "the body is compressed"),
    (JSON, b"", "not strict JSON"),
    (JSON, b'{"model": "a", "model": "b"}', "the name 'model' appears twice"),
    (JSON, b'{"messages": [{"role": "user", "role": "system"}]}', "the name 'role' appears twice"),
    (JSON, b'{"temperature": NaN}', "NaN is not JSON"),
    (JSON, b'{"model": "\xff"}', "not strict JSON"),
    (JSON, b"[]", "not a JSON object"),
])
async def test_wants_strict_json(
        upstream: MockUpstream, http: Any, headers: dict[str, str], content: bytes, message: str) -> None:
    reply = await http.post("/v1/chat/completions", content=content, headers=headers)
    assert reply.status_code == 400 and message in reply.json()["error"]["message"]
    assert message in upstream.violations[0].message


async def test_echoes_any_other_request(upstream: MockUpstream, http: Any) -> None:
    reply = await http.patch("/v1/customers/1%2F2?expand=a", content=b"name=x", headers={"X-Thing": "1"})
    body = reply.json()
    assert (body["method"], body["path"], body["query"], body["body"]) == (
        "PATCH", "/v1/customers/1/2", [["expand", "a"]], "name=x")
    assert body["headers"]["x-thing"] == "1"
    assert upstream.requests[-1].target == "/v1/customers/1%2F2?expand=a"
    upstream.assert_clean()


async def test_scripts_are_played_in_order_where_they_fit(upstream: MockUpstream, http: Any, send: Any) -> None:
    upstream.script(body=b"only b", when=lambda request: request.path == "/b")
    upstream.script(status=503, headers=[("x-why", "test")])
    upstream.script(body=b"twice", times=2)
    replies = [await http.get(path) for path in ("/a", "/b", "/c", "/d", "/e")]
    assert [(reply.status_code, reply.text) for reply in replies[:4]] == [
        (503, ""), (200, "only b"), (200, "twice"), (200, "twice")]
    assert replies[0].headers["x-why"] == "test"
    assert replies[4].json()["path"] == "/e"
    upstream.script(text="Always.", times=None)
    for _ in range(3):
        assert (await send("openai", CHAT)).json()["choices"][0]["message"]["content"] == "Always."


async def test_a_request_that_breaks_a_rule_uses_up_no_script(upstream: MockUpstream, send: Any) -> None:
    upstream.script(text="For the right one.")
    assert (await send("openai", {**CHAT, "bogus": 1})).status_code == 400
    assert (await send("openai", CHAT)).json()["choices"][0]["message"]["content"] == "For the right one."


async def test_a_rest_api_fails_in_a_plain_shape(upstream: MockUpstream, http: Any) -> None:
    upstream.script(fault=Fault("status", status=429, retry_after=3))
    reply = await http.get("/x")
    assert (reply.status_code, reply.json(), reply.headers["retry-after"]) == (429, {"error": "invalid"}, "3")


async def test_head_has_no_body(http: Any) -> None:
    reply = await http.head("/x")
    assert (reply.status_code, reply.content) == (200, b"")
    assert int(reply.headers["content-length"]) > 0
    assert (await http.get("/y")).json()["path"] == "/y"
