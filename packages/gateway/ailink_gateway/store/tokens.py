"""The queries on tokens as they are managed. How the data plane sees them is in ``grants``."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, insert, select, update

from ailink_gateway.store import rows
from ailink_gateway.store.credentials import refer_to_credential
from ailink_gateway.store.policies import refer_to_policies
from ailink_gateway.store.projects import refer_to_project
from ailink_gateway.store.rows import Row
from ailink_gateway.store.tables import tokens
from ailink_provider.errors import Failure

_PRESENT = tokens.c.revoked_at.is_(None)
_QUOTED = 40  # characters: enough for any id, too few for a mistyped token's secret


def insert_token(connection: Connection, row: Mapping[str, Any]) -> Row:
    """Add a token and return it.

    Raises ``Failure`` if its project does not exist, its name is taken there, or its credential or a policy is not that
    project's.
    """
    refer_to_project(connection, row["project_id"])
    refer_to_credential(connection, row["project_id"], row.get("credential_id"))
    _refer_from_upstreams(connection, row["project_id"], row.get("upstreams") or ())
    refer_to_policies(connection, row["project_id"], row["policy_ids"])
    rows.claim_name(connection, tokens, row["name"], [_PRESENT, tokens.c.project_id == row["project_id"]])
    connection.execute(insert(tokens).values(**row))
    return find_token(connection, row["id"])


def find_token(connection: Connection, token_id: str) -> Row:
    """Return a token, revoked or not. Raises ``Failure`` (``not_found``)."""
    row = rows.find(connection, tokens, token_id)
    if row is None:
        raise Failure("not_found", f"There is no token {token_id[:_QUOTED]!r}.", param="id")
    return row


def list_tokens(
    connection: Connection, limit: int, after: str | None, project_id: str | None, is_active: bool | None,
) -> tuple[list[Row], bool]:
    """Return one page, as ``rows.page`` does, revoked ones included; of all or of one project's, in use or not."""
    conditions = []
    if project_id is not None:
        conditions.append(tokens.c.project_id == project_id)
    if is_active is not None:
        conditions.append(tokens.c.is_active.is_(is_active))
    return rows.page(connection, tokens, conditions, limit, after)


def list_upstreams(connection: Connection, limit: int) -> list[tuple[str, list[str]]]:
    """Return the newest tokens that are in use, up to ``limit``, with the URLs of their own upstreams as calls show
    them.
    """
    query = select(tokens.c.id, tokens.c.upstream_url, tokens.c.upstreams).where(_PRESENT, tokens.c.is_active)
    newest = query.order_by(tokens.c.created_at.desc(), tokens.c.id.desc()).limit(limit)
    found = []
    for token_id, url, further in connection.execute(newest):
        found.append((token_id, own_urls({"upstream_url": url, "upstreams": further})))
    return found


def own_urls(row: Row) -> list[str]:
    """Return the URLs of a token's own upstreams as calls show them."""
    urls = [row["upstream_url"]] if row["upstream_url"] is not None else []
    return [each.rstrip("/") for each in (*urls, *(entry["url"] for entry in row["upstreams"]))]


def update_token(connection: Connection, token_id: str, fields: Mapping[str, Any]) -> Row:
    """Change a token and return it; of ``circuit_breaker`` only what is given.

    Raises ``Failure`` if there is none, it is revoked, its name is taken, or the credential or a policy is not its
    project's.
    """
    row = _find_usable(connection, token_id)
    fields = dict(fields)
    if "name" in fields:
        others = [_PRESENT, tokens.c.project_id == row["project_id"], tokens.c.id != token_id]
        rows.claim_name(connection, tokens, fields["name"], others)
    if "circuit_breaker" in fields:
        fields["circuit_breaker"] = {**row["circuit_breaker"], **fields["circuit_breaker"]}
    refer_to_credential(connection, row["project_id"], fields.get("credential_id"))
    _refer_from_upstreams(connection, row["project_id"], fields.get("upstreams") or ())
    refer_to_policies(connection, row["project_id"], fields.get("policy_ids", ()))
    if fields:
        connection.execute(update(tokens).where(tokens.c.id == token_id).values(**fields))
    return find_token(connection, token_id)


def rotate_token(connection: Connection, token_id: str, fingerprint: bytes, now: float) -> Row:
    """Let a new secret take the place of the old one. Raises ``Failure`` if there is no such token or it is revoked."""
    _find_usable(connection, token_id)
    connection.execute(update(tokens).where(tokens.c.id == token_id).values(fingerprint=fingerprint, rotated_at=now))
    return find_token(connection, token_id)


def revoke_token(connection: Connection, token_id: str, now: float) -> None:
    """Revoke a token for good; again is no error. Raises ``Failure`` if there is none."""
    find_token(connection, token_id)
    connection.execute(update(tokens).where(tokens.c.id == token_id, _PRESENT).values(revoked_at=now, is_active=False))


def _refer_from_upstreams(connection: Connection, project_id: str, upstreams: Sequence[Mapping[str, Any]]) -> None:
    for place, upstream in enumerate(upstreams):
        try:
            refer_to_credential(connection, project_id, upstream["credential_id"])
        except Failure as failure:
            failure.param = f"upstreams[{place}].credential_id"
            raise


def _find_usable(connection: Connection, token_id: str) -> Row:
    row = find_token(connection, token_id)
    if row["revoked_at"] is not None:
        raise Failure("conflict", f"The token {token_id!r} is revoked for good: create another.")
    return row


