"""Whatever JSON a client sends, it is told what is wrong with it: reading and writing requests raise nothing but
``Failure``, which names the field.

Every field of a valid body of every operation is taken away and replaced by values of every kind; besides, bodies are
made up. What can be read is written for another vendor's model.
"""

from typing import Any

import msgspec
import pytest
from hypothesis import given as whatever
from hypothesis import settings
from hypothesis import strategies as st
from msgspec import Raw

from ailink_provider.catalog import facts
from ailink_provider.chat import Chat
from ailink_provider.errors import Failure
from ailink_provider.registry import dialects

from .conftest import INBOUND
from .conftest import TARGETS as MATRIX

TARGETS = [
    *MATRIX, ("openai_chat", "gpt-3.5-turbo-instruct"), ("gemini", "gemini-1.5-pro"),
    ("bedrock_converse", "arn:aws:bedrock:us-east-1:1:application-inference-profile/x")]
OPERATIONS = [(name, operation) for name in INBOUND for operation in dialects()[name].operations]
EMBEDDED = {"content": {"parts": [{"text": "x"}]}, "model": "models/m", "taskType": "RETRIEVAL_QUERY", "title": "t",
            "outputDimensionality": 5}
SIMPLE: dict[tuple[str, str], dict[str, Any]] = {
    ("openai_chat", "completions"): {"model": "m", "prompt": ["x"], "max_tokens": 5, "logprobs": 2, "stop": ["a"],
                                     "n": 1, "stream": True, "stream_options": {"include_usage": True}, "suffix": "y"},
    ("openai_chat", "embeddings"): {"model": "m", "input": ["x", [1, 2]], "dimensions": 5, "encoding_format": "base64"},
    ("gemini", "embeddings"): {"requests": [EMBEDDED, EMBEDDED]},
    ("gemini", "embed_content"): EMBEDDED,
}


@pytest.fixture(scope="session")
def valid(given: Any) -> Any:
    """Returns a valid body for an operation, with as much in it as there can be."""

    def body(dialect: str, operation: str) -> Any:
        rich = SIMPLE.get((dialect, operation)) or given(f"rich.{dialect}.json") | {"model": "m"}
        return {"generateContentRequest": rich} if (dialect, operation) == ("gemini", "count_tokens") else rich

    return body


def put_through(dialect: str, operation: str, body: Any, target: tuple[str, str]) -> None:
    """Read a body and write what it says for a model; let nothing pass but ``Failure`` of the client's."""
    outbound, model = target
    reading = dialects()[dialect].operations[operation]
    try:
        request = reading.read_request(body, None if dialect == "openai_chat" else "m", None)
        spoken = dialects()[outbound].operations
        name = operation if operation in spoken else "chat" if reading.speaks is Chat else "embeddings"
        writing = spoken.get(name)
        if writing is None or writing.speaks is not reading.speaks:
            return
        sent = writing.write_request(request, facts(model))
    except Failure as failure:
        assert failure.code in ("invalid_request", "unsupported_parameter")
        assert failure.param
    else:
        msgspec.json.encode([sent.body, sent.losses, sent.names])


@pytest.mark.parametrize(("dialect", "operation"), OPERATIONS)
def test_every_field_of_every_kind(valid: Any, damaged: Any, dialect: str, operation: str) -> None:
    body = valid(dialect, operation)
    put_through(dialect, operation, body, TARGETS[0])
    for number, wrong in enumerate(damaged(body)):
        put_through(dialect, operation, wrong, TARGETS[number % len(TARGETS)])


@pytest.mark.parametrize(("dialect", "operation"), OPERATIONS)
def test_amending_a_body_of_any_kind(valid: Any, damaged: Any, dialect: str, operation: str) -> None:
    amending = dialects()[dialect].operations[operation]
    for wrong in damaged({key: value for key, value in valid(dialect, operation).items() if key != "messages"}):
        raw = msgspec.json.decode(msgspec.json.encode(wrong), type=dict[str, Raw])
        try:
            amending.amend(raw, "other", facts("gpt-5"))
        except Failure as failure:
            assert (failure.code, bool(failure.param)) == ("invalid_request", True)
        else:
            msgspec.json.encode(raw)


words = st.text(max_size=5)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
anything = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
                        max_leaves=8)


@pytest.mark.parametrize(("dialect", "operation"), OPERATIONS)
@settings(max_examples=15, deadline=None)
@whatever(data=st.data())
def test_bodies_made_up(valid: Any, names_in: Any, dialect: str, operation: str, data: st.DataObject) -> None:
    keys = st.sampled_from(names_in(valid(dialect, operation)))
    likely = st.recursive(scalars | st.sampled_from(["user", "text", "function", "tool", "image", "auto"]),
                          lambda inner: st.lists(inner, max_size=2) | st.dictionaries(keys, inner, max_size=4),
                          max_leaves=15)
    body = data.draw(st.dictionaries(keys | words, likely | anything, max_size=5))
    put_through(dialect, operation, body, data.draw(st.sampled_from(TARGETS)))
