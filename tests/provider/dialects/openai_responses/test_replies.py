"""Whole replies, read from an upstream and written for a client."""

from collections.abc import Callable
from typing import Any

import msgspec
import openai
import pytest

from ailink_provider.catalog import Facts
from ailink_provider.chat import (
    Chat,
    Choice,
    Finish,
    Media,
    Message,
    Native,
    Refusal,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.openai_responses import DIALECT
from ailink_provider.errors import Failure

OPERATION = DIALECT.operations["chat"]
HOME = "openai_responses"
ASKED: Chat = OPERATION.read_request({"model": "m", "input": "Hi"})

Make = Callable[..., dict[str, Any]]


def read(body: Any, sent: Sent | None = None) -> Reply:
    reply: Reply = OPERATION.read_reply(body, sent or Sent({}))
    return reply


def write(*parts: Any, asked: Chat = ASKED, finish: Finish | None = None, **members: Any) -> dict[str, Any]:
    reply = Reply(**{"id": "chatcmpl-1", "model": "m-1", "created": 5, "usage": Usage(3, 2)} | members)
    reply.choices = [Choice(list(parts), finish or Finish("stop"))]
    body: dict[str, Any] = OPERATION.write_reply(reply, asked)
    return body


# --- reading -------------------------------------------------------------------------------------


def test_a_reply_with_something_of_everything(response: Make, typed: Callable[..., Any]) -> None:
    typed(response())
    reply = read(response())
    reasoning, search, message, *_ = response()["output"]
    assert reply == Reply(
        "resp_1", "m-1", 1700000000,
        [Choice([
            Thinking("First\n\nthen", msgspec.json.encode(reasoning).decode(), signed_by=HOME),
            Native(HOME, search),
            Text("hé 🙂", annotations=message["content"][0]["annotations"]), Refusal("no"),
            ToolCall("call_a", "f", '{"x":1}'), ToolCall("call_b", "g", "{}"),
            ToolCall("call_c", "run", "ls", custom=True),
        ], Finish("tool_calls", "completed"))],
        Usage(30, 20, 10, 4, reasoning_tokens=5), "default")


@pytest.mark.parametrize(("members", "finish"), [
    ({"output": []}, Finish("stop", "completed")), ({"output": [], "status": None}, Finish("stop", "completed")),
    ({"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
     Finish("length", "max_output_tokens")),
    ({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
     Finish("content_filter", "content_filter")),
    ({"status": "incomplete", "incomplete_details": {"reason": "steered"}}, Finish("pause", "steered")),
    ({"status": "incomplete"}, Finish("pause", "incomplete")),
])
def test_why_a_reply_ended(response: Make, members: dict[str, Any], finish: Finish) -> None:
    assert read(response(**members)).choices[0].finish == finish


@pytest.mark.parametrize(("body", "code"), [
    ({}, "upstream_failed"), ([], "upstream_failed"), ({"output": None}, "upstream_failed"),
    ({"error": {"message": "x", "code": "rate_limit_exceeded"}}, "rate_limit_exceeded"),
    ({"output": [], "status": "failed", "error": {"message": "x", "code": "server_error"}}, "upstream_failed"),
    ({"output": [], "status": "failed", "error": {"message": "x", "code": "invalid_prompt"}}, "invalid_request"),
    ({"output": [], "status": "failed"}, "upstream_failed"), ({"output": [], "status": "queued"}, "upstream_failed"),
    ({"output": [], "status": "cancelled"}, "upstream_failed"),
])
def test_what_is_no_reply_is_a_failure(body: Any, code: str) -> None:
    with pytest.raises(Failure) as caught:
        read(body)
    assert caught.value.code == code


def test_tools_get_their_own_names_back(response: Make) -> None:
    reply = read(response(), Sent({}, names={"f": "files/read"}))
    assert [part.name for part in reply.choices[0].parts if isinstance(part, ToolCall)] == ["files/read", "g", "run"]


def test_a_drawn_picture_is_a_picture() -> None:
    item = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBO",
            "output_format": "webp"}
    assert read({"output": [item]}).choices[0].parts == [Media("image", "image/webp", "iVBO")]
    failed = item | {"result": None}
    assert read({"output": [failed]}).choices[0].parts == [Native(HOME, failed)]


def test_log_probabilities_are_read() -> None:
    entry = {"token": "a", "logprob": -1, "bytes": [97], "top_logprobs": [{"token": "b", "logprob": -2.0}]}
    item = {"type": "message", "content": [{"type": "output_text", "text": "a", "logprobs": [entry]}]}
    assert read({"output": [item]}).choices[0].logprobs == [
        TokenLogprob("a", -1.0, [97], [TokenLogprob("b", -2.0)])]


def test_a_little_that_is_wrong_is_read_as_absent() -> None:
    reply = read({"id": 7, "model": None, "created_at": 12.75, "usage": [], "output": [
        "x", {}, {"type": 1}, {"type": "message", "content": [{"type": "new"}, {"type": "output_text", "text": None}]},
        {"type": "function_call", "id": "fc_1", "name": "f"}]})
    assert reply == Reply(created=12, choices=[Choice([Text(""), ToolCall("fc_1", "f")],
                                                      Finish("tool_calls", "completed"))])


# --- writing -------------------------------------------------------------------------------------


def test_a_reply_fits_the_sdks_own_type(typed: Callable[..., Any], sdk: Callable[..., openai.OpenAI]) -> None:
    body = write(
        Thinking("hm", "sig", signed_by="anthropic_messages"), Text("hé "), Text("🙂"), Refusal("no"),
        ToolCall("a", "f", '{"x":1}'), ToolCall("b", "g"), ToolCall("c", "run", "ls", custom=True),
        Media("image", "image/png", "iVBO"), finish=Finish("tool_calls"), service_tier="standard",
        usage=Usage(30, 20, 10, 4, reasoning_tokens=5))
    typed(body)
    got = sdk(body).responses.create(model="m", input="Hi")
    assert got.output_text == "hé 🙂"
    assert (got.id, got.model, got.created_at, got.status) == ("resp_chatcmpl-1", "m-1", 5, "completed")
    assert [item.type for item in got.output] == [
        "reasoning", "message", "function_call", "function_call", "custom_tool_call", "image_generation_call"]
    calls: Any = got.output[2:5]
    assert [(call.call_id, call.name) for call in calls] == [("a", "f"), ("b", "g"), ("c", "run")]
    assert [calls[0].arguments, calls[1].arguments, calls[2].input] == ['{"x":1}', "{}", "ls"]
    assert got.usage is not None
    assert got.usage.to_dict() == {
        "input_tokens": 30, "output_tokens": 20, "total_tokens": 50,
        "input_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 4},
        "output_tokens_details": {"reasoning_tokens": 5}}
    assert got.service_tier == "default"


@pytest.mark.parametrize(("finish", "parts", "status", "reason"), [
    (Finish("stop"), [Text("x")], "completed", None), (Finish("tool_calls"), [ToolCall("a", "f")], "completed", None),
    (Finish("length"), [Text("x")], "incomplete", "max_output_tokens"),
    (Finish("content_filter"), [], "incomplete", "content_filter"),
    (Finish("content_filter"), [Refusal("no")], "completed", None),
    (Finish("content_filter", explanation="no"), [], "completed", None),
    (Finish("pause"), [Text("x")], "incomplete", None),
])
def test_status(finish: Finish, parts: list[Any], status: str, reason: str | None, typed: Callable[..., Any]) -> None:
    body = write(*parts, finish=finish)
    typed(body)
    assert body["status"] == status
    assert (body["incomplete_details"] or {}).get("reason") == reason


def test_an_explanation_is_the_refusal_unless_there_is_one() -> None:
    body = write(finish=Finish("content_filter", explanation="why"))
    assert [item["content"] for item in body["output"]] == [[{"type": "refusal", "refusal": "why"}]]
    spoken = write(Refusal("no"), finish=Finish("content_filter", explanation="why"))
    assert [item["content"] for item in spoken["output"]] == [[{"type": "refusal", "refusal": "no"}]]


def test_a_reply_repeats_what_was_asked(typed: Callable[..., Any]) -> None:
    asked = OPERATION.read_request({
        "model": "m", "instructions": "Be brief.", "input": "Hi", "temperature": 0.2, "max_output_tokens": 7,
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}], "tool_choice": "required",
        "text": {"format": {"type": "json_object"}}, "reasoning": {"effort": "low", "summary": "detailed"},
        "metadata": {"a": "b"}, "user": "u", "parallel_tool_calls": False})
    body = write(Text("x"), asked=asked)
    typed(body)
    for name, value in {
        "instructions": "Be brief.", "temperature": 0.2, "max_output_tokens": 7, "tool_choice": "required",
        "text": {"format": {"type": "json_object"}}, "reasoning": {"effort": "low", "summary": "detailed"},
        "metadata": {"a": "b"}, "user": "u", "parallel_tool_calls": False, "store": False,
        "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": True}],
    }.items():
        assert body[name] == value


