"""How much a model thinks, both ways.

The service has one word for effort; how a model is told to think at all is its maker's affair and travels in
``additionalModelRequestFields``. Sources: `OutputConfig` of the Amazon Bedrock Runtime API; the extended thinking
guides of Claude and Nova; the parameters of OpenAI's models on Amazon Bedrock.
"""

from typing import Any

from ailink_provider.chat import Message, Reasoning, Thinking, ToolCall, ToolResult
from ailink_provider.dialects import fields
from ailink_provider.dialects.bedrock_converse.draft import Draft
from ailink_provider.dialects.bedrock_converse.words import NAME

LEAST_BUDGET = 1024

_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 24576, "max": 31999}
_EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
_THREE = {**_EFFORTS, "xhigh": "high", "max": "high"}
_SHAPES = ("enabled", "adaptive", "disabled")
_WHERE = "additionalModelRequestFields.thinking"


# --- reading -------------------------------------------------------------------------------------


def read_reasoning(additional: dict[str, Any], effort: str | None, extras: dict[str, Any]) -> Reasoning | None:
    """Return what a request says of thinking and effort. Thinking that is not Claude's stays in ``extras``."""
    thinking = additional.get("thinking")
    if thinking is None:
        return None if effort is None else Reasoning(effort)
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if kind not in _SHAPES or fields.rest(thinking, ("type", "budget_tokens", "display")):
        extras["thinking"] = thinking
        return None if effort is None else Reasoning(effort)
    display = fields.optional(thinking, "display", fields.text, _WHERE)
    visible = None if display is None else display != "omitted"
    if kind == "enabled":
        return Reasoning(effort, fields.required(thinking, "budget_tokens", fields.count, _WHERE), visible=visible)
    if kind == "adaptive":
        return Reasoning(effort, adaptive=True, visible=visible)
    return Reasoning(effort or "none", budget=0)


# --- writing -------------------------------------------------------------------------------------


def write_reasoning(draft: Draft, forced: bool) -> bool:
    """Put thinking and effort into the draft, and return whether the model's thinking excludes sampling parameters.

    ``forced`` tells that a tool call is forced, which Claude's thinking excludes. A limit on tokens is raised above a
    budget.
    """
    wish = draft.chat.reasoning
    if wish is None:
        return False
    if draft.vendor in ("openai", "moonshot", "moonshotai"):
        return _write_openai(wish, draft)
    if draft.vendor == "amazon":
        return _write_nova(wish, draft)
    if wish.budget is None and wish.adaptive is None and wish.effort != "none":
        if draft.own:
            # In this dialect an effort alone is no wish to think.
            _write_effort(wish.effort, draft)
            return False
        if wish.effort is None and draft.facts.thinking_off:
            # To see the thoughts there may be is no wish for them either.
            return False
    if wish.effort == "none" or wish.budget == 0:
        return _write_off(wish, draft)
    return _write_on(wish, draft, forced)


def _write_on(wish: Reasoning, draft: Draft, forced: bool) -> bool:
    style = _style(wish, draft)
    reason = _obstacle(style, draft, forced)
    if reason is not None:
        draft.lose("reasoning", reason)
        if style != "none" and draft.facts.thinking_off:
            draft.additional["thinking"] = {"type": "disabled"}
        return False
    if style == "budget":
        thinking: dict[str, Any] = {"type": "enabled", "budget_tokens": _budget(wish, draft)}
        if draft.own:
            _write_effort(wish.effort, draft)
    else:
        thinking = {"type": "adaptive"}
        _write_effort(wish.effort or _nearest_effort(wish.budget, draft), draft)
    if wish.visible is not None:
        thinking["display"] = "summarized" if wish.visible else "omitted"
    draft.additional["thinking"] = thinking
    return True


def _style(wish: Reasoning, draft: Draft) -> str:
    """Return how the model is told to think; where that is not known, as the service's own client told it."""
    if draft.facts.thinking == "none" and draft.own and draft.takes_claude_fields:
        return "adaptive" if wish.adaptive else "budget"
    return draft.facts.thinking


def _write_off(wish: Reasoning, draft: Draft) -> bool:
    if _style(wish, draft) == "none":
        return False
    if draft.facts.thinking_off:
        draft.additional["thinking"] = {"type": "disabled"}
        if wish.effort != "none":
            _write_effort(wish.effort, draft)
        return False
    draft.lose("reasoning", "this model always thinks; it is asked for its lowest effort")
    _write_effort("low", draft)
    return True


