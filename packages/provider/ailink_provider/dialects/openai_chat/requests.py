"""The body of a chat request, read and written field by field. Messages, parts and tools have rooms of their own.

Types are checked, vocabularies are open: a value whose word is unknown here (a new effort, a service's own output
format) rides in ``extras``, so that the target can judge it and any other dialect reports it.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Message, OutputFormat, Reasoning, Text
from ailink_provider.dialects import Sent, refuse_bound
from ailink_provider.dialects.members import invalid, optional, required
from ailink_provider.dialects.openai_chat import tools
from ailink_provider.dialects.openai_chat.draft import Draft
from ailink_provider.dialects.openai_chat.messages import read_messages, write_messages
from ailink_provider.dialects.openai_chat.words import NAME

# The wire's name and the canonical one are the same.
PLAIN: dict[str, Any] = {
    "temperature": float, "top_p": float, "top_k": int, "seed": int, "presence_penalty": float,
    "frequency_penalty": float, "logprobs": bool, "top_logprobs": int, "service_tier": str,
}
_READ = tools.READ | PLAIN.keys() | {
    "model", "messages", "max_tokens", "max_completion_tokens", "stop", "n", "user", "metadata", "stream",
    "response_format", "reasoning_effort",
}
# Only /completions has these; a chat that was read there may be written here.
_COMPLETIONS_ONLY = frozenset({"suffix", "echo", "best_of"})

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
# Budgets in tokens up to which an effort speaks for them; beyond the last it is "high".
_EFFORT_BUDGETS = ((0, "none"), (4096, "low"), (16384, "medium"))

_TIERS = {"auto": "auto", "default": "default", "flex": "flex", "scale": "scale", "priority": "priority",
          "fast": "fast", "standard": "default", "standard_only": "default"}


def read_request(body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Chat:
    """Return the canonical chat of a request's body. ``model`` counts where the body names none.

    Raises ``Failure`` (``invalid_request``) on anything malformed.
    """
    chat = Chat(model=read_model(body, model), messages=read_messages(body.get("messages")), dialect=NAME)
    read_common(chat, body, stream)
    chat.max_tokens = optional(body, "max_tokens", int)
    if (limit := optional(body, "max_completion_tokens", int)) is not None:
        chat.max_tokens = limit
    tools.read_tools(chat, body)
    _read_effort(chat, body)
    _read_output(chat, body)
    keep_extras(chat, body, _READ)
    return chat


def read_model(body: dict[str, Any], model: str | None) -> str:
    """Return the model that is asked for."""
    name = optional(body, "model", str) or model
    if not name:
        raise invalid("model", "is required")
    return name


def read_common(chat: Chat, body: dict[str, Any], stream: bool | None) -> None:
    """Set the fields that chat and text completions share."""
    for name, kind in PLAIN.items():
        setattr(chat, name, optional(body, name, kind))
    count = optional(body, "n", int)
    chat.n = 1 if count is None else count
    if chat.n < 1:
        raise invalid("n", "must be at least 1")
    chat.stop = _read_stop(body)
    chat.metadata = _read_metadata(body)
    chat.stream = bool(optional(body, "stream", bool)) if stream is None else stream
    options = optional(body, "stream_options", dict) or {}
    chat.include_usage = bool(optional(options, "include_usage", bool, "stream_options"))
    # Either names the end user; a request that gives both means two things, and the newer stays as it is.
    chat.user = optional(body, "user", str)
    identifier = optional(body, "safety_identifier", str)
    if chat.user is None:
        chat.user = identifier
    elif identifier is not None:
        chat.extras["safety_identifier"] = identifier


def keep_extras(chat: Chat, body: dict[str, Any], read: frozenset[str]) -> None:
    """Put what was not read into ``extras``."""
    options = {key: value for key, value in (body.get("stream_options") or {}).items() if key != "include_usage"}
    if options:
        chat.extras["stream_options"] = options
    for key, value in body.items():
        if key not in read and key not in ("stream_options", "safety_identifier") and value is not None:
            chat.extras[key] = value


def _read_stop(body: dict[str, Any]) -> list[str]:
    stop = body.get("stop")
    if stop is None:
        return []
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or not all(isinstance(text, str) for text in stops):
        raise invalid("stop", "must be a string or a list of strings")
    return [text for text in stops if text]


def _read_metadata(body: dict[str, Any]) -> dict[str, str] | None:
    metadata = optional(body, "metadata", dict)
    for key in metadata or ():
        required(metadata or {}, key, str, "metadata")
    return metadata


def _read_effort(chat: Chat, body: dict[str, Any]) -> None:
    effort = optional(body, "reasoning_effort", str)
    if effort in EFFORTS:
        chat.reasoning = Reasoning(effort=effort)
    elif effort is not None:
        chat.extras["reasoning_effort"] = effort


def _read_output(chat: Chat, body: dict[str, Any]) -> None:
    form = optional(body, "response_format", dict)
    if form is None:
        return
    kind = required(form, "type", str, "response_format")
    if kind == "json_schema":
        where = "response_format.json_schema"
        inner = required(form, "json_schema", dict, "response_format")
        chat.output = OutputFormat(
            "schema", optional(inner, "name", str, where), optional(inner, "schema", dict, where),
            optional(inner, "strict", bool, where), optional(inner, "description", str, where))
    elif kind in ("text", "json_object"):
        chat.output = OutputFormat("json" if kind == "json_object" else "text")
    else:
        chat.extras["response_format"] = form


def write_request(chat: Chat, facts: Facts) -> Sent:
    """Return the body for a model with these facts. Raises ``Failure`` for what must not be dropped."""
    refuse_bound(chat, NAME)
    draft = Draft(chat, facts)
    body: dict[str, Any] = {"model": chat.model, "messages": write_messages(draft)}
    limit = "max_completion_tokens" if facts.completion_limit else "max_tokens"
    if chat.max_tokens is not None:
        body[limit] = chat.max_tokens
    body |= write_common(draft, facts)
    body |= tools.write_tools(draft, facts)
    body |= _write_effort(draft, facts)
    body |= _write_output(draft, facts, body["messages"])
    write_extras(draft, body, _COMPLETIONS_ONLY)
    return Sent(body, draft.losses, draft.names)


def write_common(draft: Draft, facts: Facts) -> dict[str, Any]:
    """Return the fields that chat and text completions share."""
    chat = draft.chat
    fields: dict[str, Any] = {}
    for name in PLAIN:
        value = getattr(chat, name)
        if value is not None and (keeps := _KEEPERS.get(name, _as_it_is)(draft, facts, name, value)) is not None:
            fields[name] = keeps
    if chat.stop:
        fields["stop"] = chat.stop
    if chat.n != 1:
        fields["n"] = chat.n
    if chat.user is not None:
        fields["user"] = chat.user
    if chat.metadata:
        fields["metadata"] = chat.metadata
    if chat.stream:
        fields["stream"] = True
        fields["stream_options"] = {"include_usage": True}
    return fields


def write_extras(draft: Draft, body: dict[str, Any], elsewhere: frozenset[str]) -> None:
    """Put the fields nobody interpreted back at home; report them abroad, and those that are of another operation."""
    for key, value in draft.chat.extras.items():
        if not draft.own or key in elsewhere:
            draft.lose(key, "the target's dialect has no such field")
        elif key == "stream_options":
            if draft.chat.stream:
                body[key] = value | body[key]
        else:
            body.setdefault(key, value)


def _as_it_is(draft: Draft, facts: Facts, name: str, value: Any) -> Any:
    return value


def _keep_sampling(draft: Draft, facts: Facts, name: str, value: Any) -> Any:
    if name not in facts.sampling:
        if name == "top_k" or value != 1:  # which is what temperature and top_p are anyway
            draft.lose(name, "the model does not take it")
        return None
    if name == "top_p" and facts.one_sampling and draft.chat.temperature is not None:
        draft.lose(name, "the model takes either it or temperature")
        return None
    return value


def _keep_token_odds(draft: Draft, facts: Facts, name: str, value: Any) -> Any:
    # What bends or shows the odds of tokens goes the way of sampling.
    if not facts.sampling:
        if value:
            draft.lose(name, "the model does not take it")
        return None
    return value


def _keep_tier(draft: Draft, facts: Facts, name: str, value: Any) -> Any:
    tier = value if draft.own else _TIERS.get(value)
    if tier is None:
        draft.lose(name, f"the target has no tier '{value}'")
    return tier


_KEEPERS: dict[str, Callable[[Draft, Facts, str, Any], Any]] = {
    "temperature": _keep_sampling, "top_p": _keep_sampling, "top_k": _keep_sampling, "service_tier": _keep_tier,
    "presence_penalty": _keep_token_odds, "frequency_penalty": _keep_token_odds, "logprobs": _keep_token_odds,
    "top_logprobs": _keep_token_odds,
}


def _write_effort(draft: Draft, facts: Facts) -> dict[str, Any]:
    reasoning = draft.chat.reasoning
    if reasoning is None:
        return {}
    if reasoning.visible:
        draft.lose("reasoning", "the target cannot be asked to show its thoughts")
    effort = reasoning.effort
    if effort is None and reasoning.budget is not None and reasoning.budget >= 0:
        effort = next((word for most, word in _EFFORT_BUDGETS if reasoning.budget <= most), "high")
    if effort is None or (effort == "none" and facts.thinking == "none"):
        return {}
    if facts.thinking == "none":
        draft.lose("reasoning_effort", "the model is not known to reason")
        return {}
    if effort == "none" and not facts.thinking_off:
        draft.lose("reasoning_effort", "the model's reasoning cannot be switched off")
        effort = "low"
    return {"reasoning_effort": effort}


def _write_output(draft: Draft, facts: Facts, messages: list[dict[str, Any]]) -> dict[str, Any]:
    output = draft.chat.output
    if output is None or (output.kind == "text" and not draft.own):
        return {}
    if output.kind == "text":
        return {"response_format": {"type": "text"}}
    if output.kind == "schema" and (facts.json_schema or draft.own):
        strict = draft.strict(output.strict, output.schema, "response_format")
        named = {"name": output.name or "reply", "schema": output.schema, "strict": strict,
                 "description": output.description}
        inner = {key: value for key, value in named.items() if value is not None}
        return {"response_format": {"type": "json_schema", "json_schema": inner}}
    if output.kind == "schema":
        draft.lose("response_format", "the model cannot be held to a schema; it was asked in words to keep to it")
    if output.kind == "schema" or not (draft.own or _mentions_json(draft.chat.messages)):
        messages.append({"role": "system", "content": _json_wish(output)})
    return {"response_format": {"type": "json_object"}}


def _mentions_json(messages: list[Message]) -> bool:
    # The API refuses json_object unless some message speaks of JSON; other dialects have no such rule.
    return any(isinstance(part, Text) and "json" in part.text.lower() for message in messages for part in message.parts)


def _json_wish(output: OutputFormat) -> str:
    wish = "Reply with one JSON object and nothing else."
    if output.schema is None:
        return wish
    return f"{wish} It must be valid against this JSON Schema: {msgspec.json.encode(output.schema).decode()}"
