"""Schemas: Gemini's older subset of OpenAPI 3.0 (``parameters``, ``responseSchema``), to and from JSON Schema.

Newer models take JSON Schema as it is. For the others references are put in place of what they name, ``null``
becomes ``nullable``, and what they have no word for is left out and named. Work is bounded: a schema that holds
itself, or grows past ``NODE_LIMIT`` parts or ``REFERENCE_LIMIT`` references inside one another, is refused.
"""

from typing import Any

from ailink_provider.dialects.gemini.fields import join, many, members, record
from ailink_provider.errors import Failure

NODE_LIMIT = 5000
REFERENCE_LIMIT = 64

_KEPT = (
    "description",
    "format",
    "items",
    "maxItems",
    "maxLength",
    "maxProperties",
    "maximum",
    "minItems",
    "minLength",
    "minProperties",
    "minimum",
    "nullable",
    "pattern",
    "properties",
    "propertyOrdering",
    "required",
)
# Left out without a word: they describe, or only forbid what no one asked for.
_SILENT = frozenset(
    {
        "$schema",
        "$id",
        "$defs",
        "$comment",
        "$anchor",
        "definitions",
        "title",
        "default",
        "example",
        "examples",
        "additionalProperties",
        "deprecated",
        "readOnly",
        "writeOnly",
    }
)
_READ_ELSEWHERE = frozenset({"$ref", "type", "enum", "const", "anyOf", "oneOf", "allOf"})
_FORMATS = frozenset({"float", "double", "int32", "int64", "date-time", "enum"})
_RENAMED = {"defs": "$defs", "ref": "$ref"}
_OPENAPI_ONLY = ("nullable", "propertyOrdering", "example")
_COUNTS = ("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties")


def read_schema(value: Any, where: str) -> dict[str, Any]:
    """Return the JSON Schema that a Gemini ``Schema`` means. Raises ``Failure`` (``invalid_request``)."""
    given = members(value, where)
    schema = {_RENAMED.get(key, key): member for key, member in given.items() if key not in _OPENAPI_ONLY}
    for key in ("properties", "$defs"):
        if key in schema:
            schema[key] = {
                name: read_schema(member, join(where, f"{key}.{name}"))
                for name, member in record(schema[key], join(where, key)).items()
            }
    if "items" in schema:
        schema["items"] = read_schema(schema["items"], join(where, "items"))
    if "anyOf" in schema:
        schema["anyOf"] = [
            read_schema(member, f"{where}.anyOf[{position}]")
            for position, member in enumerate(many(schema["anyOf"], join(where, "anyOf")))
        ]
    if schema.get("format") == "enum":
        del schema["format"]
    for key in _COUNTS:  # 64-bit numbers are strings in proto3 JSON
        if isinstance(schema.get(key), str) and schema[key].isdecimal():
            schema[key] = int(schema[key])
    kind = str(schema.pop("type", "TYPE_UNSPECIFIED")).lower()
    if kind != "type_unspecified":
        schema = {"type": kind, **schema}
    return _allow_null(schema) if given.get("nullable") is True else schema


def write_schema(schema: dict[str, Any], where: str, dropped: set[str]) -> dict[str, Any]:
    """Return the Gemini ``Schema`` nearest to a JSON Schema; add the keywords that it lacks to ``dropped``.

    Raises ``Failure``: ``invalid_request`` for a reference to nothing, ``unsupported_parameter`` for one to itself.
    """
    return _Flattening(schema, where, dropped).node(schema, ())


