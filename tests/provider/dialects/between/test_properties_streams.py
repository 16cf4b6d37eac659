"""Any reply survives being streamed, chopped, framed otherwise and translated.

What must survive, as ``essence`` writes it down, choice by choice: what is said; what is thought, and its signatures
where it stays among its own; every call with its id, its name and its arguments as equal JSON, in order; why the choice
ended; and the tokens of input and output, of those read from a cache and of reasoning. A dialect without refusals tells
them as text, one with a single choice tells the first; what else a dialect has no words for is in ``UNSAID``.
"""

from collections.abc import Collection, Iterator
from itertools import pairwise, product
from typing import Any

import msgspec
import pytest
from hypothesis import given as whatever
from hypothesis import settings
from hypothesis import strategies as st

from ailink_provider.chat import (
    Chat,
    Choice,
    Event,
    Finish,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    PartDelta,
    PartEnd,
    PartStart,
    Reasoning,
    Refusal,
    Reply,
    Text,
    Thinking,
    ToolCall,
    Usage,
    collect,
    unfold,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.bedrock_converse.eventstream import Frames
from ailink_provider.errors import Failure
from ailink_provider.registry import dialects

from .conftest import OUTBOUND, frame

CHATS = {name: dialects()[name].operations["chat"] for name in OUTBOUND}
WAYS = list(product(CHATS, CHATS))
ASKED = Chat("m", [], stream=True, include_usage=True, reasoning=Reasoning(visible=True))
CHOICES = {name: 3 if name in ("openai_chat", "gemini") else 1 for name in CHATS}
COMMENT = {"anthropic_messages": b'event: ping\ndata: {"type":"ping"}\n\n'}
# In Responses a signature is an item of the vendor's, sealed once more whenever it is given to a client, and an answer
# with a refusal in it is as complete as any other.
UNSAID: dict[str, set[str]] = {
    "openai_responses": {"signatures", "content_filter"}, "bedrock_converse": {"reasoning"},
    "ollama": {"reasoning", "cached", "signatures", "content_filter"},
}

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
pieces = st.lists(words, min_size=1, max_size=3)
ids = st.from_regex(r"[a-zA-Z0-9_-]{1,20}", fullmatch=True)
json_values = st.none() | st.booleans() | st.integers(-9, 9) | words
arguments = st.dictionaries(words, json_values, max_size=2).map(lambda value: msgspec.json.encode(value).decode())
signatures = st.sampled_from(["c2lnbjE=", "c2lnbjI="])
usages = st.builds(
    lambda fresh, cached, said, thought: Usage(fresh + cached, said + thought, cached, reasoning_tokens=thought),
    *[st.integers(0, 10**6)] * 4)

Lane = list[Any]  # of parts, texts and None: a part begins, grows, ends


@st.composite
def said(draw: st.DrawFn, dialect: str) -> Lane:
    """What is thought and said, one after the other."""
    if draw(st.integers(0, 5)) == 0:
        return [Refusal(""), *draw(pieces), None]
    lane: Lane = []
    for kind in draw(st.lists(st.sampled_from(["text", "thought", "signed"]), max_size=3)):
        if kind == "text":
            lane += [Text(""), *draw(pieces), None]
        elif kind == "thought":
            lane += [Thinking(), *draw(pieces), None]
        else:
            lane += [Thinking(signed_by=dialect), *draw(pieces), PartDelta(0, signature=draw(signatures)), None]
    return lane


@st.composite
def called(draw: st.DrawFn) -> Lane:
    """A call, its arguments in pieces."""
    text = draw(arguments | st.just(""))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=2)))
    return [ToolCall(draw(ids), draw(words)), *(text[a:b] for a, b in pairwise([0, *cuts, len(text)])), None]


def steps(lane: Lane, choice: int, count: Iterator[int]) -> Iterator[Event]:
    """Yield the events of a lane; parts are numbered as they begin."""
    index = 0
    for item in lane:
        if item is None:
            yield PartEnd(index, choice)
        elif isinstance(item, str):
            yield PartDelta(index, item, choice=choice)
        elif isinstance(item, PartDelta):
            yield PartDelta(index, signature=item.signature, choice=choice)
        else:
            index = next(count)
            yield PartStart(index, item, choice)


