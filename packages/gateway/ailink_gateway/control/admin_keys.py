"""Admin keys: for people and programs that manage the gateway, each with what it may do. Shown once, when made.

No key gives what it does not have: it makes, changes and rotates only keys whose scopes it has itself.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, Field

from ailink_gateway.control.authentication import Caller, Principal
from ailink_gateway.control.context import Context, Given
from ailink_gateway.control.errors import refusals
from ailink_gateway.control.fields import (
    Deleted,
    Future,
    Input,
    Listing,
    Moment,
    Name,
    Page,
    changes,
    optional,
    seconds,
)
from ailink_gateway.control.resource import resource
from ailink_gateway.control.scopes import lacking
from ailink_gateway.store import admin_keys as table
from ailink_gateway.store.rows import Row
from ailink_gateway.tokens import fingerprint, mint_admin_key, random_base62
from ailink_gateway.vault import ADMIN_KEY_FINGERPRINTS, Vault
from ailink_provider.errors import Failure

router = resource("admin-keys")

_EXAMPLE = "ailink_admin_4fT0aZbY21qKx8Pq3VnR7sLw0dHc5JmEa9UgQb6TtXyZ0k1fO2"

Scope = Annotated[str, Field(min_length=1, max_length=64)]
Scopes = Annotated[list[Scope], Field(min_length=1, max_length=50)]


class AdminKeyInput(Input):
    """A new admin key."""

    name: Name = Field(examples=["on-call approvers"])
    scopes: Scopes = Field(description="What it may do.", examples=[["approvals:decide"]])
    expires_at: Future | None = Field(None, description="When it stops working.", examples=["2030-01-01T00:00:00Z"])


class AdminKeyChange(Input):
    """What is to change."""

    name: Name = optional()
    scopes: Scopes = optional()
    expires_at: Future | None = None


class AdminKey(BaseModel):
    """An admin key, without its secret."""

    id: str = Field(examples=["adm_4fT0aZbY21qK"])
    name: str
    scopes: list[str]
    created_at: Moment
    expires_at: Moment | None
    revoked_at: Moment | None


class MintedAdminKey(AdminKey):
    """An admin key with its secret: shown this once."""

    key: str = Field(description="The whole key; only its fingerprint is stored.", examples=[_EXAMPLE])


@router.post("", status_code=201, responses=refusals(409))
async def create_admin_key(body: AdminKeyInput, given: Given, caller: Caller) -> MintedAdminKey:
    """Create an admin key. The answer alone carries the whole of it, as `key`."""
    fields = body.model_dump()
    if fields["expires_at"] is None and caller.expires_at is not None:
        fields["expires_at"] = datetime.fromtimestamp(caller.expires_at, UTC)
    fields = _permitted(fields, given, caller)
    key = mint_admin_key()
    row = {
        **fields, "id": f"adm_{random_base62(12)}", "fingerprint": _fingerprint(given.vault, key),
        "created_at": given.now(),
    }
    return MintedAdminKey(**await given.store.write(table.insert_admin_key, row), key=key)


@router.get("")
async def list_admin_keys(listing: Annotated[Listing, Query()], given: Given) -> Page[AdminKey]:
    """List admin keys, newest first, revoked ones included. The operator's own is not among them."""
    rows, has_more = await given.store.read(table.list_admin_keys, listing.limit, listing.starting_after)
    return Page(data=[AdminKey.model_validate(row) for row in rows], has_more=has_more)


@router.get("/{id}", responses=refusals(404))
async def get_admin_key(id: str, given: Given) -> AdminKey:
    """Get one admin key."""
    return AdminKey.model_validate(await given.store.read(table.find_admin_key, id))


@router.patch("/{id}", responses=refusals(404, 409))
@router.put("/{id}", include_in_schema=False)
async def update_admin_key(id: str, body: AdminKeyChange, given: Given, caller: Caller) -> AdminKey:
    """Change an admin key. PUT does the same."""
    await _reach(id, given, caller)
    fields = _permitted(changes(body), given, caller)
    return AdminKey.model_validate(await given.store.write(table.update_admin_key, id, fields))


@router.delete("/{id}", responses=refusals(404))
async def revoke_admin_key(id: str, given: Given, caller: Caller) -> Deleted:
    """Revoke an admin key for good: before the answer, it stops working, and so do sign-ins with it."""
    await _reach(id, given, caller)
    await given.store.write(table.revoke_admin_key, id, given.now())
    return Deleted(id=id)


@router.post("/{id}/rotate", responses=refusals(404, 409))
async def rotate_admin_key(id: str, given: Given, caller: Caller) -> MintedAdminKey:
    """Give an admin key a new secret, shown as `key`. Before the answer, the old one stops working."""
    await _reach(id, given, caller)
    key = mint_admin_key()
    row = await given.store.write(table.update_admin_key, id, {"fingerprint": _fingerprint(given.vault, key)})
    return MintedAdminKey(**row, key=key)


async def _reach(key_id: str, given: Context, caller: Principal) -> None:
    """Raise ``Failure`` if there is no such key, or if it may do more than the caller, or for longer."""
    row: Row = await given.store.read(table.find_admin_key, key_id)
    missing = lacking(caller.scopes, row["scopes"])
    if missing:
        message = f"This admin key lacks what the other one has: {', '.join(missing)}."
        raise Failure("policy_denied", message, reason="scope_missing")
    _check_end(row["expires_at"], caller)


def _permitted(fields: dict[str, Any], given: Context, caller: Principal) -> dict[str, Any]:
    """Return fields as they are stored. Raises ``Failure`` for what does not exist or the caller cannot give."""
    scopes = fields.get("scopes", [])
    unknown = sorted(set(scopes) - given.scopes)
    if unknown:
        message = f"There is no scope {unknown[0]!r}: choose from {', '.join(sorted(given.scopes))}."
        raise Failure("validation_error", message, param="scopes")
    missing = lacking(caller.scopes, scopes)
    if missing:
        message = f"This admin key cannot give what it lacks: {', '.join(missing)}."
        raise Failure("policy_denied", message, param="scopes", reason="scope_missing")
    if "expires_at" in fields:
        fields["expires_at"] = seconds(fields["expires_at"])
        if fields["expires_at"] is not None and fields["expires_at"] <= given.now():
            raise Failure("validation_error", "expires_at lies in the past: give a later one.", param="expires_at")
        _check_end(fields["expires_at"], caller)
    return fields


def _check_end(expires_at: float | None, caller: Principal) -> None:
    if caller.expires_at is not None and (expires_at is None or expires_at > caller.expires_at):
        message = "This admin key ends before the other one would: expires_at must not be later than its own."
        raise Failure("policy_denied", message, param="expires_at", reason="expires_later")


def _fingerprint(vault: Vault, key: str) -> bytes:
    return fingerprint(vault.derive(ADMIN_KEY_FINGERPRINTS), key)
