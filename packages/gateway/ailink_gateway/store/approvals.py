"""The queries on approvals. Each step of one is a compare-and-set, so that of any number of racers one takes it.

Requests and answers pass through sealed. No query here decides who may decide.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, insert, or_, select, update

from ailink_gateway.store import rows
from ailink_gateway.store.rows import Row
from ailink_gateway.store.tables import approvals, deliveries
from ailink_provider.errors import Failure

Status = Literal["approved", "rejected", "expired"]
Ending = Literal["done", "failed"]

_HEAVY = ("sealed_request", "sealed_response")
_LIGHT = [column for column in approvals.columns if column.name not in _HEAVY]
_QUOTED = 40  # characters


def insert_approval(connection: Connection, row: Mapping[str, Any]) -> None:
    """Add an approval, pending."""
    connection.execute(insert(approvals).values(**row))


def find_approval(connection: Connection, approval_id: str, *heavy: str) -> Row:
    """Return an approval, with those of its sealed columns that are named. Raises ``Failure`` (``not_found``)."""
    columns = [*_LIGHT, *(approvals.c[name] for name in heavy)]
    row = connection.execute(select(*columns).where(approvals.c.id == approval_id)).mappings().one_or_none()
    if row is None:
        raise unknown_approval(approval_id)
    return dict(row)


def unknown_approval(approval_id: str) -> Failure:
    """Return what is said of an approval that does not exist, or that is another's."""
    return Failure("not_found", f"There is no approval {approval_id[:_QUOTED]!r}.", param="id")


def list_approvals(
    connection: Connection, limit: int, after: str | None, filters: Mapping[str, str | None],
) -> tuple[list[Row], bool]:
    """Return one page, as ``rows.page`` does, of those whose columns are as ``filters`` has them (None is any)."""
    conditions: list[ColumnElement[bool]] = [
        approvals.c[name] == value for name, value in filters.items() if value is not None
    ]
    return rows.page(connection, approvals, conditions, limit, after, _LIGHT)


def decide(
    connection: Connection, approval_id: str, status: Status, by: str, reason: str | None, now: float,
) -> tuple[Row, bool]:
    """Decide what is pending; return the approval, and whether this call decided it.

    The same decision again changes nothing. Raises ``Failure``: ``not_found``, or ``conflict`` if it was decided
    otherwise or its time has passed.
    """
    changed = connection.execute(
        update(approvals)
        .where(approvals.c.id == approval_id, approvals.c.status == "pending", approvals.c.expires_at > now)
        .values(status=status, decided_by=by, decided_at=now, reason=reason)
    ).rowcount
    row = find_approval(connection, approval_id)
    if not changed and row["status"] != status:
        was = "has expired" if row["status"] in ("pending", "expired") else f"was {row['status']}"
        raise Failure("conflict", f"The approval {approval_id!r} {was} already: it cannot be {status} now.")
    return row, bool(changed)


def expire(connection: Connection, approval_id: str, reason: str, now: float) -> bool:
    """Let what is pending expire, and return whether it did."""
    return bool(connection.execute(
        update(approvals)
        .where(approvals.c.id == approval_id, approvals.c.status == "pending")
        .values(status="expired", decided_at=now, reason=reason)
    ).rowcount)


def claim(connection: Connection, approval_id: str, boot: str, now: float) -> Row | None:
    """Take what is approved for sending, with its request; None for all but the first who asks."""
    claimed = connection.execute(
        update(approvals)
        .where(approvals.c.id == approval_id, approvals.c.status == "approved", approvals.c.execution == "none")
        .values(execution="running", claimed_by=boot, executed_at=now)
    ).rowcount
    return find_approval(connection, approval_id, "sealed_request") if claimed else None


def finish(connection: Connection, approval_id: str, boot: str, ending: Ending, sealed_response: bytes | None) -> bool:
    """Store how what this boot has claimed went, and return whether it was still running."""
    return bool(connection.execute(
        update(approvals)
        .where(approvals.c.id == approval_id, approvals.c.execution == "running", approvals.c.claimed_by == boot)
        .values(execution=ending, sealed_response=sealed_response)
    ).rowcount)


def recover(connection: Connection, boot: str) -> list[Row]:
    """Return what is left to be done at a start: what is pending, and what is approved and was never claimed.

    What another boot has claimed becomes unknown: it may have been sent, so it is not sent again.
    """
    connection.execute(
        update(approvals)
        .where(approvals.c.status == "approved", approvals.c.execution == "running", approvals.c.claimed_by != boot)
        .values(execution="unknown")
    )
    waiting = or_(
        approvals.c.status == "pending", (approvals.c.status == "approved") & (approvals.c.execution == "none")
    )
    query = select(*_LIGHT).where(waiting).order_by(approvals.c.created_at)
    return [dict(row) for row in connection.execute(query).mappings()]


def erase_contents(connection: Connection, before: float, without_preview: Callable[[Row], bytes]) -> int:
    """Erase the requests and answers of what was over before this moment, and return of how many.

    What is said of each is replaced by what ``without_preview`` returns, as it quotes the request.
    """
    query = select(*_LIGHT).where(
        approvals.c.status != "pending", approvals.c.execution != "running", approvals.c.decided_at < before,
        or_(approvals.c.sealed_request.is_not(None), approvals.c.sealed_response.is_not(None)),
    )
    erased = [dict(row) for row in connection.execute(query).mappings()]
    for row in erased:
        connection.execute(
            update(approvals)
            .where(approvals.c.id == row["id"])
            .values(sealed_request=None, sealed_response=None, sealed_about=without_preview(row))
        )
    return len(erased)


# --- who was told ------------------------------------------------------------------------------


def insert_delivery(connection: Connection, row: Mapping[str, Any]) -> None:
    """Add one attempt to tell someone."""
    connection.execute(insert(deliveries).values(**row))


def list_deliveries(
    connection: Connection, approval_id: str, limit: int, after: str | None,
) -> tuple[list[Row], bool]:
    """Return one page, as ``rows.page`` does, of the attempts for an approval. Raises ``Failure`` (``not_found``)."""
    find_approval(connection, approval_id)
    return rows.page(connection, deliveries, [deliveries.c.approval_id == approval_id], limit, after)


def delivered(connection: Connection, approval_ids: Collection[str]) -> set[tuple[str, str]]:
    """Return which messages (approval, message) have arrived."""
    query = select(deliveries.c.approval_id, deliveries.c.message).where(
        deliveries.c.approval_id.in_(approval_ids), deliveries.c.status == "delivered"
    )
    return {(approval_id, message) for approval_id, message in connection.execute(query)}
