"""Bad input, from outside: whatever is sent, the client is told in its own shape, nothing leaks, and a record stays."""

import json
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from typing import Any
from urllib.parse import quote_plus

import httpx2
import pytest

from ailink import AIlinkClient
from ailink_gateway.tokens import mint
from ailink_provider.testing import KEYS, MockUpstream

from .clients import CLIENTS, Client, Secrets, refused, send_raw
from .conftest import Caller, Gateway

LIMIT = 25 * 1024 * 1024
MODELS = [client.model for client in CLIENTS]
RecordOf = Callable[[str], Any]
Unauthorized = Callable[[Iterable[httpx2.Response]], None]
MakeToken = Callable[..., str]
Act = Callable[..., httpx2.Response]

every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)


def untouched(upstream: MockUpstream, record_of: RecordOf, status: int, code: str, *request_ids: str) -> None:
    """Check that calls were recorded as refused before anything was sent."""
    assert not upstream.requests
    assert request_ids
    for record in map(record_of, request_ids):
        assert (record.status, record.error_code, record.outcome) == (status, code, "failed"), record
        assert (record.upstream_status, record.cost_usd) == (None, None), record


def compact(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()


# --- bodies ----------------------------------------------------------------------------------------

# A body, made from one that is right.
BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "nothing": lambda body: b"",
    "truncated": lambda body: body[: len(body) // 2],
    "an array": lambda body: b"[%b]" % body,
    "a string": lambda body: b'"text"',
    "null": lambda body: b"null",
    "a byte order mark": lambda body: b"\xef\xbb\xbf" + body,
    "not UTF-8": lambda body: body.replace(b'"hi"', b'"h\xe9"'),
    "half a surrogate pair": lambda body: body.replace(b'"hi"', b'"\\ud800"'),
    "a control character": lambda body: body.replace(b'"hi"', b'"h\x00i"'),
    "something behind it": lambda body: body + b"x",
    "two documents": lambda body: body + body,
    "NaN": lambda body: body.replace(b"{", b'{"top_p":NaN,', 1),
    "Infinity": lambda body: body.replace(b"{", b'{"top_p":-Infinity,', 1),
    "a number of 5,000 digits": lambda body: body.replace(b"{", b'{"seed":%b,' % (b"9" * 5000), 1),
    "10,000 brackets": lambda body: body.replace(b"{", b'{"x":%b%b,' % (b"[" * 10_000, b"]" * 10_000), 1),
    "10,000 braces": lambda body: body.replace(b"{", b'{"x":%b1%b,' % (b'{"a":' * 10_000, b"}" * 10_000), 1),
    "100,000 open brackets": lambda body: b"[" * 100_000,
    "a key twice": lambda body: body.replace(b"{", b'{"stream":true,"stream":false,', 1),
    "a key twice, spelled apart": lambda body: body.replace(b"{", b'{"stream":true,"stre\\u0061m":false,', 1),
}


@every_client
class TestBodies:
    """What is no chat is refused before anything is sent."""

    def test_broken_json(
        self, client: Client, call: Caller, upstream: MockUpstream, record_of: RecordOf, subtests: pytest.Subtests
    ) -> None:
        plain, seen = compact(client.body(client.model)), []
        for name, spoil in BROKEN.items():
            with subtests.test(name):
                seen.append(refused(client, call(client, content=spoil(plain)), 400, "invalid_request"))
        untouched(upstream, record_of, 400, "invalid_request", *seen)

    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
    def test_what_only_a_translator_reads(
        self, client: Client, call: Caller, upstream: MockUpstream, stream: bool
    ) -> None:
        """Deep in a body that another vendor gets: a key that stands twice, a number beyond all numbers."""
        for model in set(MODELS) - {client.model}:
            plain = compact(client.body(model, stream))
            for content in (
                plain.replace(b'"role":', b'"role":"assistant","role":', 1),
                plain.replace(b"{", b'{"metadata":{"a":1e999},', 1),
                plain.replace(b"{", b'{"metadata":{"a":-1e999},', 1),
            ):
                refused(client, call(client, model, stream=stream, content=content), 400, "invalid_request")
        assert not upstream.requests

    def test_too_large(
        self, client: Client, call: Caller, gateway: Gateway, token: str, upstream: MockUpstream, record_of: RecordOf
    ) -> None:
        path = client.path(client.model)
        declared = send_raw(
            gateway.url,
            f"POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Length: {LIMIT + 1}\r\n\r\n".encode(),
        )
        assert declared.headers["connection"] == "close", "nobody reads what would still come"
        seen = [refused(client, declared, 413, "payload_too_large")]

        def chunks() -> Iterator[bytes]:
            for _ in range(LIMIT // 65536):
                yield b" " * 65536
            yield b" "

        seen.append(refused(client, call(client, content=chunks()), 413, "payload_too_large"))
        untouched(upstream, record_of, 413, "payload_too_large", *seen)

        refused(client, call(client, content=b" " * LIMIT), 400, "invalid_request")  # large enough, and not JSON

    def test_compressed(self, client: Client, call: Caller, upstream: MockUpstream, record_of: RecordOf) -> None:
        answers = [call(client, headers={"Content-Encoding": coding}) for coding in ("gzip", "br", "GZIP, identity")]
        seen = [refused(client, answer, 415, "invalid_request") for answer in answers]
        untouched(upstream, record_of, 415, "invalid_request", *seen)

    def test_cut_short(
        self, client: Client, gateway: Gateway, token: str, call: Caller, upstream: MockUpstream
    ) -> None:
        """A client that leaves before its request is complete costs nothing."""
        head = f"POST {client.path(client.model)} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n"
        with pytest.raises(ConnectionError):
            send_raw(gateway.url, f"{head}Content-Length: 100\r\n\r\n{{".encode(), half_close=True)
        assert call(client).status_code == 200
        assert len(upstream.requests) == 1


# What has the wrong type, in the words of each client.
MISTYPED: dict[str, list[dict[str, Any]]] = {
    "openai": [
        {"model": 5},
        {"model": ""},
        {"model": ["gpt-4o"]},
        {"model": "a\nb"},
        {"model": "m" * 300},
        {"stream": "yes"},
        {"messages": None},
        {"messages": "hi"},
        {"messages": []},
        {"messages": [1]},
        {"messages": [{"role": "user", "content": {"a": 1}}]},
        {"messages": [{"role": "alien", "content": "hi"}]},
        {"max_tokens": "many"},
        {"temperature": "hot"},
        {"stop": 5},
        {"tools": {"a": 1}},
        {"tool_choice": 7},
        {"response_format": []},
    ],
    "anthropic": [
        {"model": 5},
        {"model": ""},
        {"stream": "yes"},
        {"messages": None},
        {"messages": "hi"},
        {"messages": []},
        {"messages": [1]},
        {"messages": [{"role": "user", "content": {"a": 1}}]},
        {"messages": [{"role": "alien", "content": "hi"}]},
        {"max_tokens": "many"},
        {"max_tokens": -1},
        {"system": 5},
        {"tools": {"a": 1}},
        {"tool_choice": 7},
    ],
    "gemini": [
        {"contents": None},
        {"contents": 5},
        {"contents": []},
        {"contents": [1]},
        {"contents": [{"role": "alien", "parts": [{"text": "hi"}]}]},
        {"systemInstruction": 5},
        {"generationConfig": []},
        {"tools": 5},
        {"toolConfig": 7},
    ],
}
# Arguments of a tool call in the history that are not what the model could have said.
BAD_ARGUMENTS: dict[str, dict[str, Any]] = {
    "openai": {
        "messages": [
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{broken"}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "done"},
        ]
    },
    "anthropic": {
        "messages": [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "f", "input": "{broken"}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "done"}]},
        ]
    },
    "gemini": {
        "contents": [
            {"role": "user", "parts": [{"text": "hi"}]},
            {"role": "model", "parts": [{"functionCall": {"name": "f", "args": "{broken"}}]},
            {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "done"}}}]},
        ]
    },
}


