"""The simulator: in the transport's place, through OpenAI's own SDK, and reached from other dialects."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openai import AsyncOpenAI

from ailink_provider.catalog import Facts
from ailink_provider.chat import Collector, MessageEnd
from ailink_provider.errors import Failure
from ailink_provider.providers.simulated import Simulator
from ailink_provider.registry import dialects
from ailink_provider.transport import Origin, Request, Response

ORIGIN = Origin("http", "simulated", 80)
WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Current weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
MAIL = {"type": "function", "function": {
    "name": "send_mail", "description": "Deliver a letter to an address",
    "parameters": {"type": "object", "properties": {"to": {"type": "string", "format": "email"}}, "required": ["to"]}}}


class Bridge(httpx2.AsyncBaseTransport):
    """Lets an SDK speak to whatever stands where the transport stands."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        sent = Request(request.method, ORIGIN, request.url.raw_path, list(request.headers.raw), await request.aread())
        reply = await self._simulator.send(sent)

        async def body() -> AsyncIterator[bytes]:
            async for piece in reply:
                yield piece

        return httpx2.Response(reply.status, headers=reply.headers, content=body())


async def send(body: Any, path: bytes = b"/v1/chat/completions", method: str = "POST", **more: Any) -> Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await Simulator(pace=0).send(Request(method, ORIGIN, path, [], content), **more)


async def chat(text: str = "Hello there", **fields: Any) -> dict[str, Any]:
    """Return the first choice of an answer."""
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": text}], **fields}
    reply = await send(body)
    assert reply.status == 200
    choice: dict[str, Any] = json.loads(await reply.read(1 << 20))["choices"][0]
    return choice


def names(choice: dict[str, Any]) -> list[str]:
    return [call["function"]["name"] for call in choice["message"].get("tool_calls", [])]


@pytest.fixture
async def client() -> AsyncIterator[AsyncOpenAI]:
    http = httpx2.AsyncClient(transport=Bridge(Simulator(pace=0)))
    async with AsyncOpenAI(base_url="http://simulated/v1", api_key="none", http_client=http, max_retries=0) as made:
        yield made


# --- words ---------------------------------------------------------------------------------------


