"""Text completions: prompts as chats, replies as text."""

from collections.abc import Callable
from typing import Any

import openai
import pytest

from ailink_provider.catalog import Facts
from ailink_provider.chat import (
    Chat,
    Choice,
    Finish,
    Media,
    Message,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    OutputFormat,
    PartDelta,
    PartStart,
    Refusal,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    Tool,
    ToolCall,
    Usage,
    collect,
    unfold,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.openai_chat import DIALECT
from ailink_provider.errors import Failure

TEXT = DIALECT.operations["completions"]
ASKED = Chat("m", [Message("user", [Text("once")])], include_usage=True)
Sdk = Callable[..., openai.OpenAI]
Make = Callable[..., Any]


def read(**fields: Any) -> Chat:
    return TEXT.read_request({"model": "m", "prompt": "once"} | fields)


@pytest.mark.parametrize("prompt", ["once", ["once"]])
def test_a_prompt_is_a_users_message(prompt: Any) -> None:
    chat = read(prompt=prompt, max_tokens=5, stop=["\n"], temperature=0.5, stream=True,
                stream_options={"include_usage": True})
    assert chat == Chat("m", [Message("user", [Text("once")])], "openai_chat", max_tokens=5, stop=["\n"],
                        temperature=0.5, stream=True, include_usage=True)


def test_log_probabilities_are_a_count_here() -> None:
    chat = read(logprobs=3)
    assert (chat.logprobs, chat.top_logprobs) == (True, 3)


def test_fields_without_a_canonical_word_ride_along() -> None:
    extras = {"suffix": "the end", "echo": True, "best_of": 2, "logit_bias": {"1": 1}}
    assert read(**extras).extras == extras


@pytest.mark.parametrize(("prompt", "code"), [
    (["a", "b"], "unsupported_parameter"), ([1, 2], "unsupported_parameter"), ([[1], [2]], "unsupported_parameter"),
    ([], "unsupported_parameter"), (None, "invalid_request"), (7, "invalid_request"), ({}, "invalid_request"),
    ([None], "invalid_request"),
])
def test_a_prompt_that_is_not_one_text_fails(prompt: Any, code: str) -> None:
    with pytest.raises(Failure) as caught:
        read(prompt=prompt)
    assert (caught.value.code, caught.value.param) == (code, "prompt")


@pytest.mark.parametrize(("fields", "param"), [({"logprobs": True}, "logprobs"), ({"max_tokens": "1"}, "max_tokens"),
                                               ({"model": None}, "model")])
def test_a_mistake_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Failure) as caught:
        read(**fields)
    assert caught.value.param == param


def test_a_request_comes_back_as_it_was(validate: Callable[[str, dict[str, Any]], None]) -> None:
    body = {"model": "m", "prompt": "once", "max_tokens": 5, "temperature": 0.5, "stop": ["x"], "logprobs": 2, "n": 2,
            "seed": 1, "user": "u", "suffix": "end", "echo": True, "best_of": 3, "stream": True,
            "stream_options": {"include_usage": True}}
    sent = TEXT.write_request(TEXT.read_request(body), Facts())
    assert sent.body == body
    assert not sent.losses
    validate("completions", sent.body)


def test_fields_it_does_not_have_are_reported() -> None:
    chat = Chat("m", ASKED.messages, "gemini", metadata={"a": "b"}, service_tier="priority",
                extras={"cachedContent": "c"})
    sent = TEXT.write_request(chat, Facts())
    assert sent.body == {"model": "m", "prompt": "once"}
    assert [loss.field for loss in sent.losses] == ["metadata", "service_tier", "cachedContent"]


@pytest.mark.parametrize("chat", [
    Chat("m", [*ASKED.messages, Message("assistant", [Text("x")])]), Chat("m", [Message("system", [Text("x")])]),
    Chat("m", [Message("user", [Media("image", url="https://a.test/b")])]),
    Chat("m", ASKED.messages, tools=[Tool("f")]),
    Chat("m", ASKED.messages, output=OutputFormat("json")),
])
def test_a_conversation_is_no_prompt(chat: Chat) -> None:
    with pytest.raises(Failure) as caught:
        TEXT.write_request(chat, Facts())
    assert caught.value.code == "unsupported_parameter"


REPLY = Reply("cmpl-1", "m-1", 7, [
    Choice([Text("hé")], Finish("stop", "stop"), [TokenLogprob("h", -0.5, top=[TokenLogprob("j", -1.5)]),
                                                  TokenLogprob("é", -1.0)]),
    Choice([Text("yo")], Finish("length", "length")),
], Usage(3, 4))


