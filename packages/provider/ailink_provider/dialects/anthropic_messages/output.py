"""The form of the answer, both ways: free text, any JSON object, or JSON that fits a schema.

Source: the structured outputs guide (`output_config.format`). Its schemas are closed, so "any object" is none of them:
it is asked for in words.
"""

from typing import Any

from ailink_provider.chat import OutputFormat
from ailink_provider.dialects import fields
from ailink_provider.dialects.anthropic_messages.draft import Draft
from ailink_provider.dialects.anthropic_messages.schemas import ANY_OBJECT, LIMITS
from ailink_provider.dialects.constraints import within_limits

_INSTRUCTION = "Answer with one JSON object and nothing else: no words around it and no code fence."


def read_output(body: dict[str, Any], extras: dict[str, Any]) -> OutputFormat | None:
    """Return the form that ``output_config`` asks for. Members of it that nobody here knows stay in ``extras``."""
    config = fields.optional(body, "output_config", fields.record) or {}
    unknown = {key: value for key, value in config.items() if key not in ("effort", "format") and value is not None}
    form = fields.optional(config, "format", fields.record, "output_config")
    output = None
    if form is not None and fields.required(form, "type", fields.text, "output_config.format") != "json_schema":
        unknown["format"] = form
    elif form is not None:
        schema = fields.required(form, "schema", fields.record, "output_config.format")
        output = OutputFormat("json") if schema == ANY_OBJECT else OutputFormat("schema", schema=schema, strict=True)
    if unknown:
        extras["output_config"] = unknown
    return output


def write_output(body: dict[str, Any], draft: Draft) -> None:
    """Add the form to ``body``, or an instruction to its system prompt where no schema says what is wanted."""
    output = draft.chat.output
    if output is None or output.kind == "text" or draft.schema_tool is not None:
        return
    if output.kind == "json" or output.schema is None:
        body["system"] = [*body.get("system", []), {"type": "text", "text": _INSTRUCTION}]
        draft.lose("response_format", "the model is asked for JSON in words, which is no guarantee")
    elif draft.facts.json_schema:
        described = {"description": output.description} if output.description else {}
        schema = within_limits({**described, **output.schema}, LIMITS, "response_format", draft)
        body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}
