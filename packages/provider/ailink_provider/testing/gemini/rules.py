"""What Gemini refuses: its request schema (from its SDK's models) and the rules that no schema tells.

Each rule takes a body in canonical names that fits the schema, and what its model accepts, and yields what it breaks.
Rules about contents are in ``conversation``.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, TypeAlias

from ailink_provider.testing.gemini import conversation
from ailink_provider.testing.gemini.errors import place
from ailink_provider.testing.gemini.models import Model
from ailink_provider.testing.schemas import Mistake, Schema, load
from ailink_provider.testing.vendor import Breach

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
_RANGES: dict[str, tuple[float, float]] = {
    "temperature": (0, 2), "topP": (0, 1), "topK": (1, 1e9), "candidateCount": (1, 8), "maxOutputTokens": (1, 1e9),
    "presencePenalty": (-2, 2), "frequencyPenalty": (-2, 2), "logprobs": (0, 20),
}
_STOP_LIMIT = 5
_QUERY = frozenset({"alt", "key"})

Rule: TypeAlias = Callable[[dict[str, Any], Model], Iterator[Breach]]


def breaches(method: str, name: str, facts: Model, query: list[tuple[str, str]],
             body: dict[str, Any]) -> Iterator[Breach]:
    """Yield the rules of ``method`` that a request to the model ``name`` breaks; the schema's alone if it does not
    fit that."""
    for parameter, _ in query:
        if parameter not in _QUERY:
            yield Breach(f'Invalid JSON payload received. Unknown name "{parameter}": Cannot bind query parameter.')
    mistake = request_schema(method).mistake(body)
    if mistake is not None:
        yield _explain(mistake)
    elif method in ("generateContent", "streamGenerateContent"):
        for rule in _RULES:
            yield from rule(body, facts)
    elif method == "batchEmbedContents":
        for index, request in enumerate(body["requests"]):
            if request["model"] != f"models/{name}":
                yield Breach(f"The model in requests[{index}] does not match the model in the request's path.",
                             ("requests", index, "model"))
    elif method == "countTokens" and ("contents" in body) == ("generateContentRequest" in body):
        yield Breach("Exactly one of contents and generate_content_request must be set.")


@lru_cache
def request_schema(method: str) -> Schema:
    """Return the schema of a method's body: the SDK's models in the envelope that the API reference describes."""
    types = load("google.genai.types", "google-genai")
    models = [getattr(types, name) for name in (*_MODELS, "ImageConfig")]
    _, collected = load("pydantic.json_schema", "pydantic").models_json_schema(
        [(found, "validation") for found in models])
    definitions = collected["$defs"]
    # The SDK sends this one beside the settings that its model lists.
    definitions["GenerationConfig"]["properties"]["imageConfig"] = _ref("ImageConfig")
    definitions["CountedRequest"] = _object(_GENERATION | {"model": _STRING}, "model")
    definitions["EmbeddedContent"] = _object(_EMBEDDING, "model", "content")
    return Schema({**_BODIES[method], "$defs": definitions})


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _list(name: str) -> dict[str, Any]:
    return {"type": "array", "items": _ref(name)}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


_MODELS = ("Content", "Tool", "ToolConfig", "SafetySetting", "GenerationConfig")
_STRING = {"type": "string"}
_GENERATION: dict[str, Any] = {
    "contents": _list("Content"), "systemInstruction": _ref("Content"), "tools": _list("Tool"),
    "toolConfig": _ref("ToolConfig"), "safetySettings": _list("SafetySetting"),
    "generationConfig": _ref("GenerationConfig"), "cachedContent": _STRING,
    "serviceTier": {"enum": ["standard", "flex", "priority"]},
    "labels": {"type": "object", "additionalProperties": _STRING},
    "store": {"type": "boolean"}, "continuationToken": _STRING,
}
_EMBEDDING: dict[str, Any] = {
    "model": _STRING, "content": _ref("Content"), "taskType": _STRING, "title": _STRING,
    "outputDimensionality": {"type": "integer"},
}
_BODIES: dict[str, dict[str, Any]] = {
    "generateContent": _object(_GENERATION, "contents"),
    "streamGenerateContent": _object(_GENERATION, "contents"),
    "countTokens": _object({"contents": _list("Content"), "generateContentRequest": _ref("CountedRequest")}),
    "embedContent": _object(_EMBEDDING, "content"),
    "batchEmbedContents": _object({"requests": _list("EmbeddedContent")}, "requests"),
}


def _explain(mistake: Mistake) -> Breach:
    where = mistake.where
    if mistake.keyword == "additionalProperties":
        at = f" at '{place(where[:-1])}'" if where[:-1] else ""
        return Breach(f'Invalid JSON payload received. Unknown name "{where[-1]}"{at}: Cannot find field.', where)
    if mistake.keyword == "required":
        return Breach(f"* GenerateContentRequest.{place(where)}: {where[-1]} is not specified", where)
    return Breach(f"Invalid value at '{place(where)}': {mistake.message}", where)


def _settings(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    config = body.get("generationConfig") or {}
    for name, (low, high) in _RANGES.items():
        value = config.get(name)
        if value is not None and not low <= value <= high:
            yield Breach(f"* GenerateContentRequest.generation_config.{place((name,))}: {name} must be in the range "
                         f"[{low}, {high:g}].", ("generationConfig", name))
    if len(config.get("stopSequences") or ()) > _STOP_LIMIT:
        yield Breach(f"The number of stop sequences must be at most {_STOP_LIMIT}.",
                     ("generationConfig", "stopSequences"))
    schemas = [name for name in ("responseSchema", "responseJsonSchema") if config.get(name) is not None]
    if len(schemas) > 1:
        yield Breach("Only one of response_schema and response_json_schema may be set.", ("generationConfig",))
    kind = config.get("responseMimeType")
    if schemas and kind not in ("application/json", "text/x.enum"):
        yield Breach("response_schema is only allowed with response_mime_type application/json.",
                     ("generationConfig", "responseMimeType"))
    if "responseJsonSchema" in schemas and not facts.json_schema:
        yield Breach("response_json_schema is not supported for this model.",
                     ("generationConfig", "responseJsonSchema"))
    if kind == "application/json" and any(_declarations(body)) and not facts.tools_with_json:
        yield Breach("Function calling with a response mime type: 'application/json' is unsupported",
                     ("generationConfig", "responseMimeType"))


def _thinking(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    config = (body.get("generationConfig") or {}).get("thinkingConfig") or {}
    where = ("generationConfig", "thinkingConfig")
    budget = config.get("thinkingBudget")
    if config and not facts.thinks:
        yield Breach("Thinking is not enabled for this model", where)
        return
    if config.get("thinkingLevel") is not None:
        if not facts.levels:
            yield Breach("Thinking level is not supported for this model.", where)
        if budget is not None:
            yield Breach("You can only set only one of thinking budget and thinking level.", where)
    if budget is None or budget == -1 or facts.budget is None:
        return
    low, high = facts.budget
    if budget == 0 and not facts.can_stop_thinking:
        yield Breach("Budget 0 is invalid. This model only works in thinking mode.", where)
    elif budget != 0 and not low <= budget <= high:
        yield Breach(f"The thinking budget {budget} is invalid. Please choose a value between {low} and {high}.", where)


def _tools(body: dict[str, Any], _: Model) -> Iterator[Breach]:
    declarations = list(_declarations(body))
    names = [declaration.get("name") or "" for declaration in declarations]
    for index, (name, declaration) in enumerate(zip(names, declarations, strict=True)):
        if not _NAME.fullmatch(name):
            yield Breach(f"* GenerateContentRequest.tools[0].function_declarations[{index}].name: Invalid function "
                         "name. Must start with a letter or an underscore. Must be alphanumeric (a-z, A-Z, 0-9), "
                         "underscores (_), dots (.), colons (:), or dashes (-), with a maximum length of 128.",
                         ("tools",))
        if names.count(name) > 1:
            yield Breach(f"Duplicate function declaration found: {name}", ("tools",))
        schemas = [declaration.get(field) for field in ("parameters", "parametersJsonSchema")]
        if None not in schemas:
            yield Breach(f"Only one of parameters and parameters_json_schema may be set for {name}.", ("tools",))
        for schema in schemas:
            kind = schema.get("type", "object") if isinstance(schema, dict) else schema
            if kind is not None and str(kind).upper() != "OBJECT":
                yield Breach(f"* GenerateContentRequest.tools[0].function_declarations[{index}].parameters: the type "
                             "must be OBJECT", ("tools",))
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    where = ("toolConfig", "functionCallingConfig")
    if calling.get("mode") == "ANY" and not declarations:
        yield Breach("Function calling config is set without function_declarations.", where)
    allowed = calling.get("allowedFunctionNames")
    if allowed and calling.get("mode") not in ("ANY", "VALIDATED"):
        yield Breach("* GenerateContentRequest.tool_config.function_calling_config.allowed_function_names: should only "
                     "be set when the mode is ANY or VALIDATED", where)
    for name in allowed or ():
        if name not in names:
            yield Breach(f"allowed_function_names holds {name!r}, which is not declared", where)


def _declarations(body: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for tool in body.get("tools") or ():
        yield from tool.get("functionDeclarations") or ()


_RULES: tuple[Rule, ...] = (_settings, _thinking, _tools, *conversation.RULES)
