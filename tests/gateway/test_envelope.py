"""A request's JSON is bounded before it is decoded, and no key stands twice where it is read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_gateway.envelope import CONTAINERS_LIMIT, check_bounds, read_members, read_tree
from ailink_provider.errors import Failure

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values, max_size=6), st.booleans(), st.booleans())
def test_members_are_the_bytes_that_came(tree: dict[str, object], spaced: bool, ascii_only: bool) -> None:
    body = json.dumps(tree, separators=None if spaced else (",", ":"), ensure_ascii=ascii_only).encode(
        "utf-8", "surrogatepass"
    )
    try:
        members = read_members(body)
    except Failure:
        with pytest.raises(UnicodeDecodeError):
            body.decode()
        return
    assert {name: json.loads(bytes(value)) for name, value in members.items()} == tree
    assert read_tree(body) == tree


@given(st.text(alphabet='{}[]",:\\ 019.etrufalsn', max_size=60).map(str.encode))
def test_whatever_comes_is_an_answer_or_a_failure(body: bytes) -> None:
    for read in (read_members, read_tree):
        try:
            assert isinstance(read(body), dict)
        except Failure as failure:
            assert failure.code == "invalid_request"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[1]",
        b'"x"',
        b"{",
        b'{"a":1',
        b"{'a':1}",
        b'{"a":1,}',
        b"\xff\xfe",
        b'{"a":\x00}',
        b"[" * 10_000,
        b'{"a":' * 10_000,
        b'{"a":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"a":' + b"[" * 65 + b"]" * 65 + b"}",
        b'{"a":' + b"9" * 5000 + b"}",
        b'{"a":[' + b"[]," * 100 + b"9" * 5000 + b"]}",
        b'{"a":[' + b"[]," * 100 + b"1." + b"9" * 512 + b"]}",
        b'{"a":[' + b"[{}]," * (CONTAINERS_LIMIT // 2) + b"1]}",
    ],
)
def test_malformed_or_oversized(body: bytes) -> None:
    with pytest.raises(Failure) as caught:
        read_members(body)
    assert caught.value.status == 400


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","model":"b"}',
        b'{ "model": "a", "model": "b" }',
        b'{"model":"a","\\u006dodel":"b"}',
        b'{"a":1,"model":"a","model":"a"}',
    ],
)
def test_a_key_that_stands_twice(body: bytes) -> None:
    with pytest.raises(Failure, match="twice"):
        read_members(body)


def test_of_many_keys_the_one_that_stands_twice_is_found_at_once() -> None:
    members = b",".join(b'"k%d":1' % number for number in range(200_000))
    with pytest.raises(Failure, match="'k199999' stands twice"):
        read_members(b"{%b,%b}" % (members, b'"k199999":1'))


def test_twice_below_is_refused_where_it_is_read() -> None:
    body = b'{"messages":[{"role":"user","role":"system"}]}'
    assert list(read_members(body)) == ["messages"]
    with pytest.raises(Failure, match="twice"):
        read_tree(body)


@pytest.mark.parametrize("body", [rb'{"a": "x\ud83d"}', rb'{"a": ["\uDE00\ud83d"]}'])
def test_half_a_character_is_called_so(body: bytes) -> None:
    with pytest.raises(Failure, match="surrogate pair"):
        read_members(body)
    assert read_members(rb'{"a": "\ud83d\ude00 \\ud83d"}')


def test_brackets_and_digits_in_strings_do_not_count() -> None:
    text = "[" * 500 + '\\" ' + "{" * 500 + "\\\\" + "7" * 2000
    body = b'{"a":"' + text.encode() + b'","b":' + b"[" * 60 + b"]" * 60 + b"}"
    check_bounds(body)
    assert set(read_members(body)) == {"a", "b"}
