"""Claims on idempotency keys, in the store. Answers are kept sealed, for a day; keys are kept as hashes only.

Once a claim is taken, a store that does not answer takes nothing from the client: what became of the request is owed,
and written before the next claim is taken.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping
from functools import partial
from hashlib import sha256
from time import time

import msgspec

from ailink_gateway.exchange import Reply
from ailink_gateway.ports import Claim
from ailink_gateway.store import claims as table
from ailink_gateway.store.rows import Row
from ailink_gateway.store.store import Store, StoreUnavailable
from ailink_gateway.vault import IDEMPOTENT_ANSWERS, Place, Vault

logger = logging.getLogger("ailink")

KEPT_SECONDS = 86_400.0
ANSWER_LIMIT = 8 * 1024 * 1024  # bytes


class _Answer(msgspec.Struct):
    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Answer)


class StoreClaims:
    """The claims of one process, which tells its own from those that an earlier one left behind.

    Args:
        store, vault: where claims are, and what seals their answers.
        now: the time, in Unix seconds.
    """

    def __init__(self, store: Store, vault: Vault, now: Callable[[], float] = time) -> None:
        self._store, self._now = store, now
        # Under a key of the store's root, so that what is sealed here outlives a rotation of the master key as it is.
        self._vault = Vault(vault.derive(IDEMPOTENT_ANSWERS))
        self._boot = secrets.token_hex(8)
        # What could not be written of a claim, by tenant and hash of the key; None sets the key free.
        self._owed: dict[tuple[str, bytes], Mapping[str, object] | None] = {}

    async def claim(self, tenant: str, key: str, request_hash: bytes) -> Claim:
        """Take ``key`` for a request, durably, or return how the one stands that has it."""
        now, key_hash = self._now(), sha256(key.encode()).digest()
        row = {
            "token_id": tenant,
            "key_hash": key_hash,
            "request_hash": request_hash,
            "state": "claimed",
            "claimed_by": self._boot,
            "created_at": now,
            "expires_at": now + KEPT_SECONDS,
        }
        await self._pay()
        claim = Claim(tenant, key_hash, "new")
        taking = asyncio.ensure_future(self._store.write(table.claim, row, now))
        try:
            held = await asyncio.shield(taking)
        except asyncio.CancelledError:
            # The store goes on with it, and nobody would execute what is claimed then.
            taking.add_done_callback(partial(self._forgo, claim))
            raise
        return claim if held is None else self._standing(held, request_hash)

    def _forgo(self, claim: Claim, taken: "asyncio.Future[Row | None]") -> None:
        if not taken.cancelled() and taken.exception() is None and taken.result() is None:
            self._owed[claim.tenant, claim.key_hash] = None

    async def answer(self, claim: Claim, reply: Reply) -> None:
        """Keep the answer: from now on it is given to whoever sends the same request under the key."""
        assert isinstance(reply.body, bytes)  # a stream's is given whole
        if len(reply.body) > ANSWER_LIMIT:
            await self._settle(claim, {"state": "unkept"})
            return
        answer = _encoder.encode(_Answer(reply.status, reply.headers, reply.body))
        sealed = self._vault.seal(answer, _place(claim.tenant, claim.key_hash))
        await self._settle(claim, {"state": "done", "sealed_response": sealed})

    async def release(self, claim: Claim) -> None:
        """Set the key free."""
        await self._settle(claim, None)

    async def lose(self, claim: Claim) -> None:
        """Note that nobody knows what the request brought about."""
        await self._settle(claim, {"state": "unknown"})

    async def await_approval(self, claim: Claim, approval_id: str, expires_at: float) -> None:
        """Note which approval decides about the request. It may wait for longer than keys are kept: then its key, sent
        again, would ask for another one."""
        await self._settle(claim, {"approval_id": approval_id, "expires_at": expires_at + KEPT_SECONDS})

    async def _settle(self, claim: Claim, fields: Mapping[str, object] | None) -> None:
        try:
            await self._write(claim.tenant, claim.key_hash, fields)
        except StoreUnavailable as failure:
            logger.warning("what became of a request with an idempotency key is not written yet: %s", failure.message)
            self._owed[claim.tenant, claim.key_hash] = fields

    async def _pay(self) -> None:
        """Write what is owed. Raises ``StoreUnavailable``."""
        while self._owed:
            # Taken out first: written twice, it could undo what another request has claimed meanwhile.
            (tenant, key_hash), fields = self._owed.popitem()
            try:
                await self._write(tenant, key_hash, fields)
            except StoreUnavailable:
                self._owed[tenant, key_hash] = fields
                raise

    async def _write(self, tenant: str, key_hash: bytes, fields: Mapping[str, object] | None) -> None:
        if fields is None:
            await self._store.write(table.release_claim, tenant, key_hash)
        else:
            await self._store.write(table.change_claim, tenant, key_hash, fields)

    def _standing(self, row: Row, request_hash: bytes) -> Claim:
        claim = Claim(row["token_id"], row["key_hash"], "running", approval_id=row["approval_id"])
        if row["request_hash"] != request_hash:
            return claim._replace(state="other")
        if row["state"] == "done":
            answer = _decoder.decode(self._vault.open(row["sealed_response"], _place(claim.tenant, claim.key_hash)))
            return claim._replace(state="done", reply=Reply(answer.status, answer.headers, answer.body))
        if row["state"] in ("unknown", "unkept"):
            return claim._replace(state=row["state"])
        lost = row["claimed_by"] != self._boot and row["approval_id"] is None
        return claim._replace(state="unknown") if lost else claim


def _place(tenant: str, key_hash: bytes) -> Place:
    return Place(tenant, key_hash.hex(), "idempotent answer")
