"""Turns are kept for their tenant alone, within bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_gateway.backends.thoughts import MemoryThoughts
from ailink_gateway.grant import Grant
from ailink_gateway.thoughts import Called, Turn
from ailink_provider.chat import Thinking

ADA, BOB = "ada", "bob"


def turn(*calls: str, text: str = "hm") -> Turn:
    return Turn("own", "m-1", (Thinking(text, "sig", signed_by="own"), *map(Called, calls)))


class Clock:
    """Monotonic seconds that move when they are told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_turn_is_found_by_each_of_its_calls() -> None:
    thoughts = MemoryThoughts()
    thoughts.keep(ADA, turn("a", "b"))
    assert thoughts.find(ADA, "a") == thoughts.find(ADA, "b") == turn("a", "b")
    assert thoughts.find(ADA, "c") is None


def test_another_tenant_finds_nothing() -> None:
    thoughts = MemoryThoughts()
    thoughts.keep(ADA, turn("a"))
    assert thoughts.find(BOB, "a") is None
    assert thoughts.find("anonymous:ada", "a") is None


def test_a_project_is_never_taken_for_a_token_of_its_name() -> None:
    token = Grant(token_id="x", token_name="t", project_id="p")
    anonymous = Grant(token_id=None, token_name="anonymous", project_id="x")
    assert token.tenant != anonymous.tenant
    assert anonymous.tenant == Grant(token_id=None, token_name="other", project_id="x").tenant
    assert token.tenant != Grant(token_id="y", token_name="t", project_id="p").tenant


def test_the_turn_that_was_not_asked_for_longest_goes_first() -> None:
    thoughts = MemoryThoughts(turns=2)
    thoughts.keep(ADA, turn("a"))
    thoughts.keep(ADA, turn("b"))
    assert thoughts.find(ADA, "a") is not None
    thoughts.keep(BOB, turn("c"))
    assert [thoughts.find(*key) is not None for key in ((ADA, "a"), (ADA, "b"), (BOB, "c"))] == [True, False, True]


def test_bytes_are_bounded() -> None:
    thoughts = MemoryThoughts(total_bytes=10_000)
    for number in range(10):
        thoughts.keep(ADA, turn(f"c{number}", text="x" * 2000))
    found = [number for number in range(10) if thoughts.find(ADA, f"c{number}") is not None]
    assert found == [7, 8, 9]


def test_a_turn_that_is_too_large_is_not_kept() -> None:
    thoughts = MemoryThoughts(turn_bytes=10_000)
    thoughts.keep(ADA, turn("a", text="x" * 10_000))
    thoughts.keep(ADA, turn("b", text="😀" * 2_400))  # four bytes each in memory
    thoughts.keep(ADA, turn("c"))
    assert [thoughts.find(ADA, call) is not None for call in "abc"] == [False, False, True]


def test_a_turn_that_nobody_asks_for_is_forgotten(clock: Clock) -> None:
    thoughts = MemoryThoughts(idle_seconds=60, clock=clock)
    thoughts.keep(ADA, turn("a"))
    thoughts.keep(ADA, turn("b"))
    clock.now = 50
    assert thoughts.find(ADA, "a") is not None
    clock.now = 100
    assert thoughts.find(ADA, "a") is not None
    assert thoughts.find(ADA, "b") is None


def test_the_newest_turn_has_a_call_that_two_claim() -> None:
    thoughts = MemoryThoughts()
    thoughts.keep(ADA, turn("a", "b", text="old"))
    thoughts.keep(ADA, turn("a", text="new"))
    assert thoughts.find(ADA, "a") == turn("a", text="new")
    assert thoughts.find(ADA, "b") is None


@given(
    st.lists(
        st.tuples(
            st.sampled_from([ADA, BOB]),
            st.lists(st.sampled_from("abcdef"), min_size=1, max_size=3),
            st.integers(0, 3000),
            st.integers(0, 40),
            st.sampled_from("abcdef"),
        ),
        max_size=30,
    )
)
def test_whatever_happens_it_stays_within_its_bounds(
    steps: list[tuple[str, list[str], int, int, str]],
) -> None:
    clock = Clock()
    thoughts = MemoryThoughts(turns=4, total_bytes=9000, turn_bytes=4000, idle_seconds=60, clock=clock)
    kept: dict[tuple[str, str], Turn] = {}
    for tenant, calls, size, seconds, asked in steps:
        clock.now += seconds
        made = turn(*calls, text="x" * size)
        thoughts.keep(tenant, made)
        kept |= {(tenant, call): made for call in calls}
        assert thoughts.find(tenant, asked) in (None, kept.get((tenant, asked)))
        found = {id(entry): entry for entry in thoughts._by_call.values()}
        assert found.keys() == set(map(id, thoughts._by_use))
        assert len(found) <= 4
        assert thoughts._size == sum(entry.size for entry in found.values()) <= 9000
