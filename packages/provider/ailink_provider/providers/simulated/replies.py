"""What the simulator says: a reply to any chat, decided by the chat alone, and the events in which it streams.

It calls a tool when it must, or when the user's last words speak of it; told what tools answered, it says so; asked
for JSON, it makes some that fits; otherwise it says that it is a simulation and quotes what it was told.
"""

import re
from collections.abc import Iterator
from hashlib import sha256

import msgspec

from ailink_provider.chat import (
    Chat,
    Choice,
    Event,
    Finish,
    Media,
    Message,
    MessageDelta,
    MessageEnd,
    MessageStart,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reply,
    Text,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)
from ailink_provider.errors import Failure
from ailink_provider.estimate import BYTES_PER_TOKEN, TOOL_TOKENS, estimate_chat, estimate_text
from ailink_provider.providers.simulated.instances import instance

_OPENINGS = (
    "This is a simulated reply: AIlink answers here in place of {model}.",
    "No model was asked: AIlink simulates {model}.",
    "AIlink's simulator here, standing in for {model}.",
)
_QUOTE = 200  # characters of what is quoted
_MOST_CHOICES = 128
_FRAGMENT = 12  # characters of a call's arguments in one event

# Effort -> tokens that are said to have been thought.
_REASONING = {"none": 0, "minimal": 8, "low": 16, "medium": 32, "high": 64, "xhigh": 128, "max": 256}
_BUDGET_REASONING = 32

_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^\W\d_a-zA-Z]+")
# They say nothing of what a tool is for.
_COMMON = re.compile(
    "a|about|add|all|an|and|any|are|as|ask|at|be|by|call|can|check|create|current|data|delete|do|does|for|from|get|give|"
    "given|has|have|how|in|info|input|into|is|it|its|list|look|make|me|my|of|on|one|or|out|output|please|post|put|query|"
    "read|return|returns|run|see|send|set|show|some|tell|that|the|their|them|then|this|to|tool|two|up|update|use|user|"
    "using|value|via|want|what|when|where|which|who|will|with|write|you|your"
)


def compose(chat: Chat) -> Reply:
    """Return the answer. Raises ``Failure`` (``invalid_request``) for limits that no service would take."""
    if chat.n > _MOST_CHOICES:
        raise Failure("invalid_request", f"n must be from 1 to {_MOST_CHOICES}.", param="n")
    if chat.max_tokens is not None and chat.max_tokens < 1:
        raise Failure("invalid_request", "The limit of output tokens must be at least 1.", param="max_tokens")
    identity = sha256(msgspec.json.encode(chat)).hexdigest()
    thought = _reasoning(chat)
    choices = [_choice(chat, number, identity, thought) for number in range(chat.n)]
    said = sum(_tokens(part) for choice in choices for part in choice.parts)
    usage = Usage(estimate_chat(chat), said + thought * chat.n, reasoning_tokens=thought * chat.n)
    return Reply(f"chatcmpl-simulated-{identity[:24]}", chat.model, choices=choices, usage=usage)


def stream(reply: Reply) -> Iterator[Event]:
    """Yield ``reply`` as a stream brings it: word by word, arguments a few characters at a time."""
    yield MessageStart(reply.id, reply.model, reply.created)
    for number, choice in enumerate(reply.choices):
        for index, part in enumerate(choice.parts):
            opened, pieces = _unfold(part)
            yield PartStart(index, opened, number)
            yield from (PartDelta(index, piece, choice=number) for piece in pieces)
            yield PartEnd(index, number)
        yield MessageDelta(finish=choice.finish, choice=number)
    yield MessageDelta(usage=reply.usage)
    yield MessageEnd()


def _unfold(part: Part) -> tuple[Part, list[str]]:
    if isinstance(part, ToolCall):
        text = part.arguments
        fragments = [text[start:start + _FRAGMENT] for start in range(0, len(text), _FRAGMENT)]
        return ToolCall(part.id, part.name, custom=part.custom), fragments
    return Text(""), re.findall(r"\s*\S+|\s+$", part.text) if isinstance(part, Text) else []


def _choice(chat: Chat, number: int, identity: str, thought: int) -> Choice:
    last = _text(chat.messages[-1]) if chat.messages else ""
    calls = _called(chat, last)
    if calls:
        parts: list[Part] = [
            ToolCall(f"call_{sha256(f'{identity} {number} {index}'.encode()).hexdigest()[:24]}", tool.name,
                     _arguments(tool, last), tool.custom)
            for index, tool in enumerate(calls)
        ]
        return Choice(parts, Finish("tool_calls"))
    text, finish = _end(chat, _say(chat, number), thought)
    return Choice([Text(text)] if text else [], finish)


# --- tools ---------------------------------------------------------------------------------------


