"""The front door: one client for calls through the gateway and for managing it.

What a client may do is decided by its key, at the gateway. A client never prints its key.
"""

from types import TracebackType
from typing import TYPE_CHECKING, Self, Unpack

import httpx2

from ailink._async.connection import AsyncConnection
from ailink._async.resources import AsyncAudit, AsyncCredentials, AsyncProjects, AsyncTokens
from ailink._configuration import Configuration
from ailink._requests import RequestOptions

if TYPE_CHECKING:
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI


class AsyncClient:
    """Calls models and APIs through an AIlink gateway.

    Args:
        api_key: a virtual token (``ailink_v1_...``).
        gateway_url: where the gateway is; else ``AILINK_GATEWAY_URL``, else ``http://127.0.0.1:8080``.
        agent_name: how this agent is called in the audit log.
        timeout: seconds to wait for each of connecting, sending and every part of the answer.
        retries: attempts after the first, made only where repeating is safe: GET and HEAD on passing failures,
            any method when the gateway could not be connected to.
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
        self._connection = AsyncConnection(self._configuration)
        self.projects = AsyncProjects(self._connection)
        self.credentials = AsyncCredentials(self._connection)
        self.tokens = AsyncTokens(self._connection)
        self.audit = AsyncAudit(self._connection)

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

    async def request(self, method: str, path: str, **options: Unpack[RequestOptions]) -> httpx2.Response:
        """Calls the API behind the gateway, as the token may.

        Returns what that API answers, its own 4xx and 5xx included, and 202 when a human must approve first.
        The gateway's own refusals and failures raise an ``AIlinkError``. ``path`` starts at the gateway's root
        (``/v1/customers``); the options are httpx2's ``json``, ``data``, ``params``, ``headers``, ``content``
        and ``timeout``.
        """
        return await self._connection.request(method, path, **options)

    async def get(self, path: str, **options: Unpack[RequestOptions]) -> httpx2.Response:
        """GET ``path``: see ``request``."""
        return await self.request("GET", path, **options)

    async def post(self, path: str, **options: Unpack[RequestOptions]) -> httpx2.Response:
        """POST to ``path``: see ``request``."""
        return await self.request("POST", path, **options)

    async def put(self, path: str, **options: Unpack[RequestOptions]) -> httpx2.Response:
        """PUT to ``path``: see ``request``."""
        return await self.request("PUT", path, **options)

    async def patch(self, path: str, **options: Unpack[RequestOptions]) -> httpx2.Response:
        """PATCH ``path``: see ``request``."""
        return await self.request("PATCH", path, **options)

    async def delete(self, path: str, **options: Unpack[RequestOptions]) -> httpx2.Response:
        """DELETE ``path``: see ``request``."""
        return await self.request("DELETE", path, **options)
