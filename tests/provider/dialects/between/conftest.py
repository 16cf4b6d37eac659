"""What tests between dialects share: witnesses of what is written, the official SDKs as readers, and golden files."""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import anthropic
import httpx2
import msgspec
import openai
import pytest
from google import genai
from google.genai import types

from ailink_provider.catalog import facts
from ailink_provider.chat import Chat, Event, Reasoning
from ailink_provider.dialects import Sent
from ailink_provider.dialects.anthropic_messages import replies as anthropic_replies
from ailink_provider.dialects.bedrock_converse.eventstream import Frames, encode
from ailink_provider.dialects.openai_chat import replies as openai_replies
from ailink_provider.dialects.openai_responses import answer as responses_answer
from ailink_provider.registry import dialects
from ailink_provider.testing.anthropic import rules as anthropic_rules
from ailink_provider.testing.bedrock import models as bedrock_models
from ailink_provider.testing.bedrock import rules as bedrock_rules
from ailink_provider.testing.gemini import models as gemini_models
from ailink_provider.testing.gemini import rules as gemini_rules
from ailink_provider.testing.ollama import rules as ollama_rules
from ailink_provider.testing.openai import rules as openai_rules
from ailink_provider.testing.openai_responses import rules as responses_rules

GOLDEN = Path(__file__).parent / "golden"
REWRITE = "AILINK_REWRITE_GOLDEN"

# What clients speak, and what models do. Clients of the last two are served by their own vendors alone.
INBOUND = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")
OUTBOUND = (*INBOUND, "bedrock_converse", "ollama")
# For each dialect of models, names of some that differ in what they take.
MODELS = {
    "openai_chat": ("gpt-4o", "gpt-5"),
    "openai_responses": ("gpt-4o", "gpt-5"),
    "anthropic_messages": ("claude-3-5-sonnet-20241022", "claude-sonnet-4-5", "claude-opus-5-5"),
    "gemini": ("gemini-2.5-flash", "gemini-3-pro-preview"),
    "bedrock_converse": ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us.anthropic.claude-opus-5-5-v1:0",
                         "us.amazon.nova-2-lite-v1:0", "us.meta.llama4-maverick-17b-instruct-v1:0"),
    "ollama": ("llama3.1:8b", "qwen3:8b"),
}
TARGETS = [(outbound, model) for outbound, models in MODELS.items() for model in models]