def _called(chat: Chat, last: str) -> list[Tool]:
    """Return the tools to call now."""
    choice = chat.tool_choice
    names = choice.names if choice is not None else None
    tools = [tool for tool in chat.tools if isinstance(tool, Tool) and (names is None or tool.name in names)]
    if not tools or (choice is not None and choice.mode == "none"):
        return []
    turn = chat.messages[-1] if chat.messages else Message("user", [])
    asks = turn.role == "user" and not any(isinstance(part, ToolResult) for part in turn.parts)
    words = _words(last)
    called = [tool for tool in tools if asks and _speaks_of(last.lower(), words, tool)]
    unanswerable = asks and not last and not any(isinstance(part, Media) for part in turn.parts)
    if not called and (unanswerable or (choice is not None and choice.mode == "required")):
        called = tools[:1]
    return called[:1] if chat.parallel_tool_calls is False else called


def _speaks_of(text: str, words: set[str], tool: Tool) -> bool:
    """Whether the text has the tool's name, a telling word of it, or two telling words of its description."""
    return (
        tool.name.lower() in text
        or bool(words & _words(tool.name))
        or len(words & _words(tool.description or "")) >= 2
    )


def _words(text: str) -> set[str]:
    """Return the telling words of a text or of an identifier, in lower case and without a plural's s."""
    words = {word.lower() for word in _WORD.findall(text)}
    telling = (word for word in words if len(word) > 2 and not _COMMON.fullmatch(word))
    return {word[:-1] if len(word) > 3 and word.endswith("s") else word for word in telling}


def _arguments(tool: Tool, text: str) -> str:
    if tool.custom:
        return _quote(text) or "simulated input"
    made = instance(tool.schema, text) if tool.schema else {}
    return msgspec.json.encode(made if isinstance(made, dict) else {}).decode()


# --- words ---------------------------------------------------------------------------------------


def _say(chat: Chat, number: int) -> str:
    turns = (_text(message) for message in reversed(chat.messages) if message.role == "user")
    said = next(filter(None, turns), "")
    opening = _OPENINGS[((chat.seed or 0) + number) % len(_OPENINGS)].format(model=chat.model)
    if chat.output is not None and chat.output.kind == "schema":
        return msgspec.json.encode(instance(chat.output.schema or {"type": "object"}, said)).decode()
    if chat.output is not None and chat.output.kind == "json":
        return msgspec.json.encode({"simulated": True, "reply": f"{opening} You said: {_quote(said)}"}).decode()
    sentences = [opening, *_results(chat), f"You said: “{_quote(said)}”" if said else "There was no text to answer."]
    media = [part.kind for part in chat.messages[-1].parts if isinstance(part, Media)] if chat.messages else []
    if media:
        sentences.append(f"With it came: {', '.join(media)}.")
    return " ".join(sentences)


def _results(chat: Chat) -> Iterator[str]:
    """Yield a sentence for every answer of a tool that the model has not spoken to yet."""
    names = {part.id: part.name for message in chat.messages for part in message.parts if isinstance(part, ToolCall)}
    fresh: list[ToolResult] = []
    for message in reversed(chat.messages):
        if message.role == "assistant":
            break
        fresh[:0] = [part for part in message.parts if isinstance(part, ToolResult)]
    for result in fresh:
        verb = "failed with" if result.is_error else "answered"
        said = "".join(part.text for part in result.parts if isinstance(part, Text))
        yield f"The tool {result.name or names.get(result.call_id, 'without a name')} {verb}: “{_quote(said)}”"


def _end(chat: Chat, text: str, thought: int) -> tuple[str, Finish]:
    """Return what is said of ``text`` before a stop sequence or the limit of tokens ends it, and why it ended."""
    finish = Finish("stop")
    found = [(place, stop) for stop in chat.stop if (place := text.find(stop)) >= 0]
    if found:
        place, stop = min(found)
        text, finish = text[:place], Finish("stop", stop_sequence=stop)
    if chat.max_tokens is not None and estimate_text(text) > (left := chat.max_tokens - thought):
        return text.encode()[:left * BYTES_PER_TOKEN].decode("utf-8", "ignore"), Finish("length")
    return text, finish


def _reasoning(chat: Chat) -> int:
    """Return the tokens that are said to have been thought: at most half of the limit, so that words are left."""
    reasoning = chat.reasoning
    if reasoning is None:
        return 0
    tokens = _REASONING.get(reasoning.effort or "", _BUDGET_REASONING if reasoning.budget else 0)
    return tokens if chat.max_tokens is None else min(tokens, chat.max_tokens // 2)


def _text(message: Message) -> str:
    return " ".join(part.text for part in message.parts if isinstance(part, Text)).strip()


def _quote(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _QUOTE else f"{words[:_QUOTE - 1]}…"


def _tokens(part: Part) -> int:
    if isinstance(part, ToolCall):
        return TOOL_TOKENS + estimate_text(part.name) + estimate_text(part.arguments)
    return estimate_text(part.text) if isinstance(part, Text) else 0
