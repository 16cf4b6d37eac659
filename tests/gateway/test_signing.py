"""Calls that are signed one by one: over what leaves, with what the store or the environment holds, and never shown."""

import asyncio
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ailink_gateway import tokens
from ailink_gateway.app import base_urls, snapshot
from ailink_gateway.backends import directory as module
from ailink_gateway.backends.directory import StoreDirectory
from ailink_gateway.backends.upstreams import reach
from ailink_gateway.control import unlock
from ailink_gateway.forward import sign
from ailink_gateway.grant import Grant, Key, Upstream
from ailink_gateway.settings import SettingsError, load
from ailink_gateway.store.credentials import insert_credential, update_credential
from ailink_gateway.store.store import Store
from ailink_gateway.store.tokens import insert_token
from ailink_gateway.vault import TOKEN_FINGERPRINTS, Vault, credential_place
from ailink_provider.auth import AWSSigV4Auth, Signed, Unusable
from ailink_provider.errors import Failure
from ailink_provider.providers import Given
from ailink_provider.registry import providers
from ailink_provider.service_account import GoogleServiceAccountAuth
from ailink_provider.testing.server import Received
from ailink_provider.transport import Origin, Request, Response
from tests.clouds import AWS_KEY, REGION, Cloud, Refused, check_signature

