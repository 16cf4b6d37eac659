"""Values that fit a JSON Schema, made up deterministically: arguments of simulated calls, simulated JSON replies.

Knows the keywords that tools use: types, enum, const, default, required and nested properties, items, ranges,
lengths, formats, $ref, allOf, anyOf, oneOf. ``not``, ``if`` and properties by pattern are not looked at, and a
``pattern`` is met only if one of a few common shapes meets it. Any schema gets some value: nothing here raises.
"""

import math
import re
from collections.abc import Callable
from typing import Any

_DEPTH_LIMIT = 24  # of a schema that refers to itself: a value this deep is null
_GENEROUS_DEPTH = 3  # from here on only what the schema insists on
_MOST_ITEMS = 100
_MOST_CHARACTERS = 10_000
_MOST_VALUES = 2_000  # in all; from then on everything is null

_FORMATS = {
    "date": "2026-01-31", "time": "12:00:00Z", "date-time": "2026-01-31T12:00:00Z", "duration": "PT1H",
    "email": "ada@example.com", "idn-email": "ada@example.com", "hostname": "example.com", "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1", "uri": "https://example.com/", "url": "https://example.com/", "uri-reference": "/example",
    "iri": "https://example.com/", "uuid": "6fa459ea-ee8a-4ca4-894e-db77e160355e", "json-pointer": "/example",
    "regex": ".*", "byte": "ZXhhbXBsZQ==",
}
# Tried in turn where a pattern refuses everything else.
_SHAPES = ("a", "A", "1", "abc", "ABC", "AB", "123", "12", "1234", "12345", "Abc", "abc-123", "ABC-123", "AB1234",
           "1.0", "1.0.0", "#a1b2c3", "+12025550100", "12:00", "true", *_FORMATS.values())

# What is quoted, and capitalised words that do not merely open a sentence.
_NAME = re.compile(
    r"(?<!\w)[\"“‘`'](?P<quoted>[^\"”’`']{1,60})[\"”’`'](?!\w)"
    r"|(?<=[^\s.!?:]\s)(?P<proper>[A-Z][\w-]{0,40}(?:\s[A-Z][\w-]{0,40}){0,3})"
)
_NUMBER = re.compile(r"(?<![\w.])-?\d{1,15}(?:\.\d{1,9})?(?!\w)")


def instance(schema: Any, text: str = "") -> Any:
    """Return a value for ``schema``. Names, quotations and numbers in ``text`` are used where they fit."""
    return _Inventor(schema, text).make(schema)