async def test_says_that_it_is_simulated_and_quotes() -> None:
    said = (await chat("What is  love?\n"))["message"]["content"]
    assert "simulate" in said and "gpt-4o" in said and "You said: “What is love?”" in said
    assert "x" * 199 + "…" in (await chat("x" * 300))["message"]["content"]
    assert "With it came: image." in (await chat([  # type: ignore[arg-type]
        {"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
    ))["message"]["content"]


async def test_the_same_request_gets_the_same_answer() -> None:
    first, second = [await chat(tools=[WEATHER], tool_choice="required") for _ in range(2)]
    assert first == second
    assert (await chat(seed=1))["message"] == (await chat(seed=1))["message"] != (await chat(seed=2))["message"]


async def test_streams_word_by_word_what_it_says_whole(client: AsyncOpenAI) -> None:
    ask: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Two  spaces,\nand ünïcode 世界"}], "n": 2}
    whole = await client.chat.completions.create(**ask)
    stream = await client.chat.completions.create(**ask, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    deltas = [(choice.index, choice.delta.content or "") for chunk in chunks for choice in chunk.choices]
    texts = ["".join(text for index, text in deltas if index == number) for number in (0, 1)]
    assert texts == [choice.message.content for choice in whole.choices]
    assert texts[0] != texts[1]
    assert chunks[-1].usage == whole.usage
    assert len(chunks) > len(texts[0].split())
    unasked = [chunk async for chunk in await client.chat.completions.create(**ask, stream=True)]
    assert all(chunk.usage is None for chunk in unasked)


async def test_stop_and_limits_end_it() -> None:
    full = (await chat())["message"]["content"]
    stopped = await chat(stop=["zzz", " said", "You"])
    assert stopped["finish_reason"] == "stop"
    assert stopped["message"]["content"] == full[:full.index("You")]
    short = await chat(max_tokens=5)
    assert (short["finish_reason"], short["message"]["content"]) == ("length", full[:20])
    assert (await chat(max_tokens=5000))["finish_reason"] == "stop"
    assert (await chat("é" * 99, max_completion_tokens=30))["finish_reason"] == "length"


async def test_reasoning_is_counted(client: AsyncOpenAI) -> None:
    async def thought(**fields: Any) -> tuple[int, int]:
        reply = await client.chat.completions.create(
            model="gpt-5", messages=[{"role": "user", "content": "Hi"}], **fields)
        assert reply.usage is not None and reply.usage.completion_tokens_details is not None
        return reply.usage.completion_tokens_details.reasoning_tokens or 0, reply.usage.completion_tokens

    (none, plain), (high, more) = await thought(), await thought(reasoning_effort="high")
    assert (none, high, more) == (0, 64, plain + 64)
    assert await thought(reasoning_effort="high", max_completion_tokens=20) == (10, 20)


async def test_usage_is_estimated() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x" * 400}]}
    usage = json.loads(await (await send(body)).read(1 << 20))["usage"]
    assert 100 <= usage["prompt_tokens"] <= 110
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]


# --- tools ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "called"), [
    ("What is the weather in Paris?", ["get_weather"]),
    ("Call get_weather", ["get_weather"]),
    ("Which city has sunny weathers?", ["get_weather"]),
    ("Deliver this letter", ["send_mail"]),
    ("A letter from home", []),
    ("Get me the current user", []),
    ("Mail me the weather", ["get_weather", "send_mail"]),
    ("Hello there", []),
    ("", ["get_weather"]),
])
async def test_calls_the_tools_that_are_spoken_of(text: str, called: list[str]) -> None:
    choice = await chat(text, tools=[WEATHER, MAIL])
    assert names(choice) == called
    assert choice["finish_reason"] == ("tool_calls" if called else "stop")


@pytest.mark.parametrize(("text", "fields", "called"), [
    ("Hello", {"tool_choice": "required"}, ["get_weather"]),
    ("Mail me", {"tool_choice": "required"}, ["send_mail"]),
    ("Mail me", {"tool_choice": "none"}, []),
    ("Hello", {"tool_choice": {"type": "function", "function": {"name": "send_mail"}}}, ["send_mail"]),
    ("Mail me the weather", {"tool_choice": {"type": "allowed_tools", "allowed_tools": {
        "mode": "auto", "tools": [{"type": "function", "function": {"name": "send_mail"}}]}}}, ["send_mail"]),
    ("Mail me the weather", {"parallel_tool_calls": False}, ["get_weather"]),
])
async def test_obeys_the_choice_of_tools(text: str, fields: dict[str, Any], called: list[str]) -> None:
    assert names(await chat(text, tools=[WEATHER, MAIL], **fields)) == called


async def test_arguments_fit_and_use_what_was_said(client: AsyncOpenAI) -> None:
    async with client.chat.completions.stream(
            model="gpt-4o", messages=[{"role": "user", "content": "Mail the weather in Paris"}],
            tools=[WEATHER, MAIL]) as stream:
        calls = (await stream.get_final_completion()).choices[0].message.tool_calls
    assert calls is not None
    arguments = [json.loads(call.function.arguments) for call in calls]
    assert arguments == [{"city": "Paris"}, {"to": "ada@example.com"}]
    assert len({call.id for call in calls}) == 2


