"""What the Responses API refuses: its request schema (from the SDK) and the rules that no schema tells.

What both of the vendor's formats refuse alike is in ``openai.rules``. Each rule takes a body that fits the schema.
"""

from collections.abc import Iterator
from typing import Any

from ailink_provider.testing.openai.rules import NAME, REASONING, Rule, explain, out_of_range, strict_breaches
from ailink_provider.testing.openai_responses.replies import seal, summary_of
from ailink_provider.testing.schemas import sdk_schema
from ailink_provider.testing.vendor import Breach, Path, dotted

_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2), "top_p": (0, 1), "top_logprobs": (0, 20), "max_output_tokens": (16, 1e9),
}
# What a model that reasons takes only as it is anyway.
_FIXED_WHEN_REASONING = {"temperature": 1, "top_p": 1}
_CALLS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
_CALL_ID_LIMIT = 64
_WRITTEN = ("output_text", "refusal")
_READ = ("input_text", "input_image", "input_file")
_ELSEWHERE = ("previous_response_id", "conversation", "prompt")


def breaches(body: dict[str, Any]) -> Iterator[Breach]:
    """Yield the rules that ``body`` breaks; the schema's alone if it does not fit that."""
    name = f"ResponseCreateParams{'Streaming' if body.get('stream') is True else 'NonStreaming'}"
    mistake = sdk_schema("openai.types.responses.response_create_params", name, "openai").mistake(body)
    if mistake is not None:
        yield explain(mistake)
        return
    for rule in _RULES:
        yield from rule(body)


def _settings(body: dict[str, Any]) -> Iterator[Breach]:
    yield from out_of_range(body, _RANGES)
    if not body.get("model"):
        yield Breach("Missing required parameter: 'model'.", ("model",), "missing_required_parameter")
    if body.get("stream_options") is not None and not body.get("stream"):
        yield Breach("The 'stream_options' parameter is only allowed when 'stream' is enabled.", ("stream_options",))
    if body.get("top_logprobs") and "message.output_text.logprobs" not in (body.get("include") or ()):
        yield Breach("'top_logprobs' is only allowed when 'message.output_text.logprobs' is included.",
                     ("top_logprobs",))


def _reasoning(body: dict[str, Any]) -> Iterator[Breach]:
    asked = body.get("reasoning") or {}
    if not REASONING.match(body.get("model") or ""):
        yield from (Breach(f"Unsupported parameter: 'reasoning.{name}' is not supported with this model.",
                           ("reasoning", name), "unsupported_parameter")
                    for name in ("effort", "summary") if asked.get(name) is not None)
        return
    if asked.get("effort") == "none":
        return
    for name, only in _FIXED_WHEN_REASONING.items():
        if body.get(name) not in (None, only):
            yield Breach(f"Unsupported parameter: '{name}' is not supported with this model.", (name,),
                         "unsupported_parameter")


def _input(body: dict[str, Any]) -> Iterator[Breach]:
    given = body.get("input")
    if given in (None, []) and not any(body.get(name) for name in _ELSEWHERE):
        yield Breach("One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be provided.",
                     ("input",), "missing_required_parameter")
    for name in _ELSEWHERE[:2]:
        if body.get(name):
            yield Breach(f"The {name} that was given is not found.", (name,), "not_found")
    for index, item in enumerate(_items(body)):
        where: Path = ("input", index)
        if _kind(item) == "item_reference":
            yield Breach(f"Item with id '{item['id']}' not found.", (*where, "id"))
        content = item.get("content")
        if _kind(item) != "message" or not isinstance(content, list):
            continue
        allowed = _WRITTEN if item["role"] == "assistant" else _READ
        for position, part in enumerate(content):
            if part["type"] not in allowed:
                yield Breach(f"Invalid value: '{part['type']}'. Supported values are: {', '.join(map(repr, allowed))}.",
                             (*where, "content", position), "invalid_value")


def _calls(body: dict[str, Any]) -> Iterator[Breach]:
    """Every call is answered, and only a call is."""
    items = _items(body)
    for kind, answer in _CALLS.items():
        called = [item["call_id"] for item in items if item.get("type") == kind]
        answered = [item.get("call_id") for item in items if item.get("type") == answer]
        word = kind.replace("_", " ")
        for identifier in called:
            if len(identifier) > _CALL_ID_LIMIT or not identifier:
                yield Breach(f"Invalid 'input.call_id': expected a string of 1 to {_CALL_ID_LIMIT} characters, but got "
                             f"one of {len(identifier)}.", ("input",), "string_above_max_length")
            if answered.count(identifier) != 1:
                yield Breach(f"No tool output found for {word} {identifier}.", ("input",))
        for identifier in answered:
            if identifier not in called:
                yield Breach(f"No tool call found for {word} output with call_id {identifier}.", ("input",))


