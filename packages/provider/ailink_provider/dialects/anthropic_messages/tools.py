"""Tools and the choice among them, both ways.

A function is a tool; a free-text tool is wrapped as a function that takes ``{"input": string}``; the vendor's own tools
travel unread, its web search apart.
"""

from typing import Any, Literal

from ailink_provider.chat import Native, OutputFormat, Tool, ToolChoice, WebSearch
from ailink_provider.dialects import fields
from ailink_provider.dialects.anthropic_messages.caching import read_mark, write_mark
from ailink_provider.dialects.anthropic_messages.draft import Draft
from ailink_provider.dialects.anthropic_messages.schemas import LIMITS
from ailink_provider.dialects.anthropic_messages.words import NAME
from ailink_provider.dialects.constraints import within_limits
from ailink_provider.dialects.fields import unsupported
from ailink_provider.errors import Failure

_KNOWN = ("type", "name", "description", "input_schema", "strict", "cache_control")
_MODES: dict[str, Literal["auto", "none", "required"]] = {
    "auto": "auto", "any": "required", "tool": "required", "none": "none",
}
_WEB_SEARCH = "web_search_"
# The version that every model with web search takes; later ones also need code execution.
_WEB_SEARCH_TYPE = "web_search_20250305"
_LOCATION = ("city", "country", "region", "timezone")
_FREE_TEXT = {
    "type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"],
    "additionalProperties": False,
}


# --- reading -------------------------------------------------------------------------------------


def read_tools(body: dict[str, Any]) -> list[Tool | WebSearch | Native]:
    """Return the request's tools in their order."""
    listed = fields.optional(body, "tools", fields.records) or []
    return [_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(listed)]


def _read_tool(tool: dict[str, Any], path: str) -> Tool | WebSearch | Native:
    kind = fields.optional(tool, "type", fields.text, path) or "custom"
    fields.optional(tool, "name", fields.text, path)
    if kind.startswith(_WEB_SEARCH):
        return WebSearch(tool)
    if kind != "custom":
        return Native(NAME, tool)
    return Tool(
        name=fields.required(tool, "name", fields.text, path),
        description=fields.optional(tool, "description", fields.text, path),
        schema=fields.required(tool, "input_schema", fields.record, path),
        strict=fields.optional(tool, "strict", fields.flag, path),
        cache=read_mark(tool, path), extra=fields.leftover(tool, _KNOWN, NAME),
    )


def read_choice(body: dict[str, Any]) -> tuple[ToolChoice | None, bool | None]:
    """Return the choice among the tools, and whether several may be called at once where the client says so."""
    choice = fields.optional(body, "tool_choice", fields.record)
    if choice is None:
        return None, None
    kind = fields.required(choice, "type", fields.text, "tool_choice")
    if kind not in _MODES:
        raise fields.invalid("tool_choice.type", f"must be one of {', '.join(_MODES)}")
    single = fields.optional(choice, "disable_parallel_tool_use", fields.flag, "tool_choice")
    names = [fields.required(choice, "name", fields.text, "tool_choice")] if kind == "tool" else None
    return ToolChoice(_MODES[kind], names), None if single is None else not single


# --- writing -------------------------------------------------------------------------------------


def write_tools(draft: Draft) -> list[dict[str, Any]]:
    """Return the tools of the request. Raises ``Failure`` for a free-text tool with a grammar."""
    tools = []
    for index, tool in enumerate(draft.chat.tools):
        path = f"tools[{index}]"
        if isinstance(tool, Tool):
            tools.append(_custom(tool, path, draft) if tool.custom else _function(tool, path, draft))
        elif isinstance(tool, WebSearch):
            tools.append(_web_search(tool.options, path, draft))
        elif tool.dialect == NAME:
            tools.append(dict(tool.value))
        else:
            draft.lose(path, f"only {tool.dialect} has this tool")
    return tools


def _function(tool: Tool, path: str, draft: Draft) -> dict[str, Any]:
    schema = {"type": "object", **(tool.schema or {"properties": {}})}
    written: dict[str, Any] = {"name": draft.tool(tool.name)}
    if tool.description:
        written["description"] = tool.description
    if tool.strict and not draft.facts.json_schema:
        draft.lose(f"{path}.strict", "this model does not check arguments against a schema")
    elif tool.strict:
        schema = within_limits(schema, LIMITS, path, draft)
        written["strict"] = True
    written["input_schema"] = schema
    return {**written, **draft.members(tool.extra, path), **write_mark(tool.cache)}


