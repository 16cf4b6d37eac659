"""The conversation as the service wants it, whoever read it."""

import pytest

from ailink_provider.catalog import Facts
from ailink_provider.chat import CacheMark, Media, Message, Native, Refusal, Text, Thinking, ToolCall, ToolResult
from ailink_provider.errors import Failure

PNG, PDF, WAV, MD = "iVBORw0KGgoAAAANSUhEUgAAAAE=", "JVBERi0xLjQ=", "UklGRiQ=", "IyBIaQ=="
NAME = "bedrock_converse"
USER = Message("user", [Text("Hi")])
POINT = {"cachePoint": {"type": "default"}}


@pytest.fixture
def turns(write, chat):
    """Writes messages; returns the body and the fields that were lost."""
    def run(*conversation, facts=None, **fields):
        return write(chat(messages=list(conversation), **fields), facts)

    return run


@pytest.fixture
def content(turns):
    """Writes the parts of one message of the user's; returns its blocks and the fields that were lost."""
    def run(*parts, **fields):
        body, losses = turns(Message("user", list(parts)), **fields)
        return body["messages"][0]["content"], losses

    return run


# --- turns -----------------------------------------------------------------------------------------------------------


def test_leading_system_messages_become_separate_blocks(turns):
    body, losses = turns(Message("system", [Text("One.", cache=CacheMark("1h"))]), Message("developer", [Text("Two.")]),
                         USER)
    assert body["system"] == [{"text": "One."}, {"cachePoint": {"type": "default", "ttl": "1h"}}, {"text": "Two."}]
    assert (body["messages"], losses) == ([{"role": "user", "content": [{"text": "Hi"}]}], [])


def test_a_system_alone_is_asked_as_a_user(turns):
    body, losses = turns(Message("system", [Text("One.")]), Message("system", [Text("Two.")]))
    assert body == {"system": [{"text": "One."}],
                    "messages": [{"role": "user", "content": [{"text": "<system>Two.</system>"}]}]}
    assert losses == ["messages[1].role"]


def test_a_later_system_message_is_wrapped_where_the_model_knows_none(turns):
    body, losses = turns(USER, Message("assistant", [Text("Yes?")]), Message("system", [Text("Hurry.")]), USER)
    assert body["messages"][-1] == {"role": "user", "content": [{"text": "<system>Hurry.</system>"}, {"text": "Hi"}]}
    assert losses == ["messages[2].role"]


def test_a_later_system_message_stands_behind_the_user_s(turns, adaptive):
    call, result = ToolCall("t1", "f", "{}"), ToolResult("t1", [Text("ok")])
    body, losses = turns(USER, Message("assistant", [call]), Message("system", [Text("Hurry.")]),
                         Message("user", [result]), Message("system", [Text("Now.")]), facts=adaptive)
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user", "system"]
    assert body["messages"][3]["content"] == [{"text": "Hurry."}, {"text": "Now."}]
    assert losses == ["tools"]


def test_a_system_message_behind_an_assistant_s_is_wrapped(turns, adaptive):
    body, losses = turns(USER, Message("assistant", [Text("a")]), Message("system", [Text("b")]), facts=adaptive)
    assert body["messages"][-1] == {"role": "user", "content": [{"text": "<system>b</system>"}]}
    assert losses == ["messages[2].role"]


def test_a_conversation_begins_with_the_user(turns):
    body, losses = turns(Message("assistant", [Text("Welcome!")]), USER)
    assert [message["role"] for message in body["messages"]] == ["user", "assistant", "user"]
    assert losses == ["messages[0].role"]


def test_turns_of_one_role_are_merged(turns):
    body, _ = turns(USER, Message("user", [Text("there")]), Message("assistant", [Text("a")]),
                    Message("assistant", [Text("b")]), USER)
    assert [(m["role"], len(m["content"])) for m in body["messages"]] == [("user", 2), ("assistant", 2), ("user", 1)]