@every_client
class TestFields:
    """What has the wrong type or meaning, whoever is to get it."""

    @pytest.mark.parametrize("model", MODELS)
    def test_wrong_types(self, client: Client, call: Caller, upstream: MockUpstream, model: str) -> None:
        for fields in MISTYPED[client.name]:
            answer = call(client, model, content=compact({**client.body(model), **fields}))
            refused(client, answer, 400, "invalid_request")
        if model != client.model:
            assert not upstream.requests, "a translator sends nothing that it could not read"

    def test_tool_arguments(self, client: Client, call: Caller, upstream: MockUpstream, record_of: RecordOf) -> None:
        models = set(MODELS) - {client.model, "gpt-4o"}  # OpenAI takes any text
        answers = [
            call(client, model, stream=stream, **BAD_ARGUMENTS[client.name])
            for model in models
            for stream in (False, True)
        ]
        seen = [refused(client, answer, 400, "invalid_request") for answer in answers]
        untouched(upstream, record_of, 400, "invalid_request", *seen)

    def test_unsupported_are_named(self, client: Client, call: Caller, upstream: MockUpstream) -> None:
        model, fields, named = UNSUPPORTED[client.name]
        answer = call(client, model, **fields)
        assert answer.status_code == 200
        assert client.play(answer) == "echo: hi"
        assert named in answer.headers["x-ailink-warning"]
        assert named not in upstream.requests[-1].body.decode()
        upstream.assert_clean()
        assert "x-ailink-warning" not in call(client, model).headers

    def test_unsupported_are_refused_where_the_token_says_so(
        self, client: Client, call: Caller, make_token: MakeToken, upstream: MockUpstream, record_of: RecordOf
    ) -> None:
        strict, seen = make_token(strict_parameters=True), []
        model, fields, named = UNSUPPORTED[client.name]
        for stream in (False, True):
            answer = call(client, model, stream=stream, token=strict, **fields)
            seen.append(refused(client, answer, 400, "unsupported_parameter"))
            assert named in client.told(answer.json()).message
        untouched(upstream, record_of, 400, "unsupported_parameter", *seen)
        assert call(client, model, token=strict).status_code == 200


