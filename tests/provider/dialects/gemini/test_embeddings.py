"""Embeddings, of one text and of many."""

from typing import Any

import msgspec
import pytest
from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.chat import Embed, Embeddings, Usage
from ailink_provider.dialects import Loss, Sent
from ailink_provider.dialects.gemini import DIALECT
from ailink_provider.errors import Failure

BATCH, SINGLE = DIALECT.operations["embeddings"], DIALECT.operations["embed_content"]


def asked(*texts: str, **fields: Any) -> dict[str, Any]:
    return {"content": {"parts": [{"text": text} for text in texts]}, **fields}


def test_a_batch() -> None:
    body = {
        "requests": [
            asked("a", model="models/x", taskType="RETRIEVAL_QUERY", outputDimensionality=256, title="T"),
            asked("b", "c", model="models/x", task_type="RETRIEVAL_QUERY", output_dimensionality=256, title="T"),
        ]
    }
    embed = BATCH.read_request(body, "gemini-embedding-001")
    assert embed == Embed(
        "gemini-embedding-001",
        ["a", "bc"],
        dialect="gemini",
        dimensions=256,
        task="RETRIEVAL_QUERY",
        extras={"title": "T"},
    )
    sent = BATCH.write_request(embed, Facts())
    common = {
        "model": "models/gemini-embedding-001",
        "taskType": "RETRIEVAL_QUERY",
        "outputDimensionality": 256,
        "title": "T",
    }
    assert sent.body == {"requests": [{**asked("a"), **common}, {**asked("bc"), **common}]}
    assert sent.losses == []


def test_one_text() -> None:
    embed = SINGLE.read_request(asked("a", taskType="CLUSTERING"), "models/gemini-embedding-001")
    assert embed == Embed("gemini-embedding-001", ["a"], dialect="gemini", task="CLUSTERING", single=True)
    assert SINGLE.write_request(embed, Facts()).body == {
        "model": "models/gemini-embedding-001",
        **asked("a"),
        "taskType": "CLUSTERING",
    }
    with pytest.raises(Failure, match="one input"):
        SINGLE.write_request(Embed("m", ["a", "b"]), Facts())


def test_another_apis_fields_are_lost() -> None:
    sent = BATCH.write_request(Embed("m", ["a"], dialect="openai_chat", extras={"user": "u"}), Facts())
    assert sent.losses == [Loss("user", "Gemini has no such field")]


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [
        ({}, "invalid_request", "requests"),
        ({"requests": []}, "invalid_request", "requests"),
        ({"requests": [5]}, "invalid_request", "requests[0]"),
        ({"requests": [{}]}, "invalid_request", "requests[0].content"),
        ({"requests": [asked("a"), asked("b", taskType="X")]}, "invalid_request", "requests[1]"),
        ({"requests": [asked("a", outputDimensionality="x")]}, "invalid_request", "requests[0].outputDimensionality"),
        (
            {"requests": [{"content": {"parts": [{"inlineData": {}}]}}]},
            "unsupported_parameter",
            "requests[0].content.parts[0]",
        ),
    ],
)
def test_malformed_batches(body: dict[str, Any], code: str, param: str) -> None:
    with pytest.raises(Failure) as failure:
        BATCH.read_request(body, "m")
    assert (failure.value.code, failure.value.param) == (code, param)


def test_lists_of_tokens_are_refused() -> None:
    with pytest.raises(Failure) as failure:
        BATCH.write_request(Embed("m", ["a", [1, 2]]), Facts())
    assert (failure.value.code, failure.value.param) == ("unsupported_parameter", "input[1]")


def test_replies_both_ways() -> None:
    body = {
        "embeddings": [{"values": [0.5, 1]}, {"values": [-1.0, 0.0]}],
        "usageMetadata": {"promptTokenCount": 4, "totalTokenCount": 4},
    }
    sent = BATCH.write_request(Embed("m", ["a", "b"]), Facts())
    embeddings = BATCH.read_reply(body, sent)
    assert embeddings == Embeddings("m", [[0.5, 1.0], [-1.0, 0.0]], Usage(4))
    assert BATCH.write_reply(embeddings, Embed("m", [])) == body
    assert BATCH.measure(msgspec.json.encode(body)).usage == Usage(4)
    single = {"embedding": {"values": [0.5]}}
    embeddings = SINGLE.read_reply(single, SINGLE.write_request(Embed("m", ["a"]), Facts()))
    assert embeddings == Embeddings("m", [[0.5]])
    assert SINGLE.write_reply(embeddings, Embed("m", ["a"])) == single


@pytest.mark.parametrize("body", [{}, {"embeddings": 5}, {"embeddings": [{}]}, {"embeddings": [{"values": ["x"]}]}])
def test_what_is_no_reply_is_the_upstreams_failure(body: dict[str, Any]) -> None:
    with pytest.raises(Failure) as failure:
        BATCH.read_reply(body, Sent({}))
    assert failure.value.code == "upstream_failed"


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"usageMetadata": 5}'])
def test_measuring_never_raises(body: bytes) -> None:
    assert BATCH.measure(body).usage is None


def test_every_request_names_the_model_that_was_decided_on() -> None:
    body = {"requests": Raw(b'[{"model": "models/other", "content": {"parts": [ ]}}, {"content": {}}]')}
    BATCH.amend(body, "gemini-embedding-001", Facts())
    assert [item["model"] for item in msgspec.json.decode(body["requests"])] == ["models/gemini-embedding-001"] * 2
    single = {"model": Raw(b'"models/other"'), "content": Raw(b"{}")}
    SINGLE.amend(single, "gemini-embedding-001", Facts())
    assert single["model"] == Raw(b'"models/gemini-embedding-001"')
    with pytest.raises(Failure):
        BATCH.amend({"requests": Raw(b"[5]")}, "m", Facts())
