"""What leaves: the right path, an allow-list of headers, and exactly one credential, which is never the wrong one."""

import gzip
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_gateway.backends.upstreams import inject
from ailink_gateway.exchange import Exchange
from ailink_gateway.forward import (
    api_headers,
    api_reply_headers,
    api_target,
    caller_key,
    model_headers,
    model_target,
)
from ailink_gateway.grant import Grant, Key, Snapshot, Upstream
from ailink_gateway.mask import Mask, masked
from ailink_provider.errors import Failure
from ailink_provider.transport import Response

MakeExchange = Callable[..., Exchange]
MakeUpstream = Callable[..., Upstream]
Headers = list[tuple[bytes, bytes]]

BEARER = inject("bearer", b"sk-of-the-gateway", None, None)
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def grant(own: Upstream | None = None, **fields: Any) -> Grant:
    return Grant(token_id="tok_a", token_name="a", project_id="p", own=own, **fields)


# --- paths -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "path", "expected"),
    [
        ("https://api.example", "/v1/customers", "/v1/customers"),
        ("https://api.example/", "/v1/customers", "/v1/customers"),
        ("https://api.example/v1", "/v1/customers", "/v1/customers"),
        ("https://api.example/v1", "/customers", "/v1/customers"),
        ("https://api.example/v1", "/v1", "/v1"),
        ("https://api.example/v1", "/v1/", "/v1/"),
        ("https://api.example/v1", "/v10/customers", "/v1/v10/customers"),
        ("https://api.example/v1", "/v2/customers", "/v1/v2/customers"),
        ("https://api.example/v1", "/v1beta/x", "/v1/v1beta/x"),
        ("https://api.example/v1beta", "/v1beta/x", "/v1beta/x"),
        ("https://api.example/v1beta", "/v1/x", "/v1beta/v1/x"),
        ("https://api.example/api/v2", "/v2/users", "/api/v2/users"),
        ("https://api.example/api/v2", "/api/v2/users", "/api/v2/api/v2/users"),
        ("https://api.example/v1/accounts", "/v1/x", "/v1/accounts/v1/x"),
        ("https://api.example/my-v1", "/v1/x", "/my-v1/v1/x"),
        ("https://slack.example/api", "/chat.postMessage", "/api/chat.postMessage"),
        ("https://api.example", "/", "/"),
        ("https://api.example", "//x//y", "//x//y"),
        ("https://api.example", "/a%20b/%C3%A9+c@d:e~(f)'g!h$i,j=k&l*", "/a%20b/%C3%A9+c@d:e~(f)'g!h$i,j=k&l*"),
        ("https://api.example", "/.well-known/x..y/...", "/.well-known/x..y/..."),
    ],
)
def test_an_apis_path_lies_below_its_upstream_and_doubles_no_version(
    make_exchange: MakeExchange, make_upstream: MakeUpstream, url: str, path: str, expected: str
) -> None:
    exchange = make_exchange("GET", path, query=b"a=1&b=%2e")
    assert api_target(exchange, make_upstream(None, url)) == (expected.encode(), b"a=1&b=%2e")


TRAPS = [
    "..", "/..", "/../x", "/a/../b", "/a/..", "/.", "/a/./b", "/%2e%2e/x", "/%2E%2e/x", "/a%2fb", "/a%2F..%2Fb",
    "/a%5cb", "/a%5Cb", "/a\\b", "/a;b", "/a%3bb", "/a/..;/b", "/a%00", "/a%252e", "/%25%32%65", "/a b", "/a\tb",
    "/a\x7f", "/a\xe9", "/a#b", "/a?b", "*", "a", "https://evil.example/x",
]  # fmt: skip


@pytest.mark.parametrize("path", TRAPS)
def test_a_path_that_its_reader_might_read_otherwise_is_refused(
    make_exchange: MakeExchange, make_upstream: MakeUpstream, path: str
) -> None:
    exchange = make_exchange("GET", path)
    with pytest.raises(Failure) as caught:
        api_target(exchange, make_upstream(None, "https://api.example/v1"))
    assert (caught.value.code, caught.value.param) == ("invalid_request", "path")


async def test_a_trap_reaches_no_upstream(call: Any, listener: Any, make_upstream: MakeUpstream) -> None:
    own = make_upstream(None, "https://api.example/v1", generic=True)
    for path in TRAPS:
        assert (await call(grant(own), "GET", path)).status == 400
    assert listener.asked == []


