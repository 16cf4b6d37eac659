"""Facts about models: what they accept, how much they hold, what they cost. Data in, no decision made here.

``models.toml`` beside this file holds the facts; the first row whose pattern fits a model's name speaks for it.
Prices come from the ``genai-prices`` package and are turned into integers once per model.
"""

import re
import tomllib
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.resources import files
from typing import Literal

from msgspec import Struct, convert

# Words with a dot behind them, before a word: the number of a version begins with a digit.
_DOTTED = re.compile(r"^(?:[a-z-]+\.)+(?=[a-z])")


class Facts(Struct, frozen=True):
    """What one model accepts. Limits are in tokens.

    thinking: "none"; "budget" (a token budget); "adaptive" (an effort word, the model decides); "level" (a named
    level). thinking_off: whether it can be switched off. sampling: which of temperature, top_p, top_k it takes.
    one_sampling: temperature and top_p exclude each other. forced_tools: tool_choice may force a call.
    system_turns: a system message may stand in mid-conversation. json_schema: structured output is native.
    completion_limit: the limit is called ``max_completion_tokens``. prefill: the last turn may be the assistant's.
    max_output_tokens is what is sent to a vendor that demands a limit when the client gave none; output_ceiling is the
    most that the model can produce, where that is more. image_tokens is the most that one image counts for.
    """

    context_window: int | None = None
    max_output_tokens: int = 4096
    output_ceiling: int | None = None
    image_tokens: int = 6000
    sampling: tuple[str, ...] = ("temperature", "top_p", "top_k")
    one_sampling: bool = False
    thinking: Literal["none", "budget", "adaptive", "level"] = "none"
    thinking_off: bool = True
    forced_tools: bool = True
    system_turns: bool = False
    json_schema: bool = True
    completion_limit: bool = False
    prefill: bool = True


class Row(Struct, frozen=True, forbid_unknown_fields=True):
    """One row of ``models.toml``: the patterns it speaks for, the names it lists, the facts."""

    match: tuple[str, ...]
    facts: Facts
    provider: str = ""
    list: tuple[str, ...] = ()


@lru_cache(maxsize=1)
def rows() -> tuple[Row, ...]:
    """Return all rows, in the order of the file."""
    text = files("ailink_provider").joinpath("models.toml").read_text(encoding="utf-8")
    return tuple(convert(row, Row) for row in tomllib.loads(text)["model"])


@lru_cache(maxsize=4096)
def facts(model: str) -> Facts:
    """Return what is known of ``model``, by its bare or vendor-prefixed name ("vendor/name", "region.vendor.name");
    cautious defaults if nothing is."""
    name = _DOTTED.sub("", model.lower().rpartition("/")[2])
    for row in rows():
        if any(fnmatchcase(name, pattern) for pattern in row.match):
            return row.facts
    return Facts()
