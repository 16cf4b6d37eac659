"""The mock upstream itself: listens, judges what arrives, answers as scripted, and remembers everything.

It never forgives: a request that breaks a rule gets the vendor's own error, and stays on record for
``assert_clean``. It never calls out, and it is for tests alone: the keys are public and the replies canned.
"""

import asyncio
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import NamedTuple, Self

from ailink_provider.chat import Usage
from ailink_provider.testing import anthropic, bedrock, gemini, ollama, openai, openai_responses, rest
from ailink_provider.testing.checks import body_breaches, credential_breaches, header_breaches
from ailink_provider.testing.delivery import Delivery
from ailink_provider.testing.script import DEFAULT_USAGE, Answer, Call, Fault, read_calls
from ailink_provider.testing.server import Exchange, Received, Server
from ailink_provider.testing.vendor import Breach, Refusal, Stream, Vendor, Whole

# The credentials that the vendors expect unless a test sets others. Public, and good for nothing else.
KEYS: Mapping[str, str] = {
    "openai": "sk-mock-openai-key", "anthropic": "sk-ant-mock-key", "gemini": "AIza-mock-gemini-key",
    "bedrock": "bedrock-api-key-mock",
}
_VENDORS: tuple[Vendor, ...] = (
    openai.VENDOR, openai_responses.VENDOR, anthropic.VENDOR, gemini.VENDOR, bedrock.VENDOR, ollama.VENDOR, rest.VENDOR,
)
_KEYLESS = ("ollama", "rest")
_PATIENCE = 10.0  # seconds that a test waits for something to happen before it is told that it did not


class Violation(NamedTuple):
    """A rule that a request broke: the vendor whose rule it is, its words, and the request."""

    vendor: str
    message: str
    request: Received


@dataclass(slots=True)
class _Scripted:
    answer: Answer
    times: int | None
    when: Callable[[Received], bool]