@pytest.mark.parametrize(
    ("name", "url", "asked", "expected"),
    [
        ("openai", "https://api.openai.com/v1", "/chat/completions", "/v1/chat/completions"),
        ("openai", "https://api.openai.com/v1/", "/chat/completions", "/v1/chat/completions"),
        ("openai", "https://api.openai.com", "/chat/completions", "/v1/chat/completions"),
        ("openai", "https://proxy.example/openai", "/embeddings", "/openai/v1/embeddings"),
        ("openai", "https://proxy.example/v1beta", "/embeddings", "/v1beta/embeddings"),
        ("openrouter", "https://openrouter.ai/api/v1", "/chat/completions", "/api/v1/chat/completions"),
        ("openrouter", "https://openrouter.ai/api", "/chat/completions", "/api/v1/chat/completions"),
        (None, "http://10.0.0.5:8000", "/chat/completions", "/v1/chat/completions"),
        (None, "http://10.0.0.5:8000/v1", "/chat/completions", "/v1/chat/completions"),
        ("anthropic", "https://api.anthropic.com", "/v1/messages", "/v1/messages"),
        ("anthropic", "https://api.anthropic.com/v1", "/v1/messages", "/v1/messages"),
        ("anthropic", "https://proxy.example/claude", "/v1/messages", "/claude/v1/messages"),
        ("anthropic", "https://proxy.example/claude/v1", "/v1/messages", "/claude/v1/messages"),
        ("gemini", "https://g.example", "/v1beta/models/m:generateContent", "/v1beta/models/m:generateContent"),
        ("gemini", "https://g.example/v1beta", "/v1beta/models/m:x", "/v1beta/models/m:x"),
        ("gemini", "https://g.example/deep/er/v1beta", "/v1beta/models/m:x", "/deep/er/v1beta/models/m:x"),
    ],
)
def test_a_models_path_lies_below_its_upstream_with_one_version(
    make_upstream: MakeUpstream, name: str | None, url: str, asked: str, expected: str
) -> None:
    assert model_target(make_upstream(name, url), asked) == (expected.encode(), b"")
    assert model_target(make_upstream(name, url), f"{asked}?alt=sse") == (expected.encode(), b"alt=sse")


@pytest.mark.parametrize("name", ["a?b=c", "a#b", "a/b", "a%2Fb", "a b", "a&key=x", "é"])
async def test_a_models_name_cannot_leave_its_segment(
    call: Any, listener: Any, make_upstream: MakeUpstream, name: str
) -> None:
    await call(grant(make_upstream("gemini")), "POST", f"/v1beta/models/{quote(name, safe='')}:generateContent", b"{}")
    assert listener.asked[0].target == f"/v1beta/models/{quote(name, safe='')}:generateContent".encode()


# --- headers to a model ------------------------------------------------------------------------------


def of(headers: Headers) -> dict[str, str]:
    assert len(dict(headers)) == len(headers), "no name stands twice"
    return {name.decode(): value.decode() for name, value in headers}


