import hashlib
import hmac
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_gateway.tokens import fingerprint, mint, new_id, parse, public_id, random_base62

BASE62 = string.digits + string.ascii_letters
KNOWN = "ailink_v1_proj_default_tok_0123456789ABabcdefghijklmnopqrstuvwxyzABCDEF44ViFR"
projects = st.text(BASE62, min_size=1, max_size=32)


@given(projects)
def test_what_is_minted_parses(project: str) -> None:
    parsed = parse(mint(project))
    assert parsed is not None
    assert parsed.project == project
    assert public_id(parsed.id) == parsed.id


def test_the_format_is_fixed() -> None:
    # Tokens that are out in the world must stay valid: this one was minted once and is written down here.
    assert parse(KNOWN) == ("default", "tok_0123456789AB")


def test_tokens_differ() -> None:
    assert len({mint("default") for _ in range(100)}) == 100


def test_a_token_keeps_its_id_when_it_is_minted_again() -> None:
    name = new_id()
    first, second = mint("default", name), mint("default", name)
    assert first != second
    assert parse(first) == parse(second) == ("default", name)


@given(st.data())
def test_any_other_character_breaks_it(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(KNOWN) - 1))
    other = data.draw(st.sampled_from(BASE62 + "_- \n").filter(lambda character: character != KNOWN[place]))
    assert parse(KNOWN[:place] + other + KNOWN[place + 1:]) is None


@given(st.integers(0, len(KNOWN) - 2).filter(lambda place: KNOWN[place] != KNOWN[place + 1]))
def test_two_characters_that_change_places_break_it(place: int) -> None:
    assert parse(KNOWN[:place] + KNOWN[place + 1] + KNOWN[place] + KNOWN[place + 2:]) is None


@given(st.text() | st.text(BASE62 + "_").map(lambda text: f"ailink_v1_proj_{text}"))
def test_garbage_is_no_token(text: str) -> None:
    assert parse(text) is None


@pytest.mark.parametrize("text", [
    "", "ailink_v1_...", "ailink_v1_proj_abc123_tok_def456", KNOWN + "\n", f" {KNOWN}", KNOWN[:-1], KNOWN + "0",
    KNOWN.replace("default", ""), KNOWN.replace("default", "d" * 33), KNOWN.replace("default", "défault"),
])
def test_what_only_looks_like_a_token_is_none(text: str) -> None:
    assert parse(text) is None


def test_the_public_id_is_read_from_either_form() -> None:
    assert public_id(KNOWN) == public_id("tok_0123456789AB") == "tok_0123456789AB"
    for neither in ("nonexistent", "tok_short", "tok_0123456789AB_", KNOWN[:-1] + "x"):
        assert public_id(neither) is None


def test_the_fingerprint_is_an_hmac_of_the_whole() -> None:
    assert fingerprint(b"key", KNOWN) == hmac.new(b"key", KNOWN.encode(), hashlib.sha256).digest()
    assert fingerprint(b"other", KNOWN) != fingerprint(b"key", KNOWN)


def test_random_text_is_base62_of_the_length() -> None:
    text = random_base62(2000)
    assert len(text) == 2000
    assert set(text) == set(BASE62)
