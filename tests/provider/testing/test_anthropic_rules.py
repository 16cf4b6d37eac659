"""Anthropic's rules: one wrong request for each, and the right ones that look alike."""

from typing import Any

import pytest

from ailink_provider.testing import MockUpstream
from ailink_provider.testing.anthropic.replies import sign

HAIKU, SONNET, OLD, OPUS = "claude-haiku-4-5", "claude-sonnet-4-6", "claude-3-5-haiku-20241022", "claude-opus-5-5"
USER = {"role": "user", "content": "Hi"}
TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
PNG = "iVBORw0KGgo="
MARK = {"type": "ephemeral"}


def text(words: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **more}


def use(identifier: str = "toolu_1") -> dict[str, Any]:
    return {"type": "tool_use", "id": identifier, "name": "f", "input": {}}


def result(identifier: str = "toolu_1", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": identifier, **more}


def talk(*contents: Any) -> dict[str, Any]:
    """Turns of user and assistant, in alternation."""
    return {"messages": [{"role": ("user", "assistant")[index % 2], "content": content}
                         for index, content in enumerate(contents)]}


def image(kind: str, media_type: str, data: str) -> list[dict[str, Any]]:
    return [{"type": kind, "source": {"type": "base64", "media_type": media_type, "data": data}}]


ENABLED = {"type": "enabled", "budget_tokens": 1024}
THOUGHT = {"type": "thinking", "thinking": "", "signature": sign("", OPUS)}
SCHEMA = {"format": {"type": "json_schema", "schema": {"type": "object"}}}

# (model, fields over a minimal request, part of the message)
WRONG: list[tuple[str, dict[str, Any], str]] = [
    # schema
    (HAIKU, {"bogus": 1}, "bogus: Extra inputs are not permitted"),
    (HAIKU, {"n": 2}, "n: Extra inputs are not permitted"),
    (HAIKU, {"messages": [{**USER, "name": "x"}]}, "messages.0.name: Extra inputs"),
    (HAIKU, {"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role: "),
    (HAIKU, talk([{"type": "image_url", "image_url": {}}]), "messages.0.content.0.type: "),
    (HAIKU, talk([text("x", bogus=1)]), "messages.0.content.0.bogus: Extra inputs"),
    (HAIKU, talk("x", [{"type": "tool_use", "id": "a", "name": "f", "input": "{}"}], [result("a")]),
     "messages.1.content.0.input: "),
    (HAIKU, {"tools": [{"name": "f"}]}, "tools.0.input_schema: Field required"),
    (HAIKU, {"thinking": {"type": "enabled"}}, "thinking.budget_tokens: Field required"),
    # sampling
    (OPUS, {"temperature": 0.5}, "`temperature` is deprecated for this model"),
    ("claude-opus-4-7", {"top_k": 5}, "`top_k` is deprecated for this model"),
    (HAIKU, {"temperature": 0.5, "top_p": 0.5}, "cannot both be specified"),
    (HAIKU, {"temperature": 1.5}, "temperature: Input should be a number from 0 to 1"),
    (HAIKU, {"temperature": "hot"}, "temperature: Input should be a number"),
    (HAIKU, {"temperature": 0.5, "thinking": ENABLED}, "may only be set to 1 when thinking"),
    (HAIKU, {"top_k": 5, "thinking": ENABLED}, "`top_k` must be unset when thinking"),
    # limits
    (HAIKU, {"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
    (OLD, {"max_tokens": 8193}, "8193 > 8192"),
    (HAIKU, {"stop_sequences": ["a", " \n"]}, "must contain non-whitespace"),
    (HAIKU, {"metadata": {"user_id": "ada@example.com"}}, "email address"),
    (HAIKU, {"metadata": {"user_id": "+44 20 7946 0958"}}, "phone number"),
    # thinking, effort, structured output
    (HAIKU, {"thinking": {"type": "adaptive"}}, '"thinking.type.adaptive" is not supported'),
    (OPUS, {"thinking": ENABLED}, "Use `thinking.type.adaptive`"),
    (OPUS, {"thinking": {"type": "disabled"}}, '"thinking.type.disabled" is not supported'),
    (OLD, {"thinking": ENABLED}, "is not supported for this model"),
    (HAIKU, {"thinking": {**ENABLED, "budget_tokens": 1023}}, "greater than or equal to 1024"),
    (HAIKU, {"thinking": {**ENABLED, "budget_tokens": 5000}}, "must be greater than `thinking.budget_tokens`"),
    (HAIKU, {"thinking": ENABLED, "tools": [TOOL], "tool_choice": {"type": "any"}}, "when tool_choice forces tool use"),
    (HAIKU, {"output_config": {"effort": "low"}}, "does not support the effort parameter"),
    (OLD, {"output_config": SCHEMA}, "structured outputs are not supported"),
    # tools that are offered
    (HAIKU, {"tools": [{**TOOL, "name": "a.b"}]}, "tools.0.custom.name: String should match pattern"),
    (HAIKU, {"tools": [{**TOOL, "name": "a" * 65}]}, "tools.0.custom.name: String should match pattern"),
    (HAIKU, {"tools": [{"name": "f", "input_schema": {}}]}, "input_schema.type: Input should be 'object'"),
    (HAIKU, {"tools": [TOOL, TOOL]}, "Tool names must be unique"),
    (HAIKU, {"tool_choice": {"type": "auto"}}, "may only be specified while providing tools"),
    (HAIKU, {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "g"}}, "Tool 'g' not found"),
    (OPUS, {"tools": [TOOL], "tool_choice": {"type": "any"}}, "'any' is not supported for this model"),
    # prompt cache
    (HAIKU, talk([text("x", cache_control=MARK)] * 5), "A maximum of 4 blocks"),
    (HAIKU, {"system": [text("x", cache_control=MARK)], **talk([text("x", cache_control={**MARK, "ttl": "1h"})])},
     "ttl='1h' cache_control block must not come after"),
    # turns
    (HAIKU, {"messages": []}, "at least one message is required"),
    (HAIKU, {"messages": [{"role": "assistant", "content": "x"}, USER]}, 'first message must use the "user" role'),
    (OPUS, talk("x", "So"), "does not support assistant message prefill"),
    (HAIKU, {"messages": [USER, {"role": "system", "content": "x"}, USER]}, "messages.1.role: Input should be"),
    (HAIKU, talk("x", "So "), "cannot end with trailing whitespace"),
    # text
    (HAIKU, talk(""), "messages.0: all messages must have non-empty content"),
    (HAIKU, talk([]), "messages.0: all messages must have non-empty content"),
    (HAIKU, talk([text("")]), "text content blocks must be non-empty"),
    (HAIKU, talk([text("x"), text(" ")]), "must contain non-whitespace text"),
    (HAIKU, talk("x", [use()], [result(content=[text("")])]), "text content blocks must be non-empty"),
    (HAIKU, {"system": [text("")]}, "system: text content blocks must be non-empty"),
    # tools in the conversation
    (HAIKU, talk("x", [use()]), "messages.1: `tool_use` ids were found without `tool_result` blocks"),
    (HAIKU, talk("x", [use()], "y"), "messages.1: `tool_use` ids were found without `tool_result` blocks"),
    (HAIKU, talk("x", [use("a"), use("b")], [result("a")]), "immediately after: b."),
    (HAIKU, {"messages": [*talk("x", [use("a"), use("b")], [result("a")])["messages"],
                          {"role": "user", "content": [result("b")]}]}, "immediately after: b."),
    (HAIKU, talk([result("a")]), "unexpected `tool_use_id` found in `tool_result` blocks: a"),
    (HAIKU, talk("x", [use("a")], [result("a"), result("a")]), "unexpected `tool_use_id`"),
    (HAIKU, talk("x", [use()], [text("y"), result()]), "`tool_result` blocks must come before any other"),
    (HAIKU, talk("x", [use("a")], [result("a")], [use("a")], [result("a")]), "`tool_use` ids must be unique"),
    (HAIKU, talk("x", [use("f:0")], [result("f:0")]), "tool_use.id: String should match pattern"),
    # thoughts
    (HAIKU, talk("x", [{"type": "thinking", "thinking": "y", "signature": "z"}, text("x")], "x"),
     "messages.1.content.0: Invalid `signature` in `thinking` block"),
    (HAIKU, {"thinking": ENABLED, **talk("x", [use()], [result()])}, "Expected `thinking` or `redacted_thinking`"),
    (OPUS, talk("x", [use("toolu_01a")], [result("toolu_01a")]), "Expected `thinking` or `redacted_thinking`"),
    (OPUS, talk("x", [text("y"), THOUGHT, use("toolu_01a")], [result("toolu_01a")]), "but found `text`"),
    # media
    (HAIKU, talk(image("image", "image/jpeg", PNG)), "image/jpeg media type, but it does not appear"),
    (HAIKU, talk(image("image", "image/png", "!!")), "invalid base64 data"),
    (HAIKU, talk([{"type": "image", "source": {"type": "url", "url": "http://x"}}]), "Only HTTPS URLs"),
    (HAIKU, talk("x", [use()], [result(content=image("image", "image/gif", PNG))]), "messages.2.content.0.content.0"),
]

RIGHT: list[tuple[str, dict[str, Any]]] = [
    (OPUS, talk("x", [THOUGHT, use("toolu_01a")], [result("toolu_01a")])),
    (OPUS, talk("x", [use("call_of_another_model")], [result("call_of_another_model")])),
    (HAIKU, {"temperature": 0.5, "top_k": 3, "stop_sequences": ["END"], "metadata": {"user_id": "3f6c1a"}}),
    (HAIKU, {"temperature": 1, "thinking": ENABLED}),
    (SONNET, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high", **SCHEMA}}),
    (OPUS, {"thinking": {"type": "adaptive", "display": "summarized"}, "system": "Be brief."}),
    (OPUS, {"messages": [USER, {"role": "system", "content": "Be brief."}, USER]}),
    (OLD, talk("x", "So")),
    (HAIKU, talk("x", [text("y"), use("a"), use("b")], [result("b"), result("a", content="ok"), text("go on")])),
    (HAIKU, {"messages": [USER, USER, {"role": "assistant", "content": "x"}, USER]}),
    (HAIKU, {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True}}),
    (HAIKU, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
    (HAIKU, talk(image("image", "image/png", PNG))),
    (HAIKU, talk(image("document", "application/pdf", "JVBERi0="))),
    (HAIKU, {"tools": [{**TOOL, "cache_control": {**MARK, "ttl": "1h"}}], **talk([text("x", cache_control=MARK)])}),
]


@pytest.mark.parametrize(("model", "fields", "message"), WRONG)
async def test_refuses(upstream: MockUpstream, send: Any, model: str, fields: dict[str, Any], message: str) -> None:
    reply = await send("anthropic", {"model": model, "max_tokens": 4096, "messages": [USER], **fields})
    body = reply.json()
    assert reply.status_code == 400
    assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
    assert any(message in violation.message for violation in upstream.violations), body
    assert upstream.violations[0].message == body["error"]["message"]


@pytest.mark.parametrize(("model", "fields"), RIGHT)
async def test_takes(upstream: MockUpstream, send: Any, model: str, fields: dict[str, Any]) -> None:
    reply = await send("anthropic", {"model": model, "max_tokens": 4096, "messages": [USER], **fields})
    upstream.assert_clean()
    assert reply.status_code == 200


@pytest.mark.parametrize(("fields", "message"), [
    ({"max_tokens": 5}, "max_tokens: Extra inputs are not permitted"),
    ({"temperature": 1}, "temperature: Extra inputs are not permitted"),
    (talk("x", [use()]), "without `tool_result` blocks"),
])
async def test_refuses_to_count(send: Any, fields: dict[str, Any], message: str) -> None:
    reply = await send("anthropic", {"model": HAIKU, "messages": [USER], **fields}, "/v1/messages/count_tokens")
    assert reply.status_code == 400 and message in reply.json()["error"]["message"]


@pytest.mark.parametrize(("headers", "message"), [
    ({"x-api-key": "sk-ant-mock-key"}, "anthropic-version: header is required"),
    ({"x-api-key": "sk-ant-mock-key", "anthropic-version": "2022-01-01"}, "is not a valid version"),
])
async def test_wants_its_version(http: Any, headers: dict[str, str], message: str) -> None:
    body = {"model": HAIKU, "max_tokens": 5, "messages": [USER]}
    reply = await http.post("/v1/messages", json=body, headers=headers)
    assert reply.status_code == 400 and message in reply.json()["error"]["message"]
