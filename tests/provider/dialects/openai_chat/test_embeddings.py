"""Embeddings: inputs of every kind, vectors in both encodings."""

import base64
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_provider.catalog import Facts
from ailink_provider.chat import Embed, Embeddings, Usage
from ailink_provider.dialects import Loss, Sent
from ailink_provider.dialects.openai_chat import DIALECT
from ailink_provider.errors import Failure

EMBED = DIALECT.operations["embeddings"]
SINGLES = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(("given_input", "inputs", "single"), [
    ("a", ["a"], True), (["a"], ["a"], False), (["a", "b"], ["a", "b"], False), ([1, 2], [[1, 2]], True),
    ([[1, 2], [3]], [[1, 2], [3]], False),
])
def test_a_request_is_read_and_comes_back(given_input: Any, inputs: Any, single: bool,
                                          validate: Callable[[str, dict[str, Any]], None]) -> None:
    body = {"model": "m", "input": given_input, "dimensions": 3, "encoding_format": "base64", "user": "u"}
    request = EMBED.read_request(body)
    assert request == Embed("m", inputs, "openai_chat", 3, "base64", single=single, extras={"user": "u"})
    sent = EMBED.write_request(request, Facts())
    assert sent.body == body
    validate("embeddings", sent.body)


def test_a_request_from_abroad_reports_what_it_loses() -> None:
    request = Embed("m", ["a"], "gemini", task="RETRIEVAL_QUERY", extras={"title": "t"})
    sent = EMBED.write_request(request, Facts())
    assert sent.body == {"model": "m", "input": ["a"]}
    assert [loss.field for loss in sent.losses] == ["title", "task"]
    assert all(isinstance(loss, Loss) for loss in sent.losses)


@pytest.mark.parametrize(("fields", "param"), [
    ({"input": None}, "input"), ({"input": []}, "input"), ({"input": 7}, "input"), ({"input": {}}, "input"),
    ({"input": ["a", 1]}, "input[1]"), ({"input": [[]]}, "input[0]"), ({"input": [[1], [True]]}, "input[1]"),
    ({"model": None}, "model"), ({"dimensions": "3"}, "dimensions"), ({"encoding_format": "hex"}, "encoding_format"),
])
def test_a_mistake_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Failure) as caught:
        EMBED.read_request({"model": "m", "input": "a"} | fields)
    assert (caught.value.code, caught.value.param) == ("invalid_request", param)


@given(st.lists(st.lists(SINGLES, min_size=1), min_size=1), st.sampled_from(["float", "base64"]))
def test_vectors_come_back_the_same(vectors: list[list[float]], encoding: Any) -> None:
    body = EMBED.write_reply(Embeddings("m", vectors, Usage(3)), Embed("m", ["a"], encoding=encoding))
    body["data"].reverse()
    received = msgspec.json.decode(msgspec.json.encode(body))
    assert EMBED.read_reply(received, Sent({})) == Embeddings("m", vectors, Usage(3))


def test_base64_is_of_little_endian_float32() -> None:
    body = EMBED.write_reply(Embeddings("m", [[1.0, -0.1]]), Embed("m", ["a"], encoding="base64"))
    assert base64.b64decode(body["data"][0]["embedding"]) == struct.pack("<2f", 1.0, -0.1)


def test_openais_client_reads_both(sdk: Callable[..., openai.OpenAI]) -> None:
    reply = Embeddings("m", [[0.5, -0.25], [1.0, 2.0]], Usage(3))
    packed = sdk(EMBED.write_reply(reply, Embed("m", ["a"], encoding="base64"))).embeddings.create(model="m", input="a")
    client = sdk(EMBED.write_reply(reply, Embed("m", ["a"])))
    plain = client.embeddings.create(model="m", input="a", encoding_format="float")
    assert [item.embedding for item in packed.data] == [item.embedding for item in plain.data] == reply.vectors
    assert packed.usage.prompt_tokens == packed.usage.total_tokens == 3


@pytest.mark.parametrize("body", [
    {}, [], {"data": []}, {"data": [{"embedding": None}]}, {"data": [{"embedding": ["x"]}]},
    {"data": [{"embedding": "?"}]},
    {"data": [{"embedding": "AAA="}]}, {"error": {"message": "x"}},
])
def test_what_is_no_reply_fails(body: Any) -> None:
    with pytest.raises(Failure) as caught:
        EMBED.read_reply(body, Sent({}))
    assert caught.value.code == "upstream_failed"


def test_a_number_beyond_float32_fails_rather_than_breaks() -> None:
    with pytest.raises(Failure):
        EMBED.write_reply(Embeddings("m", [[10**400]]), Embed("m", ["a"], encoding="base64"))


def test_embeddings_are_not_streamed() -> None:
    for ask in (lambda: EMBED.reader(Sent({})), lambda: EMBED.writer(Embed("m", ["a"])), lambda: EMBED.meter({})):
        with pytest.raises(Failure) as caught:
            ask()
        assert caught.value.code == "invalid_request"


def test_a_whole_reply_is_measured() -> None:
    measured = EMBED.measure(b'{"model":"m","data":[{"embedding":[0.1]}],"usage":{"prompt_tokens":4,"total_tokens":4}}')
    assert (measured.usage, measured.complete) == (Usage(4), True)
