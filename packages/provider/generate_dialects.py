"""Writes docs/dialects.md: what becomes of every field on its way from one wire format to another.

    python packages/provider/generate_dialects.py            # write it
    python packages/provider/generate_dialects.py --check    # fail if it is not current

Nothing in the table is claimed: each cell is what the dialects do when they are given that one field, for several
models of the target. It needs what the mock upstreams need.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ailink_provider.catalog import facts
from ailink_provider.chat import (
    CacheMark,
    Chat,
    Choice,
    Finish,
    Media,
    Message,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolChoice,
    ToolResult,
    Usage,
    WebSearch,
)
from ailink_provider.dialects import Sent
from ailink_provider.errors import Failure
from ailink_provider.registry import dialects
from ailink_provider.testing.gemini.rules import request_schema
from ailink_provider.testing.schemas import sdk_schema

PAGE = Path(__file__).parents[2] / "docs/dialects.md"
INBOUND = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")
MODELS = {
    "openai_chat": ("gpt-4o", "gpt-5"), "openai_responses": ("gpt-4o", "gpt-5"),
    "anthropic_messages": ("claude-3-5-sonnet-20241022", "claude-sonnet-4-5", "claude-opus-5-5"),
    "gemini": ("gemini-1.5-pro", "gemini-2.5-flash", "gemini-3-pro-preview"),
    "bedrock_converse": ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "us.anthropic.claude-opus-5-5-v1:0",
                         "us.amazon.nova-2-lite-v1:0", "us.meta.llama4-maverick-17b-instruct-v1:0"),
    "ollama": ("llama3.1:8b", "gpt-oss:20b"),
}
PNG, PDF, WAV = "iVBORw0KGgoAAAANSUhEUgAAAAE=", "JVBERi0xLjcK", "UklGRiQAAABXQVZF"
SCHEMA = {"type": "object", "properties": {"x": {"type": "string"}}, "required": ["x"], "additionalProperties": False}
LOOK = Tool("look", "Looks.", SCHEMA)
HI = Message("user", [Text("Hi, as JSON.")])
# A word for what became of a field, from the best to the worst.
MAPPED, EMULATED, REPORTED, REFUSED, SILENT = "mapped", "emulated", "reported", "refused", "–"


def chat(*messages: Message, **fields: Any) -> Chat:
    """Return a conversation that a dialect unknown to all has read."""
    return Chat("m", list(messages) or [HI], dialect="another", **fields)


def loop(result: ToolResult | None = None, call: ToolCall | None = None, *before: Part) -> Chat:
    """Return a conversation in which a tool was called."""
    call = call or ToolCall("a", "look", '{"x":"y"}')
    answer = result or ToolResult("a", [Text("seen")])
    return chat(HI, Message("assistant", [*before, call]), Message("user", [answer]), tools=[LOOK])


def said(*parts: Part) -> Chat:
    """Return a conversation that ends with these parts of the user's."""
    return chat(Message("user", [Text("Hi, as JSON."), *parts]))


