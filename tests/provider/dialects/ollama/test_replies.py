"""Whole replies, both ways."""

from collections.abc import Callable
from typing import Any

import pytest

from ailink_provider.chat import (
    Chat,
    Choice,
    Finish,
    Media,
    Native,
    Reasoning,
    Refusal,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
)
from ailink_provider.dialects import Sent
from ailink_provider.errors import Failure

Make = Callable[..., Chat]
Check = Callable[[str, dict[str, Any]], None]
STAMP = {"model": "qwen3:8b", "created_at": "2026-01-02T03:04:05.678901234Z"}
CREATED = 1767323045
COUNTS = {"prompt_eval_count": 11, "eval_count": 7, "total_duration": 5, "load_duration": 1}


def reply(message: dict[str, Any], **more: Any) -> dict[str, Any]:
    return STAMP | {"message": {"role": "assistant", "content": ""} | message, "done": True} | more


def test_a_rich_reply_is_understood(chats: Any) -> None:
    body = reply(
        {
            "content": "Look.",
            "thinking": "Hm.",
            "images": ["iVBORw0KGgo="],
            "tool_calls": [
                {"function": {"name": "f", "arguments": {"x": 1, "deep": [None]}}},
                {"id": "given", "function": {"index": 1, "name": "f", "arguments": {}}},
            ],
        },
        done_reason="stop",
        logprobs=[{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1}]}],
        **COUNTS,
    )
    found = chats.read_reply(body, Sent({}))
    first = found.choices[0].parts[3]
    assert found == Reply(
        model="qwen3:8b",
        created=CREATED,
        choices=[
            Choice(
                [
                    Thinking("Hm.", signed_by="ollama"),
                    Text("Look."),
                    Media("image", "image/png", "iVBORw0KGgo="),
                    ToolCall(first.id, "f", '{"x":1,"deep":[null]}'),
                    ToolCall("given", "f", "{}"),
                ],
                Finish("tool_calls", "stop"),
                [TokenLogprob("a", -0.5, [97], [TokenLogprob("b", -1.0)])],
            )
        ],
        usage=Usage(11, 7),
    )
    assert chats.read_reply(body, Sent({})) == found, "ids are made from the place of a call"


def test_ids_differ_within_a_reply_and_from_one_reply_to_the_next(chats: Any) -> None:
    calls = {"tool_calls": [{"function": {"name": "f", "arguments": {}}}] * 2}
    later = {"created_at": "2026-01-02T03:04:06Z"}
    replies = [chats.read_reply(reply(calls, **more), Sent({})) for more in ({}, later, {"created_at": None})]
    replies.append(chats.read_reply(reply(calls, created_at=None), Sent({})))
    assert len({part.id for found in replies for part in found.choices[0].parts}) == 8


@pytest.mark.parametrize(
    ("word", "called", "finish"),
    [
        ("stop", False, Finish("stop", "stop")),
        ("stop", True, Finish("tool_calls", "stop")),
        ("length", False, Finish("length", "length")),
        ("length", True, Finish("length", "length")),
        (None, False, Finish("stop")),
        (None, True, Finish("tool_calls")),
        ("tired", False, Finish("stop", "tired")),
    ],
)
def test_finishes(chats: Any, word: str | None, called: bool, finish: Finish) -> None:
    message = {"tool_calls": [{"function": {"name": "f"}}]} if called else {"content": "x"}
    assert chats.read_reply(reply(message, done_reason=word), Sent({})).choices[0].finish == finish


@pytest.mark.parametrize(
    ("counts", "usage"),
    [
        ({"prompt_eval_count": 3, "eval_count": 2}, Usage(3, 2)),
        ({"eval_count": 2}, Usage(0, 2)),
        ({"prompt_eval_count": 3}, Usage(3, 0)),
        ({"prompt_eval_count": "many", "eval_count": -2}, Usage(0, 0)),
        ({}, None),
    ],
)
def test_usage(chats: Any, counts: dict[str, Any], usage: Usage | None) -> None:
    assert chats.read_reply(reply({"content": "x"}, **counts), Sent({})).usage == usage


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ({"error": "llama runner process has terminated"}, "upstream_failed", "llama runner"),
        ({"error": {"message": "server busy, please try again"}}, "upstream_overloaded", "busy"),
        (reply({"content": ""}, done_reason="load"), "upstream_failed", "load"),
        (reply({"content": ""}, done_reason="unload"), "upstream_failed", "unload"),
        ({}, "upstream_failed", "no message"),
        ({"message": "Hi", "done": True}, "upstream_failed", "no message"),
    ],
)
def test_what_is_no_reply(chats: Any, body: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(Failure, match=said) as caught:
        chats.read_reply(body, Sent({}))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("arguments", "text"), [(None, "{}"), ({}, "{}"), ('{"x": 1}', '{"x": 1}'), ([1], "[1]"), ("", "")]
)
def test_arguments_of_any_shape(chats: Any, arguments: Any, text: str) -> None:
    body = reply({"tool_calls": [{"function": {"name": "f", "arguments": arguments}}, {"function": {}}, 7]})
    (part,) = chats.read_reply(body, Sent({})).choices[0].parts
    assert part.arguments == text


