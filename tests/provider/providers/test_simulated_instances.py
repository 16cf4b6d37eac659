"""Values made up for JSON Schemas: jsonschema agrees that they fit, and no schema is too strange."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from ailink_provider.providers.simulated.instances import instance

ADDRESS = {"type": "object", "properties": {"street": {"type": "string"}, "number": {"type": "integer"}},
           "required": ["street", "number"], "additionalProperties": False}

SCHEMAS: list[dict[str, Any]] = [
    {},
    {"type": "object"},
    {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "number"}}, "required": ["b"]},
    {"type": "object", "properties": {"a": ADDRESS, "b": {"type": "array", "items": ADDRESS, "minItems": 2}},
     "required": ["a", "b"], "additionalProperties": False},
    {"properties": {"a": {"type": "boolean"}}, "required": ["a", "unknown"], "minProperties": 4},
    {"enum": ["red", "green"]}, {"enum": [None, 1]}, {"const": {"a": [1]}},
    {"type": ["null", "integer"]}, {"type": ["string", "null"], "minLength": 30}, {"type": "null"},
    {"anyOf": [{"type": "null"}, {"type": "array", "items": {"type": "boolean"}, "minItems": 1}]},
    {"oneOf": [{"type": "string", "format": "date"}, {"type": "integer"}], "title": "When"},
    {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"},
               {"properties": {"c": {"type": "null"}}, "required": ["c"]}],
     "$defs": {"a": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
               "b": {"allOf": [{"properties": {"b": {"type": "boolean"}}, "required": ["b"]}]}}},
    {"type": "object", "properties": {"to": {"$ref": "#/$defs/Ad~1d~0r"}}, "required": ["to"],
     "$defs": {"Ad/d~r": ADDRESS}},
    {"$ref": "#/$defs/tree", "$defs": {"tree": {
        "type": "object", "properties": {"name": {"type": "string"}, "children": {
            "type": "array", "items": {"$ref": "#/$defs/tree"}}}, "required": ["name", "children"]}}},
    {"$ref": "#/$defs/list", "$defs": {"list": {
        "type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/list"}, {"type": "null"}]}},
        "required": ["next"]}}},
    {"type": "integer", "minimum": 10, "maximum": 12}, {"type": "integer", "exclusiveMinimum": 7, "multipleOf": 5},
    {"type": "integer", "maximum": -3}, {"type": "number", "exclusiveMinimum": 0.2, "exclusiveMaximum": 0.4},
    {"type": "number", "maximum": 0.5, "minimum": 0.5}, {"type": "number", "multipleOf": 7, "maximum": -1},
    {"type": "integer", "exclusiveMaximum": 0}, {"minimum": 3}, {"type": "number", "default": 2.5},
    {"type": "string", "minLength": 40}, {"type": "string", "maxLength": 3}, {"type": "string", "maxLength": 0},
    {"type": "string", "pattern": "^[A-Z]{3}$"}, {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
    {"type": "string", "pattern": "^[a-z]+$", "minLength": 2}, {"type": "string", "examples": ["one"]},
    {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "uniqueItems": True},
    {"type": "array", "items": {"type": "number"}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
    {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}], "items": False},
    {"type": "array", "maxItems": 0, "items": {"type": "string"}},
    *({"type": "string", "format": form} for form in ("date", "date-time", "email", "ipv4", "ipv6", "uuid", "regex")),
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["type", "properties", "items", "required", "enum", "anyOf", "allOf", "$ref", "minimum",
                         "default", "maximum", "minItems", "minLength", "pattern", "uniqueItems", "prefixItems",
                         "multipleOf", "a"])
        | st.text(max_size=5), inner, max_size=5),
    max_leaves=25)
WORDS = st.sampled_from(["a", "b", "c", "d"])


def objects(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(WORDS, inner, max_size=4).flatmap(lambda properties: st.builds(
        lambda required: {"type": "object", "properties": properties, "required": required,
                          "additionalProperties": False},
        st.lists(st.sampled_from(sorted(properties)), unique=True) if properties else st.just([])))


SCALARS = (
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "string", "format": "date-time"}])
    | st.builds(lambda low, size: {"type": "string", "minLength": low, "maxLength": low + size},
                st.integers(0, 50), st.integers(0, 50))
    | st.builds(lambda low, size: {"type": "integer", "minimum": low, "maximum": low + size},
                st.integers(-50, 50), st.integers(0, 50))
    | st.builds(lambda values: {"enum": values}, st.lists(st.integers() | st.text(), min_size=1))
)
VALID = st.recursive(SCALARS, lambda inner: (
    objects(inner)
    | st.builds(lambda items, least: {"type": "array", "items": items, "minItems": least}, inner, st.integers(0, 4))
    | st.builds(lambda branches: {"anyOf": branches}, st.lists(inner, min_size=1, max_size=3))
), max_leaves=8)


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_a_value_fits_its_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(instance(schema))


@given(VALID, st.text(max_size=40))
def test_values_fit_any_schema_of_a_kind(schema: dict[str, Any], text: str) -> None:
    Draft202012Validator(schema).validate(instance(schema, text))


@given(JSON, st.text(max_size=40))
def test_no_schema_is_too_strange(schema: Any, text: str) -> None:
    instance(schema, text)


def test_a_schema_that_never_ends_does() -> None:
    endless = {"$ref": "#"}
    assert instance(endless) is not None
    tree = {"type": "object", "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#"}}, "required": ["a", "b"]}
    assert set(instance(tree)) == {"a", "b"}
    assert len(instance({"type": "array", "items": {"type": "string", "minLength": 10**12}, "minItems": 10**12})) == 100


def test_the_text_lends_its_names_and_numbers() -> None:
    schema = {"type": "object", "properties": {
        "from": {"type": "string"}, "to": {"type": "string"}, "days": {"type": "integer", "minimum": 1, "maximum": 30},
        "class": {"enum": ["economy", "business"]}, "note": {"type": "string"}}}
    made = instance(schema, "Fly me from New York to Paris for 7 days in business class, 'window seat'. Thanks!")
    assert made == {"from": "New York", "to": "Paris", "days": 7, "class": "business", "note": "window seat"}
    assert instance(schema, "I'd like what Ada's dogs' friends like.")["from"] == "Ada"
    assert instance(schema, "Hello there")["from"] == "example from"


def test_the_schema_is_left_as_it_was() -> None:
    schema = {"allOf": [{"type": "object"}], "$ref": "#/$defs/a", "$defs": {"a": {"required": ["x"]}}}
    instance(schema)
    assert schema == {"allOf": [{"type": "object"}], "$ref": "#/$defs/a", "$defs": {"a": {"required": ["x"]}}}
