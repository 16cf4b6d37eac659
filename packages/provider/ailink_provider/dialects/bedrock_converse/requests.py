"""Requests, both ways: a client's Converse body into a ``Chat``, a ``Chat`` into the service's body.

Source: `ConverseRequest` of the Amazon Bedrock Runtime API. The model and the wish for a stream are in the path.
Neither direction opens a socket or changes what it is given.
"""

import re
from hashlib import sha256
from typing import Any

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Message, Role
from ailink_provider.dialects import Sent, fields, refuse_bound
from ailink_provider.dialects.bedrock_converse.caching import limit_marks, place_points
from ailink_provider.dialects.bedrock_converse.draft import Draft, Entry
from ailink_provider.dialects.bedrock_converse.output import read_output, wants_schema_tool, write_output
from ailink_provider.dialects.bedrock_converse.parts import IN_MESSAGES, IN_SYSTEM, read_content
from ailink_provider.dialects.bedrock_converse.thinking import read_reasoning, write_reasoning
from ailink_provider.dialects.bedrock_converse.tools import (
    add_schema_tool,
    read_choice,
    read_tools,
    write_choice,
    write_tools,
)
from ailink_provider.dialects.bedrock_converse.turns import Turn, calls_seen, write_turns
from ailink_provider.dialects.bedrock_converse.words import NAME, TIERS
from ailink_provider.dialects.fields import unsupported
from ailink_provider.errors import Failure

STOP_LIMIT = 2500

_INFERENCE, _OUTPUT, _ADDITIONAL = "inferenceConfig", "outputConfig", "additionalModelRequestFields"
_READ = frozenset({
    "modelId", "messages", "system", "toolConfig", "requestMetadata", "serviceTier", _INFERENCE, _OUTPUT, _ADDITIONAL,
})
# The members of each that are read; the others ride along as they are.
_KNOWN = {
    _INFERENCE: ("maxTokens", "temperature", "topP", "stopSequences"),
    _OUTPUT: ("textFormat", "effort"),
    _ADDITIONAL: ("thinking", "top_k"),
}
_SAMPLING = {"temperature": "temperature", "top_p": "topP"}
# Where the makers of models take what the service has no word for.
_TOP_K = {"anthropic": ("top_k",), "mistral": ("top_k",), "cohere": ("k",), "amazon": (_INFERENCE, "topK")}
_TIERS_WRITTEN = {"default": "default", "flex": "flex", "priority": "priority", "fast": "priority"}
# Parameters of other vendors, each with the value that changes nothing.
_UNKNOWN = {"seed": None, "presence_penalty": 0, "frequency_penalty": 0, "logprobs": False, "top_logprobs": 0}
# What a model does when it is told nothing: saying so to one that cannot be told is no loss.
_DEFAULTS = {"temperature": 1, "top_p": 1}
_LEAST_TOP_P_WITH_THINKING = 0.95
_METADATA_LIMIT = 16
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
_ROLES: dict[str, Role] = {"user": "user", "assistant": "assistant", "system": "system"}


# --- reading -------------------------------------------------------------------------------------


def read_request(body: dict[str, Any], model: str | None, stream: bool | None) -> Chat:
    """Return the canonical request. Raises ``Failure`` (``invalid_request``)."""
    extras = fields.rest(body, _READ)
    nested = {name: fields.optional(body, name, fields.record) or {} for name in _KNOWN}
    inference, additional = nested[_INFERENCE], dict(nested[_ADDITIONAL])
    left = {name: fields.rest(nested[name], known) for name, known in _KNOWN.items()}
    tools = fields.optional(body, "toolConfig", fields.record)
    effort = fields.optional(nested[_OUTPUT], "effort", fields.text, _OUTPUT)
    system, messages = _read_system(body), _read_messages(body)
    chat = Chat(
        model=model if model is not None else fields.required(body, "modelId", fields.text),
        messages=[*system, *messages],
        dialect=NAME,
        tools=[] if tools is None else read_tools(tools),
        tool_choice=None if tools is None else read_choice(tools),
        parallel_tool_calls=_read_parallel(left[_ADDITIONAL]),
        output=read_output(nested[_OUTPUT]),
        reasoning=read_reasoning(additional, effort, left[_ADDITIONAL]),
        max_tokens=fields.optional(inference, "maxTokens", fields.limit, _INFERENCE),
        temperature=fields.optional(inference, "temperature", fields.share, _INFERENCE),
        top_p=fields.optional(inference, "topP", fields.share, _INFERENCE),
        top_k=fields.optional(additional, "top_k", fields.count, _ADDITIONAL),
        stop=fields.optional(inference, "stopSequences", fields.texts, _INFERENCE) or [],
        service_tier=_read_tier(body),
        metadata=_read_metadata(body),
        stream=bool(stream),
        include_usage=True,
        extras=extras,
        apart=len(system),
    )
    chat.extras |= {name: members for name, members in left.items() if members}
    return chat