CHAT = {"messages": [{"role": "user", "content": "grüße ☔"}]}
CONVERSE = {"output": {"message": {"role": "assistant", "content": [{"text": "hi"}]}}, "stopReason": "end_turn",
            "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2}}  # fmt: skip
ANSWER = json.dumps(CONVERSE).encode()


def grant(own: Upstream | None = None, **fields: Any) -> Grant:
    return Grant(token_id="tok_a", token_name="a", project_id="p", own=own, **fields)


def received(request: Request) -> Received:
    """Return a request as the upstream would see it."""
    assert isinstance(request.body, bytes)
    headers = [("Host", request.url.host_header.decode())]
    headers += [(name.decode(), value.decode()) for name, value in request.headers]
    return Received(request.method, request.target.decode(), headers, request.body)


@pytest.fixture
def bedrock(listener: Any) -> Upstream:
    return reach(providers()["bedrock"], Given(AWS_KEY.stored, "", {"region": REGION}, listener))


# --- what leaves ---------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", ["anthropic.claude-v1:0", "arn:aws:bedrock:eu-central-1:1:inference-profile/eu.x:0"])
async def test_a_call_is_signed_over_what_leaves(
    call: Any, listener: Any, bedrock: Upstream, model: str, stream: bool
) -> None:
    listener.answers.append(Response(200, [], ANSWER))
    body = json.dumps({"model": f"bedrock/{model}", "stream": stream, **CHAT}, ensure_ascii=False).encode()
    await call(grant(project={"bedrock": bedrock}), "POST", "/v1/chat/completions", body)
    [request] = listener.asked
    assert request.url.host == f"bedrock-runtime.{REGION}.amazonaws.com"
    assert b":" not in request.target and request.target.endswith(b"/converse-stream" if stream else b"/converse")
    arrived = received(request)
    check_signature(arrived, AWS_KEY, REGION)
    assert [name for name, _ in arrived.raw_headers].count("authorization") == 1
    arrived.body += b" "
    with pytest.raises(Refused):
        check_signature(arrived, AWS_KEY, REGION)


async def test_the_callers_own_headers_are_no_part_of_a_signature(
    call: Any, listener: Any, bedrock: Upstream
) -> None:
    listener.answers.append(Response(200, [], ANSWER))
    headers = [(b"x-amz-security-token", b"theirs"), (b"X_Amz_Date", b"theirs"), (b"x-api-key", b"t")]
    await call(grant(bedrock), "POST", "/v1/chat/completions", json.dumps({"model": "m", **CHAT}).encode(),
               headers=headers)
    check_signature(received(listener.asked[0]), AWS_KEY, REGION)
    listener.answers.append(Response(200, [], b"{}"))
    await call(grant(bedrock, raw_paths=True), "PUT", "/x/y", b"raw", query=b"b=2&a=1", headers=headers)
    arrived = received(listener.asked[1])
    check_signature(arrived, AWS_KEY, REGION)
    assert (arrived.target, arrived.body) == ("/x/y?b=2&a=1", b"raw")
    assert "theirs" not in repr(arrived.raw_headers)


@pytest.mark.parametrize("secret", [AWS_KEY.id, AWS_KEY.secret, AWS_KEY.session])
@pytest.mark.parametrize("status", [200, 403])
async def test_no_part_of_a_key_comes_back(
    call: Any, listener: Any, bedrock: Upstream, secret: str, status: int
) -> None:
    echo = json.dumps({"message": f"The canonical request was: {secret}", **CONVERSE}).replace('"hi"', f'"{secret}"')
    listener.answers.append(Response(status, [], echo.encode()))
    answer = await call(grant(bedrock), "POST", "/v1/chat/completions", json.dumps({"model": "m", **CHAT}).encode())
    assert answer.status == (200 if status == 200 else 502)
    assert secret.encode() not in answer.body and secret not in repr(answer.headers)


async def test_what_is_added_to_the_query_is_sent_and_nothing_is_signed_for_a_static_key(
    make_upstream: Callable[..., Upstream],
) -> None:
    class Query:
        async def apply(self, *_: Any) -> Signed:
            return Signed({"x-k": "v"}, {"sig": "a b"}, ["a b"])

    def request() -> Request:
        return Request("GET", Origin.parse("https://x.test")[0], b"/p?a=1", [(b"X_K", b"theirs"), (b"y", b"1")])

    asked = request()
    upstream = make_upstream("openai", "https://x.test", None, auth=Query())
    assert await sign(asked, upstream) == [b"a b"]
    assert (asked.target, asked.headers) == (b"/p?a=1&sig=a%20b", [(b"y", b"1"), (b"x-k", b"v")])
    untouched = request()
    assert await sign(untouched, make_upstream("openai")) == ()
    assert untouched == request()


async def test_a_caller_without_a_credential_of_ours_is_not_signed_for(call: Any, listener: Any) -> None:
    for name, url, header in (
        ("bedrock", "https://bedrock-runtime.eu-west-1.amazonaws.com", (b"authorization", b"Bearer theirs-1")),
        ("azure", "https://mine.openai.azure.com", (b"api-key", b"theirs-1")),
    ):
        own = reach(providers()[name], Given("", url, {}, listener))
        await call(grant(own, passthrough=True), "POST", "/v1/chat/completions",
                   json.dumps({"model": "m", **CHAT}).encode(),
                   headers=[(b"x-real-authorization", b"Bearer theirs-1")])
        sent = listener.asked[-1].headers
        assert header in sent and not any(name.startswith(b"x-amz-") for name, _ in sent)


@pytest.mark.parametrize("operation", ["generateContent", "streamGenerateContent"])
async def test_a_moved_path_is_asked_where_it_lies(call: Any, listener: Any, operation: str) -> None:
    vertex = reach(providers()["vertex"], Given("", "", {"project": "p1", "location": "us-east5"}, listener))
    vertex = structs.replace(vertex, key=Key(b"ya29.a-token", b"authorization", b"Bearer ya29.a-token"))
    body = json.dumps({"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}).encode()
    query = b"alt=sse" if operation.startswith("stream") else b""
    await call(grant(project={"vertex": vertex}), "POST", f"/v1beta/models/vertex/gemini-2.5-pro:{operation}", body,
               query=query)
    target = f"/v1/projects/p1/locations/us-east5/publishers/google/models/gemini-2.5-pro:{operation}"
    assert listener.asked[0].target.decode() == target + (f"?{query.decode()}" if query else "")


# --- from the environment ------------------------------------------------------------------------


def settings(tmp_path: Path, **environment: str) -> Any:
    return load("serve", {"AILINK_MASTER_KEY": "0f1e2d3c4b5a69788796a5b4c3d2e1f00112a3b4c5d6e7f8091a2b3c4d5e6f70",
                          "AILINK_DATA_DIR": str(tmp_path), **environment})  # fmt: skip


def test_the_usual_variables_open_the_clouds(tmp_path: Path, listener: Any, account: str) -> None:
    (tmp_path / "account.json").write_text(account)
    (tmp_path / "secret").write_text(f"{AWS_KEY.secret}\n")
    environment = AWS_KEY.environment | {
        "AWS_REGION": REGION, "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "account.json"),
        "AZURE_OPENAI_API_KEY": "azure-key", "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/",
        "AWS_SECRET_ACCESS_KEY_FILE": str(tmp_path / "secret"),
    }  # fmt: skip
    del environment["AWS_SECRET_ACCESS_KEY"]
    made = settings(tmp_path, **environment)
    found = snapshot(made, listener, {}).environment
    assert {name: upstream.label for name, upstream in found.items()} == {
        "bedrock": f"https://bedrock-runtime.{REGION}.amazonaws.com",
        "azure": "https://mine.openai.azure.com/openai/v1",
        "vertex": "https://aiplatform.googleapis.com",
    }
    assert isinstance(found["bedrock"].auth, AWSSigV4Auth) and found["bedrock"].key is None
    assert isinstance(found["vertex"].auth, GoogleServiceAccountAuth)
    assert found["azure"].key == Key(b"azure-key", b"api-key", b"azure-key") and found["azure"].auth is None
    shown = f"{made!r} {made.providers!r} {found!r}"
    assert not any(secret in shown for secret in (AWS_KEY.secret, AWS_KEY.session, "azure-key", "PRIVATE"))


def test_without_variables_nothing_is_open(tmp_path: Path, listener: Any) -> None:
    made = settings(tmp_path, AWS_REGION=REGION, GOOGLE_CLOUD_PROJECT="p", AWS_ACCESS_KEY_ID="half")
    assert snapshot(made, listener, {}).environment == {}
    assert base_urls(made)["bedrock"] == "" and "azure" not in base_urls(made)


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        settings(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "none.json"))


async def test_a_key_that_cannot_be_used_is_the_calls_failure(
    tmp_path: Path, listener: Any, call: Any, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "account.json").write_text('{"project_id": "p", "type": "authorized_user", "refresh_token": "1//0s"}')
    made = settings(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "account.json"), OPENAI_API_KEY="sk-1")
    found = snapshot(made, listener, {})
    assert isinstance(found.environment["vertex"].auth, Unusable) and "openai" in found.environment
    body = json.dumps({"model": "vertex/gemini-2.5-pro", **CHAT}).encode()
    answer = await call(grant(), "POST", "/v1/chat/completions", body, snapshot=found)
    assert (answer.status, answer.headers["x-ailink-error"]) == (502, "credential_missing")
    assert b"client_email" in answer.body and not listener.asked
    assert "vertex" in caplog.text and "1//0s" not in caplog.text


# --- from the store ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("signing") / "ailink.db"
    store = Store(path)
    store.upgrade()
    unlock(store, Vault(bytes(range(32))))
    store.close()
    return path


@pytest.fixture(scope="module")
def account() -> str:
    """A service account's key file as Google makes it."""
    return Cloud.account(Cloud(), token_uri="https://oauth2.googleapis.com/token")


class World:
    """A store with a vault, and the directory on it."""

    def __init__(self, path: Path, sender: Any) -> None:
        self.store, self.vault = Store(path), Vault(bytes(range(32)))
        unlock(self.store, self.vault)
        urls = {name: "" if row.opener else row.base_url for name, row in providers().items() if row.base_url}
        settings = {"bedrock": {"region": REGION}}
        self.directory = StoreDirectory(self.store, self.vault, sender, urls, settings=settings)

    def credential(self, provider: str, secret: str, **fields: Any) -> str:
        name = f"cred_{provider}"
        row = {"id": name, "project_id": "default", "name": name, "provider": provider, "created_at": 1.0,
               "key_id": self.vault.key_id, "sealed": self.seal(name, secret), **fields}  # fmt: skip
        self.store.call(insert_credential, row)
        return name

    def seal(self, name: str, secret: str) -> bytes:
        return self.vault.seal(secret.encode(), credential_place("default", name))

    async def granted(self, **fields: Any) -> Grant:
        secret = tokens.mint("default")
        parsed = tokens.parse(secret)
        assert parsed is not None
        key = self.vault.derive(TOKEN_FINGERPRINTS)
        row = {"id": parsed.id, "project_id": "default", "name": parsed.id, "created_at": 1.0, "is_active": True,
               "fingerprint": tokens.fingerprint(key, secret), "allowed_models": [], "scopes": [], "policy_ids": [],
               "raw_paths": False, "allow_upstream_key": False, "strict_parameters": False, "circuit_breaker": {},
               **fields}  # fmt: skip
        self.store.call(insert_token, row)
        return await self.directory.find(secret)


@pytest.fixture
def world(prepared: Path, tmp_path: Path, listener: Any) -> Iterator[World]:
    shutil.copy(prepared, tmp_path / "ailink.db")
    world = World(tmp_path / "ailink.db", listener)
    yield world
    world.store.close()


async def test_a_stored_key_may_be_either_kind(world: World) -> None:
    world.credential("bedrock", AWS_KEY.stored)
    found = (await world.granted()).project["bedrock"]
    assert (found.label, repr(found.auth)) == (f"https://bedrock-runtime.{REGION}.amazonaws.com",
                                               f"AWSSigV4Auth({REGION}, bedrock)")
    await world.store.change(update_credential, "cred_bedrock", {"sealed": world.seal("cred_bedrock", "ABSK-key")})
    found = (await world.granted()).project["bedrock"]
    assert (found.key, found.auth) == (Key(b"ABSK-key", b"authorization", b"Bearer ABSK-key"), None)


async def test_a_tokens_own_address_names_the_region(world: World) -> None:
    credential = world.credential("bedrock", AWS_KEY.stored)
    url = "https://bedrock-runtime.ap-south-1.amazonaws.com"
    own = (await world.granted(upstream_url=url, credential_id=credential)).own
    assert own is not None and own.provider is not None and own.provider.name == "bedrock"
    assert repr(own.auth) == "AWSSigV4Auth(ap-south-1, bedrock)"


async def test_azures_key_goes_into_azures_header(world: World) -> None:
    credential = world.credential("azure", "azure-key")
    own = (await world.granted(upstream_url="https://mine.openai.azure.com", credential_id=credential)).own
    assert own is not None and own.models == "/openai/v1"
    assert own.key == Key(b"azure-key", b"api-key", b"azure-key")


async def test_how_a_credential_is_injected_wins_over_the_providers_way(world: World, account: str) -> None:
    bedrock = world.credential("bedrock", "a-token", injection="header", header_name="X-Mine")
    url = "https://bedrock-runtime.ap-south-1.amazonaws.com"
    own = (await world.granted(upstream_url=url, credential_id=bedrock)).own
    assert own is not None and (own.key, own.auth) == (Key(b"a-token", b"x-mine", b"a-token"), None)
    vertex = world.credential("vertex", "ya29.a-token", injection="bearer")
    own = (await world.granted(upstream_url="https://aiplatform.googleapis.com", credential_id=vertex)).own
    assert own is not None and isinstance(own.auth, Unusable), "there is no project"


async def test_what_signs_is_kept_while_its_credential_is_the_same(world: World, account: str) -> None:
    world.credential("vertex", account)
    first = (await world.granted()).project["vertex"]
    world.credential("openai", "sk-1")  # a change: every grant is compiled anew
    await world.store.change(update_credential, "cred_openai", {"name": "other"})
    second = (await world.granted()).project["vertex"]
    assert second is not first and second.auth is first.auth, "the access token is still good"
    sealed = world.seal("cred_vertex", account.replace("key-1", "key-2"))
    await world.store.change(update_credential, "cred_vertex", {"sealed": sealed})
    assert (await world.granted()).project["vertex"].auth is not first.auth


async def test_what_signs_is_kept_in_bounded_number(
    world: World, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SIGNERS", 2)
    credential = world.credential("bedrock", AWS_KEY.stored)
    for number in range(4):
        url = f"https://bedrock-runtime.r-{number}.amazonaws.com"
        await world.granted(upstream_url=url, credential_id=credential)
    assert len(world.directory._signers) == 2


async def test_one_broken_credential_breaks_no_other(world: World) -> None:
    world.credential("vertex", "not-a-key-file")
    world.credential("bedrock", "AKID:")
    world.credential("openai", "sk-1")
    found = (await world.granted()).project
    assert found["openai"].key is not None
    for name in ("vertex", "bedrock"):
        auth = found[name].auth
        assert isinstance(auth, Unusable)
        with pytest.raises(Failure) as caught:
            await auth.apply("POST", "https://x.test/", {}, b"")
        assert caught.value.code == "credential_missing"


async def test_a_token_for_many_calls_is_fetched_once_over_the_gateways_own_transport(
    world: World, account: str, call: Any, listener: Any
) -> None:
    world.credential("vertex", account)
    granted = await world.granted()
    reply = {"candidates": [{"content": {"role": "model", "parts": [{"text": "ya29.secret-token"}]},
                             "finishReason": "STOP"}]}  # fmt: skip

    async def answer(request: Request, deadline: float | None = None) -> Response:
        listener.asked.append(request)
        await asyncio.sleep(0)
        body = {"access_token": "ya29.secret-token", "expires_in": 3600} if request.target == b"/token" else reply
        return Response(200, [], json.dumps(body).encode())

    listener.send = answer
    body = json.dumps({"model": "vertex/gemini-2.5-pro", **CHAT}).encode()
    answers = await asyncio.gather(*[call(granted, "POST", "/v1/chat/completions", body) for _ in range(5)])
    assert [answer.status for answer in answers] == [200] * 5
    assert [request.url.host for request in listener.asked].count("oauth2.googleapis.com") == 1
    assert not any(b"ya29" in answer.body for answer in answers), "an echo of it is masked"
    sent = [dict(request.headers) for request in listener.asked if request.target != b"/token"]
    assert {headers[b"authorization"] for headers in sent} == {b"Bearer ya29.secret-token"}
    assert not any(b"x-goog-api-key" in headers for headers in sent)
