"""Dispatch: sends the request to its target and turns the answer into the client's. The last stage.

The headers of a stream wait for its first event, so an error there is still a failed attempt. The bill of a call that
is cut short is drawn up here, from what was produced.
"""

from collections.abc import AsyncGenerator, Sequence
from functools import lru_cache
from urllib.parse import quote_from_bytes, unquote_plus

from ailink_gateway.charges import FREE, IN_DOUBT, USUAL, asked_tier
from ailink_gateway.exchange import Exchange, Reply
from ailink_gateway.forward import (
    api_headers,
    api_reply_headers,
    api_target,
    caller_key,
    model_headers,
    model_target,
    sign,
)
from ailink_gateway.grant import Key, Target, Upstream
from ailink_gateway.mask import Mask, masked
from ailink_gateway.ports import Journal, Thoughts
from ailink_gateway.record import PATH_LIMIT, Opened, capped
from ailink_gateway.speech import Speech, count_locally, error_instead, speak, tells_of_error
from ailink_gateway.stages import Proceed
from ailink_gateway.unpack import compression, unpacked
from ailink_provider.chat import Usage
from ailink_provider.dialects import Loss
from ailink_provider.errors import Failure
from ailink_provider.transport import Request, Response

REPLY_LIMIT = 64 * 1024 * 1024
ERROR_LIMIT = 64 * 1024
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
CHARACTERS_A_TOKEN = 4


class Dispatch:
    """Needs the journal, in which a call is opened before it is made, and what models thought in earlier ones."""

    def __init__(self, journal: Journal, thoughts: Thoughts) -> None:
        self._journal, self._thoughts = journal, thoughts

    async def __call__(self, exchange: Exchange, proceed: Proceed) -> Reply:
        target = exchange.target
        assert target is not None  # Attempt stands before this stage
        upstream = target.upstream
        exchange.caller_key = caller_key(exchange, upstream)
        key = exchange.caller_key or upstream.key
        if key is None and upstream.auth is None and upstream.provider is not None and upstream.provider.needs_key:
            raise Failure(
                "invalid_api_key",
                f"Invalid API key: this token has no credential, so send {upstream.name}'s own key as "
                "X-Real-Authorization.",
            )
        if exchange.route.kind == "api":
            return await self._api(exchange, target, key)
        return await self._model(exchange, target, key)

    # --- models ----------------------------------------------------------------------------------

    async def _model(self, exchange: Exchange, target: Target, key: Key | None) -> Reply:
        if exchange.route.operation == "count_tokens" and exchange.route.dialect is not target.upstream.dialect:
            exchange.warnings.append("the count is an estimate")
            return Reply(200, [(b"content-type", b"application/json")], count_locally(exchange))
        speech = speak(exchange, target, self._thoughts)
        _report(exchange, speech.losses)
        _report_price(exchange, target)
        upstream = target.upstream
        path, query = model_target(upstream, speech.path)
        headers = model_headers(exchange, upstream, key)
        request = Request("POST", upstream.origin, _with_key(path, query, key), headers, speech.body, resend=True)
        spellings = key.spellings if key is not None else await sign(request, upstream)
        self._open(exchange, target)
        response = await _send(exchange, upstream, request)
        if not 200 <= response.status < 300:
            exchange.outstanding = response.status in IN_DOUBT
            raise _whose(exchange, await _refused(target, response, spellings))
        if exchange.streaming:
            return await self._stream(exchange, speech, response, Mask(spellings))
        body = masked(spellings, await response.read(REPLY_LIMIT))
        try:
            body = speech.whole(body)
        except Failure:
            # An error is the upstream's answer and costs nothing; what is no reply may have cost anything.
            exchange.outstanding = not tells_of_error(body)
            raise
        exchange.measured = speech.measured
        _complete(exchange, speech)
        return Reply(200, [(b"content-type", b"application/json"), *_passed(target, response)], body)

    async def _stream(self, exchange: Exchange, speech: Speech, response: Response, mask: Mask) -> Reply:
        pump = _Pump(exchange, speech, response, mask)
        try:
            first = await pump.first()
        except BaseException:
            response.close()
            # An error that the upstream itself begins with is its answer; a stream that breaks off is none.
            exchange.outstanding = not pump.refused
            raise
        assert exchange.target is not None
        content_type = speech.content_type.encode() if speech.content_type else response.header(b"content-type")
        headers = [
            (b"content-type", content_type or b"text/event-stream"),
            (b"cache-control", b"no-cache"),
            *_passed(exchange.target, response),
        ]
        return Reply(200, headers, pump.rest(first))

    # --- any other API ---------------------------------------------------------------------------

    async def _api(self, exchange: Exchange, target: Target, key: Key | None) -> Reply:
        upstream = target.upstream
        path, query = api_target(exchange, upstream)
        request = Request(
            method=exchange.method,
            url=upstream.origin,
            target=_with_key(path, query, key),
            headers=api_headers(exchange, key),
            body=exchange.body or None,
            resend=exchange.method in SAFE_METHODS or exchange.idempotency_key is not None,
        )
        spellings = key.spellings if key is not None else await sign(request, upstream)
        self._open(exchange, target)
        response = await _send(exchange, upstream, request)
        headers = api_reply_headers(exchange, response, spellings)
        packed = compression(exchange.method, response) if spellings else None
        if packed is not None:
            headers = [header for header in headers if header[0] not in (b"content-encoding", b"content-length")]
        return Reply(response.status, headers, _bytes(exchange, response, Mask(spellings), packed), response.close)

    def _open(self, exchange: Exchange, target: Target) -> None:
        """Note that the call is about to be made; once more if an attempt is in doubt, as it counts beside the next.

        Raises ``Failure`` (``spool_full``, or ``budget_exceeded`` if a budget has no room for both).
        """
        if exchange.opened and not (exchange.outstanding and exchange.held_nano):
            return
        held = exchange.held_nano
        if exchange.opened and held is not None:
            exchange.lost_nano += held
            exchange.outstanding = False
        exchange.opened = True
        grant = exchange.grant
        self._journal.open(
            Opened(
                id=exchange.id,
                created_at=exchange.created_at,
                token_id=grant.token_id if grant else None,
                project_id=grant.project_id if grant else None,
                method=exchange.method,
                path=capped(exchange.path, PATH_LIMIT),
                operation=exchange.route.operation or exchange.route.kind,
                model=target.model or None,
                provider=target.upstream.name,
                held_nano=None if held is None else held + exchange.lost_nano,
            )
        )