class _Inventor:
    """Makes one value. Hints taken from the text are used up in order."""

    def __init__(self, root: Any, text: str) -> None:
        self._root = root
        self._text = text.lower()
        self._left = _MOST_VALUES
        names = [match["quoted"] or match["proper"] for match in _NAME.finditer(text)]
        self._names = [name for name in names if name != "I"]
        self._numbers = [float(number) for number in _NUMBER.findall(text)]
        self._makers: dict[str, Callable[[dict[str, Any], str, int], Any]] = {
            "object": self._object, "array": self._array, "string": self._string, "integer": self._number,
            "number": self._number, "boolean": lambda *_: True, "null": lambda *_: None,
        }

    def make(self, schema: Any, name: str = "", depth: int = 0) -> Any:
        """Return a value for ``schema``, which is that of the property ``name``."""
        self._left -= 1
        if depth > _DEPTH_LIMIT or self._left < 0:
            return None
        schema = self._flat(schema)
        if "const" in schema:
            return schema["const"]
        if isinstance(values := schema.get("enum"), list) and values:
            spoken = (value for value in values if isinstance(value, str) and value.lower() in self._text)
            return next(spoken, values[0])
        for key in ("anyOf", "oneOf"):
            if isinstance(branches := schema.get(key), list) and branches:
                rest = {inner: value for inner, value in schema.items() if inner not in (key, "default")}
                return self.make(_merge(rest, self._branch(branches, depth)), name, depth + 1)
        for key, value in (("default", schema.get("default")), ("examples", _first(schema.get("examples")))):
            if key in schema and value is not None:
                return value
        return self._makers[_kind(schema)](schema, name, depth)

    def _flat(self, schema: Any) -> dict[str, Any]:
        """Return the schema with its references and its allOf taken in."""
        flat: dict[str, Any] = {}
        pending = [schema]
        for _ in range(_MOST_ITEMS):
            if not pending:
                break
            node = dict(_mapping(pending.pop(0)))
            pointer, every = node.pop("$ref", None), node.pop("allOf", None)
            pending += [self._resolve(pointer)] if pointer is not None else []
            pending += every if isinstance(every, list) else []
            flat = _merge(flat, node)
        return flat

    def _resolve(self, pointer: Any) -> Any:
        if not isinstance(pointer, str) or not pointer.startswith("#"):
            return {}
        node = self._root
        for step in pointer[1:].split("/")[1:]:
            node = _mapping(node).get(step.replace("~1", "/").replace("~0", "~"))
        return node

    def _branch(self, branches: list[Any], depth: int) -> dict[str, Any]:
        """Return the branch of a union to follow: the first that is not null; deep down, null if it may be."""
        flat = [self._flat(branch) for branch in branches]
        nulls = [branch for branch in flat if branch.get("type") == "null"]
        if nulls and depth >= _GENEROUS_DEPTH:
            return nulls[0]
        return next((branch for branch in flat if branch not in nulls), flat[0])

    def _object(self, schema: dict[str, Any], name: str, depth: int) -> dict[str, Any]:
        properties = _mapping(schema.get("properties"))
        required = schema.get("required")
        names = [key for key in required if isinstance(key, str)] if isinstance(required, list) else []
        if required is None and depth < _GENEROUS_DEPTH:
            names = list(properties)
        least = _count(schema.get("minProperties"), 0)
        names += [key for key in properties if key not in names][:max(0, least - len(names))]
        names += [f"key{index}" for index in range(max(0, min(least, _MOST_ITEMS) - len(names)))]
        more = schema.get("additionalProperties")
        return {key: self.make(properties.get(key, more), key, depth + 1) for key in names}

    def _array(self, schema: dict[str, Any], name: str, depth: int) -> list[Any]:
        prefix = schema.get("prefixItems")
        values = [self.make(item, name, depth + 1) for item in prefix] if isinstance(prefix, list) else []
        items = schema.get("items", {})
        generous = 1 if depth < _GENEROUS_DEPTH and items not in ({}, False) and not values else 0
        least = max(_count(schema.get("minItems"), 0), generous)
        length = min(least, _count(schema.get("maxItems"), _MOST_ITEMS), _MOST_ITEMS)
        choices = self._flat(items).get("enum")
        while len(values) < length:
            value = self.make(items, name, depth + 1)
            if schema.get("uniqueItems") is True and value in values:
                value = _another(value, values, choices if isinstance(choices, list) else [])
            values.append(value)
        return values[:_count(schema.get("maxItems"), _MOST_ITEMS)]

    def _number(self, schema: dict[str, Any], name: str, depth: int) -> int | float:
        whole = _kind(schema) == "integer"
        fitting = _range(schema, whole)
        hint = next((number for number in self._numbers if fitting(number)), None)
        if hint is not None:
            self._numbers.remove(hint)
            return int(hint) if hint.is_integer() else hint
        value = _least(schema, whole)
        return int(value) if whole or (isinstance(value, float) and value.is_integer()) else value

    def _string(self, schema: dict[str, Any], name: str, depth: int) -> str:
        least, most = _count(schema.get("minLength"), 0), _count(schema.get("maxLength"), _MOST_CHARACTERS)
        pattern = _pattern(schema.get("pattern"))
        form = str(schema.get("format"))
        if form in _FORMATS:
            return _FORMATS[form]
        made = f"example {name}".strip()
        for value in (*self._names, made, *_SHAPES):
            if least <= len(value) <= most and pattern(value):
                if value in self._names:
                    self._names.remove(value)
                return value
        return made.ljust(min(least, _MOST_CHARACTERS), "-")[:most]