def _custom(tool: Tool, path: str, draft: Draft) -> dict[str, Any]:
    if tool.format is not None and tool.format.get("type") != "text":
        raise unsupported(f"{path}.format", f"The Messages API cannot hold tool {tool.name!r} to a grammar: describe "
                                            "the format in the tool's description instead.")
    function = Tool(tool.name, tool.description, _FREE_TEXT, cache=tool.cache, extra=tool.extra)
    draft.custom.add(draft.tool(tool.name))
    return _function(function, path, draft)


def _web_search(options: dict[str, Any], path: str, draft: Draft) -> dict[str, Any]:
    if str(options.get("type")).startswith(_WEB_SEARCH) and options.get("name") == "web_search":
        return dict(options)
    written: dict[str, Any] = {"type": _WEB_SEARCH_TYPE, "name": "web_search"}
    for key, value in options.items():
        if key == "user_location" and isinstance(value, dict):
            # Chat Completions nests the place one level deeper than Responses does.
            nested = value.get("approximate")
            place = nested if isinstance(nested, dict) else value
            known = {name: place[name] for name in _LOCATION if isinstance(place.get(name), str)}
            written[key] = {"type": "approximate", **known}
        elif key == "filters" and isinstance(value, dict) and isinstance(value.get("allowed_domains"), list):
            written["allowed_domains"] = value["allowed_domains"]
        elif key not in ("type", "name") and value is not None:
            draft.lose(f"{path}.{key}", "the Messages API's web search has no such option")
    return written


def add_schema_tool(output: OutputFormat, tools: list[dict[str, Any]], draft: Draft) -> list[dict[str, Any]]:
    """Return ``tools`` and one more, whose arguments stand in for structured output on a model that has none."""
    taken = {tool.get("name") for tool in tools}
    name = "structured_output"
    while name in taken:
        name += "_"
    draft.schema_tool = name
    description = output.description or "Give your final answer by calling this tool."
    schema = {"type": "object", **(output.schema or {})}
    return [*tools, {"name": name, "description": description, "input_schema": schema}]


def write_choice(draft: Draft, tools: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """Return the tools that the model may see, and the choice among them, None where the vendor's default will do.

    Raises ``Failure`` (``invalid_request``) when the choice names a tool that is not there.
    """
    chat = draft.chat
    choice = chat.tool_choice or ToolChoice("auto")
    mode = "none" if choice.names == [] else choice.mode
    wanted = _wanted(choice, tools, draft) if mode != "none" else set()
    stand_in = draft.schema_tool
    if stand_in is not None:
        # A reply is a call of the stand-in: with tools forbidden, or where there are none, no other is possible.
        wanted = {stand_in} if mode == "none" or len(tools) == 1 else wanted and wanted | {stand_in}
        mode = "required"
    if not tools:
        if mode == "required":
            draft.lose("tool_choice", "there is no tool to choose")
        return tools, None
    if mode == "required" and not draft.facts.forced_tools:
        draft.lose("tool_choice", "this model cannot be forced to call a tool")
        mode = "auto"
    written: dict[str, Any]
    if mode == "required" and len(wanted) == 1:
        written = {"type": "tool", "name": next(iter(wanted))}
    else:
        tools = [tool for tool in tools if not wanted or tool.get("name") in wanted]
        written = {"type": "any" if mode == "required" else mode}
    if mode != "none" and (chat.parallel_tool_calls is False or stand_in is not None):
        written["disable_parallel_tool_use"] = True
    return tools, None if chat.tool_choice is None and written == {"type": "auto"} else written


def _wanted(choice: ToolChoice, tools: list[dict[str, Any]], draft: Draft) -> set[str]:
    wanted = {draft.tool(name) for name in choice.names or ()}
    missing = wanted - {tool.get("name") for tool in tools}
    if missing:
        raise Failure("invalid_request", f"tool_choice names {sorted(missing)[0]!r}, which is not among the tools.",
                      param="tool_choice")
    return wanted


def wants_schema_tool(draft: Draft) -> bool:
    """Whether structured output needs a stand-in tool: not where the client forces a tool of its own this turn."""
    chat = draft.chat
    forced = chat.tool_choice is not None and chat.tool_choice.mode == "required" and bool(chat.tools)
    return chat.output is not None and chat.output.kind == "schema" and not draft.facts.json_schema and not forced
