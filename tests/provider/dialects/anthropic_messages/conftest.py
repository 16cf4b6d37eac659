"""What these tests share: the dialect, kinds of models, the vendor's own schema and its own client."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import jsonschema
import msgspec
import pydantic
import pytest
from anthropic.types import message_count_tokens_params, message_create_params

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Event, Message, Text
from ailink_provider.dialects import Sent
from ailink_provider.dialects.anthropic_messages import DIALECT

SAMPLING = ("temperature", "top_p", "top_k")


@pytest.fixture(scope="session")
def messages() -> Any:
    return DIALECT.operations["chat"]


@pytest.fixture(scope="session")
def counting() -> Any:
    return DIALECT.operations["count_tokens"]


@pytest.fixture(scope="session")
def adaptive() -> Facts:
    """A model like Opus 5: decides how much to think, takes no sampling parameters."""
    return Facts(max_output_tokens=32000, sampling=(), thinking="adaptive", system_turns=True, prefill=False)


@pytest.fixture(scope="session")
def stubborn() -> Facts:
    """A model like Opus 5.5: always thinks, cannot be forced to call a tool."""
    return Facts(max_output_tokens=32000, sampling=(), thinking="adaptive", thinking_off=False, forced_tools=False,
                 system_turns=True, prefill=False)


@pytest.fixture(scope="session")
def budgeted() -> Facts:
    """A model like Sonnet 4.5: thinks within a budget of tokens."""
    return Facts(max_output_tokens=32000, one_sampling=True, thinking="budget")


@pytest.fixture(scope="session")
def plain() -> Facts:
    """A model like Claude 3.5: does not think and knows no structured output."""
    return Facts(max_output_tokens=8192, json_schema=False)


@pytest.fixture
def chat() -> Callable[..., Chat]:
    """Makes a chat that another dialect has read."""
    def make(*parts: Any, **fields: Any) -> Chat:
        fields.setdefault("messages", [Message("user", list(parts) or [Text("Hi")])])
        return Chat(fields.pop("model", "claude-test"), dialect=fields.pop("dialect", "openai_chat"), **fields)

    return make


@pytest.fixture
def own(messages: Any) -> Callable[..., Chat]:
    """Makes a chat that this dialect has read."""
    def make(**fields: Any) -> Chat:
        chat: Chat = messages.read_request({
            "model": "claude-test", "max_tokens": 1000, "messages": [{"role": "user", "content": "Hi"}], **fields})
        return chat

    return make


def _strict(parameters: Any) -> jsonschema.Draft202012Validator:
    schema = pydantic.TypeAdapter(parameters).json_schema()
    for name, definition in [("", schema), *schema["$defs"].items()]:
        if "properties" in definition and name != "InputSchemaTyped":
            definition["additionalProperties"] = False
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="session")
def accepted() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Checks a body against the parameters of the vendor's SDK, which no longer has those of sampling."""
    whole = _strict(message_create_params.MessageCreateParamsNonStreaming)
    streamed = _strict(message_create_params.MessageCreateParamsStreaming)

    def check(body: dict[str, Any]) -> dict[str, Any]:
        (streamed if body.get("stream") else whole).validate(
            {key: value for key, value in body.items() if key not in SAMPLING})
        return body

    return check


@pytest.fixture(scope="session")
def countable() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Checks a body against the parameters of the endpoint that counts."""
    validator = _strict(message_count_tokens_params.MessageCountTokensParams)

    def check(body: dict[str, Any]) -> dict[str, Any]:
        validator.validate(body)
        return body

    return check


@pytest.fixture
def client() -> Callable[..., anthropic.Anthropic]:
    """Makes the vendor's client, whose server answers with what is given."""
    def make(content: bytes, content_type: str = "application/json", status: int = 200) -> anthropic.Anthropic:
        def answer(_: httpx2.Request) -> httpx2.Response:
            return httpx2.Response(status, content=content, headers={"content-type": content_type})

        return anthropic.Anthropic(
            api_key="test", max_retries=0, http_client=httpx2.Client(transport=httpx2.MockTransport(answer)))

    return make


@pytest.fixture
def frames() -> Callable[..., bytes]:
    """Makes a stream of the vendor's from the data of its events."""
    def make(*events: dict[str, Any]) -> bytes:
        return b"".join(b"event: %s\ndata: %s\n\n" % (event["type"].encode(), msgspec.json.encode(event))
                        for event in events)

    return make


@pytest.fixture
def read_stream(messages: Any) -> Callable[..., list[Event]]:
    """Reads a whole stream, in pieces of ``size`` bytes."""
    def read(stream: bytes, sent: Sent | None = None, size: int = 1 << 20) -> list[Event]:
        reader = messages.reader(sent or Sent({}))
        events = []
        for start in range(0, len(stream), size):
            events += reader.feed(stream[start:start + size])
        return [*events, *reader.close()]

    return read


@pytest.fixture
def golden() -> Callable[[str], Any]:
    """Reads a file of expectations."""
    def read(name: str) -> Any:
        return msgspec.json.decode((Path(__file__).parent / "golden" / name).read_bytes())

    return read
