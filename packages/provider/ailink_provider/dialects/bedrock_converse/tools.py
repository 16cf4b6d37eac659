"""Tools and the choice among them, both ways.

A free-text tool is wrapped as a function that takes ``{"input": string}``; the service's own tools travel unread.
There is no way to forbid calls, and a conversation that has seen calls cannot go on without tools. Source:
`ToolConfiguration` of the Amazon Bedrock Runtime API and the tool use guide.
"""

from typing import Any, Literal, TypeAlias

from ailink_provider.chat import Native, OutputFormat, Tool, ToolChoice, WebSearch
from ailink_provider.dialects import fields
from ailink_provider.dialects.bedrock_converse.caching import read_point
from ailink_provider.dialects.bedrock_converse.draft import Draft, Entry
from ailink_provider.dialects.bedrock_converse.schemas import LIMITS
from ailink_provider.dialects.bedrock_converse.words import NAME
from ailink_provider.dialects.constraints import within_limits
from ailink_provider.dialects.fields import unsupported
from ailink_provider.errors import Failure

Choice: TypeAlias = dict[str, Any] | None

_KNOWN = ("name", "description", "inputSchema", "strict")
_MODES: dict[str, Literal["auto", "required"]] = {"auto": "auto", "any": "required", "tool": "required"}
_FREE_TEXT = {
    "type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"],
    "additionalProperties": False,
}
# Whose models can be made to call some tool, or one of them; an id that does not tell is trusted.
_FORCED = {"": ("any", "tool"), "anthropic": ("any", "tool"), "amazon": ("any", "tool"), "mistral": ("any",)}
# Whose models cannot be held to a schema.
_WITHOUT_SCHEMAS = ("ai21", "amazon", "cohere", "meta")


# --- reading -------------------------------------------------------------------------------------


def read_tools(config: dict[str, Any]) -> list[Tool | WebSearch | Native]:
    """Return the tools of a ``toolConfig`` in their order; a cache point marks the tool before it."""
    tools: list[Tool | WebSearch | Native] = []
    for index, item in enumerate(fields.required(config, "tools", fields.array, "toolConfig")):
        path = f"toolConfig.tools[{index}]"
        kind, tool = fields.member(item, path)
        last = tools[-1] if tools else None
        if kind == "toolSpec":
            tools.append(_read_tool(fields.record(tool, f"{path}.toolSpec"), f"{path}.toolSpec"))
        elif kind == "cachePoint" and isinstance(last, Tool) and last.cache is None:
            last.cache = read_point(tool, f"{path}.cachePoint")
        else:
            tools.append(Native(NAME, {kind: tool}))
    return tools


def _read_tool(tool: dict[str, Any], path: str) -> Tool:
    kind, schema = fields.member(tool.get("inputSchema"), f"{path}.inputSchema")
    if kind != "json":
        raise fields.invalid(f"{path}.inputSchema", "must have the member 'json'")
    return Tool(
        name=fields.required(tool, "name", fields.text, path),
        description=fields.optional(tool, "description", fields.text, path),
        schema=fields.record(schema, f"{path}.inputSchema.json"),
        strict=fields.optional(tool, "strict", fields.flag, path),
        extra=fields.leftover(tool, _KNOWN, NAME),
    )


def read_choice(config: dict[str, Any]) -> ToolChoice | None:
    """Return the choice among the tools, None where the client leaves it to the service."""
    if config.get("toolChoice") is None:
        return None
    kind, choice = fields.member(config["toolChoice"], "toolConfig.toolChoice")
    path = f"toolConfig.toolChoice.{kind}"
    if kind not in _MODES:
        raise fields.invalid("toolConfig.toolChoice", f"must be one of {', '.join(_MODES)}")
    named = fields.record(choice, path)
    return ToolChoice(_MODES[kind], [fields.required(named, "name", fields.text, path)] if kind == "tool" else None)


# --- writing -------------------------------------------------------------------------------------


def write_tools(draft: Draft) -> list[Entry]:
    """Return the tools of the request. Raises ``Failure`` for a free-text tool with a grammar."""
    entries: list[Entry] = []
    for index, tool in enumerate(draft.chat.tools):
        path = f"toolConfig.tools[{index}]" if draft.own else f"tools[{index}]"
        if isinstance(tool, Tool):
            write = _custom if tool.custom else _function
            entries.append(Entry(write(tool, path, draft), tool.cache))
        elif isinstance(tool, WebSearch):
            draft.lose(path, "Converse has no web search")
        elif tool.dialect == NAME:
            entries.append(Entry(dict(tool.value)))
        else:
            draft.lose(path, f"only {tool.dialect} has this tool")
    return entries


def _function(tool: Tool, path: str, draft: Draft) -> dict[str, Any]:
    schema = {"type": "object", **(tool.schema or {"properties": {}})}
    written: dict[str, Any] = {"name": draft.tool(tool.name)}
    if tool.description and tool.description.strip():
        written["description"] = tool.description
    if tool.strict and not (draft.own or holds_to_schemas(draft)):
        draft.lose(f"{path}.strict", "this model does not check arguments against a schema")
    elif tool.strict:
        schema = within_limits(schema, LIMITS, path, draft)
        written["strict"] = True
    elif tool.strict is False and draft.own:
        written["strict"] = False
    return {"toolSpec": {**written, "inputSchema": {"json": schema}, **draft.members(tool.extra, path)}}


