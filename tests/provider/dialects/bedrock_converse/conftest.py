"""What these tests share: the operation, kinds of models, the service's own shapes, streams and their frames."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Event, Message, Text
from ailink_provider.dialects import Sent
from ailink_provider.dialects.bedrock_converse import DIALECT
from ailink_provider.dialects.bedrock_converse.eventstream import Frames, encode

GOLDEN = Path(__file__).parent / "golden"


def _shape(name: str) -> Callable[[Any], Any]:
    return _checked((GOLDEN / f"{name}.schema.json").read_bytes())


def _checked(schema: bytes) -> Callable[[Any], Any]:
    validator = jsonschema.Draft202012Validator(msgspec.json.decode(schema))

    def check(body: Any) -> Any:
        validator.validate(msgspec.json.decode(msgspec.json.encode(body)))
        return body

    return check


@pytest.fixture(scope="session")
def converse() -> Any:
    return DIALECT.operations["chat"]


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
def accepted() -> Callable[[Any], Any]:
    """Checks a request against the shape that botocore knows."""
    return _checked(files("ailink_provider.testing.bedrock").joinpath("converse.schema.json").read_bytes())


@pytest.fixture(scope="session")
def shown() -> Callable[[Any], Any]:
    """Checks a whole reply against the shape that botocore knows."""
    return _shape("reply")


@pytest.fixture
def chat() -> Callable[..., Chat]:
    """Makes a chat that another dialect has read, for a Claude unless another model is named."""
    def make(*parts: Any, **fields: Any) -> Chat:
        fields.setdefault("messages", [Message("user", list(parts) or [Text("Hi")])])
        fields.setdefault("dialect", "openai_chat")
        return Chat(fields.pop("model", "us.anthropic.claude-test-v1:0"), **fields)

    return make


@pytest.fixture
def own(converse: Any) -> Callable[..., Chat]:
    """Makes a chat that this dialect has read."""
    def make(model: str = "us.anthropic.claude-test-v1:0", **fields: Any) -> Chat:
        chat: Chat = converse.read_request({"messages": [{"role": "user", "content": [{"text": "Hi"}]}], **fields},
                                           model, False)
        return chat

    return make


@pytest.fixture
def write(converse: Any, accepted: Any) -> Callable[..., tuple[dict[str, Any], list[str]]]:
    """Writes a chat; returns the body, which the service takes, and the fields that were lost."""
    def run(chat: Chat, facts: Facts | None = None) -> tuple[dict[str, Any], list[str]]:
        sent = converse.write_request(chat, facts or Facts())
        return accepted(sent.body), [loss.field for loss in sent.losses]

    return run


@pytest.fixture(scope="session")
def frames() -> Callable[..., bytes]:
    """Makes a stream of the service's from the names of events and their payloads."""
    def make(*events: tuple[str, dict[str, Any]]) -> bytes:
        return b"".join(
            encode({":event-type": name, ":content-type": "application/json", ":message-type": "event"},
                   msgspec.json.encode({**payload, "p": "abcdefgh"}))
            if not name.endswith("Exception") else
            encode({":exception-type": name, ":content-type": "application/json", ":message-type": "exception"},
                   msgspec.json.encode(payload))
            for name, payload in events)

    return make


@pytest.fixture(scope="session")
def events_of() -> Callable[[bytes], list[tuple[str, Any]]]:
    """Reads the frames of a stream: the name of each event or exception, and its payload in the service's shape."""
    check = _shape("events")

    def read(stream: bytes) -> list[tuple[str, Any]]:
        found = []
        for frame in Frames().feed(stream):
            payload = msgspec.json.decode(frame.payload)
            payload.pop("p", None)  # padding, which hides how long a payload is
            name = frame.word(":event-type") or frame.word(":exception-type")
            check({name: payload})
            found.append((name, payload))
        return found

    return read


@pytest.fixture
def read_stream(converse: Any) -> Callable[..., list[Event]]:
    """Reads a whole stream, in pieces of ``size`` bytes."""
    def read(stream: bytes, sent: Sent | None = None, size: int = 1 << 20) -> list[Event]:
        reader = converse.reader(sent or Sent({}))
        events = []
        for start in range(0, len(stream), size):
            events += reader.feed(stream[start:start + size])
        return [*events, *reader.close()]

    return read


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Any]:
    """Reads a file of expectations."""
    def read(name: str) -> Any:
        return msgspec.json.decode((GOLDEN / name).read_bytes())

    return read
