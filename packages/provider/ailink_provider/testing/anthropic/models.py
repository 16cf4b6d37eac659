"""What Anthropic's models accept, as the mock enforces it: a table of its own, apart from the gateway's catalog."""

import re
from typing import NamedTuple


class Model(NamedTuple):
    """One family of models. ``thinking`` are the types of ``thinking`` that it takes, ``always_thinks`` whether a
    reply starts with a thinking block even unasked, ``omits`` whether thoughts are hidden by default."""

    output_limit: int
    sampling: bool = True
    one_sampling: bool = False
    thinking: frozenset[str] = frozenset()
    effort: bool = False
    structured: bool = False
    system_turns: bool = False
    prefill: bool = False
    forced_tools: bool = True
    always_thinks: bool = False
    omits: bool = False


_BUDGET = frozenset({"enabled", "disabled"})
_ADAPTIVE = frozenset({"adaptive", "disabled", "between_tools"})

# The first pattern that fits the start of a name speaks for it. Sources: the migration guides of each generation.
_MODELS: tuple[tuple[str, Model], ...] = (
    (r"claude-3-7-", Model(64_000, thinking=_BUDGET, prefill=True)),
    (r"claude-3-5-", Model(8_192, prefill=True)),
    (r"claude-3-", Model(4_096, prefill=True)),
    (r"claude-(opus|sonnet)-4(-[01])?(-2025\d{4})?$", Model(32_000, thinking=_BUDGET, prefill=True)),
    (r"claude-opus-4-5", Model(64_000, one_sampling=True, thinking=_BUDGET, effort=True, structured=True,
                               prefill=True)),
    (r"claude-\w+-4-5", Model(64_000, one_sampling=True, thinking=_BUDGET, structured=True, prefill=True)),
    (r"claude-\w+-4-6", Model(128_000, one_sampling=True, thinking=_BUDGET | {"adaptive"}, effort=True,
                              structured=True)),
    (r"claude-\w+-4-", Model(128_000, sampling=False, thinking=_ADAPTIVE, effort=True, structured=True)),
    (r"claude-\w+-5-5", Model(128_000, sampling=False, thinking=frozenset({"adaptive"}), effort=True, structured=True,
                              system_turns=True, forced_tools=False, always_thinks=True, omits=True)),
    (r"", Model(128_000, sampling=False, thinking=_ADAPTIVE, effort=True, structured=True, system_turns=True,
                omits=True)),
)


def model(name: str) -> Model:
    """Return what the model of this name accepts; the newest family's rules if it is unknown."""
    return next(found for pattern, found in _MODELS if re.match(pattern, name))
