"""Properties of policies, whatever the document and the call: conditions against a naive reading, rewriting and reading
again, refusals that are typed, and patterns whose time is bounded by their size.
"""

import json
from typing import Any

import pytest
import re2  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ailink_gateway.policy import paths
from ailink_gateway.policy.bodies import FormBody, JsonBody, Unreadable, read_body
from ailink_gateway.policy.comparisons import number
from ailink_gateway.policy.compiler import compile_policy
from ailink_gateway.policy.conditions import Reader
from ailink_gateway.policy.paths import EVERY, MISSING, Path
from ailink_gateway.policy.patterns import PROGRAM, compile_regex, glob
from ailink_provider.errors import Failure

names = st.sampled_from(["a", "b", "c", "d e"])
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.integers(), st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["1", "2.0", "-3", "x", "", "1e3", "true"]), st.text(max_size=5),
)  # fmt: skip
trees = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=10
)
objects = st.dictionaries(names, trees, max_size=4)
steps = st.one_of(names, st.integers(0, 3))
plain_paths = st.lists(steps, max_size=3).flatmap(lambda rest: names.map(lambda first: (first, *rest)))
any_paths = st.lists(steps | st.just(EVERY), max_size=3).flatmap(lambda rest: names.map(lambda first: (first, *rest)))


# --- a naive reading of the contract ---------------------------------------------------------------


def naive_values(tree: Any, path: Path) -> list[Any]:
    if not path:
        return [tree]
    step, rest = path[0], path[1:]
    if step is EVERY:
        return [found for entry in (tree if isinstance(tree, list) else []) for found in naive_values(entry, rest)]
    try:
        inner = tree[step] if isinstance(tree, dict if isinstance(step, str) else list) else MISSING
    except (KeyError, IndexError):
        inner = MISSING
    return [] if inner is MISSING else naive_values(inner, rest)


def naive_compare(op: str, value: Any, expected: Any) -> bool:
    mine, theirs = number(value), number(expected)
    if op in ("eq", "neq"):
        if isinstance(value, bool) or isinstance(expected, bool):
            same = value is expected
        elif mine is not None and theirs is not None:
            same = mine == theirs
        else:
            same = json.dumps(value, sort_keys=True) == json.dumps(expected, sort_keys=True)
        return same if op == "eq" else not same
    if theirs is None:
        if not isinstance(value, str):
            return False
        mine, theirs = value, expected  # type: ignore[assignment]
    if mine is None:
        return False
    return {"gt": mine > theirs, "gte": mine >= theirs, "lt": mine < theirs,
        "lte": mine <= theirs}[op]  # type: ignore[operator]


def naive(condition: Any, tree: Any) -> bool:
    if "all" in condition:
        return all(naive(entry, tree) for entry in condition["all"])
    if "any" in condition:
        return any(naive(entry, tree) for entry in condition["any"])
    if "not" in condition:
        return not naive(condition["not"], tree)
    found = naive_values(tree, paths.parse(condition["field"].removeprefix("request.body."), ""))
    if condition["op"] == "exists":
        return bool(found) is condition["value"]
    return any(naive_compare(condition["op"], value, condition["value"]) for value in found)


flat = scalars.filter(lambda value: not isinstance(value, str) or "\x00" not in value)
fields = any_paths.map(lambda path: f"request.body.{paths.spell(path)}")
leaves = st.one_of(
    st.builds(lambda field, op, value: {"field": field, "op": op, "value": value}, fields,
    st.sampled_from(["eq", "neq"]), flat),
    st.builds(lambda field, op, value: {"field": field, "op": op, "value": value}, fields,
              st.sampled_from(["gt", "gte", "lt", "lte"]), st.integers(-5, 5) | st.sampled_from(["1", "x", "2.5"])),
    st.builds(lambda field, value: {"field": field, "op": "exists", "value": value}, fields, st.booleans()),
)  # fmt: skip
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda entries: {"all": entries}),
        st.lists(inner, min_size=1, max_size=3).map(lambda entries: {"any": entries}),
        inner.map(lambda entry: {"not": entry}),
    ),
    max_leaves=5,
)