class _Pump:
    """A stream on its way: pulls a chunk from the upstream when the client has taken the one before."""

    def __init__(self, exchange: Exchange, speech: Speech, response: Response, mask: Mask) -> None:
        self._exchange, self._speech, self._response, self._mask = exchange, speech, response, mask
        self._chunks = aiter(response)
        self._ended = False
        self._chunk = b""
        self.refused = False
        """Whether the upstream told of an error, instead of breaking off."""

    async def first(self) -> bytes:
        """Return the first bytes for the client. Raises the ``Failure`` of a stream that begins with one."""
        self._exchange.measured = measured = self._speech.measured
        out = heard = b""
        while not out and not self._ended:
            out = await self._next()
            heard = (heard + self._chunk)[:ERROR_LIMIT]
            failure = measured.failure
            if failure is not None and not out:
                told = error_instead(self._speech, heard) if self._ended else failure
                self.refused = told is not None
                raise told or failure
        return out

    async def rest(self, first: bytes) -> AsyncGenerator[bytes, None]:
        """Yield ``first`` and what follows; draw up what was used, however it ends."""
        exchange, speech = self._exchange, self._speech
        measured = speech.measured
        out = first
        try:
            while True:
                if measured.complete:
                    _complete(exchange, speech)
                if out:
                    yield out
                if self._ended or measured.failure is not None:
                    break
                out = await self._next()
        except Failure as failure:
            if not measured.complete:  # otherwise all was said before it broke
                yield speech.fail(failure)
        finally:
            self._response.close()
            _complete(exchange, speech)

    async def _next(self) -> bytes:
        try:
            chunk = await anext(self._chunks)
        except StopAsyncIteration:
            self._ended = True
            self._chunk = self._mask.close()
            return self._speech.feed(self._chunk) + self._speech.close()
        self._chunk = self._mask.feed(chunk)
        return self._speech.feed(self._chunk)


async def _bytes(
    exchange: Exchange, response: Response, mask: Mask, packed: int | None
) -> AsyncGenerator[bytes, None]:
    declared = response.header(b"content-length") if packed is None else None
    left = int(declared) if declared is not None else -1
    try:
        async for chunk in response if packed is None else unpacked(aiter(response), packed):
            if out := mask.feed(chunk):
                left -= len(out)
                exchange.measured.complete = left == 0
                yield out
        exchange.measured.complete = True
        if out := mask.close():
            yield out
    except Failure as failure:
        exchange.error_code = failure.code
        raise
    finally:
        response.close()


