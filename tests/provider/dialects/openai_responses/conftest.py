"""Oracles of this dialect: OpenAI's own SDK, as a schema for requests, for replies and for events, and as a client."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import msgspec
import openai
import pytest
from openai.types.responses import Response, ResponseStreamEvent, response_create_params
from pydantic import TypeAdapter

GOLDEN = Path(__file__).parent / "golden"


def closed(schema: Any) -> Any:
    """Forbid, throughout a schema, the members it does not name."""
    if isinstance(schema, dict):
        if "properties" in schema:
            schema["additionalProperties"] = False
        for value in schema.values():
            closed(value)
    elif isinstance(schema, list):
        for value in schema:
            closed(value)
    return schema


@pytest.fixture(scope="session")
def accepted() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Check a request's body against the types of OpenAI's SDK; unknown members fail."""
    validators = {
        streams: jsonschema.Draft202012Validator(closed(TypeAdapter(kind).json_schema()))
        for streams, kind in ((False, response_create_params.ResponseCreateParamsNonStreaming),
                              (True, response_create_params.ResponseCreateParamsStreaming))}

    def check(body: dict[str, Any]) -> dict[str, Any]:
        validators[bool(body.get("stream"))].validate(msgspec.json.decode(msgspec.json.encode(body)))
        return body

    return check


@pytest.fixture(scope="session")
def typed() -> Callable[[dict[str, Any]], Any]:
    """Read a reply, or an event of a stream, as the SDK's own type, every member checked."""
    reply, event = TypeAdapter(Response), TypeAdapter(ResponseStreamEvent)

    def check(value: dict[str, Any]) -> Any:
        return (reply if value.get("object") == "response" else event).validate_python(value)

    return check


@pytest.fixture
def sdk() -> Iterator[Callable[..., openai.OpenAI]]:
    """Make a real client of OpenAI's that is answered with the given JSON, or stream of bytes, and status."""
    clients: list[openai.OpenAI] = []

    def client(answer: Any, status: int = 200) -> openai.OpenAI:
        def handle(request: httpx2.Request) -> httpx2.Response:
            if isinstance(answer, bytes):
                return httpx2.Response(status, content=answer, headers={"content-type": "text/event-stream"})
            return httpx2.Response(status, content=msgspec.json.encode(answer),
                                   headers={"content-type": "application/json"})

        transport = httpx2.MockTransport(handle)
        clients.append(openai.OpenAI(api_key="test", base_url="http://gateway.test/v1", max_retries=0,
                                     http_client=httpx2.Client(transport=transport)))
        return clients[-1]

    yield client
    for made in clients:
        made.close()


@pytest.fixture
def golden() -> Callable[[str], Any]:
    """Read a golden file."""
    return lambda name: msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())


@pytest.fixture
def sse() -> Callable[..., bytes]:
    """Frame events, numbered, as the API does."""
    def frame(*events: dict[str, Any]) -> bytes:
        return b"".join(
            b"event: " + event["type"].encode() + b"\ndata: " + msgspec.json.encode({"sequence_number": number} | event)
            + b"\n\n" for number, event in enumerate(events))

    return frame


@pytest.fixture
def events() -> Callable[[bytes], list[dict[str, Any]]]:
    """Read the events of a stream back; each frame must carry its type as its name."""
    def read(stream: bytes) -> list[dict[str, Any]]:
        assert stream.endswith(b"\n\n") or not stream
        found = []
        for frame in stream.split(b"\n\n")[:-1]:
            name, data = frame.split(b"\n")
            event = msgspec.json.decode(data.removeprefix(b"data: "))
            assert name == b"event: " + event["type"].encode()
            found.append(event)
        assert [event["sequence_number"] for event in found] == list(range(len(found)))
        return found

    return read


REASONING = {"id": "rs_1", "type": "reasoning", "encrypted_content": "gAAA=", "summary": [
    {"type": "summary_text", "text": "First"}, {"type": "summary_text", "text": "then"}]}
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "q"}}
CITATION = {"type": "url_citation", "url": "https://a.test", "title": "A", "start_index": 0, "end_index": 2}
MESSAGE = {"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [
    {"type": "output_text", "text": "hé 🙂", "annotations": [CITATION], "logprobs": []},
    {"type": "refusal", "refusal": "no"}]}
