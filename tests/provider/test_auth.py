"""How requests are signed, against what botocore signs and against a real token server; and that no value shows."""

import asyncio
import base64
import builtins
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from ailink_provider import service_account
from ailink_provider.auth import (
    APIKeyAuth,
    Auth,
    AWSSigV4Auth,
    BasicAuth,
    BearerTokenAuth,
    ChainedAuth,
    NoAuth,
    Signed,
)
from ailink_provider.errors import Failure
from ailink_provider.service_account import GoogleServiceAccountAuth
from ailink_provider.transport import Request, Response

URL = "https://api.example.test/v1/things?page=1"
SIGV4 = json.loads((Path(__file__).parent / "golden/sigv4.json").read_text("utf-8"))


async def signed(auth: Auth, url: str = URL, headers: dict[str, str] | None = None, body: bytes = b"{}") -> Signed:
    return await auth.apply("POST", url, headers or {}, body)


# --- fixed values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("auth", "headers", "query"), [
    (APIKeyAuth("sk-1"), {"authorization": "Bearer sk-1"}, {}),
    (APIKeyAuth("sk-1", header="X-API-Key"), {"x-api-key": "sk-1"}, {}),
    (APIKeyAuth("sk-1", query="api_key"), {}, {"api_key": "sk-1"}),
    (APIKeyAuth("sk-1", "X-Key", "key"), {"x-key": "sk-1"}, {"key": "sk-1"}),
    (BearerTokenAuth("tok"), {"authorization": "Bearer tok"}, {}),
    (BasicAuth("Aladdin", "open sesame"), {"authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}, {}),
    (BasicAuth("test", "123£"), {"authorization": "Basic dGVzdDoxMjPCow=="}, {}),
    (NoAuth(), {}, {}),
    (ChainedAuth(), {}, {}),
    (ChainedAuth(APIKeyAuth("k", query="key"), APIKeyAuth("v", header="x-v"), BearerTokenAuth("t"), BasicAuth("u", "")),
     {"x-v": "v", "authorization": "Basic dTo="}, {"key": "k"}),
])
async def test_what_is_added(auth: Auth, headers: dict[str, str], query: dict[str, str]) -> None:
    added = await signed(auth)
    assert (added.headers, added.query) == (headers, query)


async def test_what_is_added_once_is_not_the_next_one_s() -> None:
    auth = APIKeyAuth("sk-1")
    (await signed(auth)).headers["authorization"] = "spoilt"
    assert (await signed(auth)).headers == {"authorization": "Bearer sk-1"}


@pytest.mark.parametrize(("query", "url"), [
    ({}, URL), ({"key": "a b&c=/é"}, f"{URL}&key=a%20b%26c%3D%2F%C3%A9"),
])
def test_parameters_are_added_to_a_url(query: dict[str, str], url: str) -> None:
    assert Signed({}, query).onto(URL) == url
    assert Signed({}, {"k": "v"}).onto("https://a.test/p#f") == "https://a.test/p?k=v#f"


@pytest.mark.parametrize("make", [
    lambda: APIKeyAuth(""), lambda: APIKeyAuth("a\r\nx-evil: 1"), lambda: APIKeyAuth("schlüssel"),
    lambda: BearerTokenAuth("\x00"), lambda: BasicAuth("", "p"), lambda: BasicAuth("a:b", "p"),
    lambda: AWSSigV4Auth("", "s", "us-east-1", "bedrock"), lambda: AWSSigV4Auth("k", "", "us-east-1", "bedrock"),
    lambda: AWSSigV4Auth("k", "s", "", "bedrock"), lambda: AWSSigV4Auth("k", "s", "us-east-1/x", "bedrock"),
    lambda: AWSSigV4Auth("k", "s", "us-east-1", "Bedrock"), lambda: AWSSigV4Auth("k", "s", "us-east-1", "b", "a\nb"),
])
def test_a_value_that_cannot_be_sent_is_refused(make: Callable[[], Auth]) -> None:
    with pytest.raises(Failure) as caught:
        make()
    assert caught.value.code == "credential_missing"
    assert not any(word in caught.value.message for word in ("evil", "schl", "a:b"))


# --- AWS -------------------------------------------------------------------------------------------------------------


def aws(case: dict[str, Any]) -> AWSSigV4Auth:
    return AWSSigV4Auth(SIGV4["access_key_id"], SIGV4["secret_access_key"], case["region"], case["service"],
                        case["session_token"], clock=lambda: case["time"] + 0.9)


