"""``generationConfig``: sampling, limits, the form of the output and thinking, to and from canonical fields.

What a model accepts is decided by its facts alone; a field it does not take is a loss, or a failure where the answer
would be another one without it.
"""

from collections.abc import Callable
from typing import Any

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Media, OutputFormat, Reasoning, ToolResult
from ailink_provider.dialects import Loss, Sent
from ailink_provider.dialects.gemini.fields import (
    boolean,
    integer,
    join,
    json_text,
    members,
    number,
    record,
    refuse,
    text,
    texts,
)
from ailink_provider.dialects.gemini.media import RESOLUTIONS
from ailink_provider.dialects.gemini.names import NAME
from ailink_provider.dialects.gemini.schemas import read_schema, write_schema
from ailink_provider.errors import Failure

STOP_LIMIT = 5
HOTTEST = 2.0
# Every 2.5 model takes a budget up to here; some a little more.
BUDGET_LIMIT = 24576
# What a model thinks that cannot be kept from thinking, in tokens.
LEAST_BUDGET = 128

_CONFIG = "generationConfig"
_PLAIN: dict[str, tuple[str, Callable[[Any, str], Any]]] = {
    "temperature": ("temperature", number),
    "topP": ("top_p", number),
    "topK": ("top_k", integer),
    "candidateCount": ("n", integer),
    "maxOutputTokens": ("max_tokens", integer),
    "stopSequences": ("stop", texts),
    "seed": ("seed", integer),
    "presencePenalty": ("presence_penalty", number),
    "frequencyPenalty": ("frequency_penalty", number),
    "responseLogprobs": ("logprobs", boolean),
    "logprobs": ("top_logprobs", integer),
}
_SAMPLING = {"temperature": "temperature", "top_p": "topP", "top_k": "topK"}
_UNCONDITIONAL = {
    "max_tokens": "maxOutputTokens",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}
# "max" is the highest level that every model has; "none" the lowest, where thinking cannot be switched off.
_LEVELS = {
    "none": "LOW",
    "minimal": "MINIMAL",
    "low": "LOW",
    "medium": "MEDIUM",
    "high": "HIGH",
    "xhigh": "XHIGH",
    "max": "HIGH",
}
_BUDGETS = {
    "minimal": 1024,
    "low": 1024,
    "medium": 8192,
    "high": BUDGET_LIMIT,
    "xhigh": BUDGET_LIMIT,
    "max": BUDGET_LIMIT,
}
_SEED_RANGE = range(-(2**31), 2**31)


def read_generation(value: Any, chat: Chat) -> None:
    """Read ``generationConfig`` into ``chat``; what has no canonical word goes to ``chat.extras`` under its path."""
    config = members(value, _CONFIG)
    for name, (attribute, read) in _PLAIN.items():
        if name in config:
            setattr(chat, attribute, read(config.pop(name), join(_CONFIG, name)))
    if chat.n < 1:
        raise refuse(join(_CONFIG, "candidateCount"), "1 or more")
    chat.output = _read_output(config)
    chat.reasoning = _read_reasoning(config)
    chat.extras.update({join(_CONFIG, key): member for key, member in config.items()})


def write_generation(chat: Chat, facts: Facts, sent: Sent) -> None:
    """Put ``generationConfig`` into ``sent.body``. Raises ``Failure`` for more stop sequences than Gemini takes."""
    config: dict[str, Any] = {}
    _write_sampling(chat, facts, sent, config)
    config.update(
        {
            name: getattr(chat, attribute)
            for attribute, name in _UNCONDITIONAL.items()
            if getattr(chat, attribute) is not None
        }
    )
    stop = [sequence for sequence in chat.stop if sequence]
    if len(stop) > STOP_LIMIT:
        raise Failure(
            "unsupported_parameter",
            f"Gemini takes at most {STOP_LIMIT} stop sequences; {len(stop)} were given.",
            param=join(_CONFIG, "stopSequences") if chat.dialect == NAME else "stop",
        )
    if stop:
        config["stopSequences"] = stop
    if chat.n > 1:
        config["candidateCount"] = chat.n
    if chat.seed is not None:  # folded where it is wider than 32 bits: the same seed is still the same
        config["seed"] = chat.seed if chat.seed in _SEED_RANGE else chat.seed & 0x7FFFFFFF
    if chat.logprobs:
        config["responseLogprobs"] = True
        if chat.top_logprobs:
            config["logprobs"] = chat.top_logprobs
    _write_output(chat, facts, sent, config)
    thinking = _write_thinking(chat, facts, sent)
    if thinking:
        config["thinkingConfig"] = thinking
    if chat.dialect != NAME:  # its own clients say it part by part
        _write_resolution(chat, sent, config)
    if config:
        sent.body[_CONFIG] = config


def _read_output(config: dict[str, Any]) -> OutputFormat | None:
    mime = text(config.get("responseMimeType", ""), join(_CONFIG, "responseMimeType"))
    if mime == "text/plain":
        del config["responseMimeType"]
        return OutputFormat("text")
    schema: dict[str, Any] | None = None
    if mime not in ("", "application/json"):  # one of an enum's words as plain text, say
        return None
    config.pop("responseMimeType", None)
    if "responseJsonSchema" in config:
        schema = record(config.pop("responseJsonSchema"), join(_CONFIG, "responseJsonSchema"))
    elif "responseSchema" in config:
        schema = read_schema(config.pop("responseSchema"), join(_CONFIG, "responseSchema"))
    if schema is not None:
        return OutputFormat("schema", schema=schema)
    return OutputFormat("json") if mime else None


