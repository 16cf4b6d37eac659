"""Where a provider is reached: a base URL, the way its requests are signed, and what carries them.

Handlers that call an HTTP API are given one, so that the key, the pool and the limits of the builder are theirs too. It
follows no redirect, shows no secret, and sends nothing twice but what a dead connection took without a byte of answer.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from ailink_provider.auth import Auth, NoAuth
from ailink_provider.errors import Failure
from ailink_provider.resilience import APIError
from ailink_provider.transport import Guard, Origin, Request, Response, Sender, Transport

REPLY_LIMIT = 64 * 1024 * 1024
_ERROR_LIMIT = 64 * 1024
_QUOTED = 500  # characters of an error's own words
_OWN_HEADERS = {"user-agent": "ailink/0.1", "accept": "application/json", "accept-encoding": "identity"}


class Endpoint:
    """Makes signed requests below one base URL.

    Args:
        url: http[s]://host[:port][/path]. Raises ``Failure`` (``invalid_request``) for any other.
        auth: signs every request; None signs none.
        sender: carries them. Without one a ``Transport`` is opened for the first request, which may go to this very
            host and to no other private address; ``close`` closes it.
    """

    def __init__(self, url: str, auth: Auth | None = None, sender: Sender | None = None) -> None:
        self._origin, self._base = Origin.parse(url)
        self._auth = auth or NoAuth()
        self._sender = sender
        self._own: Transport | None = None

    @property
    def url(self) -> str:
        """The base URL, without a final slash."""
        return f"{self._origin}{self._base}"

    async def send(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b"", *,
        signed: bool = True,
    ) -> Response:
        """Return the answer, whatever its status; its body may still be on the way.

        Args:
            path: below the base URL, encoded, with its query if there is one.
            headers: by lower-case names, over those that every request has.
            signed: whether the credential goes along.

        Raises ``Failure`` as ``Transport.send`` and ``Auth.apply`` do.
        """
        url = f"{self.url}{path}"
        sent = {**_OWN_HEADERS, **(headers or {})}
        if signed:
            addition = await self._auth.apply(method, url, sent, body)
            sent.update(addition.headers)
            url = addition.onto(url)
        target = url.removeprefix(str(self._origin)) or "/"
        return await self._carrier().send(
            Request(method, self._origin, _encode(target), [(_encode(k), _encode(v)) for k, v in sent.items()],
                    body or None, resend=True)
        )

    async def get(self, path: str) -> Any:
        """Return the JSON that GET ``path`` answers. Raises as ``post`` does."""
        return await _read(await self.send("GET", path))

    async def post(self, path: str, body: Any) -> Any:
        """Send ``body`` as JSON and return the JSON that is answered.

        Raises ``APIError`` for any status but 2xx, ``Failure`` (``upstream_failed``) for what is not JSON, and
        whatever ``send`` raises.
        """
        encoded = msgspec.json.encode(body)
        return await _read(await self.send("POST", path, {"content-type": "application/json"}, encoded))

    async def close(self) -> None:
        """Close the connections, if they are this endpoint's own."""
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    def _carrier(self) -> Sender:
        if self._sender is not None:
            return self._sender
        if self._own is None:
            self._own = Transport(guard=Guard([self._origin.authority]))
        return self._own

    def __repr__(self) -> str:
        return f"Endpoint({self.url!r}, {self._auth!r})"


async def _read(response: Response) -> Any:
    if not 200 <= response.status < 300:
        raise _refusal(response, await response.read(_ERROR_LIMIT))
    body = await response.read(REPLY_LIMIT)
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Failure("upstream_failed", f"The upstream answered {response.status} without JSON.") from None


def _refusal(response: Response, body: bytes) -> APIError:
    try:
        tree = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        tree = None
    error = tree.get("error", tree) if isinstance(tree, dict) else tree
    said, kind = (error.get("message"), error.get("type")) if isinstance(error, dict) else (error, None)
    message = said[:_QUOTED] if isinstance(said, str) and said else f"The upstream answered {response.status}."
    return APIError(response.status, message, kind if isinstance(kind, str) else None, _retry_after(response))


def _retry_after(response: Response) -> float | None:
    value = response.header(b"retry-after") or b""
    return float(value) if value.isdigit() else None


def _encode(text: str) -> bytes:
    try:
        return text.encode("ascii")
    except UnicodeEncodeError:
        raise Failure("invalid_request", "A path or header must be ASCII: encode what is not.") from None
