"""Requests, both ways: a client's Messages body into a ``Chat``, a ``Chat`` into the vendor's body.

Source: `MessageCreateParams` of the vendor's SDK 2.11. Neither direction opens a socket or changes what it is given.
"""

from hashlib import sha256
from typing import Any

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Message
from ailink_provider.dialects import Sent, fields, refuse_bound
from ailink_provider.dialects.anthropic_messages.caching import limit_marks
from ailink_provider.dialects.anthropic_messages.draft import Draft
from ailink_provider.dialects.anthropic_messages.output import read_output, write_output
from ailink_provider.dialects.anthropic_messages.parts import IN_MESSAGES, IN_SYSTEM, read_content
from ailink_provider.dialects.anthropic_messages.thinking import read_reasoning, write_reasoning
from ailink_provider.dialects.anthropic_messages.tools import (
    add_schema_tool,
    read_choice,
    read_tools,
    wants_schema_tool,
    write_choice,
    write_tools,
)
from ailink_provider.dialects.anthropic_messages.turns import compact, continues_assistant, write_turns
from ailink_provider.dialects.anthropic_messages.words import NAME
from ailink_provider.dialects.fields import unsupported
from ailink_provider.errors import Failure

_READ = frozenset({
    "model", "messages", "system", "max_tokens", "metadata", "stop_sequences", "stream", "temperature", "top_p",
    "top_k", "thinking", "tools", "tool_choice", "output_config", "service_tier",
})
# What the endpoint that counts takes, beta fields included.
_COUNTED = frozenset({
    "model", "messages", "system", "thinking", "tools", "tool_choice", "output_config", "cache_control", "speed",
    "context_management", "mcp_servers", "compaction",
})
_TIERS_READ = {"auto": "auto", "standard_only": "default"}
_TIERS_WRITTEN = {
    "auto": {"service_tier": "auto"}, "default": {"service_tier": "standard_only"},
    "priority": {"service_tier": "auto"}, "fast": {"speed": "fast"},
}
# Parameters of other vendors, each with the value that changes nothing.
_UNKNOWN = {"seed": None, "presence_penalty": 0, "frequency_penalty": 0, "logprobs": False, "top_logprobs": 0}
# What a model does when it is told nothing: saying so to one that cannot be told is no loss.
_DEFAULTS = {"temperature": 1, "top_p": 1}
_LEAST_TOP_P_WITH_THINKING = 0.95


# --- reading -------------------------------------------------------------------------------------


def read_request(body: dict[str, Any], model: str | None, stream: bool | None, counting: bool) -> Chat:
    """Return the canonical request. ``counting`` tolerates a missing limit. Raises ``Failure``."""
    extras = {key: value for key, value in body.items() if key not in _READ and value is not None}
    choice, parallel = read_choice(body)
    limit = fields.optional if counting else fields.required
    user, metadata = _read_metadata(body)
    system, messages = _read_system(body), _read_messages(body)
    return Chat(
        model=model if model is not None else fields.required(body, "model", fields.text),
        messages=[*system, *messages],
        dialect=NAME,
        tools=read_tools(body),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        output=read_output(body, extras),
        reasoning=read_reasoning(body, extras),
        max_tokens=limit(body, "max_tokens", fields.count),
        temperature=fields.optional(body, "temperature", fields.share),
        top_p=fields.optional(body, "top_p", fields.share),
        top_k=fields.optional(body, "top_k", fields.count),
        stop=fields.optional(body, "stop_sequences", fields.texts) or [],
        service_tier=_read_tier(body),
        user=user,
        metadata=metadata,
        stream=stream if stream is not None else fields.optional(body, "stream", fields.flag) or False,
        include_usage=True,
        extras=extras,
        apart=len(system),
    )


def _read_system(body: dict[str, Any]) -> list[Message]:
    return [Message("system", read_content(body["system"], "system", IN_SYSTEM))] if body.get("system") else []


def _read_messages(body: dict[str, Any]) -> list[Message]:
    messages: list[Message] = []
    listed = fields.required(body, "messages", fields.records)
    if not listed:
        raise fields.invalid("messages", "at least one message is required")
    for index, message in enumerate(listed):
        path = f"messages[{index}]"
        content = message.get("content")
        match fields.required(message, "role", fields.text, path):
            case "system":
                messages.append(Message("system", read_content(content, f"{path}.content", IN_SYSTEM)))
            case "user":
                messages.append(Message("user", read_content(content, f"{path}.content", IN_MESSAGES)))
            case "assistant":
                messages.append(Message("assistant", read_content(content, f"{path}.content", IN_MESSAGES)))
            case _:
                raise fields.invalid(f"{path}.role", "must be 'user', 'assistant' or 'system'")
    return messages


def _read_metadata(body: dict[str, Any]) -> tuple[str | None, dict[str, str] | None]:
    metadata = fields.optional(body, "metadata", fields.record) or {}
    rest = {key: fields.text(value, f"metadata.{key}") for key, value in metadata.items()
            if key != "user_id" and value is not None}
    return fields.optional(metadata, "user_id", fields.text, "metadata"), rest or None


