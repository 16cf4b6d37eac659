"""Gemini's OpenAPI subset and JSON Schema."""

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from ailink_provider.dialects.gemini.schemas import read_schema, write_schema
from ailink_provider.errors import Failure


def flat(schema: dict[str, Any]) -> dict[str, Any]:
    written = write_schema(schema, "s", set())
    types.Schema.model_validate(written, by_alias=True, by_name=False)
    return written


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "title": "T", "default": "x", "description": "D"}, {"type": "STRING", "description": "D"}),
        (
            {
                "type": "object",
                "properties": {"a": {}},
                "additionalProperties": False,
                "required": ["a"],
                "$schema": "x",
            },
            {"type": "OBJECT", "properties": {"a": {}}, "required": ["a"]},
        ),
        ({"type": ["string", "null"]}, {"type": "STRING", "nullable": True}),
        ({"type": ["string", "integer"]}, {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}),
        (
            {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "description": "D"},
            {"type": "INTEGER", "minimum": 1, "nullable": True, "description": "D"},
        ),
        ({"oneOf": [{"type": "integer"}, {"type": "string"}]}, {"anyOf": [{"type": "INTEGER"}, {"type": "STRING"}]}),
        ({"const": "a"}, {"type": "STRING", "enum": ["a"]}),
        ({"enum": ["a", None]}, {"type": "STRING", "enum": ["a"], "nullable": True}),
        (
            {"type": "array", "items": {"type": "number", "format": "float"}, "minItems": 1},
            {"type": "ARRAY", "items": {"type": "NUMBER", "format": "float"}, "minItems": 1},
        ),
        (
            {"$ref": "#/$defs/A", "description": "mine", "$defs": {"A": {"type": "string", "description": "its"}}},
            {"type": "STRING", "description": "mine"},
        ),
        (
            {
                "$ref": "#/definitions/a~1b",
                "definitions": {"a/b": {"$ref": "#/definitions/c"}, "c": {"type": "boolean"}},
            },
            {"type": "BOOLEAN"},
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {"type": "string"}}, "required": ["a"]},
                    {"properties": {"b": True}, "required": ["b", "a"]},
                ],
                "type": "object",
            },
            {"type": "OBJECT", "properties": {"a": {"type": "STRING"}, "b": {}}, "required": ["a", "b"]},
        ),
    ],
)
def test_flattening(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    assert flat(schema) == expected


def test_one_definition_may_be_used_twice() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/X"}, "b": {"$ref": "#/$defs/X"}},
        "$defs": {"X": {"type": "object", "properties": {"y": {"type": "integer"}}}},
    }
    written = flat(schema)["properties"]
    assert written["a"] == written["b"] == {"type": "OBJECT", "properties": {"y": {"type": "INTEGER"}}}


def test_what_is_dropped_is_named() -> None:
    dropped: set[str] = set()
    write_schema(
        {
            "type": "object",
            "patternProperties": {},
            "title": "T",
            "properties": {"a": {"type": "string", "format": "uuid"}, "b": {"enum": [1, 2]}, "c": {"multipleOf": 2}},
        },
        "s",
        dropped,
    )
    assert dropped == {"patternProperties", "format", "enum", "multipleOf"}


@pytest.mark.parametrize(
    ("schema", "code"),
    [
        ({"$ref": "#"}, "unsupported_parameter"),
        (
            {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"items": {"$ref": "#/$defs/A"}}}},
            "unsupported_parameter",
        ),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"allOf": [{"$ref": "#/$defs/A"}]}}}, "unsupported_parameter"),
        ({"$ref": "#/nowhere"}, "invalid_request"),
        ({"$ref": "https://example.com/s"}, "invalid_request"),
        ({"$ref": 5}, "invalid_request"),
        ({"properties": 5}, "invalid_request"),
        ({"items": [1]}, "invalid_request"),
        ({"anyOf": 5}, "invalid_request"),
    ],
)
def test_what_cannot_be_flattened(schema: dict[str, Any], code: str) -> None:
    with pytest.raises(Failure) as failure:
        write_schema(schema, "tools[0].parameters", set())
    assert (failure.value.code, failure.value.param) == (code, "tools[0].parameters")


@pytest.mark.parametrize(
    "branch",
    [
        lambda step: {"properties": {"l": step, "r": step}},
        lambda step: {"allOf": [step, step]},
        lambda step: {"anyOf": [step, step]},
    ],
)
def test_a_small_schema_that_unfolds_without_end_is_refused(branch: Callable[[Any], dict[str, Any]]) -> None:
    definitions = {f"D{level}": branch({"$ref": f"#/$defs/D{level + 1}"}) for level in range(40)} | {
        "D40": {"type": "string"}
    }
    with pytest.raises(Failure) as failure:
        write_schema({"$ref": "#/$defs/D0", "$defs": definitions}, "s", set())
    assert failure.value.code == "unsupported_parameter"


def test_a_long_chain_of_references_is_refused() -> None:
    chain = {f"D{level}": {"properties": {"x": {"$ref": f"#/$defs/D{level + 1}"}}} for level in range(400)} | {
        "D400": {}
    }
    with pytest.raises(Failure) as failure:
        write_schema({"$ref": "#/$defs/D0", "$defs": chain}, "s", set())
    assert failure.value.code == "unsupported_parameter"


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "STRING", "format": "enum", "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
        ({"type": "STRING", "nullable": True, "enum": ["a"]}, {"type": ["string", "null"], "enum": ["a", None]}),
        ({"any_of": [{"type": "STRING"}], "nullable": True}, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (
            {"type": "ARRAY", "items": {"type": "TYPE_UNSPECIFIED"}, "min_items": "2", "maxItems": 3},
            {"type": "array", "items": {}, "minItems": 2, "maxItems": 3},
        ),
        (
            {
                "type": "OBJECT",
                "property_ordering": ["b"],
                "properties": {"snake_case": {"type": "NUMBER", "example": 1}},
            },
            {"type": "object", "properties": {"snake_case": {"type": "number"}}},
        ),
        ({"nullable": True}, {}),
        (
            {"ref": "#/$defs/A", "defs": {"A": {"type": "BOOLEAN"}}},
            {"$ref": "#/$defs/A", "$defs": {"A": {"type": "boolean"}}},
        ),
    ],
)
def test_reading(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    found = read_schema(schema, "s")
    assert found == expected
    jsonschema.Draft202012Validator.check_schema(found)


SCALARS = st.sampled_from(["string", "integer", "number", "boolean"]).map(lambda kind: {"type": kind})
SCHEMAS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        inner.map(lambda item: {"type": "array", "items": item}),
        inner.map(lambda item: {"anyOf": [item, {"type": "null"}]}),
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1).map(
            lambda members: {
                "type": "object",
                "properties": members,
                "required": sorted(members),
                "additionalProperties": False,
            }
        ),
    ),
    max_leaves=8,
)


@given(SCHEMAS)
def test_any_flat_schema_is_one_of_googles_and_stays_one(schema: dict[str, Any]) -> None:
    written = flat(schema)
    assert flat(read_schema(written, "s")) == written
