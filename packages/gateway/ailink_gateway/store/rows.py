"""The questions that every resource asks of its table: this row, one page, is a name free. Decides no rights."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, select, tuple_

from ailink_provider.errors import Failure

Row = dict[str, Any]


def find(connection: Connection, table: Table, row_id: str) -> Row | None:
    """Return the row with this id, or None."""
    row = connection.execute(select(table).where(table.c.id == row_id)).mappings().one_or_none()
    return dict(row) if row else None


def page(
    connection: Connection, table: Table, conditions: Sequence[ColumnElement[bool]], limit: int, after: str | None,
    columns: Sequence[ColumnElement[Any]] = (),
) -> tuple[list[Row], bool]:
    """Return up to ``limit`` rows, newest first, and whether there are more; only ``columns`` of them where given.

    ``after`` is the id of the last row of the page before. It may be deleted by now, but raises ``Failure`` if it never
    was. Rows that are added meanwhile shift nothing.
    """
    order = tuple_(table.c.created_at, table.c.id)
    newest_first = table.c.created_at.desc(), table.c.id.desc()
    query = select(*columns or (table,)).where(*conditions).order_by(*newest_first).limit(limit + 1)
    if after is not None:
        place = connection.execute(select(table.c.created_at, table.c.id).where(table.c.id == after)).one_or_none()
        if place is None:
            raise Failure("invalid_request", f"There is no {after!r} to start after: give an id from the page before.",
                          param="starting_after")
        query = query.where(order < tuple_(*place))
    rows = [dict(row) for row in connection.execute(query).mappings()]
    return rows[:limit], len(rows) > limit


def claim_name(connection: Connection, table: Table, name: str, conditions: Sequence[ColumnElement[bool]]) -> None:
    """Raise ``Failure`` (``conflict``) if a row that fits the conditions has the name already."""
    taken = connection.scalar(select(table.c.id).where(table.c.name == name, *conditions))
    if taken is not None:
        raise Failure("conflict", f"The name {name!r} is taken by {taken}: choose another.", param="name")
