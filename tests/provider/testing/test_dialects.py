"""What this project's dialects write breaks no rule of the vendors', whatever a chat asks of whatever model."""

from collections.abc import Iterator

import msgspec
import pytest

from ailink_provider.catalog import facts
from ailink_provider.chat import (
    CacheMark,
    Chat,
    Media,
    Message,
    MessageEnd,
    OutputFormat,
    Reasoning,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
)
from ailink_provider.registry import dialects
from ailink_provider.testing import KEYS, MockUpstream
from ailink_provider.transport import Guard, Origin, Request, Transport

MODELS = {
    ("openai_chat", "openai", "/v1"): ("gpt-4o", "gpt-5", "o3", "gpt-3.5-turbo"),
    ("anthropic_messages", "anthropic", ""): (
        "claude-opus-5-5", "claude-opus-5", "claude-opus-4-7", "claude-sonnet-4-6", "claude-haiku-4-5",
        "claude-sonnet-4-0", "claude-3-5-haiku-20241022"),
    ("gemini", "gemini", ""): (
        "gemini-3-pro-preview", "gemini-2.5-pro", "gemini-2.5-flash", "gemini-2.0-flash", "gemini-1.5-pro"),
    ("openai_responses", "openai", "/v1"): ("gpt-4o", "gpt-5", "o3"),
    ("bedrock_converse", "bedrock", ""): (
        "us.anthropic.claude-opus-5-5-v1:0", "us.anthropic.claude-opus-4-7-v1:0", "anthropic.claude-sonnet-4-6",
        "us.anthropic.claude-haiku-4-5-20251001-v1:0", "us.anthropic.claude-3-5-haiku-20241022-v1:0",
        "us.amazon.nova-pro-v1:0", "us.meta.llama4-maverick-17b-instruct-v1:0",
        "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"),
    ("ollama", "ollama", ""): ("llama3.1:8b", "qwen3:8b", "gpt-oss:20b"),
}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"],
          "additionalProperties": False}
TOOL = Tool("get.weather", "Tells the weather.", SCHEMA)
LONG_ID = "functions.weather:0-" * 4


def chats(model: str) -> Iterator[Chat]:
    """Chats as another dialect would have read them, awkward ones among them."""

    def chat(*later: Message, **fields: object) -> Chat:
        first = [Message("system", [Text("Be brief.")]), Message("user", [Text("Weather in Paris?")])]
        return Chat(model, [*first, *later], dialect="another", **fields)  # type: ignore[arg-type]

    yield chat(temperature=0.5, top_p=0.9, top_k=5, max_tokens=50, stop=["x", " "], seed=1, user="ada@example.com")
    yield chat(tools=[TOOL], tool_choice=ToolChoice("required"), parallel_tool_calls=False)
    yield chat(tools=[TOOL], tool_choice=ToolChoice("auto", ["get.weather"]), service_tier="flex")
    yield chat(output=OutputFormat("schema", "answer", SCHEMA, strict=True))
    yield chat(output=OutputFormat("json"))
    yield from (chat(reasoning=Reasoning(effort=effort), max_tokens=3000) for effort in ("none", "minimal", "max"))
    yield chat(reasoning=Reasoning(budget=2000, visible=True), temperature=0.3)
    yield chat(
        Message("assistant", [Text(""), Thinking("Hm.", "proof", signed_by="another"), ToolCall(LONG_ID, "get.weather"),
                              ToolCall("b", "get.weather", '{"city": "Rome"}')]),
        Message("user", [ToolResult(LONG_ID, [Text("sunny")])]), Message("user", [ToolResult("b", [Text("")], True)]),
        tools=[TOOL])
    picture = Media("image", "image/png", "iVBORw0KGgo=", cache=CacheMark("1h"))
    yield chat(
        Message("assistant", [Text("Yes? ")]), Message("user", [Text(" ")]),
        Message("user", [Text("See", CacheMark("5m")), picture]),
        Message("system", [Text("Be kind.")]), Message("user", [Text("Well?")]))


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("route", "model"), [(route, model) for route, models in MODELS.items() for model in models])
async def test_requests_break_no_rule(
        upstream: MockUpstream, route: tuple[str, str, str], model: str, streamed: bool) -> None:
    name, vendor, prefix = route
    dialect, origin = dialects()[name], Origin.parse(upstream.url())[0]
    operation, (header, scheme) = dialect.operations["chat"], dialect.credential_header
    headers = {"content-type": "application/json", header: scheme + KEYS.get(vendor, ""), **dialect.fixed_headers}
    lines = [(key.encode(), value.encode()) for key, value in headers.items()]
    target = (prefix + operation.path(model, streamed)).encode()
    transport = Transport(guard=Guard([origin.authority]))
    for chat in chats(model):
        chat.stream = streamed
        sent = operation.write_request(chat, facts(model))
        reply = await transport.send(Request("POST", origin, target, lines, msgspec.json.encode(sent.body)))
        upstream.assert_clean()
        if streamed:
            reader = operation.reader(sent)
            events = [event async for piece in reply for event in reader.feed(piece)] + reader.close()
            assert isinstance(events[-1], MessageEnd)
        else:
            body = msgspec.json.decode(await reply.read(1 << 20))
            assert operation.read_reply(body, sent).usage is not None
    assert len(upstream.requests) == 11
    await transport.close()
