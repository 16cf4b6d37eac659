"""The body of a request, read and written. The conversation, the tools and the settings have rooms of their own; this
one puts them together and accounts for every field that is left.
"""

from typing import Any

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat
from ailink_provider.dialects import Sent, refuse_bound
from ailink_provider.dialects.members import invalid, optional, unsupported
from ailink_provider.dialects.openai_responses import settings
from ailink_provider.dialects.openai_responses.draft import Draft
from ailink_provider.dialects.openai_responses.fields import NAME, SIBLING
from ailink_provider.dialects.openai_responses.items import read_messages, write_messages
from ailink_provider.dialects.openai_responses.reasoning import ENCRYPTED
from ailink_provider.dialects.openai_responses.tools import read_tools, write_tools

_READ = settings.READ | {
    "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "user", "safety_identifier",
    "stream", "stream_options",
}
# Fields that only the vendor can honour, with the reason. They are extras too, for a target that is the vendor's.
_BOUND = {
    "previous_response_id": "names a reply that only its vendor keeps; send the conversation as input",
    "conversation": "names a conversation that only its vendor keeps; send it as input",
    "prompt": "names a prompt that only its vendor keeps; send its text",
    "background": "asks for a reply to be fetched later, which only its vendor keeps; leave it out",
}
# Values that ask for what any other vendor does unasked.
_ASIDES: dict[str, Any] = {"store": False, "background": False, "truncation": "disabled"}
# Fields that the sibling has under the same name, and with the same meaning.
_OF_SIBLING = frozenset({"store", "safety_identifier", "prompt_cache_key", "prompt_cache_options",
                         "prompt_cache_retention"})


def read_request(body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Chat:
    """Return the canonical chat of a request's body. ``model`` counts where the body names none.

    Raises ``Failure`` (``invalid_request``) on anything malformed.
    """
    name = optional(body, "model", str) or model
    if not name:
        raise invalid("model", "is required")
    chat = Chat(name, [], NAME, include_usage=True)
    _read_rest(chat, body)
    read_messages(chat, body)
    read_tools(chat, body)
    settings.read_settings(chat, body)
    chat.stream = bool(optional(body, "stream", bool)) if stream is None else stream
    return chat


def _read_rest(chat: Chat, body: dict[str, Any]) -> None:
    for key, value in body.items():
        if value is None or key in _READ:
            continue
        if key in _ASIDES and value == _ASIDES[key]:
            chat.asides[key] = value
            continue
        chat.extras[key] = value
        if key in _BOUND:
            chat.bound.append(unsupported(key, _BOUND[key]))
    if options := optional(body, "stream_options", dict):
        chat.asides["stream_options"] = options
    # Either names the end user; a request that gives both means two things, and the newer stays as it is.
    chat.user = optional(body, "user", str)
    identifier = optional(body, "safety_identifier", str)
    if chat.user is None:
        chat.user = identifier
    elif identifier is not None:
        chat.extras["safety_identifier"] = identifier


def write_request(chat: Chat, facts: Facts) -> Sent:
    """Return the body for a model with these facts. Raises ``Failure`` for what must not be dropped."""
    refuse_bound(chat, NAME)
    if chat.n > 1:
        raise unsupported("n", "cannot be more than 1: the target gives one answer a request")
    draft = Draft(chat, facts)
    body = {"model": chat.model} | write_messages(draft) | settings.write_settings(draft) | write_tools(draft)
    if (wish := settings.json_wish(draft)) is not None:
        body["input"].append({"type": "message", "role": "developer", "content": wish})
    if chat.user is not None:
        body["user"] = chat.user
    if chat.stream:
        body["stream"] = True
    if draft.own:
        _write_rest(chat, body)
    else:
        _account(draft, body)
    return Sent(body, draft.losses, draft.names)


def _write_rest(chat: Chat, body: dict[str, Any]) -> None:
    """Put the fields that nobody interpreted back."""
    # How thoughts are to be summarised is written with the rest of the reasoning, to models that reason.
    asides = [(key, value) for key, value in chat.asides.items() if key != "reasoning"]
    for key, value in (*asides, *chat.extras.items()):
        if key == "include":
            body[key] = [*body.get(key, ()), *value]
        elif key in ("reasoning", "text"):
            body[key] = value | body.get(key, {})
        elif key != "stream_options" or chat.stream:
            body.setdefault(key, value)


def _account(draft: Draft, body: dict[str, Any]) -> None:
    """Report what another dialect's client asks in its own words, but for what the sibling says alike. It asked for
    nothing to be kept; so that thoughts can come back without, they are asked for in full."""
    siblings = draft.chat.dialect == SIBLING
    for key, value in draft.chat.extras.items():
        if siblings and key in _OF_SIBLING:
            body[key] = value
        elif siblings and key == "verbosity":
            body["text"] = body.get("text", {}) | {key: value}
        else:
            draft.lose(key, "the target's dialect has no such field")
    body.setdefault("store", False)
    if draft.facts.thinking != "none":
        body["include"] = [*body.get("include", ()), ENCRYPTED]