def _read_system(body: dict[str, Any]) -> list[Message]:
    return [Message("system", read_content(body["system"], "system", IN_SYSTEM))] if body.get("system") else []


def _read_messages(body: dict[str, Any]) -> list[Message]:
    messages: list[Message] = []
    listed = fields.required(body, "messages", fields.records)
    if not listed:
        raise fields.invalid("messages", "at least one message is required")
    for index, message in enumerate(listed):
        path = f"messages[{index}]"
        role = _ROLES.get(fields.required(message, "role", fields.text, path))
        if role is None:
            raise fields.invalid(f"{path}.role", f"must be one of {', '.join(_ROLES)}")
        readers = IN_SYSTEM if role == "system" else IN_MESSAGES
        messages.append(Message(role, read_content(message.get("content"), f"{path}.content", readers)))
    return messages


def _read_parallel(additional: dict[str, Any]) -> bool | None:
    """Take Claude's wish for one call at a time out of the fields that ride along, where it is all there is."""
    choice = additional.get("tool_choice")
    if not isinstance(choice, dict) or fields.rest(choice, ("type", "disable_parallel_tool_use")):
        return None
    single = choice.get("disable_parallel_tool_use")
    if not isinstance(single, bool) or choice.get("type", "auto") != "auto":
        return None
    del additional["tool_choice"]
    return not single


def _read_tier(body: dict[str, Any]) -> str | None:
    tier = fields.optional(body, "serviceTier", fields.record)
    return None if tier is None else fields.required(tier, "type", fields.text, "serviceTier")


def _read_metadata(body: dict[str, Any]) -> dict[str, str] | None:
    metadata = fields.optional(body, "requestMetadata", fields.record) or {}
    return {key: fields.text(value, f"requestMetadata.{key}") for key, value in metadata.items()} or None


# --- writing -------------------------------------------------------------------------------------


def write_request(chat: Chat, facts: Facts) -> Sent:
    """Return the body of a chat for a model with these facts.

    Raises ``Failure``: ``unsupported_parameter`` for what must not be dropped, ``invalid_request`` for a conversation
    that the model cannot go on with.
    """
    refuse_bound(chat, NAME)
    draft = Draft(chat, facts)
    system, turns = write_turns(draft)
    if not facts.prefill and turns[-1][0] == "assistant":
        raise Failure("invalid_request", f"{chat.model} does not continue an assistant's message: end the conversation "
                                         "with a user's.", param=draft.at(len(chat.messages) - 1))
    if chat.n > 1:
        raise unsupported("n", "Converse gives one answer a request: ask for n=1, or make several requests.")
    for name, neutral in _UNKNOWN.items():
        value = getattr(chat, name)
        if value is not None and value != neutral:
            draft.lose(name, "Converse has no such parameter")
    tools = write_tools(draft)
    if chat.output is not None and wants_schema_tool(draft):
        tools = add_schema_tool(chat.output, tools, draft)
    tools, choice = write_choice(draft, tools, calls_seen(turns))
    write_output(draft, system)
    _write_limits(draft)
    forced = choice is not None and "auto" not in choice
    _write_sampling(draft, thinks=write_reasoning(draft, forced))
    body = _assembled(draft, system, turns, tools, choice)
    return Sent(body, draft.losses, draft.names, frozenset(draft.custom), draft.schema_tool)


