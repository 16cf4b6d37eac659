"""What Anthropic refuses: its request schema (from its SDK) and the rules that no schema tells.

Each rule takes a body that fits the schema and what its model accepts, and yields what it breaks. The rules about
turns, tools and thinking are in ``conversation``.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from ailink_provider.testing.anthropic import conversation
from ailink_provider.testing.anthropic.models import Model, model
from ailink_provider.testing.schemas import Mistake, sdk_schema
from ailink_provider.testing.vendor import Breach, Path

VERSIONS = frozenset({"2023-06-01", "2026-10-21"})

# Not in the SDK's parameters any more, but still taken from models that are older than that: (least, most).
_SAMPLING = {"temperature": (0, 1), "top_p": (0, 1), "top_k": (0, 1e9)}
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_PERSONAL = re.compile(r"[\w.+-]+@[\w-]+\.\w+|\+?\d[\d ()-]{7,}\d")
_CACHE_MARKS = 4

Rule: TypeAlias = Callable[[dict[str, Any], Model], Iterator[Breach]]


def breaches(operation: str, headers: Mapping[str, str], body: dict[str, Any]) -> Iterator[Breach]:
    """Yield the rules of ``operation`` that a request breaks; the schema's alone if it does not fit that."""
    if "anthropic-version" not in headers:
        yield Breach("anthropic-version: header is required")
    elif headers["anthropic-version"] not in VERSIONS:
        yield Breach(f'anthropic-version: "{headers["anthropic-version"]}" is not a valid version')
    rest = {key: value for key, value in body.items() if operation == "count_tokens" or key not in _SAMPLING}
    mistake = _schema(operation, body).mistake(rest)
    if mistake is not None:
        yield _explain(mistake)
        return
    facts = model(body["model"])
    for rule in _COUNTED if operation == "count_tokens" else _RULES:
        yield from rule(body, facts)


def _schema(operation: str, body: dict[str, Any]) -> Any:
    if operation == "count_tokens":
        return sdk_schema("anthropic.types.message_count_tokens_params", "MessageCountTokensParams", "anthropic")
    name = "MessageCreateParamsStreaming" if body.get("stream") is True else "MessageCreateParamsNonStreaming"
    return sdk_schema("anthropic.types.message_create_params", name, "anthropic")


def _explain(mistake: Mistake) -> Breach:
    where = ".".join(map(str, mistake.where))
    said = {"additionalProperties": "Extra inputs are not permitted", "required": "Field required"}
    return Breach(f"{where}: {said.get(mistake.keyword, mistake.message)}", mistake.where)


