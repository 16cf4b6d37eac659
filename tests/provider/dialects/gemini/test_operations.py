"""What can be asked of a chat model, and under which path."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Message, Reply, Text, Tool, Usage
from ailink_provider.dialects import Sent
from ailink_provider.dialects.gemini import DIALECT
from ailink_provider.errors import Failure

COUNT = DIALECT.operations["count_tokens"]


@pytest.mark.parametrize(
    ("operation", "stream", "path"),
    [
        ("chat", False, "generateContent"),
        ("chat", True, "streamGenerateContent?alt=sse"),
        ("chat_array", True, "streamGenerateContent"),
        ("chat_array", False, "generateContent"),
        ("count_tokens", False, "countTokens"),
        ("embeddings", False, "batchEmbedContents"),
        ("embed_content", False, "embedContent"),
    ],
)
def test_paths(operation: str, stream: bool, path: str) -> None:
    assert DIALECT.operations[operation].path("gemini-2.5-pro", stream) == f"/v1beta/models/gemini-2.5-pro:{path}"


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("models/gemini-2.5-pro", "models/gemini-2.5-pro"),
        ("tunedModels/mine-1", "tunedModels/mine-1"),
        ("a b:delete?x=1#y", "models/a%20b%3Adelete%3Fx%3D1%23y"),
        ("../../v1/files", "models/..%2F..%2Fv1%2Ffiles"),
        ("tunedModels/../x", "tunedModels/..%2Fx"),
        ("größe", "models/gr%C3%B6%C3%9Fe"),
    ],
)
def test_a_model_cannot_leave_its_place_in_the_path(model: str, name: str) -> None:
    assert DIALECT.operations["chat"].path(model, False) == f"/v1beta/{name}:generateContent"


def test_the_dialect() -> None:
    assert DIALECT.name == "gemini"
    assert DIALECT.credential_header == ("x-goog-api-key", "")
    assert all(name == operation.name for name, operation in DIALECT.operations.items())


def test_the_model_of_a_body_gives_way_to_the_path(chats: Any, arrays: Any) -> None:
    for operation in (chats, arrays):
        body = {"model": Raw(b'"models/other"'), "contents": Raw(b"[]")}
        operation.amend(body, "gemini-2.5-pro", Facts())
        assert body == {"contents": Raw(b"[]")}


# --- counting ------------------------------------------------------------------------------------


def test_counting_reads_contents_or_a_whole_request() -> None:
    contents = [{"parts": [{"text": "Hi"}]}]
    expected = [Message("user", [Text("Hi")])]
    assert COUNT.read_request({"contents": contents}, "m").messages == expected
    for key in ("generateContentRequest", "generate_content_request"):
        chat = COUNT.read_request(
            {key: {"model": "models/x", "contents": contents, "systemInstruction": {"parts": [{"text": "S"}]}}}, "m"
        )
        assert (chat.model, chat.messages) == ("m", [Message("system", [Text("S")]), *expected])
    with pytest.raises(Failure, match="contents"):
        COUNT.read_request({}, "m")


def test_counting_writes_the_whole_request(chat: Callable[..., Chat], valid: Callable[..., Any]) -> None:
    request = chat(Message("system", [Text("S")]), Message("user", [Text("Hi")]), tools=[Tool("f")])
    inner = COUNT.write_request(request, Facts()).body["generateContentRequest"]
    assert set(valid(inner)) == {"model", "systemInstruction", "contents", "tools"}
    assert inner["model"] == "models/gemini-3-pro-preview"


def test_counts_both_ways(chat: Callable[..., Chat]) -> None:
    reply = COUNT.read_reply({"totalTokens": 31, "cachedContentTokenCount": 4}, Sent({}))
    assert reply == Reply(usage=Usage(31, cache_read_tokens=4))
    assert COUNT.write_reply(reply, chat()) == {"totalTokens": 31, "cachedContentTokenCount": 4}
    assert COUNT.write_reply(Reply(), chat()) == {"totalTokens": 0}
    assert COUNT.measure(b'{"totalTokens": 31}').usage is None
    with pytest.raises(Failure) as failure:
        COUNT.read_reply({"totalTokens": "many"}, Sent({}))
    assert failure.value.code == "upstream_failed"


def test_counting_names_the_model_that_was_decided_on() -> None:
    body = {"generateContentRequest": Raw(b'{"model": "models/other", "contents": [ ]}')}
    COUNT.amend(body, "gemini-2.5-pro", Facts())
    assert msgspec.json.decode(body["generateContentRequest"]) == {"model": "models/gemini-2.5-pro", "contents": []}
    with pytest.raises(Failure):
        COUNT.amend({"generateContentRequest": Raw(b"[]")}, "gemini-2.5-pro", Facts())


@pytest.mark.parametrize("operation", ["count_tokens", "embeddings", "embed_content"])
def test_what_answers_in_one_piece_cannot_be_streamed(operation: str, chat: Callable[..., Chat]) -> None:
    for ask in (
        lambda: DIALECT.operations[operation].reader(Sent({})),
        lambda: DIALECT.operations[operation].writer(chat()),
        lambda: DIALECT.operations[operation].meter({}),
    ):
        with pytest.raises(Failure, match=operation):
            ask()
