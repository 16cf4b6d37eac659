"""Embeddings: texts in, vectors out."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ailink_provider.catalog import Facts
from ailink_provider.chat import Embed, Embeddings, Usage
from ailink_provider.dialects import Sent
from ailink_provider.dialects.ollama import DIALECT
from ailink_provider.errors import Failure

EMBED = DIALECT.operations["embeddings"]
Check = Callable[[str, dict[str, Any]], None]


@pytest.mark.parametrize(("given", "inputs", "single"), [("a", ["a"], True), (["a", "b"], ["a", "b"], False)])
def test_a_request_is_read_and_comes_back(given: Any, inputs: list[str], single: bool, validate: Check) -> None:
    body = {"model": "m", "input": given, "dimensions": 3, "truncate": False, "options": {"num_ctx": 9}}
    request = EMBED.read_request(body)
    assert request == Embed(
        "m", inputs, "ollama", 3, single=single, extras={"truncate": False, "options": {"num_ctx": 9}}
    )
    sent = EMBED.write_request(request, Facts())
    assert (sent.body, sent.losses) == (body, [])
    validate("embeddings", sent.body)


def test_a_request_from_abroad_reports_what_it_loses(validate: Check) -> None:
    request = Embed("m", ["a"], "openai_chat", encoding="base64", task="query", extras={"title": "t"})
    sent = EMBED.write_request(request, Facts())
    assert sent.body == {"model": "m", "input": ["a"]}
    assert [loss.field for loss in sent.losses] == ["title", "task"]
    validate("embeddings", sent.body)


def test_tokens_are_refused() -> None:
    with pytest.raises(Failure) as caught:
        EMBED.write_request(Embed("m", ["a", [1, 2]], "openai_chat"), Facts())
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "input[1]")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": [1]}, "input"),
        ({"model": ""}, "model"),
        ({"dimensions": "3"}, "dimensions"),
    ],
)
def test_a_mistake_is_named(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(Failure) as caught:
        EMBED.read_request({"model": "m", "input": "a"} | fields)
    assert (caught.value.code, caught.value.param) == ("invalid_request", param)


def test_a_reply_is_read_and_written() -> None:
    body = {"model": "m", "embeddings": [[0.5, -1], [0, 2.5]], "prompt_eval_count": 4}
    reply = EMBED.read_reply(body | {"total_duration": 9}, Sent({}))
    assert reply == Embeddings("m", [[0.5, -1], [0, 2.5]], Usage(4))
    assert EMBED.write_reply(reply, Embed("m", ["a", "b"])) == body
    assert EMBED.read_reply({"embeddings": [[1.0]]}, Sent({})).usage == Usage()


@pytest.mark.parametrize(
    "body", [{}, {"embeddings": []}, {"embeddings": [7]}, {"embeddings": [["x"]]}, {"error": "no such model"}, []]
)
def test_what_is_no_reply(body: Any) -> None:
    with pytest.raises(Failure) as caught:
        EMBED.read_reply(body, Sent({}))
    assert caught.value.code == "upstream_failed"


def test_a_reply_that_passes_through_is_measured() -> None:
    measured = EMBED.measure(msgspec.json.encode({"model": "m", "embeddings": [[1]], "prompt_eval_count": 4}))
    assert (measured.model, measured.usage, measured.complete) == ("m", Usage(4), True)


def test_nothing_is_streamed() -> None:
    for ask in (lambda: EMBED.reader(Sent({})), lambda: EMBED.writer(Embed("m", [])), lambda: EMBED.meter({})):
        with pytest.raises(Failure) as caught:
            ask()
        assert caught.value.param == "stream"
