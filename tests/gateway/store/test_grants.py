from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError

from ailink_gateway.store import tables
from ailink_gateway.store.credentials import delete_credential, insert_credential, update_credential
from ailink_gateway.store.grants import load_project_credentials, load_token
from ailink_gateway.store.projects import delete_project, insert_project
from ailink_gateway.store.store import Store, read_generation
from ailink_gateway.store.tokens import insert_token, revoke_token, rotate_token, update_token
from ailink_provider.errors import Failure

Make = Callable[..., dict[str, Any]]


async def test_a_token_comes_with_all_that_a_grant_needs(store: Store, token: Make, credential: Make) -> None:
    await store.change(insert_credential, credential(1, injection="header", header_name="X-Key"))
    await store.change(insert_token, token(
        1, credential_id="cred_1", upstream_url="https://api.example.com", allowed_models=["a-*"], default_model="a-1",
        raw_paths=True, expires_at=9.5,
    ))
    row = await store.read(load_token, b"%032d" % 1)
    assert row is not None
    assert (row.id, row.name, row.project_id, row.project_name) == ("tok_000000000001", "token-1", "default", "default")
    assert (row.upstream_url, row.default_model, row.allowed_models) == ("https://api.example.com", "a-1", ("a-*",))
    assert (row.raw_paths, row.strict_parameters, row.circuit_breaker) == (True, False, {"enabled": True})
    assert row.credential is not None
    assert (row.credential.id, row.credential.header_name, row.credential.sealed) == ("cred_1", "X-Key", b"sealed")
    assert row.generation == await store.read(read_generation)


async def test_an_unknown_fingerprint_finds_nothing(store: Store, token: Make) -> None:
    await store.change(insert_token, token(1))
    assert await store.read(load_token, b"%032d" % 2) is None


async def test_why_a_token_may_not_call(store: Store, token: Make) -> None:
    await store.change(insert_token, token(1, expires_at=100.0))

    async def refusal(now: float) -> str | None:
        row = await store.read(load_token, b"%032d" % 1)
        assert row is not None
        return row.refusal(now)

    assert await refusal(99.9) is None
    assert await refusal(100.0) == "expired"
    await store.change(update_token, "tok_000000000001", {"is_active": False})
    assert await refusal(99.9) == "inactive"
    await store.change(revoke_token, "tok_000000000001", 50.0)
    assert await refusal(99.9) == "revoked"


async def test_a_rotated_token_has_one_fingerprint(store: Store, token: Make) -> None:
    await store.change(insert_token, token(1))
    await store.change(rotate_token, "tok_000000000001", b"new", 5.0)
    assert await store.read(load_token, b"%032d" % 1) is None
    assert await store.read(load_token, b"new") is not None


async def test_a_projects_credentials_come_newest_first_and_without_others(store: Store, credential: Make) -> None:
    await store.change(insert_project, "other", "other", 1.0)
    for row in (credential(1), credential(3), credential(2), credential(4, project_id="other")):
        await store.change(insert_credential, row)
    await store.change(delete_credential, "cred_2", 9.0)
    assert [row.id for row in await store.read(load_project_credentials, "default")] == ["cred_3", "cred_1"]


async def test_a_token_cannot_reach_another_projects_credential(store: Store, token: Make, credential: Make) -> None:
    await store.change(insert_project, "other", "other", 1.0)
    await store.change(insert_credential, credential(1, project_id="other"))
    with pytest.raises(Failure) as caught:
        await store.change(insert_token, token(1, credential_id="cred_1"))
    assert caught.value.param == "credential_id"
    # And if a query forgot to ask, the database itself refuses.
    with pytest.raises(IntegrityError):
        statement = insert(tables.tokens).values(token(1, credential_id="cred_1"))
        await store.write(lambda connection: connection.execute(statement))


async def test_a_deleted_project_leaves_no_working_token_and_no_secret(
    store: Store, token: Make, credential: Make,
) -> None:
    await store.change(insert_project, "p", "p", 1.0)
    await store.change(insert_credential, credential(1, project_id="p"))
    await store.change(insert_token, token(1, project_id="p", credential_id="cred_1"))
    await store.change(delete_project, "p", 7.0)
    row = await store.read(load_token, b"%032d" % 1)
    assert row is not None
    assert row.refusal(0.0) == "revoked"
    assert row.credential is None
    assert await store.read(load_project_credentials, "p") == []
    sealed = await store.read(lambda connection: connection.execute(tables.credentials.select()).mappings().one())
    assert (sealed["sealed"], sealed["key_id"]) == (None, None)


async def test_a_names_owner_may_keep_it_and_no_other_may_have_it(store: Store, credential: Make) -> None:
    await store.change(insert_credential, credential(1))
    await store.change(update_credential, "cred_1", {"name": "credential-1"})
    with pytest.raises(Failure) as caught:
        await store.change(insert_credential, credential(2, name="credential-1"))
    assert caught.value.code == "conflict"
    await store.change(delete_credential, "cred_1", 2.0)
    await store.change(insert_credential, credential(2, name="credential-1"))