def test_results_of_a_turn_stand_in_one_message_before_its_text(turns):
    body, _ = turns(USER, Message("assistant", [ToolCall("a", "f", ""), Text("b4"), ToolCall("b", "f", '{"x":1}')]),
                    Message("user", [ToolResult("a", [Text("1")])]), USER, Message("user", [ToolResult("b")]))
    assert body["messages"][1]["content"] == [
        {"text": "b4"}, {"toolUse": {"toolUseId": "a", "name": "f", "input": {}}},
        {"toolUse": {"toolUseId": "b", "name": "f", "input": {"x": 1}}}]
    assert body["messages"][2]["content"] == [
        {"toolResult": {"toolUseId": "a", "content": [{"text": "1"}]}},
        {"toolResult": {"toolUseId": "b", "content": [{"text": "(no output)"}]}}, {"text": "Hi"}]


def test_empty_parts_are_left_out_and_empty_messages_too(turns):
    body, losses = turns(USER, Message("assistant", [Text(" \n"), Refusal("")]), Message("user", [Text("")]))
    assert (body["messages"], losses) == ([{"role": "user", "content": [{"text": "Hi"}]}], [])


def test_nothing_to_say_is_refused(turns):
    with pytest.raises(Failure) as caught:
        turns(Message("user", [Text(" ")]))
    assert (caught.value.code, caught.value.param) == ("invalid_request", "messages")


def test_a_model_that_continues_no_assistant_is_not_asked_to(turns, adaptive):
    with pytest.raises(Failure) as caught:
        turns(USER, Message("assistant", [Text("So")]), facts=adaptive)
    assert (caught.value.code, caught.value.param) == ("invalid_request", "messages[1]")
    body, _ = turns(USER, Message("assistant", [Text("So \n")]))
    assert body["messages"][1]["content"] == [{"text": "So"}]


def test_names_of_messages_are_lost(turns):
    assert turns(Message("user", [Text("Hi")], name="ann"))[1] == ["messages[0].name"]


def test_paths_are_the_client_s(converse, own):
    chat = own(system=[{"text": "S"}, {"image": {"format": "png", "source": {"bytes": PNG}}}], messages=[
        {"role": "user", "content": [{"text": "a"}]}, {"role": "assistant", "content": [
            {"text": "b"}, {"image": {"format": "png", "source": {"bytes": PNG}}}]},
        {"role": "user", "content": [{"text": "c"}]}])
    sent = converse.write_request(chat, Facts())
    assert [loss.field for loss in sent.losses] == ["messages[1].content[1]"]
    chat.messages[0].parts.append(Native("gemini", {"x": 1}))
    assert converse.write_request(chat, Facts()).losses[0].field == "system[2]"


# --- media -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("media", "block"), [
    (Media("image", "image/png", PNG), {"image": {"format": "png", "source": {"bytes": PNG}}}),
    (Media("image", "image/jpeg", PNG), {"image": {"format": "png", "source": {"bytes": PNG}}}),
    (Media("image", "image/jpg", "AAAA"), {"image": {"format": "jpeg", "source": {"bytes": "AAAA"}}}),
    (Media("image", "image/webp; q=1", "UklGRiQAAABXRUJQ"),
     {"image": {"format": "webp", "source": {"bytes": "UklGRiQAAABXRUJQ"}}}),
    (Media("image", None, "/9j/4AAQ"), {"image": {"format": "jpeg", "source": {"bytes": "/9j/4AAQ"}}}),
    (Media("image", "image/gif", "A"), {"image": {"format": "gif", "source": {"bytes": "A"}}}),
    (Media("audio", "audio/mpeg", "AAAA"), {"audio": {"format": "mp3", "source": {"bytes": "AAAA"}}}),
    (Media("audio", "audio/x-wav", WAV), {"audio": {"format": "wav", "source": {"bytes": WAV}}}),
    (Media("image", url="s3://bucket/a.png"),
     {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://bucket/a.png"}}}}),
])
def test_media_become_blocks(content, media, block):
    assert content(media) == ([block], [])


