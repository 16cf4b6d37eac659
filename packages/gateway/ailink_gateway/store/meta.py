"""Facts about the database as a whole, by name. Values are bytes; what they mean is their owner's affair."""

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from ailink_gateway.store.tables import meta


def read_meta(connection: Connection, name: str) -> bytes | None:
    """Return the value, or None if it was never written."""
    value: bytes | None = connection.scalar(select(meta.c.value).where(meta.c.name == name))
    return value


def write_meta(connection: Connection, name: str, value: bytes) -> None:
    """Write the value, whether or not there was one."""
    statement = insert(meta).values(name=name, value=value)
    connection.execute(statement.on_conflict_do_update(index_elements=["name"], set_={"value": value}))
