"""The way to one gateway: a pool of connections, the key, retries, and errors raised as what they are.

Redirects are never followed, so the key reaches the gateway and nothing else.
"""

import itertools
from asyncio import sleep
from collections.abc import Mapping
from copy import copy
from dataclasses import replace
from typing import Any, Self, Unpack

import httpx2

from ailink._configuration import Configuration
from ailink._requests import IDEMPOTENCY_HEADERS, RequestOptions, url_for
from ailink._responses import connection_error, error_from, is_gateway_error
from ailink._retry import SAFE_METHODS, seconds_before_retry

HEALTH_TIMEOUT = 3.0  # seconds


class AsyncPool(httpx2.AsyncClient):
    """Connections that are lent to the vendors' SDKs too: a borrower that closes must not close them for all."""

    async def aclose(self) -> None:
        """Does nothing; the owner calls ``release``."""

    async def release(self) -> None:
        """Closes the connections."""
        await super().aclose()


class AsyncConnection:
    """Carries calls to the gateway that ``configuration`` names."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        # Neither key nor other headers are the pool's own: whoever borrows it brings theirs.
        self.pool = AsyncPool(
            verify=configuration.verify_ssl, timeout=configuration.timeout, mounts=configuration.mounts,
            follow_redirects=False,
        )

    def scoped(self, headers: Mapping[str, str]) -> Self:
        """The same way to the gateway, over the same connections, with these headers in every call."""
        scoped = copy(self)
        scoped.configuration = self.configuration.with_scope(headers)
        return scoped

    def once(self) -> Self:
        """The same way to the gateway, with no call sent again: for who asks again by themselves."""
        single = copy(self)
        single.configuration = replace(self.configuration, retries=0)
        return single

    async def request(self, method: str, path: str, **options: Unpack[RequestOptions]) -> httpx2.Response:
        """Sends a call for the API behind the gateway. Returns whatever that API answers, and what the gateway says of
        an approval; its own refusals and failures raise."""
        response = await self._send(method, path, options)
        if is_gateway_error(response):
            raise error_from(response)
        return response

    async def manage(self, method: str, path: str, **options: Unpack[RequestOptions]) -> httpx2.Response:
        """Sends a call for the gateway itself. Whatever is not a success raises."""
        response = await self._send(method, path, options)
        if not response.is_success:
            raise error_from(response)
        return response

    async def is_healthy(self) -> bool:
        """Whether the gateway answers ``GET /healthz`` within three seconds. Sends no key. Never raises."""
        url = url_for(self.configuration.gateway_url, "/healthz")
        try:
            response = await self.pool.get(url, timeout=HEALTH_TIMEOUT)
        except (httpx2.HTTPError, OSError, RuntimeError, ValueError):  # also a closed client, an unspeakable name
            return False
        return response.is_success

    async def _send(self, method: str, path: str, options: RequestOptions) -> httpx2.Response:
        """Sends one call, again where that is safe. Raises ``APIConnectionError`` when no answer came."""
        request = self._build(method, path, options)
        repeatable = request.method in SAFE_METHODS or (
            not IDEMPOTENCY_HEADERS.isdisjoint(request.headers) and isinstance(options.get("content", b""), str | bytes)
        )
        for attempt in itertools.count():
            outcome = await self._attempt(request)
            wait = seconds_before_retry(repeatable, attempt, outcome)
            if wait is None or attempt >= self.configuration.retries:
                break
            await sleep(wait)
        if isinstance(outcome, httpx2.RequestError):
            raise connection_error(outcome, self.configuration.gateway_url) from outcome
        return outcome

    async def _attempt(self, request: httpx2.Request) -> httpx2.Response | httpx2.RequestError:
        try:
            return await self.pool.send(request)
        except httpx2.RequestError as error:
            return error

    def _build(self, method: str, path: str, options: RequestOptions) -> httpx2.Request:
        url = url_for(self.configuration.gateway_url, path, options.get("params"))
        headers = httpx2.Headers(self.configuration.headers)
        headers.update(options.get("headers"))
        arguments: dict[str, Any] = {**options, "headers": headers, "params": None}
        return self.pool.build_request(method, url, **arguments)
