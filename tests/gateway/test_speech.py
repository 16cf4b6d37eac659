"""Which conversations are asked for, and kept, of what models thought: those alone that can lose it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ailink_gateway.backends.thoughts import MemoryThoughts
from ailink_gateway.envelope import read_members
from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Grant, Target, Upstream
from ailink_gateway.speech import Speech, speak
from ailink_gateway.thoughts import Turn
from ailink_provider.catalog import facts
from ailink_provider.errors import Failure

GEMINI, CLAUDE = "gemini-3-pro-preview", "claude-opus-5-5"
ASKED = {"role": "user", "content": "Weather?"}
TOOLS = [{"type": "function", "function": {"name": "weather"}}]
CALLED = [
    ASKED,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "t", "type": "function", "function": {"name": "weather", "arguments": "{}"}}],
    },
    {"role": "tool", "tool_call_id": "t", "content": "sunny"},
]
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "sig"}
CLAUDES = {
    "id": "m", "model": CLAUDE, "stop_reason": "tool_use", "usage": {"input_tokens": 1, "output_tokens": 1},
    "content": [THOUGHT, {"type": "tool_use", "id": "t", "name": "weather", "input": {}}],
}  # fmt: skip
GEMINIS = {
    "candidates": [{"finishReason": "STOP", "content": {"parts": [
        {"functionCall": {"id": "t", "name": "weather", "args": {}}, "thoughtSignature": "c2ln"}]}}],
}  # fmt: skip


class Watched(MemoryThoughts):
    """Counts how often it is used."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = self.kept = 0

    def keep(self, tenant: str, turn: Turn) -> None:
        self.kept += 1
        super().keep(tenant, turn)

    def find(self, tenant: str, call_id: str) -> Turn | None:
        self.asked += 1
        return super().find(tenant, call_id)


@pytest.fixture
def thoughts() -> Watched:
    return Watched()


@pytest.fixture
def speaks(
    make_exchange: Callable[..., Exchange], make_upstream: Callable[..., Upstream], thoughts: Watched
) -> Callable[..., Speech]:
    """Returns how a chat with these messages is spoken with a provider's model."""

    def make(provider: str, model: str, messages: Any, *, token: str | None = "ada", **more: Any) -> Speech:
        body = json.dumps({"model": model, "messages": messages, **more}).encode()
        exchange = make_exchange(body=body)
        exchange.body, exchange.model = body, model
        exchange.members = read_members(body)
        exchange.streaming = more.get("stream", False)
        exchange.grant = Grant(token_id=token, token_name="t", project_id="p")
        return speak(exchange, Target(make_upstream(provider), model, facts(model)), thoughts)

    return make


def first_call(speech: Speech) -> Any:
    return next(part for content in json.loads(speech.body)["contents"] for part in content["parts"]
                if "functionCall" in part)  # fmt: skip


def test_a_relay_asks_for_nothing_and_keeps_nothing(speaks: Callable[..., Speech], thoughts: Watched) -> None:
    speech = speaks("openai", "gpt-4o", CALLED, tools=TOOLS)
    speech.whole(json.dumps({"choices": [{"message": CALLED[1]}]}).encode())
    assert (thoughts.asked, thoughts.kept) == (0, 0)


def test_an_error_with_status_200_is_no_reply(speaks: Callable[..., Speech]) -> None:
    with pytest.raises(Failure) as raised:
        speaks("openai", "gpt-4o", [ASKED]).whole(b'{"error": {"message": "slow down", "code": 429}}')
    assert (raised.value.code, raised.value.message) == ("rate_limit_exceeded", "slow down")


@pytest.mark.parametrize("body", [b'{"id": "r", "error": {"message": "x"}}', b'{"ok": true}', b'{"error": null}'])
def test_a_relay_leaves_the_rest_to_the_client(speaks: Callable[..., Speech], body: bytes) -> None:
    assert speaks("openai", "gpt-4o", [ASKED]).whole(body) == body


