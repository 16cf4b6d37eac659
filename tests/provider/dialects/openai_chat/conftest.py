"""Oracles of this dialect: OpenAI's own SDK, as a schema for requests and as a client for replies."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import msgspec
import openai
import pytest
from openai.types import completion_create_params as text_params
from openai.types import embedding_create_params as embedding_params
from openai.types.chat import completion_create_params as chat_params
from pydantic import TypeAdapter

GOLDEN = Path(__file__).parent / "golden"


def closed(schema: Any) -> Any:
    """Forbid, throughout a schema, the members it does not name."""
    if isinstance(schema, dict):
        if "properties" in schema:
            schema["additionalProperties"] = False
        for value in schema.values():
            closed(value)
    elif isinstance(schema, list):
        for value in schema:
            closed(value)
    return schema


@pytest.fixture(scope="session")
def validate() -> Callable[[str, dict[str, Any]], None]:
    """Check a request's body against the types of OpenAI's SDK; unknown members fail."""
    types = {
        ("chat", False): chat_params.CompletionCreateParamsNonStreaming,
        ("chat", True): chat_params.CompletionCreateParamsStreaming,
        ("completions", False): text_params.CompletionCreateParamsNonStreaming,
        ("completions", True): text_params.CompletionCreateParamsStreaming,
        ("embeddings", False): embedding_params.EmbeddingCreateParams,
    }
    validators = {key: jsonschema.Draft202012Validator(closed(TypeAdapter(kind).json_schema()))
                  for key, kind in types.items()}

    def check(operation: str, body: dict[str, Any]) -> None:
        as_sent = msgspec.json.decode(msgspec.json.encode(body))
        validators[operation, bool(body.get("stream"))].validate(as_sent)

    return check


@pytest.fixture
def sdk() -> Iterator[Callable[..., openai.OpenAI]]:
    """Make a real client of OpenAI's that is answered with the given JSON, or stream of bytes, and status."""
    clients: list[openai.OpenAI] = []

    def client(answer: Any, status: int = 200) -> openai.OpenAI:
        def handle(request: httpx2.Request) -> httpx2.Response:
            if isinstance(answer, bytes):
                return httpx2.Response(status, content=answer, headers={"content-type": "text/event-stream"})
            return httpx2.Response(status, content=msgspec.json.encode(answer),
                                   headers={"content-type": "application/json"})

        transport = httpx2.MockTransport(handle)
        clients.append(openai.OpenAI(api_key="test", base_url="http://gateway.test/v1", max_retries=0,
                                     http_client=httpx2.Client(transport=transport)))
        return clients[-1]

    yield client
    for made in clients:
        made.close()


@pytest.fixture
def golden() -> Callable[[str], Any]:
    """Read a golden file."""
    return lambda name: msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())


@pytest.fixture
def sse() -> Callable[..., bytes]:
    """Frame chunks as events, and the end of the stream after them unless ``done`` is false."""
    def frame(*chunks: Any, done: bool = True) -> bytes:
        body = b"".join(b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks)
        return body + b"data: [DONE]\n\n" if done else body

    return frame


@pytest.fixture
def chunk() -> Callable[..., dict[str, Any]]:
    """Make one chunk of a stream with one choice."""
    def make(delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0,
             **members: Any) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
                "choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}]} | members

    return make
