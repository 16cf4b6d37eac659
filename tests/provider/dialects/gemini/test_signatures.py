"""Thought signatures of other vendors, kept by clients that speak Gemini."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from ailink_provider.chat import Chat, Choice, Finish, Part, Reply, Text, Thinking, ToolCall

PARTS: list[Part] = [
    Thinking("Let me think.", "c2ln+/==", signed_by="anthropic_messages"),
    Thinking(redacted="hidden", signed_by="anthropic_messages"),
    Text("Hi"),
    ToolCall("c", "f", "{}", signature="any text", signed_by="openai_responses"),
    ToolCall("d", "f", "{}", signature="b3du", signed_by="gemini"),
]


def echo(chats: Any, parts: list[dict[str, Any]]) -> list[Part]:
    contents = [{"parts": [{"text": "Hi"}]}, {"role": "model", "parts": parts}]
    found: list[Part] = chats.read_request({"contents": contents}, "m", False).messages[1].parts
    return found


def test_they_come_back_as_they_were(chats: Any, chat: Callable[..., Chat]) -> None:
    body = chats.write_reply(Reply(choices=[Choice(PARTS, Finish("tool_calls"))]), chat())
    parts = body["candidates"][0]["content"]["parts"]
    assert echo(chats, parts) == PARTS
    # Google's SDK takes them for bytes and sends them back in the URL-safe alphabet.
    for part in parts:
        if "thoughtSignature" in part:
            decoded = base64.b64decode(part["thoughtSignature"], validate=True)
            part["thoughtSignature"] = base64.urlsafe_b64encode(decoded).decode()
    assert echo(chats, parts) == PARTS


@pytest.mark.parametrize("signature", ["YWlsaW5r", "YWlsaW5rWzFd", "YWlsaW5r!!!!", "YWlsaW5ré", "plain"])
def test_what_only_looks_sealed_is_geminis(chats: Any, signature: str) -> None:
    assert echo(chats, [{"text": "x", "thought": True, "thoughtSignature": signature}]) == [
        Thinking("x", signature, signed_by="gemini")
    ]