# What of a canonical request is asked -> the request, and the one that it is compared with.
BASE, TOOLS, LOOP = chat(), chat(tools=[LOOK]), loop()
PROBES: dict[str, tuple[Chat, Chat]] = {
    "system prompt": (chat(Message("system", [Text("Be brief.")]), HI), BASE),
    "developer's prompt": (chat(Message("developer", [Text("Be brief.")]), HI), BASE),
    "system in mid-conversation": (
        chat(HI, Message("assistant", [Text("Yes?")]), Message("system", [Text("Be brief.")]), HI),
        chat(HI, Message("assistant", [Text("Yes?")]), HI)),
    "name of a speaker": (chat(Message("user", HI.parts, name="ada")), BASE),
    "beginning of the answer": (chat(HI, Message("assistant", [Text("It is")])), BASE),
    "image, data": (said(Media("image", "image/png", PNG)), BASE),
    "image, URL": (said(Media("image", "image/png", url="https://pictures.test/a.png")), BASE),
    "image, detail": (said(Media("image", "image/png", PNG, detail="low")), said(Media("image", "image/png", PNG))),
    "document, data": (said(Media("document", "application/pdf", PDF, name="a.pdf")), BASE),
    "document, URL": (said(Media("document", "application/pdf", url="https://papers.test/a.pdf")), BASE),
    "sound, data": (said(Media("audio", "audio/wav", WAV)), BASE),
    "file kept at a vendor": (said(Media("document", "application/pdf", file_id="file-1")), BASE),
    "prompt cache mark": (chat(Message("user", [Text("Hi, as JSON.", CacheMark("5m"))])), BASE),
    "tool": (TOOLS, BASE),
    "tool, strict": (chat(tools=[Tool("look", "Looks.", SCHEMA, strict=True)]), TOOLS),
    "tool, name with a dot": (chat(tools=[Tool("my.look", "Looks.", SCHEMA)]), TOOLS),
    "tool, free text": (chat(tools=[Tool("note", "Notes.", custom=True)]), BASE),
    "tool, free text by a grammar": (chat(tools=[Tool("note", "Notes.", custom=True, format={
        "type": "grammar", "grammar": {"syntax": "lark", "definition": "start: /x/"}})]), BASE),
    "web search": (chat(tools=[WebSearch()]), BASE),
    "tool_choice none": (chat(tools=[LOOK], tool_choice=ToolChoice("none")), TOOLS),
    "tool_choice required": (chat(tools=[LOOK], tool_choice=ToolChoice("required")), TOOLS),
    "tool_choice, one tool": (chat(tools=[LOOK], tool_choice=ToolChoice("required", ["look"])), TOOLS),
    "tool_choice, some tools": (
        chat(tools=[LOOK, Tool("b"), Tool("c")], tool_choice=ToolChoice("auto", ["look", "b"])),
        chat(tools=[LOOK, Tool("b"), Tool("c")])),
    "parallel_tool_calls false": (chat(tools=[LOOK], parallel_tool_calls=False), TOOLS),
    "tool call and result": (LOOP, TOOLS),
    "tool result, failed": (loop(ToolResult("a", [Text("seen")], is_error=True)), LOOP),
    "tool result, image": (loop(ToolResult("a", [Text("seen"), Media("image", "image/png", PNG)])), LOOP),
    "tool result, document": (
        loop(ToolResult("a", [Text("seen"), Media("document", "application/pdf", PDF, name="a.pdf")])), LOOP),
    "thought of another vendor's": (loop(None, None, Thinking("Hm.", "c2ln", signed_by="another")), LOOP),
    "refusal in the history": (
        chat(HI, Message("assistant", [Refusal("No.")]), HI), chat(HI, Message("assistant", [Text("No!")]), HI)),
    "output, any JSON": (chat(output=OutputFormat("json")), BASE),
    "output, a schema": (chat(output=OutputFormat("schema", "answer", SCHEMA, strict=True)), BASE),
    "reasoning.effort": (chat(max_tokens=9000, reasoning=Reasoning(effort="high")), chat(max_tokens=9000)),
    "reasoning.effort none": (chat(max_tokens=9000, reasoning=Reasoning(effort="none")), chat(max_tokens=9000)),
    "reasoning.budget": (chat(max_tokens=9000, reasoning=Reasoning(budget=4000)), chat(max_tokens=9000)),
    "reasoning.visible": (
        chat(max_tokens=9000, reasoning=Reasoning(effort="high", visible=True)),
        chat(max_tokens=9000, reasoning=Reasoning(effort="high"))),
    **{name: (chat(**{name: value}), BASE) for name, value in {
        "max_tokens": 500, "temperature": 0.5, "top_p": 0.9, "top_k": 40, "stop": ["END"], "n": 2, "seed": 7,
        "presence_penalty": 0.5, "frequency_penalty": 0.5, "logprobs": True, "service_tier": "flex", "user": "ada",
        "metadata": {"run": "42"}}.items()},
    "temperature above 1": (chat(temperature=1.5), BASE),
    "top_logprobs": (chat(logprobs=True, top_logprobs=2), chat(logprobs=True)),
    "stream": (chat(stream=True), BASE),
    "unknown field": (chat(extras={"colour": "red"}), BASE),
}