def _complete(exchange: Exchange, speech: Speech) -> None:
    """Settle what a call used: the upstream's own figures, or an estimate of what was produced."""
    measured = exchange.measured
    if measured.failure is not None:
        exchange.error_code = measured.failure.code
    produced = -(-measured.characters // CHARACTERS_A_TOKEN)
    cut = measured.failure is not None or not measured.complete
    if not exchange.usage_estimated:
        # What came to its end without a count is in doubt: it cost more than what can be seen, or may have.
        exchange.outstanding = measured.usage is None and not cut
    # The count of a stream that was cut short is one that was made at its beginning.
    if measured.usage is None or (cut and measured.usage.output_tokens < produced):
        known = measured.usage or Usage(input_tokens=speech.input_tokens(exchange))
        known.output_tokens = produced
        measured.usage = known
        exchange.usage_estimated = True


async def _refused(target: Target, response: Response, spellings: Sequence[bytes]) -> Failure:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
    body = masked(spellings, await response.read(ERROR_LIMIT))
    failure = target.upstream.dialect.read_error(response.status, headers, body)
    failure.upstream_status = response.status
    return failure


def _whose(exchange: Exchange, failure: Failure) -> Failure:
    """Return ``failure``, as the caller's own where it was the caller's key that was refused, or is missing."""
    if failure.code != "upstream_auth":
        return failure
    if exchange.caller_key is not None:
        message = "Invalid API key: the upstream refused the key that was sent as X-Real-Authorization."
    elif exchange.grant is not None and exchange.grant.passthrough:
        message = "Invalid API key: this token has no credential, so send the upstream's key as X-Real-Authorization."
    else:
        return failure
    return Failure("invalid_api_key", message, upstream_status=failure.upstream_status)


async def _send(exchange: Exchange, upstream: Upstream, request: Request) -> Response:
    """Send a request. From its first byte to the answer's end, the attempt is in doubt."""
    try:
        response = await upstream.sender.send(request, exchange.deadline)
    except BaseException:
        exchange.outstanding = request.begun
        raise
    exchange.outstanding = True
    exchange.upstream_status = response.status
    return response


def _report_price(exchange: Exchange, target: Target) -> None:
    if exchange.route.operation in FREE:
        return
    price, tier = target.known_price(exchange.created_at), asked_tier(exchange.members)
    if price is None:
        counted = "the configured unknown_price counts" if target.fallback is not None else "its cost is not counted"
        exchange.warnings.append(f"price: that of {target.model} at {target.upstream.name} is unknown, {counted}")
    elif tier not in USUAL and tier not in price.service_tiers:
        exchange.warnings.append(f"price: {target.model}'s at the service tier {tier} is unknown, its usual one counts")


def _report(exchange: Exchange, losses: list[Loss]) -> None:
    if not losses:
        return
    if exchange.grant is not None and exchange.grant.strict:
        loss = losses[0]
        raise Failure(
            "unsupported_parameter", f"{loss.field} cannot be sent to this model: {loss.why}.", param=loss.field
        )
    exchange.warnings.extend(f"{loss.field}: {loss.why}" for loss in losses)


def _passed(target: Target, response: Response) -> list[tuple[bytes, bytes]]:
    wanted = _encoded(target.upstream.dialect.response_headers)
    return [header for header in response.headers if header[0] in wanted] if wanted else []


@lru_cache(maxsize=64)
def _encoded(names: tuple[str, ...]) -> frozenset[bytes]:
    return frozenset(name.encode() for name in names)


def _with_key(path: bytes, query: bytes, key: Key | None) -> bytes:
    if key is not None and key.query is not None:
        # The caller's own parameter of this name goes: some servers would believe the first one, some the last.
        injected = _folded(key.query)
        kept = [pair for pair in query.split(b"&") if pair and _folded(_name_of(pair)) != injected]
        query = b"&".join([*kept, f"{key.query}={quote_from_bytes(key.secret, safe='')}".encode()])
    return path + b"?" + query if query else path


def _name_of(pair: bytes) -> str:
    return unquote_plus(pair.partition(b"=")[0].decode("latin-1"))


def _folded(name: str) -> str:
    return name.lower().replace("-", "_")
