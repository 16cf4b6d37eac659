"""Puts the control plane together: its resources, its one error shape, its documentation. Reads no setting."""

import time
from collections.abc import Callable, Iterable, Mapping

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from ailink_gateway.chain import Node
from ailink_gateway.control import (
    admin_keys,
    approvals,
    approver,
    audit,
    configuration,
    credentials,
    errors,
    health,
    metrics,
    policies,
    prices,
    projects,
    services,
    sessions,
    spend,
    tokens,
    upstream_health,
    webhook_secrets,
)
from ailink_gateway.control.authentication import Admins, Authenticator
from ailink_gateway.control.broadcaster import Broadcaster
from ailink_gateway.control.context import Check, Context, Exposition, at_once
from ailink_gateway.control.edge import Edge
from ailink_gateway.control.scopes import finder, known_scopes
from ailink_gateway.control.verification import Auditor
from ailink_gateway.links import Links
from ailink_gateway.ports import Breakers, Desk, Ledger
from ailink_gateway.store.store import Store
from ailink_gateway.vault import Vault
from ailink_provider.transport import Guard

_RESOURCES = (
    projects, credentials, tokens, spend, services, policies, prices, approvals, admin_keys, webhook_secrets, audit,
    sessions, configuration, health, upstream_health, metrics, approver,
)

_ABOUT = """
Manage what agents may reach. Every route but the health checks, the metrics and this page needs an **admin key**, as
`X-Admin-Key` or as a bearer token: the operator's own, or one with the route's scope (`x-scope`); `write` and `decide`
include `read`, `*` is everything. A token of the gateway may read itself and its own approvals.

Lists are newest first: `?limit=` (1-100, 20 by default) and `?starting_after=` (the last id of the page before) give
`{"data": [...], "has_more": true}`. Times are ISO 8601 in UTC. Every refusal has the same body, `ErrorBody`, its code
also in the header `X-AILink-Error`; `X-Request-ID` names the request in all answers.
"""

_TAGS = [
    {"name": "projects", "description": "What keeps one tenant's tokens and credentials from another's."},
    {"name": "credentials", "description": "The upstream secrets that agents never see. Write-only, stored encrypted."},
    {"name": "tokens", "description": "What agents hold instead of secrets."},
    {"name": "services", "description": "APIs that a project's tokens call by name, with the credential put in."},
    {"name": "policies", "description": "Rules over calls: refuse, limit, rewrite, route, or have a person decide."},
    {"name": "prices", "description": "What models cost, where the published prices do not say, or not what you pay."},
    {"name": "approvals", "description": "Requests that wait for somebody to decide."},
    {"name": "admin-keys", "description": "Keys of this API beside the operator's, each with what it may do."},
    {"name": "webhook-secrets", "description": "What the receivers of webhooks check signatures with."},
    {"name": "audit", "description": "Every call: by whom, to what, with what result and at what cost."},
    {"name": "sessions", "description": "The calls made under one session id: their sum and their order."},
    {"name": "config", "description": "Projects, policies, services and tokens as one file, without a secret."},
    {"name": "health", "description": "Whether the gateway lives and is ready, which is public, and its upstreams."},
]


def create_control(
    store: Store, vault: Vault, admin_key: str | None, *, approvals_desk: Desk, known_providers: Iterable[str] = (),
    public_url: str = "", broadcaster: Broadcaster | None = None, checks: Mapping[str, Check] | None = None,
    node: Node | None = None, exposition: Exposition | None = None, version: str = "0.1.0",
    now: Callable[[], float] = time.time, breakers: Breakers | None = None, ledger: Ledger | None = None,
    guard: Guard | None = None, caught_up: Check = at_once,
) -> FastAPI:
    """Return the control plane as an ASGI application.

    Args:
        store, vault: upgraded and unlocked before the first request; they stay the caller's to close.
        admin_key: what may do everything here; None leaves management to nobody.
        approvals_desk: where approvals are looked at and decided.
        public_url: the gateway's own URL as people reach it, without a final slash.
        known_providers: what a credential may name as its provider, beside "generic".
        broadcaster: what the shipper publishes to, for audit streams.
        checks: what must hold for ``/readyz`` beside the store; one that does not raises ``Failure``.
        node: the boot that writes the audit.
        exposition: what ``/metrics`` shows.
        now: the time, in Unix seconds.
        breakers: those of the calls that are served beside it; without, every upstream is taken to be well.
        guard: which addresses calls may go to; without it, those on the public internet.
        ledger: what was spent up to this moment; without it, spend is what the store knows of.
        caught_up: waits until the store has the records of the calls that have ended; without it, it has them.
    """
    app = FastAPIOffline(
        title="AIlink", summary="One gateway between AI agents and everything they call.", description=_ABOUT,
        version=version, openapi_tags=_TAGS, redirect_slashes=False,
        # The routes as they are: to include the routers would build each a second time.
        routes=[route for resource in _RESOURCES for route in resource.router.routes],
    )
    admins = Admins(store, vault, admin_key, now)
    app.state.context = Context(
        store=store, vault=vault, providers=frozenset(known_providers), broadcaster=broadcaster or Broadcaster(),
        checks=checks or {}, now=now, approvals=approvals_desk, admins=admins, links=Links(vault, public_url),
        scopes=known_scopes(app.routes), auditor=Auditor(vault, node), metrics=exposition, breakers=breakers,
        ledger=ledger, guard=guard or Guard(), caught_up=caught_up,
    )
    errors.install(app)
    app.add_middleware(Edge, authenticate=Authenticator(store, vault, admins, finder(app.routes), now))
    return app