def _kind(schema: dict[str, Any]) -> str:
    kind = schema.get("type")
    kinds = [word for word in (kind if isinstance(kind, list) else [kind]) if isinstance(word, str) and word in _KINDS]
    if kinds:
        return next((word for word in kinds if word != "null"), "null")
    return next((word for word, keys in _KINDS.items() if keys & schema.keys()), "string")


# Type -> the keywords that imply it where none is given.
_KINDS: dict[str, frozenset[str]] = {
    "object": frozenset({"properties", "required", "additionalProperties", "minProperties"}),
    "array": frozenset({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"}),
    "number": frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"}),
    "string": frozenset(), "integer": frozenset(), "boolean": frozenset(), "null": frozenset(),
}


def _merge(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return what fits both, as far as properties and required names go; of other keywords the first one's win."""
    merged = other | one
    if "properties" in one and "properties" in other:
        merged["properties"] = _mapping(other["properties"]) | _mapping(one["properties"])
    required = [names for names in (one.get("required"), other.get("required")) if isinstance(names, list)]
    if required:
        merged["required"] = list(dict.fromkeys(name for names in required for name in names if isinstance(name, str)))
    return merged


def _range(schema: dict[str, Any], whole: bool) -> Callable[[float], bool]:
    """Return the test whether a number fits."""
    low, high, step = _bound(schema, "minimum"), _bound(schema, "maximum"), _bound(schema, "multipleOf")
    above, below = _bound(schema, "exclusiveMinimum"), _bound(schema, "exclusiveMaximum")

    def fits(number: float) -> bool:
        return (
            (low is None or number >= low) and (high is None or number <= high)
            and (above is None or number > above) and (below is None or number < below)
            and (not step or number % step == 0) and (not whole or number.is_integer())
        )

    return fits


def _least(schema: dict[str, Any], whole: bool) -> float:
    """Return a number that fits: 1 if it does, else one in the middle, at the lower or at the upper end."""
    unit = _bound(schema, "multipleOf") or 1
    lows = [bound for key in ("minimum", "exclusiveMinimum") if (bound := _bound(schema, key)) is not None]
    highs = [bound for key in ("maximum", "exclusiveMaximum") if (bound := _bound(schema, key)) is not None]
    tried: list[float] = [1, 0]
    if lows and highs:
        tried.append((max(lows) + min(highs)) / 2)
    if lows:
        start = math.ceil(max(lows) / unit) * unit
        tried += [max(lows), start, start + unit]
    if highs:
        start = math.floor(min(highs) / unit) * unit
        tried += [min(highs), start, start - unit]
    fits = _range(schema, whole)
    return next((number for number in tried if fits(float(number))), unit)


def _another(value: Any, values: list[Any], choices: list[Any]) -> Any:
    """Return a value of the same kind that is not among ``values``, if there is one."""
    for number in range(2, len(values) + 3):
        if isinstance(value, bool):
            candidate: Any = not value
        elif isinstance(value, int | float):
            candidate = value + number - 1
        else:
            candidate = f"{value} {number}"
        if not choices and candidate not in values:
            return candidate
    return next((choice for choice in choices if choice not in values), value)


def _pattern(source: Any) -> Callable[[str], object]:
    if not isinstance(source, str):
        return lambda value: True
    try:
        return re.compile(source).search
    except (re.error, RecursionError, OverflowError):
        return lambda value: True


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _first(value: Any) -> Any:
    return value[0] if isinstance(value, list) and value else None


def _count(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default


def _bound(schema: dict[str, Any], key: str) -> float | None:
    value = schema.get(key)
    return value if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300 else None
