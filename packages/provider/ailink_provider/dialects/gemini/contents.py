"""The conversation: ``contents`` and ``systemInstruction``, to and from canonical messages.

Gemini knows two roles, wants one turn of each at a time, the results of all of a turn's calls together, and the
tool's name on every result. What arrives otherwise is put so here; results are sent as plain strings, because Gemini
follows a ``$ref`` that it finds in a structured one.
"""

from collections import Counter
from itertools import groupby
from typing import Any

from ailink_provider.catalog import Facts
from ailink_provider.chat import (
    Chat,
    Media,
    Message,
    Native,
    Part,
    Refusal,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from ailink_provider.dialects import Loss, Sent
from ailink_provider.dialects.gemini.fields import join, many, members, refuse, text
from ailink_provider.dialects.gemini.media import RESOLUTIONS, write_media
from ailink_provider.dialects.gemini.names import NAME, call_id, tool_name
from ailink_provider.dialects.gemini.parts import Piece, call_part, members_of, read_part, signed
from ailink_provider.dialects.gemini.signatures import SKIP_VALIDATION, own, write_marked
from ailink_provider.dialects.gemini.turns import join_pieces
from ailink_provider.errors import Failure

# "function" and "tool" are what older clients call the turn that brings results.
_ROLES: dict[str, Role] = {"user": "user", "model": "assistant", "function": "user", "tool": "user"}


def read_contents(value: Any, where: str = "contents") -> list[Message]:
    """Return the messages of ``contents``. Model turns that follow each other are one: a client that streamed keeps
    every chunk as a turn of its own. A result without an id gets that of the first open call to its function."""
    turns: list[tuple[Role, str, list[Piece]]] = []
    for position, item in enumerate(many(value, where)):
        here = f"{where}[{position}]"
        content = members(item, here)
        role = _ROLES.get(text(content.get("role", "user"), join(here, "role")) or "user")
        if role is None:
            raise refuse(join(here, "role"), "'user' or 'model'")
        turns.append((role, here, _pieces(content, here)))
    messages: list[Message] = []
    waiting: list[ToolCall] = []
    for role, group in groupby(turns, key=lambda turn: turn[0]):
        run = list(group)
        if role == "assistant":
            parts = join_pieces((piece for _, _, pieces in run for piece in pieces), seed=run[0][1])
            waiting += [part for part in parts if isinstance(part, ToolCall)]
            messages.append(Message("assistant", parts))
        else:
            messages += [Message("user", _settle(pieces, here, waiting)) for _, here, pieces in run]
    return [message for message in messages if message.parts]


def read_system(value: Any, where: str = "systemInstruction") -> list[Message]:
    """Return the system message that ``systemInstruction`` holds, or none."""
    parts = [piece.part for piece in _pieces(members(value, where), where)]
    return [Message("system", parts)] if parts else []


def write_contents(chat: Chat, facts: Facts, sent: Sent) -> None:
    """Put ``systemInstruction`` and ``contents`` into ``sent.body``. Raises ``Failure`` for a result whose tool is not
    known, a call without a result, and media that cannot be sent."""
    history = _History(chat, facts, sent)
    leading = next(
        (position for position, message in enumerate(chat.messages) if message.role not in ("system", "developer")), 0
    )
    instructions = [part for position in range(leading) for part in history.system(position)]
    if instructions:
        sent.body["systemInstruction"] = {"parts": instructions}
    sent.body["contents"] = history.contents(leading)


class _History:
    """Writes messages one after the other, with the calls seen so far."""

    def __init__(self, chat: Chat, facts: Facts, sent: Sent) -> None:
        self._messages = chat.messages
        self._apart = chat.apart
        self._own = chat.dialect == NAME
        self._root = "contents" if self._own else "messages"
        self._nested_media = facts.thinking == "level"
        self._signed_calls = facts.thinking == "level"
        self._sent = sent
        self._called: dict[str, str] = {}

    def contents(self, start: int) -> list[dict[str, Any]]:
        """Return the turns from message ``start`` on, neighbours of one role merged."""
        contents: list[dict[str, Any]] = []
        for position in range(start, len(self._messages)):
            role = "model" if self._messages[position].role == "assistant" else "user"
            parts = self._message(position)
            if contents and contents[-1]["role"] == role:
                contents[-1]["parts"] += parts
            elif parts:
                contents.append({"role": role, "parts": parts})
        for content in contents:
            if content["role"] == "user":
                content["parts"].sort(key=lambda part: "functionResponse" not in part)
            elif self._signed_calls:
                _sign_first_call(content["parts"])
        _check_answers(contents, self._root)
        return contents

    def system(self, position: int) -> list[dict[str, Any]]:
        """Return the parts of a system message; only text can be one."""
        written = []
        for index, part in enumerate(self._messages[position].parts):
            if isinstance(part, Text):
                written += [{"text": part.text}] if part.text else []
            else:
                self._lose(self._where(position, index), "a system message is text alone")
        return written

    def _message(self, position: int) -> list[dict[str, Any]]:
        message = self._messages[position]
        if message.name:
            self._lose(f"{self._where(position)}.name", "no one is named in a conversation")
        if message.role in ("system", "developer"):
            self._lose(self._where(position), "a system message in mid-conversation is sent as the user's")
            return [{"text": f"<system>\n{part['text']}\n</system>"} for part in self.system(position)]
        loose: list[dict[str, Any]] = []
        written = write_marked(
            message.parts, lambda index, part: self._part(part, self._where(position, index), loose)
        )
        return loose + written  # results come first in the end, so their media stand right behind them

    def _part(self, part: Part, where: str, loose: list[dict[str, Any]]) -> dict[str, Any] | None:
        if isinstance(part, Text | Refusal):
            return {"text": part.text} if part.text else None
        if isinstance(part, ToolCall):
            self._called[part.id] = part.name
            self._lose_extra(part.extra, where)
            return call_part(part, self._wire_name(part.name), own(part))
        if isinstance(part, ToolResult):
            return self._result(part, where, loose)
        if isinstance(part, Thinking):
            signature = own(part)
            return signed({"text": part.text, "thought": True}, signature) if signature else None
        if isinstance(part, Media):
            return self._media(part, where)
        return self._native(part, where)

    def _result(self, result: ToolResult, where: str, loose: list[dict[str, Any]]) -> dict[str, Any]:
        name = self._called.get(result.call_id, result.name)
        if not name:
            raise Failure(
                "invalid_request",
                f"'{where}' is the result of tool call '{result.call_id}', which is not "
                "in the conversation: Gemini needs the name of its tool.",
                param=where,
            )
        words = [part.text for part in result.parts if isinstance(part, Text | Refusal)]
        media: list[dict[str, Any]] = []
        for part in result.parts:
            if isinstance(part, Media):
                media.append(self._media(part, where))
            elif not isinstance(part, Text | Refusal):
                self._lose(where, "a tool's result is text and media alone")
        self._lose_extra(result.extra, where)
        response: dict[str, Any] = {
            "id": result.call_id,
            "name": self._wire_name(name),
            "response": {"error" if result.is_error else "output": "\n".join(words)},
            **members_of(result.extra),
        }
        if media and self._nested_media:
            response["parts"] = media
        else:  # models before Gemini 3 take a result's media only beside it
            loose += media
        return {"functionResponse": response}

    def _media(self, media: Media, where: str) -> dict[str, Any]:
        self._lose_extra(media.extra, where)
        part = {**write_media(media, where, self._own), **members_of(media.extra)}
        if self._own and media.detail in RESOLUTIONS:
            part["mediaResolution"] = {"level": RESOLUTIONS[media.detail]}
        return part

    def _native(self, part: Native, where: str) -> dict[str, Any] | None:
        if part.dialect == NAME:
            return dict(part.value)
        self._lose(where, "only the API it was written for knows this block")
        return None

    def _wire_name(self, name: str) -> str:
        wire = tool_name(name)
        if wire != name:
            self._sent.names[wire] = name
        return wire

    def _where(self, position: int, index: int | None = None) -> str:
        here = f"{self._root}[{position - self._apart}]" if position >= self._apart else "system"
        return here if index is None else f"{here}.{'parts' if self._own else 'content'}[{index}]"

    def _lose_extra(self, extra: Native | None, where: str) -> None:
        if extra is not None and extra.dialect != NAME:
            self._sent.losses += [Loss(f"{where}.{key}", "Gemini has no such field") for key in extra.value]

    def _lose(self, where: str, why: str) -> None:
        self._sent.losses.append(Loss(where, why))


def _pieces(content: dict[str, Any], where: str) -> list[Piece]:
    where = join(where, "parts")
    items = many(content.get("parts", []), where)
    return [read_part(item, f"{where}[{position}]") for position, item in enumerate(items)]


def _settle(pieces: list[Piece], where: str, waiting: list[ToolCall]) -> list[Part]:
    parts = [piece.part for piece in pieces]
    for position, part in enumerate(parts):
        if not isinstance(part, ToolResult):
            continue
        answered = next(
            (call for call in waiting if (call.id == part.call_id if part.call_id else call.name == part.name)), None
        )
        if answered is not None:
            waiting.remove(answered)
        part.call_id = part.call_id or (answered.id if answered else call_id(where, 0, position))
    return parts


def _sign_first_call(parts: list[dict[str, Any]]) -> None:
    first = next((part for part in parts if "functionCall" in part), None)
    if first is not None:
        first.setdefault("thoughtSignature", SKIP_VALIDATION)


def _check_answers(contents: list[dict[str, Any]], root: str) -> None:
    """Gemini counts: the turn after calls has one response for each of them, and no turn has any other."""
    asked: Counter[str] = Counter()
    for content in contents:
        given = Counter(part["functionResponse"]["id"] for part in content["parts"] if "functionResponse" in part)
        for missing in asked - given:
            raise Failure(
                "invalid_request",
                f"Tool call '{missing}' has no result in the turn after it: Gemini takes one for every call.",
                param=root,
            )
        for stray in given - asked:
            raise Failure(
                "invalid_request",
                f"The result of tool call '{stray}' does not follow that call: Gemini takes one for every call, "
                "in the turn after it.",
                param=root,
            )
        asked = Counter(part["functionCall"]["id"] for part in content["parts"] if "functionCall" in part)
