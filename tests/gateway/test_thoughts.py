"""What is noted of a model's turn, and what of it is put back into a history that lacks it."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_gateway.thoughts import Called, Notes, Said, Turn, restore, turn_of, turns_of
from ailink_provider.chat import (
    Chat,
    Choice,
    Message,
    MessageEnd,
    MessageError,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Reply,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    unfold,
)
from ailink_provider.errors import Failure

OWN, MODEL = "own", "m-1"
USER = Message("user", [Text("Weather?")])


def thought(text: str = "hm", signature: str | None = "sig", signed_by: str | None = OWN, **more: Any) -> Thinking:
    return Thinking(text, signature, signed_by=signed_by, **more)


def call(identifier: str, signature: str | None = None, signed_by: str | None = None) -> ToolCall:
    return ToolCall(identifier, "weather", '{"city":"Paris"}', signature=signature, signed_by=signed_by)


def kept(*parts: Part) -> Turn:
    turn = turn_of(parts, OWN, MODEL)
    assert turn is not None
    return turn


def restored(turn: Turn | None, *messages: list[Part]) -> list[list[Part]]:
    """What becomes of assistant messages with these parts when ``turn`` is known by all of its calls."""
    chat = Chat("m", [USER, *(Message("assistant", parts) for parts in messages)])
    restore(chat, OWN, lambda identifier: turn if turn is not None and identifier in turn.calls else None)
    return [message.parts for message in chat.messages[1:]]


class TestWhatIsKept:
    """Turns that called tools, and of them what has a proof."""

    def test_thoughts_calls_and_the_places_of_the_rest(self) -> None:
        hidden = Thinking(redacted="r", signed_by=OWN)
        turn = kept(thought(), hidden, Text("Let me see."), thought("and"), call("a", "s", OWN), call("b"))
        assert turn == Turn(
            OWN, MODEL, (thought(), hidden, Said(), thought("and"), Called("a", "s"), Called("b"))
        )

    @pytest.mark.parametrize(
        "parts",
        [
            [thought(), Text("Sunny.")],
            [call("a")],
            [thought(signature=None), call("a")],
            [thought(signed_by="other"), call("a", "s", "other")],
            [thought(signed_by=None), call("a")],
        ],
        ids=["no call", "no thought", "unsigned", "another's", "nobody's"],
    )
    def test_nothing_else(self, parts: list[Part]) -> None:
        assert turn_of(parts, OWN, MODEL) is None

    def test_each_choice_of_a_reply_has_a_turn(self) -> None:
        reply = Reply(choices=[Choice([thought(), call("a")]), Choice([Text("x")]), Choice([thought("b"), call("b")])])
        assert turns_of(reply, OWN, MODEL) == [kept(thought(), call("a")), kept(thought("b"), call("b"))]

    def test_a_stream_tells_the_same(self) -> None:
        notes = Notes(OWN, MODEL)
        events = [
            PartStart(0, Thinking("", signed_by=OWN)), PartDelta(0, "h"), PartDelta(0, "m"),
            PartDelta(0, signature="sig"), PartEnd(0), PartStart(1, Text("Let")), PartDelta(1, " me see."), PartEnd(1),
            PartStart(2, call("a")), PartStart(3, call("b")), PartDelta(3, '{"'), PartDelta(2, "{}"), PartEnd(2),
            PartEnd(3),
        ]  # fmt: skip
        assert [turn for event in events for turn in notes.feed(event)] == []
        assert notes.feed(MessageEnd()) == [kept(thought(), Text("x"), call("a"), call("b"))]

    def test_a_stream_that_broke_leaves_nothing(self) -> None:
        notes = Notes(OWN, MODEL)
        for event in (PartStart(0, thought()), PartEnd(0), PartStart(1, call("a", "s", OWN)), PartEnd(1)):
            assert notes.feed(event) == []
        assert notes.feed(MessageError(Failure("upstream_failed", "gone"))) == []


class TestWhatIsPutBack:
    """The proof that a history lacks, where it was."""

    def test_a_signature_of_a_call(self) -> None:
        assert restored(kept(call("a", "s", OWN), call("b")), [call("a"), call("b")]) == [
            [call("a", "s", OWN), call("b")]
        ]

    def test_thoughts_in_their_order(self) -> None:
        parts: list[Part] = [thought("1"), Text("so"), thought("2"), call("a"), thought("3"), call("b")]
        assert restored(kept(*parts), [Text("so"), call("a"), call("b")]) == [parts]

    def test_texts_that_the_client_joined_stay_joined(self) -> None:
        turn = kept(thought("1"), Text("so"), thought("2"), Text(" there"), call("a"))
        assert restored(turn, [Text("so there"), call("a")]) == [
            [thought("1"), Text("so there"), thought("2"), call("a")]
        ]

    def test_a_turn_that_the_client_cut_is_restored_once(self) -> None:
        turn = kept(thought("1"), Text("so"), thought("2"), call("a"), call("b"))
        assert restored(turn, [Text("so")], [call("a")], [call("b")]) == [
            [thought("1"), Text("so")], [thought("2"), call("a")], [call("b")]
        ]  # fmt: skip

    def test_a_call_that_the_client_left_out_takes_no_thought_with_it(self) -> None:
        turn = kept(thought("1"), call("a"), thought("2"), call("b"))
        assert restored(turn, [call("b")]) == [[thought("1"), thought("2"), call("b")]]

    def test_a_thought_that_lost_its_proof_gives_way(self) -> None:
        turn = kept(thought(), call("a"))
        bare = Thinking("hm", signed_by="openai_chat")
        assert restored(turn, [bare, Thinking("hm", signed_by=OWN), call("a")]) == [[thought(), call("a")]]

    def test_what_the_client_sends_back_itself_wins(self) -> None:
        echoed: list[Part] = [thought("mine", "other sig"), call("a", "my signature", OWN)]
        assert restored(kept(thought(), call("a", "s", OWN)), list(echoed)) == [echoed]
        hidden: list[Part] = [Thinking(redacted="mine", signed_by=OWN), call("a")]
        assert restored(kept(thought(), call("a")), list(hidden)) == [hidden]

    def test_nothing_for_a_call_that_is_not_known(self) -> None:
        parts: list[Part] = [Text("so"), call("a")]
        assert restored(None, list(parts)) == [parts]

    def test_each_turn_of_a_conversation_its_own(self) -> None:
        turns = {"a": kept(thought("1"), call("a")), "b": kept(thought("2"), call("b"))}
        chat = Chat("m", [
            USER, Message("assistant", [call("a")]), Message("user", [ToolResult("a")]),
            Message("assistant", [call("b")]), Message("user", [ToolResult("b")]),
        ])  # fmt: skip
        restore(chat, OWN, turns.get)
        assert [message.parts for message in chat.messages if message.role == "assistant"] == [
            [thought("1"), call("a")], [thought("2"), call("b")]
        ]  # fmt: skip

    def test_what_is_put_back_is_a_copy(self) -> None:
        turn = kept(thought(), call("a"))
        [parts] = restored(turn, [call("a")])
        assert isinstance(parts[0], Thinking)
        parts[0].text = "changed"
        assert turn == kept(thought(), call("a"))


words = st.text(min_size=1, max_size=5)
thoughts = st.builds(thought, words, words) | st.builds(lambda data: Thinking(redacted=data, signed_by=OWN), words)


@st.composite
def turns(draw: st.DrawFn) -> list[Part]:
    """Parts as a model orders them: no two texts in a row, calls with ids of their own."""
    parts: list[Part] = []
    for number, kind in enumerate(draw(st.lists(st.sampled_from(["thought", "text", "call"]), max_size=8))):
        if kind == "call":
            signature = draw(st.none() | words)
            parts.append(call(f"c{number}", signature, OWN if signature else None))
        elif kind == "thought":
            parts.append(draw(thoughts))
        elif not (parts and isinstance(parts[-1], Text)):
            parts.append(Text(draw(words)))
    return parts


@given(turns(), st.data())
def test_whatever_was_lost_comes_back_in_its_place(parts: list[Part], data: st.DataObject) -> None:
    turn = turn_of(parts, OWN, MODEL)
    left: list[Part] = [
        call(part.id) if isinstance(part, ToolCall) else part for part in parts if not isinstance(part, Thinking)
    ]
    if turn is None or left == parts:
        assert restored(turn, list(left)) == [left]
        return
    cut = data.draw(st.integers(0, len(left)))
    pieces = [piece for piece in (left[:cut], left[cut:]) if piece]
    found = [part for message in restored(turn, *pieces) for part in message]
    # A thought at the very end led to nothing: it need not come back.
    while parts and isinstance(parts[-1], Thinking):
        parts.pop()
    assert found == parts


@given(turns())
def test_a_stream_and_a_whole_reply_leave_the_same(parts: list[Part]) -> None:
    reply = Reply(choices=[Choice(parts)])
    notes = Notes(OWN, MODEL)
    assert [turn for event in unfold(reply) for turn in notes.feed(event)] == turns_of(reply, OWN, MODEL)