CALLS = [
    {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_a", "name": "f",
     "arguments": '{"x":1}'},
    {"id": "fc_2", "type": "function_call", "status": "completed", "call_id": "call_b", "name": "g",
     "arguments": "{}"},
    {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_c", "name": "run", "input": "ls"}]


@pytest.fixture
def response() -> Callable[..., dict[str, Any]]:
    """Make a whole reply as the API gives it, with something of everything; members can be given."""
    def make(**members: Any) -> dict[str, Any]:
        return {
            "id": "resp_1", "object": "response", "created_at": 1700000000, "status": "completed", "model": "m-1",
            "error": None, "incomplete_details": None, "instructions": None, "metadata": {}, "temperature": 1.0,
            "top_p": 1.0, "tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "service_tier": "default",
            "output": [REASONING, SEARCH, MESSAGE, *CALLS],
            "usage": {"input_tokens": 30, "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 4},
                      "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 5}, "total_tokens": 50},
        } | members

    return make


@pytest.fixture
def stream(response: Callable[..., dict[str, Any]]) -> Callable[..., list[dict[str, Any]]]:
    """Make the events of that reply as the API sends them: the pieces of the calls interleaved."""
    def make(**members: Any) -> list[dict[str, Any]]:
        whole = response(**members)
        begun = whole | {"status": "in_progress", "output": [], "usage": None}
        made: list[dict[str, Any]] = [{"type": "response.created", "response": begun},
                                      {"type": "response.in_progress", "response": begun}]

        def add(kind: str, place: int, **rest: Any) -> None:
            made.append({"type": f"response.{kind}", "output_index": place} | rest)

        add("output_item.added", 0, item=REASONING | {"summary": [], "encrypted_content": ""})
        for index, summary in enumerate(("First", "then")):
            at = {"item_id": "rs_1", "summary_index": index}
            add("reasoning_summary_part.added", 0, part={"type": "summary_text", "text": ""}, **at)
            add("reasoning_summary_text.delta", 0, delta=summary[:2], obfuscation="xy", **at)
            add("reasoning_summary_text.delta", 0, delta=summary[2:], **at)
            add("reasoning_summary_text.done", 0, text=summary, **at)
            add("reasoning_summary_part.done", 0, part={"type": "summary_text", "text": summary}, **at)
        add("output_item.done", 0, item=REASONING)
        add("output_item.added", 1, item=SEARCH | {"status": "in_progress"})
        add("web_search_call.searching", 1, item_id="ws_1")
        add("output_item.done", 1, item=SEARCH)
        add("output_item.added", 2, item=MESSAGE | {"status": "in_progress", "content": []})
        text, refusal = MESSAGE["content"]
        at = {"item_id": "msg_1", "content_index": 0}
        add("content_part.added", 2, part=text | {"text": "", "annotations": []}, **at)
        for piece in ("h", "é ", "🙂"):
            add("output_text.delta", 2, delta=piece, logprobs=[], **at)
        add("output_text.annotation.added", 2, annotation_index=0, annotation=CITATION, **at)
        add("output_text.done", 2, text="hé 🙂", logprobs=[], **at)
        add("content_part.done", 2, part=text, **at)
        at["content_index"] = 1
        add("content_part.added", 2, part=refusal | {"refusal": ""}, **at)
        add("refusal.delta", 2, delta="no", **at)
        add("refusal.done", 2, refusal="no", **at)
        add("content_part.done", 2, part=refusal, **at)
        add("output_item.done", 2, item=MESSAGE)
        for place, call in enumerate(CALLS[:2], 3):
            add("output_item.added", place, item=call | {"arguments": "", "status": "in_progress"})
        add("function_call_arguments.delta", 3, item_id="fc_1", delta='{"x"')
        add("function_call_arguments.delta", 4, item_id="fc_2", delta="{}")
        add("function_call_arguments.delta", 3, item_id="fc_1", delta=":1}")
        for place, call in ((4, CALLS[1]), (3, CALLS[0])):
            add("function_call_arguments.done", place, item_id=call["id"], arguments=call["arguments"])
            add("output_item.done", place, item=call)
        add("output_item.added", 5, item=CALLS[2] | {"input": ""})
        add("custom_tool_call_input.delta", 5, item_id="ctc_1", delta="ls")
        add("custom_tool_call_input.done", 5, item_id="ctc_1", input="ls")
        add("output_item.done", 5, item=CALLS[2])
        made.append({"type": f"response.{whole['status']}", "response": whole})
        return made

    return make