NOISE: Headers = [
    (b"host", b"gateway"), (b"cookie", b"c"), (b"user-agent", b"OpenAI/Python"), (b"x-stainless-os", b"Linux"),
    (b"accept-encoding", b"gzip"), (b"x-forwarded-for", b"10.0.0.1"), (b"x-real-authorization", b"Bearer mine"),
    (b"x-ailink-agent-name", b"a"), (b"idempotency-key", b"i"), (b"openai-organization", b"org-evil"),
    (b"authorization", b"Bearer ailink_v1"), (b"x-api-key", b"ailink_v1"), (b"api-key", b"ailink_v1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("provider", "path", "sent", "expected"),
    [
        ("openai", "/v1/chat/completions", (b"openai-beta", b"x=1"), {"openai-beta": "x=1"}),
        ("openai", "/v1/messages", (b"openai-beta", b"x=1"), {}),
        ("openai", "/v1/messages", (b"anthropic-beta", b"b"), {}),
        (
            "anthropic",
            "/v1/messages",
            (b"anthropic-beta", b"b"),
            {"anthropic-beta": "b", "anthropic-version": "2023-06-01"},
        ),
        ("anthropic", "/v1/messages", (b"anthropic-version", b"2024-01-01"), {"anthropic-version": "2024-01-01"}),
        ("anthropic", "/v1/chat/completions", (b"anthropic-version", b"x"), {"anthropic-version": "2023-06-01"}),
        ("gemini", "/v1beta/models/m:generateContent", (b"x-goog-api-client", b"c"), {"x-goog-api-client": "c"}),
        ("gemini", "/v1/chat/completions", (b"x-goog-api-client", b"c"), {}),
    ],
)
def test_to_a_model_goes_an_allow_list_and_one_credential(
    make_exchange: MakeExchange,
    make_upstream: MakeUpstream,
    provider: str,
    path: str,
    sent: tuple[bytes, bytes],
    expected: dict[str, str],
) -> None:
    upstream = make_upstream(provider)
    credential = {"openai": "authorization", "anthropic": "x-api-key", "gemini": "x-goog-api-key"}[provider]
    headers = of(model_headers(make_exchange("POST", path, [*NOISE, sent]), upstream, upstream.key))
    prefix = "Bearer " if provider == "openai" else ""
    assert headers == {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": headers["user-agent"],
        credential: f"{prefix}sk-of-the-gateway",
        **expected,
    }
    assert headers["user-agent"].startswith("ailink/")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/customers"])
@pytest.mark.parametrize(
    "value", [None, b"", b"garbage", TRACE.upper(), TRACE + b"0", TRACE[:-1], b"01" + TRACE[2:], TRACE + b"\n"]
)
def test_only_a_valid_trace_goes_on(
    make_exchange: MakeExchange, make_upstream: MakeUpstream, path: str, value: bytes | None
) -> None:
    exchange = make_exchange("POST", path, [] if value is None else [(b"traceparent", value)])
    upstream = make_upstream("openai")
    headers = model_headers(exchange, upstream, None) if exchange.route.kind == "model" else api_headers(exchange, None)
    assert "traceparent" not in of(headers)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/customers"])
def test_a_span_of_ours_goes_on_in_the_callers_trace(
    make_exchange: MakeExchange, make_upstream: MakeUpstream, path: str
) -> None:
    exchange = make_exchange("POST", path, [(b"traceparent", TRACE)])
    headers = api_headers(exchange, None) if exchange.route.kind == "api" else model_headers(
        exchange, make_upstream("openai"), None
    )
    version, trace, span, flags = of(headers)["traceparent"].split("-")
    assert (version, trace, flags) == ("00", "0af7651916cd43dd8448eb211c80319c", "01")
    assert span != "b7ad6b7169203331" and len(span) == 16 and exchange.id.endswith(span)


# --- headers to any other API ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade", "content-length", "host", "expect", "cookie", "forwarded", "x-forwarded-for",
        "x-forwarded-proto", "x-forwarded-anything", "via", "authorization", "x-api-key", "api-key", "x-goog-api-key",
        "x-admin-key", "x-user-id", "x-real-authorization", "x-ailink-agent-name", "x-ailink-allow-override",
        "x-ailink-future", "x-session-id", "x-parent-span-id", "x-preferred-model", "idempotency-key", "prefer",
        "accept-encoding", "traceparent",
    ],
)  # fmt: skip
@pytest.mark.parametrize("spelling", [str, lambda name: name.replace("-", "_"), lambda name: name.replace("-", "_", 1)])
def test_what_belongs_to_this_hop_or_names_its_caller_stays(
    make_exchange: MakeExchange, name: str, spelling: Callable[[str], str]
) -> None:
    exchange = make_exchange("POST", "/v1/customers", [(spelling(name).encode(), b"secret"), (b"x-kept", b"1")])
    headers = api_headers(exchange, None)
    assert (b"x-kept", b"1") in headers
    assert b"secret" not in [value for _, value in headers]


def test_everything_else_goes_as_it_came(make_exchange: MakeExchange) -> None:
    sent = [
        (b"content-type", b"text/csv"), (b"accept", b"*/*"), (b"user-agent", b"agent/1"), (b"x-a", b"1"),
        (b"x-a", b"2"), (b"stripe-version", b"2024"), (b"range", b"bytes=0-1"), (b"if-none-match", b'"e"'),
        (b"baggage", b"b"), (b"x-real-ip", b"i"),
    ]  # fmt: skip
    exchange = make_exchange("POST", "/v1/customers", sent)
    assert api_headers(exchange, BEARER) == [
        *sent,
        (b"accept-encoding", b"identity"),
        (b"authorization", b"Bearer sk-of-the-gateway"),
    ]


