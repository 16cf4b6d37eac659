"""When a rule applies: conditions as data, compiled into one closure over the facts of a call.

``{field, op, value}``, ``{all: [...]}``, ``{any: [...]}``, ``{not: ...}``, with ``and``, ``all_of``, ``or``, ``any_of``
as other names. What has none of these shapes is refused, and so is an empty list: nothing is always true by mistake.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

from ailink_gateway.policy.comparisons import EXISTS, OPERATORS, Test
from ailink_gateway.policy.fields import Field, compile_field, is_reply_body
from ailink_gateway.policy.paths import MISSING
from ailink_gateway.policy.shapes import Members, entries, refuse, shown

Condition: TypeAlias = Callable[[Any], bool]

DEEPEST = 12
MOST = 500  # comparisons in one policy
MOST_IN_LIST = 100
_ALL, _ANY = ("all", "and", "all_of"), ("any", "or", "any_of")
_SHAPES = "{field, op, value}, {all: [...]}, {any: [...]} or {not: ...}"


class Reader:
    """Compiles the conditions of one policy. ``reads_reply`` tells afterwards whether one looks into a reply's body.

    A header that is repeated can be read in more than one way. A condition holds if any way makes it hold, a
    ``certain`` one if every way does: so nobody gets past a refusal, or into what is allowed, by repeating one.
    """

    def __init__(self, phase: str) -> None:
        self._phase = phase
        self._left = MOST
        self.reads_reply = False

    def read(self, document: object, place: str, depth: int = 1, *, certain: bool = False) -> Condition:
        """Return the condition. Raises ``Failure`` (``validation_error``) naming what is wrong in it."""
        if depth > DEEPEST:
            refuse(place, f"is nested deeper than {DEEPEST} levels")
        members = Members(document, place)
        for name in members.names():
            if name in _ALL or name in _ANY:
                tests = self._list(members.take(name), members.at(name), depth, certain)
                members.done()
                return _all_of(tests) if name in _ALL else _any_of(tests)
            if name == "not":
                test = self.read(members.take("not"), members.at("not"), depth + 1, certain=not certain)
                members.done()
                return lambda facts: not test(facts)
        if not members.has("field"):
            refuse(place, f"must be {_SHAPES}, not {shown(document)}")
        return self._comparison(members, certain)

    def _list(self, value: object, place: str, depth: int, certain: bool) -> tuple[Condition, ...]:
        listed = entries(value, place, MOST_IN_LIST)
        return tuple(
            self.read(entry, f"{place}[{index}]", depth + 1, certain=certain) for index, entry in enumerate(listed)
        )

    def _comparison(self, members: Members, certain: bool) -> Condition:
        self._left -= 1
        if self._left < 0:
            refuse(members.place, f"is one comparison too many: a policy may have {MOST}")
        name = members.take("field")
        field = compile_field(name, members.at("field"), self._phase)
        operator = members.choice("op", (*OPERATORS, EXISTS))
        self.reads_reply = self.reads_reply or is_reply_body(name)
        if operator == EXISTS:
            wanted = members.flag("value", True)
            members.done()
            return _exists(field, wanted)
        expected = members.take("value")
        members.done()
        return _compare(field, OPERATORS[operator](expected, members.at("value")), certain)


def _compare(field: Field, test: Test, certain: bool) -> Condition:
    read = field.read
    if field.repeats and certain:
        return lambda facts: bool(values := read(facts)) and all(map(test, values))
    if field.several:
        return lambda facts: any(map(test, read(facts)))

    def compare(facts: Any) -> bool:
        value = read(facts)
        return value is not MISSING and test(value)

    return compare


def _exists(field: Field, wanted: bool) -> Condition:
    read = field.read
    if field.several:
        return lambda facts: bool(read(facts)) is wanted
    return lambda facts: (read(facts) is not MISSING) is wanted


# Loops, as a generator for every call takes as long as three comparisons.


def _all_of(tests: tuple[Condition, ...]) -> Condition:
    def check(facts: Any) -> bool:
        for test in tests:  # noqa: SIM110
            if not test(facts):
                return False
        return True

    return check


def _any_of(tests: tuple[Condition, ...]) -> Condition:
    def check(facts: Any) -> bool:
        for test in tests:  # noqa: SIM110
            if test(facts):
                return True
        return False

    return check