@pytest.mark.parametrize(("media", "word", "name"), [
    (Media("document", "application/pdf", PDF, name="A report_1.pdf"), "pdf", "A report-1"),
    (Media("document", "application/octet-stream", PDF, name="x.PDF"), "pdf", "x"),
    (Media("document", "text/markdown", MD), "md", "document"),
    (Media("document", "text/x-python", MD, name="main.py"), "txt", "main-py"),
    (Media("document", "application/json", MD, name="レポート"), "txt", "document"),
    (Media("document", None, MD, name="a.csv"), "csv", "a"),
    (Media("document", "application/vnd.ms-excel", "AAAA", name=" [b]  (c)\t- "), "xls", "[b] (c)"),
    (Media("document", "text/html", MD, name="n" * 300), "html", "n" * 180),
])
def test_a_document_has_a_format_a_name_and_words_beside_it(content, media, word, name):
    blocks, losses = content(media)
    assert blocks == [{"text": "The document is attached."},
                      {"document": {"format": word, "name": name, "source": {"bytes": media.data}}}]
    assert losses == []


def test_documents_have_different_names(turns):
    document = Media("document", "application/pdf", PDF, name="a.pdf")
    body, _ = turns(Message("user", [document, Text("x"), document]), Message("assistant", [ToolCall("t", "f")]),
                    Message("user", [ToolResult("t", [document])]))
    names = [block["document"]["name"] for block in body["messages"][0]["content"] if "document" in block]
    assert names == ["a", "a (2)"]
    assert body["messages"][2]["content"][0]["toolResult"]["content"][0]["document"]["name"] == "a (3)"


@pytest.mark.parametrize(("media", "code"), [
    (Media("image", url="https://a.test/b.png"), "unsupported_parameter"),
    (Media("image", "image/png", file_id="file-1"), "unsupported_parameter"),
    (Media("image", "image/png", file_id="s3://other/tenant.png"), "unsupported_parameter"),
    (Media("image", "image/bmp", "AAAA"), "unsupported_parameter"),
    (Media("image", None, "AAAA"), "unsupported_parameter"),
    (Media("image", "image/png", ""), "invalid_request"), (Media("image", "image/png"), "invalid_request")])
def test_media_that_cannot_be_sent_are_refused(turns, media, code):
    with pytest.raises(Failure) as caught:
        turns(USER, Message("assistant", [Text("a")]), Message("user", [Text("x"), media]))
    assert (caught.value.code, caught.value.param) == (code, "messages[2].content[1]")


def test_details_and_images_of_an_assistant_are_lost(turns):
    image = Media("image", "image/png", PNG, detail="low")
    assert turns(Message("user", [image]))[1] == ["messages[0].content[0].detail"]
    assert turns(USER, Message("assistant", [Text("a"), image]), USER)[1] == ["messages[1].content[1]"]
    assert turns(Message("user", [Media("image", "image/png", PNG, detail="auto")]))[1] == []


def test_a_system_message_holds_only_text(turns):
    with pytest.raises(Failure) as caught:
        turns(Message("system", [Media("image", "image/png", PNG)]), USER)
    assert caught.value.code == "unsupported_parameter"


# --- calls and results -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", ["[1]", "{", "null", '"a"', "[" * 5000])
def test_arguments_that_are_no_object_are_refused(turns, arguments):
    with pytest.raises(Failure) as caught:
        turns(USER, Message("assistant", [ToolCall("a", "f", arguments)]), USER)
    assert (caught.value.code, caught.value.param) == ("invalid_request", "messages[1].content[0]")


@pytest.mark.parametrize("identifier", ["functions.x:0", "a" * 64, "tooluse_-."])
def test_ids_that_fit_are_kept(turns, identifier):
    body, _ = turns(USER, Message("assistant", [ToolCall(identifier, "f")]),
                    Message("user", [ToolResult(identifier, [Text("1")])]))
    assert body["messages"][1]["content"][0]["toolUse"]["toolUseId"] == identifier


