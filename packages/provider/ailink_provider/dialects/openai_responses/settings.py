"""How the answer is to be: sampling, limit, tier, reasoning, form. Read and written; a reply repeats what is written.

Types are checked, vocabularies are open: a value whose word is unknown here rides in ``extras``, so that the target can
judge it and any other dialect reports it.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from ailink_provider.chat import Chat, OutputFormat, Reasoning, Text
from ailink_provider.dialects.identifiers import tool_name
from ailink_provider.dialects.members import invalid, optional, required
from ailink_provider.dialects.openai_responses.draft import Draft
from ailink_provider.dialects.openai_responses.reasoning import ENCRYPTED

# The wire's name and the canonical one are the same.
_PLAIN: dict[str, Any] = {"temperature": float, "top_p": float, "service_tier": str}
READ = _PLAIN.keys() | {"max_output_tokens", "metadata", "reasoning", "text", "include", "top_logprobs"}

# Canonical fields without a word here, each with the value that changes nothing.
_UNSAID: dict[str, Any] = {"top_k": None, "seed": None, "presence_penalty": 0, "frequency_penalty": 0, "stop": []}
_LOGPROBS = "message.output_text.logprobs"
_LEAST_LIMIT = 16  # tokens; less is refused: "Expected a value >= 16"

_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# Budgets in tokens up to which an effort speaks for them; beyond the last it is "high".
_EFFORT_BUDGETS = ((0, "none"), (4096, "low"), (16384, "medium"))

_TIERS = {"auto": "auto", "default": "default", "flex": "flex", "scale": "scale", "priority": "priority",
          "fast": "fast", "standard": "default", "standard_only": "default"}


# --- reading -------------------------------------------------------------------------------------


def read_settings(chat: Chat, body: dict[str, Any]) -> None:
    """Set what ``body`` says of the answer on ``chat``. Raises ``Failure`` if it is malformed."""
    for name, kind in _PLAIN.items():
        setattr(chat, name, optional(body, name, kind))
    chat.max_tokens = optional(body, "max_output_tokens", int)
    chat.metadata = optional(body, "metadata", dict)
    for key in chat.metadata or ():
        required(chat.metadata or {}, key, str, "metadata")
    _read_reasoning(chat, body)
    _read_text(chat, body)
    _read_include(chat, body)


def _read_reasoning(chat: Chat, body: dict[str, Any]) -> None:
    asked = optional(body, "reasoning", dict) or {}
    effort = optional(asked, "effort", str, "reasoning")
    summary = optional(asked, "summary", str, "reasoning") or optional(asked, "generate_summary", str, "reasoning")
    rest = {key: value for key, value in asked.items()
            if key not in ("effort", "summary", "generate_summary") and value is not None}
    if effort is not None and effort not in _EFFORTS:
        rest["effort"], effort = effort, None
    if rest:
        chat.extras["reasoning"] = rest
    if summary is not None:
        chat.asides["reasoning"] = {"summary": summary}  # elsewhere thoughts are shown or not, however long
    if effort is not None or summary is not None:
        chat.reasoning = Reasoning(effort, visible=None if summary is None else True)


def _read_text(chat: Chat, body: dict[str, Any]) -> None:
    text = optional(body, "text", dict) or {}
    rest = {key: value for key, value in text.items() if key != "format" and value is not None}
    form, where = optional(text, "format", dict, "text"), "text.format"
    if form is not None:
        kind = required(form, "type", str, where)
        if kind == "json_schema":
            chat.output = OutputFormat(
                "schema", required(form, "name", str, where), required(form, "schema", dict, where),
                optional(form, "strict", bool, where), optional(form, "description", str, where))
        elif kind in ("text", "json_object"):
            chat.output = OutputFormat("json" if kind == "json_object" else "text")
        else:
            rest["format"] = form
    if rest:
        chat.extras["text"] = rest


def _read_include(chat: Chat, body: dict[str, Any]) -> None:
    asked = optional(body, "include", list) or []
    if not all(isinstance(word, str) for word in asked):
        raise invalid("include", "must be a list of strings")
    rivals = optional(body, "top_logprobs", int)
    if _LOGPROBS in asked:
        chat.logprobs, chat.top_logprobs = True, rivals
    elif rivals is not None:
        chat.asides["top_logprobs"] = rivals  # none are shown to who does not ask for any
    if ENCRYPTED in asked:
        chat.asides["include"] = [ENCRYPTED]  # which every client of ours gets
    if rest := [word for word in asked if word not in (_LOGPROBS, ENCRYPTED)]:
        chat.extras["include"] = rest


# --- writing -------------------------------------------------------------------------------------


def write_settings(draft: Draft) -> dict[str, Any]:
    """Return the fields that say how to answer."""
    chat = draft.chat
    fields: dict[str, Any] = {}
    for name in _PLAIN:
        value = getattr(chat, name)
        if value is not None and (kept := _KEEPERS[name](draft, name, value)) is not None:
            fields[name] = kept
    for name, neutral in _UNSAID.items():
        if (value := getattr(chat, name)) is not None and value != neutral:
            draft.lose(name, "the target's dialect has no such field")
    if chat.max_tokens is not None:
        fields["max_output_tokens"] = _write_limit(draft, chat.max_tokens)
    if chat.metadata:
        fields["metadata"] = chat.metadata
    if chat.logprobs:
        fields["include"] = [_LOGPROBS]
        fields |= {"top_logprobs": chat.top_logprobs} if chat.top_logprobs is not None else {}
    return fields | _write_reasoning(draft) | _write_text(draft)


def _write_limit(draft: Draft, limit: int) -> int:
    if limit >= _LEAST_LIMIT or draft.own:
        return limit
    draft.lose("max_tokens", f"raised to {_LEAST_LIMIT}, the least that the target takes")
    return _LEAST_LIMIT


def _keep_sampling(draft: Draft, name: str, value: Any) -> Any:
    if name not in draft.facts.sampling:
        if value != 1:  # which is what both are anyway
            draft.lose(name, "the model does not take it")
        return None
    if name == "top_p" and draft.facts.one_sampling and draft.chat.temperature is not None:
        draft.lose(name, "the model takes either it or temperature")
        return None
    return value


def _keep_tier(draft: Draft, name: str, value: Any) -> Any:
    tier = value if draft.own else _TIERS.get(value)
    if tier is None:
        draft.lose(name, f"the target has no tier '{value}'")
    return tier


_KEEPERS: dict[str, Callable[[Draft, str, Any], Any]] = {
    "temperature": _keep_sampling, "top_p": _keep_sampling, "service_tier": _keep_tier,
}


def _write_reasoning(draft: Draft) -> dict[str, Any]:
    wish, facts = draft.chat.reasoning, draft.facts
    if wish is None:
        return {}
    effort = wish.effort
    if effort is None and wish.budget is not None and wish.budget >= 0:
        effort = next((word for most, word in _EFFORT_BUDGETS if wish.budget <= most), "high")
    if facts.thinking == "none":
        if effort not in (None, "none"):
            draft.lose("reasoning", "the model is not known to reason")
        return {}
    if effort == "none" and not facts.thinking_off:
        draft.lose("reasoning", "the model's reasoning cannot be switched off")
        effort = "low"
    fields = {"effort": effort} if effort is not None else {}
    if wish.visible:
        fields |= {"summary": "auto"} | draft.chat.asides.get("reasoning", {})
    return {"reasoning": fields} if fields else {}


def _write_text(draft: Draft) -> dict[str, Any]:
    output = draft.chat.output
    if output is None or (output.kind == "text" and not draft.own):
        return {}
    form: dict[str, Any] = {"type": "text" if output.kind == "text" else "json_object"}
    if output.schema is not None and (draft.facts.json_schema or draft.own):
        named = {"type": "json_schema", "name": tool_name(output.name or "reply"), "schema": output.schema,
                 "strict": draft.strict(output.strict, output.schema, "response_format"),
                 "description": output.description}
        form = {key: value for key, value in named.items() if value is not None}
    return {"text": {"format": form}}


def json_wish(draft: Draft) -> str | None:
    """Return what the model must be told in words of the JSON it is to give, None where a field says it all."""
    output = draft.chat.output
    if output is None or output.kind == "text" or draft.own:
        return None
    wish = "Reply with one JSON object and nothing else."
    if output.schema is None:
        # The API refuses json_object unless some message speaks of JSON; other dialects have no such rule.
        return None if _mentions_json(draft.chat) else wish
    if draft.facts.json_schema:
        return None
    draft.lose("response_format", "the model cannot be held to a schema; it was asked in words to keep to it")
    return f"{wish} It must be valid against this JSON Schema: {msgspec.json.encode(output.schema).decode()}"


def _mentions_json(chat: Chat) -> bool:
    return any(isinstance(part, Text) and "json" in part.text.lower()
               for message in chat.messages for part in message.parts)
