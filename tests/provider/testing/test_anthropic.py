"""Anthropic's side of the mock, as Anthropic's own SDK sees it."""

import json

import anthropic
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from ailink_provider.chat import Usage
from ailink_provider.testing import Fault, MockUpstream

ASK = {"max_tokens": 4096, "messages": [{"role": "user", "content": "What is the weather in Paris?"}]}
WEATHER = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}


async def test_echoes_by_default(upstream: MockUpstream, anthropic_client: AsyncAnthropic) -> None:
    reply = await anthropic_client.messages.create(model="claude-haiku-4-5", **ASK)
    assert [block.text for block in reply.content] == ["echo: What is the weather in Paris?"]
    assert (reply.stop_reason, reply.usage.input_tokens, reply.usage.output_tokens) == ("end_turn", 11, 7)
    upstream.assert_clean()


async def test_streams_what_it_says_whole(upstream: MockUpstream, anthropic_client: AsyncAnthropic) -> None:
    usage = Usage(100, 50, cache_read_tokens=60, cache_write_tokens=30, cache_write_1h_tokens=10, reasoning_tokens=20)
    upstream.script(text="It is sunny.", thinking="Let me think.", tool_calls=[("weather", {"city": "Paris"})],
                    usage=usage, times=2)
    whole = await anthropic_client.messages.create(model="claude-haiku-4-5", tools=[WEATHER], **ASK)
    async with anthropic_client.messages.stream(model="claude-haiku-4-5", tools=[WEATHER], **ASK) as events:
        streamed = await events.get_final_message()
    assert [block.type for block in whole.content] == ["thinking", "text", "tool_use"]
    assert [block.to_dict() for block in streamed.content] == [
        {key: value for key, value in block.to_dict().items() if key != "id"} | (
            {"id": streamed.content[2].id} if block.type == "tool_use" else {})
        for block in whole.content
    ]
    assert whole.stop_reason == streamed.stop_reason == "tool_use"
    assert whole.usage == streamed.usage
    assert (whole.usage.input_tokens, whole.usage.cache_read_input_tokens) == (10, 60)
    assert whole.usage.cache_creation is not None and whole.usage.output_tokens_details is not None
    assert whole.usage.cache_creation.ephemeral_1h_input_tokens == 10
    assert whole.usage.output_tokens_details.thinking_tokens == 20
    upstream.assert_clean()


async def test_a_call_without_arguments_streams_no_braces(
        upstream: MockUpstream, anthropic_client: AsyncAnthropic) -> None:
    upstream.script(tool_calls=[("weather", {})])
    stream = await anthropic_client.messages.create(model="claude-haiku-4-5", tools=[WEATHER], stream=True, **ASK)
    deltas = [event.delta.partial_json async for event in stream if event.type == "content_block_delta"]
    assert deltas == [""]


async def test_the_newest_models_always_think_and_hide_it(
        upstream: MockUpstream, anthropic_client: AsyncAnthropic) -> None:
    reply = await anthropic_client.messages.create(model="claude-opus-5-5", **ASK)
    assert [block.type for block in reply.content] == ["thinking", "text"]
    upstream.script(text="Yes.", thinking="Secret.", times=2)
    hidden = await anthropic_client.messages.create(model="claude-opus-5", **ASK)
    shown = await anthropic_client.messages.create(
        model="claude-opus-5", thinking={"type": "adaptive", "display": "summarized"}, **ASK)
    assert [hidden.content[0].thinking, shown.content[0].thinking] == ["", "Secret."]


@pytest.mark.parametrize(("finish", "reason"), [
    ("length", "max_tokens"), ("content_filter", "refusal"), ("pause", "pause_turn"),
    ("model_context_window_exceeded", "model_context_window_exceeded"),
])
async def test_finishes(upstream: MockUpstream, anthropic_client: AsyncAnthropic, finish: str, reason: str) -> None:
    upstream.script(text="So", finish=finish, times=2)
    whole = await anthropic_client.messages.create(model="claude-haiku-4-5", **ASK)
    async with anthropic_client.messages.stream(model="claude-haiku-4-5", **ASK) as events:
        streamed = await events.get_final_message()
    assert whole.stop_reason == streamed.stop_reason == reason


async def test_refuses_with_an_explanation_and_names_the_stop_sequence(
        upstream: MockUpstream, anthropic_client: AsyncAnthropic) -> None:
    upstream.script(refusal="Not that.")
    refused = await anthropic_client.messages.create(model="claude-haiku-4-5", **ASK)
    assert refused.stop_reason == "refusal" and refused.content == []
    assert refused.stop_details is not None and refused.stop_details.explanation == "Not that."
    upstream.script(text="One", finish="stop_sequence")
    stopped = await anthropic_client.messages.create(model="claude-haiku-4-5", stop_sequences=["END"], **ASK)
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "END")


