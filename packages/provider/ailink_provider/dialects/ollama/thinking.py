"""``think``: whether, or how much, a model thinks. True, false, or a level for the models that have levels.

A model that does not think refuses to be told to, so what is not known to think is not asked. Thinking and a format
do not go together: asked for both, servers leave out the one or, without a word, the other.
"""

from typing import Any

from ailink_provider.chat import Chat, Reasoning
from ailink_provider.dialects.members import invalid
from ailink_provider.dialects.ollama.draft import Draft

LEVELS = ("low", "medium", "high", "max")

_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "max"}
# Budgets in tokens up to which a level speaks for them; beyond the last it is "high".
_BUDGETS = ((4096, "low"), (16384, "medium"))


def read_think(body: dict[str, Any], chat: Chat) -> None:
    """Set what ``think`` says on ``chat``. A level that is not known here rides in ``extras``."""
    think = body.get("think")
    if think is None:
        return
    if isinstance(think, bool):
        chat.reasoning = Reasoning(adaptive=True, visible=True) if think else Reasoning(effort="none")
    elif not isinstance(think, str):
        raise invalid("think", f"must be true, false or one of {', '.join(LEVELS)}")
    elif think in LEVELS:
        chat.reasoning = Reasoning(effort=think, visible=True)
    else:
        chat.extras["think"] = think


def write_think(draft: Draft, formatted: bool) -> dict[str, Any]:
    """Return the member ``think``, {} where the model is left to its own. ``formatted``: the answer has a format."""
    wish = draft.chat.reasoning
    if wish is None:
        return {}
    if draft.own:
        return {"think": _as_said(wish)}
    off = wish.effort == "none" or wish.budget == 0
    if not off and wish.effort is None and wish.budget is None and not wish.adaptive:
        return {}  # to see the thoughts there may be is no wish for them
    if formatted:
        draft.lose("reasoning", "beside a format the target is told nothing of thinking")
        return {}
    if off and draft.facts.thinking_off:
        return {"think": False}
    if draft.facts.thinking == "none":
        if not off:
            draft.lose("reasoning", "the model is not known to think")
        return {}
    if off:
        draft.lose("reasoning", "the model always thinks; it is asked to think least")
    return {"think": _level(draft, wish) if draft.facts.thinking in ("level", "adaptive") else _switch(draft, wish)}


def _as_said(wish: Reasoning) -> bool | str:
    return wish.effort != "none" if wish.effort in (None, "none") else wish.effort


def _level(draft: Draft, wish: Reasoning) -> bool | str:
    if wish.effort == "none" or wish.budget == 0:
        return "low"
    if wish.effort in _EFFORTS:
        return _EFFORTS[wish.effort]
    if wish.effort is not None:
        draft.lose("reasoning", f"'{wish.effort}' is none of {', '.join(LEVELS)}")
        return True
    if wish.budget is None or wish.budget < 0:
        return True
    level = next((level for most, level in _BUDGETS if wish.budget <= most), "high")
    draft.lose("reasoning.budget", f"the model takes a level instead of a budget; sent '{level}'")
    return level


def _switch(draft: Draft, wish: Reasoning) -> bool:
    if wish.effort not in (None, "none") or (wish.budget or 0) > 0:
        draft.lose("reasoning", "the model thinks or does not; it cannot be told how much")
    return True
