"""Tools, read and written. Ollama has no word for the choice among them: a model is offered tools, or it is not."""

from typing import Any

from ailink_provider.chat import Chat, Native, Tool, ToolChoice, WebSearch
from ailink_provider.dialects.fields import leftover
from ailink_provider.dialects.members import invalid, one_object, unsupported
from ailink_provider.dialects.ollama.draft import Draft
from ailink_provider.dialects.ollama.fields import NAME, optional, required

_READ = ("type", "function")
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}
_FREE_TEXT: dict[str, Any] = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


def read_tools(body: dict[str, Any], chat: Chat) -> None:
    """Set what ``body`` says of tools on ``chat``. Raises ``Failure`` if it is malformed."""
    for index, entry in enumerate(optional(body, "tools", list) or ()):
        where = f"tools[{index}]"
        chat.tools.append(_read_tool(one_object(entry, where), where))


def _read_tool(entry: dict[str, Any], where: str) -> Tool | Native:
    if (optional(entry, "type", str, where) or "function") != "function":
        return Native(NAME, entry)
    function, place = required(entry, "function", dict, where), f"{where}.function"
    return Tool(
        required(function, "name", str, place),
        optional(function, "description", str, place),
        optional(function, "parameters", dict, place),
        extra=leftover(entry, _READ, NAME),
    )


def write_tools(draft: Draft) -> list[dict[str, Any]]:
    """Return the tools that the model may see: none if it may call none, else those that the choice leaves.

    Raises ``Failure``: ``invalid_request`` for a choice of a tool that is not there, ``unsupported_parameter`` for a
    free-text tool with a grammar.
    """
    chat = draft.chat
    choice = chat.tool_choice or ToolChoice("auto")
    named = {tool.name for tool in chat.tools if isinstance(tool, Tool)}
    if missing := [name for name in choice.names or () if name not in named]:
        raise invalid("tool_choice", f"names '{missing[0]}', which is not among the tools")
    if choice.mode == "none":
        return []
    if choice.mode == "required":
        draft.lose("tool_choice", "the target cannot be made to call a tool")
    if chat.parallel_tool_calls is False and chat.tools:
        draft.lose("parallel_tool_calls", "the target may call several tools at once")
    written = []
    for index, tool in enumerate(chat.tools):
        where = f"tools[{index}]"
        if isinstance(tool, Tool):
            if choice.names is None or tool.name in choice.names:
                written.append(_write_tool(draft, tool, where))
        elif isinstance(tool, WebSearch):
            draft.lose(where, "the target searches no web by itself")
        elif tool.dialect == NAME:
            written.append(tool.value)
        else:
            draft.lose(where, f"it is a tool that only {tool.dialect} has")
    return written


def _write_tool(draft: Draft, tool: Tool, where: str) -> dict[str, Any]:
    schema = tool.schema or _NO_PARAMETERS
    if tool.custom:
        if (tool.format or {}).get("type", "text") != "text":
            raise unsupported(f"{where}.format", "is a grammar, which Ollama cannot follow; offer a function instead")
        draft.custom.add(tool.name)
        schema = _FREE_TEXT
    if tool.strict:
        draft.lose("tools[].strict", "arguments are not held to the schema")
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function | {"parameters": schema}} | draft.members(tool.extra, where)
