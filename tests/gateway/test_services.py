"""Calls of services by name: the right host, path and key; their rules; and that a vendor's models stay priced."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from msgspec.structs import replace

from ailink_gateway.backends.upstreams import inject
from ailink_gateway.grant import Grant, Service, Upstream
from ailink_gateway.policy.compiled import gather
from ailink_gateway.policy.compiler import compile_policy
from ailink_provider.transport import Response

Call = Callable[..., Awaitable[Any]]
PREFIX = "/v1/proxy/services"
REPLY = b'{"id":"c","object":"chat.completion","created":1,"model":"gpt-4o","choices":[{"index":0,"message":{"role":' \
    b'"assistant","content":"Hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":7}}'


@pytest.fixture
def make_grant(make_upstream: Callable[..., Upstream]) -> Callable[..., Grant]:
    """Makes the grant of a token whose project has these services."""

    def make(**services: Service) -> Grant:
        return Grant(token_id="tok_1", token_name="t", project_id="p", services=services)

    return make


@pytest.fixture
def stripe(make_upstream: Callable[..., Upstream]) -> Callable[..., Service]:
    def make(url: str = "https://api.stripe.example", injection: str = "bearer", **rules: Any) -> Service:
        key = inject(injection, b"sk-live-of-stripe", "X-Stripe-Key", "key")
        return Service(upstream=make_upstream(None, url, key, generic=True), **rules)

    return make


@pytest.mark.parametrize(("path", "sent"), [
    ("/v1/charges?limit=3", b"/v1/charges"), ("", b"/"), ("/", b"/"), ("/v1/a%20b", b"/v1/a%20b"),
])
async def test_the_path_behind_the_name_is_sent_with_the_credential(
    call: Call, make_grant: Any, stripe: Any, listener: Any, path: str, sent: bytes,
) -> None:
    path, _, query = path.partition("?")
    called = f"{PREFIX}/stripe{path}"
    answer = await call(make_grant(stripe=stripe()), "POST", called, b"amount=1", query=query.encode())
    assert answer.status == 200
    request = listener.asked[0]
    assert request.url.host == "api.stripe.example"
    assert request.target == sent + (b"?limit=3" if query else b"")
    assert (request.method, request.body) == ("POST", b"amount=1")
    assert dict(request.headers)[b"authorization"] == b"Bearer sk-live-of-stripe"


@pytest.mark.parametrize(("injection", "header", "target"), [
    ("basic", (b"authorization", b"Basic c2stbGl2ZS1vZi1zdHJpcGU6"), b"/x"),
    ("header", (b"x-stripe-key", b"sk-live-of-stripe"), b"/x"),
    ("query", None, b"/x?key=sk-live-of-stripe"),
])
async def test_each_way_of_injection(
    call: Call, make_grant: Any, stripe: Any, listener: Any, injection: str, header: Any, target: bytes,
) -> None:
    await call(make_grant(stripe=stripe(injection=injection)), "GET", f"{PREFIX}/stripe/x")
    request = listener.asked[0]
    assert request.target == target
    carrying = [entry for entry in request.headers if b"sk-live" in entry[1] or entry[0] == b"authorization"]
    assert carrying == ([header] if header else [])


async def test_a_base_url_with_a_version_does_not_double_it(
    call: Call, make_grant: Any, stripe: Any, listener: Any
) -> None:
    grant = make_grant(stripe=stripe("https://api.stripe.example/v1"))
    await call(grant, "GET", f"{PREFIX}/stripe/v1/charges")
    await call(grant, "GET", f"{PREFIX}/stripe/charges")
    assert [request.target for request in listener.asked] == [b"/v1/charges", b"/v1/charges"]


async def test_an_unknown_service_is_named_with_those_there_are(call: Call, make_grant: Any, stripe: Any) -> None:
    answer = await call(make_grant(stripe=stripe()), "GET", f"{PREFIX}/strip/v1/charges")
    assert answer.status == 404
    assert b"The project has: stripe." in answer.body


@pytest.mark.parametrize("name", ["str%69pe", "stripe%2f", "STRIPE"])
async def test_a_name_is_spelled_plainly(call: Call, make_grant: Any, stripe: Any, listener: Any, name: str) -> None:
    answer = await call(make_grant(stripe=stripe()), "GET", f"{PREFIX}/{name}/v1/charges")
    assert answer.status in (400, 404)
    assert not listener.asked


CLIMBING = ["/../admin", "/%2e%2e/admin", "/a/%2E./b", "/a%2fb", "/a\\b", "/a;b", "/%252e", "/a%00"]


@pytest.mark.parametrize("path", CLIMBING)
async def test_a_path_that_climbs_is_refused(
    call: Call, make_grant: Any, stripe: Any, listener: Any, path: str
) -> None:
    answer = await call(make_grant(stripe=stripe()), "GET", f"{PREFIX}/stripe{path}")
    assert answer.status == 400
    assert not listener.asked


@pytest.mark.parametrize(("method", "path", "reason"), [
    ("GET", "/v1/charges", None), ("POST", "/v1/charges/ch_1", None), ("DELETE", "/v1/charges", "method_not_allowed"),
    ("GET", "/v1/customers", "path_not_allowed"), ("GET", "/v1/charges/secret", "path_not_allowed"),
])
async def test_the_rules_of_a_service(
    call: Call, make_grant: Any, stripe: Any, listener: Any, method: str, path: str, reason: str | None,
) -> None:
    service = stripe(methods=("GET", "POST"), allowed_paths=("/v1/charges*",), denied_paths=("*secret*",))
    answer = await call(make_grant(stripe=service), method, f"{PREFIX}/stripe{path}")
    assert answer.status == (403 if reason else 200)
    assert len(listener.asked) == (0 if reason else 1)
    assert reason is None or reason.encode() in answer.body


@pytest.mark.parametrize(("base", "denied", "path"), [
    ("", "/v1/charges*", "/v1/%63harges"), ("", "/v1/charges*", "//v1/charges"), ("", "/v1/charges*", "/v1//charges"),
    ("/v1", "/v1/charges*", "/charges"), ("/v1", "/v1/charges*", "/%63harges"), ("/v1", "/charges*", "/v1/charges"),
])
async def test_another_spelling_of_a_denied_path_is_denied(
    call: Call, make_grant: Any, stripe: Any, listener: Any, base: str, denied: str, path: str
) -> None:
    service = stripe("https://api.stripe.example" + base, denied_paths=(denied,))
    answer = await call(make_grant(stripe=service), "GET", f"{PREFIX}/stripe{path}")
    assert (answer.status, b"path_not_allowed" in answer.body) == (403, True)
    assert not listener.asked


async def test_an_allowed_path_may_be_spelt_with_or_without_the_version_of_the_base_url(
    call: Call, make_grant: Any, stripe: Any
) -> None:
    for allowed in ("/v1/charges*", "/charges*"):
        grant = make_grant(stripe=stripe("https://api.stripe.example/v1", allowed_paths=(allowed,)))
        for path, status in (("/v1/charges", 200), ("/charges/ch_1", 200), ("/refunds", 403)):
            assert (await call(grant, "GET", f"{PREFIX}/stripe{path}")).status == status


@pytest.mark.parametrize("headers", [
    [(b"x-http-method-override", b"DELETE")], [(b"x_http_method_override", b"delete")],
    [(b"x-method-override", b"DELETE"), (b"x-method-override", b"GET")],
])
async def test_a_method_that_a_service_does_not_take_is_not_smuggled_in(
    call: Call, make_grant: Any, stripe: Any, listener: Any, headers: Any
) -> None:
    service = stripe(methods=("GET", "POST"))
    answer = await call(make_grant(stripe=service), "POST", f"{PREFIX}/stripe/v1/charges", headers=headers)
    assert (answer.status, b"method_not_allowed" in answer.body) == (403, True)
    assert not listener.asked


@pytest.mark.parametrize(("base", "path"), [
    ("", "/v1/charges"), ("", "/v1/%63harges"), ("/v1", "/charges"), ("/v1", "/v1/charges"),
])
@pytest.mark.parametrize("pattern", ["/v1/charges*", f"{PREFIX}/stripe/v1/charges*", f"{PREFIX}/stripe/*"])
async def test_policies_see_the_path_that_is_sent_and_rules_may_name_it_below_the_services(
    call: Call, make_grant: Any, stripe: Any, listener: Any, base: str, path: str, pattern: str
) -> None:
    grant = make_grant(stripe=stripe("https://api.stripe.example" + base))
    for rule, status in (({"deny": [pattern]}, 403), ({"allow": [pattern]}, 200), ({"allow": ["/v1/refunds*"]}, 403)):
        policy = compile_policy({"name": "p", "rules": [{"type": "paths", **rule}]})
        held = replace(grant, policies=gather([], [policy]))
        answer = await call(held, "GET", f"{PREFIX}/stripe{path}")
        assert answer.status == status, rule
    assert len(listener.asked) == 1


async def test_a_passthrough_token_reaches_no_service(call: Call, make_upstream: Any, listener: Any) -> None:
    grant = Grant(
        token_id="tok_1", token_name="t", project_id="p", own=make_upstream(None, "https://own.example", None),
        passthrough=True,
    )
    answer = await call(grant, "GET", f"{PREFIX}/stripe/v1/charges")
    assert answer.status == 403
    assert not listener.asked


async def test_the_models_of_a_service_are_calls_to_models(
    call: Call, make_grant: Any, make_upstream: Any, listener: Any, journal: Any,
) -> None:
    grant = make_grant(vendor=Service(upstream=make_upstream("openai"), serves_models=True))
    listener.answers.append(Response(200, [], REPLY))
    body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"Hi"}]}'
    answer = await call(grant, "POST", f"{PREFIX}/vendor/v1/chat/completions", body)
    assert answer.status == 200
    assert listener.asked[0].target == b"/v1/chat/completions"
    record = journal.records[0]
    assert (record.model, record.cost_nano, record.path) == ("gpt-4o", 97_500, f"{PREFIX}/vendor/v1/chat/completions")
    unpriced = await call(grant, "POST", f"{PREFIX}/vendor/v1/images/generations", b"{}")
    assert unpriced.status == 403
    assert b"path_not_allowed" in unpriced.body


async def test_a_model_that_the_token_may_not_use_is_refused_there_too(
    call: Call, make_upstream: Any, listener: Any
) -> None:
    service = Service(upstream=make_upstream("openai"), serves_models=True)
    grant = Grant(
        token_id="t", token_name="t", project_id="p", services={"vendor": service}, allowed_models=("gpt-4o-mini",)
    )
    answer = await call(
        grant, "POST", f"{PREFIX}/vendor/v1/chat/completions", b'{"model":"o1-pro","messages":[]}'
    )
    assert answer.status == 403
    assert b"model_not_allowed" in answer.body
    assert not listener.asked


async def test_an_echoed_key_is_masked(call: Call, make_grant: Any, stripe: Any, listener: Any) -> None:
    listener.answers.append(Response(200, [(b"x-echo", b"sk-live-of-stripe")], b"you sent sk-live-of-stripe"))
    answer = await call(make_grant(stripe=stripe()), "GET", f"{PREFIX}/stripe/x")
    assert b"sk-live" not in answer.body
    assert "sk-live" not in str(answer.headers)
