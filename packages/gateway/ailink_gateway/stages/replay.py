"""Replay: what is sent twice under one idempotency key is executed once.

The key is claimed before any side effect. The same request gets the stored answer, or waits its turn; another one under
the same key is refused. A claim whose outcome nobody knows is never executed again.
"""

from collections.abc import AsyncGenerator, Awaitable
from functools import partial
from hashlib import sha256

from ailink_gateway.delivery import refuse
from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.ports import Claim, Claims
from ailink_gateway.stages import Proceed
from ailink_provider.errors import IN_FLIGHT, Failure

HEADERS = frozenset({b"idempotency-key", b"x-ailink-idempotency-key"})
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
LONGEST_KEY = 255
REPLAYED = (b"idempotent-replayed", b"true")
AGAIN_SECONDS = 1.0
# What an API may answer when it did nothing yet: such an answer is not the last word on the request.
TRY_AGAIN = frozenset({408, 425, 429, 503})


class Replay:
    """Needs the claims on idempotency keys."""

    def __init__(self, claims: Claims) -> None:
        self._claims = claims

    def __call__(self, exchange: Exchange, proceed: Proceed) -> Awaitable[Reply]:
        if HEADERS.isdisjoint(exchange.headers) or exchange.method in SAFE_METHODS:
            return proceed(exchange)
        return self._claim(exchange, proceed, _key(exchange))

    async def _claim(self, exchange: Exchange, proceed: Proceed, key: str) -> Reply:
        grant = exchange.grant
        assert grant is not None  # Authenticate stands before this stage
        exchange.idempotency_key = key
        if exchange.resumed is not None:  # the claim is that of the request which asked for the approval
            return await proceed(exchange)
        await exchange.read_body()
        claim = await self._claims.claim(grant.tenant, key, _hash(exchange))
        if claim.state == "new":
            exchange.note_approval = partial(self._claims.await_approval, claim)
            return await self._execute(exchange, proceed, claim)
        if claim.state == "running" and claim.approval_id is not None:
            exchange.approval_id = claim.approval_id
            return await self._execute(exchange, proceed, claim)
        return _standing(claim)

    async def _execute(self, exchange: Exchange, proceed: Proceed, claim: Claim) -> Reply:
        try:
            reply = await proceed(exchange)
        except Failure as failure:
            if _is_held_back(exchange, failure):
                await self._claims.answer(claim, refuse(exchange, failure))
            else:
                await self._broken_off(exchange, claim, unsent=failure.unsent)
            raise
        except BaseException:
            await self._broken_off(exchange, claim, unsent=False)
            raise
        if not isinstance(reply.body, bytes):
            reply.body = self._keeping(exchange, claim, reply, reply.body)
        elif reply.status != 202 or exchange.approval_id is None:  # else it waits, and the key leads to its approval
            await self._keep(claim, reply)
        return reply

    async def _keep(self, claim: Claim, reply: Reply) -> None:
        if reply.status in TRY_AGAIN:
            await self._claims.release(claim)
        else:
            await self._claims.answer(claim, reply)

    async def _keeping(
        self, exchange: Exchange, claim: Claim, reply: Reply, body: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """Yield the body, and keep it once it has come to its end."""
        parts: list[bytes] = []
        whole = False
        try:
            async for chunk in body:
                parts.append(chunk)
                yield chunk
            whole = exchange.measured.complete and exchange.measured.failure is None
        finally:
            await body.aclose()
            if whole:
                await self._keep(claim, Reply(reply.status, reply.headers, b"".join(parts)))
            else:
                await self._broken_off(exchange, claim, unsent=False)

    async def _broken_off(self, exchange: Exchange, claim: Claim, unsent: bool) -> None:
        """Settle a claim whose request came to no answer. A model's may be asked again: it changed nothing."""
        if exchange.approval_id is not None:
            return  # the key leads to the approval, which knows
        if exchange.opened and exchange.route.kind == "api" and not unsent:
            await self._claims.lose(claim)
        else:
            await self._claims.release(claim)


def _is_held_back(exchange: Exchange, failure: Failure) -> bool:
    """Whether a request was executed, and a policy refuses what came of it: then that refusal is its answer."""
    status = exchange.upstream_status
    if failure.policy_name is None or status is None:
        return False
    return status < 400 if exchange.route.kind == "model" else status not in TRY_AGAIN


def _key(exchange: Exchange) -> str:
    """Return the key that was sent. Raises ``Failure`` for two different ones, or one that cannot be one."""
    keys = {value.decode("latin-1") for name, value in exchange.raw_headers if name in HEADERS}
    if len(keys) > 1:
        raise Failure("invalid_request", "Two different idempotency keys were sent: send one.", param="Idempotency-Key")
    key = keys.pop()
    if not 0 < len(key) <= LONGEST_KEY or not key.isascii() or not key.isprintable():
        raise Failure(
            "invalid_request",
            f"An idempotency key has 1 to {LONGEST_KEY} printable ASCII characters: a UUID is a good one.",
            param="Idempotency-Key",
        )
    return key


def _hash(exchange: Exchange) -> bytes:
    """Return the digest of what makes two requests the same: method, path, query and body."""
    digest = sha256()
    for part in (exchange.method.encode(), exchange.raw_path, exchange.query, exchange.body):
        digest.update(len(part).to_bytes(8))
        digest.update(part)
    return digest.digest()


def _standing(claim: Claim) -> Reply:
    """Return the stored answer. Raises the ``Failure`` that says why there is none."""
    if claim.reply is not None:
        return Reply(claim.reply.status, [*claim.reply.headers, REPLAYED], claim.reply.body)
    if claim.state == "running":
        raise Failure(
            "idempotency_conflict",
            "A request with this idempotency key is under way: ask again in a moment for its answer.",
            param="Idempotency-Key",
            reason=IN_FLIGHT,
            retry_after=AGAIN_SECONDS,
        )
    if claim.state == "other":
        raise Failure(
            "idempotency_conflict",
            "This idempotency key was used for another request: use a new key for each operation.",
            param="Idempotency-Key",
            reason="key_reused",
            status=422,
        )
    if claim.state == "unkept":
        raise Failure(
            "idempotency_conflict",
            "The request with this idempotency key was answered, by more than the gateway keeps: it is not sent again.",
            param="Idempotency-Key",
            reason="answer_not_kept",
        )
    raise Failure(
        "outcome_unknown",
        "Nobody knows whether the request with this idempotency key took effect, so it is not sent again: look for its "
        "effect, then use a new key.",
        param="Idempotency-Key",
    )
