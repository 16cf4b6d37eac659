"""Google's own client takes what is written here, and what it sends back is understood."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from google.genai import errors, types

from ailink_provider.chat import (
    Choice,
    Event,
    Finish,
    Message,
    MessageError,
    MessageStart,
    PartStart,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    ToolResult,
    Usage,
    unfold,
)
from ailink_provider.dialects.gemini import DIALECT
from ailink_provider.errors import Failure

Client = Callable[..., Any]
THOUGHT = Thinking("It is sunny.", "c2lnbmVk", signed_by="anthropic_messages")
CALL = ToolCall("call_1", "weather", '{"city": "Paris"}', signature="Q2FsbA==", signed_by="gemini")
ANSWER = Reply(
    "r1",
    "gpt-5",
    choices=[Choice([THOUGHT, Text("Wait. "), CALL], Finish("tool_calls"))],
    usage=Usage(12, 34, cache_read_tokens=5, reasoning_tokens=6),
)
FAREWELL = Reply("r2", "gpt-5", choices=[Choice([Text("22 degrees.")], Finish("stop"))], usage=Usage(1, 2))
CONFIG = {
    "tools": [
        {
            "function_declarations": [
                {"name": "weather", "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}}}
            ]
        }
    ],
    "thinking_config": {"include_thoughts": True},
    "system_instruction": "Be brief.",
    "automatic_function_calling": {"disable": True},
}


def serve(
    requests: list[Any], *replies: Reply | Failure | list[Event]
) -> Callable[[str, dict[str, Any]], tuple[int, str, bytes]]:
    """Answers each request with the next reply, in the way that was asked for."""
    waiting = iter(replies)

    def answer(path: str, body: dict[str, Any]) -> tuple[int, str, bytes]:
        stream = ":streamGenerateContent" in path
        operation = DIALECT.operations["chat" if not stream or "alt=sse" in path else "chat_array"]
        assert path == operation.path("gemini-3-pro-preview", stream)
        request = operation.read_request(body, "gemini-3-pro-preview", stream)
        requests.append(request)
        reply = next(waiting)
        if isinstance(reply, Failure):
            status, error = DIALECT.write_error(reply, "req_1")
            return status, "application/json", msgspec.json.encode(error)
        if not stream:
            assert isinstance(reply, Reply)
            return 200, "application/json", msgspec.json.encode(operation.write_reply(reply, request))
        writer = operation.writer(request)
        events = list(unfold(reply)) if isinstance(reply, Reply) else reply
        return 200, writer.content_type, b"".join(map(writer.write, events))

    return answer


@pytest.mark.parametrize("streamed", [False, True])
def test_a_chat_with_a_tool(client: Client, streamed: bool) -> None:
    requests: list[Any] = []
    chat = client(serve(requests, ANSWER, FAREWELL)).chats.create(model="gemini-3-pro-preview", config=CONFIG)

    def send(message: Any) -> list[types.GenerateContentResponse]:
        return list(chat.send_message_stream(message)) if streamed else [chat.send_message(message)]

    first = send("What is the weather in Paris?")
    assert "".join(response.text or "" for response in first) == "Wait. "
    calls = [call for response in first for call in response.function_calls or []]
    assert [(call.id, call.name, call.args) for call in calls] == [("call_1", "weather", {"city": "Paris"})]
    usage = first[-1].usage_metadata
    assert (
        usage.prompt_token_count,
        usage.candidates_token_count,
        usage.thoughts_token_count,
        usage.total_token_count,
        usage.cached_content_token_count,
    ) == (12, 28, 6, 46, 5)
    assert first[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert {(response.model_version, response.response_id) for response in first} == {("gpt-5", "r1")}

    second = send(
        types.Part(function_response=types.FunctionResponse(id="call_1", name="weather", response={"output": "22"}))
    )
    assert "".join(response.text or "" for response in second) == "22 degrees."
    # Everything came back, the thought with its vendor's signature included.
    assert requests[1].messages == [
        Message("system", [Text("Be brief.")]),
        Message("user", [Text("What is the weather in Paris?")]),
        Message(
            "assistant",
            [
                THOUGHT,
                Text("Wait. "),
                ToolCall("call_1", "weather", '{"city":"Paris"}', signature="Q2FsbA==", signed_by="gemini"),
            ],
        ),
        Message("user", [ToolResult("call_1", [Text("22")], name="weather")]),
    ]
    assert requests[1].tools[0].schema == {"type": "object", "properties": {"city": {"type": "string"}}}


def test_all_that_a_reply_can_hold(client: Client) -> None:
    reply = Reply(
        "r",
        "m",
        choices=[
            Choice(
                [Text("a", annotations=[{"groundingMetadata": {"webSearchQueries": ["q"]}}])],
                Finish("length"),
                logprobs=[TokenLogprob("a", -0.5, top=[TokenLogprob("b", -1.5)])],
            ),
            Choice([], Finish("content_filter", explanation="No.")),
        ],
        usage=Usage(9, 3, input_audio_tokens=7),
        service_tier="flex",
    )
    for response in (
        client(serve([], reply)).models.generate_content(model="gemini-3-pro-preview", contents="Hi"),
        list(client(serve([], reply)).models.generate_content_stream(model="gemini-3-pro-preview", contents="Hi"))[-1],
    ):
        first, second = response.candidates
        assert first.finish_reason == types.FinishReason.MAX_TOKENS
        assert first.grounding_metadata.web_search_queries == ["q"]
        assert second.finish_reason == types.FinishReason.SAFETY
        assert response.usage_metadata.prompt_tokens_details[1].modality == types.MediaModality.AUDIO


@pytest.mark.parametrize(
    ("code", "kind", "status"),
    [
        ("invalid_request", errors.ClientError, "INVALID_ARGUMENT"),
        ("upstream_failed", errors.ServerError, "UNAVAILABLE"),
    ],
)
def test_errors(client: Client, code: str, kind: type[errors.APIError], status: str) -> None:
    failure = Failure(code, "It is so.")
    with pytest.raises(kind) as raised:
        client(serve([], failure)).models.generate_content(model="gemini-3-pro-preview", contents="Hi")
    assert (raised.value.code, raised.value.status, raised.value.message) == (failure.status, status, "It is so.")
    events: list[Event] = [MessageStart(), PartStart(0, Text("Hel")), MessageError(failure)]
    said = []
    with pytest.raises(kind) as raised:
        for chunk in client(serve([], events)).models.generate_content_stream(
            model="gemini-3-pro-preview", contents="Hi"
        ):
            said.append(chunk.text)
    assert said == ["Hel"]
    assert (raised.value.code, raised.value.status) == (failure.status, status)


def test_a_relayed_stream_that_was_cut_raises(client: Client, frames: Callable[..., bytes]) -> None:
    meter = DIALECT.operations["chat"].meter({})
    data = (
        meter.feed(
            frames({"candidates": [{"content": {"parts": [{"text": "Hel"}], "role": "model"}}]}) + b'data: {"cand'
        )
        + meter.close()
    )
    stream = client(lambda path, body: (200, "text/event-stream", data)).models.generate_content_stream(
        model="m", contents="Hi"
    )
    assert next(stream).text == "Hel"
    with pytest.raises(errors.ServerError):
        next(stream)


def test_counting_and_embedding(client: Client) -> None:
    def answer(path: str, body: dict[str, Any]) -> tuple[int, str, bytes]:
        name = "count_tokens" if path.endswith(":countTokens") else "embeddings"
        operation = DIALECT.operations[name]
        assert path == operation.path("gemini-embedding-001", False)
        request = operation.read_request(body, "gemini-embedding-001", False)
        if name == "count_tokens":
            return 200, "application/json", msgspec.json.encode(operation.write_reply(Reply(usage=Usage(7)), request))
        assert (request.inputs, request.dimensions, request.task) == (["a", "b"], 2, "CLUSTERING")
        upstream = {"embeddings": [{"values": [1, 2]}, {"values": [3, 4]}], "usageMetadata": {"promptTokenCount": 2}}
        reply = operation.read_reply(upstream, operation.write_request(request, None))
        return 200, "application/json", msgspec.json.encode(operation.write_reply(reply, request))

    models = client(answer).models
    assert models.count_tokens(model="gemini-embedding-001", contents="Hi").total_tokens == 7
    result = models.embed_content(
        model="gemini-embedding-001",
        contents=["a", "b"],
        config={"output_dimensionality": 2, "task_type": "CLUSTERING"},
    )
    assert [embedding.values for embedding in result.embeddings] == [[1, 2], [3, 4]]


def test_the_oracle_can_fail(valid: Callable[..., Any]) -> None:
    contents = [{"role": "user", "parts": [{"text": "Hi"}]}]
    valid({"contents": contents})
    for wrong in (
        {"contents": contents, "tool_config": {}},
        {"contents": contents, "toolConfig": {"functionCallingConfig": {"names": []}}},
        {"contents": [{"role": "user", "parts": [{"inline_data": {}}]}]},
        {},
    ):
        with pytest.raises((ValueError, AssertionError)):
            valid(wrong)