class _Flattening:
    """One schema on its way to a form without references."""

    def __init__(self, root: dict[str, Any], where: str, dropped: set[str]) -> None:
        self._root = root
        self._where = where
        self._dropped = dropped
        self._nodes = 0

    def node(self, value: Any, inside: tuple[str, ...]) -> dict[str, Any]:
        """Return one (sub)schema. ``inside`` are the references that led here."""
        if isinstance(value, bool):
            return {}
        schema, inside = self._resolved(self._object(value), inside)
        self._dropped |= schema.keys() - _READ_ELSEWHERE - _SILENT - set(_KEPT)
        flat = {key: schema[key] for key in _KEPT if key in schema}
        if str(flat.get("format", "enum")) not in _FORMATS:
            self._dropped.add("format")
            del flat["format"]
        if "properties" in flat:
            flat["properties"] = {
                name: self.node(member, inside) for name, member in self._object(flat["properties"]).items()
            }
        if "items" in flat:
            flat["items"] = self.node(flat["items"], inside)
        self._type(flat, schema)
        self._choices(flat, schema, inside)
        self._values(flat, schema)
        return flat

    def _resolved(self, schema: dict[str, Any], inside: tuple[str, ...]) -> tuple[dict[str, Any], tuple[str, ...]]:
        self._nodes += 1
        if self._nodes > NODE_LIMIT or len(inside) > REFERENCE_LIMIT:
            raise Failure(
                "unsupported_parameter",
                f"'{self._where}' is too large for this model once its references are resolved.",
                param=self._where,
            )
        while "$ref" in schema:
            reference = str(schema["$ref"])
            if reference in inside:
                raise Failure(
                    "unsupported_parameter",
                    f"'{self._where}' contains itself ('{reference}'), which this model cannot be told.",
                    param=self._where,
                )
            inside = (*inside, reference)
            schema = {**self._named(reference), **{key: schema[key] for key in schema if key != "$ref"}}
        for position, member in enumerate(self._list(schema.get("allOf", []))):
            branch, _ = self._resolved(self._object(member), (*inside, f"allOf[{position}]"))
            properties = {**self._object(schema.get("properties", {})), **self._object(branch.get("properties", {}))}
            required = self._list(schema.get("required", [])) + self._list(branch.get("required", []))
            schema = {
                **branch,
                **schema,
                **({"properties": properties} if properties else {}),
                **({"required": list(dict.fromkeys(map(str, required)))} if required else {}),
            }
        return schema, inside

    def _named(self, reference: str) -> dict[str, Any]:
        found: Any = self._root
        for step in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
            key = step.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, dict) else None
        if not reference.startswith("#") or not isinstance(found, dict):
            raise Failure(
                "invalid_request",
                f"'{self._where}' refers to '{reference}', which it does not contain.",
                param=self._where,
            )
        return found

    def _type(self, flat: dict[str, Any], schema: dict[str, Any]) -> None:
        kinds = schema.get("type", [])
        named = [str(kind).upper() for kind in (kinds if isinstance(kinds, list) else [kinds])]
        if "NULL" in named:
            flat["nullable"] = True
        named = [kind for kind in named if kind != "NULL"]
        if len(named) == 1:
            flat["type"] = named[0]
        elif named:
            flat["anyOf"] = [{"type": kind} for kind in named]

    def _choices(self, flat: dict[str, Any], schema: dict[str, Any], inside: tuple[str, ...]) -> None:
        choices = [member for key in ("anyOf", "oneOf") for member in self._list(schema.get(key, []))]
        real = [
            self.node(member, inside)
            for member in choices
            if not (isinstance(member, dict) and member.get("type") == "null")
        ]
        if len(real) < len(choices):
            flat["nullable"] = True
        if len(real) == 1:
            flat.update({key: member for key, member in real[0].items() if key not in flat})
        elif real:
            flat["anyOf"] = real

    def _values(self, flat: dict[str, Any], schema: dict[str, Any]) -> None:
        values = [schema["const"]] if "const" in schema else self._list(schema.get("enum", []))
        words = [value for value in values if value is not None]
        if len(words) < len(values):
            flat["nullable"] = True
        if words and all(isinstance(value, str) for value in words):
            flat.update(type="STRING", enum=words)
        elif words:  # its enums are strings alone
            self._dropped.add("enum")

    def _object(self, value: Any) -> dict[str, Any]:
        return record(value, self._where)

    def _list(self, value: Any) -> list[Any]:
        return many(value, self._where)


def _allow_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "enum" in schema and isinstance(schema["enum"], list):
        schema = {**schema, "enum": [*schema["enum"], None]}
    if "type" in schema:
        return {**schema, "type": [schema["type"], "null"]}
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    return schema