def _write_effort(effort: str | None, draft: Draft) -> None:
    if effort is None:
        return
    if draft.own:
        draft.output["effort"] = effort
    elif draft.facts.thinking in ("none", "budget"):
        draft.lose("reasoning", "this model takes no effort")
    elif effort not in _EFFORTS:
        draft.lose("reasoning", f"{effort!r} is not one of {', '.join(_EFFORTS)}")
    else:
        draft.output["effort"] = _EFFORTS[effort]


def _write_openai(wish: Reasoning, draft: Draft) -> bool:
    """The open-weight models and Kimi take one flat word of three, the others a nested one of six."""
    effort = wish.effort or _nearest_effort(wish.budget, draft)
    if effort is None:
        return False
    if draft.own:
        draft.output["effort"] = effort
    elif "gpt-oss" in draft.chat.model or draft.vendor != "openai":
        if effort == "none":
            draft.lose("reasoning", "this model always thinks; it is asked for its lowest effort")
        draft.additional["reasoning_effort"] = _THREE.get(effort, "low")
    else:
        draft.additional["reasoning"] = {"effort": _EFFORTS.get(effort, "none")}
    return False


def _write_nova(wish: Reasoning, draft: Draft) -> bool:
    effort = wish.effort or _nearest_effort(wish.budget, draft)
    if draft.own:
        _write_effort(wish.effort, draft)
    elif "nova-2" not in draft.chat.model:
        if effort not in (None, "none"):
            draft.lose("reasoning", "this model does not think")
    elif effort == "none":
        draft.additional["reasoningConfig"] = {"type": "disabled"}
    elif effort is not None:
        draft.additional["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": _THREE.get(effort, "medium")}
        if _THREE.get(effort) == "high":
            if draft.inference.pop("maxTokens", None) is not None:
                draft.lose("max_tokens", "this model takes no limit while it thinks its hardest")
            return True
    return False


def _obstacle(style: str, draft: Draft, forced: bool) -> str | None:
    if style == "none":
        return "this model does not think"
    if forced:
        return "a model that is forced to call a tool cannot think first"
    if style == "budget" and _tool_loop_without_thought(draft.chat.messages):
        # A budget is refused when the turn that called the tools does not begin with its signed thought.
        return "the turn that called the tools came back without its thinking"
    return None


def _tool_loop_without_thought(messages: list[Message]) -> bool:
    """Whether the conversation waits for the model amid tool calls, and the calling turn shows no signed thought."""
    answered = any(isinstance(part, ToolResult) for message in _last_turn(messages, "user") for part in message.parts)
    if not answered:
        return False
    while messages and messages[-1].role != "assistant":
        messages = messages[:-1]
    parts = [part for message in _last_turn(messages, "assistant") for part in message.parts]
    thought = any(isinstance(part, Thinking) and part.signed_by == NAME and (part.signature or part.redacted)
                  for part in parts)
    return any(isinstance(part, ToolCall) for part in parts) and not thought


def _last_turn(messages: list[Message], role: str) -> list[Message]:
    """Return the messages since the other side last spoke, if they are of ``role``; systems between do not count."""
    other = "assistant" if role == "user" else "user"
    start = next((index for index in range(len(messages), 0, -1) if messages[index - 1].role == other), 0)
    return [message for message in messages[start:] if message.role == role]


def _budget(wish: Reasoning, draft: Draft) -> int:
    """Return the budget, at least 1,024 and below the limit, which is raised where it leaves no room."""
    limit: int | None = draft.inference.get("maxTokens")
    if wish.budget is not None and wish.budget > 0:
        budget = wish.budget if draft.own else max(LEAST_BUDGET, wish.budget)
        if budget > wish.budget:
            draft.lose("reasoning.budget", f"the least budget is {LEAST_BUDGET} tokens")
    else:
        # An effort is no promise of a number: it gives way to the client's limit as far as the model allows.
        wanted = _BUDGETS.get(wish.effort or "medium", _BUDGETS["medium"])
        room = limit if limit is not None else draft.facts.max_output_tokens
        budget = max(LEAST_BUDGET, min(wanted, room // 2))
    if limit is not None and budget >= limit and not draft.own:
        draft.inference["maxTokens"] = budget + limit
        draft.lose("max_tokens", f"raised to {budget + limit} to leave room beside {budget} tokens of thinking")
    return budget


def _nearest_effort(budget: int | None, draft: Draft) -> str | None:
    if budget is None or budget < 0:
        return None
    if budget == 0:
        return "none"
    effort = next((effort for effort in ("low", "medium", "high") if budget <= _BUDGETS[effort]), "high")
    draft.lose("reasoning.budget", f"this model takes an effort instead of a budget; sent {effort!r}")
    return effort
