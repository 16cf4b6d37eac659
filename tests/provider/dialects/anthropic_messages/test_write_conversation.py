"""The conversation as the vendor wants it, whoever read it."""

import pytest

from ailink_provider.catalog import Facts
from ailink_provider.chat import CacheMark, Media, Message, Native, Refusal, Text, Thinking, ToolCall, ToolResult
from ailink_provider.errors import Failure

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAE="
NAME = "anthropic_messages"
USER = Message("user", [Text("Hi")])


@pytest.fixture
def turns(messages, chat, accepted):
    """Writes messages; returns what is sent and the fields that were lost."""
    def write(*conversation, facts=None, dialect="openai_chat", apart=0):
        asked = chat(messages=list(conversation), dialect=dialect, apart=apart)
        sent = messages.write_request(asked, facts or Facts())
        accepted(sent.body)
        return sent.body, [loss.field for loss in sent.losses]

    return write


def test_leading_system_messages_become_separate_blocks(turns):
    body, losses = turns(Message("system", [Text("One.", cache=CacheMark("1h"))]), Message("developer", [Text("Two.")]),
                         USER)
    assert body["system"] == [
        {"type": "text", "text": "One.", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "Two."}]
    assert (body["messages"], losses) == ([{"role": "user", "content": "Hi"}], [])


def test_one_plain_system_text_stays_a_string(turns):
    assert turns(Message("system", [Text("One.")]), USER)[0]["system"] == "One."


def test_a_system_alone_is_asked_as_a_user(turns):
    body, losses = turns(Message("system", [Text("One.")]), Message("system", [Text("Two.")]))
    assert (body["system"], body["messages"]) == ("One.", [{"role": "user", "content": "<system>Two.</system>"}])
    assert losses == ["messages[1].role"]


def test_a_later_system_message_is_wrapped_where_the_model_knows_none(turns):
    body, losses = turns(USER, Message("assistant", [Text("Yes?")]), Message("system", [Text("Hurry.")]), USER)
    assert body["messages"][-1] == {"role": "user", "content": [
        {"type": "text", "text": "<system>Hurry.</system>"}, {"type": "text", "text": "Hi"}]}
    assert losses == ["messages[2].role"]


def test_a_later_system_message_stands_behind_the_user_s(turns, adaptive):
    call, result = ToolCall("t1", "f", "{}"), ToolResult("t1", [Text("ok")])
    body, losses = turns(USER, Message("assistant", [call]), Message("system", [Text("Hurry.")]),
                         Message("user", [result]), Message("system", [Text("Now.")]), facts=adaptive)
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user", "system"]
    assert body["messages"][3]["content"] == [{"type": "text", "text": "Hurry."}, {"type": "text", "text": "Now."}]
    assert losses == []


def test_a_system_message_behind_an_assistant_s_is_wrapped(turns, adaptive):
    body, losses = turns(USER, Message("assistant", [Text("a")]), Message("system", [Text("b")]), facts=adaptive)
    assert body["messages"][-1] == {"role": "user", "content": "<system>b</system>"}
    assert losses == ["messages[2].role"]


def test_turns_of_one_role_are_merged(turns):
    body, _ = turns(USER, Message("user", [Text("there")]), Message("assistant", [Text("a")]),
                    Message("assistant", [Text("b")]), USER)
    assert [(m["role"], len(m["content"])) for m in body["messages"]] == [("user", 2), ("assistant", 2), ("user", 2)]


def test_results_of_a_turn_stand_in_one_message_before_its_text(turns):
    body, _ = turns(USER, Message("assistant", [ToolCall("a", "f", ""), ToolCall("b", "f", '{"x":1}')]),
                    Message("user", [ToolResult("a", [Text("1")])]), USER,
                    Message("user", [ToolResult("b", is_error=True)]))
    assert body["messages"][1]["content"] == [
        {"type": "tool_use", "id": "a", "name": "f", "input": {}},
        {"type": "tool_use", "id": "b", "name": "f", "input": {"x": 1}}]
    assert body["messages"][2] == {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "a", "content": "1"},
        {"type": "tool_result", "tool_use_id": "b", "is_error": True},
        {"type": "text", "text": "Hi"}]}


