"""Patterns that take linear time whatever they are matched against: regular expressions of RE2, and globs made of them.

What RE2 does not know (look-around, back-references) or what would become too large is refused when it is compiled.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from time import monotonic

import re2  # type: ignore[import-untyped]

from ailink_gateway.policy.shapes import refuse

LONGEST = 1024  # characters of a pattern
MEMORY = 1 << 20  # bytes that a compiled pattern may take
LOOK = 64  # matches between two looks at the clock
PROGRAM = 10_000  # instructions: time is at most these times the length of the text

_REFERENCE = re.compile(r"\\(?:([0-9])|(\\))|\\")


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> "re2._Regexp":
    options = re2.Options()
    options.max_mem = MEMORY
    options.log_errors = False
    return re2.compile(pattern.encode(), options)


def compile_regex(pattern: object, place: str) -> "re2._Regexp":
    """Return a compiled regular expression. Refuses, naming ``place``, what is none or too costly."""
    if not isinstance(pattern, str) or not 0 < len(pattern) <= LONGEST:
        refuse(place, f"must be a regular expression of 1 to {LONGEST} characters")
    try:
        compiled = _compiled(pattern)
    except (re2.error, UnicodeEncodeError) as error:
        said = error.args[0] if error.args and not isinstance(error, UnicodeEncodeError) else "it is not valid text"
        said = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
        refuse(place, f"is no regular expression that runs in linear time (RE2): {said[:200]}")
    if compiled.programsize > PROGRAM:
        refuse(place, "is a regular expression that grows too large: use smaller repetitions")
    return compiled


def encoded(text: str) -> bytes:
    """Return a text as patterns see it: half a surrogate pair, which is no character, becomes a question mark."""
    return text.encode("utf-8", "replace")


def searcher(pattern: object, place: str) -> Callable[[str], bool]:
    """Return whether a text has a match of this regular expression anywhere."""
    search = compile_regex(pattern, place).search
    return lambda text: search(encoded(text)) is not None


def glob(pattern: object, place: str) -> Callable[[str], bool]:
    """Return whether a whole text fits: ``*`` is any characters, slashes too, ``?`` one, ``[ab]`` one of these."""
    if not isinstance(pattern, str) or not 0 < len(pattern) <= LONGEST:
        refuse(place, f"must be a glob of 1 to {LONGEST} characters")
    if "?" not in pattern and "[" not in pattern:
        return _starred(pattern)
    match = compile_regex(_of_glob(pattern, place), place).fullmatch
    return lambda text: match(encoded(text)) is not None


def any_glob(patterns: tuple[str, ...], place: str) -> Callable[[str], bool]:
    """Return whether a text fits one of these globs."""
    tests = [glob(pattern, f"{place}[{index}]") for index, pattern in enumerate(patterns)]

    def fits(text: str) -> bool:
        for test in tests:  # noqa: SIM110 - a generator takes longer than most of the tests
            if test(text):
                return True
        return False

    return tests[0] if len(tests) == 1 else fits


def _starred(pattern: str) -> Callable[[str], bool]:
    """The same for a glob of stars alone: most are, and this takes a tenth of the time."""
    first, *middle = pattern.split("*")
    if not middle:
        return pattern.__eq__
    last = middle.pop()
    middle = [part for part in middle if part]
    least = len(first) + len(last)
    if not middle:
        return lambda text: len(text) >= least and text.startswith(first) and text.endswith(last)

    def fits(text: str) -> bool:
        if len(text) < least or not (text.startswith(first) and text.endswith(last)):
            return False
        position, end = len(first), len(text) - len(last)
        for part in middle:
            position = text.find(part, position, end)
            if position < 0:
                return False
            position += len(part)
        return True

    return fits


def _of_glob(pattern: str, place: str) -> str:
    out = ["(?s)"]
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            if out[-1] != ".*":
                out.append(".*")
        elif character == "?":
            out.append(".")
        elif character == "[":
            end = pattern.find("]", position + (2 if pattern[position : position + 1] == "!" else 1))
            if end < 0:
                refuse(place, "has a [ without its ]")
            members = pattern[position:end]
            negated = members.startswith("!")
            inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", members[negated:])
            out.append(f"[{'^' if negated else ''}{inside}]")
            position = end + 1
        else:
            out.append(re.escape(character))
    return "".join(out)


class Replacer:
    """Replaces every match of a regular expression. In ``replacement`` ``\\1`` to ``\\9`` are groups, ``\\0`` the whole
    match and ``\\\\`` a backslash.
    """

    def __init__(self, pattern: object, replacement: str, place: str, replacement_place: str) -> None:
        self._regex = compile_regex(pattern, place)
        self._parts: list[str | int] = []
        last = 0
        for found in _REFERENCE.finditer(replacement):
            self._parts.append(replacement[last : found.start()])
            last = found.end()
            if found[1] is not None:
                group = int(found[1])
                if group > self._regex.groups:
                    refuse(replacement_place, f"names group {group}, which the pattern does not have")
                self._parts.append(group)
            elif found[2] is not None:
                self._parts.append("\\")
            else:
                refuse(replacement_place, "has a backslash that is neither a group nor doubled")
        self._parts.append(replacement[last:])

    def __call__(self, text: str, most: int, until: float) -> str | None:
        """Return the text with every match replaced, or None if that were longer than ``most`` bytes.

        One match takes linear time, but to find them all may take that again for each: None, too, if it is not done
        ``until`` that moment (monotonic seconds).
        """
        data = encoded(text)
        pieces: list[bytes] = []
        end = size = 0
        for number, match in enumerate(self._regex.finditer(data), 1):
            if number % LOOK == 0 and monotonic() > until:
                return None
            if match.start() < len(data) and data[match.start()] & 0xC0 == 0x80:
                continue  # an empty match inside a character
            pieces.append(data[end : match.start()])
            for part in self._parts:
                pieces.append((match.group(part) or b"") if isinstance(part, int) else part.encode())
                size += len(pieces[-1])
            size += match.start() - end
            end = match.end()
            if size > most:
                return None
        if not pieces:
            return text
        pieces.append(data[end:])
        return b"".join(pieces).decode()
