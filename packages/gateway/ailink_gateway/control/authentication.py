"""Who calls the control plane, and whether that one may. Everything that is not listed here is refused.

The rules look at the ASGI scope's own path, the one that is routed, and never at a URL rebuilt from headers.
"""

import hmac
from collections.abc import Callable, Iterable
from typing import Annotated, NamedTuple

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyHeader, HTTPBearer

from ailink_gateway import tokens
from ailink_gateway.control.scopes import ALL, EVERYTHING, Found, allows
from ailink_gateway.store.admin_keys import usable_by_fingerprint, usable_by_id
from ailink_gateway.store.grants import load_token
from ailink_gateway.store.rows import Row
from ailink_gateway.store.store import Store
from ailink_gateway.vault import ADMIN_KEY_FINGERPRINTS, TOKEN_FINGERPRINTS, Vault
from ailink_provider.errors import Failure

# What anyone may read.
PUBLIC = frozenset({
    "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/redoc",
    "/static-offline-docs/favicon.png", "/static-offline-docs/redoc.standalone.js",
    "/static-offline-docs/swagger-ui-bundle.js", "/static-offline-docs/swagger-ui.css",
})
READ = frozenset({"GET", "HEAD"})
# The approver's page: it opens by signed links, and signs approvers in by itself.
PAGES = frozenset({
    ("GET", "/ailink/approvals/{id}"), ("POST", "/ailink/approvals/{id}"), ("POST", "/ailink/approvals/{id}/sign-in"),
})
# What a token may do; the handlers show it itself, and what is its own, alone.
TOKEN_MAY = frozenset({
    ("GET", "/api/v1/tokens"), ("GET", "/api/v1/tokens/self"),
    ("GET", "/api/v1/approvals"), ("GET", "/api/v1/approvals/{id}"),
})
OPERATOR = "operator"

_ADMIN_CARRIERS = (b"x-admin-key", b"authorization")
_TOKEN_CARRIERS = (b"authorization", b"x-api-key", b"x-goog-api-key")
_CARRIERS = frozenset(_ADMIN_CARRIERS + _TOKEN_CARRIERS)


class Principal(NamedTuple):
    """Who calls: a token by its id, or an admin, whose ``token_id`` is None.

    ``key_id`` and ``scopes`` are an admin's key and what it may do; ``expires_at`` is when it ends, in Unix seconds.
    """

    token_id: str | None
    key_id: str | None = None
    scopes: frozenset[str] = frozenset()
    expires_at: float | None = None


class Admins:
    """Tells admins by their keys.

    Args:
        admin_key: the operator's, which may do everything; None leaves only those that were created.
    """

    def __init__(self, store: Store, vault: Vault, admin_key: str | None, now: Callable[[], float]) -> None:
        self._store = store
        self._key = vault.derive(ADMIN_KEY_FINGERPRINTS)
        self._now = now
        # Of the operator's key nothing is kept but this, which is compared.
        self._operator = tokens.fingerprint(self._key, admin_key) if admin_key else None

    def __repr__(self) -> str:
        return "Admins()"

    async def find(self, secret: str) -> Principal | None:
        """Return whose key this is, if it may be used now."""
        fingerprint = tokens.fingerprint(self._key, secret)
        # Compared in constant time: neither content nor length shows in the time it takes.
        if self._operator is not None and hmac.compare_digest(fingerprint, self._operator):
            return Principal(None, OPERATOR, ALL)
        if not tokens.is_admin_key(secret):
            return None
        return _admin(await self._store.read(usable_by_fingerprint, fingerprint, self._now()))

    async def by_id(self, key_id: str) -> Principal | None:
        """Return the admin whose key has this id, if it may be used now."""
        if key_id == OPERATOR:
            return Principal(None, OPERATOR, ALL) if self._operator is not None else None
        return _admin(await self._store.read(usable_by_id, key_id, self._now()))

    def mark(self, key_id: str) -> bytes:
        """Return what changes with the operator's key, so that what was signed with the old one ends with it."""
        return self._operator or b"" if key_id == OPERATOR else b""


def _admin(row: Row | None) -> Principal | None:
    return Principal(None, row["id"], frozenset(row["scopes"]), row["expires_at"]) if row is not None else None


class Authenticator:
    """Tells who calls, and whether that one may.

    Args:
        find: the route that a method and path lead to, with the scope it needs.
    """

    def __init__(
        self, store: Store, vault: Vault, admins: Admins, find: Callable[[str, str], Found | None],
        now: Callable[[], float],
    ) -> None:
        self._store = store
        self._vault = vault
        self._admins = admins
        self._find = find
        self._now = now

    def __repr__(self) -> str:
        return "Authenticator()"

    async def __call__(self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]]) -> Principal | None:
        """Return who calls, None for what is public.

        Raises ``Failure``: 401, or 403 for what this token or admin key may not do.
        """
        if method in READ and path in PUBLIC:
            return None
        route = self._find(method, path)
        template = route.path if route is not None else path
        if (method, template) in PAGES:
            return None
        carried = list(_secrets(headers))
        secrets = {secret for _, secret in carried}
        if not secrets:
            raise _invalid("none was sent. Send the admin key as X-Admin-Key or as a bearer token")
        if len(secrets) > 1:
            raise _invalid("two different ones were sent in one request")
        secret = secrets.pop()
        carriers = {carrier for carrier, _ in carried}
        if not carriers.isdisjoint(_ADMIN_CARRIERS) and (admin := await self._admins.find(secret)) is not None:
            # Below /api/ a path without a route leads to nothing, which the router says in its own words.
            if route is not None or not path.startswith("/api/"):
                _check_scope(admin, route)
            return admin
        if carriers.isdisjoint(_TOKEN_CARRIERS):
            raise _invalid("this is not an admin key")
        principal = await self._token(secret)
        if (method, template) not in TOKEN_MAY:
            raise Failure("policy_denied", "A token may not do this: use the admin key.", reason="admin_only")
        return principal

    async def _token(self, secret: str) -> Principal:
        if tokens.parse(secret) is None:
            raise _invalid("it is neither an admin key nor a token of this gateway")
        fingerprint = tokens.fingerprint(self._vault.derive(TOKEN_FINGERPRINTS), secret)
        row = await self._store.read(load_token, fingerprint)
        refusal = "unknown here" if row is None else row.refusal(self._now())
        if row is None or refusal is not None:
            raise _invalid(f"the token is {refusal}")
        return Principal(row.id)


def _check_scope(admin: Principal, route: Found | None) -> None:
    if EVERYTHING in admin.scopes:
        return
    wanted = route.scope if route is not None else None
    if wanted is None or not allows(admin.scopes, wanted):
        needed = f"the scope {wanted}" if wanted is not None else "all scopes (*)"
        raise Failure("policy_denied", f"This admin key lacks {needed}.", reason="scope_missing")


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


def carries_admin_key(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a request carries what looks like an admin key, where one may stand. Whether it is one is not asked."""
    return any(
        name in _ADMIN_CARRIERS and secret.startswith(tokens.ADMIN_PREFIX) for name, secret in _secrets(headers)
    )


def _invalid(why: str) -> Failure:
    return Failure("invalid_api_key", f"Invalid API key: {why}.")
