"""OpenAI's Responses API as the mock plays it, as OpenAI's own SDK sees it; and its rules, a wrong request for each."""

from typing import Any

import httpx2
import msgspec
import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from ailink_provider.chat import ToolCall, Usage
from ailink_provider.testing import Fault, MockUpstream

TOOL = {"type": "function", "name": "weather", "strict": False,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}
SHELL = {"type": "custom", "name": "shell"}
ENCRYPTED = ["reasoning.encrypted_content"]


async def final(client: AsyncOpenAI, **asked: Any) -> Any:
    """Return the response that the terminal event brings; the SDK's own shortcut knows only one of them."""
    async with client.responses.stream(**asked) as events:
        *_, last = [event async for event in events]
    return last.response


async def test_echoes_by_default(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    reply = await openai_client.responses.create(model="gpt-4o", input="Hello")
    assert (reply.output_text, reply.status) == ("echo: Hello", "completed")
    assert reply.usage is not None and (reply.usage.input_tokens, reply.usage.output_tokens) == (11, 7)
    upstream.assert_clean()


@pytest.mark.parametrize("interleave", [False, True])
async def test_streams_what_it_says_whole(
        upstream: MockUpstream, openai_client: AsyncOpenAI, interleave: bool) -> None:
    upstream.script(text="It is sunny.", thinking="The sky is blue.", usage=Usage(20, 9, 8, 4, reasoning_tokens=3),
                    tool_calls=[("weather", {"city": "Paris"}), ToolCall("call_2", "weather"), ("shell", "ls -l")],
                    interleave=interleave, times=2)
    asked: Any = {"model": "gpt-5", "input": "Well?", "tools": [TOOL, SHELL], "include": ENCRYPTED,
                  "reasoning": {"effort": "low", "summary": "auto"}}
    whole = (await openai_client.responses.create(**asked)).to_dict()
    streamed = (await final(openai_client, **asked)).to_dict()
    for reply in (whole, streamed):
        outputs: Any = reply["output"]
        assert [item["type"] for item in outputs] == [
            "reasoning", "message", "function_call", "function_call", "custom_tool_call"]
        assert [item["arguments"] for item in outputs[2:4]] == ['{"city": "Paris"}', "{}"]
        assert outputs[4]["input"] == "ls -l"
        assert outputs[0]["summary"][0]["text"] == "The sky is blue."
        assert reply["usage"]["input_tokens_details"] == {"cached_tokens": 8, "cache_write_tokens": 4}  # type: ignore[index,call-overload]
    assert outputs[3]["call_id"] == "call_2"
    upstream.assert_clean()


async def test_replies_and_events_fit_the_types_of_the_sdk(upstream: MockUpstream, send: Any) -> None:
    upstream.script(text="Yes.", thinking="Hm.", refusal="No.", tool_calls=[("weather", {}), ("shell", "x")], times=2)
    body = {"model": "gpt-5", "input": "Hi", "tools": [TOOL, SHELL], "include": ENCRYPTED,
            "reasoning": {"summary": "auto"}}
    TypeAdapter(Response).validate_python((await send("responses", body)).json())
    lines = (await send("responses", body | {"stream": True})).content.splitlines()
    events = [msgspec.json.decode(line[6:]) for line in lines if line.startswith(b"data: ")]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        TypeAdapter(ResponseStreamEvent).validate_python(event)
    upstream.assert_clean()


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_what_is_not_complete_says_why(
        upstream: MockUpstream, openai_client: AsyncOpenAI, finish: str, reason: str) -> None:
    upstream.script(text="It", finish=finish, times=2)
    for reply in (await openai_client.responses.create(model="gpt-4o", input="Hi"),
                  await final(openai_client, model="gpt-4o", input="Hi")):
        assert (reply.status, reply.incomplete_details.reason) == ("incomplete", reason)


async def test_a_thought_comes_back_as_it_was_made_or_is_refused(
        upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    upstream.script(thinking="Hm.", tool_calls=[("weather", {})])
    first = await openai_client.responses.create(model="gpt-5", input="Hi", tools=[TOOL], include=ENCRYPTED)
    items: Any = [item.to_dict() for item in first.output]
    result = {"type": "function_call_output", "call_id": items[1]["call_id"], "output": "sunny"}
    asked: Any = {"model": "gpt-5", "tools": [TOOL]}
    reply = await openai_client.responses.create(input=[*items, result], **asked)
    assert reply.output_text == "echo: sunny"
    for wrong, said in [([items[0] | {"encrypted_content": "gA"}, items[1], result], "could not be verified"),
                        ([items[0] | {"encrypted_content": None}, items[1], result], "not persisted"),
                        ([items[0]], "required following item")]:
        with pytest.raises(openai.BadRequestError, match=said):
            await openai_client.responses.create(input=wrong, **asked)


CALL = {"type": "function_call", "call_id": "a", "name": "weather", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "a", "output": "x"}
OPEN = {"type": "object", "properties": {}}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"colour": "red"}, "Unknown parameter: 'colour'"), ({"messages": []}, "Unknown parameter: 'messages'"),
    ({"input": []}, "must be provided"), ({"input": None, "model": "gpt-4o"}, "input"),
    ({"max_output_tokens": 5}, "max_output_tokens"), ({"temperature": 3}, "temperature"),
    ({"model": "gpt-5", "temperature": 0.5}, "not supported with this model"),
    ({"reasoning": {"effort": "low"}}, "reasoning.effort"), ({"stream_options": {}}, "stream"),
    ({"top_logprobs": 2}, "top_logprobs"), ({"previous_response_id": "resp_1"}, "not found"),
    ({"input": [{"type": "item_reference", "id": "rs_1"}]}, "rs_1"),
    ({"input": [CALL]}, "No tool output found"), ({"input": [OUTPUT]}, "No tool call found"),
    ({"input": [CALL | {"call_id": "x" * 65}, OUTPUT | {"call_id": "x" * 65}]}, "call_id"),
    ({"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]}, "input_text"),
    ({"tools": [TOOL | {"name": "a.b"}]}, "pattern"), ({"tools": [TOOL | {"parameters": {"type": "array"}}]}, "object"),
    ({"tools": [TOOL | {"strict": True, "parameters": OPEN}]}, "additionalProperties"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "name": "other"}}, "other"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [
        {"type": "function", "name": "other"}]}}, "other"),
    ({"text": {"format": {"type": "json_object"}}}, "json"),
    ({"text": {"format": {"type": "json_schema", "name": "a b", "schema": {}}}}, "pattern"),
    ({"text": {"format": {"type": "json_schema", "name": "a", "schema": OPEN, "strict": True}}},
     "additionalProperties"),
]


