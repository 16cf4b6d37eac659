"""What OpenAI refuses: its request schema (from its SDK) and the rules that no schema tells.

The tables of models here are a second opinion on purpose: they share nothing with the gateway's catalog.
Each rule takes a body that fits the schema and yields what it breaks.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from ailink_provider.testing.schemas import Mistake, Schema, sdk_schema
from ailink_provider.testing.vendor import Breach, dotted

_TYPES = {
    "chat": ("openai.types.chat.completion_create_params", "CompletionCreateParams"),
    "completions": ("openai.types.completion_create_params", "CompletionCreateParams"),
    "embeddings": ("openai.types.embedding_create_params", "EmbeddingCreateParams"),
}
_STREAMED = ("chat", "completions")
REASONING = re.compile(r"(o1|o3|o4|gpt-5|gpt-6)(?!.*chat)")
# The only value each takes on a model that reasons; None: none at all.
_FIXED_WHEN_REASONING = {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "logprobs": False,
                         "top_logprobs": None, "logit_bias": None}
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2), "top_p": (0, 1), "presence_penalty": (-2, 2), "frequency_penalty": (-2, 2), "n": (1, 128),
    "top_logprobs": (0, 20), "max_tokens": (1, 1e9), "max_completion_tokens": (1, 1e9), "dimensions": (1, 3072),
}
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SPEAKER = re.compile(r"[^\s<|\\/>]{1,64}")
_CALL_ID_LIMIT = 40
_TOOL_LIMIT = 128
_INPUT_LIMIT = 2048

Rule: TypeAlias = Callable[[dict[str, Any]], Iterator[Breach]]


def breaches(operation: str, body: dict[str, Any]) -> Iterator[Breach]:
    """Yield the rules of ``operation`` that ``body`` breaks; the schema's alone if it does not fit that."""
    mistake = _schema(operation, body).mistake(body)
    if mistake is not None:
        yield explain(mistake)
        return
    for rule in _RULES[operation]:
        yield from rule(body)


def _schema(operation: str, body: dict[str, Any]) -> Schema:
    module, name = _TYPES[operation]
    if operation in _STREAMED:
        # One branch instead of their union: it makes mistakes speak of the field at fault.
        name += "Streaming" if body.get("stream") is True else "NonStreaming"
    return sdk_schema(module, name, "openai")


def explain(mistake: Mistake) -> Breach:
    """Return what the vendor says of a body that does not fit its schema."""
    where = dotted(mistake.where)
    if mistake.keyword == "additionalProperties":
        return Breach(f"Unknown parameter: '{where}'.", mistake.where, "unknown_parameter")
    if mistake.keyword == "required":
        return Breach(f"Missing required parameter: '{where}'.", mistake.where, "missing_required_parameter")
    return Breach(f"Invalid value for '{where}': {mistake.message}", mistake.where, "invalid_value")


# --- any operation -------------------------------------------------------------------------------


def _ranges(body: dict[str, Any]) -> Iterator[Breach]:
    return out_of_range(body, _RANGES)


def out_of_range(body: dict[str, Any], ranges: Mapping[str, tuple[float, float]]) -> Iterator[Breach]:
    """Yield the numbers that are outside their ranges."""
    for name, (low, high) in ranges.items():
        value = body.get(name)
        if value is not None and not low <= value <= high:
            yield Breach(f"Invalid '{name}': expected a value from {low} to {high:g}, but got {value} instead.",
                         (name,))


def _stream_options(body: dict[str, Any]) -> Iterator[Breach]:
    if body.get("stream_options") is not None and not body.get("stream"):
        yield Breach("The 'stream_options' parameter is only allowed when 'stream' is enabled.", ("stream_options",))


def _prompts(body: dict[str, Any]) -> Iterator[Breach]:
    if body["prompt"] is None or body["prompt"] == []:
        yield Breach("Invalid 'prompt': expected a string or an array that is not empty.", ("prompt",))


def _stops(body: dict[str, Any]) -> Iterator[Breach]:
    stop = body.get("stop")
    if isinstance(stop, list) and len(stop) > 4:
        yield Breach("Invalid 'stop': array too long. Expected an array with maximum length 4.", ("stop",))


# --- chat ----------------------------------------------------------------------------------------


