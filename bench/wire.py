"""What goes over the wire in the benchmark: requests, the mock upstream's answers, the mark in every event of a stream.
Data only.
"""

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

MARK = b"w0rd"  # stands once in every event that carries text, in whichever dialect it is written
EVENTS, INTERVAL = 64, 0.020  # of a stream: how many, and the seconds between them
SMALL, LARGE = 600, 64 * 1024  # bytes of an answer
OPENAI_MODEL, ANTHROPIC_MODEL = "gpt-4o", "claude-sonnet-4-5"
CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"


class Ask(NamedTuple):
    """A request: where it is sent, with which headers beside the usual, and what."""

    port: int
    path: str
    headers: tuple[str, ...]
    body: bytes

    def encoded(self) -> bytes:
        """Return the request's bytes, for a connection that is kept."""
        head = "\r\n".join((
            f"POST {self.path} HTTP/1.1", f"Host: 127.0.0.1:{self.port}", "Content-Type: application/json",
            f"Content-Length: {len(self.body)}", *self.headers,
        ))  # fmt: skip
        return head.encode() + b"\r\n\r\n" + self.body


def messages(count: int) -> list[dict[str, str]]:
    """Return a conversation of so many turns, the user's first and last."""
    count += 1 - count % 2
    return [
        {"role": "assistant" if turn % 2 else "user", "content": "Summarise this contract in one sentence, please."}
        for turn in range(count)
    ]


def chat(model: str = OPENAI_MODEL, *, stream: bool = False, turns: int = 1) -> bytes:
    """Return a request of OpenAI's dialect."""
    body: dict[str, Any] = {"model": model, "messages": messages(turns), "max_tokens": 200}
    return json.dumps({**body, "stream": True} if stream else body).encode()


def anthropic(model: str = ANTHROPIC_MODEL, *, stream: bool = False, turns: int = 1) -> bytes:
    """Return a request of Anthropic's dialect."""
    return chat(model, stream=stream, turns=turns)  # of a plain conversation both say the same


def chat_answer(size: int) -> str:
    """Return an answer of OpenAI's dialect, of ``size`` bytes."""
    return _sized(
        lambda text: {
            "id": "chatcmpl-bench", "object": "chat.completion", "created": 1700000000, "model": OPENAI_MODEL,
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18},
        },
        size,
    )  # fmt: skip


def anthropic_answer(size: int) -> str:
    """Return an answer of Anthropic's dialect, of ``size`` bytes."""
    return _sized(
        lambda text: {
            "id": "msg_bench", "type": "message", "role": "assistant", "model": ANTHROPIC_MODEL,
            "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None,
            "usage": {"input_tokens": 11, "output_tokens": 7},
        },
        size,
    )  # fmt: skip


def big_events() -> tuple[bytes, list[bytes], bytes]:
    """Return a stream of OpenAI's dialect whose events have 16 KiB each."""
    return chat_events(MARK.decode() + " " + "x" * 16_384)


def chat_events(text: str = MARK.decode() + " ") -> tuple[bytes, list[bytes], bytes]:
    """Return how a stream of OpenAI's dialect begins, its events, and how it ends."""
    start = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1700000000, "model": OPENAI_MODEL}

    def event(delta: dict[str, str], finish: str | None = None) -> bytes:
        return _data({**start, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    usage = {"prompt_tokens": 11, "completion_tokens": EVENTS, "total_tokens": 11 + EVENTS}
    end = event({}, "stop") + _data({**start, "choices": [], "usage": usage}) + b"data: [DONE]\n\n"
    return event({"role": "assistant", "content": ""}), [event({"content": text})] * EVENTS, end


def anthropic_events() -> tuple[bytes, list[bytes], bytes]:
    """Return how a stream of Anthropic's dialect begins, its events, and how it ends."""
    message: dict[str, Any] = {
        "id": "msg_bench", "type": "message", "role": "assistant", "model": ANTHROPIC_MODEL, "content": [],
        "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 11, "output_tokens": 1},
    }  # fmt: skip
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    delta = {"type": "text_delta", "text": MARK.decode() + " "}
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    return (
        _named({"type": "message_start", "message": message}) + _named(block),
        [_named({"type": "content_block_delta", "index": 0, "delta": delta})] * EVENTS,
        _named({"type": "content_block_stop", "index": 0})
        + _named({"type": "message_delta", "delta": stop, "usage": {"output_tokens": EVENTS}})
        + _named({"type": "message_stop"}),
    )


def chunk(payload: bytes) -> bytes:
    """Return a payload as one chunk of HTTP/1.1."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def bearer(token: str, *more: str) -> tuple[str, ...]:
    """Return the headers of a caller."""
    return (f"Authorization: Bearer {token}", *more)


def header_arguments(headers: Sequence[str]) -> list[str]:
    """Return headers as arguments of a command line."""
    return [part for header in headers for part in ("-H", header)]


def _sized(make: Any, size: int) -> str:
    padding = size - len(json.dumps(make("")))
    return json.dumps(make("x" * padding))


def _data(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, separators=(",", ":")).encode() + b"\n\n"


def _named(event: dict[str, Any]) -> bytes:
    return b"event: %b\n%b" % (str(event["type"]).encode(), _data(event))
