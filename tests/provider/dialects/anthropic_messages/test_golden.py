"""One rich request of each kind against a file: of this dialect's own client, and of another's."""

import pytest

from ailink_provider.catalog import facts
from ailink_provider.chat import (
    CacheMark,
    Chat,
    Media,
    Message,
    Native,
    OutputFormat,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    WebSearch,
)

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAE="


def test_its_own_client_s_request_comes_out_as_it_went_in(messages, golden, accepted):
    body = golden("own_request.json")
    sent = messages.write_request(messages.read_request(body), facts(body["model"]))
    assert sent.body == body
    assert (sent.losses, sent.names, sent.schema_tool) == ([], {}, None)
    accepted(sent.body)


def test_its_own_client_s_request_can_be_counted(counting, golden, countable):
    body = golden("own_request.json")
    sent = counting.write_request(counting.read_request(body), facts(body["model"]))
    countable(sent.body)
    assert sent.body == {key: body[key] for key in (
        "model", "system", "messages", "tools", "tool_choice", "output_config", "thinking", "speed")}


@pytest.fixture
def foreign() -> Chat:
    """What a client of Chat Completions may have asked, after a conversation with three vendors."""
    return Chat(
        model="claude-sonnet-4-5", dialect="openai_chat", stream=True,
        messages=[
            Message("system", [Text("You are helpful.", cache=CacheMark("1h"))]),
            Message("developer", [Text("Use the tools.")]),
            Message("user", [Text("What is this?"), Media("image", "image/jpeg", PNG, detail="high"),
                             Media("document", "text/markdown", "IyBIaQ==", name="notes.md"), Text("  ")], name="ann"),
            Message("assistant", [
                Text("Looking."), Thinking("foreign", signature="g", signed_by="gemini"),
                Thinking("mine", signature="s", signed_by="anthropic_messages"),
                ToolCall("Bash:0", "fs.read", '{"path": "/a"}'), ToolCall("call_2", "shell", "ls", custom=True)]),
            Message("user", [ToolResult("Bash:0", [Text("A"), Media("image", "image/png", PNG)])]),
            Message("system", [Text("Be quick.")]),
            Message("user", [ToolResult("call_2", [Text("denied")], is_error=True)]),
            Message("assistant", [Refusal("I would rather not."), Native("gemini", {"executableCode": {}})]),
            Message("user", [Text("Please."), Media("document", url="https://a.test/b.pdf")]),
        ],
        tools=[Tool("fs.read", "Reads.", {"type": "object", "properties": {"path": {"type": "string", "minLength": 1}}},
                    strict=True, cache=CacheMark("1h")),
               Tool("shell", custom=True), Tool("other"), WebSearch({"search_context_size": "high"})],
        tool_choice=ToolChoice("auto", ["fs.read", "shell", "web_search"]), parallel_tool_calls=False,
        output=OutputFormat("schema", "answer", {"type": "object", "properties": {"a": {"type": "string"}}}, True),
        reasoning=Reasoning("high"), max_tokens=9000, temperature=0.3, top_p=0.9, stop=["", "END"], seed=7,
        presence_penalty=0.5, logprobs=True, service_tier="priority", user="ann@example.test",
        metadata={"team": "red"}, extras={"logit_bias": {"50256": -100}, "store": False},
    )


def test_another_client_s_request(messages, golden, accepted, foreign):
    sent = messages.write_request(foreign, facts(foreign.model))
    expected = golden("foreign_request.json")
    assert sent.body == expected["body"]
    assert [list(loss) for loss in sent.losses] == expected["losses"]
    assert (sent.names, sorted(sent.custom)) == (expected["names"], expected["custom"])
    accepted(sent.body)