def test_ids_that_do_not_fit_agree_and_differ(turns):
    ids = ["a b", "a_b", "x" * 65, "x" * 66, ""]
    body, _ = turns(USER, Message("assistant", [ToolCall(i, "f") for i in ids]),
                    Message("user", [ToolResult(i, [Text("1")]) for i in ids]))
    called = [block["toolUse"]["toolUseId"] for block in body["messages"][1]["content"]]
    assert called == [block["toolResult"]["toolUseId"] for block in body["messages"][2]["content"]]
    assert len(set(called)) == len(ids)


def test_what_a_result_may_hold(turns):
    parts = [Text("a", cache=CacheMark()), Media("image", "image/png", PNG), Media("document", "text/csv", MD)]
    body, losses = turns(USER, Message("assistant", [ToolCall("t", "f")]), Message("user", [ToolResult("t", parts)]))
    assert [next(iter(block)) for block in body["messages"][2]["content"][0]["toolResult"]["content"]] == [
        "text", "image", "document"]
    assert losses == ["messages[2].content[0].content.cache_control", "tools"]
    with pytest.raises(Failure, match="no audio"):
        turns(USER, Message("user", [ToolResult("t", [Media("audio", "audio/wav", WAV)])]))


@pytest.mark.parametrize(("model", "parts", "told"), [
    ("anthropic.claude", [Text("x")], True), ("amazon.nova-pro", [], True), ("arn:aws:x/y", [Text("x")], True),
    ("anthropic.claude", [Text("x"), Media("image", "image/png", PNG)], False), ("meta.llama", [Text("x")], False)])
def test_an_error_is_told_where_it_can_be(turns, model, parts, told):
    body, losses = turns(USER, Message("user", [ToolResult("t", parts, is_error=True)]), model=model)
    assert body["messages"][0]["content"][0]["toolResult"].get("status") == ("error" if told else None)
    assert ("messages[1].content[0].is_error" in losses) is not told


# --- thoughts, citations, what only others say -----------------------------------------------------------------------


@pytest.mark.parametrize(("part", "block"), [
    (Thinking("t", signature="s", signed_by=NAME), {"reasoningText": {"text": "t", "signature": "s"}}),
    (Thinking("", signature="s", signed_by=NAME), {"reasoningText": {"text": "", "signature": "s"}}),
    (Thinking(redacted="aGk=", signed_by=NAME), {"redactedContent": "aGk="}),
    (Thinking("t", signed_by=NAME), None), (Thinking("t", signature="s"), None),
    (Thinking("t", signature="s", signed_by="anthropic_messages"), None),
    (Thinking(redacted="r", signed_by="anthropic_messages"), None)])
def test_a_thought_goes_back_to_whom_it_came_from(turns, part, block):
    body, losses = turns(USER, Message("assistant", [Text("a"), part]), USER)
    expected = [{"text": "a"}] if block is None else [{"reasoningContent": block}, {"text": "a"}]
    assert (body["messages"][1]["content"], losses) == (expected, [])


def test_citations_of_documents_go_back_others_do_not(turns):
    page = {"title": "D", "location": {"documentPage": {"documentIndex": 0, "start": 1, "end": 1}}}
    web = {"title": "W", "url": "https://a.test", "location": {"web": {"url": "https://a.test"}}}
    foreign = {"type": "url_citation", "url": "https://a.test"}
    body, losses = turns(USER, Message("assistant", [Text("a", annotations=[page]), Text("b", annotations=[web]),
                                                     Text("c", annotations=[foreign, page])]), USER)
    assert body["messages"][1]["content"] == [
        {"citationsContent": {"content": [{"text": "a"}], "citations": [page]}}, {"text": "b"},
        {"citationsContent": {"content": [{"text": "c"}], "citations": [page]}}]
    assert losses == ["messages[1].content[1].annotations", "messages[1].content[2].annotations"]


def test_what_only_another_dialect_says_is_lost(turns):
    extra = Native("anthropic_messages", {"caller": {}})
    body, losses = turns(USER, Message("assistant", [Native("gemini", {"x": 1}), ToolCall("t", "f", extra=extra)]),
                         Message("user", [ToolResult("t", [Text("1")], extra=extra), Native(NAME, {"video": {
                             "format": "mp4", "source": {"bytes": "AAAA"}}})]))
    assert body["messages"][2]["content"][1] == {"video": {"format": "mp4", "source": {"bytes": "AAAA"}}}
    assert losses == ["messages[1].content[0]", "messages[1].content[1].caller", "messages[2].content[0].caller",
                      "tools"]