def test_the_same_reply_has_the_same_ids() -> None:
    parts = Text("x"), ToolCall("a", "f"), ToolCall("b", "f")
    assert write(*parts) == write(*parts)
    ids = [item["id"] for item in write(*parts)["output"]]
    assert len(set(ids)) == 3
    assert [name.partition("_")[0] for name in ids] == ["msg", "fc", "fc"]
    assert not set(ids) & {item["id"] for item in write(*parts, id="other")["output"]}


def test_what_an_upstream_did_not_give_is_made() -> None:
    body = write(Text("x"), id="", model="", created=0)
    assert body["id"].startswith("resp_")
    assert body["model"] == "m"
    assert body["created_at"] > 1_700_000_000
    assert write(id="resp_7")["id"] == "resp_7"
    assert write(usage=None)["usage"] is None


def test_ids_of_calls_fit() -> None:
    [call] = write(ToolCall("x" * 70, "f"))["output"]
    assert len(call["call_id"]) == 64


def test_a_signature_on_a_call_travels_before_it_and_comes_back() -> None:
    body = write(ToolCall("a", "f", "{}", signature="sig", signed_by="gemini"))
    assert [item["type"] for item in body["output"]] == ["reasoning", "function_call"]
    back = OPERATION.read_request({"model": "m", "input": body["output"]}).messages
    assert back == [Message("assistant", [Thinking(signature="sig", signed_by="gemini"), ToolCall("a", "f", "{}")])]


