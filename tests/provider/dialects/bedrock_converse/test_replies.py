"""Whole replies, both ways."""

import pytest

from ailink_provider.chat import (
    Chat,
    Choice,
    Finish,
    Media,
    Native,
    Refusal,
    Reply,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from ailink_provider.dialects import Sent
from ailink_provider.errors import Failure

NAME = "bedrock_converse"


def body_of(*content, **more):
    return {"output": {"message": {"role": "assistant", "content": list(content)}}, "stopReason": "end_turn",
            "usage": {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}, "metrics": {"latencyMs": 12}, **more}


@pytest.fixture
def read(converse):
    """Reads a reply that brings these blocks."""
    def run(*content, sent=None, **more):
        return converse.read_reply(body_of(*content, **more), sent or Sent({}))

    return run


def test_a_rich_reply(converse, shown):
    body = body_of(
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "aGlk"}}, {"text": "Hello"},
        {"citationsContent": {"content": [{"text": "It says."}], "citations": [
            {"title": "D", "location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 2}}}]}},
        {"toolUse": {"toolUseId": "t1", "name": "f", "input": {"a": [1.5, None]}}},
        {"toolUse": {"toolUseId": "s1", "name": "nova_grounding", "input": {}, "type": "server_tool_use"}},
        {"image": {"format": "png", "source": {"bytes": "iVBORw=="}}},
        stopReason="tool_use", serviceTier={"type": "flex"}, trace={"promptRouter": {}},
        usage={"inputTokens": 3, "outputTokens": 4, "totalTokens": 47, "cacheReadInputTokens": 10,
               "cacheWriteInputTokens": 30, "cacheDetails": [{"ttl": "1h", "inputTokens": 20},
                                                             {"ttl": "5m", "inputTokens": 10}]})
    shown(body)
    reply = converse.read_reply(body, Sent({}))
    (choice,) = reply.choices
    assert choice.parts == [
        Thinking("hm", signature="c2ln", signed_by=NAME), Thinking(redacted="aGlk", signed_by=NAME), Text("Hello"),
        Text("It says.", annotations=[
            {"title": "D", "location": {"documentChar": {"documentIndex": 0, "start": 1, "end": 2}}}]),
        ToolCall("t1", "f", '{"a":[1.5,null]}'),
        Native(NAME, {"toolUse": {"toolUseId": "s1", "name": "nova_grounding", "input": {},
                                  "type": "server_tool_use"}}),
        Media("image", "image/png", "iVBORw==")]
    assert choice.finish == Finish("tool_calls", "tool_use")
    assert reply.usage == Usage(43, 4, cache_read_tokens=10, cache_write_tokens=30, cache_write_1h_tokens=20)
    assert (reply.id, reply.model, reply.service_tier) == ("", "", "flex")


@pytest.mark.parametrize(("word", "reason"), [
    ("end_turn", "stop"), ("stop_sequence", "stop"), ("max_tokens", "length"), ("tool_use", "tool_calls"),
    ("model_context_window_exceeded", "length"), ("guardrail_intervened", "content_filter"),
    ("content_filtered", "content_filter"), ("brand_new", "stop")])
def test_a_reason_to_stop(read, word, reason):
    assert read(stopReason=word).choices[0].finish == Finish(reason, word)


@pytest.mark.parametrize("word", ["malformed_model_output", "malformed_tool_use"])
def test_a_reason_that_means_no_answer(read, word):
    with pytest.raises(Failure, match=word) as caught:
        read({"text": "a"}, stopReason=word)
    assert (caught.value.code, caught.value.retryable) == ("upstream_failed", True)


def test_what_stopped_it_is_told(read):
    told = {"stop_sequence": "END", "other": 1}
    finish = read(stopReason="stop_sequence", additionalModelResponseFields=told).choices[0].finish
    assert finish == Finish("stop", "stop_sequence", stop_sequence="END")
    assert read(stopReason="end_turn", additionalModelResponseFields=told).choices[0].finish.stop_sequence is None
    trace = {"guardrail": {"actionReason": "Guardrail blocked."}}
    finish = read(stopReason="guardrail_intervened", trace=trace).choices[0].finish
    assert finish == Finish("content_filter", "guardrail_intervened", explanation="Guardrail blocked.")


def test_what_was_done_to_tools_is_undone(read):
    sent = Sent({}, names={"a_b_1": "a.b"}, custom=frozenset({"sh"}), schema_tool="answer")
    call = {"toolUse": {"toolUseId": "t", "name": "answer", "input": {"a": 1}}}
    reply = read(call, sent=sent, stopReason="tool_use")
    assert reply.choices[0] == Choice([Text('{"a":1}')], Finish("stop", "tool_use"))
    reply = read(call, {"toolUse": {"toolUseId": "u", "name": "a_b_1", "input": None}},
                 {"toolUse": {"toolUseId": "v", "name": "sh", "input": {"input": "ls"}}},
                 {"toolUse": {"toolUseId": "w", "name": "sh", "input": {}}},
                 {"toolUse": {"toolUseId": "x", "name": "sh", "input": {"cmd": 1}}}, sent=sent, stopReason="tool_use")
    assert reply.choices[0].parts[1:] == [
        ToolCall("u", "a.b", "{}"), ToolCall("v", "sh", "ls", custom=True), ToolCall("w", "sh", "", custom=True),
        ToolCall("x", "sh", '{"cmd":1}', custom=True)]
    assert reply.choices[0].finish.reason == "tool_calls"


@pytest.mark.parametrize("body", [
    {}, {"message": "Too many"}, {"output": {}}, {"output": {"message": []}}, {"output": 3},
    {"output": {"message": {"content": "a"}}}, {"output": {"message": {"content": [{"text": 1}]}}},
    {"output": {"message": {"content": []}}, "usage": {"inputTokens": "3"}},
    {"output": {"message": {"content": []}}, "stopReason": 4}])
def test_what_is_no_reply_is_the_upstream_s_failure(converse, body):
    with pytest.raises(Failure, match="cannot be read") as caught:
        converse.read_reply(body, Sent({}))
    assert (caught.value.code, caught.value.param) == ("upstream_failed", None)


def test_a_reply_without_usage_or_reason(converse):
    reply = converse.read_reply({"output": {"message": {"content": [{"text": "a"}]}}}, Sent({}))
    assert (reply.usage, reply.choices) == (None, [Choice([Text("a")])])


# --- writing ---------------------------------------------------------------------------------------------------------


def written(converse, shown, *parts, finish=None, **fields):
    return shown(converse.write_reply(Reply(choices=[Choice(list(parts), finish)], **fields), Chat("m", [])))


@pytest.mark.parametrize(("part", "block"), [
    (Text("a"), {"text": "a"}), (Text(""), None), (Refusal("No."), {"text": "No."}), (Refusal(""), None),
    (Text("a", annotations=[{"type": "url_citation", "url": "https://a.test", "title": "A"}, {"type": "file"}]),
     {"citationsContent": {"content": [{"text": "a"}], "citations": [
         {"title": "A", "location": {"web": {"url": "https://a.test"}}}]}}),
    (Thinking("t"), {"reasoningContent": {"reasoningText": {"text": "t"}}}), (Thinking(""), None),
    (Thinking("t", signature="s", signed_by="anthropic_messages"),
     {"reasoningContent": {"reasoningText": {"text": "t", "signature": "ailink:anthropic_messages:s"}}}),
    (Thinking(redacted="aGk=", signed_by=NAME), {"reasoningContent": {"redactedContent": "aGk="}}),
    (Thinking(redacted="x", signed_by="gemini"), {"reasoningContent": {"redactedContent": "YWlsaW5rOmdlbWluaTp4"}}),
    (ToolCall("a b", "f", ""), {"toolUse": {"toolUseId": "a_b_c8687a08", "name": "f", "input": {}}}),
    (ToolCall("t", "f", '{"a"'), {"toolUse": {"toolUseId": "t", "name": "f", "input": {"input": '{"a"'}}}),
    (Media("image", "image/png", "AAAA"), {"image": {"format": "png", "source": {"bytes": "AAAA"}}}),
    (Media("document", "text/csv", "AAAA"),
     {"document": {"format": "csv", "name": "document", "source": {"bytes": "AAAA"}}}),
    (Media("image", "image/tiff", "AAAA"), None), (Media("image", "image/png", url="https://a.test"), None),
    (Native(NAME, {"searchResult": {"source": "s", "title": "t", "content": []}}),
     {"searchResult": {"source": "s", "title": "t", "content": []}}), (Native("gemini", {"a": 1}), None),
])
def test_a_part_is_a_block(converse, shown, part, block):
    content = written(converse, shown, part)["output"]["message"]["content"]
    assert content == ([] if block is None else [block])


@pytest.mark.parametrize(("finish", "parts", "ending"), [
    (None, [Text("a")], {"stopReason": "end_turn"}), (None, [ToolCall("t", "f")], {"stopReason": "tool_use"}),
    (Finish("stop", "stop"), [], {"stopReason": "end_turn"}), (Finish("pause"), [], {"stopReason": "end_turn"}),
    (Finish("length"), [], {"stopReason": "max_tokens"}), (Finish("tool_calls"), [], {"stopReason": "tool_use"}),
    (Finish("content_filter", "SAFETY"), [], {"stopReason": "content_filtered"}),
    (Finish("content_filter", "guardrail_intervened"), [], {"stopReason": "guardrail_intervened"}),
    (Finish("stop", "end_turn", stop_sequence="END"), [],
     {"stopReason": "stop_sequence", "additionalModelResponseFields": {"stop_sequence": "END"}})])
def test_an_ending(converse, shown, finish, parts, ending):
    body = written(converse, shown, *parts, finish=finish)
    assert {key: body[key] for key in body if key in ("stopReason", "additionalModelResponseFields")} == ending


def test_usage_and_tier(converse, shown):
    usage = Usage(100, 5, cache_read_tokens=60, cache_write_tokens=30)
    body = written(converse, shown, usage=usage, service_tier="flex")
    assert body["usage"] == {"inputTokens": 10, "outputTokens": 5, "totalTokens": 105, "cacheReadInputTokens": 60,
                             "cacheWriteInputTokens": 30, "cacheDetails": [{"ttl": "5m", "inputTokens": 30}]}
    assert body["serviceTier"] == {"type": "flex"}
    assert "serviceTier" not in written(converse, shown, service_tier="batch")
    assert shown(converse.write_reply(Reply(), Chat("m", [])))["usage"]["totalTokens"] == 0


def test_botocore_reads_what_is_written(converse, golden):
    case = golden("written.json")["reply"]
    reply = converse.read_reply(case["body"], Sent({}))
    assert converse.write_reply(reply, Chat("m", [])) == case["body"]
    content = case["read"]["output"]["message"]["content"]
    assert content[1] == {"reasoningContent": {"redactedContent": "bytes:" + b"hidden".hex()}}
    assert [block["toolUse"]["input"] for block in content if "toolUse" in block] == [{"city": "Paris"}, {}]