def test_a_free_text_tool_gets_its_text_back(chats: Any) -> None:
    body = reply(
        {
            "tool_calls": [
                {"function": {"name": "note", "arguments": {"input": "a\nb"}}},
                {"function": {"name": "note", "arguments": {"other": 1}}},
            ]
        }
    )
    good, odd = chats.read_reply(body, Sent({}, custom=frozenset({"note"}))).choices[0].parts
    assert (good.arguments, good.custom) == ("a\nb", True)
    assert (odd.arguments, odd.custom) == ('{"other":1}', False)


@pytest.mark.parametrize(
    ("text", "created"),
    [
        ("2026-01-02T03:04:05Z", CREATED),
        ("2026-01-02T03:04:05.1234567+00:00", CREATED),
        ("2026-01-02T04:04:05+01:00", CREATED),
        ("2026-01-02T03:04:05", CREATED),
        ("0001-01-01T00:00:00Z", 0),
        ("yesterday", 0),
        (None, 0),
        (7, 0),
    ],
)
def test_moments(chats: Any, text: Any, created: int) -> None:
    assert chats.read_reply(reply({"content": "x"}, created_at=text), Sent({})).created == created


# --- to clients ----------------------------------------------------------------------------------


def test_a_rich_reply_is_written(chats: Any, chat: Make, validate: Check) -> None:
    body = chats.write_reply(
        Reply(
            "chatcmpl-1",
            "gpt-5",
            CREATED,
            [
                Choice(
                    [
                        Thinking("Hm.", signature="s", signed_by="anthropic_messages"),
                        Text("Lo", annotations=[{"url": "x"}]),
                        Text("ok."),
                        Media("image", "image/png", "AA=="),
                        Media("image", url="https://a.test"),
                        Native("openai_chat", {"audio": {}}),
                        ToolCall("c1", "f", '{"x": 1}'),
                        ToolCall("c2", "g"),
                        ToolCall("c3", "h", "free", custom=True),
                    ],
                    Finish("tool_calls", "tool_use"),
                    [TokenLogprob("a", -0.5, [97], [TokenLogprob("b", -1.0)])],
                )
            ],
            Usage(11, 7, cache_read_tokens=4),
        ),
        chat(),
    )
    assert body == {
        "model": "gpt-5",
        "created_at": "2026-01-02T03:04:05.000000Z",
        "message": {
            "role": "assistant",
            "content": "Look.",
            "thinking": "Hm.",
            "images": ["AA=="],
            "tool_calls": [
                {"id": "c1", "function": {"name": "f", "arguments": {"x": 1}}},
                {"id": "c2", "function": {"name": "g", "arguments": {}}},
                {"id": "c3", "function": {"name": "h", "arguments": {"input": "free"}}},
            ],
        },
        "done": True,
        "done_reason": "stop",
        "prompt_eval_count": 11,
        "eval_count": 7,
        "logprobs": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -1.0}]}],
    }
    validate("line", body)


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (Finish("stop"), "stop"),
        (Finish("length"), "length"),
        (Finish("pause"), "stop"),
        (Finish("content_filter"), "content_filter"),
        (None, "stop"),
    ],
)
def test_finishes_are_written(chats: Any, chat: Make, validate: Check, finish: Finish | None, word: str) -> None:
    body = chats.write_reply(Reply(choices=[Choice([Text("x")], finish)]), chat())
    validate("line", body)
    assert (body["done_reason"], body["model"]) == (word, "m")
    assert "eval_count" not in body


def test_a_refusal_is_told_once(chats: Any, chat: Make) -> None:
    why = Finish("content_filter", explanation="No.")
    for parts in ([], [Refusal("No.")]):
        body = chats.write_reply(Reply(choices=[Choice(list(parts), why)]), chat())
        assert body["message"]["content"] == "No."


def test_thoughts_are_hidden_from_those_who_want_none(chats: Any, chat: Make) -> None:
    found = Reply(choices=[Choice([Thinking("Hm."), Text("Hi")])])
    for reasoning, shown in ((Reasoning(effort="none"), False), (Reasoning(effort="low"), True), (None, True)):
        message = chats.write_reply(found, chat(reasoning=reasoning))["message"]
        assert ("thinking" in message) is shown


def test_an_empty_reply_and_one_from_the_end_of_time(chats: Any, chat: Make, validate: Check) -> None:
    for found in (Reply(), Reply(created=10**30)):
        validate("line", chats.write_reply(found, chat()))


def test_a_call_that_no_client_could_read_is_a_failure(chats: Any, chat: Make) -> None:
    with pytest.raises(Failure, match="'f'") as caught:
        chats.write_reply(Reply(choices=[Choice([ToolCall("c", "f", "{oops")])]), chat())
    assert (caught.value.code, caught.value.retryable) == ("upstream_failed", True)
