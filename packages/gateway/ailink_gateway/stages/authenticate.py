"""Authenticate: finds out who calls. A request that names no one, or two, goes no further.

The secret is taken out of the exchange once it is known: nothing behind this stage sees it.
"""

from urllib.parse import urlencode

from ailink_gateway.exchange import Exchange, Headers, Reply
from ailink_gateway.ports import Directory
from ailink_gateway.stages import Proceed
from ailink_provider.errors import Failure

ADMIN = b"x-admin-key"  # looked at because two different keys are none; it carries no token
CARRIERS = frozenset((b"authorization", b"x-api-key", b"x-goog-api-key", ADMIN))  # where clients put their key
OURS = ("ailink_v1_", "ailink_admin_", "sk-ailb_", "sk_live_")


class Authenticate:
    """Needs the directory of those who may call."""

    def __init__(self, directory: Directory) -> None:
        self._directory = directory

    async def __call__(self, exchange: Exchange, proceed: Proceed) -> Reply:
        if exchange.resumed is not None:
            exchange.grant = await self._directory.by_id(exchange.resumed.token_id)
            return await proceed(exchange)
        secret = presented(exchange)
        if secret is None:
            grant = await self._directory.anonymous()
            if grant is None:
                raise Failure(
                    "invalid_api_key",
                    "Invalid API key: none was sent. Send your token as `Authorization: Bearer ailink_v1_...`.",
                )
        else:
            grant = self._directory.cached(secret) or await self._directory.find(secret)
            _take_out(exchange)
        if grant.expires_at is not None and exchange.created_at >= grant.expires_at:
            raise Failure("invalid_api_key", "Invalid API key: this token has expired.")
        exchange.grant = grant
        return await proceed(exchange)


def _carried(exchange: Exchange) -> Headers:
    """Return the headers that carry a key."""
    headers, raw_headers = exchange.headers, exchange.raw_headers
    if len(headers) == len(raw_headers):  # none is repeated, as nearly always: no need to look at each
        return [(name, headers[name]) for name in CARRIERS & headers.keys()]
    return [header for header in raw_headers if header[0] in CARRIERS]


def _take_out(exchange: Exchange) -> None:
    raw_headers = exchange.raw_headers = exchange.raw_headers.copy()
    for header in _carried(exchange):
        raw_headers.remove(header)
    for name in CARRIERS & exchange.headers.keys():
        del exchange.headers[name]


def presented(exchange: Exchange) -> str | None:
    """Return the secret that the caller sent, taking it out of the query. Raises ``Failure`` for two different ones of
    ours.
    """
    found: set[str] = set()
    for name, value in _carried(exchange):
        if name == b"authorization":
            if value[:7].lower() != b"bearer ":
                raise Failure("invalid_api_key", "Invalid API key: the Authorization header must be `Bearer <token>`.")
            value = value[7:]
        elif name == ADMIN and not value.startswith(b"ailink_admin_"):
            raise Failure("invalid_api_key", "Invalid API key: a token is not sent as X-Admin-Key.")
        found.add(value.strip().decode("latin-1"))
    in_query = exchange.route.dialect.credential_query
    if exchange.query and in_query is not None:
        parameters = exchange.parameters()
        keys = [value for name, value in parameters if name == in_query]
        if keys:
            found.update(keys)
            exchange.query = urlencode([pair for pair in parameters if pair[0] != in_query]).encode()
    if len(found) > 1:
        found = {secret for secret in found if secret.startswith(OURS)} or found
        if len(found) > 1:
            raise Failure("invalid_api_key", "Invalid API key: two different keys were sent. Send one.")
    return found.pop() if found else None
