"""The audit chain: every row carries a code over itself and the code before it, under a key that the database has not.

One chain a writer: the node (a name kept in the data directory) and its boot. A row that is altered, missing or moved
breaks it. What ends the chain is proved by a checkpoint, signed under the same key. Knows no table and no file but the
node's own.
"""

import hmac
import os
from collections.abc import Mapping
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from ailink_gateway.record import FLAGS, Record
from ailink_provider.errors import Failure

CODE_BYTES = 32
TAIL: Literal["tail"] = "tail"
PRUNED: Literal["pruned"] = "pruned"
Kind = Literal["tail", "pruned"]

_encoder = msgspec.json.Encoder()
FIELDS = tuple(name for name in Record.__struct_fields__ if name != "chain_code")


class Checkpoint(NamedTuple):
    """Where a chain stood. ``kind`` is tail (so many rows were written) or pruned (rows up to here were removed)."""

    chain: str
    kind: str
    sequence: int
    code: bytes
    signature: bytes


class ChainKey:
    """What codes and checkpoints are made with and proved by.

    Args:
        key: 32 bytes that stand in no database.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._keyed = blake2b(key=key, digest_size=CODE_BYTES)

    def __repr__(self) -> str:
        return "ChainKey()"

    def origin(self, chain: str) -> bytes:
        """Return the code that stands before the first row of a chain."""
        return self._mac(b"origin", chain.encode())

    def code(self, before: bytes, body: bytes) -> bytes:
        """Return the code of the row with these canonical bytes after the one with the code ``before``."""
        # Keyed BLAKE2 keeps the interpreter's lock for what is shorter than 2 KiB; OpenSSL's HMAC never does.
        digest = self._keyed.copy()  # a third less than to begin with the key
        digest.update(before + body)
        return digest.digest()

    def sign(self, chain: str, kind: Kind, sequence: int, code: bytes) -> Checkpoint:
        """Return a checkpoint."""
        signature = self._mac(kind.encode(), chain.encode(), b"%d" % sequence, code)
        return Checkpoint(chain, kind, sequence, code, signature)

    def proves(self, checkpoint: Checkpoint) -> bool:
        """Whether the checkpoint was signed under this key and is as it was."""
        parts = checkpoint.kind.encode(), checkpoint.chain.encode(), b"%d" % checkpoint.sequence, checkpoint.code
        return hmac.compare_digest(self._mac(*parts), checkpoint.signature)

    def _mac(self, *parts: bytes) -> bytes:
        # A person apart from codes, so that no row's bytes ever read as a checkpoint.
        together = b"".join(len(part).to_bytes(4) + part for part in parts)
        return blake2b(together, key=self._key, digest_size=CODE_BYTES, person=b"checkpoint").digest()


class Node(NamedTuple):
    """Which writer this is: a name, and the number of its start."""

    name: str
    boot: int

    @property
    def chain(self) -> str:
        """The name of the chain that this boot writes."""
        return f"{self.name}-{self.boot}"


class Chain:
    """The chain that one process writes."""

    def __init__(self, key: ChainKey, node: Node) -> None:
        self.node = node
        self.name = node.chain
        self.sequence = 0
        self._key = key
        self.code = key.origin(self.name)

    def link(self, record: Record) -> tuple[bytes, bytes]:
        """Return the record as the next row of the chain, as JSON, and its code. ``advance`` makes it so."""
        record.chain = self.name
        record.chain_sequence = self.sequence + 1
        body = _encoder.encode(record)
        code = self._key.code(self.code, body)
        return b'%b,"chain_code":"%b"}' % (body[:-1], code.hex().encode()), code

    def advance(self, code: bytes) -> None:
        """Note that the row with this code is written."""
        self.sequence += 1
        self.code = code


def body_of(row: Mapping[str, Any]) -> bytes | None:
    """Return the canonical bytes of a stored row, or None if it holds what no record ever did."""
    values = {name: row[name] for name in FIELDS}
    for name in FLAGS:
        values[name] = bool(values[name])
    try:
        return _encoder.encode(Record(**values))
    except (TypeError, ValueError):
        return None


class NodeFile:
    """Where a data directory keeps the name of its node and counts its boots."""

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / "node.json"

    @cached_property
    def last(self) -> Node | None:
        """The last boot, or None if there was none. Raises ``Failure`` for a damaged file."""
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=Node)
        except FileNotFoundError:
            return None
        except msgspec.DecodeError:
            message = f"{self._path} is damaged: it names this node and its last boot. Put it back, or delete it."
            raise Failure("internal_error", f"{message} Without it the node gets another name.") from None

    def following(self, known_boots: int = 0) -> Node:
        """Return the boot that begins now. ``known_boots`` is the number of the last one that the database knows."""
        name = self.last.name if self.last else os.urandom(6).hex()
        return Node(name, max(self.last.boot if self.last else 0, known_boots) + 1)

    def keep(self, node: Node) -> None:
        """Write the boot down, so that it outlasts a power cut."""
        new = self._path.with_suffix(".new")
        with new.open("wb") as file:
            file.write(_encoder.encode(node))
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)
        self.__dict__.pop("last", None)