def _write_limits(draft: Draft) -> None:
    chat = draft.chat
    if chat.max_tokens is not None:
        draft.inference["maxTokens"] = max(chat.max_tokens, 1)
        if chat.max_tokens < 1:
            draft.lose("max_tokens", "the least is 1")
    stop = [sequence for sequence in chat.stop if sequence.strip()]
    if any(sequence and not sequence.strip() for sequence in chat.stop):
        draft.lose("stop", "a sequence of white space alone is not taken")
    if len(stop) > STOP_LIMIT:
        raise unsupported("stop", f"At most {STOP_LIMIT} stop sequences are taken.")
    if stop:
        draft.inference["stopSequences"] = stop


def _write_sampling(draft: Draft, thinks: bool) -> None:
    chat = draft.chat
    for name, word in _SAMPLING.items():
        value = getattr(chat, name)
        if value is None:
            continue
        reason = _obstacle(name, value, draft, thinks)
        if reason is None:
            draft.inference[word] = min(value, 1)
            if value > 1:
                draft.lose(name, "the highest is 1")
        elif value != _DEFAULTS[name]:
            draft.lose(name, reason)
    if chat.top_k is not None:
        place = ("top_k",) if draft.own else _TOP_K.get(draft.vendor)
        reason = "this model has no such parameter" if place is None else _obstacle("top_k", 0, draft, thinks)
        if reason is None and place is not None:
            inner = draft.additional
            for key in place[:-1]:
                inner = inner.setdefault(key, {})
            inner[place[-1]] = chat.top_k
        elif reason is not None:
            draft.lose("top_k", reason)


def _obstacle(name: str, value: float, draft: Draft, thinks: bool) -> str | None:
    if name not in draft.facts.sampling:
        return "this model does not take it"
    if name == "top_p" and draft.facts.one_sampling and "temperature" in draft.inference:
        return "this model does not take it beside a temperature"
    if thinks and not (name == "top_p" and value >= _LEAST_TOP_P_WITH_THINKING):
        return "it cannot be set while the model thinks"
    return None


def _assembled(
    draft: Draft, system: list[Entry], turns: list[Turn], tools: list[Entry], choice: dict[str, Any] | None
) -> dict[str, Any]:
    limit_marks(tools, system, [entry for _, entries in turns for entry in entries], draft)
    body: dict[str, Any] = {
        "messages": [{"role": role, "content": place_points(entries, draft)} for role, entries in turns]}
    if system:
        body["system"] = place_points(system, draft)
    if tools:
        body["toolConfig"] = {"tools": place_points(tools, draft), **({"toolChoice": choice} if choice else {})}
    if draft.vendor == "anthropic" and "stopSequences" in draft.inference and not draft.own:
        # Which sequence it was that ended the answer is told only to those who ask.
        body["additionalModelResponseFieldPaths"] = ["/stop_sequence"]
    _write_caller(body, draft)
    nested = {_INFERENCE: draft.inference, _OUTPUT: draft.output, _ADDITIONAL: draft.additional}
    for name, value in draft.chat.extras.items():
        if not draft.own:
            for path in [f"{name}.{key}" for key in value] if name in nested and isinstance(value, dict) else [name]:
                draft.lose(path, "Converse has no such parameter")
        elif name in nested:
            nested[name] |= value
        else:
            body[name] = value
    return body | {name: members for name, members in nested.items() if members}


def _write_caller(body: dict[str, Any], draft: Draft) -> None:
    chat = draft.chat
    if chat.service_tier not in (None, "auto"):
        tier = chat.service_tier if draft.own and chat.service_tier in TIERS else _TIERS_WRITTEN.get(
            chat.service_tier or "")
        if tier is None:
            draft.lose("service_tier", f"there is no tier {chat.service_tier!r}")
        else:
            body["serviceTier"] = {"type": tier}
    metadata: dict[str, str] = {}
    if chat.user is not None:
        # Metadata is logged: what a client calls its user may be a name or an address.
        metadata["user_id"] = sha256(chat.user.encode("utf-8", "surrogatepass")).hexdigest()
    for key, value in (chat.metadata or {}).items():
        fits = key and _METADATA.fullmatch(key) and _METADATA.fullmatch(value)
        if draft.own or (fits and len(metadata) < _METADATA_LIMIT):
            metadata[key] = value
        else:
            draft.lose(f"metadata.{key}", f"at most {_METADATA_LIMIT} short entries of plain characters are kept")
    if metadata:
        body["requestMetadata"] = metadata
