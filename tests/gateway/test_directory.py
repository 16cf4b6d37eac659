"""From a token to its grant, on a real store: the right keys, never another's, and nothing kept past a change."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from time import time
from typing import Any

import pytest
from sqlalchemy import Connection, update

from ailink_gateway import tokens
from ailink_gateway.backends import directory as module
from ailink_gateway.backends.directory import StoreDirectory
from ailink_gateway.backends.ledger import MemoryLedger
from ailink_gateway.control import unlock
from ailink_gateway.grant import Breaker, Key
from ailink_gateway.ports import Spent
from ailink_gateway.store.credentials import insert_credential
from ailink_gateway.store.policies import attach_to_project, insert_policy, update_policy
from ailink_gateway.store.prices import insert_price
from ailink_gateway.store.projects import delete_project, insert_project
from ailink_gateway.store.services import insert_service, update_service
from ailink_gateway.store.spend import remove_limit, set_limit
from ailink_gateway.store.store import Store
from ailink_gateway.store.tables import credentials
from ailink_gateway.store.tables import tokens as token_rows
from ailink_gateway.store.tokens import insert_token, revoke_token, rotate_token, update_token
from ailink_gateway.vault import TOKEN_FINGERPRINTS, Vault, credential_place
from ailink_provider.errors import Failure
from ailink_provider.prices import own_price
from ailink_provider.registry import providers
from tests.gateway.rows import insert_records

BASE_URLS = {name: provider.base_url for name, provider in providers().items() if provider.base_url}
MASTER_KEY = bytes(range(32))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("directory") / "ailink.db"
    store = Store(path)
    store.upgrade()
    unlock(store, Vault(MASTER_KEY))
    store.call(insert_project, "other", "Other", 1.0)
    store.close()
    return path


class World:
    """A store with a vault, and the directory on it. ``reads`` counts what the directory asks of the store."""

    def __init__(self, path: Path, sender: Any) -> None:
        self.store = Store(path)
        self.vault = Vault(MASTER_KEY)
        unlock(self.store, self.vault)
        self.sender = sender
        self.reads = 0
        self.meanwhile: Callable[[], Any] | None = None
        read = self.store.read

        async def counted(*args: Any) -> Any:
            self.reads += 1
            found = await read(*args)
            if self.meanwhile is not None:
                change, self.meanwhile = self.meanwhile, None
                await change()
            return found

        self.store.read = counted  # type: ignore[method-assign]
        self.directory = self.make()

    def make(self, **options: Any) -> StoreDirectory:
        return StoreDirectory(self.store, self.vault, self.sender, BASE_URLS, **options)

    def credential(
        self, number: int, provider: str = "generic", secret: str = "", project: str = "default", **fields: Any
    ) -> str:
        name = f"cred_{number}"
        place = credential_place(project, name)
        row = {
            "id": name, "project_id": project, "name": name, "provider": provider, "key_id": self.vault.key_id,
            "injection": "bearer" if provider == "generic" else None, "created_at": float(number),
            "sealed": self.vault.seal((secret or f"secret-{number}").encode(), place), **fields,
        }  # fmt: skip
        self.store.call(insert_credential, row)
        return name

    def token(self, project: str = "default", **fields: Any) -> str:
        secret = tokens.mint(project)
        parsed = tokens.parse(secret)
        assert parsed is not None
        row = {
            "id": parsed.id, "project_id": project, "name": parsed.id, "fingerprint": self.fingerprint(secret),
            "allowed_models": [], "scopes": [], "policy_ids": [], "raw_paths": False, "allow_upstream_key": False,
            "strict_parameters": False, "circuit_breaker": {}, "is_active": True, "created_at": 1.0, **fields,
        }  # fmt: skip
        self.store.call(insert_token, row)
        return secret

    def fingerprint(self, secret: str) -> bytes:
        return tokens.fingerprint(self.vault.derive(TOKEN_FINGERPRINTS), secret)

    async def refused(self, secret: str) -> str:
        with pytest.raises(Failure) as caught:
            await self.directory.find(secret)
        assert (caught.value.code, caught.value.status) == ("invalid_api_key", 401)
        assert secret not in caught.value.message
        return caught.value.message


@pytest.fixture
def world(prepared: Path, tmp_path: Path, listener: Any) -> Iterator[World]:
    path = tmp_path / "ailink.db"
    shutil.copy(prepared, path)
    world = World(path, listener)
    yield world
    world.store.close()


def public(secret: str) -> str:
    parsed = tokens.parse(secret)
    assert parsed is not None
    return parsed.id


# --- what a grant is made of -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "provider", "expected", "dialect", "key"),
    [
        # a vendor is known by its host, which decides the dialect and where the key goes
        ("https://api.openai.com/v1", "openai", "openai", "openai_chat", (b"authorization", b"Bearer secret-1")),
        ("https://api.anthropic.com", "anthropic", "anthropic", "anthropic_messages", (b"x-api-key", b"secret-1")),
        ("https://generativelanguage.googleapis.com", "gemini", "gemini", "gemini", (b"x-goog-api-key", b"secret-1")),
        # or by its credential's provider
        ("https://proxy.example/claude", "anthropic", "anthropic", "anthropic_messages", (b"x-api-key", b"secret-1")),
        # a generic credential says itself how it is injected, also on a vendor's host
        ("https://api.stripe.example/v1", "generic", None, "openai_chat", (b"authorization", b"Bearer secret-1")),
        ("https://api.openai.com/v1", "generic", "openai", "openai_chat", (b"authorization", b"Bearer secret-1")),
    ],
)
async def test_the_tokens_own_upstream(
    world: World, url: str, provider: str, expected: str | None, dialect: str, key: tuple[bytes, bytes]
) -> None:
    grant = await world.directory.find(world.token(upstream_url=url, credential_id=world.credential(1, provider)))
    own = grant.own
    assert own is not None and own.dialect.name == dialect and own.sender is world.sender
    assert (own.provider.name if own.provider else None) == expected
    assert own.key == Key(b"secret-1", *key)
    assert own.generic is (expected is None)
    assert not grant.passthrough


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"injection": "basic"}, Key(b"secret-1", b"authorization", b"Basic c2VjcmV0LTE6")),
        ({"injection": "header", "header_name": "X-Shop"}, Key(b"secret-1", b"x-shop", b"secret-1")),
        ({"injection": "query", "query_name": "token"}, Key(b"secret-1", query="token")),
    ],
)
@pytest.mark.parametrize("provider", ["generic", "openai"])
async def test_a_credential_may_say_how_it_is_injected(
    world: World, fields: dict[str, str], key: Key, provider: str
) -> None:
    credential = world.credential(1, provider, **fields)
    grant = await world.directory.find(world.token(upstream_url="https://x.example", credential_id=credential))
    assert grant.own is not None and grant.own.key == key


async def test_a_vendors_key_never_goes_to_another_vendor(world: World) -> None:
    credential = world.credential(1, "openai")
    token = world.token(upstream_url="https://api.anthropic.com", credential_id=credential)
    with pytest.raises(Failure, match="is for openai, but its upstream is anthropic's") as caught:
        await world.directory.find(token)
    assert caught.value.code == "credential_missing"


async def test_an_upstream_without_a_credential_is_passthrough(world: World) -> None:
    world.credential(1, "openai")
    grant = await world.directory.find(world.token(upstream_url="https://api.openai.com/v1"))
    assert grant.passthrough and grant.own is not None and grant.own.key is None


async def test_a_credential_without_an_upstream_serves_its_provider(world: World) -> None:
    world.credential(9, "openai", "the-projects")
    credential = world.credential(1, "openai", "the-tokens")
    grant = await world.directory.find(world.token(credential_id=credential))
    assert grant.own is None and not grant.passthrough
    key = grant.project["openai"].key
    assert key is not None and key.secret == b"the-tokens"


async def test_a_credential_of_a_provider_without_an_address_reaches_nothing_and_breaks_nothing(world: World) -> None:
    assert "ollama" not in BASE_URLS
    credential = world.credential(1, "ollama")
    grant = await world.directory.find(world.token(credential_id=credential))
    assert grant.own is None and grant.project == {}


async def test_of_a_providers_credentials_the_newest_serves(world: World) -> None:
    for number in (2, 3, 1):
        world.credential(number, "openai")
    world.credential(4, "generic")
    grant = await world.directory.find(world.token())
    assert {name: upstream.key.secret for name, upstream in grant.project.items() if upstream.key} == {
        "openai": b"secret-3"
    }
    assert grant.project["openai"].label == "https://api.openai.com/v1"


async def test_another_projects_credentials_are_never_in_a_grant(world: World) -> None:
    world.credential(1, "openai", project="other")
    world.credential(2, "anthropic")
    mine = await world.directory.find(world.token())
    theirs = await world.directory.find(world.token("other"))
    assert (set(mine.project), set(theirs.project)) == ({"anthropic"}, {"openai"})
    assert (mine.project_id, theirs.project_id) == ("default", "other")


async def test_a_grant_carries_what_the_token_says(world: World) -> None:
    future = time() + 1000
    secret = world.token(
        default_model="m", allowed_models=["gpt-*"], raw_paths=True, allow_upstream_key=True, strict_parameters=True,
        expires_at=future,
    )  # fmt: skip
    grant = await world.directory.find(secret)
    assert (grant.token_id, grant.default_model, grant.allowed_models) == (public(secret), "m", ("gpt-*",))
    assert (grant.raw_paths, grant.allow_upstream_key, grant.strict, grant.expires_at) == (True, True, True, future)


async def test_a_secret_that_was_moved_does_not_open(world: World) -> None:
    first, second = world.credential(1, "openai"), world.credential(2, "anthropic")

    def swap(connection: Connection) -> None:
        sealed = world.vault.seal(b"stolen", credential_place("default", first))
        connection.execute(update(credentials).where(credentials.c.id == second).values(sealed=sealed))

    world.store.call(swap)
    with pytest.raises(Failure, match="does not open"):
        await world.directory.find(world.token(upstream_url="https://x.example", credential_id=second))


async def test_a_grant_and_the_directory_show_no_secret(world: World) -> None:
    credential = world.credential(1, "openai", "sk-very-secret")
    secret = world.token(upstream_url="https://api.openai.com/v1", credential_id=credential)
    grant = await world.directory.find(secret)
    assert grant.own is not None
    for thing in (grant, grant.own, grant.own.key, world.directory):
        assert "very-secret" not in repr(thing) and secret not in repr(thing)


# --- who is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a provider's own key"),
        ("sk-proj-0123456789", "not a provider's own key"),
        ("ailink_admin_0123456789", "an admin key does not call models"),
        ("ailink_v1_", "check digits"),
        ("\x80\xff", "not a provider's own key"),
        ("x" * 1_000_000, "not a provider's own key"),
    ],
)
async def test_garbage_is_refused_before_any_look_up(world: World, text: str, said: str) -> None:
    with pytest.raises(Failure) as caught:
        await world.directory.find(text)
    assert caught.value.code == "invalid_api_key" and said in caught.value.message
    assert len(caught.value.message) < 200
    assert world.reads == 0


async def test_a_mistyped_token_is_refused_before_any_look_up(world: World) -> None:
    secret = world.token()
    for place in (-1, -20, 20):
        wrong = secret[:place] + ("0" if secret[place] != "0" else "1") + (secret[place + 1 :] if place != -1 else "")
        assert "check digits" in await world.refused(wrong)
    assert world.reads == 0


async def test_an_unknown_token_is_looked_up_once(world: World) -> None:
    stranger = tokens.mint("default")
    assert "unknown" in await world.refused(stranger)
    assert "unknown" in await world.refused(stranger)
    assert world.reads == 1


async def test_a_known_id_with_another_secret_is_unknown(world: World) -> None:
    secret = world.token()
    await world.directory.find(secret)
    assert "unknown" in await world.refused(tokens.mint("default", public(secret)))


@pytest.mark.parametrize(
    ("fields", "said"),
    [({"is_active": False}, "inactive"), ({"revoked_at": 2.0}, "revoked"), ({"expires_at": 2.0}, "expired")],
)
async def test_a_token_that_may_not_call_is_told_why(world: World, fields: dict[str, Any], said: str) -> None:
    secret = world.token(**fields)
    assert said in await world.refused(secret)
    assert said in await world.refused(secret)
    assert world.reads == 1


async def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNKNOWN", 3)
    monkeypatch.setattr(module, "GRANTS", 2)
    for _ in range(5):
        await world.refused(tokens.mint("default"))
    known = [world.token() for _ in range(4)]
    for secret in known:
        await world.directory.find(secret)
    assert (len(world.directory._unknown), len(world.directory._grants)) == (3, 2)
    assert world.directory.cached(known[0]) is None
    assert world.directory.cached(known[-1]) is not None


async def test_guesses_push_no_good_token_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "UNKNOWN", 1)
    secret = world.token()
    grant = await world.directory.find(secret)
    for _ in range(3):
        await world.refused(tokens.mint("default"))
    assert world.directory.cached(secret) is grant


# --- what is kept ------------------------------------------------------------------------------------


async def test_a_grant_is_compiled_once(world: World) -> None:
    secret = world.token()
    assert world.directory.cached(secret) is None
    grant = await world.directory.find(secret)
    assert world.directory.cached(secret) is grant
    assert world.reads == 1


async def test_no_two_tokens_share_a_slot(world: World) -> None:
    one, other = world.token(), world.token("other")
    await world.directory.find(one)
    body = one[: len(one) - 6]
    for near in (other, one[:-1], one + "0", one.upper(), f" {one}", tokens.mint("default", public(one)), body, ""):
        assert world.directory.cached(near) is None
    assert (await world.directory.find(other)).token_id == public(other)
    found = world.directory.cached(one)
    assert found is not None and found.token_id == public(one)


async def test_a_change_bites_before_its_call_returns(world: World) -> None:
    secret = world.token()
    await world.directory.find(secret)
    await world.store.change(revoke_token, public(secret), 2.0)
    assert world.directory.cached(secret) is None
    assert "revoked" in await world.refused(secret)


async def test_a_rotated_token_keeps_its_new_secret_only(world: World) -> None:
    old = world.token()
    await world.directory.find(old)
    new = tokens.mint("default", public(old))
    assert "unknown" in await world.refused(new)
    await world.store.change(rotate_token, public(old), world.fingerprint(new), 2.0)
    assert (await world.directory.find(new)).token_id == public(old), "what was unknown is forgotten too"
    assert "unknown" in await world.refused(old)


async def test_a_deleted_projects_tokens_are_refused(world: World) -> None:
    credential = world.credential(1, "openai", project="other")
    secret = world.token("other", upstream_url="https://api.openai.com/v1", credential_id=credential)
    await world.directory.find(secret)
    await world.store.change(delete_project, "other", 2.0)
    assert "revoked" in await world.refused(secret)


async def test_a_grant_that_was_made_during_a_change_is_not_kept(world: World) -> None:
    secret = world.token(allowed_models=["gpt-4o"])
    world.meanwhile = lambda: world.store.change(update_token, public(secret), {"allowed_models": ["gpt-4o-mini"]})
    stale = await world.directory.find(secret)
    assert stale.allowed_models == ("gpt-4o",), "it was read before the change"
    assert world.directory.cached(secret) is None
    fresh = await world.directory.find(secret)
    assert fresh.allowed_models == ("gpt-4o-mini",)
    assert world.directory.cached(secret) is fresh


async def test_a_refusal_that_was_read_during_a_change_is_not_kept(world: World) -> None:
    secret = world.token(is_active=False)
    world.meanwhile = lambda: world.store.change(update_token, public(secret), {"is_active": True})
    assert "inactive" in await world.refused(secret)
    assert (await world.directory.find(secret)).token_id == public(secret)


async def test_many_at_once_get_the_same_answer(world: World) -> None:
    secret, stranger = world.token(), tokens.mint("default")
    asked = [world.directory.find(name) for name in (secret, stranger) * 10]
    found = await asyncio.gather(*asked, return_exceptions=True)
    assert {getattr(one, "token_id", None) for one in found[::2]} == {public(secret)}
    assert all(isinstance(one, Failure) for one in found[1::2])


async def test_the_anonymous_grant_is_there_only_where_it_is_asked_for(world: World) -> None:
    assert await world.directory.anonymous() is None
    assert world.reads == 0
    world.credential(1, "openai")
    world.credential(2, "anthropic", project="other")
    open_door = world.make(anonymous_project="default")
    grant = await open_door.anonymous()
    assert grant is not None and (grant.token_id, set(grant.project)) == (None, {"openai"})
    assert await open_door.anonymous() is grant


async def test_the_anonymous_grant_changes_with_its_project(world: World) -> None:
    open_door = world.make(anonymous_project="default")
    row = {"id": "cred_x", "project_id": "default", "name": "x", "provider": "openai", "key_id": "00",
           "created_at": 1.0, "sealed": world.vault.seal(b"s", credential_place("default", "cred_x"))}  # fmt: skip
    world.meanwhile = lambda: world.store.change(insert_credential, row)
    before = await open_door.anonymous()
    assert before is not None and before.project == {}
    after = await open_door.anonymous()
    assert after is not None and set(after.project) == {"openai"}


async def test_a_grant_knows_its_projects_services_with_their_keys(world: World) -> None:
    def service(name: str, url: str, project: str = "default", **fields: Any) -> str:
        row = {
            "id": f"svc_{name}_{project}", "project_id": project, "name": name, "base_url": url, "description": "",
            "service_type": "generic", "credential_id": None, "methods": [], "allowed_paths": [], "denied_paths": [],
            "is_active": True, "created_at": 1.0, **fields,
        }  # fmt: skip
        return str(world.store.call(insert_service, row)["id"])

    service("stripe", "https://api.stripe.example", credential_id=world.credential(1), methods=["GET"])
    service("hooks", "https://hooks.example")
    off = service("off", "https://off.example")
    service("local", "https://models.example/v1", service_type="llm")
    service("gpt", "https://api.openai.com", credential_id=world.credential(2, "openai"))
    service("theirs", "https://other.example", project="other")
    await world.store.change(update_service, off, {"is_active": False})
    grant = await world.directory.find(world.token())
    assert sorted(grant.services) == ["gpt", "hooks", "local", "stripe"]
    stripe = grant.services["stripe"]
    assert stripe.upstream.key == Key(b"secret-1", b"authorization", b"Bearer secret-1")
    assert (stripe.methods, grant.services["hooks"].upstream.key) == (("GET",), None)
    serving = {name: entry.serves_models for name, entry in grant.services.items()}
    assert serving == {"gpt": True, "hooks": False, "local": True, "stripe": False}
    passthrough = await world.directory.find(world.token(upstream_url="https://own.example"))
    assert not passthrough.services


async def test_a_token_is_found_by_its_id_with_the_same_grant(world: World) -> None:
    secret = world.token(upstream_url="https://api.example", credential_id=world.credential(1))
    found = await world.directory.find(secret)
    again = await world.directory.by_id(found.token_id)
    assert (again.token_id, again.project_id, again.own) == (found.token_id, found.project_id, found.own)
    assert found.token_id is not None
    await world.store.change(revoke_token, found.token_id, 5.0)
    for token_id in (found.token_id, "tok_nothing", None):
        with pytest.raises(Failure) as caught:
            await world.directory.by_id(token_id)
        assert caught.value.code == "invalid_api_key"


# --- several upstreams, limits and breakers ----------------------------------------------------------


async def test_a_tokens_upstreams_in_the_order_of_their_priority(world: World) -> None:
    own, extra = world.credential(1, "openai"), world.credential(2, "openai", "second-secret")
    secret = world.token(
        upstream_url="https://first.example/v1",
        credential_id=own,
        upstreams=[
            {"url": "https://last.example/v1", "credential_id": None, "weight": 1, "priority": 5},
            {"url": "https://second.example/v1", "credential_id": extra, "weight": 3, "priority": 1},
        ],
    )
    grant = await world.directory.find(secret)
    seen = [(each.label, each.priority, each.weight, each.key and each.key.secret) for each in grant.upstreams]
    assert seen == [
        ("https://first.example/v1", 0, 1, b"secret-1"),
        ("https://second.example/v1", 1, 3, b"second-secret"),
        ("https://last.example/v1", 5, 1, b"secret-1"),
    ]
    assert grant.own is grant.upstreams[0]
    assert not grant.passthrough


async def test_an_entry_may_say_more_of_the_tokens_own_upstream(world: World) -> None:
    entries = [{"url": "https://a.example", "credential_id": None, "weight": 7, "priority": 2}]
    grant = await world.directory.find(world.token(upstream_url="https://a.example", upstreams=entries))
    assert [(each.label, each.weight, each.priority) for each in grant.upstreams] == [("https://a.example", 7, 2)]
    assert grant.passthrough, "there is no credential at all"


async def test_one_upstream_with_a_credential_ends_passthrough(world: World) -> None:
    entries = [{"url": "https://b.example", "credential_id": world.credential(1), "weight": 1, "priority": 1}]
    grant = await world.directory.find(world.token(upstream_url="https://a.example", upstreams=entries))
    assert [each.key is None for each in grant.upstreams] == [True, False]
    assert not grant.passthrough


async def test_limits_and_the_breaker(world: World) -> None:
    grant = await world.directory.find(world.token())
    limits = grant.requests_per_minute, grant.tokens_per_minute, grant.concurrent_requests
    assert limits == (None, 0, 0)
    assert grant.breaker == Breaker(True, 3, 30, 1)
    grant = await world.directory.find(
        world.token(
            requests_per_minute=0, tokens_per_minute=5, concurrent_requests=2,
            circuit_breaker={"enabled": False, "failure_threshold": 7},
        )
    )
    assert (grant.requests_per_minute, grant.tokens_per_minute, grant.concurrent_requests) == (0, 5, 2)
    assert grant.breaker == Breaker(enabled=False, failure_threshold=7)


# --- money -------------------------------------------------------------------------------------------


async def test_the_ledger_hears_of_an_account_before_anybody_spends_from_it(world: World) -> None:
    ledger = MemoryLedger()
    directory = world.make(ledger=ledger)
    secret = world.token()
    token_id = secret.partition("_tok_")[2][:12]
    row = {
        "id": "req_1", "created_at": time(), "method": "POST", "path": "/x", "outcome": "answered", "cost_nano": 7,
        "token_id": f"tok_{token_id}", "project_id": "default",
    }  # fmt: skip
    world.store.call(insert_records, [row])
    grant = await directory.find(secret)
    assert not ledger.limited(grant.token_id, "default")
    assert ledger.spent("token", str(grant.token_id)) == Spent(7, 7, 7, 1, 1)
    spent = ledger.spent("project", "default")
    assert spent is not None and spent.lifetime_nano == 7


@pytest.mark.parametrize("scope", ["token", "project"])
async def test_a_limit_bites_before_its_change_returns(world: World, scope: str) -> None:
    ledger = MemoryLedger()
    directory = world.make(ledger=ledger)
    secret = world.token()
    grant = await directory.find(secret)
    scope_id = str(grant.token_id) if scope == "token" else "default"
    await world.store.change(set_limit, scope, scope_id, "daily", 100, 1.0)
    assert directory.cached(secret) is None
    await directory.find(secret)
    assert ledger.limited(grant.token_id, "default")
    assert ledger.remaining(grant.token_id, "default", time()) == {"daily": 100}
    await world.store.change(remove_limit, scope, scope_id, "daily")
    await directory.find(secret)
    assert not ledger.limited(grant.token_id, "default")


async def test_a_limit_on_the_project_binds_callers_without_a_token(world: World) -> None:
    ledger = MemoryLedger()
    directory = world.make(anonymous_project="default", ledger=ledger)
    await directory.anonymous()
    assert not ledger.limited(None, "default")
    await world.store.change(set_limit, "project", "default", "daily", 100, 1.0)
    await directory.anonymous()
    assert ledger.limited(None, "default")


async def test_own_prices_are_in_the_grant_the_most_precise_first(world: World) -> None:
    secret = world.token()
    assert (await world.directory.find(secret)).prices == ()
    for number, (provider, model) in enumerate([("*", "gpt-*"), ("openai", "gpt-4o"), ("*", "*"), ("*", "gpt-4o")]):
        rates = {"input": str(number), "output": "1.5"}
        row = {"id": str(number), "provider": provider, "model": model, "rates": rates, "created_at": 1.0}
        await world.store.change(insert_price, row)
    rules = (await world.directory.find(secret)).prices
    assert [(rule.provider, rule.model) for rule in rules] == [
        ("openai", "gpt-4o"), ("*", "gpt-4o"), ("*", "gpt-*"), ("*", "*"),
    ]  # fmt: skip
    assert rules[0].price == own_price({"input": Decimal(1), "output": Decimal("1.5")})


# --- policies --------------------------------------------------------------------------------------


def save_policy(world: World, policy_id: str, rules: list[Any], project: str = "default", **fields: Any) -> None:
    row = {
        "id": policy_id, "project_id": project, "name": policy_id, "mode": "enforce", "phase": "pre", "rules": rules,
        "retry": None, "version": 1, "created_at": 1.0, "updated_at": 1.0, **fields,
    }  # fmt: skip
    world.store.call(insert_policy, row)


async def test_policies_of_project_and_token_are_compiled_in_their_order(world: World) -> None:
    limit = {"type": "rate_limit", "window": "1m", "max_requests": 5}
    save_policy(world, "pol_a", [{"type": "deny"}])
    save_policy(world, "pol_b", [limit], retry={"max_retries": 4})
    save_policy(world, "pol_c", [{"type": "deny"}], mode="shadow")
    world.store.call(attach_to_project, "default", {"policy_ids": ["pol_b", "pol_c"]})
    grant = await world.directory.find(world.token(policy_ids=["pol_a"]))
    assert [policy.name for policy in grant.policies.pre] == ["pol_b", "pol_a"]
    assert [policy.name for policy in grant.policies.shadow_pre] == ["pol_c"]
    assert grant.own_rate_limit
    assert grant.policies.retry is not None and grant.policies.retry.max_retries == 4
    anonymous = await world.make(anonymous_project="default").anonymous()
    assert anonymous is not None
    assert [policy.name for policy in anonymous.policies.pre] == ["pol_b"]


async def test_a_change_of_a_policy_bites_before_it_returns(world: World) -> None:
    save_policy(world, "pol_a", [{"type": "deny"}])
    secret = world.token(policy_ids=["pol_a"])
    before = await world.directory.find(secret)
    assert before.policies.pre[0].version == 1
    await world.store.change(update_policy, "pol_a", {"mode": "shadow"}, 1, 2.0)
    assert world.directory.cached(secret) is None
    after = await world.directory.find(secret)
    assert (after.policies.pre, after.policies.shadow_pre[0].version) == ((), 2)


async def test_a_policy_that_cannot_be_found_or_read_lets_nobody_past(world: World) -> None:
    save_policy(world, "pol_later", [{"type": "of_a_later_version"}])
    for policy_ids in (["pol_later"], ["pol_gone"]):
        secret = world.token()
        token_id = tokens.parse(secret)
        assert token_id is not None
        world.store.call(
            lambda connection, ids, key: connection.execute(
                update(token_rows).where(token_rows.c.id == key).values(policy_ids=ids)
            ), policy_ids, token_id.id,
        )  # fmt: skip
        with pytest.raises(Failure) as caught:
            await world.directory.find(secret)
        assert caught.value.code == "internal_error"
        assert policy_ids[0] in caught.value.message
