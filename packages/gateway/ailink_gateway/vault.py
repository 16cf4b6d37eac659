"""Envelope encryption of stored secrets, and the keys that are derived. Holds keys in memory only and never shows one.

A secret is sealed with AES-256-GCM under a data key of its own; the data key is wrapped, also by AES-256-GCM, under a
key derived from the master key. Both are bound to the place of the secret: a sealed secret that is moved to another
project, record or purpose does not open. To rotate the master key, re-wrapping the data keys is enough.

Sealed bytes: format (1), master key id (8), nonce (12), wrapped data key (48), nonce (12), ciphertext and tag.
"""

import os
from collections.abc import Sequence
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ailink_provider.errors import Failure

KEY_BYTES = 32
_FORMAT = b"\x01"
_ID_BYTES = 8
_NONCE_BYTES = 12
_WRAPPED_BYTES = KEY_BYTES + 16
_ID_END = 1 + _ID_BYTES
_WRAP_END = _ID_END + _NONCE_BYTES + _WRAPPED_BYTES
_SHORTEST = _WRAP_END + _NONCE_BYTES + 16

# Purposes of derived keys.
TOKEN_FINGERPRINTS = "token fingerprints"
AUDIT_CHAIN = "audit chain"
ADMIN_KEY_FINGERPRINTS = "admin key fingerprints"
APPROVALS = "approvals"
APPROVAL_HASHES = "approval hashes"
APPROVAL_LINKS = "approval links"
APPROVER_SESSIONS = "approver sessions"
WEBHOOK_SECRETS = "webhook secrets"
IDEMPOTENT_ANSWERS = "idempotent answers"


class Place(NamedTuple):
    """Where a sealed secret belongs: the project and the record it is stored with, and what it is for."""

    project: str
    record: str
    purpose: str


def credential_place(project_id: str, credential_id: str) -> Place:
    """Return where the secret of a credential is sealed for."""
    return Place(project_id, credential_id, "credential")


def body_place(project_id: str, record_id: str) -> Place:
    """Return where the bodies of a call are sealed for."""
    return Place(project_id, record_id, "record body")


def approval_place(project_id: str, approval_id: str, part: str) -> Place:
    """Return where a part of an approval (about, request, response) is sealed for."""
    return Place(project_id, approval_id, f"approval {part}")


class WrongMasterKey(Failure):
    """The secret was sealed under a master key that this vault does not hold."""

    def __init__(self, sealed_under: str, held: str) -> None:
        super().__init__(
            "internal_error",
            f"The stored secrets were sealed under master key {sealed_under}, but AILINK_MASTER_KEY is {held}: "
            "start with the key that this database was made with.",
        )


class SealBroken(Failure):
    """The sealed bytes are damaged, or are not where they were sealed for."""

    def __init__(self) -> None:
        super().__init__("internal_error", "A stored secret does not open: it was damaged or moved. Store it again.")


class _Master:
    """One master key: what it wraps with, and the id that is written beside what it wrapped."""

    __slots__ = ("id", "wrapping")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            message = f"A master key has {KEY_BYTES} bytes, not {len(key)}: make one with `openssl rand -hex 32`."
            raise Failure("invalid_request", message, param="AILINK_MASTER_KEY")
        self.id = _derive(key, "master key id")[:_ID_BYTES]
        self.wrapping = AESGCM(_derive(key, "data key wrapping"))


class Vault:
    """Seals and opens secrets under one master key, and opens those that retired master keys sealed.

    Args:
        master: the 32 bytes that new secrets are sealed under.
        retired: earlier master keys, until everything is re-wrapped.

    Raises ``Failure`` when a key has another length.
    """

    __slots__ = ("_current", "_masters", "_root")

    def __init__(self, master: bytes, retired: Sequence[bytes] = ()) -> None:
        self._current = _Master(master)
        self._masters = {held.id: held for held in [*map(_Master, retired), self._current]}
        self._root: bytes | None = None

    def __repr__(self) -> str:
        return f"Vault(key_id={self.key_id!r})"

    @property
    def key_id(self) -> str:
        """The public id of the current master key, 16 hex digits."""
        return self._current.id.hex()

    def seal(self, secret: bytes, place: Place) -> bytes:
        """Return ``secret`` encrypted for ``place``."""
        data_key = os.urandom(KEY_BYTES)
        nonce = os.urandom(_NONCE_BYTES)
        body = nonce + AESGCM(data_key).encrypt(nonce, secret, _bound(place))
        return self._wrap(data_key, place) + body

    def open(self, sealed: bytes, place: Place) -> bytes:
        """Return the secret. Raises ``WrongMasterKey``, or ``SealBroken`` if the bytes are altered or out of place."""
        data_key = self._unwrap(sealed, place)
        nonce = sealed[_WRAP_END:_WRAP_END + _NONCE_BYTES]
        try:
            return AESGCM(data_key).decrypt(nonce, sealed[_WRAP_END + _NONCE_BYTES:], _bound(place))
        except InvalidTag:
            raise SealBroken from None

    def rewrap(self, sealed: bytes, place: Place) -> bytes:
        """Return the same sealed secret with its data key under the current master key. Raises as ``open`` does."""
        return self._wrap(self._unwrap(sealed, place), place) + sealed[_WRAP_END:]

    def make_root(self, place: Place) -> bytes:
        """Return a new root key, sealed: to be stored once and given to ``adopt_root`` at every start."""
        return self.seal(os.urandom(KEY_BYTES), place)

    def adopt_root(self, sealed: bytes, place: Place) -> None:
        """Open the root key that ``derive`` needs. Raises as ``open`` does, which also proves the master key."""
        self._root = self.open(sealed, place)

    def derive(self, purpose: str) -> bytes:
        """Return the 32-byte key for one purpose. Raises ``Failure`` before ``adopt_root``.

        It outlives a rotation of the master key, as the root key is then only re-wrapped.
        """
        if self._root is None:
            raise Failure("internal_error", "The vault is locked: adopt the store's root key before deriving keys.")
        return _derive(self._root, purpose)

    def _wrap(self, data_key: bytes, place: Place) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        wrapped = self._current.wrapping.encrypt(nonce, data_key, _bound(place, self._current.id))
        return _FORMAT + self._current.id + nonce + wrapped

    def _unwrap(self, sealed: bytes, place: Place) -> bytes:
        if len(sealed) < _SHORTEST or sealed[:1] != _FORMAT:
            raise SealBroken
        key_id = sealed[1:_ID_END]
        master = self._masters.get(key_id)
        if master is None:
            raise WrongMasterKey(key_id.hex(), self.key_id)
        nonce = sealed[_ID_END:_ID_END + _NONCE_BYTES]
        try:
            return master.wrapping.decrypt(nonce, sealed[_ID_END + _NONCE_BYTES:_WRAP_END], _bound(place, key_id))
        except InvalidTag:
            raise SealBroken from None


def sealed_under(sealed: bytes) -> str:
    """Return the id of the master key that a sealed secret needs."""
    return sealed[1:_ID_END].hex()


def _bound(place: Place, key_id: bytes = b"") -> bytes:
    """The associated data. Each part has its length before it, so that no two places read the same."""
    parts = (_FORMAT, *(part.encode() for part in place), key_id)
    return b"".join(len(part).to_bytes(4) + part for part in parts)


def _derive(key: bytes, purpose: str) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=f"ailink v1 {purpose}".encode()).derive(key)
