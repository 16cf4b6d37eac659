"""The body of a chat request, read and written field by field. Messages, tools, options and thinking have rooms of
their own.

What is not interpreted rides in ``extras``; an extra whose name begins with ``options.`` belongs into that member.
"""

from typing import Any

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, OutputFormat, ToolResult
from ailink_provider.dialects import Sent, refuse_bound
from ailink_provider.dialects.members import invalid, unsupported
from ailink_provider.dialects.ollama.draft import Draft
from ailink_provider.dialects.ollama.fields import NAME, optional
from ailink_provider.dialects.ollama.messages import read_messages, write_messages
from ailink_provider.dialects.ollama.options import PREFIX, read_options, write_options
from ailink_provider.dialects.ollama.thinking import read_think, write_think
from ailink_provider.dialects.ollama.tools import read_tools, write_tools

_READ = frozenset({
    "model", "messages", "tools", "format", "options", "stream", "think", "logprobs", "top_logprobs",
})  # fmt: skip
_USUAL_TIERS = (None, "auto", "default", "standard")


def read_request(body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Chat:
    """Return the canonical chat of a request's body. ``model`` counts where the body names none.

    A request that does not say whether to stream is streamed, as Ollama has it. Raises ``Failure``
    (``invalid_request``) on anything malformed.
    """
    chat = Chat(model=read_model(body, model), messages=read_messages(body.get("messages")), dialect=NAME)
    asked = optional(body, "stream", bool)
    chat.stream = stream if stream is not None else asked is not False
    chat.include_usage = True
    read_options(body, chat)
    read_tools(body, chat)
    read_think(body, chat)
    chat.output = _read_format(body.get("format"))
    chat.logprobs = optional(body, "logprobs", bool)
    chat.top_logprobs = optional(body, "top_logprobs", int)
    for name, value in body.items():
        if name.startswith(PREFIX):
            raise invalid(name, "is no field of this API; options stand in the object 'options'")
        if name not in _READ and value is not None:
            chat.extras[name] = value
    return chat


def read_model(body: dict[str, Any], model: str | None) -> str:
    """Return the model that is asked for."""
    name = optional(body, "model", str) or model
    if not name:
        raise invalid("model", "is required")
    return name


def _read_format(value: Any) -> OutputFormat | None:
    if value is None or value == "":
        return None
    if isinstance(value, dict):
        return OutputFormat("schema", schema=value)
    if value != "json":
        raise invalid("format", "must be 'json' or a JSON Schema")
    return OutputFormat("json")


def write_request(chat: Chat, facts: Facts) -> Sent:
    """Return the body for a model with these facts. Raises ``Failure`` for what must not be dropped."""
    refuse_bound(chat, NAME)
    if chat.n > 1:
        raise unsupported("n", "must be 1: Ollama gives one answer a request")
    draft = Draft(chat, facts)
    body: dict[str, Any] = {"model": chat.model, "messages": write_messages(draft), "stream": chat.stream}
    if tools := write_tools(draft):
        body["tools"] = tools
    form = _write_format(chat.output)
    body |= form | write_think(draft, formatted=bool(form))
    if options := write_options(draft):
        body["options"] = options
    if chat.logprobs is not None:
        body["logprobs"] = chat.logprobs
    if chat.top_logprobs is not None:
        body["top_logprobs"] = chat.top_logprobs
    for name, value in chat.extras.items():
        if not draft.own:
            draft.lose(name, "the target's dialect has no such field")
        elif not name.startswith(PREFIX):
            body[name] = value
    _account(draft)
    return Sent(body, draft.losses, custom=frozenset(draft.custom))


def _write_format(output: OutputFormat | None) -> dict[str, Any]:
    if output is None or output.kind == "text":
        return {}
    if output.kind == "json" or output.schema is None:
        return {"format": "json"}
    described = {"description": output.description} if output.description else {}
    return {"format": described | output.schema}


def _account(draft: Draft) -> None:
    """Report the canonical fields that this API has no words for."""
    chat = draft.chat
    unsaid = {
        "user": (chat.user is not None, "the end user is not named"),
        "metadata": (bool(chat.metadata), "it is kept in the gateway's record alone"),
        "service_tier": (chat.service_tier not in _USUAL_TIERS, "there is but one tier"),
        "cache_control": (_has_cache_mark(chat), "the target decides by itself what it caches"),
    }
    for name, (lost, why) in unsaid.items():
        if lost:
            draft.lose(name, why)


def _has_cache_mark(chat: Chat) -> bool:
    parts: list[Any] = [part for message in chat.messages for part in message.parts]
    parts += [inner for part in parts if isinstance(part, ToolResult) for inner in part.parts]
    return any(getattr(item, "cache", None) is not None for item in [*parts, *chat.tools])