def test_every_header_that_a_connection_header_nominates_stays(make_exchange: MakeExchange) -> None:
    sent = [
        (b"connection", b"X-First, close"), (b"x-first", b"1"), (b"x_first", b"1"), (b"x-second", b"2"),
        (b"connection", b" x-second ,, keep-alive"), (b"x-third", b"3"),
    ]  # fmt: skip
    exchange = make_exchange("POST", "/v1/customers", sent)
    assert api_headers(exchange, None) == [(b"x-third", b"3"), (b"accept-encoding", b"identity")]


async def test_nominating_our_credential_does_not_take_it_away(
    call: Any, listener: Any, make_upstream: MakeUpstream
) -> None:
    own = make_upstream(None, "https://api.example", BEARER, generic=True)
    await call(grant(own), "GET", "/x", headers=[(b"connection", b"authorization")])
    assert (b"authorization", b"Bearer sk-of-the-gateway") in listener.asked[0].headers


@pytest.mark.parametrize("sent", [b"x-shop-token", b"x_shop_token", b"x-shop_token"])
def test_a_header_that_could_pass_for_the_injected_one_stays(make_exchange: MakeExchange, sent: bytes) -> None:
    key = inject("header", b"sk-of-the-gateway", "X-Shop-Token", None)
    headers = api_headers(make_exchange("POST", "/x", [(sent, b"evil")]), key)
    assert headers == [(b"accept-encoding", b"identity"), (b"x-shop-token", b"sk-of-the-gateway")]


NAMES = [
    b"authorization", b"x-api-key", b"x_api_key", b"x-shop-token", b"x_shop_token", b"connection", b"cookie",
    b"x-goog-api-key", b"x-real-authorization", b"accept",
]  # fmt: skip
VALUES = [b"evil", b"Bearer evil", b"authorization", b"x-shop-token", b"close"]
INJECTIONS = [("bearer", None), ("basic", None), ("header", "X-Shop-Token"), ("header", "x_shop_token")]


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=6), st.sampled_from(INJECTIONS)
)
def test_exactly_one_credential_leaves_and_it_is_ours(sent: Headers, injection: tuple[str, str | None]) -> None:
    key = inject(injection[0], b"sk-of-the-gateway", injection[1], None)

    class Asking:
        raw_headers = sent
        headers = dict(sent)
        idempotency_key = None

    *others, last = api_headers(Asking(), key)  # type: ignore[arg-type]
    assert last == (key.header, key.value)
    credentials = {b"authorization", b"x-api-key", b"x-goog-api-key", b"x-real-authorization", b"cookie"}
    assert key.header is not None
    credentials.add(key.header.replace(b"_", b"-"))
    assert not credentials & {name.replace(b"_", b"-") for name, _ in others}


# --- injection ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("injection", "secret", "name", "expected"),
    [
        ("bearer", b"s3cr3t-s3cr3t", None, (b"authorization", b"Bearer s3cr3t-s3cr3t")),
        ("basic", b"user:pa:ss", None, (b"authorization", b"Basic dXNlcjpwYTpzcw==")),
        ("basic", b"sk_live_x", None, (b"authorization", b"Basic c2tfbGl2ZV94Og==")),
        ("header", b"s3cr3t-s3cr3t", "X-Shop-Token", (b"x-shop-token", b"s3cr3t-s3cr3t")),
        ("header", b"s3cr3t-s3cr3t", "Authorization", (b"authorization", b"s3cr3t-s3cr3t")),
    ],
)
async def test_a_secret_is_injected_as_its_credential_says(
    call: Any,
    listener: Any,
    make_upstream: MakeUpstream,
    injection: str,
    secret: bytes,
    name: str | None,
    expected: tuple[bytes, bytes],
) -> None:
    own = make_upstream(None, "https://api.example", inject(injection, secret, name, None), generic=True)
    await call(grant(own), "POST", "/x", b"{}", query=b"a=1")
    assert listener.asked[0].headers[-1] == expected
    assert listener.asked[0].target == b"/x?a=1"
    assert b"Bearer t" not in [value for _, value in listener.asked[0].headers]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", b"/x?api_key=sk%2Bof%2Fours%3D"),
        (b"a=1&b=%2F", b"/x?a=1&b=%2F&api_key=sk%2Bof%2Fours%3D"),
        (b"api_key=evil", b"/x?api_key=sk%2Bof%2Fours%3D"),
        (b"API-KEY=evil&a=1&api_key=evil&api%5Fkey=evil&api_key", b"/x?a=1&api_key=sk%2Bof%2Fours%3D"),
    ],
)
async def test_a_secret_in_the_query_is_the_only_one_of_its_name(
    call: Any, listener: Any, make_upstream: MakeUpstream, query: bytes, expected: bytes
) -> None:
    own = make_upstream(None, "https://api.example", inject("query", b"sk+of/ours=", None, None), generic=True)
    await call(grant(own), "GET", "/x", query=query)
    (request,) = listener.asked
    assert request.target == expected
    assert not {b"authorization", b"x-api-key"} & dict(request.headers).keys()