@pytest.mark.parametrize("empty", ["", "  \n", None])
def test_nothing_empty_is_sent(turns, empty):
    parts = [] if empty is None else [Text(empty)]
    body, losses = turns(Message("system", parts), USER, Message("assistant", parts),
                         Message("user", [*parts, Text("b")]), Message("assistant", [*parts, ToolCall("t", "f")]),
                         Message("user", [ToolResult("t", parts)]))
    assert "system" not in body
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": "b"}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t"}]}]
    assert losses == []


def test_a_conversation_without_content_is_refused(turns):
    with pytest.raises(Failure) as caught:
        turns(Message("user", [Text(" ")]))
    assert (caught.value.code, caught.value.param) == ("invalid_request", "messages")


def test_the_mark_of_an_empty_text_is_reported(turns):
    assert turns(Message("user", [Text("a"), Text("", cache=CacheMark())]))[1] == [
        "messages[0].content[1].cache_control"]


@pytest.mark.parametrize("identifier", ["Bash:0", "functions.x:0", "call|1", "ü", "x" * 300, ""])
def test_foreign_ids_fit_and_agree(turns, identifier):
    body, _ = turns(USER, Message("assistant", [ToolCall(identifier, "f")]), Message("user", [ToolResult(identifier)]))
    written = body["messages"][1]["content"][0]["id"]
    assert written == body["messages"][2]["content"][0]["tool_use_id"]
    assert written.replace("_", "").replace("-", "").isalnum()
    assert written.isascii()


def test_different_foreign_ids_stay_different(turns):
    body, _ = turns(USER, Message("assistant", [ToolCall("a:b", "f"), ToolCall("a.b", "f"), ToolCall("a_b", "f")]))
    assert len({block["id"] for block in body["messages"][1]["content"]}) == 3


@pytest.mark.parametrize("arguments", ["{", "[1]", "null", '"x"', "[" * 100_000, '{"a":"\ud800"}'])
def test_arguments_that_are_no_object_are_refused_by_name(turns, arguments):
    with pytest.raises(Failure) as caught:
        turns(USER, Message("assistant", [ToolCall("call_7", "search", arguments)]))
    assert (caught.value.code, caught.value.status) == ("invalid_request", 400)
    assert caught.value.param == "messages[1].content[0]"
    assert "call_7" in caught.value.message
    assert "search" in caught.value.message


def test_thoughts_go_back_signed_in_order_and_first(turns):
    body, losses = turns(USER, Message("assistant", [
        Text("so"), ToolCall("t", "f"), Thinking("one", signature="s1", signed_by=NAME),
        Thinking(redacted="rr", signed_by=NAME), Thinking("", signature="s2", signed_by=NAME)]))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "one", "signature": "s1"}, {"type": "redacted_thinking", "data": "rr"},
        {"type": "thinking", "thinking": "", "signature": "s2"}, {"type": "text", "text": "so"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}}]
    assert losses == []


@pytest.mark.parametrize("thought", [
    Thinking("unsigned"), Thinking("unsigned", signed_by=NAME), Thinking("foreign", signature="s", signed_by="gemini"),
    Thinking(redacted="foreign", signed_by="openai_responses")])
def test_other_thoughts_are_left_out_in_silence(turns, thought):
    body, losses = turns(USER, Message("assistant", [thought, Text("a")]))
    assert (body["messages"][1]["content"], losses) == ("a", [])


def test_its_own_order_of_blocks_is_kept(turns):
    search = Native(NAME, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})
    body, _ = turns(USER, Message("assistant", [search, Thinking("t", signature="s", signed_by=NAME), Text("a")]),
                    dialect=NAME)
    assert [block["type"] for block in body["messages"][1]["content"]] == ["server_tool_use", "thinking", "text"]


