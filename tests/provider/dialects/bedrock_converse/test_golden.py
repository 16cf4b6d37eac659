"""One rich request of each kind against a file: of this dialect's own client, and of another's, for five makers."""

import pytest

from ailink_provider.catalog import Facts, facts
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
MODELS = {
    "claude-sonnet-4-5": "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
    "claude-opus-5-5": "global.anthropic.claude-opus-5-5-v1:0",
    "nova-2": "us.amazon.nova-2-lite-v1:0",
    "llama": "us.meta.llama4-maverick-17b-instruct-v1:0",
    "unnamed": "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123",
}


@pytest.mark.parametrize("model", [MODELS["claude-opus-5-5"], MODELS["unnamed"]])
def test_its_own_client_s_request_comes_out_as_it_went_in(converse, golden, accepted, model):
    body = golden("own_request.json")
    sent = converse.write_request(converse.read_request(body, model), facts(model))
    assert sent.body == body
    assert (sent.losses, sent.names, sent.schema_tool) == ([], {}, None)
    accepted(sent.body)


@pytest.mark.parametrize("thinking", ["none", "budget"])
def test_its_own_client_s_budget_comes_out_as_it_went_in(converse, own, thinking):
    body = {"messages": [{"role": "user", "content": [{"text": "Hi"}]}], "inferenceConfig": {"maxTokens": 500},
            "additionalModelRequestFields": {"thinking": {"type": "enabled", "budget_tokens": 900}, "top_k": 5}}
    sent = converse.write_request(own("arn:aws:x/y", **body), Facts(thinking=thinking))
    assert sent.body == body | {"additionalModelRequestFields": {
        "thinking": {"type": "enabled", "budget_tokens": 900}}}
    assert [loss.field for loss in sent.losses] == ["top_k"]


@pytest.fixture
def foreign() -> Chat:
    """What a client of Chat Completions may have asked, after a conversation with three vendors."""
    return Chat(
        model="", dialect="openai_chat", stream=True,
        messages=[
            Message("system", [Text("You are helpful.", cache=CacheMark("1h"))]),
            Message("developer", [Text("Use the tools.")]),
            Message("user", [Text("What is this?"), Media("image", "image/jpeg", PNG, detail="high"),
                             Media("document", "text/markdown", "IyBIaQ==", name="notes.md", cache=CacheMark()),
                             Text("  ")], name="ann"),
            Message("assistant", [
                Text("Looking."), Thinking("foreign", signature="g", signed_by="gemini"),
                Thinking("mine", signature="s", signed_by="bedrock_converse"),
                ToolCall("Bash 0", "fs.read", '{"path": "/a"}'), ToolCall("call_2", "shell", "ls", custom=True)]),
            Message("user", [ToolResult("Bash 0", [Text("A"), Media("image", "image/png", PNG)], cache=CacheMark())]),
            Message("system", [Text("Be quick.")]),
            Message("user", [ToolResult("call_2", [Text("denied")], is_error=True)]),
            Message("assistant", [Refusal("I would rather not."), Native("gemini", {"executableCode": {}})]),
            Message("user", [Text("Please."), Media("document", "application/pdf", "JVBERi0xLjQ=", name="notes.md")]),
        ],
        tools=[Tool("fs.read", " ", {"type": "object", "properties": {"path": {"type": "string", "minLength": 1}}},
                    strict=True, cache=CacheMark("1h")),
               Tool("shell", custom=True), Tool("other"), WebSearch({"search_context_size": "high"})],
        tool_choice=ToolChoice("auto", ["fs.read", "shell"]), parallel_tool_calls=False,
        output=OutputFormat("schema", "an answer", {"type": "object", "properties": {"a": {"type": "string"}}}, True),
        reasoning=Reasoning("high"), max_tokens=9000, temperature=1.3, top_p=0.9, top_k=40, stop=["", "END"], seed=7,
        presence_penalty=0.5, logprobs=True, service_tier="fast", user="ann@example.test",
        metadata={"team": "red", "note": "ä"}, extras={"logit_bias": {"50256": -100}, "store": False},
    )


@pytest.mark.parametrize("name", MODELS)
def test_another_client_s_request(converse, golden, accepted, foreign, name):
    foreign.model = MODELS[name]
    sent = converse.write_request(foreign, facts(foreign.model))
    expected = golden(f"{name}_request.json")
    assert sent.body == expected["body"]
    assert [f"{loss.field}: {loss.why}" for loss in sent.losses] == expected["losses"]
    assert (sent.names, sorted(sent.custom), sent.schema_tool) == (
        expected["names"], expected["custom"], expected["schema_tool"])
    accepted(sent.body)
