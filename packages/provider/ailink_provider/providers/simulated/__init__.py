"""The simulated provider: answers in development where there is no key, in the process, without a socket or a model.

It stands where the transport stands and speaks OpenAI's wire format, so that every other one reaches it through
translation. The same request always gets the same answer. It never claims to be a model, and it is never a fallback:
only a configuration that names it reaches it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import msgspec

from ailink_provider.chat import Chat, Embed
from ailink_provider.dialects.openai_chat import DIALECT
from ailink_provider.errors import Failure
from ailink_provider.inward import JSON, STREAM, asked
from ailink_provider.providers.simulated.embeddings import embed
from ailink_provider.providers.simulated.replies import compose, stream
from ailink_provider.transport import Request, Response
from ailink_provider.transport.timeouts import late

PACE = 0.01  # seconds between two words: brisk, and slow enough to be seen streaming
_OPERATIONS = ("chat", "completions", "embeddings")


class Simulator:
    """An upstream (``transport.Upstream``) that is not there.

    Args:
        pace: seconds before every piece of a stream, and before a whole answer.
    """

    def __init__(self, pace: float = PACE) -> None:
        self._pace = pace

    async def send(self, request: Request, deadline: float | None = None) -> Response:
        """Return the answer; what is wrong with a request is an answer, too, in the wire format's error shape.

        The target must end in /chat/completions, /completions or /embeddings; headers count for nothing.
        """
        try:
            operation, question = await asked(request, _OPERATIONS, "The simulator")
            if isinstance(question, Chat) and question.stream:
                writer = operation.writer(question)
                pieces = map(writer.write, stream(compose(question)))
                return Response(200, [STREAM], _Paced(pieces, self._pace, deadline))
            answer = embed(question) if isinstance(question, Embed) else compose(question)
            body = operation.write_reply(answer, question)
        except Failure as failure:
            status, error = DIALECT.write_error(failure, "")
            return Response(status, [JSON], msgspec.json.encode(error))
        await asyncio.sleep(self._pace)
        return Response(200, [JSON], msgspec.json.encode(body))


class _Paced:
    """The body of a stream: one piece after another, each after a pause."""

    def __init__(self, pieces: Iterator[bytes], pace: float, deadline: float | None) -> None:
        self._pieces = pieces
        self._pace = pace
        self._deadline = deadline
        self._closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await asyncio.sleep(self._pace)
        if self._closed:
            raise Failure("upstream_failed", "The answer was closed before its end.", reason="closed")
        if self._deadline is not None and asyncio.get_running_loop().time() > self._deadline:
            raise late("The simulator", "total")
        piece = next(filter(None, self._pieces), None)
        if piece is None:
            raise StopAsyncIteration
        return piece

    def close(self) -> None:
        self._closed = True