# A model of another vendor, what it cannot be told, and the name by which the client knows it.
UNSUPPORTED: dict[str, tuple[str, dict[str, Any], str]] = {
    "openai": ("claude-opus-4-6", {"logit_bias": {"50256": -100}}, "logit_bias"),
    "anthropic": ("gpt-4o", {"top_k": 5}, "top_k"),
    "gemini": (
        "gpt-4o",
        {"generationConfig": {"mediaResolution": "MEDIA_RESOLUTION_LOW"}},
        "generationConfig.mediaResolution",
    ),
}


# --- who calls -------------------------------------------------------------------------------------


@every_client
class TestWho:
    """Whoever cannot be told, or is not let in, is 401 in every shape."""

    @pytest.fixture
    def unauthorized(
        self, client: Client, call: Caller, gateway: Gateway, upstream: MockUpstream, record_of: RecordOf
    ) -> Callable[[Iterable[httpx2.Response]], None]:
        """Check that these were refused, that nothing was sent, and that none is in the audit: anyone could fill it."""

        def check(answers: Iterable[httpx2.Response]) -> None:
            seen = []
            for answer in answers:
                seen.append(refused(client, answer, 401, "invalid_api_key"))
                assert client.told(answer.json()).message.startswith("Invalid API key: ")
            assert seen and not upstream.requests
            assert record_of(call(client).headers["x-request-id"]), "what came before it is there by now"
            for request_id in seen:
                assert call.request("GET", f"/api/v1/audit/{request_id}", token=gateway.admin_key).status_code == 404

        return check

    def test_strangers(self, client: Client, call: Caller, unauthorized: Unauthorized) -> None:
        strangers: list[dict[str, str]] = [
            {},
            {"Authorization": "Bearer nonsense"},
            {"Authorization": f"Bearer {'x' * 30_000}"},
            {"Authorization": "Basic dXNlcjpwYXNz"},
            {"Authorization": "Bearer"},
            {"Authorization": f"Bearer {mint('default')[:-1]}"},
            {"Authorization": f"Bearer {mint('default')}"},
            {"x-api-key": "sk-somebody-elses"},
            {"x-goog-api-key": mint("elsewhere")},
        ]
        answers = [call(client, token="", headers=headers) for headers in strangers]
        unauthorized(answers)

    def test_tokens_that_have_ended(
        self,
        client: Client,
        call: Caller,
        admin: AIlinkClient,
        make_token: MakeToken,
        upstream: MockUpstream,
        unauthorized: Unauthorized,
    ) -> None:
        revoked, rotated, inactive, expiring = (make_token() for _ in range(4))
        for token in (revoked, rotated, inactive, expiring):
            assert call(client, token=token).status_code == 200
        admin.tokens.revoke(revoked)
        admin.tokens.rotate(rotated)
        admin.tokens.update(inactive, is_active=False)
        end = time.time() + 0.2
        admin.tokens.update(expiring, expires_at=end)
        while (answer := call(client, token=expiring)).status_code == 200:
            assert time.time() < end + 5
        upstream.forget()
        answers = [answer, *(call(client, token=token) for token in (revoked, rotated, inactive))]
        unauthorized(answers)
        admin.tokens.update(inactive, is_active=True)
        assert call(client, token=inactive).status_code == 200

    def test_two_at_once(
        self, client: Client, call: Caller, gateway: Gateway, token: str, make_token: MakeToken,
        unauthorized: Unauthorized,
    ) -> None:  # fmt: skip
        other = make_token()
        pairs = {"x-api-key": other, "x-goog-api-key": other, "X-API-Key": gateway.admin_key, "X-Admin-Key": other}
        answers = [call(client, headers={name: value}) for name, value in pairs.items()]
        unauthorized(answers)
        assert call(client, headers={"x-api-key": token}).status_code == 200, "the same one twice is one"

    def test_an_admin_key_calls_no_model(
        self, client: Client, call: Caller, gateway: Gateway, unauthorized: Unauthorized
    ) -> None:
        carriers = {"Authorization": f"Bearer {gateway.admin_key}", "X-Admin-Key": gateway.admin_key}
        answers = [call(client, token="", headers={name: value}) for name, value in carriers.items()]
        unauthorized(answers)