# What of a canonical reply is answered -> its parts and fields, over a short text.
REPLIES: dict[str, Reply] = {
    "text": Reply(choices=[Choice([Text("Hello.")])]),
    "thought": Reply(choices=[Choice([Thinking("Hm."), Text("Hello.")])]),
    "thought, signed": Reply(choices=[Choice([Thinking("Hm.", "c2ln", signed_by="another"), Text("Hello.")])]),
    "thought, hidden": Reply(choices=[Choice([Thinking(redacted="aGlk", signed_by="another"), Text("Hello.")])]),
    "tool call": Reply(choices=[Choice([ToolCall("a", "look", '{"x":"y"}')])]),
    "tool call, free text": Reply(choices=[Choice([ToolCall("a", "note", "x = y", custom=True)])]),
    "tool call, signed": Reply(choices=[Choice([ToolCall("a", "look", "{}", signature="c2ln", signed_by="gemini")])]),
    "refusal": Reply(choices=[Choice([Refusal("No.")], Finish("content_filter"))]),
    "page that is cited": Reply(choices=[Choice([Text("Hello.", annotations=[
        {"type": "url_citation", "url": "https://sky.test", "title": "Sky"}])])]),
    "second choice": Reply(choices=[Choice([Text("Hello.")]), Choice([Text("Good day.")])]),
    "log-probabilities": Reply(choices=[Choice([Text("Hello.")], logprobs=[TokenLogprob("Hello.", -0.5)])]),
    **{f"finish {reason}": Reply(choices=[Choice([Text("Hello.")], Finish(reason))])
       for reason in ("length", "content_filter", "pause")},
    "finish, stop sequence": Reply(choices=[Choice([Text("Hello.")], Finish("stop", stop_sequence="END"))]),
    "finish, the upstream's word": Reply(choices=[Choice([Text("Hello.")], Finish("stop", native="odd_reason"))]),
    "finish, why refused": Reply(choices=[Choice([], Finish("content_filter", explanation="Not that."))]),
    "usage": Reply(choices=[Choice([Text("Hello.")])], usage=Usage(7, 5)),
    **{f"usage, {name}": Reply(choices=[Choice([Text("Hello.")])], usage=Usage(90, 50, **{name: 20}))
       for name in ("cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens", "reasoning_tokens",
                    "input_audio_tokens", "output_audio_tokens")},
    "service tier": Reply(choices=[Choice([Text("Hello.")])], usage=Usage(7, 5), service_tier="priority"),
}


# --- requests ---------------------------------------------------------------------------------------------------------


def outcome(probe: Chat, base: Chat, outbound: str, model: str) -> str:
    """Return what becomes of what ``probe`` asks beside ``base``."""
    write = dialects()[outbound].operations["chat"].write_request
    plain: Sent | None = None
    try:
        plain = write(msgspec.structs.replace(base, model=model), facts(model))
        sent = write(msgspec.structs.replace(probe, model=model), facts(model))
    except Failure:
        return REFUSED
    changed, lost = sent.body != plain.body, [loss for loss in sent.losses if loss not in plain.losses]
    undone = sent.names or sent.custom or sent.schema_tool
    if lost:
        return EMULATED if changed else REPORTED
    return EMULATED if undone else MAPPED if changed or path_of(outbound, probe) != path_of(outbound, base) else SILENT


def path_of(outbound: str, request: Chat) -> str:
    """Return the path that a request goes to."""
    return dialects()[outbound].operations["chat"].path("m", request.stream)


def cell(probe: Callable[[str], tuple[Chat, Chat]], outbound: str) -> str:
    """Return what becomes of a field in a dialect: one word, or several where it is a matter of the model."""
    words = list(dict.fromkeys(outcome(*probe(model), outbound, model) for model in MODELS[outbound]))
    order = (MAPPED, EMULATED, REPORTED, REFUSED, SILENT)
    return " / ".join(sorted(words, key=order.index))