class MockUpstream:
    """A vendor's cloud on a loopback port: OpenAI, Anthropic, Gemini, Bedrock, Ollama and any other REST API at once.

    ``async with MockUpstream() as upstream`` serves from the running event loop; ``with`` serves from a thread of
    its own, for tests that block. Both leave nothing behind.

    Args:
        keys: the credential that each vendor expects, over ``KEYS``; None accepts whatever comes, as "rest" and
            "ollama" do.
        models: the only models that exist; None lets every name exist.
        tls: serve in TLS with this context.
        port: a fixed port instead of a free one.
    """

    def __init__(self, *, keys: Mapping[str, str | None] | None = None, models: Sequence[str] | None = None,
                 tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self.keys: dict[str, str | None] = {**KEYS, **dict.fromkeys(_KEYLESS), **(keys or {})}
        self.requests: list[Received] = []
        self.violations: list[Violation] = []
        self._models = models
        self._server = Server(self._handle, port=port, tls=tls)
        self._scripted: list[_Scripted] = []
        self._arrivals: list[tuple[int, Future[Received]]] = []
        self._arrived = threading.Lock()
        self._loop: asyncio.AbstractEventLoop
        self._released: asyncio.Semaphore
        self._thread: threading.Thread
        self._stopping: asyncio.Event

    # --- where it is, and what it shall say ---

    def url(self, path: str = "") -> str:
        """Return the absolute URL of ``path``, which starts with a slash or is empty."""
        return f"{'https' if self._server.tls else 'http'}://127.0.0.1:{self._server.port}{path}"

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._server.port

    def script(
        self, text: str | None = None, *, tool_calls: Iterable[Call] = (), thinking: str | None = None,
        refusal: str | None = None, usage: Usage = DEFAULT_USAGE, finish: str | None = None,
        chunks: Sequence[str] | None = None, interleave: bool = False, status: int | None = None,
        headers: Iterable[tuple[str, str]] = (), body: bytes | None = None, fault: Fault | None = None,
        times: int | None = 1, when: Callable[[Received], bool] = lambda request: True,
    ) -> None:
        """Add an answer to the queue: the first that is ``when`` for a request answers it, ``times`` times (None:
        for ever). The other arguments are ``Answer``'s. Without a script the mock echoes.

        Thoughts are shown as the vendor shows them: Anthropic's from Opus 5 on only with ``display: summarized``,
        Gemini's only with ``includeThoughts``.
        """
        answer = Answer(text=text, tool_calls=read_calls(tool_calls), thinking=thinking, refusal=refusal, usage=usage,
                        finish=finish, chunks=chunks, interleave=interleave, status=status, headers=tuple(headers),
                        body=body, fault=fault)
        self._scripted.append(_Scripted(answer, times, when))

    def forget(self) -> None:
        """Be as new: no script, no request, no violation."""
        self._scripted.clear()
        self.requests.clear()
        self.violations.clear()

    def release(self) -> None:
        """Let one answer that hangs, or will, go on."""
        self._loop.call_soon_threadsafe(self._released.release)

    def drop_idle_connections(self) -> None:
        """Close the kept-alive connections on which nothing is being answered."""
        self._loop.call_soon_threadsafe(self._server.drop_idle)

    # --- what happened ---

    def assert_clean(self) -> None:
        """Raise ``AssertionError`` naming every rule that was broken and everything that went wrong inside."""
        problems = [f"{request!r} -> {vendor}: {message}" for vendor, message, request in self.violations]
        problems += [f"not HTTP: {problem}" for problem in self._server.malformed]
        problems += [f"the mock itself failed: {error!r}" for error in self._server.errors]
        if problems:
            raise AssertionError("\n".join(["The mock upstream refused what it was sent:", *problems]))

    async def received(self, count: int = 1, timeout: float = _PATIENCE) -> Received:  # noqa: ASYNC109
        """Wait until ``count`` requests have come in whole, and return that one. Raises ``TimeoutError``."""
        future: Future[Received] = Future()
        with self._arrived:
            if len(self.requests) >= count:
                return self.requests[count - 1]
            self._arrivals.append((count, future))
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout)

    async def disconnected(self, number: int = -1, timeout: float = _PATIENCE) -> None:  # noqa: ASYNC109
        """Wait until the client has left while request ``number`` was being answered.

        Raises ``AssertionError`` if that request ended in any other way, ``TimeoutError`` if it does not end.
        """
        request = self.requests[number] if self.requests else await self.received(timeout=timeout)
        outcome = await asyncio.wait_for(asyncio.shield(asyncio.wrap_future(request.outcome)), timeout)
        if outcome != "disconnected":
            raise AssertionError(f"The client did not leave: {request!r} was {outcome}.")

    # --- life ---

    async def __aenter__(self) -> Self:
        await self._start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        trace: TracebackType | None) -> None:
        await self._server.stop()
        self._raise_errors()

    def __enter__(self) -> Self:
        started: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)), name="mock-upstream")
        self._thread.start()
        try:
            started.result()
        except OSError:
            self._thread.join()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join()
        self._raise_errors()

    async def _serve(self, started: "Future[None]") -> None:
        self._stopping = asyncio.Event()
        try:
            await self._start()
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result(None)
        await self._stopping.wait()
        await self._server.stop()

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._released = asyncio.Semaphore(0)
        await self._server.start()

    def _raise_errors(self) -> None:
        # A bug in a script or in the mock: not to be taken for an upstream that broke.
        if self._server.errors:
            raise self._server.errors[0]

    # --- one request ---

    async def _handle(self, exchange: Exchange) -> None:
        request = exchange.request
        serial = self._record(request)
        vendor, operation = _addressee(request)
        breaches = list(self._breaches(vendor, operation, request))
        self.violations += [Violation(vendor.name, breach.message, request) for breach in breaches]
        delivery = Delivery(exchange, vendor, self._released.acquire)
        if breaches:
            await delivery.send(self._refuse(vendor, operation, breaches[0], request), None, "")
            return
        model = vendor.model(request)
        if self._models is not None and model and model not in self._models:
            await delivery.send(vendor.refuse(Refusal("model", model=model)), None, model)
            return
        answer = self._next_answer(request)
        await delivery.send(self._reply(vendor, operation, request, answer, serial), answer.fault, model)

    def _record(self, request: Received) -> int:
        with self._arrived:
            self.requests.append(request)
            count = len(self.requests)
            for arrival in [arrival for arrival in self._arrivals if arrival[0] <= count]:
                self._arrivals.remove(arrival)
                if arrival[1].set_running_or_notify_cancel():
                    arrival[1].set_result(self.requests[arrival[0] - 1])
        return count

    def _breaches(self, vendor: Vendor, operation: str, request: Received) -> Iterator[Breach]:
        yield from header_breaches(request)
        key = self.keys[vendor.name]
        if key is not None:
            for breach in credential_breaches(request, vendor.credentials, key):
                yield breach._replace(code="auth")
        if operation == "method":
            yield Breach(f"Not allowed to {request.method} on {request.path}", code="method")
        elif request.method == "POST" and vendor is not rest.VENDOR:
            malformed = list(body_breaches(request))
            yield from malformed or vendor.breaches(operation, request)

    def _refuse(self, vendor: Vendor, operation: str, breach: Breach, request: Received) -> Whole:
        if breach.code in ("auth", "method"):
            return vendor.refuse(Refusal(breach.code))
        return vendor.refuse(Refusal("invalid", breach.message, breach.where, breach.code))

    def _next_answer(self, request: Received) -> Answer:
        for scripted in list(self._scripted):
            if scripted.when(request):
                if scripted.times is not None:
                    scripted.times -= 1
                    if not scripted.times:
                        self._scripted.remove(scripted)
                return scripted.answer
        return Answer()

    @staticmethod
    def _reply(vendor: Vendor, operation: str, request: Received, answer: Answer, serial: int) -> Whole | Stream:
        if answer.body is not None or answer.status is not None:
            return Whole(answer.status or 200, list(answer.headers), answer.body or b"")
        return vendor.reply(operation, request, answer, serial)


def _addressee(request: Received) -> tuple[Vendor, str]:
    for vendor in _VENDORS:
        operation = vendor.operation(request.method, request.path)
        if operation is not None:
            return vendor, operation
    raise AssertionError("the last vendor takes every path")