async def test_a_callers_own_query_key_passes_untouched_on_an_apis_routes(
    call: Any, listener: Any, make_upstream: MakeUpstream, journal: Any
) -> None:
    own = make_upstream(None, "https://maps.example", None)
    await call(grant(own, passthrough=True), "GET", "/maps/api/geocode", query=b"key=AIza%2D1&q=a+b&q=%20")
    assert listener.asked[0].target == b"/maps/api/geocode?key=AIza%2D1&q=a+b&q=%20"
    assert "AIza" not in repr(journal.opened) + repr(journal.records)


async def test_geminis_query_key_is_neither_forwarded_nor_written_down(
    call: Any, listener: Any, make_upstream: MakeUpstream, journal: Any
) -> None:
    path = "/v1beta/models/gemini-2.5-flash:generateContent"
    await call(grant(make_upstream("gemini")), "POST", path, b"{}", query=b"key=t&alt=json")
    assert b"key=" not in listener.asked[0].target
    assert "key=" not in repr(journal.opened) + repr(journal.records)


# --- the caller's own key ----------------------------------------------------------------------------

OVERRIDE = (b"x-ailink-allow-override", b"true")
REAL = (b"x-real-authorization", b"Bearer sk-of-the-caller")


@pytest.mark.parametrize(
    ("fields", "headers", "expected"),
    [
        # passthrough: the caller's key or none
        ({"passthrough": True}, [REAL], "caller"),
        ({"passthrough": True}, [REAL, OVERRIDE], "caller"),
        # a token with a credential: both the token and the request must say so
        ({}, [REAL], "refused"),
        ({}, [REAL, OVERRIDE], "refused"),
        ({"allow_upstream_key": True}, [REAL], "refused"),
        ({"allow_upstream_key": True}, [REAL, (b"x-ailink-allow-override", b"false")], "refused"),
        ({"allow_upstream_key": True}, [REAL, (b"x-ailink-allow-override", b"1")], "refused"),
        ({"allow_upstream_key": True}, [REAL, OVERRIDE], "caller"),
        ({"allow_upstream_key": True}, [REAL, (b"x-ailink-allow-override", b"TRUE")], "caller"),
        # without it, there is nothing to decide
        ({}, [OVERRIDE], "ours"),
        ({"allow_upstream_key": True}, [OVERRIDE], "ours"),
        ({"passthrough": True}, [OVERRIDE], "none"),
    ],
)
@pytest.mark.parametrize("kind", ["model", "api"])
async def test_who_may_bring_a_key(
    call: Any,
    listener: Any,
    make_upstream: MakeUpstream,
    fields: dict[str, bool],
    headers: Headers,
    expected: str,
    kind: str,
) -> None:
    key = None if fields.get("passthrough") else BEARER
    own = make_upstream("openai" if kind == "model" else None, "https://api.example", key, generic=kind == "api")
    path = "/v1/chat/completions" if kind == "model" else "/x"
    body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}]}'
    answer = await call(grant(own, **fields), "POST", path, body, headers=headers)
    if expected == "refused":
        assert (answer.status, listener.asked) == (403, [])
        assert b"upstream_key_not_allowed" in answer.body
        return
    if expected == "none" and kind == "model":
        assert (answer.status, listener.asked) == (401, []), "a vendor would refuse it, and its words would be about us"
        assert b"X-Real-Authorization" in answer.body
        return
    sent = [value for name, value in listener.asked[0].headers if name == b"authorization"]
    assert sent == {"caller": [b"Bearer sk-of-the-caller"], "ours": [BEARER.value], "none": []}[expected]
    assert not {name for name, _ in listener.asked[0].headers} & {b"x-real-authorization", b"x-ailink-allow-override"}