def _read_reasoning(config: dict[str, Any]) -> Reasoning | None:
    where = join(_CONFIG, "thinkingConfig")
    thinking = members(config.pop("thinkingConfig", {}), where)
    if not thinking:
        return None
    reasoning = Reasoning()
    if "thinkingLevel" in thinking:
        level = text(thinking["thinkingLevel"], join(where, "thinkingLevel")).lower()
        reasoning.effort = level if level in _LEVELS else None
    if "thinkingBudget" in thinking:
        budget = integer(thinking["thinkingBudget"], join(where, "thinkingBudget"))
        if budget == 0:
            reasoning.effort = "none"
        else:
            reasoning.budget = budget
    if "includeThoughts" in thinking:
        reasoning.visible = boolean(thinking["includeThoughts"], join(where, "includeThoughts"))
    return reasoning


def _write_sampling(chat: Chat, facts: Facts, sent: Sent, config: dict[str, Any]) -> None:
    for attribute, name in _SAMPLING.items():
        value = getattr(chat, attribute)
        if value is None:
            continue
        if attribute not in facts.sampling:
            sent.losses.append(Loss(attribute, "this model does not take it"))
        elif attribute == "top_p" and facts.one_sampling and chat.temperature is not None:
            sent.losses.append(Loss(attribute, "this model does not take it beside temperature"))
        elif attribute == "temperature" and value > HOTTEST:
            sent.losses.append(Loss(attribute, f"{HOTTEST:g} is the most that Gemini takes"))
            config[name] = HOTTEST
        else:
            config[name] = value


def _write_output(chat: Chat, facts: Facts, sent: Sent, config: dict[str, Any]) -> None:
    output = chat.output
    if output is None or output.kind == "text":
        return
    if facts.thinking != "level" and any("functionDeclarations" in tool for tool in sent.body.get("tools", ())):
        instructions = sent.body.setdefault("systemInstruction", {"parts": []})
        instructions["parts"].append({"text": _json_wish(output)})
        sent.losses.append(Loss("response_format", "beside functions this model is asked for it in words alone"))
        return
    config["responseMimeType"] = "application/json"
    if output.kind == "json" or output.schema is None:
        return
    schema = output.schema
    if output.description and "description" not in schema:
        schema = {"description": output.description, **schema}
    if facts.json_schema:
        config["responseJsonSchema"] = schema
        return
    dropped: set[str] = set()
    config["responseSchema"] = write_schema(schema, "response_format", dropped)
    sent.losses += [Loss(f"response_format.{key}", "this model's schemas do not have it") for key in sorted(dropped)]


def _json_wish(output: OutputFormat) -> str:
    """Return what a model is told that takes no form beside functions; Gemini 3 is the first that does."""
    wish = "When you answer rather than call a function, answer with one JSON object and nothing else."
    if output.schema is None:
        return wish
    return f"{wish} It must be valid against this JSON Schema: {json_text(output.schema, 'response_format')}"


def _write_thinking(chat: Chat, facts: Facts, sent: Sent) -> dict[str, Any]:
    reasoning = chat.reasoning
    if reasoning is None:
        return {}
    if facts.thinking == "none":
        if reasoning.effort not in (None, "none") or reasoning.budget:
            sent.losses.append(Loss("reasoning", "this model does not think"))
        return {}
    thinking: dict[str, Any] = {}
    if reasoning.effort == "none" and not facts.thinking_off:
        sent.losses.append(Loss("reasoning", "this model always thinks; it is asked to think least"))
    if facts.thinking == "budget":
        budget = _budget(reasoning, facts)
        if budget is not None and budget > BUDGET_LIMIT and chat.dialect != NAME:
            sent.losses.append(Loss("reasoning", f"{BUDGET_LIMIT} tokens of thinking are the most"))
            budget = BUDGET_LIMIT
        if budget is not None:
            thinking["thinkingBudget"] = budget
    elif reasoning.effort == "none" and facts.thinking_off:
        thinking["thinkingBudget"] = 0
    elif reasoning.effort in _LEVELS:
        thinking["thinkingLevel"] = _LEVELS[reasoning.effort]
    elif reasoning.budget is not None:  # still understood, though a level is preferred
        thinking["thinkingBudget"] = reasoning.budget
    if reasoning.visible is not None:
        thinking["includeThoughts"] = reasoning.visible
    return thinking


def _budget(reasoning: Reasoning, facts: Facts) -> int | None:
    if reasoning.effort == "none":
        return 0 if facts.thinking_off else LEAST_BUDGET
    if reasoning.budget is not None:
        return reasoning.budget
    if reasoning.effort in _BUDGETS:
        return _BUDGETS[reasoning.effort]
    return -1 if reasoning.adaptive else None


def _write_resolution(chat: Chat, sent: Sent, config: dict[str, Any]) -> None:
    """One resolution holds for all images: it is only lowered if every one of them asks for it."""
    details = {media.detail for media in _media(chat) if media.kind == "image"}
    if details == {"low"}:
        config["mediaResolution"] = RESOLUTIONS["low"]
    elif details & RESOLUTIONS.keys() - {"low"}:
        config["mediaResolution"] = RESOLUTIONS["high"]
    if "low" in details and details != {"low"}:
        sent.losses.append(Loss("detail", "one resolution holds for all images of a request"))


def _media(chat: Chat) -> list[Media]:
    parts = [part for message in chat.messages for part in message.parts]
    parts += [nested for part in parts if isinstance(part, ToolResult) for nested in part.parts]
    return [part for part in parts if isinstance(part, Media)]
