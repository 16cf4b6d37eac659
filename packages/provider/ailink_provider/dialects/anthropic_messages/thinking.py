"""How much a model thinks, both ways.

Older models take a budget in tokens, newer ones an effort word and decide for themselves; some cannot be told not to
think. Sources: the extended thinking, adaptive thinking and effort guides.
"""

from typing import Any

from ailink_provider.chat import Message, Reasoning, Thinking, ToolCall, ToolResult
from ailink_provider.dialects import fields
from ailink_provider.dialects.anthropic_messages.draft import Draft
from ailink_provider.dialects.anthropic_messages.words import NAME

LEAST_BUDGET = 1024

_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 31999}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}


def read_reasoning(body: dict[str, Any], extras: dict[str, Any]) -> Reasoning | None:
    """Return what a request says of thinking and effort. Thinking without a canonical word stays in ``extras``."""
    thinking = fields.optional(body, "thinking", fields.record)
    config = fields.optional(body, "output_config", fields.record) or {}
    effort = fields.optional(config, "effort", fields.text, "output_config")
    if thinking is None:
        return None if effort is None else Reasoning(effort)
    display = fields.optional(thinking, "display", fields.text, "thinking")
    visible = None if display is None else display != "omitted"
    match fields.required(thinking, "type", fields.text, "thinking"):
        case "enabled":
            budget = fields.required(thinking, "budget_tokens", fields.count, "thinking")
            return Reasoning(effort, budget=budget, visible=visible)
        case "disabled":
            return Reasoning(effort or "none", budget=0)
        case "adaptive":
            return Reasoning(effort, adaptive=True, visible=visible)
        case _:
            extras["thinking"] = thinking
            return Reasoning(effort, adaptive=True)


def write_reasoning(body: dict[str, Any], draft: Draft, forced: bool) -> bool:
    """Add thinking and effort to ``body``, and return whether the model will think.

    ``forced`` tells that a tool call is forced, which excludes thinking. ``body["max_tokens"]`` is raised above a
    budget.
    """
    wish = draft.chat.reasoning
    if wish is None:
        return False
    if wish.budget is None and wish.adaptive is None and wish.effort != "none":
        if draft.own:
            # In this dialect an effort alone is no wish to think.
            _write_effort(wish.effort, body, draft)
            return False
        if wish.effort is None and draft.facts.thinking_off:
            # To see the thoughts there may be is no wish for them either.
            return False
    if wish.effort == "none" or wish.budget == 0:
        return _write_off(wish, body, draft)
    reason = _obstacle(draft, forced)
    if reason is not None:
        draft.lose("reasoning", reason)
        if draft.facts.thinking != "none" and draft.facts.thinking_off:
            body["thinking"] = {"type": "disabled"}
        return False
    if draft.facts.thinking == "budget":
        thinking: dict[str, Any] = {"type": "enabled", "budget_tokens": _budget(wish, body, draft)}
    else:
        thinking = {"type": "adaptive"}
        _write_effort(wish.effort or _nearest_effort(wish.budget, draft), body, draft)
    if wish.visible is not None:
        thinking["display"] = "summarized" if wish.visible else "omitted"
    body["thinking"] = thinking
    return True


def _write_off(wish: Reasoning, body: dict[str, Any], draft: Draft) -> bool:
    if draft.facts.thinking == "none":
        return False
    if draft.facts.thinking_off:
        body["thinking"] = {"type": "disabled"}
        if wish.effort not in (None, "none"):
            _write_effort(wish.effort, body, draft)
        return False
    draft.lose("reasoning", "this model always thinks; it is asked for its lowest effort")
    _write_effort("low", body, draft)
    return True


def _write_effort(effort: str | None, body: dict[str, Any], draft: Draft) -> None:
    if effort is None:
        return
    if draft.facts.thinking in ("none", "budget"):
        draft.lose("reasoning", "this model takes no effort")
    elif effort not in _EFFORTS:
        draft.lose("reasoning", f"{effort!r} is not one of {', '.join(_EFFORTS)}")
    else:
        body.setdefault("output_config", {})["effort"] = _EFFORTS[effort]


def _obstacle(draft: Draft, forced: bool) -> str | None:
    if draft.facts.thinking == "none":
        return "this model does not think"
    if forced:
        return "a model that is forced to call a tool cannot think first"
    if draft.facts.thinking == "budget" and _tool_loop_without_thought(draft.chat.messages):
        # The vendor refuses a budget when the turn that called the tools does not begin with its signed thought.
        return "the turn that called the tools came back without its thinking"
    return None


def _tool_loop_without_thought(messages: list[Message]) -> bool:
    """Whether the conversation waits for the model amid tool calls, and the calling turn shows no signed thought."""
    if not any(isinstance(part, ToolResult) for message in _last_turn(messages, "user") for part in message.parts):
        return False
    while messages and messages[-1].role != "assistant":
        messages = messages[:-1]
    parts = [part for message in _last_turn(messages, "assistant") for part in message.parts]
    thoughts = (part for part in parts if isinstance(part, Thinking) and part.signed_by == NAME)
    return any(isinstance(part, ToolCall) for part in parts) and not any(
        thought.signature or thought.redacted for thought in thoughts)


def _last_turn(messages: list[Message], role: str) -> list[Message]:
    """Return the messages since the other side last spoke, if they are of ``role``; systems between do not count."""
    other = "assistant" if role == "user" else "user"
    start = next((index for index in range(len(messages), 0, -1) if messages[index - 1].role == other), 0)
    return [message for message in messages[start:] if message.role == role]


def _budget(wish: Reasoning, body: dict[str, Any], draft: Draft) -> int:
    """Return the budget, at least 1,024 and below the limit, which is raised where it leaves no room."""
    limit: int = body["max_tokens"]
    if wish.budget is not None and wish.budget > 0:
        budget = max(LEAST_BUDGET, wish.budget)
    else:
        # An effort is no promise of a number: it gives way to the client's limit as far as the vendor allows.
        wanted = _BUDGETS.get(wish.effort or "medium", _BUDGETS["medium"])
        budget = max(LEAST_BUDGET, min(wanted, limit // 2))
    if wish.budget is not None and 0 < wish.budget < budget:
        draft.lose("reasoning.budget", f"the least budget is {LEAST_BUDGET} tokens")
    if budget >= limit:
        body["max_tokens"] = budget + max(limit, 1)
        draft.lose("max_tokens", f"raised to {body['max_tokens']} to leave room beside {budget} tokens of thinking")
    return budget


def _nearest_effort(budget: int | None, draft: Draft) -> str | None:
    if budget is None or budget < 0:
        return None
    effort = next((effort for effort in ("low", "medium", "high") if budget <= _BUDGETS[effort]), "high")
    draft.lose("reasoning.budget", f"this model takes an effort instead of a budget; sent {effort!r}")
    return effort