def _thoughts(body: dict[str, Any]) -> Iterator[Breach]:
    """A reasoning item comes back with what it led to, and readable: nothing is stored here."""
    items = _items(body)
    for index, item in enumerate(items):
        if item.get("type") != "reasoning":
            continue
        where: Path = ("input", index)
        following = items[index + 1] if index + 1 < len(items) else {"type": "nothing", "role": "user"}
        of_the_model = following.get("role") == "assistant" or following.get("type") in ("reasoning", *_CALLS)
        if not of_the_model:
            yield Breach(f"Item '{item['id']}' of type 'reasoning' was provided without its required following item.",
                         where)
        if item.get("encrypted_content") is None:
            yield Breach(f"Item with id '{item['id']}' not found. Items are not persisted when `store` is set to false."
                         " Try again with `store` set to true, or remove this item from your input.", where)
        elif item["encrypted_content"] != seal(item["id"], summary_of(item)):
            yield Breach(f"The encrypted content for item {item['id']} could not be verified.", where,
                         "invalid_encrypted_content")


def _tools(body: dict[str, Any]) -> Iterator[Breach]:
    tools = body.get("tools") or []
    named = [tool for tool in tools if tool["type"] in ("function", "custom")]
    for index, tool in enumerate(tools):
        if tool not in named:
            continue
        where: Path = ("tools", index)
        if not NAME.fullmatch(tool["name"]):
            yield Breach(f"Invalid '{dotted((*where, 'name'))}': string does not match pattern. Expected a string that "
                         "matches the pattern '^[a-zA-Z0-9_-]+$'.", (*where, "name"), "invalid_value")
        schema = tool.get("parameters")
        if schema and schema.get("type") != "object":
            yield Breach(f"Invalid schema for function '{tool['name']}': schema must be a JSON Schema of 'type: "
                         f"\"object\"', got 'type: \"{schema.get('type')}\"'.", (*where, "parameters"),
                         "invalid_function_parameters")
        if schema and tool.get("strict"):
            yield from strict_breaches(schema, f"function '{tool['name']}'", (*where, "parameters"))
    names = [tool["name"] for tool in named]
    choice = body.get("tool_choice")
    if choice is not None and not tools and choice not in ("none", "auto"):
        yield Breach("Tool choice 'required' must be specified with 'tools' parameter.", ("tool_choice",))
    if isinstance(choice, dict):
        listed = choice["tools"] if choice["type"] == "allowed_tools" else [choice]
        for tool in listed:
            if tool["type"] in ("function", "custom") and tool["name"] not in names:
                yield Breach(f"Tool choice '{tool['name']}' not found in 'tools' parameter.", ("tool_choice",))


def _text(body: dict[str, Any]) -> Iterator[Breach]:
    form = (body.get("text") or {}).get("format") or {"type": "text"}
    where: Path = ("text", "format")
    said = f"{body.get('input')} {body.get('instructions')}".lower()
    if form["type"] == "json_object" and "json" not in said:
        yield Breach("Response input messages must contain the word 'json' in some form to use 'text.format' of type "
                     "'json_object'.", ("input",))
    if form["type"] == "json_schema":
        if not NAME.fullmatch(form["name"]):
            yield Breach("Invalid 'text.format.name': string does not match pattern. Expected a string that matches "
                         "the pattern '^[a-zA-Z0-9_-]+$'.", (*where, "name"), "invalid_value")
        if form.get("strict"):
            yield from strict_breaches(form["schema"], f"response_format '{form['name']}'", (*where, "schema"))


def _kind(item: dict[str, Any]) -> str:
    return item.get("type") or ("message" if "role" in item else "item_reference")


def _items(body: dict[str, Any]) -> list[dict[str, Any]]:
    given = body.get("input")
    return given if isinstance(given, list) else []


_RULES: tuple[Rule, ...] = (_settings, _reasoning, _input, _calls, _thoughts, _tools, _text)
