"""What every handler is given. Data only."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, NamedTuple

from fastapi import Depends, Request

from ailink_gateway.control.authentication import Admins
from ailink_gateway.control.broadcaster import Broadcaster
from ailink_gateway.control.verification import Auditor
from ailink_gateway.links import Links
from ailink_gateway.ports import Breakers, Desk, Ledger
from ailink_gateway.store.store import Store
from ailink_gateway.vault import Vault
from ailink_provider.transport import Guard

GENERIC = "generic"

Check = Callable[[], Awaitable[None]]


async def at_once() -> None:
    """Wait for nothing."""


class Exposition(NamedTuple):
    """What ``/metrics`` shows: ``text`` in Prometheus' format, to this machine alone unless it is ``open``."""

    text: Callable[[], str]
    open: bool = False


class Context(NamedTuple):
    """The objects behind the handlers.

    providers: the names that a credential may have as its provider. checks: what must hold for the gateway to be ready,
    by name; each raises ``Failure`` when it does not. auditor: what proves the audit. now: the time, in Unix seconds.
    breakers: those of the calls, where calls are served. approvals: where they are decided. admins, links: who may open
    the approver's page. scopes: every scope that an admin key can have. guard: which addresses may be called. ledger:
    what was spent up to this moment; None where only the store knows. caught_up: waits a moment until the store has the
    records of the calls that have ended.
    """

    store: Store
    vault: Vault
    providers: frozenset[str]
    broadcaster: Broadcaster
    auditor: Auditor
    metrics: Exposition | None
    checks: Mapping[str, Check]
    now: Callable[[], float]
    approvals: Desk
    admins: Admins
    links: Links
    scopes: frozenset[str]
    guard: Guard
    breakers: Breakers | None = None
    ledger: Ledger | None = None
    caught_up: Check = at_once


async def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


Given = Annotated[Context, Depends(_context)]
