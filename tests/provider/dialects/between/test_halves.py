"""Half a character, as an upstream's JSON has it where a text was cut within a surrogate pair: it costs no more than
itself.
"""

from typing import Any

import pytest

from ailink_provider.chat import MessageEnd, Text, collect
from ailink_provider.dialects import Sent
from ailink_provider.dialects.anthropic_messages import DIALECT as ANTHROPIC
from ailink_provider.dialects.gemini import DIALECT as GEMINI
from ailink_provider.dialects.halves import decode, mended
from ailink_provider.dialects.ollama import DIALECT as OLLAMA
from ailink_provider.dialects.openai_chat import DIALECT as OPENAI
from ailink_provider.dialects.openai_responses import DIALECT as RESPONSES

FIRST, SECOND = rb"a\uD83D", rb"\ude00b"


def chat(text: bytes) -> bytes:
    return b'data: {"id":"i","model":"m","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text


def claude(text: bytes) -> bytes:
    return b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta",' \
        b'"text":"%b"}}\n\n' % text


def google(text: bytes, end: bytes = b"") -> bytes:
    return b'data: {"candidates":[{"content":{"role":"model","parts":[{"text":"%b"}]}%b}]}\n\n' % (text, end)


def llama(text: bytes, done: bytes = b"false") -> bytes:
    return b'{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":"%b"},' \
        b'"done":%b,"done_reason":"stop"}\n' % (text, done)


def response(text: bytes) -> bytes:
    return b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":3,' \
        b'"item_id":"x","output_index":0,"content_index":0,"delta":"%b"}\n\n' % text


STREAMS: dict[str, tuple[Any, bytes]] = {
    "openai": (OPENAI, chat(FIRST) + chat(SECOND)
               + b'data: {"id":"i","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'),
    "anthropic": (ANTHROPIC, b'data: {"type":"message_start","message":{"id":"i","model":"m"}}\n\n'
                  b'data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
                  + claude(FIRST) + claude(SECOND)
                  + b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"}}\n\n'
                  b'data: {"type":"message_stop"}\n\n'),
    "gemini": (GEMINI, google(FIRST) + google(SECOND, b',"finishReason":"STOP"')),
    "ollama": (OLLAMA, llama(FIRST) + llama(SECOND) + llama(b"", b"true")),
    "responses": (RESPONSES, b'data: {"type":"response.created","sequence_number":0,"response":{"id":"i"}}\n\n'
                  b'data: {"type":"response.output_item.added","sequence_number":1,"output_index":0,'
                  b'"item":{"type":"message","id":"x","content":[]}}\n\n'
                  b'data: {"type":"response.content_part.added","sequence_number":2,"output_index":0,'
                  b'"content_index":0,"item_id":"x","part":{"type":"output_text","text":""}}\n\n'
                  + response(FIRST) + response(SECOND)
                  + b'data: {"type":"response.completed","sequence_number":5,"response":{"id":"i",'
                  b'"status":"completed","usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}}\n\n'),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_goes_on(name: str) -> None:
    dialect, stream = STREAMS[name]
    reader = dialect.operations["chat" if "chat" in dialect.operations else "responses"].reader(Sent({}))
    events = [*reader.feed(stream), *reader.close()]
    assert events[-1] == MessageEnd()
    assert [part.text for part in collect(events).choices[0].parts if isinstance(part, Text)] == ["a��b"]


@pytest.mark.parametrize("name", [name for name in STREAMS if name != "ollama"])
def test_a_stream_that_passes_is_counted_and_stays_as_it_is(name: str) -> None:
    dialect, stream = STREAMS[name]
    meter = dialect.operations["chat" if "chat" in dialect.operations else "responses"].meter({})
    assert meter.feed(stream) + meter.close() == stream
    assert (meter.measured.complete, meter.measured.failure) == (True, None)


@pytest.mark.parametrize(("text", "read"), [
    (rb"\ud83d\ude00", "\U0001f600"), (rb"\uD83D\uDE00\uD83D", "\U0001f600�"), (rb"\ude00\ud83d", "��"),
    (rb"\\ud83d", "\\ud83d"), (rb"\\\ud83d\"", "\\�\""), (rb"\ud83d\ud83d\ude00", "�\U0001f600"),
    (rb"\u00e9\n\ud7ff\ue000", "\u00e9\n\ud7ff\ue000"),
])
def test_only_halves_are_replaced(text: bytes, read: str) -> None:
    assert decode(b'"%b"' % text) == read
    assert len(mended(text)) == len(text)