# What a client of each dialect has to say at least; the model travels in Gemini's path and in Bedrock's.
LEAST: dict[str, dict[str, Any]] = {
    "openai_chat": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    "anthropic_messages": {"model": "m", "max_tokens": 5000, "messages": [{"role": "user", "content": "Hi"}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
    "openai_responses": {"model": "m", "input": "Hi"},
    "bedrock_converse": {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]},
    "ollama": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
}

Said = dict[str, Any]


@pytest.fixture
def golden() -> Callable[[str, Any], None]:
    """Compares JSON, or the bytes of a stream, with a golden file.

    With ``AILINK_REWRITE_GOLDEN=1`` in the environment the file is written instead and the test skipped. A golden file
    is a claim about what a vendor accepts or a client expects: read every line of its diff before it is committed.
    """

    def compare(name: str, actual: Any) -> None:
        path = GOLDEN / name
        content = actual if isinstance(actual, bytes) else msgspec.json.format(msgspec.json.encode(actual)) + b"\n"
        if os.environ.get(REWRITE) == "1":
            path.write_bytes(content)
            pytest.skip(f"{name} is rewritten: review its diff")
        if isinstance(actual, bytes):
            assert actual == path.read_bytes()
        else:
            assert msgspec.json.decode(content) == msgspec.json.decode(path.read_bytes())

    return compare


@pytest.fixture(scope="session")
def given() -> Callable[[str], Any]:
    """Reads a golden file: decoded JSON, or the bytes of a stream."""

    def read(name: str) -> Any:
        content = (GOLDEN / name).read_bytes()
        return msgspec.json.decode(content) if name.endswith(".json") else content

    return read


@pytest.fixture(scope="session")
def upstream_of(given: Callable[[str], Any]) -> Callable[[str], bytes]:
    """Returns the stream of an upstream of a dialect, which says the same in all; binary ones are kept as JSON."""

    def read(dialect: str) -> bytes:
        if dialect == "bedrock_converse":
            return frame(dialect, *given("upstream.bedrock_converse.json"))
        content: bytes = given(f"upstream.{dialect}.{'ndjson' if dialect == 'ollama' else 'sse'}")
        return content

    return read


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stops the clock that dates a reply whose upstream gave it no date, and the chance that names one without an id.
    """
    clock = SimpleNamespace(time=lambda: 1_760_000_000.5)
    for module in (openai_replies, responses_answer):
        monkeypatch.setattr(module, "time", clock)
    for module in (openai_replies, responses_answer, anthropic_replies):
        monkeypatch.setattr(module, "uuid4", lambda: UUID(int=1))


@pytest.fixture(scope="session")
def breaches() -> Callable[[str, str, Any], list[str]]:
    """Tells what a body for a model breaks of its vendor's rules: the schema of the official SDK, closed against
    unknown members, and what no schema says. Only whether a signature is genuine is left to the vendor."""

    rules: dict[str, Callable[[str, Any], Any]] = {
        "openai_chat": lambda model, body: openai_rules.breaches("chat", body),
        "openai_responses": lambda model, body: responses_rules.breaches(body),
        "anthropic_messages": lambda model, body: anthropic_rules.breaches(
            "messages", {"anthropic-version": "2023-06-01"}, body),
        "gemini": lambda model, body: gemini_rules.breaches(
            "generateContent", model, gemini_models.model(model), [], body),
        "bedrock_converse": lambda model, body: bedrock_rules.breaches(
            "/model/m/converse", model, bedrock_models.model(model), body),
        "ollama": lambda model, body: ollama_rules.breaches("chat", body),
    }

    def check(dialect: str, model: str, body: Any) -> list[str]:
        found = rules[dialect](model, msgspec.json.decode(msgspec.json.encode(body)))
        ungenuine = ("Invalid `signature`", "Corrupted thought signature", "could not be verified")
        return [breach.message for breach in found if not any(word in breach.message for word in ungenuine)]

    return check


# --- damage -----------------------------------------------------------------------------------------------------------


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*path, key)
        yield from _places(item, (*path, key))


@pytest.fixture(scope="session")
def names_in() -> Callable[..., list[str]]:
    """Returns the names of all members of some bodies."""
    return lambda *bodies: sorted({
        step for body in bodies for path in _places(body) for step in path if isinstance(step, str)})


@pytest.fixture(scope="session")
def damaged() -> Callable[[Any], Iterator[Any]]:
    """Yields a body with each of its members, at any depth, taken away or replaced by a value of another kind."""
    values: tuple[Any, ...] = (None, 7, -1.5, True, "x", "", [], ["x"], [{}], {}, {"type": "x"}, ...)

    def run(body: Any) -> Iterator[Any]:
        encoded = msgspec.json.encode(body)
        for *path, last in _places(body):
            for value in values:
                copy = node = msgspec.json.decode(encoded)
                for key in path:
                    node = node[key]
                if value is ...:
                    del node[last]
                else:
                    node[last] = value
                yield copy

    return run


# --- there and back ---------------------------------------------------------------------------------------------------


def _speaker(model: str) -> str:
    return {"gpt": "openai_chat", "claude": "anthropic_messages", "gemini": "gemini"}[model.partition("-")[0]]


def ask_model(inbound: str, body: dict[str, Any], model: str, outbound: str) -> Sent:
    """Translate a body of a client of ``inbound`` for a model that speaks ``outbound``."""
    chat = dialects()[inbound].operations["chat"].read_request(LEAST[inbound] | body, model)
    chat.model = model
    return dialects()[outbound].operations["chat"].write_request(chat, facts(model))


@pytest.fixture(scope="session")
def ask() -> Callable[..., Sent]:
    """Translates a body of a client of ``inbound`` for a model, in the model's own dialect unless one is given."""

    def run(inbound: str, body: dict[str, Any], model: str, outbound: str | None = None) -> Sent:
        return ask_model(inbound, body, model, outbound or _speaker(model))

    return run


@pytest.fixture(scope="session")
def read() -> Callable[..., list[Event]]:
    """Reads an upstream's stream, in pieces of ``size`` bytes."""

    def run(dialect: str, stream: bytes, sent: Sent | None = None, size: int = 1 << 20) -> list[Event]:
        reader = dialects()[dialect].operations["chat"].reader(sent or Sent({}))
        pieces = [stream[start:start + size] for start in range(0, len(stream), size)]
        return [event for piece in pieces for event in reader.feed(piece)] + reader.close()

    return run


@pytest.fixture(scope="session")
def write() -> Callable[..., bytes]:
    """Writes events for a client that wants all there is to see."""

    def run(dialect: str, events: Iterable[Event]) -> bytes:
        asked = Chat("the-model", [], stream=True, include_usage=True, reasoning=Reasoning(visible=True))
        writer = dialects()[dialect].operations["chat"].writer(asked)
        return b"".join([writer.write(event) for event in events])

    return run


def frame(dialect: str, *events: Any) -> bytes:
    """Frame the data of events as the vendor does; an event of Bedrock's is an object with one member, its name."""
    if dialect == "bedrock_converse":
        return b"".join(_binary(name, payload) for event in events for name, payload in (event or {"": {}}).items())
    encoded = [msgspec.json.encode(event) for event in events]
    if dialect == "openai_chat":
        return b"".join(b"data: " + data + b"\n\n" for data in encoded) + b"data: [DONE]\n\n"
    if dialect == "gemini":
        return b"".join(b"data: " + data + b"\r\n\r\n" for data in encoded)
    if dialect == "ollama":
        return b"".join(data + b"\n" for data in encoded)
    return b"".join(b"event: %s\ndata: %s\n\n" % (event["type"].encode(), data)
                    for event, data in zip(events, encoded, strict=True))


def _binary(name: str, payload: Any) -> bytes:
    kind = "exception" if name.endswith("Exception") else "event"
    headers = {f":{kind}-type": name, ":content-type": "application/json", ":message-type": kind}
    return encode(headers, msgspec.json.encode(payload))


@pytest.fixture(scope="session")
def framed() -> Callable[..., bytes]:
    """Frames the data of events as the vendor does."""
    return frame


def data_in(stream: bytes) -> list[Any]:
    """Return the data of a stream's events, decoded; what is not JSON is left out."""
    if b":message-type" in stream:
        return [{frame.word(":event-type") or frame.word(":exception-type"): msgspec.json.decode(frame.payload)}
                for frame in Frames().feed(stream)]
    lines = [line.removeprefix(b"data: ") for line in stream.splitlines()]
    return [msgspec.json.decode(line) for line in lines if line.startswith(b"{")]


@pytest.fixture(scope="session")
def data_of() -> Callable[[bytes], list[Any]]:
    """Returns the data of a stream's events, decoded; what is not JSON is left out."""
    return data_in


# --- what an official client makes of an answer ----------------------------------------------------------------------


class _Server:
    """Answers every request with what it was told to, and has a client of each vendor that asks it."""

    def __init__(self) -> None:
        self.content, self.kind = b"", ""
        self.http = httpx2.Client(transport=httpx2.MockTransport(
            lambda request: httpx2.Response(200, content=self.content, headers={"content-type": self.kind})))
        address = "http://gateway.test"
        self.openai = openai.OpenAI(api_key="test", base_url=f"{address}/v1", max_retries=0, http_client=self.http)
        self.anthropic = anthropic.Anthropic(api_key="test", base_url=address, max_retries=0, http_client=self.http)
        self.google = genai.Client(api_key="test", http_options=types.HttpOptions(
            base_url=address, api_version="v1beta", httpx_client=self.http)).models

    def answer(self, dialect: str, answer: Any) -> Any:
        """Return what the vendor's client makes of an answer, a body or the bytes of a stream."""
        stream = isinstance(answer, bytes)
        self.content = answer if stream else msgspec.json.encode(answer)
        self.kind = "text/event-stream" if stream else "application/json"
        return {"openai_chat": self._openai, "openai_responses": self._responses,
                "anthropic_messages": self._anthropic, "gemini": self._gemini}[dialect](stream)

    def _openai(self, stream: bool) -> Any:
        asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        if not stream:
            return self.openai.chat.completions.create(**asked)
        with self.openai.chat.completions.stream(**asked) as events:
            return events.get_final_completion()

    def _responses(self, stream: bool) -> Any:
        if not stream:
            return self.openai.responses.create(model="m", input="hi")
        with self.openai.responses.stream(model="m", input="hi") as events:
            *_, last = events
        assert last.type in ("response.completed", "response.incomplete")
        return last.response

    def _anthropic(self, stream: bool) -> Any:
        asked: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        if not stream:
            return self.anthropic.messages.create(**asked)
        with self.anthropic.messages.stream(**asked) as events:
            return events.get_final_message()

    def _gemini(self, stream: bool) -> Any:
        if not stream:
            return [self.google.generate_content(model="m", contents="hi")]
        return list(self.google.generate_content_stream(model="m", contents="hi"))


def _openai_says(completion: Any) -> Said:
    choice, usage = completion.choices[0], completion.usage
    calls = [(call.id, call.function.name, msgspec.json.decode(call.function.arguments))
             for call in choice.message.tool_calls or ()]
    return {"text": choice.message.content or "", "calls": calls, "finish": choice.finish_reason,
            "usage": usage and (usage.prompt_tokens, usage.completion_tokens)}


def _responses_says(response: Any) -> Said:
    calls = [(item.call_id, item.name, msgspec.json.decode(item.arguments))
             for item in response.output if item.type == "function_call"]
    refused = any(part.type == "refusal" for item in response.output if item.type == "message" for part in item.content)
    reasons = {"max_output_tokens": "length", "content_filter": "content_filter"}
    ended = "content_filter" if refused else "tool_calls" if calls else "stop"
    return {
        "text": response.output_text, "calls": calls,
        "finish": reasons[response.incomplete_details.reason] if response.incomplete_details else ended,
        "usage": response.usage and (response.usage.input_tokens, response.usage.output_tokens),
    }


def _anthropic_says(message: Any) -> Said:
    finishes = {"end_turn": "stop", "stop_sequence": "stop", "tool_use": "tool_calls", "max_tokens": "length",
                "refusal": "content_filter"}
    usage = message.usage
    cached = (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    return {
        "text": "".join(block.text for block in message.content if block.type == "text"),
        "calls": [(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"],
        "finish": finishes[message.stop_reason], "usage": (usage.input_tokens + cached, usage.output_tokens),
    }


def _gemini_parts(replies: Any) -> list[Any]:
    candidates = [reply.candidates[0] for reply in replies if reply.candidates]
    return [part for candidate in candidates if candidate.content for part in candidate.content.parts or ()]


def _gemini_says(replies: Any) -> Said:
    finishes = {"STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter",
                "PROHIBITED_CONTENT": "content_filter"}
    parts = _gemini_parts(replies)
    calls = [(part.function_call.id, part.function_call.name, part.function_call.args)
             for part in parts if part.function_call]
    word = next(candidate.finish_reason.value for reply in reversed(replies)
                for candidate in reply.candidates or () if candidate.finish_reason)
    usage = next((reply.usage_metadata for reply in reversed(replies) if reply.usage_metadata), None)
    return {
        "text": "".join(part.text or "" for part in parts if not part.thought), "calls": calls,
        "finish": "tool_calls" if calls and word == "STOP" else finishes[word],
        "usage": usage and (usage.prompt_token_count,
                            (usage.candidates_token_count or 0) + (usage.thoughts_token_count or 0)),
    }


_SAYS = {"openai_chat": _openai_says, "openai_responses": _responses_says, "anthropic_messages": _anthropic_says,
         "gemini": _gemini_says}
_TURNS: dict[str, Callable[[Any], Any]] = {
    "openai_chat": lambda completion: completion.choices[0].message.model_dump(exclude_none=True, exclude={"parsed"}),
    "openai_responses": lambda response: [item.to_dict(mode="json", exclude_none=True) for item in response.output],
    "anthropic_messages": lambda message: {
        "role": "assistant", "content": [block.model_dump(exclude_none=True) for block in message.content]},
    "gemini": lambda replies: {"role": "model", "parts": [
        part.model_dump(mode="json", by_alias=True, exclude_none=True) for part in _gemini_parts(replies)]},
}


@pytest.fixture(scope="session")
def server() -> Iterator[_Server]:
    server = _Server()
    yield server
    server.http.close()


@pytest.fixture(scope="session")
def understood(server: _Server) -> Callable[[str, Any], Said]:
    """Feeds an answer, a body or the bytes of a stream, to the vendor's own client; returns what it says in common
    words: text, calls (id, name, arguments), finish, usage (input, output). What the client raises, it raises."""
    return lambda dialect, answer: _SAYS[dialect](server.answer(dialect, answer))


@pytest.fixture(scope="session")
def turn_of(server: _Server) -> Callable[[str, Any], Any]:
    """Feeds an answer to the vendor's own client; returns the model's turn as that client sends it back."""
    return lambda dialect, answer: _TURNS[dialect](server.answer(dialect, answer))
