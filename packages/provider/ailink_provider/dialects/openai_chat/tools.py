"""Tools and the choice among them, modern and legacy, read and written. Runs none of them."""

from typing import Any, Literal

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Native, Tool, ToolChoice, WebSearch
from ailink_provider.dialects.members import as_object, as_text, invalid, one_object, optional, required
from ailink_provider.dialects.openai_chat.draft import Draft
from ailink_provider.dialects.openai_chat.parts import read_mark, write_mark
from ailink_provider.dialects.openai_chat.words import NAME

READ = frozenset({"tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "web_search_options"})

_MODES: dict[str, Literal["auto", "none", "required"]] = {"auto": "auto", "none": "none", "required": "required"}
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


def read_tools(chat: Chat, body: dict[str, Any]) -> None:
    """Set what ``body`` says of tools on ``chat``. Raises ``Failure`` if it is malformed."""
    for index, entry in enumerate(optional(body, "tools", list) or ()):
        where = f"tools[{index}]"
        chat.tools.append(_read_tool(one_object(entry, where), where))
    chat.parallel_tool_calls = optional(body, "parallel_tool_calls", bool)
    if body.get("tool_choice") is not None:
        chat.tool_choice = _read_choice(chat, body["tool_choice"])
    search = optional(body, "web_search_options", dict)
    if search is not None:
        chat.tools.append(WebSearch(search))
    if body.get("functions") or body.get("function_call") is not None:
        _read_functions(chat, body)


def _read_tool(entry: dict[str, Any], where: str) -> Tool | Native:
    kind = required(entry, "type", str, where)
    if kind == "function":
        tool = _read_function(required(entry, "function", dict, where), f"{where}.function")
        tool.cache = tool.cache or read_mark(entry, where)
        return tool
    if kind == "custom":
        custom, place = required(entry, "custom", dict, where), f"{where}.custom"
        return Tool(required(custom, "name", str, place), optional(custom, "description", str, place), custom=True,
                    format=optional(custom, "format", dict, place), cache=read_mark(entry, where))
    return Native(NAME, entry)


def _read_function(source: dict[str, Any], where: str) -> Tool:
    return Tool(required(source, "name", str, where), optional(source, "description", str, where),
                optional(source, "parameters", dict, where), optional(source, "strict", bool, where),
                cache=read_mark(source, where))


def _read_choice(chat: Chat, value: Any) -> ToolChoice | None:
    if isinstance(value, str):
        if value not in _MODES:
            raise invalid("tool_choice", f"must be one of {', '.join(_MODES)} or an object")
        return ToolChoice(_MODES[value])
    choice = one_object(value, "tool_choice")
    kind = required(choice, "type", str, "tool_choice")
    if kind in ("function", "custom"):
        inner = required(choice, kind, dict, "tool_choice")
        return ToolChoice("required", [required(inner, "name", str, f"tool_choice.{kind}")])
    if kind == "allowed_tools":
        return _read_allowed(required(choice, kind, dict, "tool_choice"))
    chat.extras["tool_choice"] = choice
    return None


def _read_allowed(allowed: dict[str, Any]) -> ToolChoice:
    place = "tool_choice.allowed_tools"
    mode = required(allowed, "mode", str, place)
    if mode not in ("auto", "required"):
        raise invalid(f"{place}.mode", "must be auto or required")
    names = []
    for index, entry in enumerate(required(allowed, "tools", list, place)):
        where = f"{place}.tools[{index}]"
        kind = required(one_object(entry, where), "type", str, where)
        names.append(required(required(entry, kind, dict, where), "name", str, f"{where}.{kind}"))
    return ToolChoice(_MODES[mode], names)


def _read_functions(chat: Chat, body: dict[str, Any]) -> None:
    """The API before tools: one call a turn at most, answered as ``function_call``."""
    chat.legacy_functions = True
    chat.parallel_tool_calls = False
    for index, entry in enumerate(optional(body, "functions", list) or ()):
        where = f"functions[{index}]"
        chat.tools.append(_read_function(one_object(entry, where), where))
    choice = body.get("function_call")
    if isinstance(choice, str):
        if choice not in ("auto", "none"):
            raise invalid("function_call", "must be auto, none or an object with a name")
        chat.tool_choice = ToolChoice(_MODES[choice])
    elif choice is not None:
        name = required(one_object(choice, "function_call"), "name", str, "function_call")
        chat.tool_choice = ToolChoice("required", [name])


def write_tools(draft: Draft, facts: Facts) -> dict[str, Any]:
    """Return the fields that give the model its tools."""
    chat = draft.chat
    fields: dict[str, Any] = {}
    tools = []
    for index, tool in enumerate(chat.tools):
        if isinstance(tool, Tool):
            tools.append(_write_tool(draft, tool, f"tools[{index}]"))
        elif isinstance(tool, WebSearch):
            fields["web_search_options"] = _write_search(draft, tool)
        elif tool.dialect == NAME:
            tools.append(tool.value)
        else:
            draft.lose(f"tools[{index}]", f"it is a tool that only {tool.dialect} has")
    if tools:
        fields["tools"] = tools
        if chat.parallel_tool_calls is not None:
            fields["parallel_tool_calls"] = chat.parallel_tool_calls
    if chat.tool_choice is not None:
        fields |= _write_choice(draft, chat.tool_choice, facts, bool(tools))
    return fields


def _write_tool(draft: Draft, tool: Tool, where: str) -> dict[str, Any]:
    draft.members(tool.extra, where)
    inner: dict[str, Any] = {"name": draft.tool(tool.name)}
    if tool.description is not None:
        inner["description"] = tool.description
    if tool.custom:
        if tool.format is not None:
            inner["format"] = _write_format(tool.format)
        return {"type": "custom", "custom": inner} | write_mark(draft, tool.cache, on_part=False)
    if tool.schema is not None or not draft.own:
        inner["parameters"] = tool.schema or _NO_PARAMETERS  # OpenAI can do without them, some that resemble it cannot
    strict = draft.strict(tool.strict, inner.get("parameters"), where)
    if strict is not None:
        inner["strict"] = strict
    return {"type": "function", "function": inner} | write_mark(draft, tool.cache, on_part=False)


def _write_format(value: dict[str, Any]) -> dict[str, Any]:
    # OpenAI's Responses API says the same flat, without the inner "grammar".
    if value.get("type") == "grammar" and "grammar" not in value:
        return {"type": "grammar", "grammar": {key: member for key, member in value.items() if key != "type"}}
    return value


def _write_choice(draft: Draft, choice: ToolChoice, facts: Facts, has_tools: bool) -> dict[str, Any]:
    mode = choice.mode
    if not has_tools:
        if mode == "required":
            draft.lose("tool_choice", "there is no tool the target could be made to call")
        return {}
    if mode == "required" and not facts.forced_tools:
        draft.lose("tool_choice", "the model cannot be made to call a tool")
        mode = "auto"
    if mode == "none" or choice.names is None:
        return {"tool_choice": mode}
    kinds = {tool.name: "custom" for tool in draft.chat.tools if isinstance(tool, Tool) and tool.custom}
    named = [_named(kinds.get(name, "function"), draft.tool(name)) for name in choice.names]
    if mode == "required" and len(named) == 1:
        return {"tool_choice": named[0]}
    return {"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": named}}}


def _named(kind: str, name: str) -> dict[str, Any]:
    return {"type": kind, kind: {"name": name}}


def _write_search(draft: Draft, search: WebSearch) -> dict[str, Any]:
    if draft.own:
        return search.options
    options: dict[str, Any] = {}
    if as_text(search.options.get("search_context_size")):
        options["search_context_size"] = search.options["search_context_size"]
    location = as_object(search.options.get("user_location"))
    if location:
        place = {key: location[key] for key in ("city", "country", "region", "timezone") if location.get(key)}
        options["user_location"] = {"type": "approximate", "approximate": place}
    for key in search.options.keys() - {"type", "name", "search_context_size", "user_location"}:
        draft.lose(key, "the target's web search has no such option")
    return options