@pytest.mark.parametrize(("media", "written"), [
    (Media("image", "image/jpeg", PNG), {"type": "image", "source": {
        "type": "base64", "media_type": "image/png", "data": PNG}}),
    (Media("image", "image/webp", "AAAA"), {"type": "image", "source": {
        "type": "base64", "media_type": "image/webp", "data": "AAAA"}}),
    (Media("document", "application/octet-stream", PNG), {"type": "image", "source": {
        "type": "base64", "media_type": "image/png", "data": PNG}}),
    (Media("image", url="https://a.test/x"), {"type": "image", "source": {"type": "url", "url": "https://a.test/x"}}),
    (Media("document", "application/octet-stream", "JVBERi0x", name="a.pdf"), {
        "type": "document", "title": "a.pdf",
        "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}}),
    (Media("document", "text/csv; charset=utf-8", "YSxiw6k="), {"type": "document", "source": {
        "type": "text", "media_type": "text/plain", "data": "a,bé"}}),
    (Media("document", url="https://a.test/x.pdf", cache=CacheMark()), {
        "type": "document", "source": {"type": "url", "url": "https://a.test/x.pdf"},
        "cache_control": {"type": "ephemeral"}}),
])
def test_media(turns, media, written):
    body, losses = turns(Message("user", [Text("See"), media]))
    assert (body["messages"][0]["content"][1], losses) == (written, [])


@pytest.mark.parametrize(("data", "media_type"), [
    ("R0lGODlhAQABAIAAAAUEBA==", "image/gif"), ("/9j/4AAQSkZJRg==", "image/jpeg"), (PNG, "image/png"),
    ("UklGRiQAAABXRUJQVlA4", "image/webp")])
def test_an_image_is_what_its_first_bytes_say(turns, data, media_type):
    body, _ = turns(Message("user", [Text("See"), Media("image", "image/tiff", data)]))
    assert body["messages"][0]["content"][1]["source"]["media_type"] == media_type


@pytest.mark.parametrize(("media", "code"), [
    (Media("audio", "audio/wav", "AAAA"), "unsupported_parameter"),
    (Media("image", "image/tiff", "AAAA"), "unsupported_parameter"),
    (Media("image", None, "AAAA"), "unsupported_parameter"),
    (Media("document", "application/msword", "AAAA"), "unsupported_parameter"),
    (Media("image", url="gs://bucket/x"), "unsupported_parameter"),
    (Media("document", file_id="file-1"), "unsupported_parameter"),
    (Media("document", "text/plain", "/w=="), "invalid_request"),
    (Media("document", "text/plain", "é"), "invalid_request"),
])
def test_media_that_cannot_be_sent(turns, media, code):
    with pytest.raises(Failure) as caught:
        turns(Message("user", [Text("See"), media]))
    assert (caught.value.code, caught.value.param) == (code, "messages[0].content[1]")


def test_its_own_files_go_by_id(turns):
    body, _ = turns(Message("user", [Text("See"), Media("image", file_id="file_1")]), dialect=NAME)
    assert body["messages"][0]["content"][1] == {"type": "image", "source": {"type": "file", "file_id": "file_1"}}


def test_a_tool_result_keeps_its_images_and_documents(turns):
    result = ToolResult("t", [Text("see"), Media("image", None, PNG), Media("document", None, "JVBERi0x")])
    body, _ = turns(USER, Message("assistant", [ToolCall("t", "f")]), Message("user", [result]))
    assert [block["type"] for block in body["messages"][2]["content"][0]["content"]] == ["text", "image", "document"]


def test_an_error_is_told_in_text_alone(turns):
    result = ToolResult("t", [Text("see"), Media("image", None, PNG)], is_error=True)
    body, losses = turns(USER, Message("assistant", [ToolCall("t", "f")]), Message("user", [result]))
    assert "is_error" not in body["messages"][2]["content"][0]
    assert losses == ["messages[2].content[0].is_error"]


def test_paths_are_those_of_the_client_s_own_body(turns):
    picture = Media("image", None, PNG, detail="low")
    prompt = Message("system", [Text("s"), Native("gemini", {})])
    losses = turns(prompt, Message("user", [Text("Hi"), picture]), apart=1)[1]
    assert losses == ["system.content[1]", "messages[0].content[1].detail"]


@pytest.mark.parametrize(("part", "lost"), [
    (Media("image", url="https://a.test", detail="high"), "messages[0].content[1].detail"),
    (Native("gemini", {"executableCode": {}}), "messages[0].content[1]"),
    (Media("image", url="https://a.test", extra=Native("gemini", {"videoMetadata": {}})),
     "messages[0].content[1].videoMetadata"),
    (Text("a", annotations=[{"type": "url_citation"}]), "messages[0].content[1].annotations"),
    # What a client was shown of another vendor's search: its own vendor takes back no such citation.
    (Text("a", annotations=[{"type": "web_search_result_location", "url": "u", "title": None, "cited_text": "",
                             "encrypted_index": ""}]), "messages[0].content[1].annotations"),
])
def test_what_is_lost_is_reported(turns, part, lost):
    assert turns(Message("user", [Text("Hi"), part]))[1] == [lost]


def test_an_assistant_s_picture_and_a_speaker_s_name_are_lost(turns):
    losses = turns(Message("user", [Text("Draw")], name="ann"),
                   Message("assistant", [Text("here"), Media("image", None, PNG)]), USER)[1]
    assert losses == ["messages[0].name", "messages[1].content[1]"]


def test_a_refusal_goes_back_as_text(turns):
    assert turns(USER, Message("assistant", [Refusal("No.")]), USER)[0]["messages"][1]["content"] == "No."


def test_a_picture_in_a_system_message_is_refused(turns):
    with pytest.raises(Failure) as caught:
        turns(Message("system", [Media("image", None, PNG)]), USER)
    assert caught.value.code == "unsupported_parameter"


def test_continuing_an_assistant_s_message(turns, adaptive):
    conversation = (USER, Message("assistant", [Text("{")]))
    assert turns(*conversation)[0]["messages"][-1]["role"] == "assistant"
    with pytest.raises(Failure) as caught:
        turns(*conversation, facts=adaptive)
    assert (caught.value.code, caught.value.param) == ("invalid_request", "messages[1]")


@pytest.mark.parametrize("dialect", [NAME, "openai_chat"])
def test_an_assistant_s_message_to_be_continued_does_not_end_in_white_space(turns, dialect):
    body, losses = turns(USER, Message("assistant", [Text("One. "), Text("Two: \n")]), dialect=dialect)
    assert body["messages"][-1]["content"] == [{"type": "text", "text": "One. "}, {"type": "text", "text": "Two:"}]
    assert losses == []
    body, _ = turns(USER, Message("assistant", [Text("One. ")]), USER, dialect=dialect)
    assert body["messages"][1]["content"] == "One. "  # it is not the last


def test_a_paused_turn_is_no_prefill(turns, adaptive):
    search = Native(NAME, {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})
    body, _ = turns(USER, Message("assistant", [Text("Let me see."), search]), facts=adaptive, dialect=NAME)
    assert body["messages"][-1]["role"] == "assistant"


def test_marks_beyond_the_fourth_are_taken_from_the_oldest_messages(turns):
    mark = CacheMark()
    body, losses = turns(Message("system", [Text("s", cache=mark)]), Message("user", [Text("1", cache=mark)]),
                         Message("assistant", [Text("2", cache=mark)]), Message("user", [Text("3", cache=mark)]),
                         Message("assistant", [Text("4", cache=mark)]), Message("user", [Text("5", cache=mark)]))
    assert "cache_control" in body["system"][0]
    assert [isinstance(message["content"], list) and "cache_control" in message["content"][0]
            for message in body["messages"]] == [False, False, True, True, True]
    assert losses == ["cache_control"]


def test_an_hour_does_not_follow_five_minutes(turns):
    body, losses = turns(Message("system", [Text("s", cache=CacheMark("1h"))]),
                         Message("user", [Text("1", cache=CacheMark())]), Message("assistant", [Text("2")]),
                         Message("user", [Text("3", cache=CacheMark("1h"))]))
    assert body["system"][0]["cache_control"]["ttl"] == "1h"
    assert body["messages"][2]["content"][0]["cache_control"]["ttl"] == "5m"
    assert losses == ["cache_control.ttl"]


def test_a_lifetime_of_another_vendor_s_is_five_minutes(turns):
    body, losses = turns(Message("user", [Text("1", cache=CacheMark("30m"))]))
    assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral", "ttl": "5m"}
    assert losses == ["cache_control.ttl"]


def test_marks_inside_a_tool_result_count(turns):
    mark = CacheMark()
    results = [ToolResult(str(n), [Text("r", cache=mark)], cache=mark) for n in range(3)]
    body, losses = turns(USER, Message("assistant", [ToolCall(str(n), "f") for n in range(3)]),
                         Message("user", results))
    assert str(body).count("cache_control") == 4
    assert losses == ["cache_control"]