def test_a_reply_is_a_text_completion(sdk: Sdk) -> None:
    completion = sdk(TEXT.write_reply(REPLY, ASKED)).completions.create(model="m", prompt="once")
    first, second = completion.choices
    assert (completion.object, completion.id, completion.created) == ("text_completion", "cmpl-1", 7)
    assert (first.text, first.finish_reason, second.text, second.finish_reason) == ("hé", "stop", "yo", "length")
    assert first.logprobs is not None
    assert first.logprobs.model_dump() == {"tokens": ["h", "é"], "token_logprobs": [-0.5, -1.0], "text_offset": [0, 1],
                                           "top_logprobs": [{"j": -1.5}, {}]}
    assert completion.usage is not None
    assert completion.usage.total_tokens == 7


def test_a_reply_reads_back_the_same() -> None:
    assert TEXT.read_reply(TEXT.write_reply(REPLY, ASKED), Sent({})) == REPLY


@pytest.mark.parametrize(("parts", "finish", "text", "word"), [
    ([Thinking("hm"), Text("a"), Refusal("b"), ToolCall("c", "f")], Finish("tool_calls"), "ab", "stop"),
    ([], Finish("content_filter"), "", "content_filter"), ([Text("a")], None, "a", "stop"),
])
def test_only_what_is_said_is_text(parts: list[Any], finish: Finish | None, text: str, word: str) -> None:
    choice = TEXT.write_reply(Reply(choices=[Choice(parts, finish)]), ASKED)["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == (text, word)


@pytest.mark.parametrize("logprobs", [{"tokens": 1}, {"tokens": ["a"]},
                                      {"tokens": ["a"], "token_logprobs": 1, "top_logprobs": [7]}])
def test_odd_log_probabilities_do_no_harm(logprobs: Any) -> None:
    body = {"choices": [{"text": "a", "logprobs": logprobs}]}
    assert TEXT.read_reply(body, Sent({})).choices[0].parts == [Text("a")]


def test_what_is_no_reply_fails() -> None:
    with pytest.raises(Failure) as caught:
        TEXT.read_reply({"error": {"message": "x", "code": 429}}, Sent({}))
    assert caught.value.code == "rate_limit_exceeded"


def write(found: list[Any], chat: Chat = ASKED) -> bytes:
    writer = TEXT.writer(chat)
    return b"".join(writer.write(event) for event in found)


def test_a_stream_is_what_openais_client_expects(sdk: Sdk) -> None:
    stream = write([MessageStart("cmpl-1", "m", 7), PartStart(0, Thinking("hm")), PartStart(1, Text("")),
                    PartDelta(1, "a"), PartDelta(1, "b", logprobs=[TokenLogprob("b", -1.0)]),
                    MessageDelta(Finish("stop")),
                    MessageDelta(usage=Usage(1, 2)), MessageEnd()])
    found = list(sdk(stream).completions.create(model="m", prompt="once", stream=True))
    assert [[(choice.text, choice.finish_reason) for choice in chunk.choices] for chunk in found] == [
        [("a", None)], [("b", None)], [("", "stop")], []]
    assert found[1].choices[0].logprobs is not None
    assert found[-1].usage is not None
    assert {chunk.object for chunk in found} == {"text_completion"}


def test_a_model_that_the_upstream_does_not_name_is_the_one_that_was_asked() -> None:
    assert TEXT.write_reply(Reply(choices=[Choice([Text("hi")])]), ASKED)["model"] == ASKED.model
    first = write(list(unfold(Reply(choices=[Choice([Text("hi")])]))))
    assert f'"model":"{ASKED.model}"'.encode() in first


def test_a_stream_reads_back_the_same() -> None:
    reader = TEXT.reader(Sent({}))
    assert collect(reader.feed(write(list(unfold(REPLY))))) == REPLY


def test_an_upstreams_stream_is_read(sse: Make) -> None:
    def chunk(text: str, finish: str | None = None) -> dict[str, Any]:
        return {"id": "c", "object": "text_completion", "created": 1, "model": "m",
                "choices": [{"index": 0, "text": text, "finish_reason": finish, "logprobs": None}]}

    reader = TEXT.reader(Sent({}))
    assert collect(reader.feed(sse(chunk("a"), chunk("b", "length")))) == Reply(
        "c", "m", 1, [Choice([Text("ab")], Finish("length", "length"))])
    cut = TEXT.reader(Sent({}))
    cut.feed(sse(chunk("a"), done=False))
    assert isinstance(cut.close()[-1], MessageError)


def test_a_stream_is_metered(sse: Make) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    text = {"choices": [{"index": 0, "text": "abc", "finish_reason": "stop"}]}
    meter = TEXT.meter({})
    assert meter.feed(sse(text, usage)) == sse(text)
    assert TEXT.measure(b'{"choices":[{"text":"abc"}]}').characters == 3
    assert (meter.measured.characters, meter.measured.usage, meter.measured.finish) == (3, Usage(1, 2), "stop")