# --- cache points ----------------------------------------------------------------------------------------------------


def test_a_point_stands_behind_what_it_marks(turns):
    mark = CacheMark("5m")
    body, losses = turns(
        Message("user", [Text("a", cache=mark), Text("b")]), Message("assistant", [ToolCall("t", "f", cache=mark)]),
        Message("user", [ToolResult("t", [Text("1")], cache=mark), Media("document", "text/csv", MD, name="a")]))
    point = {"cachePoint": {"type": "default", "ttl": "5m"}}
    assert body["messages"][0]["content"] == [{"text": "a"}, point, {"text": "b"}]
    assert body["messages"][1]["content"][1] == point
    assert [next(iter(block)) for block in body["messages"][2]["content"]] == [
        "toolResult", "cachePoint", "text", "document"]
    assert losses == ["tools"]


def test_a_point_does_not_stand_behind_a_document_of_text(content):
    csv, pdf = Media("document", "text/csv", MD, cache=CacheMark()), Media(
        "document", "application/pdf", PDF, cache=CacheMark())
    blocks, losses = content(Text("a"), csv, Media("document", "text/csv", MD), pdf)
    assert [next(iter(block)) for block in blocks] == [
        "text", "cachePoint", "document", "document", "document", "cachePoint"]
    assert losses == []
    blocks, losses = content(csv, csv)
    assert [next(iter(block)) for block in blocks] == ["text", "cachePoint", "document", "document"]
    assert losses == ["cache_control"]


def test_a_point_with_nothing_before_it_is_lost(content):
    blocks, losses = content(Text(" ", cache=CacheMark()), Text("a"))
    assert (blocks, losses) == ([{"text": "a"}], ["messages[0].content[0].cache_control"])
    document = Media("document", "text/csv", MD, cache=CacheMark())
    blocks, losses = content(document, Text("a"))
    assert [next(iter(block)) for block in blocks] == ["document", "text"]
    assert losses == ["cache_control"]


def test_at_most_four_points(turns):
    parts = [Text(str(number), cache=CacheMark()) for number in range(5)]
    body, losses = turns(Message("system", [Text("s", cache=CacheMark())]), Message("user", parts))
    assert body["system"][-1] == POINT
    assert [block.get("text", "|") for block in body["messages"][0]["content"]] == [
        "0", "1", "2", "|", "3", "|", "4", "|"]
    assert losses == ["cache_control"]


@pytest.mark.parametrize(("lifetimes", "written", "lost"), [
    (("1h", "5m"), ["1h", "5m"], 0), ((None, "1h"), [None, "5m"], 1), (("2d", None), ["5m", None], 1)])
def test_longer_lives_come_first(turns, lifetimes, written, lost):
    first, second = lifetimes
    body, losses = turns(Message("system", [Text("s", cache=CacheMark(first))]),
                         Message("user", [Text("u", cache=CacheMark(second))]))
    points = [body["system"][1]["cachePoint"], body["messages"][0]["content"][1]["cachePoint"]]
    assert [point.get("ttl") for point in points] == written
    assert losses == ["cache_control.ttl"] * lost


@pytest.mark.parametrize(("model", "points"), [("amazon.nova-pro", 2), ("meta.llama", 0), ("arn:x/y", 2)])
def test_only_models_that_cache_are_told_to(turns, model, points):
    body, losses = turns(Message("system", [Text("s", cache=CacheMark("5m"))]),
                         Message("user", [Text("u", cache=CacheMark("5m"))]), model=model)
    found = [block["cachePoint"] for block in (*body["system"], *body["messages"][0]["content"])
             if "cachePoint" in block]
    assert (len(found), all("ttl" not in point for point in found)) == (points, model != "arn:x/y")
    assert losses == ["cache_control"] * (2 - points)