@st.composite
def streams(draw: st.DrawFn, dialect: str) -> list[Event]:
    """Any reply, as events: in each choice any number of calls beside what is thought and said, all mixed."""
    lanes: list[Iterator[Event]] = []
    finishes: list[Event] = []
    for choice in range(draw(st.integers(1, CHOICES[dialect]))):
        calls = draw(st.lists(called(), max_size=3, unique_by=lambda lane: lane[0].id))
        count = iter(range(100))
        lanes += [steps(lane, choice, count) for lane in (draw(said(dialect)), *calls)]
        reason = draw(st.sampled_from(["tool_calls", "length"] if calls else ["stop", "length", "content_filter"]))
        finishes.append(MessageDelta(Finish(reason), choice=choice))
    events: list[Event] = [MessageStart("r1", "m1", 1_760_000_000)]
    while lanes:
        lane = draw(st.sampled_from(lanes))
        event = next(lane, None)
        if event is None:
            lanes.remove(lane)
            continue
        events.append(event)
        thinks = isinstance(event, PartStart) and isinstance(event.part, Thinking)
        while thinks and not isinstance(events[-1], PartEnd):  # no model calls a tool in the middle of a thought
            events.append(next(lane))
    return [*events, *finishes, MessageDelta(usage=draw(usages)), MessageEnd()]


def essence(reply: Reply, unsaid: Collection[str] = (), *, first: bool = False) -> Any:
    """Return what of a reply must survive, but for what is ``unsaid``."""
    found = []
    for choice in reply.choices[:1] if first else reply.choices:
        thoughts = [part for part in choice.parts if isinstance(part, Thinking)]
        reason = choice.finish and choice.finish.reason
        found.append({
            "said": "".join(part.text for part in choice.parts if isinstance(part, Text | Refusal)),
            "thought": "".join(part.text for part in thoughts),
            "signatures": [] if "signatures" in unsaid else [part.signature for part in thoughts if part.signature],
            "calls": [(part.id, part.name, msgspec.json.decode(part.arguments or "{}")) for part in choice.parts
                      if isinstance(part, ToolCall)],
            "finish": "stop" if reason in unsaid else reason,
        })
    return found, counted(reply.usage or Usage(), unsaid)


def counted(usage: Usage, unsaid: Collection[str]) -> tuple[int, ...]:
    """Return the tokens of input and output, those read from a cache and those of reasoning."""
    return (usage.input_tokens, usage.output_tokens, 0 if "cached" in unsaid else usage.cache_read_tokens,
            0 if "reasoning" in unsaid else usage.reasoning_tokens)


def unsaid_by(*names: str) -> set[str]:
    """Return what does not survive the way through these dialects; a signature never leaves its own."""
    return set().union(*(UNSAID.get(name, set()) for name in names), {"signatures"} if len(set(names)) > 1 else set())


def write(dialect: str, events: list[Event]) -> bytes:
    writer = CHATS[dialect].writer(ASKED)
    return b"".join([writer.write(event) for event in events])


def read(dialect: str, *chunks: bytes) -> list[Event]:
    reader = CHATS[dialect].reader(Sent({}))
    return [event for chunk in chunks for event in reader.feed(chunk)] + reader.close()


def noisy(dialect: str, stream: bytes, comments: bool, returns: bool) -> bytes:
    """Return a stream as other servers might frame it: with what is to be passed over, with other ends of lines."""
    if dialect == "bedrock_converse":
        later = frame(dialect, {"laterEvent": {"p": "abc"}}) if comments else b""
        return b"".join(found.raw + later for found in Frames().feed(stream))
    stream = stream.replace(b"\r\n", b"\n")
    if comments and dialect == "ollama":
        stream = stream.replace(b"\n", b"\n\n")
    elif comments:
        stream = stream.replace(b"\n\n", b"\n\n" + COMMENT.get(dialect, b": still here\n\n"))
    return stream.replace(b"\n", b"\r\n") if returns else stream


@pytest.mark.parametrize("dialect", CHATS)
@settings(max_examples=40, deadline=None)
@whatever(st.data())
def test_what_is_written_reads_back_however_it_is_chopped(dialect: str, data: st.DataObject) -> None:
    events = data.draw(streams(dialect))
    comments, returns = data.draw(st.booleans()), data.draw(st.booleans())
    stream = noisy(dialect, write(dialect, events), comments, returns)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    chunks = [stream[a:b] for a, b in pairwise([0, *cuts, len(stream)])]
    heard = read(dialect, *chunks)
    unsaid = unsaid_by(dialect)
    assert essence(collect(heard), unsaid) == essence(collect(events), unsaid)
    meter = CHATS[dialect].meter({"stream_options": msgspec.Raw(b'{"include_usage":true}')})
    forwarded = b"".join([*map(meter.feed, chunks), meter.close()])
    # A comment before the first event need not travel on.
    assert forwarded == stream or (comments and read(dialect, forwarded) == heard)
    assert (meter.measured.complete, meter.measured.failure) == (True, None)
    usage, expected = meter.measured.usage, collect(heard).usage
    assert usage == expected