async def test_answers_with_what_the_tools_answered() -> None:
    first = await chat("Weather in Paris?", tools=[WEATHER])
    identifier = first["message"]["tool_calls"][0]["id"]
    history = [{"role": "user", "content": "Weather in Paris?"}, first["message"],
               {"role": "tool", "tool_call_id": identifier, "content": "sunny, 20 °C"}]
    answer = await chat(messages=history, tools=[WEATHER])
    assert answer["finish_reason"] == "stop"
    assert "The tool get_weather answered: “sunny, 20 °C”" in answer["message"]["content"]
    assert "Weather in Paris?" in answer["message"]["content"]
    later = [*history, answer["message"], {"role": "user", "content": "Thanks"}]
    assert "sunny" not in (await chat(messages=later, tools=[WEATHER]))["message"]["content"]
    assert names(await chat(messages=history, tools=[WEATHER], tool_choice="required")) == ["get_weather"]


async def test_legacy_functions_custom_tools_and_tools_without_a_schema() -> None:
    legacy = await chat("The weather?", functions=[WEATHER["function"]])
    assert legacy["finish_reason"] == "function_call"
    assert legacy["message"]["function_call"]["name"] == "get_weather"
    custom = await chat("Use the shell", tools=[{"type": "custom", "custom": {"name": "shell"}}])
    assert custom["message"]["tool_calls"][0]["custom"] == {"name": "shell", "input": "Use the shell"}
    bare = await chat("Ping!", tools=[{"type": "function", "function": {"name": "ping"}}])
    assert bare["message"]["tool_calls"][0]["function"]["arguments"] == "{}"


# --- output --------------------------------------------------------------------------------------


async def test_json_is_json() -> None:
    made = json.loads((await chat(response_format={"type": "json_object"}))["message"]["content"])
    assert made["simulated"] is True and "Hello there" in made["reply"]
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer", "maximum": 9}},
              "required": ["city", "days"], "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"name": "trip", "schema": schema}}
    trip = json.loads((await chat("Plan 3 days in Rome", response_format=form))["message"]["content"])
    Draft202012Validator(schema).validate(trip)
    assert trip == {"city": "Rome", "days": 3}
    bare = {"type": "json_schema", "json_schema": {"name": "anything"}}
    assert json.loads((await chat(response_format=bare))["message"]["content"]) == {}


async def test_completes_text(client: AsyncOpenAI) -> None:
    reply = await client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Once upon a time")
    assert "Once upon a time" in reply.choices[0].text
    stream = await client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Once upon a time", stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == reply.choices[0].text


async def test_embeds_by_shared_words(client: AsyncOpenAI) -> None:
    texts = ["the cat sat on the mat", "A cat sat on a mat", "quarterly tax report", "", "the cat sat on the mat"]
    reply = await client.embeddings.create(model="text-embedding-3-small", input=texts, encoding_format="float")
    vectors = [entry.embedding for entry in reply.data]

    def nearness(one: int, other: int) -> float:
        return sum(a * b for a, b in zip(vectors[one], vectors[other], strict=True))

    assert {len(vector) for vector in vectors} == {1536}
    assert all(nearness(index, index) == pytest.approx(1) for index in range(len(texts)))
    assert vectors[0] == vectors[4]
    assert nearness(0, 1) > 0.4 > abs(nearness(0, 2))
    assert reply.usage.prompt_tokens > 10
    small = await client.embeddings.create(model="text-embedding-3-large", input=[1, 2, 3], dimensions=7)
    assert len(small.data[0].embedding) == 7 and small.usage.prompt_tokens == 3
    with pytest.raises(openai.BadRequestError, match="dimensions"):
        await client.embeddings.create(model="text-embedding-3-small", input="a", dimensions=0)


# --- in the transport's place --------------------------------------------------------------------


