"""Oracles of this dialect: its API's schema, strict, written from the reference, and what its SDK does to a stream."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Event, Message, Text
from ailink_provider.dialects import Sent
from ailink_provider.dialects.ollama import DIALECT

GOLDEN = Path(__file__).parent / "golden"


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties, "additionalProperties": False}


TEXT, FLAG, COUNT, NUMBER, OBJECT = ({"type": kind} for kind in ("string", "boolean", "integer", "number", "object"))
STRINGS = {"type": "array", "items": TEXT, "minItems": 1}
BASE64 = {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^[A-Za-z0-9+/]+=*$"}}
CALL = closed(["function"], id=TEXT, function=closed(["name", "arguments"], name=TEXT, arguments=OBJECT))
CALLS = {"type": "array", "items": CALL, "minItems": 1}
MESSAGE = closed(
    ["role", "content"],
    role={"enum": ["system", "user", "assistant", "tool"]},
    content=TEXT,
    thinking=TEXT,
    images=BASE64,
    tool_calls=CALLS,
    tool_name=TEXT,
    tool_call_id=TEXT,
)
PARAMETERS = {"type": "object", "required": ["type"], "properties": {"type": {"const": "object"}}}
FUNCTION = closed(["name", "parameters"], name=TEXT, description=TEXT, parameters=PARAMETERS)
OPTIONS = closed(
    [],
    **dict.fromkeys(("num_predict", "num_ctx", "top_k", "seed", "num_keep"), COUNT),
    **dict.fromkeys(("temperature", "top_p", "min_p", "presence_penalty", "frequency_penalty"), NUMBER),
    stop=STRINGS,
)
CHAT = closed(
    ["model", "messages", "stream"],
    model=TEXT,
    messages={"type": "array", "items": MESSAGE, "minItems": 1},
    tools={"type": "array", "minItems": 1, "items": closed(["type", "function"], type={"const": "function"},
                                                           function=FUNCTION)},
    format={"anyOf": [{"const": "json"}, OBJECT]},
    options=OPTIONS,
    stream=FLAG,
    think={"enum": [True, False, "low", "medium", "high", "max"]},
    keep_alive={"type": ["string", "number"]},
    truncate=FLAG,
    logprobs=FLAG,
    top_logprobs={"type": "integer", "minimum": 0, "maximum": 20},
)  # fmt: skip
EMBED = closed(
    ["model", "input"], model=TEXT, input={"anyOf": [TEXT, STRINGS]}, dimensions=COUNT, truncate=FLAG,
    keep_alive=TEXT, options=OPTIONS,
)  # fmt: skip
TOKEN = closed(["token", "logprob"], token=TEXT, logprob=NUMBER, bytes={"type": "array", "items": COUNT},
               top_logprobs={"type": "array", "items": OBJECT})  # fmt: skip
LINE = closed(
    ["model", "created_at", "message", "done"],
    model=TEXT,
    created_at={"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z$"},
    message=closed(["role", "content"], role={"const": "assistant"}, content=TEXT, thinking=TEXT, images=BASE64,
                   tool_calls=CALLS),
    done=FLAG,
    done_reason=TEXT,
    prompt_eval_count=COUNT,
    eval_count=COUNT,
    logprobs={"type": "array", "items": TOKEN},
)  # fmt: skip
SCHEMAS = {"chat": CHAT, "embeddings": EMBED, "line": LINE}


class SdkError(Exception):
    """What the SDK raises for an error, be it in a stream."""


@pytest.fixture(scope="session")
def chats() -> Any:
    return DIALECT.operations["chat"]


@pytest.fixture(scope="session")
def validate() -> Callable[[str, dict[str, Any]], None]:
    """Check a body against the API's schema; unknown members fail."""
    validators = {name: jsonschema.Draft202012Validator(schema) for name, schema in SCHEMAS.items()}
    return lambda name, body: validators[name].validate(msgspec.json.decode(msgspec.json.encode(body)))


@pytest.fixture
def write(chats: Any, validate: Callable[[str, dict[str, Any]], None]) -> Callable[..., Sent]:
    """Write a request and check what is written."""

    def run(request: Chat, facts: Facts | None = None) -> Sent:
        sent: Sent = chats.write_request(request, facts or Facts())
        validate("chat", sent.body)
        return sent

    return run


@pytest.fixture(scope="session")
def chat() -> Callable[..., Chat]:
    """Make a chat that another dialect has read."""

    def make(*messages: Message, **fields: Any) -> Chat:
        dialect = fields.pop("dialect", "openai_chat")
        return Chat("m", list(messages) or [Message("user", [Text("Hi")])], dialect=dialect, **fields)

    return make


@pytest.fixture(scope="session")
def lines() -> Callable[..., bytes]:
    """Frame objects as lines."""
    return lambda *objects: b"".join(msgspec.json.encode(value) + b"\n" for value in objects)


@pytest.fixture(scope="session")
def stream(chats: Any) -> Callable[..., list[Event]]:
    """Read a stream, cut into pieces of ``size`` bytes."""

    def run(data: bytes, sent: Sent | None = None, size: int = 1 << 20) -> list[Event]:
        reader = chats.reader(sent or Sent({}))
        events = [event for start in range(0, len(data), size) for event in reader.feed(data[start : start + size])]
        return events + reader.close()

    return run


@pytest.fixture
def sdk(validate: Callable[[str, dict[str, Any]], None]) -> Callable[[bytes], list[dict[str, Any]]]:
    """Do to a stream what Ollama's SDKs do: each line is JSON; one with an error raises; ``done`` comes last, once."""

    def parse(data: bytes) -> list[dict[str, Any]]:
        assert data.endswith(b"\n")
        parsed = []
        for line in data.splitlines():
            part = msgspec.json.decode(line)
            if part.get("error"):
                raise SdkError(part["error"])
            validate("line", part)
            parsed.append(part)
        assert [part["done"] for part in parsed] == [False] * (len(parsed) - 1) + [True]
        return parsed

    parse.error = SdkError  # type: ignore[attr-defined]
    return parse


@pytest.fixture
def golden() -> Callable[[str], Any]:
    """Read a golden file."""
    return lambda name: msgspec.json.decode((GOLDEN / f"{name}.json").read_bytes())