def test_a_key_in_the_query_is_gemini_s_alone(
    call: Caller, token: str, make_token: MakeToken, upstream: MockUpstream, record_of: RecordOf
) -> None:
    openai, anthropic, gemini = CLIENTS
    path = gemini.path(gemini.model)
    answer = call.request("POST", f"{path}?key={token}", token="", json=gemini.body(gemini.model))
    assert gemini.play(answer) == "echo: hi"
    assert upstream.requests[-1].query == []
    assert token not in record_of(answer.headers["x-request-id"]).path
    other = make_token()
    answer = call.request("POST", f"{path}?key={other}", json=gemini.body(gemini.model))
    refused(gemini, answer, 401, "invalid_api_key")
    for client in (openai, anthropic):
        answer = call.request(
            "POST", f"{client.path(client.model)}?key={token}", token="", json=client.body(client.model)
        )
        refused(client, answer, 401, "invalid_api_key")


# --- models and routes -----------------------------------------------------------------------------


@every_client
class TestModels:
    """A model that is not there, not allowed or without a key."""

    @pytest.mark.parametrize(
        ("model", "status", "code"),
        [
            ("nothing-like-it", 404, "model_not_found"),
            ("a/b/c", 404, "model_not_found"),
            ("openrouter/gpt-4o", 502, "credential_missing"),
        ],
    )
    def test_unknown(
        self, client: Client, call: Caller, upstream: MockUpstream, record_of: RecordOf, model: str, status: int,
        code: str,
    ) -> None:  # fmt: skip
        seen = [refused(client, call(client, model, stream=stream), status, code) for stream in (False, True)]
        untouched(upstream, record_of, status, code, *seen)
        assert {record_of(request_id).requested_model for request_id in seen} == {model}

    def test_not_allowed(
        self, client: Client, call: Caller, make_token: MakeToken, upstream: MockUpstream, record_of: RecordOf
    ) -> None:
        token, seen = make_token(allowed_models=["gpt-4o-mini"]), []
        for stream in (False, True):
            answer = call(client, token=token, stream=stream)
            seen.append(refused(client, answer, 403, "policy_denied"))
            assert "gpt-4o-mini" in client.told(answer.json()).message
        untouched(upstream, record_of, 403, "policy_denied", *seen)


