"""Measures what a dialect costs: one event of a stream, read into the canonical words and written in another dialect,
or passed through and metered; framing included.

Each figure is a ratio to bare msgspec: the decoding of that event and the encoding of the same text's event in the
dialect that is written, measured in the same rounds. Believe the ratios, not the microseconds. The bounds are 6 for a
translation and 2 for what passes through. Pairs are those that a route of the gateway can bring about.
"""

import statistics
import sys
from collections.abc import Callable
from itertools import count
from time import perf_counter
from typing import NamedTuple

import msgspec

from ailink_provider.builtin import dialects
from ailink_provider.chat import Chat, Message, Text
from ailink_provider.dialects import Operation, Sent
from ailink_provider.dialects.bedrock_converse import eventstream

TRANSLATED, PASSED = 6.0, 2.0
CLIENTS = ("openai_chat", "openai_responses", "anthropic_messages", "gemini")  # what clients of the gateway speak
CHUNKS = (1, 4, 16)  # events in a chunk, as upstreams and sockets bundle them
ROUNDS = 41
EVENTS = 192  # of each case in a round
WORDS = (" the", " gateway", " reads", ",", " writes", " and", " counts", " what", " passes", ".", " A", " token",
         " is", " four", " characters", "\n")  # fmt: skip

Run = Callable[[], None]


class Source(NamedTuple):
    """An upstream's stream: how it begins, and the delta of a text as JSON and framed."""

    opening: bytes
    delta: Callable[[str], bytes]
    frame: Callable[[bytes], bytes]


def data_line(payload: bytes) -> bytes:
    return b"data: " + payload + b"\n\n"


def crlf_line(payload: bytes) -> bytes:
    return b"data: " + payload + b"\r\n\r\n"


def named(payload: bytes) -> bytes:
    name: str = msgspec.json.decode(payload)["type"]
    return b"event: %b\ndata: %b\n\n" % (name.encode(), payload)


def line(payload: bytes) -> bytes:
    return payload + b"\n"


def binary(name: str, payload: bytes) -> bytes:
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return eventstream.encode(headers, payload)


def fill(template: bytes) -> Callable[[str], bytes]:
    """Return what puts a text into ``template``, where it says "TEXT" in quotes, and a growing number at "COUNT"."""
    numbers = count(1)
    return lambda text: template.replace(b'"TEXT"', msgspec.json.encode(text)).replace(
        b'"COUNT"', b"%d" % next(numbers)
    )


_CHUNK = (
    b'{"id":"chatcmpl-CWvTq2rLk8Zs5nXw0bYd3fGh","object":"chat.completion.chunk","created":1763000000,'
    b'"model":"gpt-5.2-2025-12-11","service_tier":"default","system_fingerprint":"fp_3bc1b5746c","choices":'
)
_RESPONSE = b'{"id":"resp_0f3a","object":"response","created_at":1763000000,"model":"gpt-5.2","status":"in_progress"}'
SOURCES = {
    "openai_chat": Source(
        data_line(_CHUNK + b'[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},'
                  b'"logprobs":null,"finish_reason":null}],"usage":null}'),
        fill(_CHUNK + b'[{"index":0,"delta":{"content":"TEXT"},"logprobs":null,"finish_reason":null}],"usage":null,'
             b'"obfuscation":"Zk3rP0aYb"}'),
        data_line,
    ),
    "openai_responses": Source(
        named(b'{"type":"response.created","sequence_number":0,"response":' + _RESPONSE + b"}")
        + named(b'{"type":"response.output_item.added","sequence_number":1,"output_index":0,"item":{"id":"msg_01",'
                b'"type":"message","status":"in_progress","role":"assistant","content":[]}}')
        + named(b'{"type":"response.content_part.added","sequence_number":2,"item_id":"msg_01","output_index":0,'
                b'"content_index":0,"part":{"type":"output_text","text":"","annotations":[],"logprobs":[]}}'),
        fill(b'{"type":"response.output_text.delta","sequence_number":"COUNT","item_id":"msg_01a2b3c4d5e6f7a8b9c0d1e2f3",'
             b'"output_index":0,"content_index":0,"delta":"TEXT","logprobs":[],"obfuscation":"Zk3rP0aYb"}'),
        named,
    ),
    "anthropic_messages": Source(
        named(b'{"type":"message_start","message":{"id":"msg_01","type":"message","role":"assistant",'
              b'"model":"claude-opus-4-6","content":[],"stop_reason":null,"stop_sequence":null,'
              b'"usage":{"input_tokens":11,"output_tokens":1}}}')
        + named(b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}'),
        fill(b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"TEXT"}}'),
        named,
    ),
    "gemini": Source(
        crlf_line(b'{"candidates":[{"content":{"parts":[{"text":"So"}],"role":"model"},"index":0}],'
                  b'"modelVersion":"gemini-3-pro-preview","responseId":"Xk8mafq5M7Wv"}'),
        fill(b'{"candidates":[{"content":{"parts":[{"text":"TEXT"}],"role":"model"},"index":0}],"usageMetadata":'
             b'{"promptTokenCount":11,"candidatesTokenCount":"COUNT","totalTokenCount":15,"promptTokensDetails":'
             b'[{"modality":"TEXT","tokenCount":11}]},"modelVersion":"gemini-3-pro-preview",'
             b'"responseId":"Xk8mafq5M7Wv"}'),
        crlf_line,
    ),
    "bedrock_converse": Source(
        binary("messageStart", b'{"p":"abcdefghijk","role":"assistant"}'),
        fill(b'{"contentBlockIndex":0,"delta":{"text":"TEXT"},"p":"abcdefghijklmnopqrstuvwxyz"}'),
        lambda payload: binary("contentBlockDelta", payload),
    ),
    "ollama": Source(
        line(b'{"model":"qwen3:8b","created_at":"2026-11-01T10:00:00.1Z","message":{"role":"assistant","content":"So"},'
             b'"done":false}'),
        fill(b'{"model":"qwen3:8b","created_at":"2026-11-01T10:00:00.123456Z","message":{"role":"assistant",'
             b'"content":"TEXT"},"done":false}'),
        line,
    ),
}  # fmt: skip