def test_half_a_character_does_not_cost_the_reply(speaks: Callable[..., Speech]) -> None:
    body = (b'{"id": "i", "model": "m", "choices": [{"message": {"role": "assistant", "content": "a\\ud83d"}, '
            b'"finish_reason": "length"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}')  # fmt: skip
    relay = speaks("openai", "gpt-4o", [ASKED])
    assert relay.whole(body) == body
    claude = (b'{"id": "i", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", '
              b'"text": "a\\ud83d"}], "stop_reason": "max_tokens", "usage": {"input_tokens": 3, "output_tokens": 2}}')
    translated = speaks("anthropic", "claude-opus-4-6", [ASKED])
    assert json.loads(translated.whole(claude))["choices"][0]["message"]["content"] == "a\ufffd"
    for speech in (relay, translated):
        assert speech.measured.usage is not None
        assert (speech.measured.usage.input_tokens, speech.measured.usage.output_tokens) == (3, 2)


@pytest.mark.parametrize(("provider", "model", "said"), [
    ("openai", "gpt-4o", b'data: {"model": "gpt-4o", "choices": [{"delta": {"content": "Hello"}}]}\n\n'),
    ("gemini", GEMINI, b'data: {"candidates": [{"content": {"parts": [{"text": "Hello"}]}}]}\n\n'),
])  # fmt: skip
def test_the_error_of_a_stream_names_its_request(
    speaks: Callable[..., Speech], provider: str, model: str, said: bytes
) -> None:
    for end in (lambda speech: speech.close(), lambda speech: speech.fail(Failure("upstream_failed", "It broke."))):
        speech = speaks(provider, model, [ASKED], stream=True)
        assert b"Hello" in speech.feed(said)
        assert b'"request_id":"req_' in end(speech)
        assert speech.measured.failure is not None


def test_a_conversation_without_calls_asks_for_nothing(speaks: Callable[..., Speech], thoughts: Watched) -> None:
    speaks("anthropic", CLAUDE, [ASKED, {"role": "assistant", "content": "Where?"}, ASKED], tools=TOOLS)
    assert thoughts.asked == 0


def test_a_reply_that_could_call_nothing_is_not_kept(speaks: Callable[..., Speech], thoughts: Watched) -> None:
    speaks("anthropic", CLAUDE, [ASKED]).whole(json.dumps(CLAUDES).encode())
    assert thoughts.kept == 0


def test_thoughts_bound_to_their_model_go_to_no_other(speaks: Callable[..., Speech], thoughts: Watched) -> None:
    speaks("anthropic", CLAUDE, [ASKED], tools=TOOLS).whole(json.dumps(CLAUDES).encode())
    assert thoughts.kept == 1
    own = json.loads(speaks("anthropic", CLAUDE, CALLED, tools=TOOLS).body)
    assert own["messages"][1]["content"][0] == THOUGHT
    for provider, model in (("anthropic", "claude-opus-5"), ("gemini", GEMINI)):
        assert b"sig" not in speaks(provider, model, CALLED, tools=TOOLS).body.replace(b"signature", b"")


def test_signatures_that_are_not_bound_go_to_the_whole_family(speaks: Callable[..., Speech]) -> None:
    speaks("gemini", GEMINI, [ASKED], tools=TOOLS).whole(json.dumps(GEMINIS).encode())
    for model in (GEMINI, "gemini-3-flash-preview"):
        assert first_call(speaks("gemini", model, CALLED, tools=TOOLS))["thoughtSignature"] == "c2ln"


def test_callers_without_a_token_share_their_projects_thoughts_and_no_tokens(speaks: Callable[..., Speech]) -> None:
    speaks("gemini", GEMINI, [ASKED], tools=TOOLS, token=None).whole(json.dumps(GEMINIS).encode())
    found = {
        token: first_call(speaks("gemini", GEMINI, CALLED, tools=TOOLS, token=token))["thoughtSignature"]
        for token in (None, "ada", "p")
    }
    assert found[None] == "c2ln"
    assert "c2ln" not in (found["ada"], found["p"])