def _reasoning_models(body: dict[str, Any]) -> Iterator[Breach]:
    if not REASONING.match(body["model"]):
        return
    if body.get("max_tokens") is not None:
        yield Breach(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' "
            "instead.", ("max_tokens",), "unsupported_parameter")
    if body.get("reasoning_effort") == "none":
        return
    for name, only in _FIXED_WHEN_REASONING.items():
        value = body.get(name)
        if value is None or value == only:
            continue
        if only is None:
            yield Breach(f"Unsupported parameter: '{name}' is not supported with this model.", (name,),
                         "unsupported_parameter")
        else:
            yield Breach(f"Unsupported value: '{name}' does not support {value} with this model. Only the default "
                         f"({only}) value is supported.", (name,), "unsupported_value")


def _effort(body: dict[str, Any]) -> Iterator[Breach]:
    if body.get("reasoning_effort") is not None and re.match(r"gpt-(3|4)|chatgpt", body["model"]):
        yield Breach("Unrecognized request argument supplied: reasoning_effort", ("reasoning_effort",))


def _limits(body: dict[str, Any]) -> Iterator[Breach]:
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        yield Breach("Setting 'max_tokens' and 'max_completion_tokens' at the same time is not supported.",
                     ("max_tokens",))
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        yield Breach("The 'top_logprobs' parameter is only allowed when 'logprobs' is enabled.", ("top_logprobs",))


def _messages(body: dict[str, Any]) -> Iterator[Breach]:
    if not body["messages"]:
        yield Breach("Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array "
                     "instead.", ("messages",), "empty_array")
    for index, message in enumerate(body["messages"]):
        name = message.get("name")
        if name is not None and message["role"] != "function" and not _SPEAKER.fullmatch(name):
            yield Breach(f"Invalid 'messages[{index}].name': string does not match pattern. Expected a string that "
                         r"matches the pattern '^[^\s<|\\/>]+$'.", ("messages", index, "name"), "invalid_value")
        said = [message.get(field) for field in ("content", "tool_calls", "function_call", "refusal", "audio")]
        if message["role"] == "assistant" and all(value is None for value in said):
            yield Breach("Invalid value for 'content': expected a string, got null.", ("messages", index, "content"))
        if message.get("content") == []:
            yield Breach(f"Invalid 'messages[{index}].content': empty array. Expected an array with minimum length 1.",
                         ("messages", index, "content"), "empty_array")
        if message.get("tool_calls") == []:
            yield Breach(f"Invalid 'messages[{index}].tool_calls': empty array. Expected an array with minimum length "
                         "1.", ("messages", index, "tool_calls"), "empty_array")


def _tool_messages(body: dict[str, Any]) -> Iterator[Breach]:
    """Every call is answered by the tool messages that follow it at once, and by nothing else."""
    waiting: dict[str, int] = {}
    for index, message in enumerate([*body["messages"], {"role": "end"}]):
        if message["role"] == "tool":
            identifier = message["tool_call_id"]
            if waiting.pop(identifier, None) is None:
                yield Breach(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with "
                    "'tool_calls'.", ("messages", index, "role"))
            continue
        if waiting:
            yield Breach(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
                "'tool_call_id'. The following tool_call_ids did not have response messages: " + ", ".join(waiting),
                ("messages", index - 1, "role"))
        waiting = {call["id"]: index for call in message.get("tool_calls") or ()}
        for position, call in enumerate(message.get("tool_calls") or ()):
            if len(call["id"]) > _CALL_ID_LIMIT:
                where = ("messages", index, "tool_calls", position, "id")
                yield Breach(f"Invalid '{dotted(where)}': string too long. Expected a string with maximum length "
                             f"{_CALL_ID_LIMIT}, but got a string with length {len(call['id'])} instead.", where,
                             "string_above_max_length")


def _tools(body: dict[str, Any]) -> Iterator[Breach]:
    tools = body.get("tools")
    if tools is None:
        for field in ("tool_choice", "parallel_tool_calls"):
            if field in body and body[field] != "none":
                yield Breach(f"'{field}' is only allowed when 'tools' are specified.", (field,))
        return
    if not tools or len(tools) > _TOOL_LIMIT:
        yield Breach(f"Invalid 'tools': expected 1 to {_TOOL_LIMIT} tools, but got {len(tools)}.", ("tools",))
    names = [tool[tool["type"]]["name"] for tool in tools]
    for index, (tool, name) in enumerate(zip(tools, names, strict=True)):
        where = ("tools", index, tool["type"])
        if not NAME.fullmatch(name):
            yield Breach(f"Invalid '{dotted((*where, 'name'))}': string does not match pattern. Expected a string that "
                         "matches the pattern '^[a-zA-Z0-9_-]+$'.", (*where, "name"), "invalid_value")
        schema = tool.get("function", {}).get("parameters")
        if schema is not None and schema and schema.get("type") != "object":
            yield Breach(f"Invalid schema for function '{name}': schema must be a JSON Schema of 'type: \"object\"', "
                         f"got 'type: \"{schema.get('type')}\"'.", (*where, "parameters"),
                         "invalid_function_parameters")
        if schema and tool["function"].get("strict"):
            yield from strict_breaches(schema, f"function '{name}'", (*where, "parameters"))
    yield from _chosen(body.get("tool_choice"), names)


