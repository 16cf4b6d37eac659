"""The management API: what can be done with each kind of thing that a gateway keeps.

Ids go into the path; wherever a token's id is wanted the whole token will do, and only its public part is sent.
Every method raises an ``AIlinkError`` when the gateway refuses or cannot be reached.
"""

import builtins
import math
from asyncio import sleep
from time import monotonic
from typing import Any, Generic

from ailink._approvals import LONGEST_POLL, PAUSE, ApprovalResult, is_settled, result_of
from ailink._async.connection import AsyncConnection
from ailink._requests import management_path, query_from
from ailink._responses import M, item_from, items_from
from ailink.exceptions import APIConnectionError, ApprovalTimeoutError, GatewayError, RateLimitError
from ailink.models import (
    AdminKey,
    ApprovalDecision,
    ApprovalRequest,
    AuditLog,
    Credential,
    Policy,
    Price,
    Project,
    Service,
    Session,
    Spend,
    Token,
)

PATIENCE = 10.0  # seconds beyond what the gateway was asked to wait


class AsyncReadable(Generic[M]):
    """Things of one kind, to look at."""

    def __init__(self, connection: AsyncConnection, resource: str, model: type[M]) -> None:
        self._connection = connection
        self._resource = resource
        self._model = model

    async def get(self, identifier: str, /) -> M:
        """The one with this id. Raises ``NotFoundError`` if there is none."""
        return await self._item("GET", identifier)

    async def list(self, **filters: Any) -> "builtins.list[M]":
        """One page, newest first.

        ``limit`` (1 to 100) is its size; ``starting_after`` the id after which it starts: the last one's of the
        page before. Other filters are those of the resource; write ``from_`` for ``from``.
        """
        path = management_path(self._resource)
        return items_from(await self._connection.manage("GET", path, params=query_from(filters)), self._model)

    async def _item(self, method: str, *segments: str, json: Any = None) -> M:
        path = management_path(self._resource, *segments)
        return item_from(await self._connection.manage(method, path, json=json), self._model)


class AsyncEditable(AsyncReadable[M]):
    """Things of one kind, to look at and to change."""

    async def create(self, *, name: str, **fields: Any) -> M:
        """Makes one. ``name`` must be new in its project. Raises ``ValidationError``, ``ConflictError``."""
        return await self._item("POST", json={"name": name, **fields})

    async def update(self, identifier: str, /, **fields: Any) -> M:
        """Changes the fields that are given, None included, and leaves the others as they are."""
        return await self._item("PATCH", identifier, json=fields)

    async def delete(self, identifier: str, /) -> None:
        """Removes it for good."""
        await self._connection.manage("DELETE", management_path(self._resource, identifier))


class AsyncProjects(AsyncEditable[Project]):
    """Projects. Deleting one revokes its tokens and keeps its records."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, "projects", Project)


class AsyncCredentials(AsyncEditable[Credential]):
    """Upstream secrets: ``create(name=, provider=, secret=)``. A secret can be replaced but not read."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, "credentials", Credential)

    async def rotate(self, identifier: str, /, *, secret: str) -> Credential:
        """Replaces the secret; tokens that use the credential go on working."""
        return await self._item("POST", identifier, "rotate", json={"secret": secret})


