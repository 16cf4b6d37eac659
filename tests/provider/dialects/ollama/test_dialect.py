"""What the dialect is called, where it is asked, how it shows its key, and which models there are."""

from typing import Any

import pytest

from ailink_provider.chat import Chat, Embed
from ailink_provider.dialects.ollama import DIALECT, MODELS_PATH, read_models
from ailink_provider.errors import Failure


@pytest.mark.parametrize(("name", "path", "speaks"), [("chat", "/api/chat", Chat), ("embeddings", "/api/embed", Embed)])
def test_an_operation_has_its_place(name: str, path: str, speaks: type) -> None:
    operation = DIALECT.operations[name]
    assert (operation.name, operation.speaks) == (name, speaks)
    assert operation.path("a/model:1", True) == operation.path("", False) == path


def test_the_key_is_a_bearers() -> None:
    assert (DIALECT.name, DIALECT.credential_header) == ("ollama", ("authorization", "Bearer "))


def test_the_models_of_a_server() -> None:
    body = {
        "models": [
            {"name": "llama3.2:latest", "model": "llama3.2:latest", "size": 1, "details": {"family": "llama"}},
            {"name": "older"},
            {"name": "alias", "model": "qwen3:8b"},
            {"model": "older"},
            {"model": 7}, {}, 7,
        ]
    }  # fmt: skip
    assert MODELS_PATH == "/api/tags"
    assert read_models(body) == ["llama3.2:latest", "older", "qwen3:8b"]
    assert read_models({"models": []}) == []


@pytest.mark.parametrize("body", [{}, {"models": None}, {"models": {}}, [], None, "x"])
def test_a_list_that_is_none(body: Any) -> None:
    with pytest.raises(Failure) as caught:
        read_models(body)
    assert caught.value.code == "upstream_failed"


def test_a_list_is_written_and_reads_back() -> None:
    written = DIALECT.write_models([("llama3.2", "meta"), ("gpt-5", "openai")])
    assert read_models(written) == ["llama3.2", "gpt-5"]
    assert all(model.keys() >= {"name", "model", "modified_at", "size", "digest"} for model in written["models"])
