"""Text as a person can judge it: what is invisible, or reorders what stands beside it, is named instead.

A request that is shown for approval must read as what will be sent. Look-alike letters are not told apart.
"""

import unicodedata
from collections.abc import Iterator

# Control, format (bidirectional marks and tags among them), surrogate, private, unassigned; line and paragraph ends.
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks that leave no ink: fillers, blanks, joiners, variation selectors.
_INKLESS = frozenset(
    [0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x2800, 0x3164, 0xFFA0, *range(0x180B, 0x1810), *range(0xFE00, 0xFE10),
     *range(0xE0100, 0xE01F0)]
)  # fmt: skip


def hidden(character: str, lines: bool = False) -> bool:
    """Whether a character cannot be seen as itself. Line ends and tabs pass where ``lines`` are shown as such."""
    if lines and character in "\n\t":
        return False
    if character == " " or "!" <= character <= "~":
        return False
    category = unicodedata.category(character)
    return category in _HIDDEN_CATEGORIES or category == "Zs" or ord(character) in _INKLESS


def name(character: str) -> str:
    """Return what stands for a hidden character: its number and, if it has one, its name."""
    called = unicodedata.name(character, "")
    return f"U+{ord(character):04X} {called}".strip()


def pieces(text: str, lines: bool = False) -> Iterator[tuple[str, bool]]:
    """Yield ``text`` in pieces: as it is, or the name of a hidden character (True)."""
    start = 0
    for place, character in enumerate(text):
        if hidden(character, lines):
            if place > start:
                yield text[start:place], False
            yield name(character), True
            start = place + 1
    if start < len(text):
        yield text[start:], False


def shown(text: str) -> str:
    """Return ``text`` in one line of plain text, hidden characters named in brackets."""
    return "".join(f"[{piece}]" if was_hidden else piece for piece, was_hidden in pieces(text))
