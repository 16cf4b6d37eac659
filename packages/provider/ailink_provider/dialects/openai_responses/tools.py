"""Tools and the choice among them, read and written. Runs none of them.

Functions, free-text tools and the web search have canonical words; the vendor's other tools travel unread.
"""

from typing import Any, Literal

from ailink_provider.chat import Chat, Native, Tool, ToolChoice, WebSearch
from ailink_provider.dialects.members import as_object, as_text, invalid, one_object, optional, required
from ailink_provider.dialects.openai_responses.draft import Draft
from ailink_provider.dialects.openai_responses.fields import NAME, leftover

_MODES: dict[str, Literal["auto", "none", "required"]] = {"auto": "auto", "none": "none", "required": "required"}
_CALLABLE = ("function", "custom")
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}
_WEB_SEARCH = "web_search"
_LOCATION = ("city", "country", "region", "timezone")
_SEARCH_SIZES = ("low", "medium", "high")


def read_tools(chat: Chat, body: dict[str, Any]) -> None:
    """Set what ``body`` says of tools on ``chat``. Raises ``Failure`` if it is malformed."""
    for index, entry in enumerate(optional(body, "tools", list) or ()):
        where = f"tools[{index}]"
        chat.tools.append(_read_tool(one_object(entry, where), where))
    chat.parallel_tool_calls = optional(body, "parallel_tool_calls", bool)
    if body.get("tool_choice") is not None:
        chat.tool_choice = _read_choice(chat, body["tool_choice"])


def _read_tool(entry: dict[str, Any], where: str) -> Tool | WebSearch | Native:
    kind = required(entry, "type", str, where)
    if kind.startswith(_WEB_SEARCH):
        return WebSearch({key: value for key, value in entry.items() if (key, value) != ("type", _WEB_SEARCH)})
    if kind not in _CALLABLE:
        return Native(NAME, entry)
    tool = Tool(required(entry, "name", str, where), optional(entry, "description", str, where))
    if kind == "custom":
        tool.custom, tool.format = True, optional(entry, "format", dict, where)
        tool.extra = leftover(entry, ("type", "name", "description", "format"))
    else:
        tool.schema, tool.strict = optional(entry, "parameters", dict, where), optional(entry, "strict", bool, where)
        tool.extra = leftover(entry, ("type", "name", "description", "parameters", "strict"))
    return tool


def _read_choice(chat: Chat, value: Any) -> ToolChoice | None:
    if isinstance(value, str):
        if value not in _MODES:
            raise invalid("tool_choice", f"must be one of {', '.join(_MODES)} or an object")
        return ToolChoice(_MODES[value])
    choice = one_object(value, "tool_choice")
    kind = required(choice, "type", str, "tool_choice")
    if kind in _CALLABLE:
        return ToolChoice("required", [required(choice, "name", str, "tool_choice")])
    names = _read_allowed(choice) if kind == "allowed_tools" else None
    if names is None:
        chat.extras["tool_choice"] = choice  # of a tool that has no name but its type
        return None
    return ToolChoice(_MODES[choice["mode"]], names)


def _read_allowed(choice: dict[str, Any]) -> list[str] | None:
    """Return the names of the tools that may be called, None if one of them has none."""
    if required(choice, "mode", str, "tool_choice") not in ("auto", "required"):
        raise invalid("tool_choice.mode", "must be auto or required")
    names = []
    unnamed = False
    for index, entry in enumerate(required(choice, "tools", list, "tool_choice")):
        where = f"tool_choice.tools[{index}]"
        if required(one_object(entry, where), "type", str, where) in _CALLABLE:
            names.append(required(entry, "name", str, where))
        else:
            unnamed = True
    return None if unnamed else names


def write_tools(draft: Draft) -> dict[str, Any]:
    """Return the fields that give the model its tools."""
    chat = draft.chat
    fields: dict[str, Any] = {}
    tools = []
    for index, tool in enumerate(chat.tools):
        where = f"tools[{index}]"
        if isinstance(tool, Tool):
            tools.append(_write_tool(draft, tool, where))
        elif isinstance(tool, WebSearch):
            tools.append(_write_search(draft, tool.options, where))
        elif tool.dialect == NAME:
            tools.append(tool.value)
        else:
            draft.lose(where, f"it is a tool that only {tool.dialect} has")
    if tools:
        fields["tools"] = tools
        if chat.parallel_tool_calls is not None:
            fields["parallel_tool_calls"] = chat.parallel_tool_calls
    if chat.tool_choice is not None:
        fields |= _write_choice(draft, chat.tool_choice, bool(tools))
    return fields


def _write_tool(draft: Draft, tool: Tool, where: str) -> dict[str, Any]:
    written: dict[str, Any] = {"type": "custom" if tool.custom else "function", "name": draft.tool(tool.name)}
    if tool.description is not None:
        written["description"] = tool.description
    if not tool.custom:
        # Left out, both mean something else here than elsewhere: the schema is made strict and all in it required.
        written["parameters"] = tool.schema if tool.schema is not None or draft.own else _NO_PARAMETERS
        strict = draft.strict(tool.strict, tool.schema, where)
        written["strict"] = strict if draft.own else bool(strict)
    elif tool.format is not None:
        written["format"] = _write_format(tool.format)
    draft.mark(tool.cache, possible=False)
    return written | draft.members(tool.extra, where)


def _write_format(value: dict[str, Any]) -> dict[str, Any]:
    # OpenAI's Chat API says the same one level deeper.
    return {"type": value.get("type")} | value["grammar"] if isinstance(value.get("grammar"), dict) else value


def _write_choice(draft: Draft, choice: ToolChoice, has_tools: bool) -> dict[str, Any]:
    mode = choice.mode
    if not has_tools:
        if mode == "required":
            draft.lose("tool_choice", "there is no tool the target could be made to call")
        return {}
    if mode == "required" and not draft.facts.forced_tools:
        draft.lose("tool_choice", "the model cannot be made to call a tool")
        mode = "auto"
    if mode == "none" or choice.names is None:
        return {"tool_choice": mode}
    custom = {tool.name for tool in draft.chat.tools if isinstance(tool, Tool) and tool.custom}
    named = [{"type": "custom" if name in custom else "function", "name": draft.tool(name)} for name in choice.names]
    if mode == "required" and len(named) == 1:
        return {"tool_choice": named[0]}
    return {"tool_choice": {"type": "allowed_tools", "mode": mode, "tools": named}}


def _write_search(draft: Draft, options: dict[str, Any], where: str) -> dict[str, Any]:
    if draft.own:
        return {"type": _WEB_SEARCH} | options
    written: dict[str, Any] = {"type": _WEB_SEARCH}
    for key, value in options.items():
        if key == "user_location" and isinstance(value, dict):
            # Chat Completions nests the place one level deeper.
            place = as_object(value.get("approximate")) or value
            known = {name: place[name] for name in _LOCATION if as_text(place.get(name))}
            written[key] = {"type": "approximate"} | known
        elif key == "search_context_size" and value in _SEARCH_SIZES:
            written[key] = value
        elif key == "allowed_domains" and isinstance(value, list):
            written["filters"] = {"allowed_domains": value}
        elif key not in ("type", "name") and value is not None:
            draft.lose(f"{where}.{key}", "the target's web search has no such option")
    return written