async def test_thoughts_and_tools_go_round(upstream: MockUpstream, anthropic_client: AsyncAnthropic) -> None:
    """What the mock said may be sent back to it, and is then checked."""
    upstream.script(thinking="I need the weather.", tool_calls=[("weather", {"city": "Paris"})])
    ask = {"model": "claude-haiku-4-5", "tools": [WEATHER], "thinking": {"type": "enabled", "budget_tokens": 1024}}
    first = await anthropic_client.messages.create(**ASK, **ask)
    result = {"type": "tool_result", "tool_use_id": first.content[1].id, "content": "sunny"}
    turns = [*ASK["messages"], {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    second = await anthropic_client.messages.create(**(ASK | {"messages": turns}), **ask)
    assert second.content[0].text == "echo: sunny"
    upstream.assert_clean()
    forged = first.content[0].model_copy(update={"thinking": "I know it."})
    turns[1] = {"role": "assistant", "content": [forged, first.content[1]]}
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature` in `thinking` block"):
        await anthropic_client.messages.create(**(ASK | {"messages": turns}), **ask)


async def test_counts_tokens(upstream: MockUpstream, anthropic_client: AsyncAnthropic) -> None:
    upstream.script(usage=Usage(input_tokens=42))
    count = await anthropic_client.messages.count_tokens(model="claude-haiku-4-5", messages=ASK["messages"])
    assert count.input_tokens == 42
    upstream.assert_clean()


async def test_replies_fit_the_types_of_the_sdk(upstream: MockUpstream, anthropic_client: AsyncAnthropic) -> None:
    """The SDK builds its types without validating: do validate."""
    upstream.script(text="Yes.", thinking="Hm.", tool_calls=[("weather", {})], times=2)
    messages = anthropic_client.messages.with_raw_response
    raw = await messages.create(model="claude-haiku-4-5", **ASK)
    Message.model_validate_json(await raw.read(), strict=True)
    raw = await messages.create(model="claude-haiku-4-5", stream=True, **ASK)
    event: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)
    names = []
    async for line in raw.http_response.aiter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            names.append(value)
        elif field == "data" and names[-1] != "ping":
            assert json.loads(value)["type"] == names[-1]
            event.validate_json(value, strict=True)
    assert names[:3] == ["message_start", "content_block_start", "ping"]
    assert names[-2:] == ["message_delta", "message_stop"]


@pytest.mark.parametrize(("fault", "error", "kind"), [
    (Fault("status", status=400), anthropic.BadRequestError, "invalid_request_error"),
    (Fault("context"), anthropic.BadRequestError, "invalid_request_error"),
    (Fault("status", status=401), anthropic.AuthenticationError, "authentication_error"),
    (Fault("quota"), anthropic.PaymentRequiredError, "billing_error"),
    (Fault("status", status=403), anthropic.PermissionDeniedError, "permission_error"),
    (Fault("status", status=404), anthropic.NotFoundError, "not_found_error"),
    (Fault("status", status=413), anthropic.RequestTooLargeError, "request_too_large"),
    (Fault("status", status=429, retry_after=7), anthropic.RateLimitError, "rate_limit_error"),
    (Fault("status", status=500), anthropic.InternalServerError, "api_error"),
    (Fault("status", status=529), anthropic.OverloadedError, "overloaded_error"),
    (Fault("html"), anthropic.InternalServerError, None),
])
async def test_errors_raise_the_right_exception(
        upstream: MockUpstream, anthropic_client: AsyncAnthropic, fault: Fault, error: type[anthropic.APIStatusError],
        kind: str | None) -> None:
    upstream.script(fault=fault)
    with pytest.raises(error) as caught:
        await anthropic_client.messages.create(model="claude-haiku-4-5", **ASK)
    assert caught.value.type == kind
    if fault.retry_after is not None:
        assert caught.value.response.headers["retry-after"] == "7"


async def test_an_error_inside_the_stream_raises(upstream: MockUpstream, anthropic_client: AsyncAnthropic) -> None:
    upstream.script(text="one two three", fault=Fault("error_event", at=4))
    stream = await anthropic_client.messages.create(model="claude-haiku-4-5", stream=True, **ASK)
    seen = []
    with pytest.raises(anthropic.APIStatusError) as caught:
        async for event in stream:
            seen.append(event.type)
    assert caught.value.type == "overloaded_error"
    assert seen == ["message_start", "content_block_start", "content_block_delta"]
