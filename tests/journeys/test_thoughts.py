"""Signed thoughts survive clients that cannot send them back: tool loops of two turns, against clouds that refuse a
history without them.
"""

import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest

from ailink_provider.testing import MockUpstream
from ailink_provider.testing.anthropic.replies import sign as sign_thought
from ailink_provider.testing.gemini.replies import sign as sign_call

from .conftest import Gateway

GEMINI, CLAUDE = "gemini-3-pro-preview", "claude-opus-5-5"
PLACEHOLDER = "skip_thought_signature_validator"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASKED = {"role": "user", "content": "Weather in Paris and Rome?"}
CALLS = [("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})]


class ChatClient:
    """A client of Chat Completions that keeps what the format has a word for, and nothing else."""

    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]

    def __init__(self, url: str, token: str) -> None:
        self.sdk = openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0)
        self.close = self.sdk.close

    def ask(self, model: str, stream: bool, history: list[Any]) -> tuple[str, list[Any]]:
        """Return the text, and what the client adds to its history."""
        if stream:
            with self.sdk.chat.completions.stream(model=model, messages=history, tools=self.tools) as events:
                message: Any = events.get_final_completion().choices[0].message
        else:
            message = self.sdk.chat.completions.create(model=model, messages=history, tools=self.tools)
            message = message.choices[0].message
        calls = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.function.name, "arguments": call.function.arguments},
            }
            for call in message.tool_calls or []
        ]
        results = [{"role": "tool", "tool_call_id": call["id"], "content": "sunny"} for call in calls]
        return message.content or "", [
            {"role": "assistant", "content": message.content, "tool_calls": calls},
            *results,
        ]


