"""A provider where the transport stands, so that whoever routes requests can route them to any ``Provider`` object.

It speaks OpenAI's wire format, as the simulator does, whatever the provider speaks; every other format reaches it
through translation. Whatever a provider raises is an answer with an error. Cancelling a call, or closing its answer,
gives the provider's call up.
"""

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from ailink_provider.chat import Chat, Event, MessageError
from ailink_provider.contain import contained
from ailink_provider.dialects import Operation, StreamWriter
from ailink_provider.dialects.openai_chat import DIALECT
from ailink_provider.errors import Failure
from ailink_provider.inward import JSON, STREAM, asked
from ailink_provider.provider import CompletionRequest, Provider
from ailink_provider.streaming import as_events
from ailink_provider.transport import Request, Response
from ailink_provider.transport.timeouts import late

_OPERATIONS = ("chat", "completions")


class ProviderSender:
    """Answers requests (``transport.Sender``) by asking ``provider``.

    The target must end in /chat/completions or /completions; headers, and so any key, count for nothing. ``patience``
    is how many seconds a whole answer, or the first event of a stream, and each silence within a stream may take.
    """

    def __init__(self, provider: Provider, patience: float | None = None) -> None:
        self._provider, self._patience = provider, patience
        self._what = f"The provider {provider.name}"
        self._leaving: set[asyncio.Task[None]] = set()  # a task is only kept alive by who refers to it

    async def send(self, request: Request, deadline: float | None = None) -> Response:
        """Return the answer; that of a stream as soon as its first event is there, so that an error before it has a
        status of its own. ``deadline`` is a moment of the running loop's clock. Raises nothing but cancellation and,
        from a stream's body, ``Failure`` (``upstream_timeout``) at the deadline."""
        try:
            operation, chat = await asked(request, _OPERATIONS, "The provider")
            request.begun = True
            until, limit = _until(deadline, self._patience, "first_byte")
            async with asyncio.timeout_at(until):
                with contained(self._what):
                    return await (self._stream if chat.stream else self._complete)(operation, chat, deadline)
        except TimeoutError:
            return _refusal(late(self._provider.name, limit, self._patience or 0.0))
        except Failure as failure:
            return _refusal(failure)

    async def _complete(self, operation: Operation, chat: Chat, deadline: float | None) -> Response:
        response = await self._provider.complete(CompletionRequest.of(chat))
        reply = replace(response.reply, model=response.model or chat.model)
        return Response(200, [JSON], msgspec.json.encode(operation.write_reply(reply, chat)))

    async def _stream(self, operation: Operation, chat: Chat, deadline: float | None) -> Response:
        events = as_events(self._provider.stream(CompletionRequest.of(chat)), chat.model)
        first = await anext(events)
        pieces = self._write(operation.writer(chat), first, events)
        leave = partial(self._leave, pieces, events)
        return Response(200, [STREAM], _Answer(pieces, deadline, self._patience, self._provider.name, leave))

    def _leave(self, *generators: AsyncGenerator[Any, None]) -> None:
        """Close generators, in a task: whoever closes an answer does not wait."""
        task = asyncio.get_running_loop().create_task(self._close(generators))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _close(self, generators: Sequence[AsyncGenerator[Any, None]]) -> None:
        for generator in generators:
            with suppress(Failure), contained(self._what):
                await generator.aclose()

    async def _write(
        self, writer: StreamWriter, first: Event, events: AsyncGenerator[Event, None]
    ) -> AsyncGenerator[bytes, None]:
        yield writer.write(first)
        try:
            with contained(self._what):
                async for event in events:
                    if piece := writer.write(event):
                        yield piece
        except Failure as failure:
            yield writer.write(MessageError(failure))


class _Answer:
    """The body of a stream (``transport.Body``): pieces as the provider makes them, none ahead of the reader."""

    def __init__(
        self, pieces: AsyncGenerator[bytes, None], deadline: float | None, patience: float | None, name: str,
        leave: Callable[[], None],
    ) -> None:
        self._pieces, self._deadline, self._name, self._leave = pieces, deadline, name, leave
        self._patience = patience
        self._reading: asyncio.Timeout | None = None
        self._ended = self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        until, limit = _until(self._deadline, self._patience, "between_bytes")
        try:
            if not self._closed:
                async with asyncio.timeout_at(until) as self._reading:
                    return await anext(self._pieces)
        except TimeoutError:
            if not self._closed:
                raise late(self._name, limit, self._patience or 0.0) from None
        except StopAsyncIteration:
            self._ended = True
            raise
        finally:
            self._reading = None
        raise Failure("upstream_failed", "The answer was closed before its end.", reason="closed")

    def close(self) -> None:
        """Give the provider's call up; who reads at this moment is told."""
        if self._ended or self._closed:
            return
        self._closed = True
        if self._reading is not None:
            self._reading.reschedule(asyncio.get_running_loop().time())
        else:
            self._leave()


def _until(deadline: float | None, patience: float | None, limit: str) -> tuple[float | None, str]:
    """Return the moment by which the next step must be done, and the name of the limit that it is."""
    if patience is None:
        return deadline, "total"
    end = asyncio.get_running_loop().time() + patience
    return (end, limit) if deadline is None or end < deadline else (deadline, "total")


def _refusal(failure: Failure) -> Response:
    """Return the answer that a client of this wire format reads the failure from."""
    status, body = DIALECT.write_error(failure, "")
    upstream = failure.upstream_status
    if upstream is not None and 400 <= upstream < 600:
        status = upstream
    headers = [JSON]
    if failure.retry_after is not None and math.isfinite(failure.retry_after):
        headers.append((b"retry-after", b"%d" % max(math.ceil(failure.retry_after), 0)))
    return Response(status, headers, msgspec.json.encode(body))