def _chosen(choice: Any, names: list[str]) -> Iterator[Breach]:
    if not isinstance(choice, dict):
        return
    listed = choice["allowed_tools"]["tools"] if choice["type"] == "allowed_tools" else [choice]
    for tool in listed:
        name = tool.get(tool.get("type", ""), {}).get("name")
        if name not in names:
            yield Breach(f"Invalid value for 'tool_choice': no tool named '{name}' is specified in 'tools'.",
                         ("tool_choice",))


def _response_format(body: dict[str, Any]) -> Iterator[Breach]:
    wanted = body.get("response_format", {"type": "text"})
    if wanted["type"] == "json_object" and "json" not in str(body["messages"]).lower():
        yield Breach("'messages' must contain the word 'json' in some form, to use 'response_format' of type "
                     "'json_object'.", ("messages",))
    if wanted["type"] == "json_schema":
        described = wanted["json_schema"]
        where = ("response_format", "json_schema")
        if not NAME.fullmatch(described["name"]):
            yield Breach(f"Invalid '{dotted((*where, 'name'))}': string does not match pattern. Expected a string that "
                         "matches the pattern '^[a-zA-Z0-9_-]+$'.", (*where, "name"), "invalid_value")
        if described.get("strict"):
            whose = f"response_format '{described['name']}'"
            yield from strict_breaches(described.get("schema", {}), whose, (*where, "schema"))


def strict_breaches(
    schema: Any, whose: str, where: tuple[str | int, ...], context: tuple[str, ...] = (),
) -> Iterator[Breach]:
    """Yield what strict mode refuses in a schema: there every object is closed and requires all it has."""
    if isinstance(schema, list):
        for item in schema:
            yield from strict_breaches(item, whose, where, context)
    if not isinstance(schema, dict):
        return
    properties = _mapping(schema.get("properties"))
    if schema.get("type") == "object":
        problem = None
        if schema.get("additionalProperties") is not False:
            problem = "'additionalProperties' is required to be supplied and to be false."
        elif missing := [name for name in properties if name not in (schema.get("required") or ())]:
            problem = ("'required' is required to be supplied and to be an array including every key in properties. "
                       f"Missing '{missing[0]}'.")
        if problem:
            yield Breach(f"Invalid schema for {whose}: In context={context}, {problem}", where, "invalid_json_schema")
    for name, inner in properties.items():
        yield from strict_breaches(inner, whose, where, (*context, "properties", name))
    for key in ("items", "anyOf"):
        yield from strict_breaches(schema.get(key), whose, where, (*context, key))
    for name, inner in _mapping(schema.get("$defs")).items():
        yield from strict_breaches(inner, whose, where, ("$defs", name))


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


# --- embeddings ----------------------------------------------------------------------------------


def _inputs(body: dict[str, Any]) -> Iterator[Breach]:
    given = body["input"]
    if not given or (isinstance(given, list) and not all(item or item == 0 for item in given)):
        yield Breach("Invalid 'input': input cannot be an empty string or array.", ("input",))
    elif isinstance(given, list) and not isinstance(given[0], int) and len(given) > _INPUT_LIMIT:
        yield Breach(f"Invalid 'input': array too long. Expected at most {_INPUT_LIMIT} inputs.", ("input",))
    if body.get("dimensions") is not None and "embedding-3" not in body["model"]:
        yield Breach("This model does not support specifying dimensions.", ("dimensions",))


_RULES: dict[str, tuple[Rule, ...]] = {
    "chat": (_ranges, _stream_options, _stops, _reasoning_models, _effort, _limits, _messages, _tool_messages, _tools,
             _response_format),
    "completions": (_ranges, _stream_options, _stops, _prompts),
    "embeddings": (_ranges, _inputs),
}
