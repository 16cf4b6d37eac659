"""Bodies: what is read of JSON and forms, what is refused, and that rewriting changes what was meant alone."""

from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from ailink_gateway.exchange import Exchange
from ailink_gateway.policy.bodies import FormBody, JsonBody, MultipartBody, Unreadable, read_body
from ailink_gateway.policy.facts import Facts
from ailink_gateway.policy.patterns import Replacer
from ailink_provider.errors import Failure

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=cut"


def tree(kind: str, data: bytes) -> Any:
    body = read_body(kind, data, model=False)
    assert body is not None
    return body.tree


@pytest.mark.parametrize("kind", [
    "application/json", "application/json; charset=utf-8", "", "application/vnd.api+json", "application/json;",
    'application/json;charset="UTF-8"', "application/json; charset=utf8 ;",
    'application/vnd.api+json; ext="https://a.example/b; c"; odata.metadata=full',
    "application/ld+json; profile=http://a.example/b",
])  # fmt: skip
def test_json_is_read_whatever_it_is_called(kind: str) -> None:
    assert tree(kind, b'{"a": [1, {"b": "x"}]}') == {"a": [1, {"b": "x"}]}


def test_a_form_is_read_with_its_brackets() -> None:
    data = b"amount=5000&metadata%5Border%5D=7&items[0][price]=3&items[1][price]=4&tags[]=a&tags[]=b+c&empty="
    assert tree(FORM, data) == {
        "amount": "5000", "metadata": {"order": "7"}, "items": [{"price": "3"}, {"price": "4"}], "tags": ["a", "b c"],
        "empty": "",
    }  # fmt: skip


def test_a_multipart_form_is_read_as_fields_and_files() -> None:
    data = (
        b'--cut\r\nContent-Disposition: form-data; name="amount"\r\n\r\n5000\r\n'
        b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n'
        b"Content-Type: text/plain\r\n\r\nhello\r\n"
        b"--cut--\r\n"
    )
    assert tree(MULTIPART, data) == {"amount": "5000", "file": {"filename": "a.txt", "size": 5}}
    assert tree('multipart/form-data; boundary="cut"', data)["amount"] == "5000"


@pytest.mark.parametrize(("kind", "data"), [
    ("application/json; charset=utf-7", b'{"a":1}'), ("application/json;charset=\"UTF-16\"", b'{"a":1}'),
    ("application/json; x; charset=utf-7", b'{"a":1}'), ("application/json; a=b, " + FORM, b'{"a":1}'),
    (FORM + "; charset=ibm037", b"a=1"), (FORM + "; charset=utf-8; charset=utf-7", b"a=1"),
    ("text/plain", b'{"a":1}'), ("application/octet-stream", b"\x00"), ("application/json", b"{"),
    ("application/json", b'{"a": NaN}'), ("application/json", b"[" * 100 + b"]" * 100), ("application/json", b"\xff"),
    (FORM, b"a=1&a=2"), (FORM, b"a=1;a=2"), (FORM, b"a=1&a[b]=2"), (FORM, b"a[b]=1&a=2"), (FORM, b"a=%ff"),
    (FORM, b"a[1]=x"),
    (FORM, b"&".join(b"a%d=1" % number for number in range(1001))), (FORM, b"a" + b"[b]" * 40 + b"=1"),
    (MULTIPART, b"hello"), ("multipart/form-data", b"--cut--\r\n"),
    (MULTIPART, b'--cut\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--cut'),
    (MULTIPART, b"--cut\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n--cut--"),
    (MULTIPART, b'--cut\r\nContent-Disposition: form-data; name="a"; name="b"\r\n\r\n1\r\n--cut--'),
    (MULTIPART,
    b'--cut\r\nContent-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: base64\r\n\r\nMQ==\r\n--cut--'),
    (MULTIPART, b'--cut\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--cut--'),
    (MULTIPART, b'--cut\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n' * 2 + b"--cut--"),
])  # fmt: skip
def test_what_two_readers_might_read_differently_is_not_read(kind: str, data: bytes) -> None:
    with pytest.raises(Unreadable) as caught:
        tree(kind, data)
    assert (caught.value.code, caught.value.status, caught.value.reason) == ("policy_denied", 403, "body_unreadable")


