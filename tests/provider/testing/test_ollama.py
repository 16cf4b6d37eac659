"""Ollama's side of the mock, by the letter of its API reference; and its rules, a wrong request for each."""

from json import loads
from typing import Any

import httpx2
import pytest

from ailink_provider.chat import ToolCall
from ailink_provider.testing import MockUpstream

USER = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
CALL = {"function": {"name": "weather", "arguments": {}}}
ANSWERS = [("weather", {"city": "Paris"}), ToolCall("call_2", "weather")]


def ask(**fields: Any) -> dict[str, Any]:
    return {"model": "qwen3:8b", "messages": [USER]} | fields


async def test_streams_unless_it_is_told_not_to(upstream: MockUpstream, send: Any) -> None:
    whole = await send("ollama", ask(stream=False))
    assert whole.json()["message"] == {"role": "assistant", "content": "echo: Hi"}
    assert (whole.json()["done"], whole.json()["done_reason"]) == (True, "stop")
    assert (whole.json()["prompt_eval_count"], whole.json()["eval_count"]) == (11, 7)
    streamed = await send("ollama", ask())
    assert streamed.headers["content-type"] == "application/x-ndjson"
    lines = [loads(line) for line in streamed.text.splitlines()]
    assert [line["done"] for line in lines] == [False, False, True]
    assert "".join(line["message"]["content"] for line in lines) == "echo: Hi"
    assert {key: value for key, value in lines[-1].items() if key != "message"} == {
        key: value for key, value in whole.json().items() if key != "message"}
    upstream.assert_clean()


async def test_thinks_calls_and_tells_its_chances(upstream: MockUpstream, send: Any) -> None:
    upstream.script(text="Yes.", thinking="Let me see.", tool_calls=ANSWERS, times=3)
    asked = ask(tools=[TOOL], think=True, logprobs=True, top_logprobs=1)
    whole = (await send("ollama", asked | {"stream": False})).json()
    assert whole["message"]["thinking"] == "Let me see."
    calls = whole["message"]["tool_calls"]
    assert [call["function"] for call in calls] == [
        {"index": 0, "name": "weather", "arguments": {"city": "Paris"}},
        {"index": 1, "name": "weather", "arguments": {}}]
    assert calls[1]["id"] == "call_2"
    assert whole["logprobs"][0]["top_logprobs"] == [{"token": "Yes.", "logprob": -0.125, "bytes": [89, 101, 115, 46]}]
    lines = [loads(line) for line in (await send("ollama", asked)).text.splitlines()]
    assert "".join(line["message"].get("thinking", "") for line in lines) == "Let me see."
    assert [call["function"] for line in lines for call in line["message"].get("tool_calls", ())] == [
        call["function"] for call in calls]
    assert "thinking" not in (await send("ollama", ask(stream=False, tools=[TOOL]))).json()["message"]


async def test_embeds_and_lists_its_models(upstream: MockUpstream, http: httpx2.AsyncClient, send: Any) -> None:
    embedded = (await send("ollama", {"model": "nomic-embed-text", "input": ["a", "b"], "dimensions": 8},
                           "/api/embed")).json()
    assert [len(vector) for vector in embedded["embeddings"]] == [8, 8]
    assert embedded["prompt_eval_count"] == 11
    assert "llama3.1:8b" in [model["name"] for model in (await http.get("/api/tags")).json()["models"]]
    upstream.assert_clean()
    assert (await http.get("/api/chat")).status_code == 405


LOOP = [USER, {"role": "assistant", "content": "", "tool_calls": [CALL]}]
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("chat", {"colour": "red"}, "colour"), ("chat", {"options": {"colour": "red"}}, "colour"),
    ("chat", {"messages": [{"role": "developer", "content": "x"}]}, "developer"),
    ("chat", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "content"),
    ("chat", {"messages": [{"role": "user", "content": ""}]}, "without anything"),
    ("chat", {"messages": [{"role": "user", "content": "x", "images": ["data:image/png;base64,x"]}]}, "images"),
    ("chat", {"messages": [USER, {"role": "assistant", "content": "", "tool_calls": [
        {"function": {"name": "f", "arguments": "{}"}}]}]}, "arguments"),
    ("chat", {"messages": [*LOOP, {"role": "tool", "content": "x"}]}, "neither its tool nor its call"),
    ("chat", {"messages": [*LOOP, {"role": "tool", "content": "x", "tool_name": "other"}]}, "answers no call"),
    ("chat", {"tools": [TOOL], "model": "gemma3"}, "does not support tools"),
    ("chat", {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]}, "JSON Schema"),
    ("chat", {"think": True, "model": "llama3.1"}, "does not support thinking"), ("chat", {"think": "xhigh"}, "think"),
    ("chat", {"think": True, "format": "json"}, "without a word"), ("chat", {"format": "xml"}, "format"),
    ("chat", {"options": {"stop": [""]}}, "stop"), ("chat", {"top_logprobs": 30}, "top_logprobs"),
    ("embed", {"input": ""}, "required"), ("embed", {"input": [1, 2]}, "input"),
    ("embed", {"encoding": "x"}, "encoding"),
]


@pytest.mark.parametrize(("operation", "fields", "message"), WRONG, ids=[str(row[1])[:60] for row in WRONG])
async def test_a_wrong_request_is_refused(
        upstream: MockUpstream, send: Any, operation: str, fields: Any, message: str) -> None:
    body = ask(**fields) if operation == "chat" else {"model": "nomic", "input": "x"} | fields
    reply: httpx2.Response = await send("ollama", body, f"/api/{operation}")
    assert (reply.status_code, list(reply.json())) == (400, ["error"])
    assert message in reply.json()["error"]
    assert upstream.violations


async def test_right_requests_are_not(upstream: MockUpstream, send: Any) -> None:
    for fields in ({"messages": [*LOOP, {"role": "tool", "content": "x", "tool_name": "weather"}]},
                   {"think": "high"}, {"format": {"type": "object"}}, {"options": {"num_ctx": 4096, "stop": ["x"]}}):
        assert (await send("ollama", ask(**fields))).status_code == 200
    upstream.assert_clean()


async def test_a_model_that_is_not_there(http: httpx2.AsyncClient) -> None:
    async with MockUpstream(models=["qwen3:8b"], keys={"ollama": "cloud-key"}) as other:
        key = {"authorization": "Bearer cloud-key"}
        found = [await http.post(other.url("/api/chat"), json=ask(model=model), headers=headers)
                 for model, headers in (("qwen3:8b", key), ("llama4", key), ("qwen3:8b", {}))]
    assert [answer.status_code for answer in found] == [200, 404, 401]
    assert found[1].json() == {"error": "model 'llama4' not found"}
