"""The official SDKs reach Bedrock and Ollama as they reach the other families, and OpenAI's Responses API reaches all.

Bedrock is asked with an API key, Ollama without any. The mocks refuse what the services would.
"""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from ailink_provider.chat import Usage
from ailink_provider.testing import KEYS, Fault, MockUpstream

from .clients import Secrets
from .conftest import Gateway

BEDROCK = "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "bedrock/us.amazon.nova-pro-v1:0"
OLLAMA = "ollama/qwen3:8b"
NEW = [BEDROCK, NOVA, OLLAMA]
ALL = ["gpt-5", "claude-opus-4-6", "gemini-2.5-flash", *NEW]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALLS = [("weather", {"city": "Paris"}), ("weather", {})]
TEXT = "Grüße, 世界 😀."


class Said(NamedTuple):
    """What an SDK makes of an answer."""

    text: str
    calls: list[tuple[str, Any]]
    usage: tuple[int, int]


Ask = Callable[[str, bool], Said]


@pytest.fixture(scope="module")
def house(
    vendors: dict[str, str], clouds: MockUpstream, start_gateway: Callable[..., Gateway], known_secrets: Secrets,
) -> tuple[str, str]:
    """A gateway that knows all families, and a token for it: its address and the token."""
    gateway = start_gateway(
        **vendors, AWS_BEARER_TOKEN_BEDROCK=KEYS["bedrock"], AWS_ENDPOINT_URL_BEDROCK_RUNTIME=clouds.url(),
        OLLAMA_BASE_URL=clouds.url())
    with gateway.admin() as admin:
        token = admin.tokens.create(name="families", circuit_breaker={"enabled": False})
        return gateway.url, known_secrets.add(str(token["token_id"]))


def ask_chat(url: str, token: str, model: str, stream: bool) -> Said:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as client:
        asked: dict[str, Any] = {
            "model": model, "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 100,
            "tools": [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]}
        if stream:
            with client.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
                found: Any = events.get_final_completion()
        else:
            found = client.chat.completions.create(**asked)
    message = found.choices[0].message
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or []]
    assert found.choices[0].finish_reason == ("tool_calls" if calls else "stop")
    return Said(message.content or "", calls, (found.usage.prompt_tokens, found.usage.completion_tokens))


def ask_responses(url: str, token: str, model: str, stream: bool) -> Said:
    with openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as client:
        asked: dict[str, Any] = {
            "model": model, "input": "hi", "max_output_tokens": 100, "store": False,
            "tools": [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]}
        if stream:
            with client.responses.stream(**asked) as events:
                found: Any = events.get_final_response()
        else:
            found = client.responses.create(**asked)
    assert found.status == "completed"
    calls = [(item.name, json.loads(item.arguments)) for item in found.output if item.type == "function_call"]
    return Said(found.output_text, calls, (found.usage.input_tokens, found.usage.output_tokens))


def ask_messages(url: str, token: str, model: str, stream: bool) -> Said:
    with anthropic.Anthropic(base_url=url, api_key=token, max_retries=0) as client:
        asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100,
                                 "tools": [{"name": "weather", "input_schema": SCHEMA}]}
        if stream:
            with client.messages.stream(**asked) as events:
                found: Any = events.get_final_message()
        else:
            found = client.messages.create(**asked)
    calls = [(block.name, block.input) for block in found.content if block.type == "tool_use"]
    assert found.stop_reason == ("tool_use" if calls else "end_turn")
    text = "".join(block.text for block in found.content if block.type == "text")
    return Said(text, calls, (found.usage.input_tokens, found.usage.output_tokens))


def ask_gemini(url: str, token: str, model: str, stream: bool) -> Said:
    client = genai.Client(api_key=token, http_options=types.HttpOptions(base_url=url))
    declared = types.FunctionDeclaration(name="weather", parameters_json_schema=SCHEMA)
    config = types.GenerateContentConfig(
        max_output_tokens=100, tools=[types.Tool(function_declarations=[declared])],
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True))
    if stream:
        replies = list(client.models.generate_content_stream(model=model, contents="hi", config=config))
    else:
        replies = [client.models.generate_content(model=model, contents="hi", config=config)]
    client.close()
    parts = [part for reply in replies for candidate in reply.candidates or [] if candidate.content
             for part in candidate.content.parts or []]
    usage = next(reply.usage_metadata for reply in reversed(replies) if reply.usage_metadata)
    calls = [(part.function_call.name or "", part.function_call.args) for part in parts if part.function_call]
    return Said("".join(part.text or "" for part in parts if not part.thought), calls,
                (usage.prompt_token_count or 0, usage.candidates_token_count or 0))


ASKS = {"chat": ask_chat, "responses": ask_responses, "messages": ask_messages, "gemini": ask_gemini}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("client", "model"), [
    *((name, model) for name in ("chat", "messages", "gemini") for model in NEW),
    *(("responses", model) for model in ALL),
])
class TestEveryFamily:
    """Each SDK, each family that it has not met elsewhere."""

    def test_text(self, house: tuple[str, str], upstream: MockUpstream, client: str, model: str, stream: bool) -> None:
        upstream.script(text=TEXT, chunks=["Grü", "ße, 世", "界 😀."])
        assert ASKS[client](*house, model, stream) == Said(TEXT, [], (11, 7))
        upstream.assert_clean()

    def test_parallel_tool_calls(
        self, house: tuple[str, str], upstream: MockUpstream, client: str, model: str, stream: bool,
    ) -> None:
        upstream.script(text="Looking.", tool_calls=CALLS, usage=Usage(30, 12))
        assert ASKS[client](*house, model, stream) == Said("Looking.", CALLS, (30, 12))
        upstream.assert_clean()


@pytest.mark.parametrize("model", NEW)
def test_an_error_in_mid_stream_raises_in_every_sdk(
    house: tuple[str, str], upstream: MockUpstream, model: str,
) -> None:
    raised = {"chat": openai.APIError, "responses": openai.APIError, "messages": anthropic.APIError}
    for client, expected in raised.items():
        upstream.script(text="one two three", fault=Fault("error_event", at=3, status=503, message="Not now."))
        with pytest.raises(expected, match="Not now"):
            ASKS[client](*house, model, True)
    upstream.assert_clean()


@pytest.mark.parametrize("model", NEW)
def test_a_whole_conversation_with_tools(house: tuple[str, str], upstream: MockUpstream, model: str) -> None:
    url, token = house
    tools: Any = [{"type": "function", "name": "weather", "description": "The weather", "parameters": SCHEMA,
                   "strict": False}]
    with openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0) as client:
        calls = [("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})]
        upstream.script(thinking="Two cities.", tool_calls=calls)
        asked: list[Any] = [{"role": "user", "content": "Paris and Rome?"}]
        first = client.responses.create(model=model, input=asked, tools=tools, instructions="Be brief.")
        asked += [item.to_dict(exclude_none=True) for item in first.output]
        asked += [{"type": "function_call_output", "call_id": item.call_id, "output": "sunny"}
                  for item in first.output if item.type == "function_call"]
        upstream.script(text="Sunny in both.")
        last = client.responses.create(model=model, input=asked, tools=tools, instructions="Be brief.")
    assert last.output_text == "Sunny in both."
    assert len(upstream.requests) == 2
    upstream.assert_clean()
