"""Requests of Ollama's clients, to canonical chats."""

from collections.abc import Callable
from typing import Any

import pytest

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Media, Message, Native, OutputFormat, Reasoning, Text, Thinking, Tool, ToolCall
from ailink_provider.chat import ToolResult as Result
from ailink_provider.errors import Failure

HI = {"role": "user", "content": "Hi"}


@pytest.fixture
def read(chats: Any) -> Callable[..., Chat]:
    def run(*messages: dict[str, Any], **fields: Any) -> Chat:
        found: Chat = chats.read_request({"model": "m", "messages": list(messages) or [HI]} | fields)
        return found

    return run


def test_a_rich_request_is_understood(chats: Any, golden: Callable[[str], Any]) -> None:
    chat = chats.read_request(golden("rich.request"))
    first, second, third = chat.messages[2].parts[2:]
    assert chat == Chat(
        "qwen3:8b",
        [
            Message("system", [Text("Be brief.")]),
            Message(
                "user",
                [
                    Media("image", "image/png", "iVBORw0KGgo="),
                    Media("image", "image/jpeg", "/9j/AAAA"),
                    Text("What is this?"),
                ],
            ),
            Message(
                "assistant",
                [
                    Thinking("An image.", signed_by="ollama"),
                    Text("Let me look."),
                    ToolCall(first.id, "look", '{"at":1,"deep":{"a":[null,"ü"]}}'),
                    ToolCall(second.id, "look", '{"at":2}'),
                    ToolCall("call_x", "time", "{}"),
                ],
            ),
            Message("user", [Result(first.id, [Text("a cat")], name="look")]),
            Message("user", [Result(second.id, [Text("a dog")], name="look")]),
            Message("user", [Result("call_x", [Text("noon")], name="time")]),
            Message("user", [Text("And now?")]),
        ],
        dialect="ollama",
        tools=[
            Tool("look", "Looks.", {"type": "object", "properties": {"at": {"type": "integer"}}, "required": ["at"]}),
            Tool("time", None, {"type": "object", "properties": {}}),
        ],
        output=OutputFormat("schema", schema={"type": "object", "properties": {"animal": {"type": "string"}}}),
        reasoning=Reasoning(effort="high", visible=True),
        max_tokens=50,
        temperature=0.5,
        top_p=0.9,
        top_k=20,
        stop=["END"],
        seed=7,
        presence_penalty=0.1,
        frequency_penalty=0.2,
        logprobs=True,
        top_logprobs=2,
        include_usage=True,
        extras={"options.num_ctx": 8192, "options.min_p": 0.05, "keep_alive": "5m", "truncate": False},
    )
    assert len({first.id, second.id, third.id}) == 3


def test_a_rich_request_comes_out_as_it_went_in(
    chats: Any, write: Callable[..., Any], golden: Callable[[str], Any]
) -> None:
    body = golden("rich.request")
    sent = write(chats.read_request(body), Facts())
    assert sent.body == body
    assert sent.losses == []


def test_ids_are_those_of_the_place_and_stay_as_the_conversation_grows(read: Callable[..., Chat]) -> None:
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}] * 2}
    short, long = read(HI, call), read(HI, call, HI, call)
    ids = [part.id for message in long.messages for part in message.parts if isinstance(part, ToolCall)]
    assert len(set(ids)) == 4
    assert [part.id for part in short.messages[1].parts] == ids[:2]


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([{"tool_name": "g"}, {"tool_name": "f"}, {"tool_name": "f"}], [2, 0, 1]),
        ([{}, {}, {}], [0, 1, 2]),
        ([{"tool_call_id": "x"}, {"tool_name": "f"}, {}], [2, 0, 1]),
    ],
)
def test_a_result_finds_its_call(read: Callable[..., Chat], results: list[dict[str, Any]], expected: list[int]) -> None:
    functions = [{"name": "f", "arguments": {"n": 1}}, {"name": "f", "arguments": {"n": 2}}, {"name": "g"}]
    calls = [{"function": function} for function in functions]
    calls[2]["id"] = "x"  # type: ignore[assignment]
    chat = read(
        {"role": "assistant", "tool_calls": calls}, *[{"role": "tool", "content": "r"} | result for result in results]
    )
    made = [part.id for part in chat.messages[0].parts if isinstance(part, ToolCall)]
    answers = [part for message in chat.messages[1:] for part in message.parts if isinstance(part, Result)]
    assert [made.index(answer.call_id) for answer in answers] == expected
    assert [answer.name for answer in answers] == [functions[place]["name"] for place in expected]


