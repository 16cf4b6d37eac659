"""Bedrock's side of the mock: in the shapes of Amazon's own SDK; and its rules, a wrong request for each."""

from collections.abc import Iterator
from json import loads
from pathlib import Path
from typing import Any
from zlib import crc32

import httpx2
import jsonschema
import pytest

from ailink_provider.chat import ToolCall, Usage
from ailink_provider.testing import MockUpstream
from ailink_provider.testing.bedrock.replies import sign

GOLDEN = Path(__file__).parents[1] / "dialects/bedrock_converse/golden"
NOVA, SONNET, OPUS = "amazon.nova-pro-v1:0", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic.claude-opus-5-5"
LLAMA, TITAN, OLD = "meta.llama3-1-70b-instruct-v1:0", "amazon.titan-text-express-v1", "anthropic.claude-3-haiku"
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAE="
USER = {"role": "user", "content": [{"text": "Hi"}]}
TOOL = {"toolSpec": {"name": "weather", "inputSchema": {"json": {"type": "object"}}}}
CALL = {"toolUse": {"toolUseId": "a", "name": "weather", "input": {}}}
RESULT = {"toolResult": {"toolUseId": "a", "content": [{"text": "sunny"}]}}
LOOP = [USER, {"role": "assistant", "content": [CALL]}, {"role": "user", "content": [RESULT]}]


def shape(name: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(loads((GOLDEN / f"{name}.schema.json").read_text("utf-8")))


def frames(stream: bytes) -> Iterator[tuple[dict[str, str], Any]]:
    """Read an event stream by the letter of its encoding."""
    while stream:
        length, head = (int.from_bytes(stream[start:start + 4], "big") for start in (0, 4))
        frame, stream = stream[:length], stream[length:]
        assert crc32(frame[:8]) == int.from_bytes(frame[8:12], "big")
        assert crc32(frame[:-4]) == int.from_bytes(frame[-4:], "big")
        headers, place = {}, 12
        while place < 12 + head:
            name_end = place + 1 + frame[place]
            value = name_end + 3
            assert frame[name_end] == 7
            end = value + int.from_bytes(frame[name_end + 1:value], "big")
            headers[frame[place + 1:name_end].decode()] = frame[value:end].decode()
            place = end
        yield headers, loads(frame[place:-4])


def path(model: str, stream: bool = False) -> str:
    return f"/model/{model.replace(':', '%3A').replace('/', '%2F')}/converse{'-stream' if stream else ''}"


async def test_echoes_by_default(upstream: MockUpstream, send: Any) -> None:
    reply = await send("bedrock", {"model": NOVA, "messages": [USER]})
    assert reply.json()["output"] == {"message": {"role": "assistant", "content": [{"text": "echo: Hi"}]}}
    assert (reply.json()["stopReason"], reply.json()["usage"]["totalTokens"]) == ("end_turn", 18)
    assert upstream.requests[-1].path == f"/model/{NOVA}/converse"
    upstream.assert_clean()


async def test_streams_what_it_says_whole_in_the_shapes_of_the_sdk(upstream: MockUpstream, send: Any) -> None:
    upstream.script(text="It is sunny.", thinking="Hm.", usage=Usage(20, 9, 8, 4), times=2,
                    tool_calls=[("weather", {"city": "Paris"}), ToolCall("call_2", "weather")])
    body = {"messages": [USER], "toolConfig": {"tools": [TOOL]}, "serviceTier": {"type": "flex"}}
    whole = (await send("bedrock", body, path(SONNET))).json()
    shape("reply").validate(whole)
    content = whole["output"]["message"]["content"]
    assert content[0]["reasoningContent"]["reasoningText"] == {"text": "Hm.", "signature": sign("Hm.", SONNET)}
    assert (whole["usage"]["inputTokens"], whole["usage"]["cacheReadInputTokens"]) == (8, 8)
    answer = await send("bedrock", body, path(SONNET, True))
    assert answer.headers["content-type"] == "application/vnd.amazon.eventstream"
    said: dict[int, dict[str, str]] = {}
    names = []
    for headers, payload in frames(answer.content):
        assert payload.pop("p")
        assert headers[":message-type"] == "event"
        names.append(headers[":event-type"])
        shape("events").validate({names[-1]: payload})
        for kind, value in payload.get("delta", {}).items():
            text = value if isinstance(value, str) else value.get("input") or value.get("text") or ""
            block = said.setdefault(payload["contentBlockIndex"], {})
            block[kind] = block.get(kind, "") + text
    assert [names[0], *names[-2:]] == ["messageStart", "messageStop", "metadata"]
    assert list(said.values()) == [{"reasoningContent": "Hm."}, {"text": "It is sunny."},
                                   {"toolUse": '{"city": "Paris"}'}, {"toolUse": ""}]
    assert payload["usage"] == whole["usage"]
    assert content[3]["toolUse"] == {"toolUseId": "call_2", "name": "weather", "input": {}}
    upstream.assert_clean()


def thinking(**thinking: Any) -> dict[str, Any]:
    return {"additionalModelRequestFields": {"thinking": thinking}}


def said(*content: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(content)}]}


