"""What a person cannot see, or is led astray by, is named; all else is left as it is."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_gateway.visible import hidden, name, pieces, shown


@pytest.mark.parametrize(("text", "expected"), [
    ("plain text", "plain text"), ("Grüße, 你好 🎉", "Grüße, 你好 🎉"), ("שלום", "שלום"),
    ("a\u200bb", "a[U+200B ZERO WIDTH SPACE]b"), ("\u202egpj.exe", "[U+202E RIGHT-TO-LEFT OVERRIDE]gpj.exe"),
    ("\u2066x\u2069", "[U+2066 LEFT-TO-RIGHT ISOLATE]x[U+2069 POP DIRECTIONAL ISOLATE]"),
    ("a\nb", "a[U+000A]b"), ("\x1b[31m", "[U+001B][31m"), ("\u00ad", "[U+00AD SOFT HYPHEN]"),
    ("\U000e0061", "[U+E0061 TAG LATIN SMALL LETTER A]"), ("\ufeff", "[U+FEFF ZERO WIDTH NO-BREAK SPACE]"),
    ("\u3164", "[U+3164 HANGUL FILLER]"), ("\u2800", "[U+2800 BRAILLE PATTERN BLANK]"),
    ("\u00a0", "[U+00A0 NO-BREAK SPACE]"), ("\ufe0f", "[U+FE0F VARIATION SELECTOR-16]"), ("\ud800", "[U+D800]"),
    ("\u2028", "[U+2028 LINE SEPARATOR]"), ("\ue000", "[U+E000]"), ("", ""),
])  # fmt: skip
def test_hidden_characters_are_named(text: str, expected: str) -> None:
    assert shown(text) == expected


def test_lines_stay_lines_where_they_are_shown() -> None:
    assert list(pieces("a\n\tb\r", lines=True)) == [("a\n\tb", False), ("U+000D", True)]


@given(st.text())
def test_nothing_is_lost_and_nothing_hidden_is_left(text: str) -> None:
    parts = list(pieces(text))
    back = "".join(chr(int(piece[2:].split(" ")[0], 16)) if was_hidden else piece for piece, was_hidden in parts)
    assert back == text
    for piece, was_hidden in parts:
        assert was_hidden or not any(map(hidden, piece))
    for character in shown(text):
        assert unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")


def test_a_character_without_a_name_has_its_number() -> None:
    assert name("\x00") == "U+0000"