@pytest.mark.parametrize("name", SIGV4["requests"])
async def test_it_signs_as_botocore_does(name: str) -> None:
    case = SIGV4["requests"][name]
    added = await aws(case).apply(case["method"], case["url"], case["headers"], case["body"].encode())
    assert added.headers == case["added"]
    assert added.query == {}


async def test_a_key_is_derived_anew_each_day() -> None:
    case, moments = SIGV4["requests"]["the root"], [0.0]
    auth = AWSSigV4Auth("k", "s", case["region"], case["service"], clock=lambda: moments[0])
    fresh = []
    for moments[0] in (0.0, 86_400.0, 0.0):
        fresh.append((await signed(auth)).headers["authorization"])
        assert fresh[-1] == (await signed(AWSSigV4Auth("k", "s", case["region"], case["service"],
                                                       clock=lambda: moments[0]))).headers["authorization"]
    assert fresh[0] == fresh[2] != fresh[1]


async def test_a_chain_signs_what_was_added_before() -> None:
    case = SIGV4["requests"]["a query out of order"]
    whole = await ChainedAuth(APIKeyAuth("v w", query="k"), APIKeyAuth("m", header="X-Amz-Meta"), aws(case)).apply(
        "GET", URL, {}, b"")
    alone = await aws(case).apply("GET", f"{URL}&k=v%20w", {"x-amz-meta": "m"}, b"")
    assert whole.headers["authorization"] == alone.headers["authorization"]
    assert "host;x-amz-date;x-amz-meta" in whole.headers["authorization"]


@settings(max_examples=60, deadline=None)
@given(st.text("ab/.%~ é:", max_size=12), st.text("ab=&%+", max_size=8),
       st.dictionaries(st.text(), st.text(), max_size=2))
def test_whatever_is_signed_is_signed(path: str, query: str, headers: dict[str, str]) -> None:
    auth = aws(SIGV4["requests"]["the root"])
    added = asyncio.run(auth.apply("GET", f"https://a.test/{path}?{query}", headers, b""))
    assert added.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/")


# --- Google ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(key: Any) -> str:
    return str(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                 serialization.NoEncryption()).decode())