def test_names_of_models_in_paths(call: Caller, upstream: MockUpstream, record_of: RecordOf) -> None:
    gemini, seen = CLIENTS[2], []
    long = "gemini-" + "g" * 60_000
    for model in (long, "gemini-x%2F..%2F..%2Fupload", "gemini-%00", "gemini-%0d%0aX:%20y", "%20"):
        answer = call.request("POST", f"/v1beta/models/{model}:generateContent", json=gemini.body(""))
        assert answer.status_code in (400, 404), model
        seen.append(answer.headers["x-request-id"])
    assert not upstream.requests
    for request_id in seen:
        record = record_of(request_id)
        assert record.upstream_status is None
        assert len(record.requested_model or "") <= 256


METHODS = [
    ("GET", "/v1/chat/completions", "openai"),
    ("PATCH", "/chat/completions", "openai"),
    ("DELETE", "/v1/embeddings", "openai"),
    ("POST", "/v1/models", "openai"),
    ("OPTIONS", "/v1/completions", "openai"),
    ("PUT", "/v1/messages", "anthropic"),
    ("GET", "/v1/messages/count_tokens", "anthropic"),
    ("GET", "/v1beta/models/gemini-2.5-flash:generateContent", "gemini"),
    ("DELETE", "/v1beta/models/gemini-2.5-flash:countTokens", "gemini"),
    ("POST", "/v1beta/models", "gemini"),
]
CLOSED = [
    "/v1/files", "/v1/files/file-1/content", "/v1/uploads", "/v1/batches", "/v1/fine_tuning/jobs",
    "/v1/images/generations", "/v1/audio/speech", "/v1/moderations", "/v1/realtime", "/v1/proxy/services/crm/contacts",
]  # fmt: skip


class TestRoutes:
    """Wrong methods, closed routes and no routes, with a token that reaches models and with none."""

    def test_wrong_methods(
        self, call: Caller, upstream: MockUpstream, record_of: RecordOf, subtests: pytest.Subtests
    ) -> None:
        seen = []
        for method, path, name in METHODS:
            with subtests.test(f"{method} {path}"):
                client = next(client for client in CLIENTS if client.name == name)
                response = call.request(method, path)
                seen.append(refused(client, response, 405, "method_not_allowed"))
                assert response.headers["allow"] == ("GET" if path.endswith("/models") else "POST")
        untouched(upstream, record_of, 405, "method_not_allowed", *seen)

    @pytest.mark.parametrize("method", ["GET", "POST"])
    def test_not_found(
        self, call: Caller, upstream: MockUpstream, record_of: RecordOf, subtests: pytest.Subtests, method: str
    ) -> None:
        seen = []
        for path in (*CLOSED, "/nowhere", "/", "/v1"):
            with subtests.test(path):
                seen.append(refused(CLIENTS[0], call.request(method, path), 404, "not_found"))
                refused(CLIENTS[0], call.request(method, path, token=""), 401, "invalid_api_key")
        untouched(upstream, record_of, 404, "not_found", *seen)

    def test_a_verb_that_gemini_does_not_have(self, call: Caller, upstream: MockUpstream) -> None:
        answer = call.request("POST", "/v1beta/models/gemini-2.5-flash:conquer")
        refused(CLIENTS[2], answer, 404, "not_found")
        assert not upstream.requests

    def test_a_mistyped_management_path(
        self, call: Caller, gateway: Gateway, make_token: MakeToken, upstream: MockUpstream
    ) -> None:
        for headers in ({"X-Admin-Key": gateway.admin_key}, {"Authorization": f"Bearer {gateway.admin_key}"}):
            answer = call.request("POST", "/api/v1/token", token="", headers=headers)
            assert (answer.status_code, answer.headers["x-ailink-error"]) == (404, "not_found")
            assert answer.json()["detail"] == "There is nothing at /api/v1/token. Did you mean /api/v1/tokens?"
        for key in ("", "nonsense", f"ailink_admin_{'x1' * 20}", mint("default")):
            assert call.request("GET", "/api/v1/token", token=key).status_code == 401
        assert not upstream.requests
        token = make_token("generic", upstream_url=upstream.url())
        assert call.request("GET", "/api/v1/token", token=token).status_code == 200, "it is its upstream's"

    def test_a_vendor_s_other_routes(
        self, call: Caller, make_token: MakeToken, upstream: MockUpstream, record_of: RecordOf
    ) -> None:
        token = make_token("openai", upstream_url=upstream.url("/v1"))
        paths = ("/v1/organization/users", "/v1/dashboard/billing", "/v1/assistants")
        answers = [call.request("GET", path, token=token) for path in paths]
        seen = [refused(CLIENTS[0], answer, 403, "policy_denied") for answer in answers]
        untouched(upstream, record_of, 403, "policy_denied", *seen)