def test_a_result_without_a_call_keeps_its_name(read: Callable[..., Chat]) -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]}
    late = {"role": "tool", "content": "r", "tool_name": "f"}
    chat = read(call, HI, late)
    made, result = chat.messages[0].parts[0], chat.messages[2].parts[0]
    assert isinstance(made, ToolCall)
    assert isinstance(result, Result)
    assert result.name == "f"
    assert result.call_id != made.id, "a question of the user's ends the wait for results"


@pytest.mark.parametrize(
    ("think", "reasoning"),
    [
        (True, Reasoning(adaptive=True, visible=True)),
        (False, Reasoning(effort="none")),
        ("low", Reasoning(effort="low", visible=True)),
        ("max", Reasoning(effort="max", visible=True)),
        (None, None),
    ],
)
def test_thinking(read: Callable[..., Chat], think: Any, reasoning: Reasoning | None) -> None:
    assert read(think=think).reasoning == reasoning


def test_what_is_not_known_rides_along(read: Callable[..., Chat]) -> None:
    chat = read({"role": "user", "content": "x", "videos": ["AA"]}, think="ultra", shift=True, options={"mirostat": 1})
    assert chat.extras == {"think": "ultra", "shift": True, "options.mirostat": 1}
    assert chat.messages[0].parts == [Text("x"), Native("ollama", {"videos": ["AA"]})]
    other = {"type": "builtin", "x": 1}
    assert read(tools=[other]).tools == [Native("ollama", other)]


def test_formats(read: Callable[..., Chat]) -> None:
    assert read(format="").output is None
    assert read(format="json").output == OutputFormat("json")
    assert read(format={"type": "object"}).output == OutputFormat("schema", schema={"type": "object"})


def test_a_request_is_streamed_unless_it_says_no(chats: Any, read: Callable[..., Chat]) -> None:
    assert read().stream
    assert read(stream=True).stream
    assert not read(stream=False).stream
    assert not chats.read_request({"model": "m", "messages": [HI]}, stream=False).stream
    assert chats.read_request({"messages": [HI]}, "named").model == "named"


def test_a_limit_that_is_none_rides_along(read: Callable[..., Chat], write: Callable[..., Any]) -> None:
    for word in (-1, -2, 0):
        chat = read(options={"num_predict": word})
        assert chat.max_tokens is None
        assert write(chat).body["options"] == {"num_predict": word}
    assert read(options={"num_predict": 40.0, "stop": "x"}).max_tokens == 40


def test_roles_are_of_any_case_and_empty_messages_are_kept(read: Callable[..., Chat]) -> None:
    assert read({"role": "User", "content": ""}).messages == [Message("user", [])]
    assert read({"role": "assistant"}).messages == [Message("assistant", [])]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 7}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": [{}]}, "messages[0].role"),
        ({"messages": [{"role": "function"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "images": "AA"}]}, "messages[0].images"),
        ({"messages": [{"role": "user", "images": ["AA", 1]}]}, "messages[0].images[1]"),
        ({"messages": [{"role": "assistant", "thinking": 1}]}, "messages[0].thinking"),
        ({"messages": [{"role": "assistant", "tool_calls": {}}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "assistant", "tool_calls": [7]}]}, "messages[0].tool_calls[0]"),
        ({"messages": [{"role": "assistant", "tool_calls": [{}]}]}, "messages[0].tool_calls[0].function"),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]},
            "messages[0].tool_calls[0].function.name",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}]},
            "messages[0].tool_calls[0].function.arguments",
        ),
        ({"messages": [{"role": "tool", "tool_name": 7}]}, "messages[0].tool_name"),
        ({"tools": {}}, "tools"),
        ({"tools": [7]}, "tools[0]"),
        ({"tools": [{"type": 7}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [{"function": {"name": "f", "parameters": []}}]}, "tools[0].function.parameters"),
        ({"format": "xml"}, "format"),
        ({"format": 7}, "format"),
        ({"options": []}, "options"),
        ({"options": {"temperature": "hot"}}, "options.temperature"),
        ({"options": {"temperature": True}}, "options.temperature"),
        ({"options": {"top_k": 1.5}}, "options.top_k"),
        ({"options": {"stop": 7}}, "options.stop"),
        ({"options": {"stop": ["x", 7]}}, "options.stop"),
        ({"options.temperature": 1}, "options.temperature"),
        ({"stream": "yes"}, "stream"),
        ({"think": 7}, "think"),
        ({"logprobs": 1}, "logprobs"),
        ({"top_logprobs": True}, "top_logprobs"),
    ],
)
def test_a_mistake_is_named(chats: Any, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Failure) as caught:
        chats.read_request({"model": "m", "messages": [HI]} | fields)
    assert (caught.value.code, caught.value.param) == ("invalid_request", param)
    assert param in caught.value.message