@pytest.mark.parametrize(("first", "second"), WAYS)
@settings(max_examples=8, deadline=None)
@whatever(st.data())
def test_streamed_or_whole_a_translation_says_the_same(first: str, second: str, data: st.DataObject) -> None:
    events = data.draw(streams(first))
    single = CHOICES[second] == 1
    unsaid = unsaid_by(first, second)
    expected = essence(collect(events), unsaid, first=single or CHOICES[first] == 1)
    heard = read(first, write(first, events))
    streamed = collect(read(second, write(second, heard)))
    body = msgspec.json.decode(msgspec.json.encode(CHATS[second].write_reply(collect(heard), ASKED)))
    whole = CHATS[second].read_reply(body, Sent({}))
    assert essence(streamed, unsaid) == expected
    assert essence(whole, unsaid) == expected


@pytest.mark.parametrize(("first", "second"), WAYS)
@settings(max_examples=8, deadline=None)
@whatever(usage=usages)
def test_totals_of_tokens_survive_there_and_back(first: str, second: str, usage: Usage) -> None:
    reply = Reply("r1", "m1", 1, [Choice([Text("x")], Finish("stop"))], usage)
    for dialect in (first, second, first):
        reply = collect(read(dialect, write(dialect, [*unfold(reply)])))
        assert reply.usage is not None
        assert counted(reply.usage, unsaid_by(first, second)) == counted(usage, unsaid_by(first, second))


INTERLEAVED: list[Event] = [
    MessageStart("r1", "m1", 1), PartStart(0, Thinking(signed_by="anthropic_messages")), PartDelta(0, "Hm."),
    PartDelta(0, signature="c2lnbjE="), PartEnd(0), PartStart(1, Text("")), PartDelta(1, "One"),
    PartStart(2, ToolCall("a", "f")), PartDelta(2, '{"x":'), PartStart(3, ToolCall("b", "g")), PartDelta(1, " two"),
    PartDelta(3, "{}"), PartDelta(2, "1}"), PartEnd(3), PartEnd(2), PartEnd(1), MessageDelta(Finish("tool_calls")),
    MessageDelta(usage=Usage(1, 2)), MessageEnd(),
]


@pytest.mark.parametrize("dialect", CHATS)
@pytest.mark.parametrize("boundary", range(len(INTERLEAVED)))
def test_an_error_at_any_boundary_ends_the_stream(dialect: str, boundary: int) -> None:
    failure = Failure("upstream_overloaded", "Too busy.")
    heard = read(dialect, write(dialect, [*INTERLEAVED[:boundary], MessageError(failure)]))
    assert not any(isinstance(event, MessageEnd | MessageError) for event in heard[:-1])
    assert isinstance(heard[-1], MessageError)
    # An error of Ollama's is a text and nothing else.
    code = "upstream_failed" if dialect == "ollama" else "upstream_overloaded"
    assert (heard[-1].failure.code, heard[-1].failure.message) == (code, "Too busy.")


@pytest.mark.parametrize("boundary", range(len(INTERLEAVED)))
def test_an_error_at_any_boundary_ends_an_array(boundary: int) -> None:
    writer = dialects()["gemini"].operations["chat_array"].writer(ASKED)
    events = [*INTERLEAVED[:boundary], MessageError(Failure("upstream_overloaded", "Too busy."))]
    elements = msgspec.json.decode(b"".join(map(writer.write, events)))
    assert elements[-1]["error"]["message"] == "Too busy."


@pytest.mark.parametrize("dialect", CHATS)
def test_cut_at_every_byte(upstream_of: Any, dialect: str) -> None:
    stream = upstream_of(dialect)
    expected = read(dialect, stream)
    assert isinstance(expected[-1], MessageEnd)
    assert read(dialect, *(stream[place:place + 1] for place in range(len(stream)))) == expected
    for cut in range(1, len(stream), max(1, len(stream) // 2500)):  # each of two pieces; above, each of single bytes
        head, tail = stream[:cut], stream[cut:]
        assert read(dialect, head, tail) == expected
        meter = CHATS[dialect].meter({"stream_options": msgspec.Raw(b'{"include_usage":true}')})
        assert meter.feed(head) + meter.feed(tail) + meter.close() == stream