# --- the action gateway ----------------------------------------------------------------------------


@pytest.fixture
def act(gateway: Gateway, make_token: MakeToken, upstream: MockUpstream, known_secrets: Secrets) -> Act:
    """Return a function that sends raw requests with a token for a plain API."""
    own = make_token("generic", "sk_rest_secret_4711", upstream_url=upstream.url("/base"))

    def send(
        target: bytes, *lines: bytes, method: bytes = b"GET", body: bytes = b"", token: str = own
    ) -> httpx2.Response:
        head = [b"%b %b HTTP/1.1" % (method, target), b"Host: h", b"Authorization: Bearer " + token.encode(), *lines]
        answer = send_raw(gateway.url, b"\r\n".join(head) + b"\r\n\r\n" + body)
        assert not known_secrets.found(answer.content + repr(answer.headers.raw).encode())
        return answer

    return send


class TestPaths:
    """A path is forwarded as it was sent, or refused: it never means another one to the upstream than to us."""

    CLIMBING = (
        b"/../x", b"/a/..", b"/a/../../etc/passwd", b"/./a", b"/a/%2e%2e/b", b"/a/.%2E/b", b"/a/%2e/b",
        b"/a%2fb", b"/a%2Fb", b"/a%5cb", b"/a\\b", b"/a/..%5cb", b"/a;b", b"/a/..;/b", b"/a%3Bb", b"/a%00b",
        b"/a/%252e%252e/b", b"/a%252fb", b"/a%25%32%66b", b"/a%0d%0aX-Evil:%201", b"/a%0ab", b"/a%7f",
        b"/a/%c0%ae%c0%ae/b", b"/a/%u002e%u002e/b", b"/a%", b"/a%2",
    )  # fmt: skip

    def test_that_climb_or_hide(
        self, act: Act, upstream: MockUpstream, record_of: RecordOf, subtests: pytest.Subtests
    ) -> None:
        seen = []
        for path in self.CLIMBING:
            with subtests.test(path.decode()):
                answer = act(path)
                seen.append(refused(CLIENTS[0], answer, 400, "invalid_request"))
                assert answer.json()["error"]["param"] == "path"
        untouched(upstream, record_of, 400, "invalid_request", *seen)

    @pytest.mark.parametrize("path", [b"/a\x00b", b"/a\x01b", b"/a b", b"/a\xffb", b"/caf\xc3\xa9", b"relative"])
    def test_that_are_not_http(self, act: Act, upstream: MockUpstream, path: bytes) -> None:
        assert act(path).status_code == 400
        assert not upstream.requests

    @pytest.mark.parametrize(
        "path", [b"/v1/customers", b"/a..b", b"/a%20b", b"/caf%C3%A9", b"/a+b~c", b"//evil.example/x", b"/a//b", b"/"]
    )
    def test_that_are_kept(self, act: Act, upstream: MockUpstream, path: bytes) -> None:
        assert act(path + b"?q=%2e%2e&r=a;b").status_code == 200
        assert upstream.requests[-1].target.encode() == b"/base" + path + b"?q=%2e%2e&r=a;b"

    def test_another_host_in_the_request_line(self, act: Act, upstream: MockUpstream) -> None:
        assert act(b"http://evil.example/x").status_code == 200
        assert upstream.requests[-1].headers["host"] == f"127.0.0.1:{upstream.port}"
        assert upstream.requests[-1].target == "/base/x"

    @pytest.mark.parametrize("method", [b"CONNECT", b"FOO", b"get"])
    def test_methods_that_are_not_forwarded(self, act: Act, upstream: MockUpstream, method: bytes) -> None:
        assert act(b"/x", method=method).status_code == 400
        assert not upstream.requests