@pytest.mark.parametrize(
    ("provider", "header", "value"),
    [
        ("openai", b"authorization", b"Bearer sk-of-the-caller"),
        ("anthropic", b"x-api-key", b"sk-of-the-caller"),
        ("gemini", b"x-goog-api-key", b"sk-of-the-caller"),
        (None, b"authorization", b"bearer sk-of-the-caller"),
    ],
)
def test_the_callers_key_goes_into_the_dialects_header(
    make_exchange: MakeExchange, make_upstream: MakeUpstream, provider: str | None, header: bytes, value: bytes
) -> None:
    exchange = make_exchange(headers=[(b"x-real-authorization", b"bearer sk-of-the-caller")])
    own = make_upstream(provider, "https://api.example", None)
    exchange.grant = grant(own, passthrough=True)
    assert caller_key(exchange, own) == Key(b"sk-of-the-caller", header, value)


async def test_the_callers_key_never_goes_where_the_token_does_not_point(
    call: Any, listener: Any, make_upstream: MakeUpstream
) -> None:
    own = make_upstream("anthropic", "https://api.example")
    openai = make_upstream("openai")
    body = b'{"model":"openai/gpt-4o","messages":[{"role":"user","content":"x"}]}'
    for holder in (
        grant(own, allow_upstream_key=True, project={"openai": openai}),
        grant(None, allow_upstream_key=True, project={"openai": openai}),
    ):
        answer = await call(holder, "POST", "/v1/chat/completions", body, headers=[REAL, OVERRIDE])
        assert answer.status == 403
    environment = Snapshot(environment={"openai": openai})
    anybody = grant(None, allow_upstream_key=True)
    answer = await call(
        anybody, "POST", "/v1/chat/completions", body, snapshot=environment, headers=[REAL, OVERRIDE]
    )
    assert answer.status == 403
    assert listener.asked == []


# --- what comes back ---------------------------------------------------------------------------------


def test_an_apis_answer_keeps_its_headers_but_those_of_its_hop(make_exchange: MakeExchange) -> None:
    sent = [
        (b"content-type", b"application/json"), (b"content-length", b"2"), (b"etag", b'"e"'), (b"location", b"/y"),
        (b"retry-after", b"3"), (b"x-ratelimit-remaining", b"9"), (b"www-authenticate", b"Basic"),
        (b"link", b"<a>"), (b"link", b"<b>"),
    ]  # fmt: skip
    stay = [
        (b"set-cookie", b"a=b"), (b"set-cookie2", b"a"), (b"x-ailink-cache", b"HIT"), (b"x_ailink_cache", b"HIT"),
        (b"x-request-id", b"theirs"), (b"transfer-encoding", b"chunked"), (b"connection", b"x-hop"),
        (b"connection", b"x-hop-2"), (b"x-hop", b"1"), (b"x-hop-2", b"1"), (b"keep-alive", b"timeout=5"),
        (b"upgrade", b"h2c"), (b"alt-svc", b"h3"), (b"server", b"s"), (b"date", b"d"), (b"trailer", b"t"),
    ]  # fmt: skip
    assert api_reply_headers(make_exchange(), Response(200, [*stay, *sent]), ()) == sent


def test_an_apis_limits_are_not_beside_those_of_the_call(make_exchange: MakeExchange) -> None:
    exchange = make_exchange()
    exchange.response_headers.append((b"x-ratelimit-limit-tokens", b"5"))
    headers = [(b"x-ratelimit-remaining", b"9"), (b"x_ratelimit_scope", b"s"), (b"etag", b"e")]
    assert api_reply_headers(exchange, Response(200, headers), ()) == [(b"etag", b"e")]


@pytest.mark.parametrize(("status", "kept"), [(200, True), (206, True), (404, True), (204, False), (304, False)])
def test_a_length_without_a_body_is_not_passed_on(make_exchange: MakeExchange, status: int, kept: bool) -> None:
    headers = api_reply_headers(make_exchange(), Response(status, [(b"content-length", b"5"), (b"etag", b"e")]), ())
    assert dict(headers) == {b"etag": b"e", **({b"content-length": b"5"} if kept else {})}