class Case(NamedTuple):
    """What is measured: a round of ``EVENTS`` events, and the same by msgspec alone."""

    name: str
    size: int
    bound: float
    run: Run
    bare: Run


def payloads(source: Source) -> list[bytes]:
    return [source.delta(WORDS[index % len(WORDS)]) for index in range(EVENTS)]


def chunks(source: Source, size: int) -> list[bytes]:
    framed = [source.frame(payload) for payload in payloads(source)]
    return [b"".join(framed[start : start + size]) for start in range(0, EVENTS, size)]


def bare(source: Source, target: Source) -> Run:
    pairs = list(zip(payloads(source), map(msgspec.json.decode, payloads(target)), strict=True))
    decode, encode = msgspec.json.decode, msgspec.json.encode

    def run() -> None:
        for read, written in pairs:
            decode(read)
            encode(written)

    return run


def chat_of(name: str) -> Operation:
    """Return a dialect's operation for streams of a chat; Gemini's is not the one that is whole."""
    operations = dialects()[name].operations
    return operations.get("chat") or next(found for found in operations.values() if found.speaks is Chat)


def translation(source_name: str, target_name: str, size: int) -> Case:
    source = SOURCES[source_name]
    chat = Chat(model="m", messages=[Message("user", [Text("Hi")])], stream=True)
    reader, writer = chat_of(source_name).reader(Sent({})), chat_of(target_name).writer(chat)
    for event in reader.feed(source.opening):
        writer.write(event)
    fed = chunks(source, size)
    assert [b"" for event in reader.feed(fed[0]) if writer.write(event)], "a delta becomes nothing"

    def run() -> None:
        for chunk in fed:
            b"".join([writer.write(event) for event in reader.feed(chunk)])

    return Case(f"{source_name} -> {target_name}", size, TRANSLATED, run, bare(source, SOURCES[target_name]))


def relay(name: str, size: int) -> Case:
    source = SOURCES[name]
    meter = chat_of(name).meter({})
    meter.feed(source.opening)
    fed = chunks(source, size)
    before = meter.measured.characters
    assert meter.feed(fed[0]) == fed[0] and meter.measured.characters > before

    def run() -> None:
        for chunk in fed:
            meter.feed(chunk)

    return Case(name, size, PASSED, run, bare(source, source))


def measure(cases: list[Case]) -> list[tuple[float, float]]:
    """Return of each case the microseconds an event and the ratio to the bare work."""
    times: list[tuple[list[float], list[float]]] = [([], []) for _ in cases]
    for _ in range(ROUNDS):
        for case, (spent, alone) in zip(cases, times, strict=True):
            for run, seconds in ((case.bare, alone), (case.run, spent)):
                began = perf_counter()
                run()
                seconds.append(perf_counter() - began)
    figures = []
    for spent, alone in times:
        middle = statistics.median(spent)
        figures.append((middle / EVENTS * 1e6, middle / statistics.median(alone)))
    return figures


def show(title: str, cases: list[Case]) -> bool:
    """Measure and print a table; return whether every case keeps its bound."""
    figures = measure(cases)
    print(f"\n{title} (at most {cases[0].bound:.0f} x a bare decode and encode; {' / '.join(map(str, CHUNKS))} events "
          "a chunk)\n")
    kept = True
    for place in range(0, len(cases), len(CHUNKS)):
        group = figures[place : place + len(CHUNKS)]
        over = any(ratio > cases[place].bound for _, ratio in group)
        kept = kept and not over
        ratios = "  ".join(f"{ratio:5.2f}" for _, ratio in group)
        micros = "  ".join(f"{spent:6.2f}" for spent, _ in group)
        print(f"  {cases[place].name:40} {ratios}    {micros} us{'  OVER' if over else ''}")
    return kept


def main() -> int:
    """Measure all; return 1 if a bound is broken."""
    passed = [relay(name, size) for name in CLIENTS for size in CHUNKS]
    pairs = [(source, target) for source in SOURCES for target in CLIENTS if source != target]
    translated = [translation(*pair, size) for pair in pairs for size in CHUNKS]
    kept = show("Passing an event through", passed)
    kept = show("Translating an event", translated) and kept
    print("\nEvery bound is kept." if kept else "\nA bound is broken.")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
