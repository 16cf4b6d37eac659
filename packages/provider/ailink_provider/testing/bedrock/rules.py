"""What Bedrock refuses: the request shape of Amazon's SDK, kept beside this file, and the rules that no shape tells.

Each rule takes a body that fits the shape and what its model accepts, and yields what it breaks. The rules about turns,
tools and thoughts are in ``conversation``.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from importlib.resources import files
from json import loads
from typing import Any, TypeAlias

from ailink_provider.testing.bedrock import conversation
from ailink_provider.testing.bedrock.models import Model
from ailink_provider.testing.schemas import Schema
from ailink_provider.testing.vendor import Breach, dotted

_TARGET = re.compile(r"/model/[^/:]+/(converse|converse-stream)")
_CACHE_POINTS = 4

Rule: TypeAlias = Callable[[dict[str, Any], Model], Iterator[Breach]]


def breaches(target: str, name: str, facts: Model, body: dict[str, Any]) -> Iterator[Breach]:
    """Yield the rules that a request for the model ``name`` breaks; the shape's alone if it does not fit that.

    ``target`` is the path as it was sent: what of an id or ARN is no letter must be percent-encoded there.
    """
    if not _TARGET.fullmatch(target):
        yield Breach("The provided model identifier is invalid.", ("modelId",))
    mistake = _shape().mistake(body)
    if mistake is not None:
        yield Breach("1 validation error detected: Value at "
                     f"'{dotted(mistake.where)}' failed to satisfy constraint: {mistake.message}", mistake.where)
        return
    for rule in _RULES:
        yield from rule(body, facts)
    yield from conversation.thoughts(name, body)


@lru_cache(maxsize=1)
def _shape() -> Schema:
    text = files("ailink_provider.testing.bedrock").joinpath("converse.schema.json").read_text(encoding="utf-8")
    return Schema(loads(text))


def _sampling(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    config, fields = body.get("inferenceConfig") or {}, body.get("additionalModelRequestFields") or {}
    claude = facts.claude
    if claude is None:
        return
    sent = [name for name in ("temperature", "topP", "top_k") if name in config or name in fields]
    if sent and not claude.sampling:
        yield Breach(f"`{sent[0]}` is deprecated for this model.", ("inferenceConfig", sent[0]))
    if claude.one_sampling and {"temperature", "topP"} <= set(sent):
        yield Breach("The model returned the following errors: `temperature` and `top_p` cannot both be specified for "
                     "this model. Please use only one.", ("inferenceConfig", "temperature"))
    thinking = fields.get("thinking") or {}
    if thinking.get("type") == "enabled" and (config.get("temperature", 1) != 1 or "top_k" in fields):
        yield Breach("The model returned the following errors: `temperature` may only be set to 1 when thinking is "
                     "enabled.", ("inferenceConfig", "temperature"))
    if config.get("maxTokens", 1) > claude.output_limit:
        yield Breach(f"The maximum tokens you requested exceeds the model limit of {claude.output_limit}.",
                     ("inferenceConfig", "maxTokens"))


def _thinking(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    thinking = (body.get("additionalModelRequestFields") or {}).get("thinking")
    where = ("additionalModelRequestFields", "thinking")
    if thinking is None:
        return
    if facts.claude is None:
        yield Breach("Malformed input request: extraneous key [thinking] is not permitted", where)
        return
    kind = thinking.get("type")
    if kind not in facts.claude.thinking:
        yield Breach(f"The model returned the following errors: \"thinking.type.{kind}\" is not supported for this "
                     "model.", where)
    if kind == "enabled":
        budget, limit = thinking.get("budget_tokens", 0), (body.get("inferenceConfig") or {}).get("maxTokens", 1e9)
        if not 1024 <= budget < limit:
            yield Breach("The model returned the following errors: `max_tokens` must be greater than "
                         "`thinking.budget_tokens`, and that at least 1024.", where)
        if {"any", "tool"} & set((body.get("toolConfig") or {}).get("toolChoice") or ()):
            yield Breach("The model returned the following errors: Thinking may not be enabled when tool_choice forces "
                         "tool use.", where)


def _output(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    config = body.get("outputConfig") or {}
    if config.get("textFormat") is not None:
        if not facts.structured:
            yield Breach("This model doesn't support the outputConfig.textFormat field. Remove it and try again.",
                         ("outputConfig", "textFormat"))
        schema = ((config["textFormat"].get("structure") or {}).get("jsonSchema") or {}).get("schema", "{}")
        if not _is_object(schema):
            yield Breach("The value at outputConfig.textFormat.structure.jsonSchema.schema is not a JSON schema.",
                         ("outputConfig", "textFormat"))
    if config.get("effort") is not None and (facts.claude is None or not facts.claude.effort):
        yield Breach("This model doesn't support the outputConfig.effort field.", ("outputConfig", "effort"))


def _tools(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    config = body.get("toolConfig")
    if config is None:
        return
    if not facts.calls_tools:
        yield Breach("This model doesn't support tool use.", ("toolConfig",))
    names = [tool["toolSpec"]["name"] for tool in config["tools"] if "toolSpec" in tool]
    if len(set(names)) < len(names):
        yield Breach("The toolConfig field contains a duplicate tool name.", ("toolConfig", "tools"))
    for index, tool in enumerate(config["tools"]):
        schema = (tool.get("toolSpec") or {}).get("inputSchema", {}).get("json", {"type": "object"})
        if not isinstance(schema, dict) or schema.get("type") != "object":
            yield Breach(f"The value at toolConfig.tools.{index}.toolSpec.inputSchema.json.type must be one of the "
                         "following: object.", ("toolConfig", "tools", index))
    choice = config.get("toolChoice") or {}
    if {"any", "tool"} & set(choice) and not facts.forced_tools:
        kind = next(iter(choice))
        yield Breach(f"This model doesn't support the toolConfig.toolChoice.{kind} field. Remove it and try again.",
                     ("toolConfig", "toolChoice"))
    if "tool" in choice and choice["tool"]["name"] not in names:
        yield Breach("The tool in toolConfig.toolChoice.tool.name is not among the tools.",
                     ("toolConfig", "toolChoice"))


def _cache_points(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    tools = (body.get("toolConfig") or {}).get("tools") or []
    said = [block for turn in body["messages"] for block in turn["content"]]
    points = [block["cachePoint"] for block in [*tools, *(body.get("system") or []), *said] if "cachePoint" in block]
    if points and not facts.caches:
        yield Breach("You invoked an unsupported model or your request did not allow prompt caching.")
    if len(points) > _CACHE_POINTS:
        yield Breach(f"A maximum of {_CACHE_POINTS} blocks with cache_control may be provided. Found {len(points)}.")
    ttls = [point.get("ttl", "5m") for point in points]
    if "5m" in ttls and "1h" in ttls[ttls.index("5m"):]:
        yield Breach("A ttl='1h' cache point must not come after a ttl='5m' cache point.")
    for where, blocks in [(("toolConfig", "tools"), tools), (("system",), body.get("system") or []),
                          *((("messages", index, "content"), turn["content"])
                            for index, turn in enumerate(body["messages"]))]:
        if blocks and "cachePoint" in blocks[0]:
            yield Breach("A cache point must follow the content that is to be cached.", (*where, 0))


def _is_object(text: str) -> bool:
    try:
        return isinstance(loads(text), dict)
    except ValueError:
        return False


_RULES: tuple[Rule, ...] = (_sampling, _thinking, _output, _tools, _cache_points, *conversation.RULES)