class OfTree:
    """The facts of a body alone."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree

    def body_value(self, path: Path) -> Any:
        return paths.read(self.tree, path)

    def body_values(self, path: Path) -> list[Any]:
        return paths.read_all(self.tree, path)

    def body_member(self, name: str) -> Any:
        return paths.read(self.tree, (name,))


@given(conditions, objects)
@settings(max_examples=300, deadline=None)
def test_a_condition_means_what_a_naive_reading_says(condition: Any, tree: Any) -> None:
    assert Reader("pre").read(condition, "when")(OfTree(tree)) is naive(condition, tree)


# --- rewriting -------------------------------------------------------------------------------------


@given(objects, plain_paths, trees)
@settings(max_examples=200, deadline=None)
def test_what_is_set_in_json_is_what_is_read_again(tree: Any, path: Path, value: Any) -> None:
    body = JsonBody(json.dumps(tree).encode(), json.loads(json.dumps(tree)))
    body.set(path, value)
    again = json.loads(body.encode())
    assert paths.read(again, path) == json.loads(json.dumps(value))
    body = JsonBody(json.dumps(again).encode(), again)
    body.remove(path)
    left = json.loads(body.encode())
    assert paths.read(left, path) is MISSING or isinstance(path[-1], int)


@given(objects, plain_paths, scalars)
@settings(deadline=None)
def test_members_that_no_rule_touches_keep_their_bytes(tree: Any, path: Path, value: Any) -> None:
    raw = b'{ "untouched" :  {"x": 1.50, "y": 123456789012345678901234567890}'
    data = raw + b"".join(b", " + json.dumps(name).encode() + b":" + json.dumps(entry).encode() for name,
        entry in tree.items())
    data += b"}"
    body = JsonBody(data, json.loads(data))
    body.set(path, value)
    assert b'{"x": 1.50, "y": 123456789012345678901234567890}' in body.encode()


words = st.text(st.characters(exclude_characters="[]", exclude_categories=["Cs"]), min_size=1, max_size=6)


@given(st.dictionaries(words, st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=5), words, words)
@settings(deadline=None)
def test_what_is_set_in_a_form_is_what_is_read_again(pairs: dict[str, str], name: str, value: str) -> None:
    from urllib.parse import urlencode

    data = urlencode(pairs).encode()
    body = FormBody(data)
    assert body.tree == pairs
    body.set((name,), value)
    again = FormBody(body.encode())
    assert again.tree == {**pairs, name: value}
    again.remove((name,))
    assert FormBody(again.encode()).tree == {key: entry for key, entry in pairs.items() if key != name}


@given(st.binary(max_size=200), st.sampled_from([
    "application/json", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "multipart/form-data",
    "", "a/b",
]))  # fmt: skip
@settings(deadline=None)
def test_any_bytes_are_read_or_refused(data: bytes, kind: str) -> None:
    try:
        read_body(kind, data, model=False)
    except Unreadable as failure:
        assert failure.status == 403
    except Failure as failure:
        assert failure.code == "invalid_request"


# --- documents -------------------------------------------------------------------------------------

words_of_policies = st.sampled_from([
    "name", "mode", "phase", "rules", "retry", "when", "then", "type", "action", "field", "op", "value", "all", "any",
    "not",
    "deny", "allow", "override", "transform", "operations", "set_body_fields", "eq", "regex", "request.body.a",
    "schema",
    "validate_schema", "split", "variants", "weight", "route", "targets", "model", "enforce", "post", "$ref",
    "#/$defs/a",
    "$defs", "regex_replace", "pattern", "replacement", "status", "methods", "notify", "url", "limit_usd", "spend_cap",
])  # fmt: skip
documents = st.recursive(
    st.one_of(scalars, words_of_policies, st.floats()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words_of_policies | st.text(max_size=4), inner,
    max_size=5),
    max_leaves=30,
)


@given(documents)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_json_compiles_or_raises_its_typed_error(document: Any) -> None:
    for whole in (
        document, {"name": "p", "rules": [document]}, {"name": "p", "rules": [{"then": document}]},
        {"name": "p", "rules": [{"type": "deny", "when": document}]},
        {"name": "p", "rules": [{"type": "validate_schema", "schema": document}]},
    ):  # fmt: skip
        try:
            compile_policy(whole)
        except Failure as failure:
            assert failure.code == "validation_error"
            assert failure.details


# --- patterns --------------------------------------------------------------------------------------

pieces = st.sampled_from(["a", "b", ".", "(a+)+", "(a|a)*", "(a*)*", "a{1,50}", "[ab]", "$", "(", ")", "|", "*", "+",
    r"\d", "é"])


@given(st.lists(pieces, min_size=1, max_size=12).map("".join))
@settings(max_examples=200, deadline=None)
def test_a_pattern_has_few_instructions_or_is_refused(pattern: str) -> None:
    # RE2 looks at each character once for each instruction at most: its steps are the two multiplied.
    try:
        compiled = compile_regex(pattern, "here")
    except Failure as failure:
        assert failure.param == "here"
        return
    assert compiled.programsize <= PROGRAM
    compiled.search(b"a" * 5000 + b"!")


@pytest.mark.parametrize("pattern", ["(a+)+$", "^(a|a)*$", "(a*)*b", "(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_exploding_patterns_take_few_steps_for_each_character(pattern: str) -> None:
    compiled = compile_regex(pattern, "here")
    assert isinstance(compiled, re2._Regexp)
    assert compiled.programsize < 300
    assert compiled.search(b"a" * 100_000 + b"!") is None


@given(st.text(st.sampled_from("ab/*?."), min_size=1, max_size=8), st.text(st.sampled_from("ab/."), max_size=8))
@settings(max_examples=300, deadline=None)
def test_globs_match_as_those_of_the_shell_do(pattern: str, text: str) -> None:
    from fnmatch import fnmatchcase

    assert glob(pattern, "here")(text) is fnmatchcase(text, pattern)
