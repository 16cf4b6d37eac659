"""Who calls the control plane, and whether that one may. Everything that is not listed here is refused.

The rules look at the ASGI scope's own path, the one that is routed, and never at a URL rebuilt from headers.
"""

import hmac
from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Annotated, NamedTuple

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from ailink_gateway import tokens
from ailink_gateway.store.grants import load_token
from ailink_gateway.store.store import Store
from ailink_gateway.vault import TOKEN_FINGERPRINTS, Vault
from ailink_provider.errors import Failure

# What anyone may read.
PUBLIC = frozenset({
    "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/redoc",
    "/static-offline-docs/favicon.png", "/static-offline-docs/redoc.standalone.js",
    "/static-offline-docs/swagger-ui-bundle.js", "/static-offline-docs/swagger-ui.css",
})
READ = frozenset({"GET", "HEAD"})
# What a token may do; the handlers show it itself alone.
TOKEN_MAY = frozenset({("GET", "/api/v1/tokens"), ("GET", "/api/v1/tokens/self")})

_ADMIN_CARRIERS = (b"x-admin-key", b"authorization")
_TOKEN_CARRIERS = (b"authorization", b"x-api-key", b"x-goog-api-key")
_CARRIERS = frozenset(_ADMIN_CARRIERS + _TOKEN_CARRIERS)


class Principal(NamedTuple):
    """Who calls: a token by its id, or the admin, whose ``token_id`` is None."""

    token_id: str | None


class Authenticator:
    """Tells who calls.

    Args:
        admin_key: the one secret that may do everything here; None leaves only tokens.
    """

    def __init__(self, store: Store, vault: Vault, admin_key: str | None, now: Callable[[], float]) -> None:
        self._store = store
        self._vault = vault
        self._admin_digest = sha256(admin_key.encode()).digest() if admin_key else None
        self._now = now

    def __repr__(self) -> str:
        return "Authenticator()"

    async def __call__(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Principal | None:
        """Return who calls, None for what is public. Raises ``Failure``: 401, or 403 for what a token may not do."""
        if method in READ and path in PUBLIC:
            return None
        carried = list(_secrets(headers))
        secrets = {secret for _, secret in carried}
        if not secrets:
            raise _invalid("none was sent. Send the admin key as X-Admin-Key or as a bearer token")
        if len(secrets) > 1:
            raise _invalid("two different ones were sent in one request")
        secret = secrets.pop()
        carriers = {carrier for carrier, _ in carried}
        if not carriers.isdisjoint(_ADMIN_CARRIERS) and self._is_admin(secret):
            return Principal(None)
        if carriers.isdisjoint(_TOKEN_CARRIERS):
            raise _invalid("this is not the admin key")
        principal = await self._token(secret)
        if (method, path) not in TOKEN_MAY:
            raise Failure("policy_denied", "A token may not do this: use the admin key.", reason="admin_only")
        return principal

    def _is_admin(self, secret: str) -> bool:
        # Digests of equal length, compared in constant time: neither content nor length shows in the time it takes.
        digest = sha256(secret.encode()).digest()
        return self._admin_digest is not None and hmac.compare_digest(digest, self._admin_digest)

    async def _token(self, secret: str) -> Principal:
        if tokens.parse(secret) is None:
            raise _invalid("it is neither the admin key nor a token of this gateway")
        fingerprint = tokens.fingerprint(self._vault.derive(TOKEN_FINGERPRINTS), secret)
        row = await self._store.read(load_token, fingerprint)
        refusal = "unknown here" if row is None else row.refusal(self._now())
        if row is None or refusal is not None:
            raise _invalid(f"the token is {refusal}")
        return Principal(row.id)


async def _principal(
    request: Request,
    _admin: Annotated[object, Security(APIKeyHeader(name="X-Admin-Key", scheme_name="AdminKey", auto_error=False))],
    _bearer: Annotated[object, Security(HTTPBearer(scheme_name="Bearer", auto_error=False))],
) -> Principal:
    # Already decided, before routing; the two schemes are named for OpenAPI.
    principal: Principal = request.state.principal
    return principal


Caller = Annotated[Principal, Depends(_principal)]
AUTHENTICATED = [Depends(_principal)]


def _secrets(headers: Iterable[tuple[bytes, bytes]]) -> Iterable[tuple[bytes, str]]:
    for name, value in headers:
        if name not in _CARRIERS:
            continue
        text = value.decode("latin-1").strip()
        if name == b"authorization":
            scheme, _, text = text.partition(" ")
            if scheme.lower() != "bearer":
                continue
        if text:
            yield name, text.strip()


def _invalid(why: str) -> Failure:
    return Failure("invalid_api_key", f"Invalid API key: {why}.")
