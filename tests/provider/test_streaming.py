"""Handlers' pieces become whole streams of events, and are let go when nobody listens any more."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_provider.chat import (
    Event,
    Finish,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    PartDelta,
    PartEnd,
    PartStart,
    Text,
    Thinking,
    ToolCall,
    Usage,
    collect,
)
from ailink_provider.errors import Failure
from ailink_provider.streaming import Piece, as_events, text_of


async def source(*pieces: Piece | int) -> AsyncIterator[Piece]:
    for piece in pieces:
        yield piece  # type: ignore[misc]  # what is not a piece is refused


async def events(*pieces: Piece | int) -> list[Event]:
    return [event async for event in as_events(source(*pieces), "m")]


async def test_texts_become_a_whole_reply() -> None:
    made = await events("Hel", "", "lo")
    assert made == [
        MessageStart(model="m"), PartStart(0, Text("")), PartDelta(0, "Hel"), PartDelta(0, "lo"), PartEnd(0),
        MessageDelta(Finish("stop")), MessageEnd(),
    ]


async def test_texts_may_come_with_what_is_known_of_the_message() -> None:
    made = collect(await events(MessageStart("id", ""), "Hi", MessageDelta(Finish("length"), Usage(1, 2))))
    assert (made.id, made.model, made.usage) == ("id", "m", Usage(1, 2))
    assert made.choices[0].parts == [Text("Hi")] and made.choices[0].finish == Finish("length")


async def test_events_pass_as_they_are() -> None:
    given_events: list[Event] = [
        MessageStart("id", "own"), PartStart(0, ToolCall("c", "f")), PartDelta(0, "{}"), PartEnd(0),
        MessageDelta(Finish("tool_calls")), MessageEnd(),
    ]
    assert await events(*given_events) == given_events


async def test_what_events_leave_out_is_filled_in() -> None:
    made = await events(PartStart(0, ToolCall("c", "f", "{}")), PartEnd(0))
    assert made[0] == MessageStart(model="m")
    assert made[-2:] == [MessageDelta(Finish("tool_calls")), MessageEnd()]


async def test_nothing_is_a_reply_without_words() -> None:
    assert await events() == [MessageStart(model="m"), MessageDelta(Finish("stop")), MessageEnd()]


async def test_nothing_follows_the_end() -> None:
    assert (await events("a", MessageEnd(), "b"))[-1] == MessageEnd()
    assert PartDelta(0, "b") not in await events("a", MessageEnd(), "b")


async def test_an_error_is_raised_after_what_came_before() -> None:
    seen = []
    with pytest.raises(Failure, match="gone"):
        async for event in as_events(source("a", MessageError(Failure("upstream_failed", "gone"))), "m"):
            seen.append(event)
    assert seen[-1] == PartDelta(0, "a")


@pytest.mark.parametrize("pieces", [(1,), ("a", 1), ("a", PartStart(0, Text(""))), (PartStart(0, Text("")), "a")])
async def test_what_is_no_stream_is_refused(pieces: tuple[Piece | int, ...]) -> None:
    with pytest.raises(Failure) as caught:
        await events(*pieces)
    assert caught.value.code == "internal_error"


@given(st.lists(st.text()))
async def test_every_text_arrives(texts: list[str]) -> None:
    assert "".join([text async for text in text_of(as_events(source(*texts), "m"))]) == "".join(texts)


async def test_text_of_is_the_first_choices_text() -> None:
    parts: list[Event] = [
        MessageStart(), PartStart(0, Thinking("")), PartDelta(0, "hm"), PartStart(1, Text("A")), PartDelta(1, "b"),
        PartStart(0, Text("other"), choice=1), PartDelta(0, "x", choice=1), PartDelta(1, ""), MessageEnd(),
    ]
    assert [text async for text in text_of(source(*parts))] == ["A", "b"]  # type: ignore[arg-type]
    with pytest.raises(Failure, match="gone"):
        [text async for text in text_of(source(MessageError(Failure("upstream_failed", "gone"))))]  # type: ignore[arg-type]


async def test_who_stops_listening_closes_the_source() -> None:
    closed = []

    async def endless() -> AsyncIterator[Piece]:
        try:
            while True:
                yield "x"
        finally:
            closed.append(True)

    stream = text_of(as_events(endless(), "m"))
    assert await anext(stream) == "x"
    await stream.aclose()
    assert closed