class TokenServer:
    """A token endpoint on loopback. ``answers`` are status and body, the last one for good; ``gate`` lets them out."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, list[str]]]] = []
        self.answers: list[tuple[int, bytes]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.arrived = asyncio.Event()
        self.origin = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line)
        form = parse_qs((await reader.readexactly(length)).decode())
        self.asked.append((head.split(b"\r\n")[0].decode(), form))
        self.arrived.set()
        await self.gate.wait()
        status, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if status:
            head = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % (status, len(body))
            writer.write(head + body)
            await writer.drain()
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def tokens() -> AsyncIterator[TokenServer]:
    server = TokenServer()
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.origin = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    server.answers = [(200, b'{"access_token":"ya29.first","expires_in":3600,"token_type":"Bearer"}')]
    yield server
    listening.close()
    await listening.wait_closed()


@pytest.fixture
def account(tokens: TokenServer, key: rsa.RSAPrivateKey) -> Callable[..., GoogleServiceAccountAuth]:
    """Makes an account whose token server is ours."""
    def make(clock: Callable[[], float] = lambda: 1_000_000.0, **changes: Any) -> GoogleServiceAccountAuth:
        info = {"type": "service_account", "client_email": "robot@project.test", "private_key": pem(key),
                "private_key_id": "key-1", "token_uri": f"{tokens.origin}/token", **changes}
        return GoogleServiceAccountAuth(info, ("scope-a", "scope-b"), token_origins=(tokens.origin,), clock=clock)

    return make


def decoded(part: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


async def test_an_assertion_is_exchanged_for_a_token(tokens: Any, account: Any, key: rsa.RSAPrivateKey) -> None:
    assert (await signed(account())).headers == {"authorization": "Bearer ya29.first"}
    ((line, form),) = tokens.asked
    assert line == "POST /token HTTP/1.1"
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    header, claims, signature = form["assertion"][0].split(".")
    assert decoded(header) == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}
    assert decoded(claims) == {"iss": "robot@project.test", "scope": "scope-a scope-b", "iat": 1_000_000,
                               "exp": 1_003_600, "aud": f"{tokens.origin}/token"}
    proof = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    key.public_key().verify(proof, f"{header}.{claims}".encode(), padding.PKCS1v15(), SHA256())


async def fetched(auth: GoogleServiceAccountAuth) -> None:
    """Wait for what is fetched at this moment, and for whoever is told."""
    if auth._fetching is not None:
        await asyncio.wait([auth._fetching])
        await asyncio.sleep(0)


async def test_a_token_is_renewed_while_it_still_serves(tokens: Any, account: Any) -> None:
    tokens.answers.append((200, b'{"access_token":"ya29.second","expires_in":30}'))
    now = [1000.0]
    auth = account(clock=lambda: now[0])
    seen = []
    for now[0] in (1000.0, 4539.9, 4540.0, 4540.0, 4554.9, 4560.0):
        many = await asyncio.gather(*[signed(auth) for _ in range(5)])
        await fetched(auth)
        seen.append(({added.headers["authorization"] for added in many}, len(tokens.asked)))
    assert seen == [({"Bearer ya29.first"}, 1), ({"Bearer ya29.first"}, 1), ({"Bearer ya29.first"}, 2),
                    ({"Bearer ya29.second"}, 2), ({"Bearer ya29.second"}, 2), ({"Bearer ya29.second"}, 3)]


async def test_a_renewal_that_fails_takes_no_good_token_away(tokens: Any, account: Any) -> None:
    tokens.answers += [(503, b"{}"), (503, b"{}"), (503, b"{}")]
    now = [1000.0]
    auth = account(clock=lambda: now[0])
    seen = []
    for now[0] in (1000.0, 4540.0, 4541.0, 4545.0, 4589.9):
        assert (await signed(auth)).headers == {"authorization": "Bearer ya29.first"}
        await fetched(auth)
        seen.append(len(tokens.asked))
    assert seen == [1, 2, 2, 3, 4], "it is asked again, and not by every call"
    now[0] = 4590.0  # it may run out before it arrives
    with pytest.raises(Failure) as caught:
        await signed(auth)
    assert caught.value.code == "upstream_auth"


async def test_however_many_wait_it_is_asked_for_once(tokens: Any, account: Any) -> None:
    tokens.gate.clear()
    auth = account()
    waiting = [asyncio.create_task(signed(auth)) for _ in range(20)]
    await tokens.arrived.wait()
    waiting[0].cancel()
    tokens.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert {answer.headers["authorization"] for answer in answers[1:]} == {"Bearer ya29.first"}
    assert len(tokens.asked) == 1


async def test_a_failure_is_shared_and_not_kept(tokens: Any, account: Any) -> None:
    tokens.answers.insert(0, (503, b"<html>busy</html>"))
    tokens.gate.clear()
    auth = account()
    waiting = [asyncio.create_task(signed(auth)) for _ in range(5)]
    await tokens.arrived.wait()
    tokens.gate.set()
    answers = await asyncio.gather(*waiting, return_exceptions=True)
    assert {answer.code for answer in answers} == {"upstream_auth"}
    assert len(tokens.asked) == 1
    assert (await signed(auth)).headers == {"authorization": "Bearer ya29.first"}


@pytest.mark.parametrize(("status", "body", "said"), [
    (400, b'{"error":"invalid_grant","error_description":"Invalid JWT: eyJhbG"}', "(invalid_grant)"),
    (401, b'{"error":{"message":"secret"}}', "the service account: check"),
    (403, b'{"error":"<script>"}', "the service account: check"),
    (429, b"{}", "429"),
    (500, b"[]", "500"),
    (302, b"", "302"),
    (200, b'{"access_token":""}', "200"),
    (200, b'{"access_token":7}', "200"),
    (200, b'{"access_token":"a\\r\\nb"}', "200"),
    (200, b"[" * 2000, "200"),
    (0, b"", "could not be reached"),
])
async def test_no_token_is_a_failure(tokens: Any, account: Any, status: int, body: bytes, said: str) -> None:
    tokens.answers = [(status, body)]
    with pytest.raises(Failure) as caught:
        await signed(account())
    assert (caught.value.code, said in caught.value.message) == ("upstream_auth", True)
    assert not any(word in caught.value.message for word in ("eyJ", "secret", "script", "127.0.0.1"))


async def test_a_token_server_that_does_not_answer(
    tokens: Any, account: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_account, "_TOKEN_SECONDS", 0.05)
    tokens.gate.clear()
    with pytest.raises(Failure, match="did not answer in time") as caught:
        await signed(account())
    assert caught.value.code == "upstream_auth"
    tokens.gate.set()


async def test_a_token_is_asked_for_over_what_carries_the_calls(key: rsa.RSAPrivateKey) -> None:
    class Carrier:
        sent: list[Request] = []

        async def send(self, request: Request, deadline: float | None = None) -> Response:
            self.sent.append(request)
            return Response(200, [], b'{"access_token":"ya29.carried","expires_in":3600}')

    info = {"client_email": "a@b.test", "private_key": pem(key), "token_uri": "https://oauth2.googleapis.com/token"}
    carrier = Carrier()
    auth = GoogleServiceAccountAuth(info, sender=carrier)
    added = await signed(auth)
    assert (added.headers, added.secrets) == ({"authorization": "Bearer ya29.carried"}, ("ya29.carried",))
    assert [(str(request.url), request.target) for request in carrier.sent] == [
        ("https://oauth2.googleapis.com", b"/token")]
    assert (await signed(auth)).headers == added.headers and len(carrier.sent) == 1


@pytest.mark.parametrize("lifetime", [b"0", b"-5", b'"3600"', b"null", b"true", b"1.5"])
async def test_a_lifetime_that_is_none_keeps_nothing(tokens: Any, account: Any, lifetime: bytes) -> None:
    tokens.answers = [(200, b'{"access_token":"t","expires_in":%s}' % lifetime)]
    auth = account()
    for _ in range(2):
        assert (await signed(auth)).headers == {"authorization": "Bearer t"}
    assert len(tokens.asked) == 2


@pytest.mark.parametrize("change", [
    {"client_email": None}, {"client_email": 7}, {"private_key": ""}, {"private_key": "-----BEGIN PRIVATE KEY-----"},
    {"private_key": "schlüssel"}, {"token_uri": "https://evil.test/token"}, {"token_uri": "http://127.0.0.1/token"},
    {"private_key": pem(ec.generate_private_key(ec.SECP256R1()))},
])
def test_a_key_file_that_is_none_is_refused(account: Any, change: dict[str, Any]) -> None:
    with pytest.raises(Failure) as caught:
        account(**change)
    assert caught.value.code == "credential_missing"
    assert not any(word in caught.value.message for word in ("BEGIN", "schl", "evil"))


def test_a_token_is_asked_of_google_alone(key: rsa.RSAPrivateKey) -> None:
    info = {"client_email": "a@b.test", "private_key": pem(key)}
    GoogleServiceAccountAuth({**info, "token_uri": "https://oauth2.googleapis.com/token"})
    for place in ("https://oauth2.googleapis.com.evil.test/token", "http://oauth2.googleapis.com/token",
                  "https://169.254.169.254/token", "https://oauth2.googleapis.com/\r\ntoken"):
        with pytest.raises(Failure, match="token_uri"):
            GoogleServiceAccountAuth({**info, "token_uri": place})


async def test_a_missing_package_is_named(account: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    really = builtins.__import__

    def without(name: str, *rest: Any, **named: Any) -> Any:
        if name.split(".")[0] == "cryptography":
            raise ImportError(name)
        return really(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(Failure, match="needs the package 'cryptography'") as caught:
        account()
    assert caught.value.code == "credential_missing"


# --- secrets ---------------------------------------------------------------------------------------------------------


async def test_no_value_shows(account: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    google = account()
    auths: list[Auth] = [
        APIKeyAuth("SECRET-1"), APIKeyAuth("SECRET-2", header="x-key", query="key"), BearerTokenAuth("SECRET-3"),
        BasicAuth("user", "SECRET-4"), AWSSigV4Auth("AKIDSECRET", "SECRET-5", "us-east-1", "bedrock", "SECRET-6"),
        google, NoAuth()]
    auths.append(ChainedAuth(*auths))
    shown = []
    for auth in auths:
        added = await signed(auth)
        shown += [repr(auth), str(auth), f"{auth}", repr(added), str(added)]
    text = " ".join([*shown, caplog.text])
    assert not any(word in text for word in ("SECRET", "U0VDUkVU", "ya29", "PRIVATE", "robot@", "Signature="))
    assert "APIKeyAuth(x-key, key)" in shown
    assert repr(auths[-1]).startswith("ChainedAuth(APIKeyAuth(authorization), APIKeyAuth(x-key, key)")
    assert "AWSSigV4Auth(us-east-1, bedrock)" in shown
    assert not any(hasattr(auth, "__dict__") for auth in auths)
