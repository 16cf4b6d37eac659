"""The SDK's words are views on the canonical ones: what goes in comes out, and nothing is kept twice."""

from decimal import Decimal

import pytest

from ailink_provider.chat import Chat, Choice, Finish, Message, Reply, Text, Thinking, Tool, ToolCall, Usage
from ailink_provider.errors import Failure
from ailink_provider.provider import (
    CompletionRequest,
    CompletionResponse,
    CostEstimate,
    UsageStats,
    check_name,
)


def test_a_request_is_a_chat() -> None:
    request = CompletionRequest(
        "And now?", system_prompt="Be brief.", messages=[Message("user", [Text("Hi")])], model="m", max_tokens=5,
        temperature=0.5, top_p=0.9, top_k=3, stop="END", tools=[Tool("f")], stream=True, metadata={"team": "x"},
    )
    turns = [Message("system", [Text("Be brief.")]), Message("user", [Text("Hi")]), Message("user", [Text("And now?")])]
    assert request.chat == Chat(
        "m", turns,
        max_tokens=5, temperature=0.5, top_p=0.9, top_k=3, stop=["END"], tools=[Tool("f")], stream=True,
        metadata={"team": "x"},
    )
    assert (request.prompt, request.system_prompt, request.model) == ("And now?", "Be brief.", "m")
    assert (request.max_tokens, request.temperature, request.top_p, request.top_k) == (5, 0.5, 0.9, 3)
    assert (request.stop, request.stream, request.metadata) == (["END"], True, {"team": "x"})
    assert request.messages is request.chat.messages and request.tools is request.chat.tools
    assert request.tool_choice is None


def test_a_request_of_a_chat_keeps_all_of_it() -> None:
    chat = Chat("m", [Message("developer", [Text("Rules")]), Message("user", [Text("a"), Text("b")]),
                      Message("assistant", [Text("c")])], n=2, seed=7)
    request = CompletionRequest.of(chat)
    assert request.chat is chat
    assert (request.prompt, request.system_prompt, request.metadata) == ("ab", "Rules", {})
    other = request.replace(model="n")
    assert (other.model, other.chat.seed, request.model) == ("n", 7, "m")
    assert other != request == CompletionRequest.of(chat) != "m"


def test_an_empty_request_has_no_turns() -> None:
    assert CompletionRequest().messages == []
    assert CompletionRequest().prompt == CompletionRequest().system_prompt == ""


def test_a_response_is_a_reply() -> None:
    call = ToolCall("call_1", "f", "{}")
    response = CompletionResponse("Hello", model="m", usage=UsageStats(10, 20, 30), tool_calls=[call], id="r1")
    assert response.reply == Reply(
        "r1", "m", choices=[Choice([Text("Hello"), call], Finish("tool_calls"))], usage=Usage(10, 20)
    )
    assert (response.content, response.model, response.id) == ("Hello", "m", "r1")
    assert (response.finish_reason, response.tool_calls) == ("tool_calls", [call])
    assert response.usage == UsageStats(10, 20, 30)
    assert response == CompletionResponse.of(response.reply) != response.reply


def test_a_response_tells_the_unknown_from_nothing() -> None:
    assert CompletionResponse("x").usage is None
    assert CompletionResponse("x", usage=UsageStats()).usage == UsageStats(0, 0, 0)
    assert CompletionResponse("x", finish_reason="length").finish_reason == "length"
    empty = CompletionResponse.of(Reply())
    assert (empty.content, empty.finish_reason, empty.tool_calls) == ("", "stop", [])
    thought = CompletionResponse.of(Reply(choices=[Choice([Thinking("hm"), Text("a"), Text("b")])]))
    assert thought.content == "ab"


def test_a_response_ends_for_a_known_reason() -> None:
    with pytest.raises(Failure, match="content_filter") as caught:
        CompletionResponse("x", finish_reason="max_tokens")  # type: ignore[arg-type]
    assert caught.value.param == "finish_reason"


def test_usage_sums_itself_up() -> None:
    assert UsageStats(prompt_tokens=10, completion_tokens=20).total_tokens == 30
    assert UsageStats(prompt_tokens=10, completion_tokens=20, total_tokens=31).total_tokens == 31


def test_an_estimate_is_exact_in_dollars() -> None:
    assert CostEstimate(97_500).usd == Decimal("0.0000975")
    assert CostEstimate(1).usd * 10**9 == 1


@pytest.mark.parametrize("name", ["a", "my-provider", "my_provider.v2", "9lives", "x" * 64])
def test_names_that_can_stand_anywhere(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["", "-a", "a b", "a/b", "a\n", "ä", "x" * 65])
def test_names_that_cannot(name: str) -> None:
    with pytest.raises(Failure) as caught:
        check_name(name, "type")
    assert caught.value.param == "type"


def test_reprs_show_what_is_inside() -> None:
    assert "Hello" in repr(CompletionRequest("Hello")) and "model='m'" in repr(CompletionResponse("x", model="m"))