def _read_tier(body: dict[str, Any]) -> str | None:
    tier = fields.optional(body, "service_tier", fields.text)
    return None if tier is None else _TIERS_READ.get(tier, tier)


# --- writing -------------------------------------------------------------------------------------


def write_request(chat: Chat, facts: Facts) -> Sent:
    """Return the body of a chat for a model with these facts.

    Raises ``Failure``: ``unsupported_parameter`` for what must not be dropped, ``invalid_request`` for a conversation
    that the model cannot go on with.
    """
    draft = Draft(chat, facts)
    body = _write_conversation(draft)
    if not facts.prefill and continues_assistant(body["messages"]):
        raise Failure("invalid_request", f"{chat.model} does not continue an assistant's message: end the conversation "
                                         "with a user's.", param=draft.at(len(chat.messages) - 1))
    if chat.n > 1:
        raise unsupported("n", "The Messages API gives one answer a request: ask for n=1, or make several requests.")
    for name, neutral in _UNKNOWN.items():
        value = getattr(chat, name)
        if value is not None and value != neutral:
            draft.lose(name, "the Messages API has no such parameter")
    if chat.stream:
        body["stream"] = True
    return _finished(body, draft)


def write_count(chat: Chat, facts: Facts) -> Sent:
    """Return the body that asks how many tokens a chat has. What does not bear on its length is left out."""
    draft = Draft(chat, facts)
    sent = _finished(_write_conversation(draft), draft)
    sent.body = {key: value for key, value in sent.body.items() if key in _COUNTED}
    return sent


def _write_conversation(draft: Draft) -> dict[str, Any]:
    chat = draft.chat
    refuse_bound(chat, NAME)
    limit = chat.max_tokens if chat.max_tokens is not None else draft.facts.max_output_tokens
    system, messages = write_turns(draft)
    body: dict[str, Any] = {"model": chat.model, "max_tokens": limit}
    if system:
        body["system"] = system
    body["messages"] = messages
    tools = write_tools(draft)
    if chat.output is not None and wants_schema_tool(draft):
        tools = add_schema_tool(chat.output, tools, draft)
    tools, choice = write_choice(draft, tools)
    if tools:
        body["tools"] = tools
    if choice is not None:
        body["tool_choice"] = choice
    write_output(body, draft)
    thinks = write_reasoning(body, draft, forced=choice is not None and choice["type"] in ("any", "tool"))
    _write_sampling(body, draft, thinks)
    return body


def _write_sampling(body: dict[str, Any], draft: Draft, thinks: bool) -> None:
    chat, facts = draft.chat, draft.facts
    for name in ("temperature", "top_p", "top_k"):
        value = getattr(chat, name)
        if value is None:
            continue
        reason = None
        if name not in facts.sampling:
            reason = "this model does not take it"
        elif name == "top_p" and facts.one_sampling and "temperature" in body:
            reason = "this model does not take it beside a temperature"
        elif thinks and not (name == "top_p" and value >= _LEAST_TOP_P_WITH_THINKING):
            reason = "it cannot be set while the model thinks"
        if reason is None:
            body[name] = value
        elif value != _DEFAULTS.get(name):
            draft.lose(name, reason)
    if body.get("temperature", 0) > 1:
        body["temperature"] = 1
        draft.lose("temperature", "the highest is 1")


def _finished(body: dict[str, Any], draft: Draft) -> Sent:
    chat = draft.chat
    stop = [sequence for sequence in chat.stop if sequence.strip()]
    if any(sequence and not sequence.strip() for sequence in chat.stop):
        draft.lose("stop", "a sequence of white space alone is not taken")
    if stop:
        body["stop_sequences"] = stop
    _write_caller(body, draft)
    _write_extras(body, draft)
    limit_marks(body, draft)
    if "system" in body:
        body["system"] = compact(body["system"])
    return Sent(body, draft.losses, draft.names, frozenset(draft.custom), draft.schema_tool)


def _write_caller(body: dict[str, Any], draft: Draft) -> None:
    chat = draft.chat
    if chat.service_tier is not None:
        own = {"service_tier": chat.service_tier} if draft.own else None
        tier = _TIERS_WRITTEN.get(chat.service_tier, own)
        if tier is None:
            draft.lose("service_tier", f"there is no tier {chat.service_tier!r}")
        body |= tier or {}
    metadata: dict[str, str] = {}
    if chat.user is not None:
        # The vendor asks for an opaque id: what another vendor's client calls its user may be a name or an address.
        metadata["user_id"] = chat.user if draft.own else sha256(chat.user.encode("utf-8", "surrogatepass")).hexdigest()
    if chat.metadata and draft.own:
        metadata |= chat.metadata
    elif chat.metadata:
        draft.lose("metadata", "the Messages API keeps none but a user's id")
    if metadata:
        body["metadata"] = metadata


def _write_extras(body: dict[str, Any], draft: Draft) -> None:
    for name, value in draft.chat.extras.items():
        if not draft.own:
            draft.lose(name, "the Messages API has no such parameter")
        elif name == "output_config":
            body[name] = {**body.get(name, {}), **value}
        else:
            body[name] = value
