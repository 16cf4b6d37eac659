"""A dialect spoken over an endpoint: the two handlers of a provider that needs no code of its own.

It knows no vendor and repeats nothing. What the dialect cannot express of a request is logged by the field's name.
"""

import logging
import re
from collections.abc import AsyncGenerator, Mapping

import msgspec

from ailink_provider.catalog import facts
from ailink_provider.chat import Chat, Event
from ailink_provider.dialects import Dialect, Sent
from ailink_provider.dialects.halves import decode
from ailink_provider.endpoint import REPLY_LIMIT, Endpoint
from ailink_provider.errors import Failure
from ailink_provider.provider import CompletionRequest, CompletionResponse
from ailink_provider.transport import Origin, Response

_ERROR_LIMIT = 64 * 1024
_VERSION = re.compile(r"/v[0-9]+[a-z0-9]*$")


class Speaker:
    """Asks for chats at ``endpoint`` in ``dialect``; ``moved`` is as in ``providers.Access``."""

    def __init__(
        self, dialect: Dialect, endpoint: Endpoint, logger: logging.Logger, moved: tuple[str, str] = ("", ""),
    ) -> None:
        self._dialect, self._endpoint, self._logger, self._moved = dialect, endpoint, logger, moved
        self._operation = dialect.operations["chat"]

    async def complete(self, request: CompletionRequest) -> CompletionResponse:
        """Return the whole reply. Raises ``Failure`` as the transport and the dialect do."""
        sent, response = await self._ask(request.chat)
        body = await response.read(REPLY_LIMIT)
        try:
            tree = msgspec.convert(decode(body), dict[str, object])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise Failure("upstream_failed", "The upstream's answer is not a JSON object.") from None
        return CompletionResponse.of(self._operation.read_reply(tree, sent))

    async def stream(self, request: CompletionRequest) -> AsyncGenerator[Event, None]:
        """Yield the reply as it comes; the last event is a ``MessageError`` if it breaks."""
        sent, response = await self._ask(request.chat)
        reader = self._operation.reader(sent)
        try:
            async for chunk in response:
                for event in reader.feed(chunk):
                    yield event
            for event in reader.close():
                yield event
        finally:
            response.close()

    async def _ask(self, chat: Chat) -> tuple[Sent, Response]:
        chat = msgspec.structs.replace(chat, include_usage=chat.stream)
        sent = self._operation.write_request(chat, facts(chat.model))
        for loss in sent.losses:
            self._logger.warning("%s is not sent to %s: %s", loss.field, chat.model, loss.why)
        headers = {"content-type": "application/json", **self._dialect.fixed_headers}
        if chat.stream:
            headers["accept"] = "text/event-stream"
        path = moved_path(self._operation.path(chat.model, chat.stream), self._moved)
        response = await self._endpoint.send("POST", path, headers, msgspec.json.encode(sent.body))
        if 200 <= response.status < 300:
            return sent, response
        raise self._dialect.read_error(response.status, _readable(response), await response.read(_ERROR_LIMIT))


def moved_path(path: str, moved: tuple[str, str]) -> str:
    """Return a path with another beginning, if it begins as ``moved`` says."""
    beginning, place = moved
    return place + path.removeprefix(beginning) if beginning and path.startswith(beginning) else path


def base_url(dialect: Dialect, url: str) -> str:
    """Return the URL below which the paths of ``dialect`` lie, for a base URL with or without its version.

    Raises ``Failure`` (``invalid_request``) if it is no URL that requests can go to.
    """
    origin, path = Origin.parse(url)
    version = _VERSION.search(path)
    if dialect.base_version:
        return f"{origin}{path}" if version else f"{origin}{path}{dialect.base_version}"
    return f"{origin}{path[:version.start()]}" if version else f"{origin}{path}"


def _readable(response: Response) -> Mapping[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in response.headers}
