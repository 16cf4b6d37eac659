"""The action that holds bodies to a JSON Schema: validate_schema. The work it may cost is bounded when it is saved.

References lead only into the schema's own ``$defs`` and never in a circle, its patterns run in linear time, and what
would compare everything with everything is not available.
"""

import asyncio
import json
from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from ailink_gateway.policy import paths
from ailink_gateway.policy.bodies import Body, Unreadable
from ailink_gateway.policy.compiled import Foresight, Rule, Verdict
from ailink_gateway.policy.patterns import compile_regex, encoded
from ailink_gateway.policy.shapes import Members, refuse
from ailink_provider.errors import Failure

if TYPE_CHECKING:
    from ailink_gateway.policy.run import Run

MOST_PARTS = 2000  # schemas in a schema, each counted as often as it is referred to
LARGEST = 1024 * 1024  # bytes of a body that is validated
WATCHED = 128 * 1024  # bytes of one that is validated in shadow mode, which holds nothing up
AT_ONCE = 16 * 1024  # bytes that are validated without leaving the event loop
_ONE = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_MANY = ("allOf", "anyOf", "oneOf", "prefixItems")
_NAMED = ("properties", "dependentSchemas")
_DEFINITIONS = ("$defs", "definitions")
_CLOSED = ("patternProperties", "unevaluatedProperties", "unevaluatedItems", "$dynamicRef", "$dynamicAnchor",
           "$recursiveRef", "$id", "$anchor", "dependencies")  # fmt: skip


class ValidateSchema(Struct, frozen=True):
    """Refuses a body that does not fit, of the request or in phase post of the reply."""

    validator: Any
    message: str | None
    reads_reply: bool

    name = "validate_schema"
    rewrites = False

    def apply(self, run: "Run", rule: Rule) -> Verdict:
        """See ``Action``."""
        body, size = _body(run)
        if size <= AT_ONCE:
            return self._judge(body)
        return asyncio.to_thread(self._judge, body)

    def foresee(self, run: "Run", rule: Rule) -> Foresight:
        """See ``Action``."""
        body, size = _body(run)
        if size > WATCHED:
            raise Unreadable(f"it is larger than the {WATCHED} bytes that are validated in shadow mode")
        return self._judge(body)

    def _judge(self, body: Body | None) -> Failure | None:
        if body is None:
            where = "it is empty"
        else:
            error = next(iter(self.validator.iter_errors(body.tree)), None)
            if error is None:
                return None
            path = paths.spell(tuple(error.absolute_path))
            where = f"{path or 'its root'} does not meet {error.validator!r}"
        message = self.message or f"The body does not fit the schema that a policy demands: {where}."
        return Failure("policy_denied", message, param="body", reason="schema_not_met")


def _body(run: "Run") -> tuple[Body | None, int]:
    answer = run.facts.answer
    size = len(run.exchange.body) if answer is None else len(answer.data or b"")
    if size > LARGEST:
        raise Unreadable(f"it is larger than the {LARGEST} bytes that are validated")
    return (run.facts.read_body() if answer is None else answer.body), size


def read_schema(members: Members, phase: str) -> ValidateSchema:
    """Read ``validate_schema{schema, message}``."""
    from jsonschema.exceptions import SchemaError  # not needed by whoever has no schema, and slow to import

    schema, place = members.take("schema"), members.at("schema")
    message = members.text("message", None, most=500)
    if not isinstance(schema, dict):
        refuse(place, "must be a JSON Schema: an object")
    if len(json.dumps(schema)) > 64 * 1024:
        refuse(place, "is larger than 64 KiB")
    _Reader(schema, place).read()
    validator = _validator()
    try:
        validator.check_schema(schema)
    except SchemaError as error:
        where = paths.spell(tuple(error.absolute_path))
        refuse(f"{place}.{where}" if where else place, f"is no JSON Schema (2020-12): {error.message[:200]}")
    return ValidateSchema(validator(schema), message, phase == "post")


class _Reader:
    """Walks through a schema and refuses what is not bounded."""

    def __init__(self, root: dict[str, Any], place: str) -> None:
        self._root, self._place = root, place
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def read(self) -> None:
        """Check all of it."""
        for name in _DEFINITIONS:
            for key, schema in _items(self._root.get(name)):
                self._size(schema, f"{self._place}.{name}.{key}")
        self._size(self._root, self._place)

    def _size(self, schema: Any, place: str) -> int:
        if not isinstance(schema, dict):
            return 1
        known = self._sizes.get(id(schema))
        if known is not None:
            return known
        if id(schema) in self._open:
            refuse(place, "refers to itself: recursive schemas are not available")
        self._open.add(id(schema))
        if len(self._open) > 64:
            refuse(place, "is nested deeper than 64 levels")
        self._check(schema, place)
        total = 1 + sum(self._size(part, where) for part, where in self._parts(schema, place))
        if total > MOST_PARTS:
            refuse(place, f"has more than {MOST_PARTS} parts, each counted as often as it is referred to")
        self._open.discard(id(schema))
        self._sizes[id(schema)] = total
        return total

    def _check(self, schema: dict[str, Any], place: str) -> None:
        for name in _CLOSED:
            if name in schema:
                refuse(f"{place}.{name}", "is not available in schemas of policies")
        if "$schema" in schema and schema["$schema"] != "https://json-schema.org/draft/2020-12/schema":
            refuse(f"{place}.$schema", "must be https://json-schema.org/draft/2020-12/schema, or left out")
        if "pattern" in schema:
            compile_regex(schema["pattern"], f"{place}.pattern")

    def _parts(self, schema: dict[str, Any], place: str) -> Iterator[tuple[Any, str]]:
        for name in _ONE:
            if name in schema:
                yield schema[name], f"{place}.{name}"
        for name in _MANY:
            listed = schema.get(name)
            if isinstance(listed, list):
                yield from ((part, f"{place}.{name}[{index}]") for index, part in enumerate(listed))
        for name in _NAMED:
            yield from ((part, f"{place}.{name}.{key}") for key, part in _items(schema.get(name)))
        if "$ref" in schema:
            yield self._referred(schema["$ref"], f"{place}.$ref"), f"{place}.$ref"

    def _referred(self, reference: object, place: str) -> Any:
        steps = reference.split("/") if isinstance(reference, str) else []
        found = self._root.get(steps[1]) if len(steps) == 3 and steps[0] == "#" and steps[1] in _DEFINITIONS else None
        if not isinstance(found, dict) or steps[2] not in found:
            refuse(place, 'must be "#/$defs/<name>" of this schema')
        return found[steps[2]]


def _items(value: object) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


@lru_cache(maxsize=1)
def _validator() -> Any:
    from jsonschema import Draft202012Validator, ValidationError
    from jsonschema.validators import extend

    def pattern(validator: Any, regex: str, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if isinstance(instance, str) and compile_regex(regex, "pattern").search(encoded(instance)) is None:
            yield ValidationError("does not match")

    def unique(validator: Any, wanted: bool, instance: Any, schema: Any) -> Iterator[ValidationError]:
        if wanted and isinstance(instance, list):
            seen = {json.dumps(entry, sort_keys=True) for entry in instance}
            if len(seen) != len(instance):
                yield ValidationError("has an entry twice")

    return extend(  # type: ignore[no-untyped-call]
        Draft202012Validator, {"pattern": pattern, "uniqueItems": unique}
    )
