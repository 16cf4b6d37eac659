"""Tools: ``tools`` and ``toolConfig``, to and from canonical tools and tool choice.

Functions go out in one list of declarations. Google's own tools pass as they came; the web search is the one that has
a canonical word. A free-text tool becomes a function of one string, ``input``.
"""

from typing import Any, Literal

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Native, Tool, ToolChoice, WebSearch
from ailink_provider.dialects import Loss, Sent
from ailink_provider.dialects.gemini.fields import join, many, members, record, refuse, text, texts
from ailink_provider.dialects.gemini.names import NAME, tool_name
from ailink_provider.dialects.gemini.parts import leftover, members_of
from ailink_provider.dialects.gemini.schemas import read_schema, write_schema
from ailink_provider.errors import Failure

_MODES: dict[str, Literal["auto", "none", "required"]] = {
    "AUTO": "auto",
    "NONE": "none",
    "ANY": "required",
    "VALIDATED": "auto",
}
_INPUT = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


def read_tools(value: Any, chat: Chat) -> None:
    """Read ``tools`` into ``chat.tools``."""
    for position, item in enumerate(many(value, "tools")):
        where = f"tools[{position}]"
        for kind, options in members(item, where).items():
            if kind == "functionDeclarations":
                here = join(where, kind)
                chat.tools += [
                    _read_declaration(declaration, f"{here}[{index}]")
                    for index, declaration in enumerate(many(options, here))
                ]
            elif kind == "googleSearch":
                chat.tools.append(WebSearch(record(options, join(where, kind))))
            else:
                chat.tools.append(Native(NAME, {kind: options}))


def read_tool_config(value: Any, chat: Chat, where: str = "toolConfig") -> None:
    """Read ``toolConfig`` into ``chat.tool_choice``, and the rest into ``chat.extras``."""
    config = members(value, where)
    calling_path = join(where, "functionCallingConfig")
    calling = members(config.pop("functionCallingConfig", {}), calling_path)
    chat.extras.update({join(where, key): member for key, member in config.items()})
    word = text(calling.pop("mode", "MODE_UNSPECIFIED"), join(calling_path, "mode")).upper()
    names = calling.pop("allowedFunctionNames", None)
    chat.extras.update({join(calling_path, key): member for key, member in calling.items()})
    if word == "VALIDATED":  # to call or to speak, by the schema: "auto" to everyone but Gemini
        chat.extras[join(calling_path, "mode")] = word
    if word in _MODES:
        chat.tool_choice = ToolChoice(
            _MODES[word], texts(names, join(calling_path, "allowedFunctionNames")) if names else None
        )
    elif word != "MODE_UNSPECIFIED":
        raise refuse(join(calling_path, "mode"), f"one of {', '.join(_MODES)}")


def write_tools(chat: Chat, facts: Facts, sent: Sent) -> None:
    """Put ``tools`` and ``toolConfig`` into ``sent.body``, and into ``sent`` what undoes it on the reply."""
    choice = chat.tool_choice or ToolChoice("auto")
    declarations: list[dict[str, Any]] = []
    written: list[dict[str, Any]] = []
    for position, tool in enumerate(chat.tools):
        where = f"tools[{position}]"
        if isinstance(tool, Tool):
            # Gemini narrows by name only where it forces a call, so an optional choice is narrowed by what is offered.
            if choice.mode == "required" or choice.names is None or tool.name in choice.names:
                declarations.append(_write_declaration(tool, where, facts, sent))
        elif isinstance(tool, WebSearch):
            written.append({"googleSearch": tool.options if chat.dialect == NAME else {}})
            if tool.options and chat.dialect != NAME:
                sent.losses.append(Loss(where, "Google's search does not take these options"))
        elif tool.dialect == NAME:
            written.append(dict(tool.value))
        else:
            sent.losses.append(Loss(where, "only the API it was written for has this tool"))
    if declarations:
        written.insert(0, {"functionDeclarations": declarations})
        _write_choice(choice, facts, sent)
    elif choice.mode == "required":
        sent.losses.append(Loss("tool_choice", "only a function can be forced"))
    if written:
        sent.body["tools"] = written
    if any(isinstance(tool, Tool) and tool.strict for tool in chat.tools):
        sent.losses.append(Loss("tools[].strict", "arguments are not held to the schema"))


def _read_declaration(value: Any, where: str) -> Tool:
    declaration = members(value, where)
    name = text(declaration.pop("name", None), join(where, "name"))
    description = text(declaration.pop("description", ""), join(where, "description"))
    schema: dict[str, Any] | None = None
    if "parametersJsonSchema" in declaration:
        here = join(where, "parametersJsonSchema")
        schema = record(declaration.pop("parametersJsonSchema"), here)
    elif "parameters" in declaration:
        schema = read_schema(declaration.pop("parameters"), join(where, "parameters"))
    return Tool(name, description or None, schema, extra=leftover(declaration, frozenset()))


def _write_declaration(tool: Tool, where: str, facts: Facts, sent: Sent) -> dict[str, Any]:
    name = tool_name(tool.name)
    if name != tool.name:
        sent.names[name] = tool.name
    schema = tool.schema
    if tool.custom:
        if (tool.format or {}).get("type", "text") != "text":
            raise Failure(
                "unsupported_parameter",
                f"'{where}' has a grammar, which Gemini cannot follow. Offer a function with a JSON Schema instead.",
                param=f"{where}.format",
            )
        sent.custom |= {name}
        schema = _INPUT
    declaration: dict[str, Any] = {"name": name, **({"description": tool.description} if tool.description else {})}
    if schema is not None and facts.json_schema:
        declaration["parametersJsonSchema"] = schema
    elif schema and schema.get("properties"):  # older models refuse an object without members
        dropped: set[str] = set()
        declaration["parameters"] = write_schema(schema, f"{where}.parameters", dropped)
        sent.losses += [
            Loss(f"{where}.parameters.{key}", "this model's schemas do not have it") for key in sorted(dropped)
        ]
    if tool.extra is not None and tool.extra.dialect != NAME:
        sent.losses += [Loss(f"{where}.{key}", "Gemini has no such field") for key in tool.extra.value]
    return {**declaration, **members_of(tool.extra)}


def _write_choice(choice: ToolChoice, facts: Facts, sent: Sent) -> None:
    if choice.mode == "auto":
        return
    calling: dict[str, Any] = {"mode": "NONE" if choice.mode == "none" else "ANY"}
    if choice.mode == "required" and not facts.forced_tools:
        sent.losses.append(Loss("tool_choice", "this model cannot be forced to call a tool"))
        return
    if choice.mode == "required" and choice.names:
        calling["allowedFunctionNames"] = [tool_name(name) for name in choice.names]
    sent.body["toolConfig"] = {"functionCallingConfig": calling}
