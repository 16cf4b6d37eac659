"""OpenAI's rules: one wrong request for each, and the right ones that look alike."""

from typing import Any

import pytest

from ailink_provider.testing import MockUpstream

USER = {"role": "user", "content": "Hi"}
FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}
TOOL = {"type": "function", "function": FUNCTION}
STRICT = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def call(identifier: str = "call_1") -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [
        {"id": identifier, "type": "function", "function": {"name": "f", "arguments": "{}"}}]}


def result(identifier: str = "call_1") -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": identifier, "content": "ok"}


def schema(**described: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": {"name": "n", **described}}


# (fields over a minimal request, the parameter that is blamed, part of the message)
WRONG: list[tuple[dict[str, Any], str | None, str]] = [
    # schema
    ({"bogus": 1}, "bogus", "Unknown parameter: 'bogus'"),
    ({"messages": [{**USER, "bogus": 1}]}, "messages[0].bogus", "Unknown parameter"),
    ({"messages": [{"role": "user"}]}, "messages[0].content", "Missing required parameter"),
    ({"messages": [{"role": "robot", "content": "Hi"}]}, "messages[0].role", "Invalid value"),
    ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "messages[0].content[0].type",
     "Invalid value"),
    ({"messages": [USER, {"role": "assistant", "content": "x", "reasoning_content": "y"}]},
     "messages[1].reasoning_content", "Unknown parameter"),
    ({"temperature": "hot"}, "temperature", "Invalid value"),
    ({"tools": [{"type": "function", "function": {"name": "f", "input_schema": {}}}]}, "tools[0].function.input_schema",
     "Unknown parameter"),
    ({"stream": "yes"}, "stream", "Invalid value"),
    # ranges
    ({"temperature": 2.1}, "temperature", "from 0 to 2"),
    ({"top_p": 1.5}, "top_p", "from 0 to 1"),
    ({"presence_penalty": -3}, "presence_penalty", "from -2 to 2"),
    ({"n": 0}, "n", "Invalid 'n'"),
    ({"max_tokens": 0}, "max_tokens", "Invalid 'max_tokens'"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs", "from 0 to 20"),
    ({"stop": ["a", "b", "c", "d", "e"]}, "stop", "array too long"),
    # options that need each other, or exclude each other
    ({"stream_options": {"include_usage": True}}, "stream_options", "only allowed when 'stream'"),
    ({"max_tokens": 5, "max_completion_tokens": 5}, "max_tokens", "at the same time"),
    ({"top_logprobs": 2}, "top_logprobs", "'logprobs' is enabled"),
    ({"tool_choice": "auto"}, "tool_choice", "'tools' are specified"),
    ({"parallel_tool_calls": False}, "parallel_tool_calls", "'tools' are specified"),
    # models
    ({"model": "o3", "max_tokens": 5}, "max_tokens", "Use 'max_completion_tokens' instead"),
    ({"model": "gpt-5", "max_tokens": 5}, "max_tokens", "Use 'max_completion_tokens' instead"),
    ({"model": "gpt-5", "temperature": 0.5}, "temperature", "Only the default (1) value"),
    ({"model": "o4-mini", "top_p": 0.5}, "top_p", "Only the default (1) value"),
    ({"model": "o3", "logit_bias": {"1": 5}}, "logit_bias", "not supported with this model"),
    ({"model": "gpt-4o", "reasoning_effort": "low"}, "reasoning_effort", "Unrecognized request argument"),
    # messages
    ({"messages": []}, "messages", "empty array"),
    ({"messages": [{**USER, "name": "two words"}]}, "messages[0].name", "does not match pattern"),
    ({"messages": [{"role": "assistant", "content": None}, USER]}, "messages[0].content", "got null"),
    ({"messages": [{"role": "user", "content": []}]}, "messages[0].content", "empty array"),
    ({"messages": [{"role": "assistant", "content": "x", "tool_calls": []}]}, "messages[0].tool_calls", "empty array"),
    # tools in the conversation
    ({"messages": [USER, result()]}, "messages[1].role", "must be a response to a preceeding message"),
    ({"messages": [USER, call(), result("call_2")]}, "messages[2].role", "must be a response"),
    ({"messages": [USER, call(), result(), result()]}, "messages[3].role", "must be a response"),
    ({"messages": [USER, call()]}, "messages[1].role", "did not have response messages: call_1"),
    ({"messages": [USER, call(), USER, result()]}, "messages[1].role", "did not have response messages"),
    ({"messages": [USER, call("c" * 41), result("c" * 41)]}, "messages[1].tool_calls[0].id", "maximum length 40"),
    # tools that are offered
    ({"tools": []}, "tools", "1 to 128 tools"),
    ({"tools": [{"type": "function", "function": {**FUNCTION, "name": "a.b"}}]}, "tools[0].function.name", "pattern"),
    ({"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "array"}}}]},
     "tools[0].function.parameters", "must be a JSON Schema of 'type: \"object\"'"),
    ({"tools": [{"type": "function", "function": {**FUNCTION, "strict": True}}]}, "tools[0].function.parameters",
     "'additionalProperties' is required"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice", "no tool named"),
    ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools", "allowed_tools": {
        "mode": "auto", "tools": [{"type": "function", "function": {"name": "g"}}]}}}, "tool_choice", "no tool named"),
    # output
    ({"response_format": {"type": "json_object"}}, "messages", "must contain the word 'json'"),
    ({"response_format": schema(name="two words", schema={})}, "response_format.json_schema.name", "pattern"),
    ({"response_format": schema(strict=True, schema={**STRICT, "required": []})}, "response_format.json_schema.schema",
     "Missing 'a'"),
    ({"response_format": schema(strict=True, schema={**STRICT, "properties": {"a": {"type": "object"}}})},
     "response_format.json_schema.schema", "context=('properties', 'a')"),
]