class AsyncTokens(AsyncEditable[Token]):
    """Virtual keys. ``create`` and ``rotate`` are the only ones to return the secret, as ``token_id``."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, "tokens", Token)

    async def revoke(self, identifier: str, /) -> None:
        """Ends a token at once; its records stay. The same as ``delete``."""
        await self.delete(identifier)

    async def rotate(self, identifier: str, /) -> Token:
        """Gives a token a new secret and ends the old one."""
        return await self._item("POST", identifier, "rotate")

    async def own(self) -> Token:
        """The token that this client holds."""
        return await self._item("GET", "self")

    async def get_circuit_breaker(self, identifier: str, /) -> dict[str, Any]:
        """How the token's circuit breaker is set: ``enabled``, ``failure_threshold``, ``recovery_cooldown_secs``,
        ``half_open_max_requests``."""
        return await self._plain("GET", identifier, "circuit-breaker")

    async def set_circuit_breaker(self, identifier: str, /, **fields: Any) -> dict[str, Any]:
        """Sets what is given of the token's circuit breaker, at once, and returns the whole."""
        return await self._plain("PATCH", identifier, "circuit-breaker", json=fields)

    async def upstream_health(self) -> "builtins.list[dict[str, Any]]":
        """How each token's upstreams fare: ``token_id``, ``url``, ``is_healthy``, ``failure_count``,
        ``cooldown_remaining_secs``."""
        found: list[dict[str, Any]] = (await self._connection.manage("GET", "/api/v1/health/upstreams")).json()
        return found

    async def get_spend(self, identifier: str, /) -> Spend:
        """What the token spent, and what it may, in US dollars."""
        path = management_path(self._resource, identifier, "spend")
        return item_from(await self._connection.manage("GET", path), Spend)

    async def set_spend_limit(self, identifier: str, /, *, period: str, limit_usd: float) -> Spend:
        """Caps what the token may spend in a ``period``: "daily", "monthly" or "lifetime"."""
        path = management_path(self._resource, identifier, "spend")
        fields = {"period": period, "limit_usd": limit_usd}
        return item_from(await self._connection.manage("PUT", path, json=fields), Spend)

    async def remove_spend_limit(self, identifier: str, /, *, period: str) -> None:
        """Takes the cap of a period away."""
        await self._connection.manage("DELETE", management_path(self._resource, identifier, "spend", period))

    async def _plain(self, method: str, *segments: str, json: Any = None) -> dict[str, Any]:
        path = management_path(self._resource, *segments)
        found: dict[str, Any] = (await self._connection.manage(method, path, json=json)).json()
        return found


class AsyncPolicies(AsyncEditable[Policy]):
    """Rules for calls: ``create(name=, rules=, mode="enforce", phase="pre", retry=None)``. A token or a project is held
    to those that its ``policy_ids`` name."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, "policies", Policy)

    async def versions(self, identifier: str, /) -> "builtins.list[dict[str, Any]]":
        """Every version that a policy had, newest first."""
        path = management_path(self._resource, identifier, "versions")
        found: list[dict[str, Any]] = (await self._connection.manage("GET", path)).json()["data"]
        return found

    async def test(self, **what: Any) -> dict[str, Any]:
        """What a policy, saved or a draft, would make of given requests or of recorded ones; nothing is changed."""
        path = management_path(self._resource, "test")
        found: dict[str, Any] = (await self._connection.manage("POST", path, json=what)).json()
        return found


class AsyncServices(AsyncEditable[Service]):
    """APIs by name: ``create(name=, base_url=, credential_id=None)``. A token of the project calls one below
    ``/v1/proxy/services/{name}/``."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, "services", Service)

    async def delete(self, service_id: str) -> None:
        """Removes it for good."""
        await super().delete(service_id)


