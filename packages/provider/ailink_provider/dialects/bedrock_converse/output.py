"""The form of the answer, both ways: free text, any JSON object, or JSON that fits a schema.

The schema travels as JSON within a string. Source: the structured outputs guide of Amazon Bedrock
(`outputConfig.textFormat`).
"""

from typing import Any

import msgspec

from ailink_provider.chat import OutputFormat
from ailink_provider.dialects import fields
from ailink_provider.dialects.bedrock_converse.draft import Draft, Entry
from ailink_provider.dialects.bedrock_converse.schemas import LIMITS
from ailink_provider.dialects.bedrock_converse.tools import can_force, holds_to_schemas
from ailink_provider.dialects.constraints import within_limits
from ailink_provider.dialects.identifiers import tool_name

_WHERE = "outputConfig.textFormat"
_SAID = "Answer with one JSON object and nothing else: no words around it and no code fence."


def read_output(config: dict[str, Any]) -> OutputFormat | None:
    """Return the form that an ``outputConfig`` asks for."""
    form = fields.optional(config, "textFormat", fields.record, "outputConfig")
    if form is None:
        return None
    if fields.required(form, "type", fields.text, _WHERE) != "json_schema":
        raise fields.invalid(f"{_WHERE}.type", "must be 'json_schema'")
    kind, definition = fields.member(form.get("structure"), f"{_WHERE}.structure")
    where = f"{_WHERE}.structure.jsonSchema"
    if kind != "jsonSchema":
        raise fields.invalid(f"{_WHERE}.structure", "must have the member 'jsonSchema'")
    named = fields.record(definition, where)
    return OutputFormat(
        "schema", name=fields.optional(named, "name", fields.text, where),
        schema=fields.required(named, "schema", _schema_text, where), strict=True,
        description=fields.optional(named, "description", fields.text, where),
    )


def _schema_text(value: Any, path: str) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(fields.text(value, path))
    except (ValueError, RecursionError):
        decoded = None
    if not isinstance(decoded, dict):
        raise fields.invalid(path, "must be a JSON object, written as a string")
    return decoded


def write_output(draft: Draft, system: list[Entry]) -> None:
    """Add the form to the draft, or an instruction to the system prompt where the model knows no forms."""
    output = draft.chat.output
    if output is None or output.kind == "text" or draft.schema_tool is not None:
        return
    if output.kind == "json" or output.schema is None:
        _say(_SAID, system, draft)
    elif draft.own or holds_to_schemas(draft):
        schema = within_limits(output.schema, LIMITS, "response_format", draft)
        definition = {"schema": msgspec.json.encode(schema).decode()}
        if output.name:
            definition["name"] = tool_name(output.name)
        if output.description:
            definition["description"] = output.description
        draft.output["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": definition}}
    else:
        _say(f"{_SAID} It has to fit this JSON Schema: {msgspec.json.encode(output.schema).decode()}", system, draft)


def wants_schema_tool(draft: Draft) -> bool:
    """Whether structured output needs a stand-in tool: not where the client forces a tool of its own this turn."""
    chat = draft.chat
    if chat.output is None or chat.output.kind != "schema" or draft.own or holds_to_schemas(draft):
        return False
    forced = chat.tool_choice is not None and chat.tool_choice.mode == "required" and bool(chat.tools)
    return can_force(draft) and not forced


def _say(instruction: str, system: list[Entry], draft: Draft) -> None:
    system.append(Entry({"text": instruction}))
    draft.lose("response_format", "this model is asked for JSON in words, which is no guarantee")
