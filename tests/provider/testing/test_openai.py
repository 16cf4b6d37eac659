"""OpenAI's side of the mock, as OpenAI's own SDK sees it."""

import base64
import struct

import openai
import pytest
from openai import AsyncOpenAI
from openai.types import Completion, CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ailink_provider.chat import ToolCall, Usage
from ailink_provider.testing import Fault, MockUpstream

MESSAGES = [{"role": "user", "content": "What is the weather in Paris?"}]
WEATHER = {"type": "function", "function": {
    "name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}


async def test_echoes_by_default(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    reply = await openai_client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert reply.choices[0].message.content == "echo: What is the weather in Paris?"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage is not None and (reply.usage.prompt_tokens, reply.usage.completion_tokens) == (11, 7)
    assert reply.usage.total_tokens == 18
    assert upstream.requests[-1].json["model"] == reply.model == "gpt-4o"
    upstream.assert_clean()


async def test_streams_what_it_says_whole(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    upstream.script(text="It is sunny today.", usage=Usage(20, 5, cache_read_tokens=8, reasoning_tokens=2), times=2)
    whole = await openai_client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    stream = openai_client.chat.completions.stream(
        model="gpt-4o", messages=MESSAGES, stream_options={"include_usage": True})
    async with stream as events:
        streamed = await events.get_final_completion()
    assert streamed.choices[0].message.content == whole.choices[0].message.content == "It is sunny today."
    assert streamed.usage == whole.usage
    assert whole.usage is not None and whole.usage.prompt_tokens_details is not None
    assert whole.usage.prompt_tokens_details.cached_tokens == 8
    upstream.assert_clean()


async def test_brings_the_chunks_that_were_scripted(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    upstream.script(chunks=["Hel", "lo, ", "wörld"])
    stream = await openai_client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    texts = [chunk.choices[0].delta.content async for chunk in stream]
    assert texts == ["", "Hel", "lo, ", "wörld", None]


async def test_usage_comes_only_when_asked_for(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    stream = await openai_client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    assert all("usage" not in chunk.model_fields_set for chunk in [chunk async for chunk in stream])
    stream = await openai_client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert [chunk.usage is None for chunk in chunks] == [True] * (len(chunks) - 1) + [False]
    assert chunks[-1].choices == []


@pytest.mark.parametrize("interleave", [False, True])
@pytest.mark.parametrize("text", [None, "Let me look."])
async def test_calls_tools(
        upstream: MockUpstream, openai_client: AsyncOpenAI, interleave: bool, text: str | None) -> None:
    upstream.script(text=text, tool_calls=[("weather", {"city": "Paris"}), ToolCall("call_2", "weather", "{}")],
                    interleave=interleave, times=2)
    whole = await openai_client.chat.completions.create(model="gpt-4o", messages=MESSAGES, tools=[WEATHER])
    async with openai_client.chat.completions.stream(model="gpt-4o", messages=MESSAGES, tools=[WEATHER]) as events:
        streamed = await events.get_final_completion()
    assert whole.choices[0].finish_reason == "tool_calls"
    assert whole.choices[0].message.content == text
    assert whole.choices[0].message.tool_calls is not None and streamed.choices[0].message.tool_calls is not None
    for reply in (whole.choices[0].message.tool_calls, streamed.choices[0].message.tool_calls):
        assert [(call.function.name, call.function.arguments) for call in reply] == [
            ("weather", '{"city": "Paris"}'), ("weather", "{}")]
        assert [len(reply[0].id), reply[1].id] == [29, "call_2"]
    upstream.assert_clean()


async def test_a_lone_call_starts_beside_the_role(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    upstream.script(tool_calls=[("weather", {"city": "Paris"})])
    stream = await openai_client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, tools=[WEATHER], stream=True)
    first = (await anext(stream)).choices[0].delta
    await stream.close()
    assert first.role == "assistant" and first.content is None
    assert first.tool_calls is not None and first.tool_calls[0].function is not None
    assert (first.tool_calls[0].function.name, first.tool_calls[0].function.arguments) == ("weather", "")


async def test_speaks_legacy_functions(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    upstream.script(tool_calls=[("weather", {"city": "Paris"})], times=2)
    functions = [{"name": "weather", "parameters": {"type": "object", "properties": {}}}]
    reply = await openai_client.chat.completions.create(model="gpt-4o", messages=MESSAGES, functions=functions)
    assert reply.choices[0].finish_reason == "function_call"
    assert reply.choices[0].message.function_call is not None
    assert reply.choices[0].message.function_call.arguments == '{"city": "Paris"}'
    stream = await openai_client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, functions=functions, stream=True)
    pieces = [chunk.choices[0].delta.function_call async for chunk in stream]
    assert "".join(piece.arguments or "" for piece in pieces if piece) == '{"city": "Paris"}'


async def test_calls_custom_tools_with_free_text(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    upstream.script(tool_calls=[("shell", "ls -l")])
    reply = await openai_client.chat.completions.create(
        model="gpt-5", messages=MESSAGES, tools=[{"type": "custom", "custom": {"name": "shell"}}])
    assert reply.choices[0].message.tool_calls is not None
    call = reply.choices[0].message.tool_calls[0]
    assert call.type == "custom" and call.custom.input == "ls -l"


async def test_gives_n_choices_logprobs_refusals_and_reasons(
        upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    upstream.script(chunks=["a", "b"], finish="length", thinking="Hm.")
    reply = await openai_client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, n=2, logprobs=True, top_logprobs=1)
    assert [choice.index for choice in reply.choices] == [0, 1]
    assert {choice.finish_reason for choice in reply.choices} == {"length"}
    assert reply.choices[0].logprobs is not None and reply.choices[0].logprobs.content is not None
    assert [entry.token for entry in reply.choices[0].logprobs.content] == ["a", "b"]
    assert reply.choices[0].message.reasoning_content == "Hm."
    upstream.script(refusal="I cannot help.")
    async with openai_client.chat.completions.stream(model="gpt-4o", messages=MESSAGES) as events:
        refused = await events.get_final_completion()
    assert refused.choices[0].message.refusal == "I cannot help."


async def test_replies_fit_the_types_of_the_sdk(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    """The SDK builds its types without validating: do validate."""
    upstream.script(text="Yes.", tool_calls=[("weather", {})], times=2)
    chat = openai_client.chat.completions.with_raw_response
    ChatCompletion.model_validate_json((await chat.create(model="gpt-4o", messages=MESSAGES)).content, strict=True)
    streamed = await chat.create(model="gpt-4o", messages=MESSAGES, stream=True)
    frames = [line async for line in streamed.http_response.aiter_lines() if line]
    assert frames.pop() == "data: [DONE]"
    for frame in frames:
        ChatCompletionChunk.model_validate_json(frame.removeprefix("data: "), strict=True)
    completions = openai_client.completions.with_raw_response
    raw = await completions.create(model="gpt-3.5-turbo-instruct", prompt="Say")
    Completion.model_validate_json(raw.content, strict=True)
    embeddings = openai_client.embeddings.with_raw_response
    raw = await embeddings.create(model="text-embedding-3-small", input="a", encoding_format="float")
    CreateEmbeddingResponse.model_validate_json(raw.content, strict=True)
    upstream.assert_clean()


async def test_completes(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    reply = await openai_client.completions.create(model="gpt-3.5-turbo-instruct", prompt=["one", "two"], n=2)
    assert [choice.text for choice in reply.choices] == ["echo: two"] * 4
    stream = await openai_client.completions.create(
        model="gpt-3.5-turbo-instruct", prompt="Say", stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "echo: Say"
    assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 18
    upstream.assert_clean()


async def test_embeds_deterministically(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    reply = await openai_client.embeddings.create(
        model="text-embedding-3-small", input=["a", "b", "a"], dimensions=64, encoding_format="float")
    first, second, third = (entry.embedding for entry in reply.data)
    assert first == third != second
    assert len(first) == 64 and sum(value * value for value in first) == pytest.approx(1)
    packed = await openai_client.embeddings.with_raw_response.create(
        model="text-embedding-3-small", input="a", dimensions=64, encoding_format="base64")
    coded = packed.http_response.json()["data"][0]["embedding"]
    assert struct.unpack("<64f", base64.b64decode(coded)) == pytest.approx(first)
    upstream.assert_clean()


async def test_lists_models(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    names = [model.id async for model in openai_client.models.list()]
    assert "gpt-4o" in names
    assert (await openai_client.models.retrieve("gpt-4o")).id == "gpt-4o"
    with pytest.raises(openai.NotFoundError):
        await openai_client.models.retrieve("gpt-99")


@pytest.mark.parametrize(("fault", "error", "code"), [
    (Fault("status", status=400), openai.BadRequestError, None),
    (Fault("context"), openai.BadRequestError, "context_length_exceeded"),
    (Fault("status", status=401), openai.AuthenticationError, "invalid_api_key"),
    (Fault("status", status=403), openai.PermissionDeniedError, "unsupported_country_region_territory"),
    (Fault("status", status=404), openai.NotFoundError, "model_not_found"),
    (Fault("status", status=429, retry_after=34.4), openai.RateLimitError, "rate_limit_exceeded"),
    (Fault("quota"), openai.RateLimitError, "insufficient_quota"),
    (Fault("status", status=500), openai.InternalServerError, None),
    (Fault("status", status=503), openai.InternalServerError, None),
    (Fault("html"), openai.InternalServerError, None),
])
async def test_errors_raise_the_right_exception(
        upstream: MockUpstream, openai_client: AsyncOpenAI, fault: Fault, error: type[openai.APIStatusError],
        code: str | None) -> None:
    upstream.script(fault=fault)
    with pytest.raises(error) as caught:
        await openai_client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert caught.value.code == code
    if fault.retry_after is not None:
        assert caught.value.response.headers["retry-after"] == "35"
        assert caught.value.response.headers["retry-after-ms"] == "34400"


async def test_an_error_inside_the_stream_raises(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    upstream.script(text="one two three", fault=Fault("error_event", at=3))
    stream = await openai_client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
    seen = []
    with pytest.raises(openai.APIError, match="overloaded"):
        async for chunk in stream:
            seen.append(chunk.choices[0].delta.content)
    assert seen == ["", "one", " two"]


async def test_a_model_that_does_not_exist(openai_client: AsyncOpenAI) -> None:
    async with MockUpstream(models=["gpt-4o"]) as upstream:
        client = openai_client.with_options(base_url=upstream.url("/v1"))
        await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
        with pytest.raises(openai.NotFoundError, match="The model `gpt-5` does not exist"):
            await client.chat.completions.create(model="gpt-5", messages=MESSAGES)
        upstream.assert_clean()
