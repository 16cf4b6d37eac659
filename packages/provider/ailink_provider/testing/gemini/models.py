"""What Gemini's models accept, as the mock enforces it: a table of its own, apart from the gateway's catalog."""

import re
from typing import NamedTuple


class Model(NamedTuple):
    """One family of models. ``budget`` is the range of thinking budgets in tokens, None where it takes none;
    ``signs`` whether its function calls carry a thought signature that must come back."""

    budget: tuple[int, int] | None = None
    can_stop_thinking: bool = True
    levels: bool = False
    signs: bool = False
    json_schema: bool = True
    tools_with_json: bool = False

    @property
    def thinks(self) -> bool:
        """Whether it takes a thinking configuration at all."""
        return self.levels or self.budget is not None


# The first pattern that fits the start of a name speaks for it. Source: the thinking guide of the Gemini API.
_MODELS: tuple[tuple[str, Model], ...] = (
    (r"gemini-1", Model(json_schema=False)),
    (r"gemini-2\.0", Model()),
    (r"gemini-2\.5-pro", Model(budget=(128, 32_768), can_stop_thinking=False)),
    (r"gemini-2\.5-flash-lite", Model(budget=(512, 24_576))),
    (r"gemini-2\.5", Model(budget=(1, 24_576))),
    (r"", Model(budget=(1, 32_768), can_stop_thinking=False, levels=True, signs=True, tools_with_json=True)),
)


def model(name: str) -> Model:
    """Return what the model of this name accepts; the newest family's rules if it is unknown."""
    return next(found for pattern, found in _MODELS if re.match(pattern, name))