@pytest.mark.parametrize(
    ("injection", "secret", "echoes"),
    [
        ("bearer", b"sk-of-the-gateway", [b"sk-of-the-gateway", b"Bearer sk-of-the-gateway"]),
        ("basic", b"user:password", [b"Basic dXNlcjpwYXNzd29yZA==", b"user:password"]),
        ("header", b"sk-of-the-gateway", [b"sk-of-the-gateway"]),
        ("query", b"sk+of/ours=", [b"sk+of/ours=", b"sk%2Bof%2Fours%3D"]),
    ],
)
async def test_an_echo_of_the_injected_secret_is_masked_however_it_is_spelled(
    call: Any, listener: Any, make_upstream: MakeUpstream, injection: str, secret: bytes, echoes: list[bytes]
) -> None:
    key = inject(injection, secret, "x-shop-token" if injection == "header" else None, None)
    own = make_upstream(None, "https://api.example", key, generic=True)
    for echo in echoes:
        listener.answers.append(Response(200, [(b"location", b"/x?" + echo)], b"[" + echo + b"]"))
        answer = await call(grant(own), "GET", "/x")
        hidden = echo.rpartition(b" ")[2]
        assert hidden not in answer.body and hidden.decode() not in answer.headers["location"]
        assert len(answer.body) == len(echo) + 2
        mask = Mask(key.spellings)
        out = b"".join([mask.feed(bytes([byte])) for byte in b"[" + echo + b"]"]) + mask.close()
        assert out == masked(key.spellings, b"[" + echo + b"]")


async def test_an_echo_in_a_compressed_answer_is_masked(call: Any, listener: Any, make_upstream: MakeUpstream) -> None:
    own = make_upstream(None, "https://api.example", inject("bearer", b"sk-of-the-gateway", None, None), generic=True)
    body = gzip.compress(b"[sk-of-the-gateway]")
    length = (b"content-length", b"%d" % len(body))
    listener.answers.append(Response(200, [(b"content-encoding", b"gzip"), length, (b"etag", b"e")], body))
    answer = await call(grant(own), "GET", "/x")
    assert answer.body == b"[*****************]"
    assert answer.headers["etag"] == "e"
    assert not {"content-encoding", "content-length"} & answer.headers.keys()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
async def test_a_models_error_does_not_quote_our_key(
    call: Any, listener: Any, make_upstream: MakeUpstream, status: int
) -> None:
    own = make_upstream("openai", "https://api.example", inject("bearer", b"unlike-any-known-key", None, None))
    body = b'{"error":{"message":"Your key unlike-any-known-key is not what we want","type":"t"}}'
    listener.answers.append(Response(status, [(b"content-type", b"application/json")], body))
    request = b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}]}'
    answer = await call(grant(own), "POST", "/v1/chat/completions", request)
    assert answer.status >= 400 and b"unlike-any-known-key" not in answer.body


async def test_an_unknown_host_that_wants_a_key_wants_the_callers_where_we_have_none(
    call: Any, listener: Any, make_upstream: MakeUpstream
) -> None:
    body = b'{"model":"llama","messages":[{"role":"user","content":"x"}]}'
    listener.answers.append(Response(401, [], b'{"error":{"message":"No key","type":"t","param":null,"code":"c"}}'))
    own = make_upstream(None, "https://api.example", None)
    answer = await call(grant(own, passthrough=True), "POST", "/v1/chat/completions", body)
    assert (answer.status, answer.headers["x-ailink-error"]) == (401, "invalid_api_key")
    assert b"send the upstream's key as X-Real-Authorization" in answer.body


async def test_a_callers_key_that_is_refused_is_the_callers_affair(
    call: Any, listener: Any, make_upstream: MakeUpstream
) -> None:
    body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"x"}]}'
    refusal = b'{"error":{"message":"Incorrect API key","type":"invalid_request_error","param":null,"code":"invalid"}}'
    for key, headers, status in ((None, [REAL], 401), (BEARER, [], 502)):
        listener.answers.append(Response(401, [], refusal))
        own = make_upstream("openai", "https://api.example", key)
        answer = await call(
            grant(own, passthrough=key is None), "POST", "/v1/chat/completions", body, headers=headers
        )
        assert answer.status == status
        assert b"sk-of-the" not in answer.body