def test_a_key_that_stands_twice_is_the_clients_error() -> None:
    with pytest.raises(Failure) as caught:
        tree("application/json", b'{"a": {"b": 1, "b": 2}}')
    assert (caught.value.code, caught.value.status) == ("invalid_request", 400)


def test_no_body_is_none() -> None:
    assert read_body("application/json", b"", model=False) is None


def test_a_form_is_rewritten_field_by_field() -> None:
    body = FormBody(b"amount=5000&metadata[order]=7&tags[]=a&tags[]=b&note=x%26y")
    body.set(("amount",), 100)
    body.set(("metadata", "by"), {"bot": True})
    body.remove(("metadata", "order"))
    body.change(("tags",), str.upper)
    assert body.encode() == b"tags[]=A&tags[]=B&note=x%26y&amount=100&metadata[by][bot]=true"
    body.change(None, lambda text: text.replace("x", "z"))
    assert FormBody(body.encode()).tree["note"] == "z&y"


def test_a_multipart_form_is_not_rewritten() -> None:
    body = MultipartBody(MULTIPART, b'--cut\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--cut--')
    for change in (
        lambda: body.set(("a",), 1), lambda: body.remove(("a",)), lambda: body.change(None, str.upper), body.encode
    ):  # fmt: skip
        with pytest.raises(Unreadable) as caught:
            change()
        assert caught.value.reason == "body_not_rewritable"


def test_json_keeps_numbers_that_no_rule_touches() -> None:
    body = read_body("application/json", b'{"big": 123456789012345678901234567890, "exact": 1.50, "a": 1}', model=False)
    assert isinstance(body, JsonBody)
    body.set(("a",), 2)
    assert body.encode() == b'{"big":123456789012345678901234567890,"exact":1.50,"a":2}'


def test_json_with_half_a_surrogate_pair_is_read_and_written() -> None:
    body = read_body("application/json", b'{"half": "\\ud800", "big": 123456789012345678901, "a": 1}', model=False)
    assert isinstance(body, JsonBody)
    body.change(("half",), lambda text: text + "!")
    assert body.encode() == b'{"half":"\\ud800!","big":123456789012345678901,"a":1}'


@pytest.mark.parametrize(("pattern", "replacement", "text", "expected"), [
    (r"\d{4}-(\d{4})", r"****-\1", "card 1234-5678 and 1111-2222", "card ****-5678 and ****-2222"),
    ("a*", "-", "baac", "-b--c-"), ("é", "e", "café é", "cafe e"), ("x*", "|", "é", "|é|"),
    ("(a)|(b)", r"[\1\2]", "ab", "[a][b]"),
    ("a", r"\\", "bab", "b\\b"), ("b+", r"<\0>", "abbc", "a<bb>c"), ("z", "y", "none", "none"),
    ("a", "", "banana", "bnn"),
])  # fmt: skip
def test_texts_are_replaced(pattern: str, replacement: str, text: str, expected: str) -> None:
    assert Replacer(pattern, replacement, "p", "r")(text, 1000, inf) == expected


def test_a_replacement_that_would_grow_without_bound_is_given_up() -> None:
    assert Replacer("a", "b" * 1000, "p", "r")("a" * 1000, 10_000, inf) is None


def test_a_replacement_that_takes_too_long_is_given_up() -> None:
    replace = Replacer("a(.*b)?", "c", "p", "r")
    assert replace("a" * 1000, 10_000, inf) == "c" * 1000
    assert replace("a" * 1000, 10_000, 0.0) is None


@pytest.mark.parametrize("first", ["application/json", "application/json; charset=utf-8", 'application/json; a="'])
def test_a_content_type_that_stands_twice_is_not_believed(
    ask: Callable[..., Exchange], facts_of: Callable[..., Facts], first: str
) -> None:
    exchange = ask(body=b'{"amount": 5}', headers={"content-type": first})
    exchange.raw_headers.append((b"content-type", b"application/x-www-form-urlencoded"))
    with pytest.raises(Unreadable):
        facts_of(exchange).body_value(("amount",))


def test_a_model_is_read_as_json_whatever_it_says_it_is(
    ask: Callable[..., Exchange], facts_of: Callable[..., Facts]
) -> None:
    exchange = ask("POST", "/v1/chat/completions", b'{"messages": [{"role": "user"}]}', {"content-type": "text/plain"})
    assert facts_of(exchange).body_value(("messages", 0, "role")) == "user"