@pytest.mark.parametrize(("fields", "said"), WRONG, ids=[str(fields)[:60] for fields, _ in WRONG])
async def test_a_wrong_request_is_refused(upstream: MockUpstream, send: Any, fields: Any, said: str) -> None:
    body = {"model": "gpt-4o", "input": "Hi"} | fields
    reply: httpx2.Response = await send("responses", {key: value for key, value in body.items() if value is not None})
    error = reply.json()["error"]
    assert (reply.status_code, set(error)) == (400, {"message", "type", "param", "code"})
    assert said in f"{error['message']} {error['param']}"
    assert upstream.violations


async def test_an_error_in_a_stream_raises_in_the_sdk(upstream: MockUpstream, openai_client: AsyncOpenAI) -> None:
    upstream.script(text="a b", fault=Fault("error_event", at=4, status=429, message="Slow down."))
    with pytest.raises(openai.APIError, match="Slow down"):
        await final(openai_client, model="gpt-4o", input="Hi")


async def test_other_methods_and_keys_are_refused(upstream: MockUpstream, http: httpx2.AsyncClient, send: Any) -> None:
    key = {"authorization": "Bearer sk-mock-openai-key"}
    assert (await http.get("/v1/responses", headers=key)).status_code == 405
    assert (await send("responses", {"model": "gpt-4o", "input": "Hi"}, authorization="Bearer no")).status_code == 401
