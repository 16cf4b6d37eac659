"""A provider in the transport's place: OpenAI's own SDK cannot tell, errors keep their meaning, and nothing runs on."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from ailink_provider import (
    APIError,
    CompletionRequest,
    CompletionResponse,
    ProviderBuilder,
    UsageStats,
)
from ailink_provider.adapter import ProviderSender
from ailink_provider.chat import Event, MessageDelta, MessageError, PartDelta, PartEnd, PartStart, ToolCall, Usage
from ailink_provider.dialects.openai_chat import DIALECT
from ailink_provider.errors import Failure
from ailink_provider.transport import Origin, Request, Response

ORIGIN = Origin("http", "provider", 80)
ASK: dict[str, Any] = {"model": "mine", "messages": [{"role": "user", "content": "Hello, world!"}]}


async def echo(request: CompletionRequest) -> CompletionResponse:
    return CompletionResponse(f"echo: {request.prompt}", usage=UsageStats(10, 20))


async def words(request: CompletionRequest) -> AsyncIterator[str | Event]:
    for word in ("echo: ", *request.prompt.split(" ")):
        yield word
    yield MessageDelta(usage=Usage(10, 20))


def sender(complete: Any = echo, stream: Any = None) -> ProviderSender:
    builder = ProviderBuilder("mine", "custom").with_complete_func(complete)
    return ProviderSender((builder.with_stream_func(stream) if stream else builder).build())


def request(body: Any, path: bytes = b"/v1/chat/completions", method: str = "POST") -> Request:
    return Request(method, ORIGIN, path, [], body if isinstance(body, bytes) else json.dumps(body).encode())


async def tree(response: Response) -> Any:
    return json.loads(await response.read(1 << 20))


class Bridge(httpx2.AsyncBaseTransport):
    """Lets an SDK speak to whatever stands where the transport stands."""

    def __init__(self, stand_in: ProviderSender) -> None:
        self._sender = stand_in

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        sent = Request(request.method, ORIGIN, request.url.raw_path, list(request.headers.raw), await request.aread())
        reply = await self._sender.send(sent)

        async def body() -> AsyncIterator[bytes]:
            async for piece in reply:
                yield piece

        return httpx2.Response(reply.status, headers=reply.headers, content=body())


def client(stand_in: ProviderSender) -> AsyncOpenAI:
    http = httpx2.AsyncClient(transport=Bridge(stand_in))
    return AsyncOpenAI(base_url="http://provider/v1", api_key="none", http_client=http, max_retries=0)


# --- answers -------------------------------------------------------------------------------------


async def test_a_completion_reads_as_openais() -> None:
    async with client(sender()) as sdk:
        reply = await sdk.chat.completions.create(**ASK)
    assert reply.choices[0].message.content == "echo: Hello, world!"
    assert (reply.model, reply.choices[0].finish_reason) == ("mine", "stop")
    assert reply.usage is not None and reply.usage.total_tokens == 30


@pytest.mark.parametrize("stream", [None, words])
async def test_a_stream_says_what_a_completion_says(stream: Any) -> None:
    async with client(sender(stream=stream)) as sdk:
        chunks = [chunk async for chunk in await sdk.chat.completions.create(
            **ASK, stream=True, stream_options={"include_usage": True})]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text == ("echo: Hello,world!" if stream else "echo: Hello, world!")
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 20
    assert chunks[0].model == "mine"


async def test_tool_calls_and_all_else_that_is_canonical_come_through() -> None:
    seen: list[CompletionRequest] = []

    async def calls(asked: CompletionRequest) -> AsyncIterator[Event]:
        seen.append(asked)
        yield PartStart(0, ToolCall("call_1", "look"))
        yield PartDelta(0, '{"at": ')
        yield PartDelta(0, '"it"}')
        yield PartEnd(0)

    tool: Any = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
    async with client(sender(stream=calls)) as sdk:
        stream: Any = await sdk.chat.completions.create(**ASK, tools=[tool], seed=7, stream=True)
        chunks = [chunk async for chunk in stream]
    arguments = [call.function.arguments for chunk in chunks for choice in chunk.choices
                 for call in choice.delta.tool_calls or ()]
    assert "".join(arguments) == '{"at": "it"}'
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    assert seen[0].chat.seed == 7 and seen[0].stream and len(seen[0].tools) == 1


async def test_text_completions_are_answered_too() -> None:
    async with client(sender(stream=words)) as sdk:
        reply = await sdk.completions.create(model="mine", prompt="Hello")
        assert reply.choices[0].text == "echo: Hello"
        chunks = [chunk async for chunk in await sdk.completions.create(model="mine", prompt="Hello", stream=True)]
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "echo: Hello"


async def test_a_streamed_body_is_read() -> None:
    async def body() -> AsyncIterator[bytes]:
        for byte in json.dumps(ASK).encode():
            yield bytes([byte])

    reply = await sender().send(Request("POST", ORIGIN, b"/chat/completions", [], body()))
    assert reply.status == 200


# --- what goes wrong -----------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "status", "code", "after"), [
    (APIError(429, "slow down", retry_after=1.2), 429, "rate_limit_exceeded", b"2"),
    (APIError(401, "bad key"), 401, "upstream_auth", None),
    (APIError(302, "moved"), 502, "upstream_failed", None),
    (APIError(503, "busy", retry_after=float("inf")), 503, "upstream_overloaded", None),
    (Failure("context_length_exceeded", "too long"), 400, "context_length_exceeded", None),
    (Failure("upstream_auth", "refused", upstream_status=401), 401, "upstream_auth", None),
    (Failure("circuit_open", "open", retry_after=30), 503, "circuit_open", b"30"),
    (TimeoutError(), 504, "upstream_timeout", None), (ConnectionResetError(), 502, "upstream_failed", None),
    (KeyError("sk-secret"), 502, "upstream_failed", None),
])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_before_the_first_event_has_a_status(
    error: Exception, status: int, code: str, after: bytes | None, stream: bool
) -> None:
    async def fails(asked: CompletionRequest) -> CompletionResponse:
        raise error

    async def breaks(asked: CompletionRequest) -> AsyncIterator[str]:
        if asked.stream:
            raise error
        yield ""

    reply = await sender(fails, breaks).send(request({**ASK, "stream": stream}))
    body = await tree(reply)
    assert (reply.status, body["error"]["code"], reply.header(b"retry-after")) == (status, code, after)
    assert "sk-secret" not in json.dumps(body)
    # What routes to it reads the same failure that it would read from an upstream of its own.
    read = DIALECT.read_error(reply.status, {}, json.dumps(body).encode())
    assert read.retryable is (code in ("rate_limit_exceeded", "upstream_failed", "upstream_overloaded", "circuit_open",
                                       "upstream_timeout"))


@pytest.mark.parametrize("error", [APIError(500, "down"), MessageError(Failure("upstream_failed", "down"))])
async def test_an_error_after_it_is_an_event(error: Any) -> None:
    async def breaks(asked: CompletionRequest) -> AsyncIterator[str | Event]:
        yield "one"
        if isinstance(error, Exception):
            raise error
        yield error

    async with client(sender(stream=breaks)) as sdk:
        seen = ""
        with pytest.raises(openai.APIError, match="down"):
            async for chunk in await sdk.chat.completions.create(**ASK, stream=True):
                seen += "".join(choice.delta.content or "" for choice in chunk.choices)
    assert seen == "one"


@pytest.mark.parametrize(("asked", "status", "code"), [
    (request(ASK, b"/v1/embeddings"), 404, "not_found"), (request(ASK, method="GET"), 405, "method_not_allowed"),
    (request(b"[1]"), 400, "invalid_request"), (request(b"\xff"), 400, "invalid_request"),
    (request({"model": "mine"}), 400, "invalid_request"), (request({"messages": 5}), 400, "invalid_request"),
    (Request("POST", ORIGIN, b"/chat/completions", []), 400, "invalid_request"),
])
async def test_what_is_wrong_with_a_request_is_an_answer(asked: Request, status: int, code: str) -> None:
    reply = await sender().send(asked)
    assert (reply.status, (await tree(reply))["error"]["code"]) == (status, code)


@pytest.mark.parametrize("returned", [None, "text", 5])
async def test_a_provider_that_keeps_no_promise_harms_nobody(returned: Any) -> None:
    class Odd:
        name = type = "odd"

        async def complete(self, asked: CompletionRequest) -> Any:
            return returned

        def stream(self, asked: CompletionRequest) -> Any:
            return returned

    for stream in (False, True):
        reply = await ProviderSender(Odd()).send(request({**ASK, "stream": stream}))  # type: ignore[arg-type]
        assert reply.status == 502


# --- who leaves ----------------------------------------------------------------------------------


class Hanging:
    """A handler that answers a word and then hangs, and tells how it went."""

    def __init__(self, first: str | None = None) -> None:
        self.started, self.ended = asyncio.Event(), asyncio.Event()
        self._first = first

    async def __call__(self, asked: CompletionRequest) -> AsyncIterator[str]:
        try:
            if self._first is not None:
                yield self._first
            self.started.set()
            await asyncio.Event().wait()
        finally:
            self.ended.set()


async def test_cancelling_a_call_gives_the_providers_up() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def hangs(asked: CompletionRequest) -> CompletionResponse:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        raise AssertionError

    for stream in (False, True):
        hanging = Hanging()
        task = asyncio.create_task(sender(hangs, hanging).send(request({**ASK, "stream": stream})))
        await (hanging.started if stream else started).wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (hanging.ended if stream else ended).is_set()


async def test_cancelling_a_reader_gives_the_stream_up() -> None:
    hanging = Hanging("one")
    reply = await sender(stream=hanging).send(request({**ASK, "stream": True}))

    async def read() -> None:
        async for _ in reply:
            pass

    task = asyncio.create_task(read())
    await hanging.started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert hanging.ended.is_set()
    reply.close()


async def test_closing_an_answer_gives_the_stream_up() -> None:
    hanging = Hanging("one")
    reply = await sender(stream=hanging).send(request({**ASK, "stream": True}))
    reply.close()
    reply.close()
    await asyncio.wait_for(hanging.ended.wait(), 5)
    with pytest.raises(Failure, match="closed"):
        await anext(aiter(reply))


async def test_closing_under_a_reader_tells_it() -> None:
    hanging = Hanging("one")
    reply = await sender(stream=hanging).send(request({**ASK, "stream": True}))

    async def read() -> None:
        async for _ in reply:
            pass

    task = asyncio.create_task(read())
    await hanging.started.wait()
    reply.close()
    with pytest.raises(Failure, match="closed"):
        await task
    assert hanging.ended.is_set()


async def test_an_answer_read_to_its_end_needs_no_closing() -> None:
    reply = await sender(stream=words).send(request({**ASK, "stream": True}))
    assert b"".join([piece async for piece in reply]).endswith(b"data: [DONE]\n\n")
    reply.close()
    assert [piece async for piece in reply] == []


async def test_the_deadline_ends_a_call_and_a_stream() -> None:
    async def hangs(asked: CompletionRequest) -> CompletionResponse:
        await asyncio.Event().wait()
        raise AssertionError

    loop = asyncio.get_running_loop()
    for stream in (False, True):
        reply = await sender(hangs, Hanging()).send(request({**ASK, "stream": stream}), loop.time() + 0.01)
        assert reply.status == 504
    hanging = Hanging("one")
    reply = await sender(stream=hanging).send(request({**ASK, "stream": True}), loop.time() + 0.02)
    with pytest.raises(Failure) as caught:
        [piece async for piece in reply]
    assert caught.value.code == "upstream_timeout" and hanging.ended.is_set()


async def test_no_piece_is_made_ahead_of_the_reader() -> None:
    made = 0

    async def counts(asked: CompletionRequest) -> AsyncIterator[str]:
        nonlocal made
        for made in range(1, 100):  # noqa: B007
            yield "x"

    reply = await sender(stream=counts).send(request({**ASK, "stream": True}))
    pieces = aiter(reply)
    for _ in range(3):
        await anext(pieces)
    assert made <= 3
    reply.close()


async def test_a_provider_without_a_timeout_of_its_own_is_given_up() -> None:
    async def hang(request: CompletionRequest) -> CompletionResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async def stall(request: CompletionRequest) -> AsyncIterator[str]:
        yield "one"
        await asyncio.Event().wait()

    built = ProviderBuilder("mine", "custom").with_complete_func(hang).with_stream_func(stall).build()
    patient = ProviderSender(built, 0.05)
    answer = await patient.send(request(ASK))
    assert answer.status == 504 and "first_byte" in (await tree(answer))["error"]["message"]
    answer = await patient.send(request({**ASK, "stream": True}))
    assert answer.status == 200
    with pytest.raises(Failure) as caught:
        async for _ in answer:
            pass
    assert (caught.value.code, caught.value.reason) == ("upstream_timeout", "between_bytes_timeout")
    # A deadline that comes first is the one that is named.
    answer = await ProviderSender(built, 60).send(request(ASK), asyncio.get_running_loop().time() + 0.05)
    assert "total" in (await tree(answer))["error"]["message"]
