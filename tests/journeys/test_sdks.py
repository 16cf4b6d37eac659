"""Each official SDK reaches each model family, streaming or not, with tools or without. The mocks refuse what a vendor
would.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

from ailink_provider.testing import MockUpstream

from .conftest import Gateway

MODELS = ["gpt-4o", "claude-opus-4-6", "gemini-2.5-flash"]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
Ask = Callable[[str, bool, bool], dict[str, Any]]


@pytest.fixture
def ask_openai(gateway: Gateway, token: str) -> Iterator[Ask]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=token, max_retries=0) as client:
        tool: Any = {"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}

        def ask(model: str, stream: bool, tools: bool) -> dict[str, Any]:
            arguments: dict[str, Any] = {
                "model": model,
                "messages": [{"role": "user", "content": "hi"}],
                "max_completion_tokens": 100,
            }
            if tools:
                arguments["tools"] = [tool]
            if stream:
                with client.chat.completions.stream(**arguments, stream_options={"include_usage": True}) as events:
                    completion: Any = events.get_final_completion()
            else:
                completion = client.chat.completions.create(**arguments)
            message = completion.choices[0].message
            return {
                "text": message.content or "",
                "finish": completion.choices[0].finish_reason,
                "calls": [
                    (call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []
                ],
                "usage": (completion.usage.prompt_tokens, completion.usage.completion_tokens),
            }

        yield ask


@pytest.fixture
def ask_anthropic(gateway: Gateway, token: str) -> Iterator[Ask]:
    with anthropic.Anthropic(base_url=gateway.url, api_key=token, max_retries=0) as client:

        def ask(model: str, stream: bool, tools: bool) -> dict[str, Any]:
            arguments: dict[str, Any] = {
                "model": model,
                "messages": [{"role": "user", "content": "hi"}],
                "max_tokens": 100,
            }
            if tools:
                arguments["tools"] = [{"name": "weather", "input_schema": SCHEMA}]
            if stream:
                with client.messages.stream(**arguments) as events:
                    message: Any = events.get_final_message()
            else:
                message = client.messages.create(**arguments)
            finish = {"end_turn": "stop", "tool_use": "tool_calls"}[message.stop_reason]
            return {
                "text": "".join(block.text for block in message.content if block.type == "text"),
                "finish": finish,
                "calls": [(block.name, block.input) for block in message.content if block.type == "tool_use"],
                "usage": (message.usage.input_tokens, message.usage.output_tokens),
            }

        yield ask


@pytest.fixture
def ask_gemini(gateway: Gateway, token: str) -> Iterator[Ask]:
    client = genai.Client(api_key=token, http_options=types.HttpOptions(base_url=gateway.url))

    def ask(model: str, stream: bool, tools: bool) -> dict[str, Any]:
        declared = [
            types.Tool(function_declarations=[types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA)])
        ]
        config = types.GenerateContentConfig(
            max_output_tokens=100,
            tools=declared if tools else None,  # type: ignore[arg-type]
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
        )
        if stream:
            replies = list(client.models.generate_content_stream(model=model, contents="hi", config=config))
        else:
            replies = [client.models.generate_content(model=model, contents="hi", config=config)]
        parts = [
            part
            for reply in replies
            for candidate in reply.candidates or []
            if candidate.content
            for part in candidate.content.parts or []
        ]
        calls = [(part.function_call.name, part.function_call.args) for part in parts if part.function_call]
        usage = next(reply.usage_metadata for reply in reversed(replies) if reply.usage_metadata)
        finish = next(
            candidate.finish_reason
            for reply in reversed(replies)
            for candidate in reply.candidates or []
            if candidate.finish_reason
        )
        return {
            "text": "".join(part.text or "" for part in parts if not part.thought),
            "calls": calls,
            "finish": "tool_calls" if calls else {"STOP": "stop"}[finish.value],
            "usage": (usage.prompt_token_count, usage.candidates_token_count),
        }

    yield ask
    client.close()


@pytest.fixture(params=["openai", "anthropic", "gemini"])
def ask(request: pytest.FixtureRequest) -> Ask:
    found: Ask = request.getfixturevalue(f"ask_{request.param}")
    return found


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", MODELS)
class TestEveryPair:
    """Three SDKs, three families."""

    def test_text(self, ask: Ask, model: str, stream: bool, upstream: MockUpstream) -> None:
        upstream.script(text="Grüße, 世界 😀.", chunks=["Grü", "ße, 世", "界 😀."])
        assert ask(model, stream, False) == {"text": "Grüße, 世界 😀.", "calls": [], "finish": "stop", "usage": (11, 7)}
        upstream.assert_clean()

    def test_parallel_tool_calls(self, ask: Ask, model: str, stream: bool, upstream: MockUpstream) -> None:
        upstream.script(tool_calls=[("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})])
        found = ask(model, stream, True)
        assert found["calls"] == [("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})]
        assert found["finish"] == "tool_calls"
        upstream.assert_clean()

    def test_a_tool_without_arguments(self, ask: Ask, model: str, stream: bool, upstream: MockUpstream) -> None:
        upstream.script(tool_calls=[("weather", {})])
        assert ask(model, stream, True)["calls"] == [("weather", {})]
        upstream.assert_clean()


@pytest.mark.parametrize("model", MODELS)
def test_a_whole_conversation_with_tools(gateway: Gateway, token: str, upstream: MockUpstream, model: str) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=token, max_retries=0) as client:
        messages: list[Any] = [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Weather in Paris and Rome?"},
        ]
        tools: Any = [
            {"type": "function", "function": {"name": "weather", "description": "The weather", "parameters": SCHEMA}}
        ]
        upstream.script(tool_calls=[("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})])
        first = client.chat.completions.create(model=model, messages=messages, tools=tools).choices[0].message
        messages.append(first.model_dump(exclude_none=True, exclude={"annotations"}))
        messages.extend(
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in first.tool_calls or []
        )
        upstream.script(text="Sunny in both.")
        last = client.chat.completions.create(model=model, messages=messages, tools=tools)
        assert last.choices[0].message.content == "Sunny in both."
    assert len(upstream.requests) == 2
    upstream.assert_clean()


@pytest.mark.parametrize("model", ["text-embedding-3-small", "gemini-embedding-001"])
def test_embeddings(gateway: Gateway, token: str, upstream: MockUpstream, model: str) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=token, max_retries=0) as client:
        found = client.embeddings.create(model=model, input=["one", "two"])
    assert [item.index for item in found.data] == [0, 1]
    assert all(len(item.embedding) > 1 for item in found.data)
    upstream.assert_clean()


@pytest.mark.parametrize("model", MODELS)
def test_text_completions(gateway: Gateway, token: str, upstream: MockUpstream, model: str) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=token, max_retries=0) as client:
        found = client.completions.create(model=model, prompt="Once upon a time", max_tokens=20)
        streamed = "".join(
            chunk.choices[0].text
            for chunk in client.completions.create(model=model, prompt="Once", stream=True)
            if chunk.choices
        )
    assert found.object == "text_completion"
    assert found.choices[0].text == "echo: Once upon a time"
    assert streamed == "echo: Once"
    upstream.assert_clean()


@pytest.mark.parametrize("model", MODELS)
def test_counting_tokens(gateway: Gateway, token: str, upstream: MockUpstream, model: str) -> None:
    with anthropic.Anthropic(base_url=gateway.url, api_key=token, max_retries=0) as client:
        counted = client.messages.count_tokens(
            model=model, messages=[{"role": "user", "content": "How many tokens is this?"}]
        )
    assert 1 <= counted.input_tokens < 50
    upstream.assert_clean()


def test_models(gateway: Gateway, token: str) -> None:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=token, max_retries=0) as client:
        names = [model.id for model in client.models.list()]
        assert {"gpt-4o", "claude-opus-4-6", "gemini-2.5-flash"} <= set(names)
        assert client.models.retrieve("gpt-4o").id == "gpt-4o"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("nothing-like-it")


def test_models_as_anthropic_lists_them(gateway: Gateway, token: str) -> None:
    with anthropic.Anthropic(base_url=gateway.url, api_key=token, max_retries=0) as client:
        names = [model.display_name for model in client.models.list()]
        assert {"gpt-4o", "claude-opus-4-6", "gemini-2.5-flash"} <= set(names)
        assert client.models.retrieve("claude-opus-4-6").display_name == "claude-opus-4-6"
        with pytest.raises(anthropic.NotFoundError):
            client.models.retrieve("nothing-like-it")


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_models_as_gemini_lists_them(gateway: Gateway, token: str, version: str) -> None:
    options = types.HttpOptions(base_url=gateway.url, api_version=version)
    with genai.Client(api_key=token, http_options=options) as client:
        names = [model.name for model in client.models.list()]
        assert {"models/gpt-4o", "models/claude-opus-4-6", "models/gemini-2.5-flash"} <= set(names)
        assert client.models.get(model="gemini-2.5-flash").name == "models/gemini-2.5-flash"
        with pytest.raises(genai_errors.ClientError, match="NOT_FOUND"):
            client.models.get(model="nothing-like-it")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("model", MODELS[1:])
def test_the_responses_api(gateway: Gateway, token: str, upstream: MockUpstream, model: str, stream: bool) -> None:
    upstream.script(text="Hello there.", tool_calls=[("weather", {"city": "Paris"})])
    tools: Any = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=token, max_retries=0) as client:
        if stream:
            with client.responses.stream(model=model, input="hi", tools=tools) as events:
                found: Any = events.get_final_response()
        else:
            found = client.responses.create(model=model, input="hi", tools=tools)
    assert found.output_text == "Hello there."
    calls = [(item.name, json.loads(item.arguments)) for item in found.output if item.type == "function_call"]
    assert calls == [("weather", {"city": "Paris"})]
    assert (found.status, found.usage.input_tokens, found.usage.output_tokens) == ("completed", 11, 7)
    upstream.assert_clean()