class ResponsesClient:
    """A client of the Responses API that sends back its calls, but no reasoning items."""

    tools: Any = [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]

    def __init__(self, url: str, token: str) -> None:
        self.sdk = openai.OpenAI(base_url=f"{url}/v1", api_key=token, max_retries=0)
        self.close = self.sdk.close

    def ask(self, model: str, stream: bool, history: list[Any]) -> tuple[str, list[Any]]:
        """Return the text, and what the client adds to its history."""
        if stream:
            with self.sdk.responses.stream(model=model, input=history, tools=self.tools) as events:
                answer: Any = events.get_final_response()
        else:
            answer = self.sdk.responses.create(model=model, input=history, tools=self.tools)
        calls = [
            {"type": "function_call", "call_id": item.call_id, "name": item.name, "arguments": item.arguments}
            for item in answer.output
            if item.type == "function_call"
        ]
        results = [
            {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"} for call in calls
        ]
        said = [{"role": "assistant", "content": answer.output_text}] if answer.output_text else []
        return answer.output_text, [*said, *calls, *results]


class MessagesClient:
    """A client of the Messages API that keeps texts and calls."""

    tools: Any = [{"name": "weather", "input_schema": SCHEMA}]

    def __init__(self, url: str, token: str) -> None:
        self.sdk = anthropic.Anthropic(base_url=url, api_key=token, max_retries=0)
        self.close = self.sdk.close

    def ask(self, model: str, stream: bool, history: list[Any]) -> tuple[str, list[Any]]:
        """Return the text, and what the client adds to its history."""
        arguments: Any = {"model": model, "messages": history, "tools": self.tools, "max_tokens": 1000}
        if stream:
            with self.sdk.messages.stream(**arguments) as events:
                message = events.get_final_message()
        else:
            message = self.sdk.messages.create(**arguments)
        kept: list[Any] = []
        for block in message.content:
            if block.type == "text":
                kept.append({"type": "text", "text": block.text})
            elif block.type == "tool_use":
                kept.append({"type": "tool_use", "id": block.id, "name": block.name, "input": block.input})
        results = [
            {"type": "tool_result", "tool_use_id": block["id"], "content": "sunny"}
            for block in kept
            if block["type"] == "tool_use"
        ]
        text = "".join(block["text"] for block in kept if block["type"] == "text")
        return text, [{"role": "assistant", "content": kept}, {"role": "user", "content": results}]


CLIENTS = {"chat": ChatClient, "responses": ResponsesClient, "messages": MessagesClient}
Make = Callable[..., Any]


@pytest.fixture
def make(gateway: Gateway, token: str) -> Iterator[Make]:
    """Returns a function that makes a client, with a token of its own if one is given."""
    made: list[Any] = []

    def make_client(kind: str, token: str = token) -> Any:
        made.append(CLIENTS[kind](gateway.url, token))
        return made[-1]

    yield make_client
    for client in made:
        client.close()


def sent(upstream: MockUpstream, number: int) -> Any:
    return json.loads(upstream.requests[number].body)


def model_turn(upstream: MockUpstream, number: int) -> list[Any]:
    """The first turn of the model in the history that this request brought."""
    body = sent(upstream, number)
    if "contents" in body:
        parts: list[Any] = next(content for content in body["contents"] if content["role"] == "model")["parts"]
        return parts
    blocks: list[Any] = next(turn for turn in body["messages"] if turn["role"] == "assistant")["content"]
    return blocks


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
class TestAToolLoop:
    """The client sends back less than it was given, and the model gets all that it needs."""

    @pytest.mark.parametrize("kind", CLIENTS)
    def test_calls_go_back_signed(self, make: Make, upstream: MockUpstream, kind: str, stream: bool) -> None:
        client = make(kind)
        upstream.script(text="Let me see.", tool_calls=CALLS)
        _, turn = client.ask(GEMINI, stream, [ASKED])
        upstream.script(tool_calls=CALLS[:1])
        _, second = client.ask(GEMINI, stream, [ASKED, *turn])
        upstream.script(text="Sunny in both.")
        assert client.ask(GEMINI, stream, [ASKED, *turn, *second])[0] == "Sunny in both."
        upstream.assert_clean()
        text, first, sibling = model_turn(upstream, 2)
        assert text == {"text": "Let me see."}
        assert first["thoughtSignature"] == sign_call("weather")
        assert "thoughtSignature" not in sibling
        assert PLACEHOLDER not in upstream.requests[2].body.decode()

    @pytest.mark.parametrize("kind", ["chat", "responses"])
    def test_thoughts_come_first(self, make: Make, upstream: MockUpstream, kind: str, stream: bool) -> None:
        client = make(kind)
        upstream.script(text="Let me see.", tool_calls=CALLS)
        _, turn = client.ask(CLAUDE, stream, [ASKED])
        upstream.script(text="Sunny in both.")
        assert client.ask(CLAUDE, stream, [ASKED, *turn])[0] == "Sunny in both."
        upstream.assert_clean()
        thought, *rest = model_turn(upstream, 1)
        assert thought == {"type": "thinking", "thinking": "", "signature": sign_thought("", CLAUDE)}
        assert [block["type"] for block in rest] == ["text", "tool_use", "tool_use"]

    def test_another_token_gets_nothing_of_it(
        self, make: Make, make_token: Callable[..., str], upstream: MockUpstream, stream: bool
    ) -> None:
        upstream.script(tool_calls=CALLS)
        _, turn = make("chat").ask(GEMINI, stream, [ASKED])
        other = make("chat", make_token())
        other.ask(GEMINI, stream, [ASKED, *turn])
        upstream.assert_clean()
        assert model_turn(upstream, 1)[0]["thoughtSignature"] == PLACEHOLDER

    def test_without_its_thoughts_the_turn_is_refused(
        self, make: Make, make_token: Callable[..., str], upstream: MockUpstream, stream: bool
    ) -> None:
        upstream.script(tool_calls=CALLS)
        _, turn = make("chat").ask(CLAUDE, stream, [ASKED])
        with pytest.raises(openai.BadRequestError, match="Expected `thinking`"):
            make("chat", make_token()).ask(CLAUDE, stream, [ASKED, *turn])

    @pytest.mark.parametrize("model", ["gpt-4o", GEMINI, "claude-opus-5"])
    def test_another_model_gets_no_thoughts(
        self, make: Make, upstream: MockUpstream, model: str, stream: bool
    ) -> None:
        client = make("chat")
        upstream.script(tool_calls=CALLS)
        _, turn = client.ask(CLAUDE, stream, [ASKED])
        upstream.script(text="Sunny in both.")
        assert client.ask(model, stream, [ASKED, *turn])[0] == "Sunny in both."
        upstream.assert_clean()
        body = upstream.requests[1].body.decode()
        assert sign_thought("", CLAUDE) not in body
        assert '"thinking"' not in body

    def test_what_the_client_sends_back_wins(self, make: Make, upstream: MockUpstream, stream: bool) -> None:
        client = make("chat")
        upstream.script(tool_calls=CALLS)
        _, turn = client.ask(GEMINI, stream, [ASKED])
        turn[0]["tool_calls"][0]["extra_content"] = {"google": {"thought_signature": PLACEHOLDER}}
        client.ask(GEMINI, stream, [ASKED, *turn])
        upstream.assert_clean()
        assert model_turn(upstream, 1)[0]["thoughtSignature"] == PLACEHOLDER