class TestHeaders:
    """One credential goes out, ours; what belongs to this hop, or to the gateway, stays."""

    def sent(self, upstream: MockUpstream) -> dict[str, str]:
        upstream.assert_clean()
        standing = {"host", "accept-encoding", "connection"}
        return {name: value for name, value in upstream.requests[-1].headers.items() if name not in standing}

    OURS = {"authorization": "Bearer sk_rest_secret_4711"}

    @pytest.mark.parametrize(
        "lines",
        [
            [b"X-Forwarded-For: 1.1.1.1", b"X-Forwarded-Host: evil", b"X_Forwarded_Proto: http", b"Forwarded: for=1"],
            [b"X-Api-Key: evil", b"X_Api_Key: evil", b"x-goog_api-key: evil", b"Api-Key: evil"],
            [b"Cookie: a=b", b"Cookie2: a=b", b"Via: 1.1 evil"],
            [b"Proxy-Authorization: Basic eA==", b"Proxy-Foo: 1", b"TE: trailers", b"Keep-Alive: 5", b"Trailer: X"],
            [b"X-AILink-Agent-Name: a", b"X_AILink_Guardrails: none", b"X-Session-ID: s", b"X-Parent-Span-ID: p"],
            [b"X-User-ID: root", b"Prefer: wait=1", b"Idempotency-Key: k", b"traceparent: nonsense"],
            [b"Upgrade: websocket", b"Connection: Upgrade"],
            [b"Connection: keep-alive, X-Secret", b"X-Secret: 1"],
            [b"Connection: X-Secret", b"X-Secret: 1", b"Connection: keep-alive"],
            [b"Connection: x_secret", b"X-Secret: 1"],
            [b"Connection: Authorization"],
        ],
        ids=lambda lines: lines[0].decode(),
    )
    def test_that_stay(self, act: Act, upstream: MockUpstream, lines: list[bytes]) -> None:
        assert act(b"/x", b"X-Own: 1", *lines).status_code == 200
        assert self.sent(upstream) == {**self.OURS, "x-own": "1"}

    def test_a_second_authorization(self, act: Act, make_token: MakeToken, upstream: MockUpstream) -> None:
        for second in (b"Bearer " + make_token().encode(), b"Basic eA=="):
            refused(CLIENTS[0], act(b"/x", b"Authorization: " + second), 401, "invalid_api_key")
        assert not upstream.requests
        assert act(b"/x", b"Authorization: Bearer sk-somebody-elses").status_code == 200
        assert self.sent(upstream) == self.OURS

    @pytest.mark.parametrize("name", [b"X-Custom-Key", b"x_custom_key", b"X-Custom_Key"])
    def test_one_with_the_name_of_the_injected(
        self, act: Act, make_token: MakeToken, upstream: MockUpstream, name: bytes
    ) -> None:
        own = {"injection": "header", "header_name": "X-Custom-Key"}
        token = make_token("generic", "sk_header_secret", own, upstream_url=upstream.url())
        answer = act(b"/x", name + b": evil", token=token)
        assert answer.status_code == 200
        assert self.sent(upstream) == {"x-custom-key": "sk_header_secret"}

    def test_a_parameter_with_the_name_of_the_injected(
        self, act: Act, make_token: MakeToken, upstream: MockUpstream
    ) -> None:
        own = {"injection": "query", "query_name": "api_key"}
        token = make_token("generic", "sk_query+/secret", own, upstream_url=upstream.url())
        assert act(b"/x?api_key=evil&a=1&api%5Fkey=evil&a=%32", token=token).status_code == 200
        assert upstream.requests[-1].target == "/x?a=1&a=%32&api_key=sk_query%2B%2Fsecret"
        assert self.sent(upstream) == {}

    def test_an_echo_of_the_injected(self, act: Act, make_token: MakeToken, upstream: MockUpstream) -> None:
        """The API answers with the headers that it got: no spelling of the secret comes through (``act`` looks)."""
        token = make_token("generic", "user:a-long-passw0rd", {"injection": "basic"}, upstream_url=upstream.url())
        answer = act(b"/x", token=token)
        assert self.sent(upstream) == {"authorization": "Basic dXNlcjphLWxvbmctcGFzc3cwcmQ="}
        assert set(answer.json()["headers"]["authorization"].removeprefix("Basic ")) == {"*"}

    def test_a_key_that_the_caller_may_not_bring(self, act: Act, upstream: MockUpstream, record_of: RecordOf) -> None:
        answer = act(b"/x", b"X-Real-Authorization: Bearer mine", b"X-AILink-Allow-Override: true")
        request_id = refused(CLIENTS[0], answer, 403, "policy_denied")
        assert answer.json()["error"]["reason"] == "upstream_key_not_allowed"
        untouched(upstream, record_of, 403, "policy_denied", request_id)

    @pytest.mark.parametrize(
        "lines",
        [
            [b"Content-Length: 5", b"Transfer-Encoding: chunked"],
            [b"Content-Length: 1", b"Content-Length: 2"],
            [b"Content-Length: -1"],
            [b"Content-Length: +1"],
            [b"Content-Length: 99999999999999999999999"],
            [b"Transfer-Encoding: xchunked"],
            [b"X-A: a\x00b"],
            [b"X-A: a\r\n folded"],
            [b"X-A: a\rX-B: b"],
            [b"X-A: a\nX-B: b"],
            [b"X A: 1"],
            [b"X-A : 1"],
            [b": 1"],
        ],
        ids=lambda lines: repr(b" + ".join(lines)),
    )
    def test_that_frame_a_request_twice_or_break_lines(
        self, act: Act, upstream: MockUpstream, lines: list[bytes]
    ) -> None:
        assert act(b"/x", *lines, method=b"POST", body=b"0\r\n\r\nGET /y HTTP/1.1\r\n\r\n").status_code == 400
        assert not upstream.requests

    @pytest.mark.parametrize("lines", [
        [b"Transfer-Encoding: gzip, chunked"], [b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"],
        [b"Transfer-Encoding: chunked", b"Content-Encoding: deflate", b"Content-Encoding: identity"],
    ])  # fmt: skip
    def test_a_coding_beside_chunked(self, act: Act, upstream: MockUpstream, lines: list[bytes]) -> None:
        answer = act(b"/x", *lines, method=b"POST", body=b"0\r\n\r\n")
        refused(CLIENTS[0], answer, 415, "invalid_request")
        assert not upstream.requests

    def test_trailers_are_no_headers(self, act: Act, upstream: MockUpstream) -> None:
        body = b"1\r\na\r\n0\r\nX-Smuggled: 1\r\nContent-Type: text/evil\r\nAuthorization: Bearer x\r\n\r\n"
        act(b"/x", b"Transfer-Encoding: chunked", method=b"POST", body=body)
        assert self.sent(upstream) == {**self.OURS, "content-length": "1"}


def test_a_secret_is_found_however_it_is_spelled(known_secrets: Secrets) -> None:
    """The search that every journey ends with would find one."""
    for key in KEYS.values():
        sent = f"Bearer {key}".encode()
        for spelled in (sent, quote_plus(key).encode(), sent.hex().encode(), b64encode(b"x" + sent + b"yz")):
            assert known_secrets.found(b'{"said": "' + spelled + b'"}') == [key]
    assert not known_secrets.found(b"nothing of the kind")
