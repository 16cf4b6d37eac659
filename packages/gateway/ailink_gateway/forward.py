"""What travels on and what stays: the path, query and headers of a call that leaves, and the headers of one that comes
back.

To a model an allow-list goes out; to any other API everything but what names, authenticates or frames this hop. Exactly
one credential leaves, and it is put in last: the same for every call, or signed for this one.
"""

import hmac
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import product

from ailink_gateway.exchange import Exchange, Headers
from ailink_gateway.grant import Key, Upstream
from ailink_gateway.mask import masked
from ailink_gateway.trace import read_traceparent, write_traceparent
from ailink_provider.builtin import credential_header
from ailink_provider.errors import Failure
from ailink_provider.transport import Request, Response

USER_AGENT = b"ailink/0.1"
REAL_AUTHORIZATION = b"x-real-authorization"
ALLOW_OVERRIDE = b"x-ailink-allow-override"

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"content-length",
        b"host",
        b"expect",
    }
)
PRIVATE = frozenset(
    {
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"x-goog-api-key",
        b"x-admin-key",
        b"x-user-id",
        b"cookie",
        b"cookie2",
        b"forwarded",
        b"via",
        REAL_AUTHORIZATION,
        b"x-session-id",
        b"x-parent-span-id",
        b"x-preferred-model",
        b"idempotency-key",
        b"prefer",
        b"accept-encoding",
    }
)
SECRET = frozenset(
    {
        b"authorization",
        b"x-api-key",
        b"api-key",
        b"x-goog-api-key",
        b"x-admin-key",
        b"cookie",
        b"cookie2",
        b"forwarded",
        b"via",
        b"prefer",
        REAL_AUTHORIZATION,
    }
)
PRIVATE_PREFIXES = (b"x-ailink-", b"x-forwarded-", b"proxy-")
RATE_LIMIT = b"x-ratelimit-"
KEPT_BACK = frozenset({b"set-cookie", b"set-cookie2", b"x-request-id", b"alt-svc", b"server", b"date"})

# Spellings by which a path would mean another one to its reader than to us.
_TRAP = re.compile(rb"%2[ef]|%5c|%25|%[01]|%7f|%c[01]|%3b|%(?![0-9a-f]{2})|[\\;\x00-\x20\x7f-\xff#?]", re.IGNORECASE)
_VERSION = re.compile(r"/v[0-9]+[a-z0-9]*$")
_OF_MODELS = (b"content-type", b"application/json"), (b"accept-encoding", b"identity"), (b"user-agent", USER_AGENT)
_OF_CALLS = (*_OF_MODELS, (b"accept", b"application/json"))
_OF_STREAMS = (*_OF_MODELS, (b"accept", b"text/event-stream"))
# By these some servers take a request for one of another method. Many cannot tell "_" from "-" in a header's name.
_OVERRIDES = frozenset(
    name % marks
    for name in (b"x%chttp%cmethod%coverride", b"x%chttp%cmethod", b"x%cmethod%coverride")
    for marks in product(b"-_", repeat=name.count(b"%c"))
)


def version_of(base: str) -> str:
    """Return the version that a base URL ends in, such as "/v1"; "" if it ends in none."""
    found = _VERSION.search(base)
    return found[0] if found is not None else ""


def posing_methods(exchange: Exchange) -> list[str]:
    """Return the methods that a request asks to be taken for, by headers that some servers obey."""
    if _OVERRIDES.isdisjoint(exchange.headers):  # nearly always
        return []
    return [value.decode("latin-1").strip().upper() for name, value in exchange.raw_headers if name in _OVERRIDES]


def model_target(upstream: Upstream, path: str) -> tuple[bytes, bytes]:
    """Return path and query of a model's route below its upstream."""
    path, _, query = path.partition("?")
    beginning, place = upstream.moved
    if beginning and path.startswith(beginning):
        path = place + path.removeprefix(beginning)
    return (upstream.models + path).encode(), query.encode()


def api_target(exchange: Exchange, upstream: Upstream) -> tuple[bytes, bytes]:
    """Return path and query of an API call: the client's own. Raises ``Failure`` for a path that climbs or hides."""
    raw = exchange.raw_path
    if not raw.startswith(b"/") or _TRAP.search(raw) or b".." in raw.split(b"/") or b"." in raw.split(b"/"):
        raise Failure(
            "invalid_request",
            "The path has an encoded slash, dot, backslash, semicolon or control character, climbs, or begins with no "
            "slash: send it plainly.",
            param="path",
        )
    base = upstream.base
    version = version_of(base)
    if version and (raw == version.encode() or raw.startswith(version.encode() + b"/")):
        base = base.removesuffix(version)
    return base.encode() + raw, exchange.query


def model_headers(exchange: Exchange, upstream: Upstream, key: Key | None) -> Headers:
    """Return the headers of a call to a model."""
    dialect = upstream.dialect
    headers = [*(_OF_STREAMS if exchange.streaming else _OF_CALLS)]
    incoming = exchange.headers
    own = exchange.route.dialect is dialect
    for name, sent in _encoded(dialect.request_headers):
        if own and sent in incoming:
            headers.append((sent, incoming[sent]))
        elif name in dialect.fixed_headers:
            headers.append((sent, dialect.fixed_headers[name].encode()))
    if (trace := _span(exchange)) is not None:
        headers.append((b"traceparent", trace))
    if key is not None and key.header is not None:
        headers.append((key.header, key.value))
    return headers


