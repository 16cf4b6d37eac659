"""Rewriting requests: headers, bodies, and system prompts in the words of every client."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from ailink_gateway.exchange import Exchange
from ailink_gateway.policy.compiled import Policy
from ailink_gateway.policy.judge import enforce, observe
from ailink_gateway.policy.run import Run
from ailink_provider.errors import Failure

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
GEMINI = "/v1beta/models/gemini-2.0-flash:generateContent"
APPEND = {"type": "append_system_prompt", "text": "Be brief."}
PREPEND = {"type": "prepend_system_prompt", "text": "Hear me."}


@pytest.fixture
def rewritten(
    ask: Callable[..., Exchange], run_of: Callable[..., Run], policy_of: Callable[..., Policy]
) -> Callable[..., Any]:
    """Sends a body through a transform and returns what is left of it, and its exchange."""

    async def send(path: str, body: Any, *operations: dict[str, Any], **request: Any) -> tuple[Any, Exchange]:
        exchange = ask("POST", path, body, **request)
        await enforce([policy_of({"type": "transform", "operations": list(operations)})], run_of(exchange))
        return json.loads(exchange.body) if exchange.body[:1] in (b"{", b"[") else exchange.body, exchange

    return send


@pytest.mark.parametrize(("path", "body", "member", "expected"), [
    (CHAT, {"messages": [{"role": "user", "content": "Hi"}]}, "messages",
     [{"role": "system", "content": "Hear me.\n\nBe brief."}, {"role": "user", "content": "Hi"}]),
    (CHAT, {"messages": [{"role": "developer", "content": "Old."}]}, "messages",
     [{"role": "developer", "content": "Hear me.\n\nOld.\n\nBe brief."}]),
    (CHAT, {"messages": [{"role": "system", "content": [{"type": "text", "text": "Old."}]}]}, "messages",
     [{"role": "system", "content": [{"type": "text", "text": t} for t in ("Hear me.", "Old.", "Be brief.")]}]),
    ("/v1/completions", {"prompt": "Say"}, "prompt", "Hear me.\n\nBe brief.\n\nSay"),
    ("/v1/completions", {"prompt": ["A", "B"]}, "prompt", ["Hear me.\n\nBe brief.\n\nA", "Hear me.\n\nBe brief.\n\nB"]),
    ("/v1/embeddings", {"input": "x"}, "input", "x"),
    (MESSAGES, {"messages": []}, "system", "Hear me.\n\nBe brief."),
    (MESSAGES, {"messages": [], "system": "Old."}, "system", "Hear me.\n\nOld.\n\nBe brief."),
    (MESSAGES, {"messages": [], "system": [{"type": "text", "text": "Old."}]}, "system",
     [{"type": "text", "text": t} for t in ("Hear me.", "Old.", "Be brief.")]),
    (RESPONSES, {"input": "Hi"}, "instructions", "Hear me.\n\nBe brief."),
    (RESPONSES, {"input": "Hi", "instructions": "Old."}, "instructions", "Hear me.\n\nOld.\n\nBe brief."),
    (GEMINI, {"contents": []}, "systemInstruction", {"parts": [{"text": "Hear me."}, {"text": "Be brief."}]}),
    (GEMINI, {"contents": [], "system_instruction": {"parts": [{"text": "Old."}]}}, "system_instruction",
     {"parts": [{"text": t} for t in ("Hear me.", "Old.", "Be brief.")]}),
    (GEMINI, {"contents": [], "systemInstruction": {"role": "user", "parts": {"text": "Old."}}}, "systemInstruction",
     {"role": "user", "parts": [{"text": t} for t in ("Hear me.", "Old.", "Be brief.")]}),
    (GEMINI, {"contents": [], "systemInstruction": "Old."}, "systemInstruction",
     {"parts": [{"text": t} for t in ("Hear me.", "Old.", "Be brief.")]}),
    (GEMINI.replace("generateContent", "countTokens"), {"generateContentRequest": {"contents": []}},
     "generateContentRequest", {"contents": [], "systemInstruction": {"parts": [{"text": "Hear me."},
     {"text": "Be brief."}]}}),
    (GEMINI.replace("generateContent", "embedContent"), {"content": {"parts": []}}, "content", {"parts": []}),
    ("/v1/charges", {"messages": []}, "messages", []),
])  # fmt: skip
async def test_system_prompts_are_added_in_every_clients_words(
    rewritten: Callable[..., Any], path: str, body: Any, member: str, expected: Any
) -> None:
    sent, exchange = await rewritten(path, body, APPEND, PREPEND)
    assert sent[member] == expected
    assert sent.keys() <= body.keys() | {member}
    if exchange.route.kind == "model":
        assert json.loads(bytes(exchange.members[member])) == expected


async def test_instructions_that_have_no_place_refuse_the_call(rewritten: Callable[..., Any]) -> None:
    with pytest.raises(Failure) as caught:
        await rewritten("/v1/completions", {"prompt": [1, 2, 3]}, APPEND)
    assert (caught.value.param, caught.value.policy_name) == ("prompt", "p")


async def test_operations_follow_their_order(rewritten: Callable[..., Any]) -> None:
    sent, _ = await rewritten(
        "/v1/charges", {"amount": 5, "note": "call 555-1234", "items": [{"n": "a1"}, {"n": "b2"}], "gone": 1},
        {"type": "set_body_field", "path": "note", "value": "ring 555-9999"},
        {"type": "regex_replace", "pattern": r"\d{3}-(\d{4})", "replacement": r"***-\1", "field": "note"},
        {"type": "regex_replace", "pattern": "[0-9]", "replacement": "#", "field": "items[*].n"},
        {"type": "set_body_field", "path": "items[*].seen", "value": True},
        {"type": "remove_body_field", "path": "gone"},
        {"type": "set_body_field", "path": "deep.er[1].x", "value": {"y": [1]}},
    )  # fmt: skip
    assert sent == {
        "amount": 5, "note": "ring ***-9999", "items": [{"n": "a#", "seen": True}, {"n": "b#", "seen": True}],
        "deep": {"er": [None, {"x": {"y": [1]}}]},
    }  # fmt: skip


async def test_a_value_is_copied_into_every_call(
    ask: Callable[..., Exchange], run_of: Callable[..., Run], policy_of: Callable[..., Policy]
) -> None:
    policy = policy_of(
        {"type": "override", "set_body_fields": {"meta": {"list": []}}},
        {"type": "override", "set_body_fields": {"meta.list[0]": "x", "meta.own": 1}},
    )
    for _ in range(2):
        exchange = ask(body={"a": 1})
        await enforce([policy], run_of(exchange))
        assert json.loads(exchange.body)["meta"] == {"list": ["x"], "own": 1}


async def test_a_body_is_made_where_there_was_none_and_could_be(rewritten: Callable[..., Any]) -> None:
    sent, exchange = await rewritten("/v1/charges", b"", {"type": "set_body_field", "path": "a", "value": 1})
    assert sent == {"a": 1}
    assert exchange.headers[b"content-type"] == b"application/json"


async def test_a_form_stays_a_form(rewritten: Callable[..., Any]) -> None:
    sent, _ = await rewritten(
        "/v1/charges", b"amount=5&to=a%40b", {"type": "set_body_field", "path": "amount", "value": 1},
        headers={"content-type": "application/x-www-form-urlencoded"},
    )  # fmt: skip
    assert sent == b"to=a%40b&amount=1"


async def test_headers_are_set_and_taken_away(rewritten: Callable[..., Any]) -> None:
    _, exchange = await rewritten(
        "/v1/charges", {"a": 1}, {"type": "set_header", "name": "X-Team", "value": "billing"},
        {"type": "remove_header", "name": "X-Debug"}, {"type": "set_header", "name": "Accept", "value": "text/csv"},
        headers={"X-Debug": "1", "X_Debug": "2", "X_Team": "other", "Accept": "a", "X-Kept": "k"},
    )  # fmt: skip
    assert sorted(exchange.raw_headers) == [
        (b"accept", b"text/csv"), (b"content-type", b"application/json"), (b"x-kept", b"k"), (b"x-team", b"billing"),
    ]  # fmt: skip
    assert exchange.headers == dict(exchange.raw_headers)


async def test_a_rewritten_stream_flag_holds(rewritten: Callable[..., Any]) -> None:
    chat = {"messages": [], "stream": False}
    _, exchange = await rewritten(CHAT, chat, {"type": "set_body_field", "path": "stream", "value": True})
    assert exchange.streaming
    with pytest.raises(Failure, match="stream must be"):
        await rewritten(CHAT, chat, {"type": "set_body_field", "path": "stream", "value": "yes"})
    streamed = {"messages": [], "stream": True, "stream_options": {"include_usage": True}}
    _, exchange = await rewritten(CHAT, streamed, {"type": "set_body_field", "path": "stream", "value": False})
    assert json.loads(exchange.body) == {"messages": [], "stream": False}


async def test_later_rules_see_what_earlier_ones_rewrote(
    ask: Callable[..., Exchange], run_of: Callable[..., Run], policy_of: Callable[..., Policy]
) -> None:
    first = policy_of({"type": "override", "set_body_fields": {"amount": 1, "n": 9}})
    second = policy_of({"type": "deny", "when": {"field": "request.body.n", "op": "eq", "value": 9}})
    for path in ("/v1/charges", CHAT):
        exchange = ask("POST", path, {"amount": 5, "messages": []})
        with pytest.raises(Failure):
            await enforce([first, second], run_of(exchange))


async def test_what_was_approved_is_not_rewritten_again(
    ask: Callable[..., Exchange], run_of: Callable[..., Run], policy_of: Callable[..., Policy]
) -> None:
    policy = policy_of({"type": "transform", "operations": [APPEND]})
    exchange = ask("POST", CHAT, {"messages": [{"role": "system", "content": "Old.\n\nBe brief."}]})
    before = exchange.body
    exchange.resumed = object()  # type: ignore[assignment,unused-ignore]
    await enforce([policy], run_of(exchange))
    assert exchange.body == before


async def test_shadow_rewrites_nothing(
    ask: Callable[..., Exchange], run_of: Callable[..., Run], policy_of: Callable[..., Policy]
) -> None:
    policy = policy_of(
        {"type": "override", "set_body_fields": {"amount": 1}}, {"type": "tag", "key": "a", "value": "b"},
        {"type": "deny", "when": {"field": "request.body.amount", "op": "gt", "value": 2}}, {"type": "log"},
    )  # fmt: skip
    exchange = ask(body={"amount": 5})
    before = (exchange.body, list(exchange.raw_headers))
    assert observe([policy], run_of(exchange)) == [
        "p: rules[0]: set amount", "p: rules[1]: tag a=b", "p: rules[2]: deny (denied)"
    ]  # fmt: skip
    assert (exchange.body, exchange.raw_headers) == before
    assert exchange.tags == {}