def _custom(tool: Tool, path: str, draft: Draft) -> dict[str, Any]:
    if tool.format is not None and tool.format.get("type") != "text":
        raise unsupported(f"{path}.format", f"Converse cannot hold tool {tool.name!r} to a grammar: describe the "
                                            "format in the tool's description instead.")
    draft.custom.add(draft.tool(tool.name))
    return _function(Tool(tool.name, tool.description, _FREE_TEXT, extra=tool.extra), path, draft)


def holds_to_schemas(draft: Draft) -> bool:
    """Whether the model can be held to a JSON Schema."""
    return draft.facts.json_schema and draft.vendor not in _WITHOUT_SCHEMAS


def can_force(draft: Draft) -> bool:
    """Whether the model can be made to call a tool."""
    return draft.facts.forced_tools and draft.vendor in _FORCED


def add_schema_tool(output: OutputFormat, tools: list[Entry], draft: Draft) -> list[Entry]:
    """Return ``tools`` and one more, whose arguments stand in for structured output on a model that has none."""
    taken = {_name(entry) for entry in tools}
    name = "structured_output"
    while name in taken:
        name += "_"
    draft.schema_tool = name
    description = output.description or "Give your final answer by calling this tool."
    schema = {"type": "object", **(output.schema or {})}
    return [*tools, Entry({"toolSpec": {"name": name, "description": description, "inputSchema": {"json": schema}}})]


def write_choice(draft: Draft, tools: list[Entry], called: list[str] | None) -> tuple[list[Entry], Choice]:
    """Return the tools that the model may see, and the choice among them, None where the service's default will do.

    ``called`` names the tools that the conversation has seen at work, None if it has seen none. Raises ``Failure``
    (``invalid_request``) when the choice names a tool that is not there.
    """
    choice = draft.chat.tool_choice or ToolChoice("auto")
    mode = "none" if choice.names == [] else choice.mode
    wanted = _wanted(choice, tools, draft) if mode != "none" else set()
    stand_in = draft.schema_tool
    if stand_in is not None:
        # A reply is a call of the stand-in: with tools forbidden, or where there are none, no other is possible.
        wanted = {stand_in} if mode == "none" or len(tools) == 1 else wanted and wanted | {stand_in}
        mode = "required"
    if mode == "none":
        return _without_calls(draft, tools, called), None
    if not tools:
        if mode == "required":
            draft.lose(_word(draft), "there is no tool to choose")
        return _declared_again(draft, called), None
    return _chosen(draft, tools, mode, wanted)


def _chosen(draft: Draft, tools: list[Entry], mode: str, wanted: set[str]) -> tuple[list[Entry], Choice]:
    if mode == "required" and not can_force(draft):
        draft.lose(_word(draft), "this model cannot be forced to call a tool")
        mode = "auto"
    if mode == "required" and len(wanted) == 1 and "tool" in _FORCED[draft.vendor]:
        written: Choice = {"tool": {"name": next(iter(wanted))}}
    else:
        tools = [entry for entry in tools if not wanted or _name(entry) in wanted]
        written = {"any" if mode == "required" else "auto": {}}
    if written == {"auto": {}} and (draft.chat.tool_choice is None or not draft.own):
        written = None
    if draft.chat.parallel_tool_calls is False or draft.schema_tool is not None:
        _forbid_parallel(draft, written)
    return tools, written


def _forbid_parallel(draft: Draft, choice: Choice) -> None:
    if draft.takes_claude_fields:
        # Merged with the service's own choice, which it must not contradict, and not complete without one.
        kind = {"type": "auto"} if choice is None else {}
        draft.additional["tool_choice"] = {**kind, "disable_parallel_tool_use": True}
    elif draft.chat.parallel_tool_calls is False:
        draft.lose("parallel_tool_calls", "this model may call several tools at once")


def _without_calls(draft: Draft, tools: list[Entry], called: list[str] | None) -> list[Entry]:
    if called is None:
        return []
    if tools:
        draft.lose(_word(draft), "calls cannot be forbidden once a conversation has had some")
        return tools
    return _declared_again(draft, called)


def _declared_again(draft: Draft, called: list[str] | None) -> list[Entry]:
    """Return stand-ins for the tools of a conversation that goes on without: the service refuses it otherwise."""
    if called is None:
        return []
    draft.lose("tools", "the tools that the conversation has used are declared once more, as Amazon Bedrock demands")
    names = list(dict.fromkeys(called)) or ["tool"]
    return [Entry({"toolSpec": {"name": name, "inputSchema": {"json": {"type": "object"}}}}) for name in names]


def _wanted(choice: ToolChoice, tools: list[Entry], draft: Draft) -> set[str]:
    wanted = {draft.tool(name) for name in choice.names or ()}
    missing = wanted - {_name(entry) for entry in tools}
    if missing:
        raise Failure("invalid_request", f"The tool choice names {sorted(missing)[0]!r}, which is not among the tools.",
                      param=_word(draft))
    return wanted


def _name(entry: Entry) -> str:
    name = entry.block[entry.kind].get("name") if isinstance(entry.block[entry.kind], dict) else None
    return name if isinstance(name, str) else ""


def _word(draft: Draft) -> str:
    return "toolConfig.toolChoice" if draft.own else "tool_choice"