def _sampling(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    sent = [name for name in _SAMPLING if name in body]
    for name in sent:
        low, high = _SAMPLING[name]
        value = body[name]
        if not facts.sampling:
            yield Breach(f"`{name}` is deprecated for this model.", (name,))
        elif isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            yield Breach(f"{name}: Input should be a number from {low} to {high:g}", (name,))
    if facts.one_sampling and {"temperature", "top_p"} <= set(sent):
        yield Breach("`temperature` and `top_p` cannot both be specified for this model. Please use only one.",
                     ("temperature",))
    if (body.get("thinking") or {}).get("type") == "enabled":
        if body.get("temperature", 1) != 1:
            yield Breach("`temperature` may only be set to 1 when thinking is enabled.", ("temperature",))
        if "top_k" in body:
            yield Breach("`top_k` must be unset when thinking is enabled.", ("top_k",))


def _limits(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    limit = body["max_tokens"]
    if limit < 1:
        yield Breach("max_tokens: Input should be greater than or equal to 1", ("max_tokens",))
    if limit > facts.output_limit:
        yield Breach(f"max_tokens: {limit} > {facts.output_limit}, which is the maximum allowed number of output "
                     f"tokens for {body['model']}", ("max_tokens",))
    for index, stop in enumerate(body.get("stop_sequences") or ()):
        if not stop.strip():
            yield Breach("stop_sequences: each stop sequence must contain non-whitespace", ("stop_sequences", index))
    if _PERSONAL.search((body.get("metadata") or {}).get("user_id") or ""):
        yield Breach("metadata.user_id: user_id appears to contain an email address or a phone number",
                     ("metadata", "user_id"))


def _thinking(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    thinking = body.get("thinking")
    if thinking is None:
        return
    kind = thinking["type"]
    if kind not in facts.thinking:
        advice = " Use `thinking.type.adaptive` and `output_config.effort` instead." if kind == "enabled" else ""
        yield Breach(f'"thinking.type.{kind}" is not supported for this model.{advice}', ("thinking", "type"))
    if kind == "enabled":
        if thinking["budget_tokens"] < 1024:
            yield Breach("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
                         ("thinking", "budget_tokens"))
        if thinking["budget_tokens"] >= body.get("max_tokens", 1e9):
            yield Breach("`max_tokens` must be greater than `thinking.budget_tokens`.", ("max_tokens",))
        if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
            yield Breach("Thinking may not be enabled when tool_choice forces tool use.", ("tool_choice",))


def _output(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    config = body.get("output_config") or {}
    if config.get("effort") is not None and not facts.effort:
        yield Breach("This model does not support the effort parameter.", ("output_config", "effort"))
    if config.get("format") is not None and not facts.structured:
        yield Breach("output_config.format: structured outputs are not supported by this model",
                     ("output_config", "format"))


def _tools(body: dict[str, Any], facts: Model) -> Iterator[Breach]:
    tools = body.get("tools") or ()
    names = [tool.get("name") for tool in tools]
    for index, tool in enumerate(tools):
        if "input_schema" not in tool:
            continue
        where = ("tools", index, "custom")
        if not _NAME.fullmatch(tool["name"]):
            yield Breach(f"tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'",
                         (*where, "name"))
        if tool["input_schema"].get("type") != "object":
            yield Breach(f"tools.{index}.custom.input_schema.type: Input should be 'object'",
                         (*where, "input_schema", "type"))
    if len(set(names)) < len(names):
        yield Breach("tools: Tool names must be unique.", ("tools",))
    choice = body.get("tool_choice")
    if choice is None:
        return
    if not tools:
        yield Breach("tool_choice: may only be specified while providing tools", ("tool_choice",))
    elif choice["type"] in ("any", "tool") and not facts.forced_tools:
        yield Breach(f"tool_choice: '{choice['type']}' is not supported for this model", ("tool_choice", "type"))
    elif choice["type"] == "tool" and choice["name"] not in names:
        yield Breach(f"Tool '{choice['name']}' not found in provided tools", ("tool_choice", "name"))


def _cache_marks(body: dict[str, Any], _: Model) -> Iterator[Breach]:
    ttls = [mark.get("ttl", "5m") for part in ("tools", "system", "messages") for mark in _marks(body.get(part))]
    if len(ttls) > _CACHE_MARKS:
        yield Breach(f"A maximum of {_CACHE_MARKS} blocks with cache_control may be provided. Found {len(ttls)}.")
    if "5m" in ttls and "1h" in ttls[ttls.index("5m"):]:
        yield Breach("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that "
                     "blocks are processed in the following order: `tools`, `system`, `messages`.")


def _marks(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, list):
        for item in node:
            yield from _marks(item)
    elif isinstance(node, dict):
        # Content before the mark of the block that holds it.
        yield from _marks(node.get("content"))
        if node.get("cache_control"):
            yield node["cache_control"]


def _system(body: dict[str, Any], _: Model) -> Iterator[Breach]:
    system = body.get("system")
    if isinstance(system, list):
        where: Path = ("system",)
        for index, block in enumerate(system):
            if not block["text"].strip():
                yield Breach("system: text content blocks must be non-empty", (*where, index, "text"))


_COUNTED: tuple[Rule, ...] = (_thinking, _output, _tools, _cache_marks, _system, *conversation.RULES)
_RULES: tuple[Rule, ...] = (_sampling, _limits, *_COUNTED)
