"""What Ollama refuses, or would pass over without a word: a schema of its own, closed, and the rules beside it.

Ollama's server forgives a field that it does not know, and the model then never hears of it: here it is a mistake.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias

from ailink_provider.testing.schemas import Schema
from ailink_provider.testing.vendor import Breach, Path, dotted


def _object(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "required": required, "properties": properties}


_TEXT, _FLAG, _COUNT, _NUMBER, _OBJECT = (
    {"type": kind} for kind in ("string", "boolean", "integer", "number", "object"))
_TEXTS = {"type": "array", "items": _TEXT, "minItems": 1}
_BASE64 = {"type": "array", "minItems": 1, "items": {"type": "string", "pattern": "^[A-Za-z0-9+/]+=*$"}}
_CALL = _object(["function"], id=_TEXT,
                function=_object(["name", "arguments"], name=_TEXT, arguments=_OBJECT, index=_COUNT))
_MESSAGE = _object(
    ["role", "content"], role={"enum": ["system", "user", "assistant", "tool"]}, content=_TEXT, thinking=_TEXT,
    images=_BASE64, tool_calls={"type": "array", "items": _CALL, "minItems": 1}, tool_name=_TEXT, tool_call_id=_TEXT)
_FUNCTION = _object(["name"], name=_TEXT, description=_TEXT, parameters=_OBJECT)
_OPTIONS = _object(
    [], **dict.fromkeys(("num_predict", "num_ctx", "top_k", "seed", "num_keep", "repeat_last_n"), _COUNT),
    **dict.fromkeys(("temperature", "top_p", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty"),
                    _NUMBER), stop=_TEXTS)
_SCHEMAS: dict[str, dict[str, Any]] = {
    "chat": _object(
        ["model", "messages"], model=_TEXT, messages={"type": "array", "items": _MESSAGE},
        tools={"type": "array", "items": _object(["type", "function"], type={"const": "function"}, function=_FUNCTION)},
        format={"anyOf": [{"const": "json"}, _OBJECT]}, options=_OPTIONS, stream=_FLAG,
        think={"enum": [True, False, "low", "medium", "high", "max"]}, keep_alive={"type": ["string", "number"]},
        truncate=_FLAG, shift=_FLAG, logprobs=_FLAG, top_logprobs={"type": "integer", "minimum": 0, "maximum": 20}),
    "embed": _object(
        ["model", "input"], model=_TEXT, input={"anyOf": [_TEXT, _TEXTS]}, dimensions=_COUNT, truncate=_FLAG,
        keep_alive={"type": ["string", "number"]}, options=_OPTIONS),
}
# The first pattern that fits the start of a name speaks for it; a model that is not here can do everything.
_ABLE: tuple[tuple[str, frozenset[str]], ...] = (
    (r"llama3\.[12]", frozenset({"tools"})), (r"llama3|llama2|gemma|phi3|mistral:v0\.1", frozenset()),
    (r"", frozenset({"tools", "thinking"})),
)

Rule: TypeAlias = Callable[[dict[str, Any], frozenset[str]], Iterator[Breach]]


def breaches(operation: str, body: dict[str, Any]) -> Iterator[Breach]:
    """Yield the rules of ``operation`` that ``body`` breaks; the schema's alone if it does not fit that."""
    mistake = _schema(operation).mistake(body)
    if mistake is not None:
        yield Breach(f"json: cannot unmarshal {dotted(mistake.where)}: {mistake.message}", mistake.where)
        return
    able = next(abilities for pattern, abilities in _ABLE if re.match(pattern, body["model"]))
    for rule in _RULES[operation]:
        yield from rule(body, able)


@lru_cache
def _schema(operation: str) -> Schema:
    return Schema(_SCHEMAS[operation])


def _abilities(body: dict[str, Any], able: frozenset[str]) -> Iterator[Breach]:
    if body.get("tools") and "tools" not in able:
        yield Breach(f"registry.ollama.ai/library/{body['model']} does not support tools", ("tools",))
    if body.get("think") and "thinking" not in able:
        yield Breach(f'"{body["model"]}" does not support thinking', ("think",))
    if body.get("think") and body.get("format"):
        yield Breach("mock: of think and format the server would leave out one without a word", ("think",))


def _messages(body: dict[str, Any], _: frozenset[str]) -> Iterator[Breach]:
    """A result is found by its tool's name, or by its call's id: one of the calls that wait must fit."""
    waiting: list[dict[str, Any]] = []
    for index, message in enumerate(body["messages"]):
        where: Path = ("messages", index)
        if message["role"] == "tool":
            name, identifier = message.get("tool_name"), message.get("tool_call_id")
            fit = [call for call in waiting
                   if call["function"]["name"] == name or (identifier and call.get("id") == identifier)]
            if not name and not identifier:
                yield Breach("mock: a tool's message names neither its tool nor its call", where)
            elif not fit:
                yield Breach("mock: a tool's message answers no call before it", where)
            else:
                waiting.remove(fit[0])
        waiting += message.get("tool_calls") or []
        if message["role"] != "tool" and not any(message.get(key) for key in ("content", "images", "tool_calls",
                                                                              "thinking")):
            yield Breach("mock: a message without anything in it", where)


def _tools(body: dict[str, Any], _: frozenset[str]) -> Iterator[Breach]:
    for index, tool in enumerate(body.get("tools") or ()):
        parameters = tool["function"].get("parameters")
        if parameters is not None and parameters.get("type") != "object":
            yield Breach("mock: a tool's parameters must be a JSON Schema of an object", ("tools", index))


def _stops(body: dict[str, Any], _: frozenset[str]) -> Iterator[Breach]:
    for index, stop in enumerate((body.get("options") or {}).get("stop") or ()):
        if not stop:
            yield Breach("mock: an empty stop sequence ends every answer", ("options", "stop", index))


def _inputs(body: dict[str, Any], _: frozenset[str]) -> Iterator[Breach]:
    if body["input"] in ("", []):
        yield Breach("input is required", ("input",))


_RULES: dict[str, tuple[Rule, ...]] = {"chat": (_abilities, _messages, _tools, _stops), "embed": (_inputs,)}