def test_citations_of_web_pages_are_shown(typed: Callable[..., Any]) -> None:
    body = write(Text("abc", annotations=[
        {"type": "web_search_result_location", "url": "u", "title": "t", "cited_text": "x"}, {"url": "v"},
        {"type": "char_location"}, {"type": "file_path", "file_id": "file-1", "index": 0},
        {"type": "url_citation", "url": "w", "title": "T", "start_index": 1, "end_index": 2}]))
    typed(body)
    assert body["output"][0]["content"][0]["annotations"] == [
        {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 3},
        {"type": "url_citation", "url": "v", "title": "v", "start_index": 0, "end_index": 3},
        {"type": "file_path", "file_id": "file-1", "index": 0},
        {"type": "url_citation", "url": "w", "title": "T", "start_index": 1, "end_index": 2}]


@pytest.mark.parametrize("parts", [[Text("ab")], [Text("ab"), ToolCall("a", "f")]])
def test_log_probabilities_stand_on_the_text(parts: list[Any], typed: Callable[..., Any]) -> None:
    body = write(*parts)
    assert body["output"][0]["content"][0]["logprobs"] == []
    reply = Reply(choices=[Choice(parts, Finish("stop"), [TokenLogprob("ab", -1.0, None, [TokenLogprob("é", -2.0)])])])
    body = OPERATION.write_reply(reply, ASKED)
    typed(body)
    assert body["output"][0]["content"][0]["logprobs"] == [
        {"token": "ab", "logprob": -1.0, "bytes": [97, 98],
         "top_logprobs": [{"token": "é", "logprob": -2.0, "bytes": [195, 169]}]}]


def test_what_has_no_form_here_is_left_out() -> None:
    reply = Reply(choices=[Choice([Text(""), Native("gemini", {}), Media("audio", "audio/wav", "AA=="), Text("x")]),
                           Choice([Text("second")])])
    [item] = OPERATION.write_reply(reply, ASKED)["output"]
    assert [part["text"] for part in item["content"]] == ["x"]


def test_what_a_client_got_can_be_sent_back(typed: Callable[..., Any]) -> None:
    parts = [Thinking("t", "s", signed_by="anthropic_messages"), Thinking("", None, "r", "anthropic_messages"),
             Text("x"), ToolCall("a", "f", "{}"), ToolCall("b", "c", "raw", custom=True)]
    items = [item.to_dict() for item in typed(write(*parts)).output]
    assert OPERATION.read_request({"model": "m", "input": items}).messages == [Message("assistant", list(parts))]


def test_a_reply_of_this_vendors_read_and_written_keeps_its_thoughts(response: Make) -> None:
    once = read(response())
    again = OPERATION.read_request({"model": "m", "input": OPERATION.write_reply(once, ASKED)["output"]})
    sent = OPERATION.write_request(again, Facts())
    assert sent.body["input"][0] == response()["output"][0]