RIGHT: list[dict[str, Any]] = [
    {},
    {"model": "gpt-5", "temperature": 1, "max_completion_tokens": 5, "reasoning_effort": "low"},
    {"model": "gpt-5.1", "temperature": 0.5, "reasoning_effort": "none"},
    {"model": "gpt-5-chat-latest", "temperature": 0.5},
    {"stream": True, "stream_options": {"include_usage": True}},
    {"messages": [USER, call("a"), result("a"), call("b"), result("b"), USER], "tools": [TOOL]},
    {"tools": [{"type": "function", "function": {"name": "f", "strict": True, "parameters": STRICT}}]},
    {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"},
    {"tools": [{"type": "custom", "custom": {"name": "c", "format": {"type": "text"}}}],
     "tool_choice": {"type": "custom", "custom": {"name": "c"}}},
    {"response_format": {"type": "json_object"}, "messages": [{"role": "system", "content": "Answer in JSON."}, USER]},
    {"response_format": schema(strict=True, schema=STRICT)},
    {"response_format": schema(schema={"type": "object"})},
    {"messages": [{"role": "user", "content": [
        {"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]}]},
]

EMBEDDINGS: list[tuple[dict[str, Any], str, str]] = [
    ({"input": ""}, "input", "cannot be an empty string"),
    ({"input": []}, "input", "cannot be an empty string"),
    ({"input": ["a", ""]}, "input", "cannot be an empty string"),
    ({"input": ["a"] * 2049}, "input", "at most 2048"),
    ({"input": "a", "dimensions": 0}, "dimensions", "Invalid 'dimensions'"),
    ({"input": "a", "model": "text-embedding-ada-002", "dimensions": 5}, "dimensions", "does not support specifying"),
    ({"input": "a", "task": "x"}, "task", "Unknown parameter"),
]


@pytest.mark.parametrize(("fields", "param", "message"), WRONG)
async def test_refuses(
        upstream: MockUpstream, send: Any, fields: dict[str, Any], param: str | None, message: str) -> None:
    reply = await send("openai", {"model": "gpt-4o", "messages": [USER], **fields})
    error = reply.json()["error"]
    assert reply.status_code == 400
    assert message in error["message"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert upstream.violations[0].message == error["message"]
    with pytest.raises(AssertionError, match="openai: "):
        upstream.assert_clean()


@pytest.mark.parametrize("fields", RIGHT)
async def test_takes(upstream: MockUpstream, send: Any, fields: dict[str, Any]) -> None:
    reply = await send("openai", {"model": "gpt-4o", "messages": [USER], **fields})
    upstream.assert_clean()
    assert reply.status_code == 200


@pytest.mark.parametrize(("fields", "param", "message"), EMBEDDINGS)
async def test_refuses_to_embed(send: Any, fields: dict[str, Any], param: str, message: str) -> None:
    reply = await send("openai", {"model": "text-embedding-3-small", **fields}, "/v1/embeddings")
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == param and message in reply.json()["error"]["message"]


@pytest.mark.parametrize(("fields", "param"), [
    ({"prompt": []}, "prompt"), ({"prompt": None}, "prompt"), ({"prompt": "x", "messages": []}, "messages"),
    ({"prompt": "x", "stream_options": {"include_usage": True}}, "stream_options"),
])
async def test_refuses_to_complete(send: Any, fields: dict[str, Any], param: str) -> None:
    reply = await send("openai", {"model": "gpt-3.5-turbo-instruct", **fields}, "/v1/completions")
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, param)


async def test_refuses_another_method(http: Any) -> None:
    reply = await http.get("/v1/chat/completions", headers={"authorization": "Bearer sk-mock-openai-key"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (405, "method_not_supported")