# --- the fields of each dialect ---------------------------------------------------------------------------------------

LEAST: dict[str, dict[str, Any]] = {
    "openai_chat": {"model": "m", "messages": [{"role": "user", "content": "Hi, as JSON."}]},
    "openai_responses": {"model": "m", "input": "Hi, as JSON."},
    "anthropic_messages": {"model": "m", "max_tokens": 9000, "messages": [{"role": "user", "content": "Hi, as JSON."}]},
    "gemini": {"contents": [{"role": "user", "parts": [{"text": "Hi, as JSON."}]}]},
}
# Objects whose members are looked at one by one.
OPENED = {"gemini": ("generationConfig",), "openai_responses": ("text", "reasoning"),
          "anthropic_messages": ("output_config",)}
# Values that say more than the least that the vendor's schema takes.
_FUNCTION = {"type": "function", "function": {"name": "look", "parameters": SCHEMA}}
VALUES: dict[str, dict[str, Any]] = {
    "openai_chat": {
        "tools": [_FUNCTION], "tool_choice": "required", "parallel_tool_calls": False, "stop": ["END"], "n": 2,
        "response_format": {"type": "json_object"}, "functions": [{"name": "look", "parameters": SCHEMA}],
        "function_call": "none", "reasoning_effort": "high", "logprobs": True, "service_tier": "flex", "stream": True,
        "stream_options": {"include_usage": True}, "max_tokens": 500, "max_completion_tokens": 500, "temperature": 0.5,
        "top_p": 0.9, "presence_penalty": 0.5, "frequency_penalty": 0.5, "top_logprobs": 2, "metadata": {"run": "42"}},
    "openai_responses": {
        "tools": [{"type": "function", "name": "look", "parameters": SCHEMA, "strict": True}], "max_output_tokens": 500,
        "tool_choice": "required", "parallel_tool_calls": False, "include": ["message.output_text.logprobs"],
        "text.format": {"type": "json_object"}, "reasoning.effort": "high", "reasoning.summary": "auto",
        "service_tier": "flex", "stream": True, "temperature": 0.5, "top_p": 0.9, "metadata": {"run": "42"},
        "store": True, "truncation": "auto", "background": True, "stream_options": {"include_obfuscation": True}},
    "anthropic_messages": {
        "tools": [{"name": "look", "input_schema": SCHEMA}], "tool_choice": {"type": "any"}, "system": "Be brief.",
        "thinking": {"type": "enabled", "budget_tokens": 4000}, "stop_sequences": ["END"], "stream": True,
        "output_config.effort": "high", "output_config.format": {"type": "json_schema", "schema": SCHEMA},
        "service_tier": "standard_only", "metadata": {"user_id": "5f2d9c"}},
    "gemini": {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "tools": [{"functionDeclarations": [{"name": "look"}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY"}}, "serviceTier": "flex",
        **{f"generationConfig.{name}": value for name, value in {
            "temperature": 0.5, "topP": 0.9, "topK": 40, "maxOutputTokens": 500, "candidateCount": 2,
            "stopSequences": ["END"], "seed": 7, "presencePenalty": 0.5, "frequencyPenalty": 0.5,
            "responseLogprobs": True, "responseMimeType": "application/json", "responseJsonSchema": SCHEMA,
            "responseSchema": {"type": "OBJECT", "properties": {"x": {"type": "STRING"}}},
            "thinkingConfig": {"includeThoughts": True, "thinkingBudget": 4000}}.items()}},
}
# What a field needs beside it to mean anything.
BESIDE: dict[tuple[str, str], dict[str, Any]] = {
    **{("openai_chat", name): {"tools": [_FUNCTION]} for name in ("tool_choice", "parallel_tool_calls")},
    ("openai_chat", "function_call"): {"functions": [{"name": "look"}]}, ("openai_chat", "top_logprobs"): {
        "logprobs": True}, ("openai_chat", "stream_options"): {"stream": True},
    **{("openai_responses", name): {"tools": VALUES["openai_responses"]["tools"]}
       for name in ("tool_choice", "parallel_tool_calls")},
    ("openai_responses", "stream_options"): {"stream": True},
    ("anthropic_messages", "tool_choice"): {"tools": VALUES["anthropic_messages"]["tools"]},
    ("gemini", "toolConfig"): {"tools": VALUES["gemini"]["tools"]},
    ("gemini", "generationConfig.logprobs"): {"generationConfig": {"responseLogprobs": True}},
    ("openai_responses", "top_logprobs"): {"include": ["message.output_text.logprobs"]},
    **{("gemini", f"generationConfig.{name}"): {"generationConfig": {"responseMimeType": "application/json"}}
       for name in ("responseSchema", "responseJsonSchema")},
}


def document_of(inbound: str) -> dict[str, Any]:
    """Return the vendor's own schema of a request."""
    if inbound == "gemini":
        return request_schema("generateContent").document
    module, name, distribution = {
        "openai_chat": ("openai.types.chat.completion_create_params", "CompletionCreateParamsStreaming", "openai"),
        "openai_responses": (
            "openai.types.responses.response_create_params", "ResponseCreateParamsStreaming", "openai"),
        "anthropic_messages": (
            "anthropic.types.message_create_params", "MessageCreateParamsStreaming", "anthropic"),
    }[inbound]
    return sdk_schema(module, name, distribution).document


def fields_of(inbound: str) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a request and a value for each: one that says something, or the least that its schema takes.
    """
    document = document_of(inbound)
    for name, schema in sorted(document["properties"].items()):
        if name in LEAST[inbound]:
            continue
        opened = resolve(document, schema) if name in OPENED.get(inbound, ()) else {}
        members = [(f"{name}.{inner}", part) for inner, part in sorted(opened.get("properties", {}).items())]
        for path, part in members or [(name, schema)]:
            yield path, VALUES[inbound].get(path, example(document, part))


def resolve(document: dict[str, Any], schema: Any) -> dict[str, Any]:
    """Return a schema that is no reference and no choice: the first one that is not null."""
    while "$ref" in schema or "anyOf" in schema or "oneOf" in schema:
        if "$ref" in schema:
            schema = document["$defs"][schema["$ref"].rpartition("/")[2]]
        else:
            schema = next(part for part in schema.get("anyOf") or schema["oneOf"] if part.get("type") != "null")
    return dict(schema)


def example(document: dict[str, Any], schema: Any, depth: int = 0) -> Any:
    """Return the least that a schema takes, but no empty list or object where it knows what goes into one."""
    schema = resolve(document, schema)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[-1])
    kind = schema.get("type")
    if kind == "object" or "properties" in schema:
        known = schema.get("properties", {})
        wanted = schema.get("required") or (list(known)[:1] if depth < 3 else [])
        return {name: example(document, known[name], depth + 1) for name in wanted} or {"key": "value"}
    if kind == "array":
        return [example(document, schema.get("items", {"type": "string"}), depth + 1)] if depth < 3 else []
    return {"integer": 3, "number": 0.5, "boolean": True}.get(str(kind), "x")


def own_probe(inbound: str, path: str, value: Any) -> Callable[[str], tuple[Chat, Chat]]:
    """Return what reads a request with and without one field, for a model."""

    def probe(model: str) -> tuple[Chat, Chat]:
        read = dialects()[inbound].operations["chat"].read_request
        beside = BESIDE.get((inbound, path), {})
        name, _, member = path.partition(".")
        inner = {**beside.get(name, {}), member: value} if member else value
        return read({**LEAST[inbound], **beside, name: inner}, model), read({**LEAST[inbound], **beside}, model)

    return probe


def own_cell(inbound: str, path: str, value: Any, outbound: str) -> str:
    """Return what becomes of one of a dialect's own fields."""
    try:
        return cell(own_probe(inbound, path, value), outbound)
    except Failure as failure:
        raise AssertionError(f"the probe of {inbound}'s {path} is no request: {failure.message}") from failure


# --- replies ----------------------------------------------------------------------------------------------------------


def shown(reply: Reply, inbound: str) -> str:
    """Return what a client of ``inbound`` is shown of a reply: as its own dialect has it, in other words, or not."""
    operation = dialects()[inbound].operations["chat"]
    asked = chat(include_usage=True, reasoning=Reasoning(visible=True))
    full = msgspec.structs.replace(reply, id="r", model="m", created=1)
    for choice in full.choices:
        calls = any(isinstance(part, ToolCall) for part in choice.parts)
        choice.finish = choice.finish or Finish("tool_calls" if calls else "stop")
    body = msgspec.json.decode(msgspec.json.encode(operation.write_reply(full, asked)))
    heard = operation.read_reply(body, Sent({}, custom=frozenset({"note"})))
    if marks(heard) == marks(full):
        return MAPPED
    plain = msgspec.structs.replace(REPLIES["text"], id="r", model="m", created=1)
    usage = Usage(90, 50) if full.usage and full.usage.input_tokens == 90 else full.usage
    plain = msgspec.structs.replace(plain, usage=usage, choices=[Choice([Text("Hello.")], Finish("stop"))])
    same = msgspec.json.decode(msgspec.json.encode(operation.write_reply(plain, asked)))
    return "left out" if same == body else EMULATED


def marks(reply: Reply) -> Any:
    """Return what of a reply is compared."""
    return [
        [(type(part).__name__, getattr(part, "text", ""), getattr(part, "arguments", ""),
          bool(getattr(part, "signature", None) or getattr(part, "redacted", None)), getattr(part, "custom", False),
          bool(getattr(part, "annotations", None))) for part in choice.parts]
        + [choice.finish and (choice.finish.reason, choice.finish.stop_sequence, choice.finish.explanation),
           bool(choice.finish and choice.finish.native == "odd_reason"), bool(choice.logprobs)]
        for choice in reply.choices
    ], reply.usage or Usage(), reply.service_tier


# --- the page ---------------------------------------------------------------------------------------------------------

HEAD = """# What becomes of every field

Written by `packages/provider/generate_dialects.py`, which gives the dialects each field by itself and looks at what
they make of it; a test fails when this page is not current.

| word | meaning |
|---|---|
| mapped | the target has a word for it |
| emulated | it is said in other words, or in part; where that is less than was asked, it is reported as well |
| reported | left out, and named: a warning in the header `X-AILink-Warning` |
| refused | 400, since to leave it out would change the answer's meaning |
| – | it goes without saying, or asks for what is done anyway |
| a / b | a matter of the model |

Between a client and a model of one dialect, nothing is translated: the body travels as it is, but for the model and
what the gateway has to know.
"""


def table(title: str, names: tuple[str, ...], rows: Iterator[tuple[str, list[str]]]) -> str:
    """Return a table with a column for each dialect."""
    lines = [f"| {title} | {' | '.join(names)} |", f"|---|{'---|' * len(names)}"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]
    return "\n".join(lines) + "\n"


def page() -> str:
    """Return the page."""
    outbound = tuple(MODELS)
    asked = table("a request's", outbound, (
        (name, [cell(lambda model, probe=probe: probe, target) for target in outbound])  # type: ignore[misc]
        for name, probe in PROBES.items()))
    answered = table("a reply's", INBOUND, (
        (name, [shown(reply, client) for client in INBOUND]) for name, reply in REPLIES.items()))
    sections = [HEAD, "## What is asked, to every dialect of models\n", asked,
                "## What is answered, to every dialect of clients\n",
                "A thought's proof stays readable for the dialect that signed it, whoever carries it.\n", answered]
    for inbound in INBOUND:
        others = tuple(target for target in outbound if target != inbound)
        rows = ((f"`{path}`", [own_cell(inbound, path, value, target) for target in others])
                for path, value in fields_of(inbound))
        sections += [f"## The fields of {inbound}\n", table("field", others, rows)]
    return "\n".join(sections)


def main() -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is not current")
    wanted = page()
    if not parser.parse_args().check:
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == wanted:
        return 0
    sys.stderr.write(f"{PAGE.name} is not current: run {Path(__file__).name}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
