"""The operators of conditions: each is compiled with the value of its rule into a test of one value of a call.

Numbers and numeric texts compare as numbers, exactly where they are whole. True and false are no numbers.
"""

import operator
import re
from collections.abc import Callable
from math import isfinite
from typing import Any, TypeAlias

from ailink_gateway.policy.patterns import glob, searcher
from ailink_gateway.policy.shapes import entries, refuse, shown

Test: TypeAlias = Callable[[Any], bool]

MOST_VALUES = 1000
_DIGITS = 64  # longer texts of digits are names, not numbers
_WHOLE = re.compile(r"[+-]?[0-9]+")
_FRACTION = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")


def number(value: object) -> int | float | None:
    """Return a number, or the one that a text spells; None for anything else."""
    kind = type(value)
    if kind is int:
        return value  # type: ignore[return-value]
    if kind is float:
        return value if isfinite(value) else None  # type: ignore[arg-type, return-value]
    if kind is not str:
        return None
    text: str = value.strip(" ")  # type: ignore[attr-defined]
    if not 0 < len(text) <= _DIGITS:
        return None
    if _WHOLE.fullmatch(text):
        return int(text)
    if _FRACTION.fullmatch(text) and isfinite(found := float(text)):
        return found
    return None


def same(value: Any, expected: Any) -> bool:
    """Whether two JSON values are equal: numbers by what they are worth, true and false only to themselves."""
    if isinstance(expected, bool) or isinstance(value, bool) or value is None or expected is None:
        return value is expected
    if isinstance(expected, list):
        return isinstance(value, list) and len(value) == len(expected) and all(map(same, value, expected))
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(same(value[key], expected[key]) for key in expected)
        )
    if isinstance(value, list | dict):
        return False
    worth = number(expected)
    if worth is not None:
        return number(value) == worth
    return type(value) is type(expected) and bool(value == expected)


def text_of(value: object) -> str | None:
    """Return a text, or a number as text; None for anything else."""
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None


def _equals(expected: Any, place: str) -> Test:
    if isinstance(expected, str) and number(expected) is None:
        return lambda value: value == expected
    return lambda value: same(value, expected)


def _differs(expected: Any, place: str) -> Test:
    equals = _equals(expected, place)
    return lambda value: not equals(value)


def _among(expected: Any, place: str) -> Test:
    values = entries(expected, place, MOST_VALUES)
    if all(isinstance(entry, str) and number(entry) is None for entry in values):
        names = frozenset(values)
        return lambda value: isinstance(value, str) and value in names
    return lambda value: any(same(value, entry) for entry in values)


def _not_among(expected: Any, place: str) -> Test:
    among = _among(expected, place)
    return lambda value: not among(value)


def _ordered(compare: Callable[[Any, Any], bool]) -> Callable[[Any, str], Test]:
    def compile_test(expected: Any, place: str) -> Test:
        worth = number(expected)
        if worth is not None:

            def test(value: Any) -> bool:
                kind = type(value)
                if kind is int or (kind is float and isfinite(value)):  # as most are, which saves the call
                    return compare(value, worth)
                return (mine := number(value)) is not None and compare(mine, worth)

            return test
        if not isinstance(expected, str):
            refuse(place, f"must be a number or a text, not {shown(expected)}")
        return lambda value: isinstance(value, str) and compare(value, expected)

    return compile_test


def _contains(expected: Any, place: str) -> Test:
    if isinstance(expected, list | dict) or expected is None:
        refuse(place, f"must be a text, a number, true or false, not {shown(expected)}")
    part = text_of(expected)

    def test(value: Any) -> bool:
        if isinstance(value, list):
            return any(same(entry, expected) for entry in value)
        return part is not None and (text := text_of(value)) is not None and part in text

    return test


def _of_text(compile_test: Callable[[str, str], Callable[[str], bool]]) -> Callable[[Any, str], Test]:
    def compiled(expected: Any, place: str) -> Test:
        if not isinstance(expected, str):
            refuse(place, f"must be a text, not {shown(expected)}")
        test = compile_test(expected, place)
        return lambda value: (text := text_of(value)) is not None and test(text)

    return compiled


OPERATORS: dict[str, Callable[[Any, str], Test]] = {
    "eq": _equals,
    "neq": _differs,
    "gt": _ordered(operator.gt),
    "gte": _ordered(operator.ge),
    "lt": _ordered(operator.lt),
    "lte": _ordered(operator.le),
    "in": _among,
    "not_in": _not_among,
    "glob": _of_text(glob),
    "regex": _of_text(searcher),
    "contains": _contains,
    "starts_with": _of_text(lambda expected, place: lambda text: text.startswith(expected)),
    "ends_with": _of_text(lambda expected, place: lambda text: text.endswith(expected)),
}
EXISTS = "exists"
