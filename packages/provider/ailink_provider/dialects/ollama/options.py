"""``options``: limits and sampling, to and from canonical fields. A table says which is which."""

from typing import Any

from ailink_provider.chat import Chat
from ailink_provider.dialects.members import invalid
from ailink_provider.dialects.ollama.draft import Draft
from ailink_provider.dialects.ollama.fields import optional

# The option, its canonical field, its type.
_FIELDS: tuple[tuple[str, str, Any], ...] = (
    ("num_predict", "max_tokens", int),
    ("temperature", "temperature", float),
    ("top_p", "top_p", float),
    ("top_k", "top_k", int),
    ("seed", "seed", int),
    ("presence_penalty", "presence_penalty", float),
    ("frequency_penalty", "frequency_penalty", float),
)
# What not every model takes, and the value that says nothing.
_SAMPLING = {"temperature": 1, "top_p": 1, "top_k": None}
_READ = {"stop", *(option for option, _, _ in _FIELDS)}
PREFIX = "options."


def read_options(body: dict[str, Any], chat: Chat) -> None:
    """Set what ``options`` says on ``chat``; what has no canonical word goes to ``chat.extras`` under its path."""
    options = optional(body, "options", dict) or {}
    for option, attribute, kind in _FIELDS:
        setattr(chat, attribute, optional(options, option, kind, "options"))
    chat.stop = _read_stop(options)
    if chat.max_tokens is not None and chat.max_tokens < 1:
        # No number of tokens but a word: -1 is without end, -2 as far as the context holds.
        chat.extras[f"{PREFIX}num_predict"], chat.max_tokens = chat.max_tokens, None
    for option, value in options.items():
        if option not in _READ and value is not None:
            chat.extras[f"{PREFIX}{option}"] = value


def _read_stop(options: dict[str, Any]) -> list[str]:
    stop = options.get("stop")
    stops = [stop] if isinstance(stop, str) else [] if stop is None else stop
    if not isinstance(stops, list) or not all(isinstance(sequence, str) for sequence in stops):
        raise invalid(f"{PREFIX}stop", "must be a string or a list of strings")
    return [sequence for sequence in stops if sequence]


def write_options(draft: Draft) -> dict[str, Any]:
    """Return ``options``, without what the model does not take."""
    chat, facts = draft.chat, draft.facts
    options: dict[str, Any] = {}
    for option, attribute, _ in _FIELDS:
        value = getattr(chat, attribute)
        if value is None:
            continue
        name = f"{PREFIX}{option}" if draft.own else attribute
        if option in _SAMPLING and option not in facts.sampling:
            if value != _SAMPLING[option]:
                draft.lose(name, "the model does not take it")
        elif option == "top_p" and facts.one_sampling and chat.temperature is not None:
            draft.lose(name, "the model takes either it or temperature")
        else:
            options[option] = value
    if chat.stop:
        options["stop"] = chat.stop
    if draft.own:
        options |= {name.removeprefix(PREFIX): value for name, value in chat.extras.items() if name.startswith(PREFIX)}
    return options
