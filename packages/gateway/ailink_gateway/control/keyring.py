"""The vault and the store together: the root key, made at the first start, and the rotation of the master key."""

from sqlalchemy import Connection

from ailink_gateway.store.bodies import list_sealed_bodies, replace_sealed_body
from ailink_gateway.store.credentials import list_sealed, replace_sealed
from ailink_gateway.store.meta import read_meta, write_meta
from ailink_gateway.store.store import Store
from ailink_gateway.vault import Place, Vault, body_place, credential_place, sealed_under
from ailink_provider.errors import Failure

ROOT = "root key"
_BATCH = 100
_ROOT_PLACE = Place("", ROOT, "key derivation")


def unlock(store: Store, vault: Vault) -> None:
    """Give the vault the store's root key, made now if there is none. Blocks; call it once at start.

    Raises ``WrongMasterKey`` when the database was made with another master key.
    """
    vault.adopt_root(store.call(_root, vault), _ROOT_PLACE)


def find_root(connection: Connection, vault: Vault) -> None:
    """Give the vault the root key of a store that is only read. Raises ``Failure`` if the store has none yet."""
    sealed = read_meta(connection, ROOT)
    if sealed is None:
        raise Failure("not_found", "This database has no root key yet: no gateway was started on it.")
    vault.adopt_root(sealed, _ROOT_PLACE)


def rewrap(store: Store, vault: Vault) -> int:
    """Bring every secret that a retired master key sealed under the current one, and return how many. Blocks.

    Some are done at a time: after a crash the next call does the rest, and meanwhile a vault that holds both keys opens
    all. Raises as ``Vault.open`` does, for the first secret that does not open.
    """
    done = store.call(_rewrap_root, vault)
    while count := store.call(_rewrap_some, vault):
        done += count
    after = ""
    while some := store.call(_rewrap_bodies, vault, after):
        after, count = some
        done += count
    return done


def _root(connection: Connection, vault: Vault) -> bytes:
    sealed = read_meta(connection, ROOT)
    if sealed is None:
        sealed = vault.make_root(_ROOT_PLACE)
        write_meta(connection, ROOT, sealed)
    return sealed


def _rewrap_root(connection: Connection, vault: Vault) -> int:
    sealed = _root(connection, vault)
    if sealed_under(sealed) == vault.key_id:
        return 0
    write_meta(connection, ROOT, vault.rewrap(sealed, _ROOT_PLACE))
    return 1


def _rewrap_some(connection: Connection, vault: Vault) -> int:
    rows = list_sealed(connection, other_than=vault.key_id, limit=_BATCH)
    for row in rows:
        sealed = vault.rewrap(row["sealed"], credential_place(row["project_id"], row["id"]))
        replace_sealed(connection, row["id"], sealed, vault.key_id)
    return len(rows)


def _rewrap_bodies(connection: Connection, vault: Vault, after: str) -> tuple[str, int] | None:
    rows = list_sealed_bodies(connection, vault.key_id, after, _BATCH)
    for row in rows:
        sealed = vault.rewrap(row["sealed"], body_place(row["project_id"], row["record_id"]))
        replace_sealed_body(connection, row["record_id"], sealed)
    return (rows[-1]["record_id"], len(rows)) if rows else None