@lru_cache(maxsize=64)
def _encoded(names: tuple[str, ...]) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, name.encode()) for name in names)


def api_headers(exchange: Exchange, key: Key | None) -> Headers:
    """Return the headers of a call to another API: the client's, without this hop's and its secrets, and the key at the
    end.
    """
    dropped = _nominated(exchange.raw_headers) | {b"traceparent"}
    if key is not None and key.header is not None:
        dropped.add(_folded(key.header))
    headers = []
    for name, value in exchange.raw_headers:
        folded = _folded(name)
        if folded in HOP_BY_HOP or folded in PRIVATE or folded in dropped or folded.startswith(PRIVATE_PREFIXES):
            continue
        headers.append((name, value))
    headers.append((b"accept-encoding", b"identity"))
    if exchange.idempotency_key is not None:
        headers.append((b"idempotency-key", _own_key(exchange, exchange.idempotency_key)))
    if (trace := _span(exchange)) is not None:
        headers.append((b"traceparent", trace))
    if key is not None and key.header is not None:
        headers.append((key.header, key.value))
    return headers


def _own_key(exchange: Exchange, key: str) -> bytes:
    """Return the idempotency key that an API gets: the token's own, so that tokens cannot meet under one key there."""
    grant = exchange.grant
    tenant = grant.token_id or grant.project_id if grant is not None else ""
    return hmac.digest(tenant.encode(), key.encode(), "sha256").hex().encode()


def kept_headers(exchange: Exchange) -> Headers:
    """Return the headers of a request that may be stored and sent later: without this hop's, the caller's secrets and
    its cookies. What steers the gateway stays.
    """
    dropped = _nominated(exchange.raw_headers) | HOP_BY_HOP | SECRET
    return [
        (name, value)
        for name, value in exchange.raw_headers
        if not ((folded := _folded(name)) in dropped or folded.startswith((b"x-forwarded-", b"proxy-")))
    ]


def api_reply_headers(exchange: Exchange, response: Response, spellings: Sequence[bytes]) -> Headers:
    """Return the headers of another API's answer, without those of its hop, its cookies, and any echo of the key.

    Its own limits are not those of this call, where the client is told of some.
    """
    dropped = _nominated(response.headers) | KEPT_BACK
    limited = any(name.startswith(RATE_LIMIT) for name, _ in exchange.response_headers)
    # What a 204 or 304 declares is the length of a body that does not follow.
    framing = HOP_BY_HOP if response.status in (204, 304) else HOP_BY_HOP - {b"content-length"}
    return [
        (name, masked(spellings, value))
        for name, value in response.headers
        if not ((folded := _folded(name)) in framing or folded in dropped or folded.startswith(b"x-ailink-"))
        and not (limited and folded.startswith(RATE_LIMIT))
    ]


def _nominated(headers: Headers) -> set[bytes]:
    """Return the names that the Connection headers reserve for this hop."""
    values = [value for name, value in headers if name == b"connection"]
    return {_folded(token.strip().lower()) for value in values for token in value.split(b",")}


def _folded(name: bytes) -> bytes:
    # Many servers cannot tell "_" from "-" in a header's name.
    return name.replace(b"_", b"-")


def caller_key(exchange: Exchange, upstream: Upstream) -> Key | None:
    """Return the key that the caller brought for this upstream, or None. Raises ``Failure`` where it may bring none."""
    value = exchange.headers.get(REAL_AUTHORIZATION)
    grant = exchange.grant
    if value is None or grant is None:
        return None
    override = exchange.headers.get(ALLOW_OVERRIDE, b"").lower() == b"true" and grant.allow_upstream_key
    its_vendors = any(upstream is own and own.provider == grant.upstreams[0].provider for own in grant.upstreams)
    if not its_vendors or not (grant.passthrough or override):
        raise Failure(
            "policy_denied",
            "This token has its own credential: X-Real-Authorization is accepted only where the token has "
            "none, or allows it (allow_upstream_key) and X-AILink-Allow-Override: true is sent.",
            reason="upstream_key_not_allowed",
        )
    secret = value[7:].strip() if value[:7].lower() == b"bearer " else value
    if upstream.provider is None or upstream.generic:
        return Key(secret, b"authorization", value)
    name, prefix = credential_header(upstream.provider)
    return Key(secret, name.encode(), prefix.encode() + secret)


async def sign(request: Request, upstream: Upstream) -> Sequence[bytes]:
    """Sign a request that is complete but for that, where its upstream wants each call signed; return the secrets that
    went into it. Raises ``Failure`` (``upstream_auth``, ``credential_missing``).
    """
    if upstream.auth is None:
        return ()
    body = request.body
    assert body is None or isinstance(body, bytes)  # what is signed is what is sent
    url = str(request.url) + request.target.decode("latin-1")
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in request.headers}
    signed = await upstream.auth.apply(request.method, url, headers, body or b"")
    added = [(name.encode(), value.encode()) for name, value in signed.headers.items()]
    replaced = {_folded(name) for name, _ in added}
    request.headers = [header for header in request.headers if _folded(header[0].lower()) not in replaced] + added
    if signed.query:
        request.target = signed.onto(url).removeprefix(str(request.url)).encode()
    return [secret.encode() for secret in signed.secrets]


def _span(exchange: Exchange) -> bytes | None:
    """Return a W3C ``traceparent`` with a span of ours in the caller's trace; None if the caller sent no valid one."""
    trace = read_traceparent(exchange.headers.get(b"traceparent"))
    return None if trace is None else write_traceparent(trace, exchange.id)
