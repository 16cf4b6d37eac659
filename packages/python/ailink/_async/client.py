"""The front door: one client for calls through the gateway and for managing it.

What a client may do is decided by its key, at the gateway. A client never prints its key.
"""

import uuid
import warnings
from copy import copy
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar, Unpack

import httpx2

from ailink._approvals import ApprovalResult, finish_async, pending_id, refused, returned
from ailink._async.connection import AsyncConnection
from ailink._async.resources import (
    AsyncAdminKeys,
    AsyncApprovals,
    AsyncAudit,
    AsyncConfig,
    AsyncCredentials,
    AsyncPolicies,
    AsyncPrices,
    AsyncProjects,
    AsyncServices,
    AsyncSessions,
    AsyncTokens,
)
from ailink._async.scope import AsyncScope
from ailink._configuration import Configuration
from ailink._requests import IDEMPOTENCY_HEADER, PATIENCE_HEADER, CallOptions, RequestOptions, with_header
from ailink._retry import SAFE_METHODS
from ailink.exceptions import AIlinkError, ApprovalTimeoutError

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI

F = TypeVar("F")

APPROVAL_TIMEOUT = 300.0  # seconds


class AsyncClient:
    """Calls models and APIs through an AIlink gateway.

    Args:
        api_key: a virtual token (``ailink_v1_...``).
        gateway_url: where the gateway is; else ``AILINK_GATEWAY_URL``, else ``http://127.0.0.1:8080``.
        agent_name: how this agent is called in the audit log.
        timeout: seconds to wait for each of connecting, sending and every part of the answer.
        retries: attempts after the first, made only where repeating is safe: on passing failures GET, HEAD and what
            carries an idempotency key (a call that is given none gets one of its own); anything when the gateway could
            not be connected to.
        verify_ssl: False accepts any TLS certificate; for tests only.

    Close a client with ``aclose``, or use it as a context manager. Raises ``ValueError`` for arguments that cannot
    work, and warns when the key would travel unencrypted to another machine.
    """

    def __init__(
        self, api_key: str, gateway_url: str | None = None, *, agent_name: str | None = None, timeout: float = 30,
        retries: int = 3, verify_ssl: bool = True,
    ) -> None:
        self._configuration = Configuration.create(
            api_key=api_key, gateway_url=gateway_url, agent_name=agent_name, timeout=timeout, retries=retries,
            verify_ssl=verify_ssl,
        )
        self._use(AsyncConnection(self._configuration))

    def _use(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._configuration = connection.configuration
        self.projects = AsyncProjects(connection)
        self.credentials = AsyncCredentials(connection)
        self.tokens = AsyncTokens(connection)
        self.policies = AsyncPolicies(connection)
        self.approvals = AsyncApprovals(connection)
        self.services = AsyncServices(connection)
        self.audit = AsyncAudit(connection)
        self.sessions = AsyncSessions(connection)
        self.config = AsyncConfig(connection)
        self.prices = AsyncPrices(connection)
        self.admin_keys = AsyncAdminKeys(connection)

    @classmethod
    def admin(
        cls, admin_key: str, gateway_url: str | None = None, *, agent_name: str | None = None, timeout: float = 30,
        retries: int = 3, verify_ssl: bool = True,
    ) -> Self:
        """A client that manages the gateway, with an admin key (``ailink_admin_...``) for its key."""
        return cls(
            admin_key, gateway_url, agent_name=agent_name, timeout=timeout, retries=retries, verify_ssl=verify_ssl,
        )

    def __repr__(self) -> str:
        known = self._configuration
        return f"{type(self).__name__}(gateway_url={known.gateway_url!r}, agent_name={known.agent_name!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Closes the connections, also those that ``openai()`` and ``anthropic()`` use."""
        await self._connection.pool.release()

    def openai(self) -> "AsyncOpenAI":
        """OpenAI's own client, pointed at the gateway and sharing this client's connections and settings.

        Raises ``ImportError`` if the ``openai`` package is not installed.
        """
        try:
            from openai import AsyncOpenAI
        except ModuleNotFoundError as error:
            raise ImportError("openai() needs OpenAI's SDK: pip install ailink[openai]") from error
        return AsyncOpenAI(
            base_url=f"{self._configuration.gateway_url}/v1",
            api_key=self._configuration.api_key,
            timeout=self._configuration.timeout,
            max_retries=self._configuration.retries,
            default_headers=self._configuration.agent_headers,
            http_client=self._connection.pool,
        )

    def anthropic(self) -> "AsyncAnthropic":
        """Anthropic's own client, pointed at the gateway and sharing this client's connections and settings.

        Raises ``ImportError`` if the ``anthropic`` package is not installed.
        """
        try:
            from anthropic import AsyncAnthropic
        except ModuleNotFoundError as error:
            raise ImportError("anthropic() needs Anthropic's SDK: pip install ailink[anthropic]") from error
        return AsyncAnthropic(
            base_url=self._configuration.gateway_url,
            api_key=self._configuration.api_key,
            timeout=self._configuration.timeout,
            max_retries=self._configuration.retries,
            default_headers=self._configuration.agent_headers,
            http_client=self._connection.pool,
        )

    async def is_healthy(self) -> bool:
        """Whether the gateway answers, asked once and for three seconds at most. Never raises."""
        return await self._connection.is_healthy()

    def trace(self, session_id: str | None = None, parent_span_id: str | None = None) -> "AsyncScope[Self]":
        """A block whose client tags every call with one session, to be found together in the audit log.

        ``session_id`` is made up if there is none; ``parent_span_id`` names the step that this work belongs to.
        """
        headers = {"X-Session-ID": session_id or f"session-{uuid.uuid4()}"}
        if parent_span_id is not None:
            headers["X-Parent-Span-ID"] = parent_span_id
        return AsyncScope(self._scoped(headers)._entered)

    def with_upstream_key(
        self, key: str, *, header: str = "Bearer", allow_override: bool = False
    ) -> "AsyncScope[Self]":
        """A block whose client brings the upstream's own key with every call; the gateway never stores it.

        ``header`` is the scheme before the key, "" for none. The token must have no credential of its own, which is
        asked when the block begins: an ``AIlinkError`` says so. ``allow_override`` permits one, if the token does.
        """
        headers = {"X-Real-Authorization": f"{header} {key}" if header else key}
        if allow_override:
            headers["X-AILink-Allow-Override"] = "true"
        scoped = self._scoped(headers)
        return AsyncScope(scoped._entered if allow_override else scoped._entered_with_key)

    def with_fallback(self, fallback: F) -> "AsyncScope[AsyncOpenAI | F]":
        """A block whose value is ``openai()`` if the gateway is healthy, else ``fallback``, with a ``UserWarning``:
        what is sent by ``fallback`` passes no policy, no limit and no record."""
        return AsyncScope(partial(self._healthy_or, fallback))

    async def wait_for_approval(
        self, request_id: str, timeout: float = APPROVAL_TIMEOUT  # noqa: ASYNC109 - it ends in an error of ours
    ) -> ApprovalResult:
        """Waits until a human has decided and, if the call was let through, until it is answered.

        ``request_id`` is that of the 202 (``apr_...``); it may be waited for again after any interruption. Raises
        ``ApprovalTimeoutError`` when ``timeout`` seconds have passed or the approval has expired.
        """
        return await finish_async(partial(self.approvals.wait, request_id, timeout))

    async def request(
        self, method: str, path: str, *, idempotency_key: str | None = None, wait_for_approval: bool = False,
        approval_timeout: float = APPROVAL_TIMEOUT, **options: Unpack[RequestOptions],
    ) -> httpx2.Response:
        """Calls the API behind the gateway, as the token may.

        Returns what that API answers, its own 4xx and 5xx included, and 202 when a human must approve first.
        The gateway's own refusals and failures raise an ``AIlinkError``. ``path`` starts at the gateway's root
        (``/v1/customers``); the options are httpx2's ``json``, ``data``, ``params``, ``headers``, ``content``
        and ``timeout``, and these: ``idempotency_key`` names the operation, so that it happens once however often it is
        sent; with ``wait_for_approval`` a 202 is waited for, up to ``approval_timeout`` seconds (300), and the final
        answer returned: the API's own, or 403 when the human said no, or 408 when nobody said anything.
        """
        if method.upper() not in SAFE_METHODS and (idempotency_key is not None or self._configuration.retries):
            key = idempotency_key or str(uuid.uuid4())
            options["headers"] = with_header(options.get("headers"), IDEMPOTENCY_HEADER, key)
        if not wait_for_approval:
            return await self._connection.request(method, path, **options)
        options.setdefault("timeout", approval_timeout + self._configuration.timeout)
        options["headers"] = with_header(options.get("headers"), PATIENCE_HEADER, f"{approval_timeout:.3f}")
        try:
            response = await self._connection.request(method, path, **options)
        except AIlinkError as error:
            if (decided := returned(error)) is None:
                raise
            return decided
        approval_id = pending_id(response)
        return response if approval_id is None else await self._final(approval_id, approval_timeout, response.request)

    async def _final(self, approval_id: str, patience: float, request: httpx2.Request) -> httpx2.Response:
        """The answer of a call that waits for a human, as if it had been the first one."""
        try:
            result = await self.approvals.wait(approval_id, patience)
        except ApprovalTimeoutError as error:
            return refused("approval_timeout", 408, error.message, request)
        if not result.approved:
            return refused("approval_rejected", 403, result.reason or "the request was rejected", request)
        if result.response is None:
            raise AIlinkError(
                f"the approved call {approval_id} was sent, but what came of it is not known: look for its effect",
                code="outcome_unknown",
            )
        result.response.request = request
        return result.response

    async def _entered(self) -> Self:
        return self

    async def _entered_with_key(self) -> Self:
        if (await self.tokens.own()).credential_id is not None:
            raise AIlinkError(
                "this token has a credential of its own: use one without (passthrough), or pass allow_override=True"
            )
        return self

    async def _healthy_or(self, fallback: F) -> "AsyncOpenAI | F":
        if await self.is_healthy():
            return self.openai()
        warnings.warn(
            f"The AIlink gateway at {self._configuration.gateway_url} cannot be reached: calls go directly to the "
            "provider, with no policy, limit or record",
            UserWarning, stacklevel=3,
        )
        return fallback

    def _scoped(self, headers: dict[str, str]) -> Self:
        scoped = copy(self)
        scoped._use(self._connection.scoped(headers))
        return scoped

    async def get(self, path: str, **options: Unpack[CallOptions]) -> httpx2.Response:
        """GET ``path``: see ``request``."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Unpack[CallOptions]) -> httpx2.Response:
        """POST to ``path``: see ``request``."""
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Unpack[CallOptions]) -> httpx2.Response:
        """PUT to ``path``: see ``request``."""
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Unpack[CallOptions]) -> httpx2.Response:
        """PATCH ``path``: see ``request``."""
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Unpack[CallOptions]) -> httpx2.Response:
        """DELETE ``path``: see ``request``."""
        return await self.request("DELETE", path, **options)