@pytest.mark.parametrize(("path", "method", "body", "status", "code"), [
    (b"/v1/chat/completions", "POST", b"{", 400, "invalid_request"),
    (b"/v1/chat/completions", "POST", b"[]", 400, "invalid_request"),
    (b"/v1/chat/completions", "POST", b"", 400, "invalid_request"),
    (b"/v1/chat/completions", "POST", b'{"model": "m", "messages": 5}', 400, "invalid_request"),
    (b"/v1/chat/completions", "POST", b'{"model": "m", "messages": [], "n": 129}', 400, "invalid_request"),
    (b"/v1/chat/completions", "POST", b'{"model": "m", "messages": [], "max_tokens": 0}', 400, "invalid_request"),
    (b"/v1/chat/completions?a=b", "GET", b"", 405, "method_not_allowed"),
    (b"/v1/images", "POST", b"{}", 404, "not_found"),
])
async def test_what_is_wrong_is_answered(path: bytes, method: str, body: bytes, status: int, code: str) -> None:
    reply = await send(body, path, method)
    assert reply.status == status
    assert reply.header(b"content-type") == b"application/json"
    assert json.loads(await reply.read(1 << 20))["error"]["code"] == code


async def test_takes_a_body_in_pieces() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model": "m", "messages": [{"role": "us'
        yield b'er", "content": "Hi"}]}'

    reply = await Simulator(0).send(Request("POST", ORIGIN, b"/chat/completions", [], pieces()))
    assert "Hi" in (await reply.read(1 << 20)).decode()


async def test_keeps_the_pace() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    loop = asyncio.get_running_loop()
    for streamed, least in ((False, 0.01), (True, 0.05)):
        started = loop.time()
        request = Request("POST", ORIGIN, b"/chat/completions", [], json.dumps({**body, "stream": streamed}).encode())
        await (await Simulator(pace=0.01).send(request)).read(1 << 20)
        assert loop.time() - started >= least


async def test_a_stream_can_be_given_up_and_is_held_to_its_deadline() -> None:
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Hi"}]}
    reply = await send(body)
    pieces = aiter(reply)
    assert (await anext(pieces)).startswith(b"data: ")
    reply.close()
    with pytest.raises(Failure) as caught:
        await anext(pieces)
    assert (caught.value.code, caught.value.reason) == ("upstream_failed", "closed")
    late = await send(body, deadline=asyncio.get_running_loop().time() - 1)
    with pytest.raises(Failure) as caught:
        await late.read(1 << 20)
    assert caught.value.code == "upstream_timeout"


@pytest.mark.parametrize("name", ["anthropic_messages", "gemini"])
async def test_other_dialects_reach_it_through_translation(name: str) -> None:
    asked = {
        "anthropic_messages": {"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": "Weather?"}],
                               "tools": [{"name": "weather", "input_schema": {"type": "object", "properties": {}}}]},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": "Weather?"}]}],
                   "tools": [{"functionDeclarations": [{"name": "weather"}]}]},
    }[name]
    inbound, outbound = dialects()[name].operations["chat"], dialects()["openai_chat"].operations["chat"]
    for streamed in (False, True):
        request = inbound.read_request(asked, "m", streamed)
        sent = outbound.write_request(request, Facts())
        reply = await send(sent.body)
        if not streamed:
            assert "weather" in json.dumps(inbound.write_reply(
                outbound.read_reply(json.loads(await reply.read(1 << 20)), sent), request))
            continue
        reader, writer, collector, out = outbound.reader(sent), inbound.writer(request), Collector(), b""
        async for piece in reply:
            for event in reader.feed(piece):
                collector.feed(event)
                out += writer.write(event)
        assert reader.close() == [] and isinstance(event, MessageEnd)
        assert b"weather" in out
        assert collector.reply.choices[0].finish is not None
        assert collector.reply.choices[0].finish.reason == "tool_calls"


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["model", "messages", "role", "content", "tools", "type", "function", "name", "parameters", "n",
                         "stream", "stop", "response_format", "json_schema", "schema", "seed", "max_tokens"]),
        inner, max_size=4), max_leaves=20))
def test_no_body_breaks_it(body: Any) -> None:
    reply = asyncio.run(send({"model": "m", "messages": [{"role": "user", "content": "Hi"}], **body}
                             if isinstance(body, dict) else body))
    assert reply.status in (200, 400)