def document(name: str = "a", kind: str = "txt") -> dict[str, Any]:
    return {"document": {"name": name, "format": kind, "source": {"bytes": "SGk="}}}


def schema(text: str) -> dict[str, Any]:
    return {"outputConfig": {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": text}}}}}


TOOLS = {"tools": [TOOL]}
POINT: dict[str, Any] = {"cachePoint": {"type": "default"}}
THOUGHT = {"reasoningContent": {"reasoningText": {"text": "Hm.", "signature": "forged"}}}
WRONG: list[tuple[str, dict[str, Any], str]] = [
    (NOVA, {"colour": "red"}, "colour"), (NOVA, {"messages": []}, "start with a user message"),
    (NOVA, {"messages": [{"role": "assistant", "content": [{"text": "x"}]}]}, "start with a user message"),
    (NOVA, {"messages": [USER, USER]}, "alternate"), (NOVA, said(), "empty"), (NOVA, said({"text": " "}), "blank"),
    (NOVA, {"system": [{"text": " "}]}, "system.0"), (NOVA, {"system": [{"text": ""}]}, "system"),
    (NOVA, {"messages": [USER, {"role": "system", "content": [{"text": "x"}]}]}, "system messages"),
    (OPUS, {"messages": [USER, {"role": "assistant", "content": [{"text": "x"}]}]}, "prefill"),
    (NOVA, {"messages": LOOP}, "toolConfig"),
    (NOVA, {"messages": LOOP[:2], "toolConfig": TOOLS}, "Expected toolResult"),
    (NOVA, said(RESULT) | {"toolConfig": TOOLS}, "exceeds the number of toolUse"),
    (NOVA, {"messages": [USER, {"role": "assistant", "content": [CALL, CALL]}, LOOP[2]], "toolConfig": TOOLS},
     "duplicate Ids"),
    (NOVA, {"messages": [USER, {"role": "assistant", "content": [{"toolUse": {**CALL["toolUse"], "input": "x"}}]},
                         LOOP[2]], "toolConfig": TOOLS}, "json object"),
    (NOVA, said({"toolUse": {**CALL["toolUse"], "toolUseId": "a b"}}), "toolUseId"),
    (NOVA, said(document()), "must have a text block"), (NOVA, said({"text": "x"}, document("a.b")), "file name"),
    (NOVA, said({"text": "x"}, document("a  b")), "file name"),
    (NOVA, said({"text": "x"}, document(), document()), "unique"),
    (NOVA, said({"image": {"format": "jpeg", "source": {"bytes": PNG}}}), "not of the format"),
    (NOVA, said({"image": {"format": "png", "source": {"url": "https://x.test"}}}), "url"),
    (NOVA, {"toolConfig": {"tools": []}}, "tools"), (NOVA, {"toolConfig": {"tools": [TOOL, TOOL]}}, "duplicate tool"),
    (NOVA, {"toolConfig": {"tools": [{"toolSpec": {"name": "a.b", "inputSchema": {"json": {"type": "object"}}}}]}},
     "name"),
    (NOVA, {"toolConfig": {"tools": [{"toolSpec": {"name": "a", "inputSchema": {"json": {}}}}]}}, "object"),
    (NOVA, {"toolConfig": TOOLS | {"toolChoice": {"tool": {"name": "other"}}}}, "not among the tools"),
    (NOVA, {"toolConfig": TOOLS | {"toolChoice": {"none": {}}}}, "toolChoice"),
    (OPUS, {"toolConfig": TOOLS | {"toolChoice": {"any": {}}}}, "toolChoice.any"),
    (LLAMA, {"toolConfig": TOOLS | {"toolChoice": {"any": {}}}}, "toolChoice.any"),
    (TITAN, {"toolConfig": TOOLS}, "doesn't support tool use"),
    (NOVA, {"inferenceConfig": {"temperature": 1.5}}, "temperature"),
    (NOVA, {"inferenceConfig": {"maxTokens": 0}}, "maxTokens"),
    (SONNET, {"inferenceConfig": {"maxTokens": 10**6}}, "model limit"),
    (SONNET, {"inferenceConfig": {"temperature": 0.5, "topP": 0.5}}, "cannot both"),
    (OPUS, {"inferenceConfig": {"temperature": 1}}, "deprecated"), (OPUS, thinking(type="disabled"), "not supported"),
    (NOVA, thinking(type="adaptive"), "extraneous"), (SONNET, thinking(type="enabled", budget_tokens=500), "1024"),
    (SONNET, thinking(type="enabled", budget_tokens=2000) | {"inferenceConfig": {"temperature": 0.5}}, "set to 1"),
    (SONNET, thinking(type="enabled", budget_tokens=2000) | {"toolConfig": TOOLS | {"toolChoice": {"any": {}}}},
     "forces tool use"),
    (OLD, schema("{}"), "textFormat"), (NOVA, schema("[]"), "not a JSON schema"),
    (SONNET, {"outputConfig": {"effort": "low"}}, "effort"), (LLAMA, said({"text": "x"}, POINT), "prompt caching"),
    (NOVA, said(*[{"text": "x"}, POINT] * 5), "maximum of 4"), (NOVA, said(POINT, {"text": "x"}), "must follow"),
    (NOVA, said({"text": "x"}, POINT, {"text": "x"}, {"cachePoint": {"type": "default", "ttl": "1h"}}), "1h"),
    (SONNET, {"messages": [USER, {"role": "assistant", "content": [THOUGHT]}, USER]}, "Invalid `signature`"),
]


@pytest.mark.parametrize(("model", "fields", "message"), WRONG, ids=[f"{row[0][:9]}-{row[1]!s:.50}" for row in WRONG])
async def test_a_wrong_request_is_refused(
        upstream: MockUpstream, send: Any, model: str, fields: Any, message: str) -> None:
    reply: httpx2.Response = await send("bedrock", {"messages": [USER]} | fields, path(model))
    assert (reply.status_code, list(reply.json())) == (400, ["message"])
    assert reply.headers["x-amzn-errortype"].startswith("ValidationException")
    assert any(message in violation.message for violation in upstream.violations), upstream.violations


@pytest.mark.parametrize(("model", "fields"), [
    (NOVA, {"messages": LOOP, "toolConfig": TOOLS | {"toolChoice": {"tool": {"name": "weather"}}}}),
    (NOVA, said({"text": "x"}, document("a b (1) [x]-2"))), (OPUS, thinking(type="adaptive")),
    (SONNET, schema('{"type": "object"}')), ("arn:aws:bedrock:us-east-1:1:application-inference-profile/x", {}),
    ("anthropic.claude-opus-4-6-v1", {"outputConfig": {"effort": "low"}}),
])
async def test_a_right_request_is_not(upstream: MockUpstream, send: Any, model: str, fields: Any) -> None:
    assert (await send("bedrock", {"messages": [USER]} | fields, path(model))).status_code == 200
    upstream.assert_clean()


async def test_an_id_must_be_encoded_in_the_path(upstream: MockUpstream, send: Any) -> None:
    assert (await send("bedrock", {"messages": [USER]}, f"/model/{NOVA}/converse")).status_code == 400
    assert "identifier" in upstream.violations[0].message


async def test_keys_methods_and_models(http: httpx2.AsyncClient, send: Any) -> None:
    refused = await send("bedrock", {"messages": [USER]}, path(NOVA), authorization="Bearer wrong")
    assert (refused.status_code, refused.headers["x-amzn-errortype"].partition(":")[0]) == (
        403, "AccessDeniedException")
    key = {"authorization": "Bearer bedrock-api-key-mock"}
    assert (await http.get(path(NOVA), headers=key)).status_code == 405
    async with MockUpstream(models=[NOVA], keys={"bedrock": None}) as other:
        answers = [await http.post(other.url(path(model)), json={"messages": [USER]},
                                   headers={"authorization": "AWS4-HMAC-SHA256 Credential=x"})
                   for model in (NOVA, LLAMA)]
    assert [answer.status_code for answer in answers] == [200, 404]