class AsyncApprovals(AsyncReadable[ApprovalRequest]):
    """Calls that wait for a human. ``list`` is of pending ones, unless ``status`` says otherwise."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, "approvals", ApprovalRequest)

    async def approve(self, identifier: str, /, *, reason: str | None = None) -> ApprovalDecision:
        """Lets a call through: it is sent at once. Raises ``ConflictError`` if it was decided otherwise."""
        return await self._decide(identifier, "approve", reason)

    async def reject(self, identifier: str, /, *, reason: str | None = None) -> ApprovalDecision:
        """Refuses a call, with a ``reason`` for whoever made it. Raises ``ConflictError``, as ``approve`` does."""
        return await self._decide(identifier, "reject", reason)

    async def wait(
        self, identifier: str, /, timeout: float  # noqa: ASYNC109 - it ends in an error of ours
    ) -> ApprovalResult:
        """Waits for what becomes of a call: see the client's ``wait_for_approval``."""
        end = monotonic() + timeout
        while (left := end - monotonic()) > 0:
            asked = monotonic()
            approval = await self._ask(identifier, left)
            if approval is not None and approval.status == "expired":
                break
            if approval is not None and is_settled(approval):
                return result_of(approval)
            if monotonic() - asked < PAUSE:
                await sleep(min(PAUSE, max(end - monotonic(), 0)))
        raise ApprovalTimeoutError(f"nobody decided on {identifier} in time", timeout=timeout, code="approval_timeout")

    async def _ask(self, identifier: str, left: float) -> ApprovalRequest | None:
        """How it stands, as soon as that changes; None when the gateway cannot say at the moment."""
        wait = max(1, math.ceil(min(left, LONGEST_POLL)))
        path = management_path(self._resource, identifier)
        connection = self._connection.once()  # retries would outlast the wait where the gateway is silent
        try:
            response = await connection.manage("GET", path, params={"wait": wait}, timeout=wait + PATIENCE)
        except (APIConnectionError, GatewayError, RateLimitError):
            return None
        return item_from(response, ApprovalRequest)

    async def _decide(self, identifier: str, decision: str, reason: str | None) -> ApprovalDecision:
        path = management_path(self._resource, identifier, decision)
        fields = {} if reason is None else {"reason": reason}
        return item_from(await self._connection.manage("POST", path, json=fields), ApprovalDecision)


class AsyncSessions(AsyncReadable[Session]):
    """Calls that were made in one session: totals, and with ``get`` the calls in order."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, "sessions", Session)


class AsyncConfig:
    """The gateway's configuration as YAML: projects, policies, tokens and services, and never a secret."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def export(self) -> str:
        """All of it, in a stable order: to be kept in a repository."""
        return (await self._connection.manage("GET", "/api/v1/config/export")).text

    async def import_yaml(self, text: str, *, dry_run: bool = False) -> dict[str, Any]:
        """Makes the gateway what ``text`` says, all or nothing, and returns what changed; with ``dry_run`` what would.

        Tokens that this makes have their secrets in the result, this once.
        """
        response = await self._connection.manage(
            "POST", "/api/v1/config/import", content=text.encode(), headers={"Content-Type": "application/yaml"},
            params={"dry_run": "true"} if dry_run else {},
        )
        found: dict[str, Any] = response.json()
        return found


class AsyncPrices(AsyncReadable[Price]):
    """Prices of your own, which go before the published ones."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, "prices", Price)

    async def create(self, *, provider: str, model: str, **rates: Any) -> Price:
        """Sets a model's price: ``rates`` in US dollars per million tokens, by kind."""
        return await self._item("POST", json={"provider": provider, "model": model, **rates})

    async def update(self, identifier: str, /, **fields: Any) -> Price:
        """Changes the fields that are given."""
        return await self._item("PATCH", identifier, json=fields)

    async def delete(self, identifier: str, /) -> None:
        """Removes it: the published price holds again."""
        await self._connection.manage("DELETE", management_path(self._resource, identifier))


class AsyncAdminKeys(AsyncEditable[AdminKey]):
    """Keys that manage the gateway: ``create(name=, scopes=[...])``. ``create`` and ``rotate`` are the only ones to
    return the secret, as ``key``."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, "admin-keys", AdminKey)

    async def rotate(self, identifier: str, /) -> AdminKey:
        """Gives a key a new secret and ends the old one."""
        return await self._item("POST", identifier, "rotate")


class AsyncAudit(AsyncReadable[AuditLog]):
    """The record of every call. Filters: ``session_id``, ``parent_span_id``, ``agent_name``, ``token_id``,
    ``model``, ``status``, ``from_`` and ``to`` (a ``datetime`` or ISO 8601 text)."""

    def __init__(self, connection: AsyncConnection) -> None:
        super().__init__(connection, "audit", AuditLog)

    async def verify(self) -> dict[str, Any]:
        """Whether the log is whole: names the first record that was altered, is missing or out of order."""
        found: dict[str, Any] = (await self._connection.manage("GET", "/api/v1/audit/verify")).json()
        return found
