"""An open door on a developer's machine: programs there may knock, web pages may not."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_gateway.app import Gateway
from ailink_gateway.dev import refusal
from ailink_gateway.settings import load
from ailink_provider.errors import Failure

Headers = list[tuple[bytes, bytes]]
HOST = (b"host", b"localhost:8080")
JSON = (b"content-type", b"application/json")


def asked(*headers: tuple[bytes, bytes]) -> Failure | None:
    return refusal({"headers": list(headers)})


@pytest.mark.parametrize(
    "host",
    [b"localhost", b"localhost:8080", b"LOCALHOST:8080", b"127.0.0.1", b"127.0.0.1:1", b"[::1]", b"[::1]:8080"],
)
def test_this_machine_is_answered(host: bytes) -> None:
    assert asked((b"host", host)) is None


@pytest.mark.parametrize(
    "host",
    [
        b"", b"evil.example", b"evil.example:8080", b"localhost.evil.example", b"127.0.0.1.evil.example", b"127.0.0.2",
        b"0.0.0.0", b"localhost.", b"localhost@evil.example", b"evil.example#localhost", b"[::1", b"[evil]", b"::1",
        b"[::ffff:127.0.0.1]", b"2130706433", b"\xff",
    ],
)  # fmt: skip
def test_any_other_name_is_not_this_machine(host: bytes) -> None:
    failure = asked((b"host", host))
    assert failure is not None and (failure.code, failure.status) == ("policy_denied", 403)


def test_a_request_without_a_host_is_refused() -> None:
    assert asked() is not None


@pytest.mark.parametrize(
    "origin", [b"http://localhost", b"http://localhost:3000", b"https://127.0.0.1:8443", b"http://[::1]:8080"]
)
def test_a_page_of_this_machine_is_answered(origin: bytes) -> None:
    assert asked(HOST, (b"origin", origin)) is None


@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.example", b"http://localhost.evil.example", b"http://evil.example:8080", b"null", b"",
        b"file://", b"http://[", b"http://[::1", b"localhost", b"http:localhost", b"http://localhost@evil.example",
        b"http://\xff", b"http://evil.localhost",
    ],
)  # fmt: skip
@pytest.mark.parametrize("method_headers", [[], [JSON, (b"authorization", b"Bearer ailink_v1")]])
def test_a_page_of_elsewhere_is_refused_whatever_it_sends(origin: bytes, method_headers: Headers) -> None:
    failure = asked(HOST, *method_headers, (b"origin", origin))
    assert failure is not None and failure.reason == "foreign_origin"


@pytest.mark.parametrize(
    ("site", "answered"),
    [(b"none", True), (b"same-origin", True), (b"same-site", True), (b"cross-site", False), (b"", False)],
)
def test_a_fetch_from_another_site_is_refused(site: bytes, answered: bool) -> None:
    assert (asked(HOST, (b"sec-fetch-site", site)) is None) is answered


LENGTH, CHUNKED = (b"content-length", b"2"), (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize("body", [LENGTH, CHUNKED])
@pytest.mark.parametrize(
    ("content_type", "answered"),
    [
        (b"application/json", True),
        (b"Application/JSON; charset=utf-8", True),
        (b"text/plain", False),
        (b"application/x-www-form-urlencoded", False),
        (b"multipart/form-data; boundary=application/json", False),
        (b"text/plain; application/json", False),
        (b"", False),
        (None, False),
    ],
)
def test_a_form_cannot_send_a_body_without_a_token(
    body: tuple[bytes, bytes], content_type: bytes | None, answered: bool
) -> None:
    headers = [HOST, body] + ([] if content_type is None else [(b"content-type", content_type)])
    failure = asked(*headers)
    assert (failure is None) is answered
    assert failure is None or (failure.status, failure.param) == (415, "content-type")


def test_the_gateways_own_forms_may_be_sent() -> None:
    form = (b"content-type", b"application/x-www-form-urlencoded")
    headers = [(b"host", b"localhost"), form, (b"content-length", b"3")]
    assert refusal({"headers": headers}) is not None
    assert refusal({"headers": headers}, own_page=True) is None
    foreign = [*headers, (b"origin", b"https://evil.example")]
    assert refusal({"headers": foreign}, own_page=True) is not None


def test_with_a_token_a_body_is_what_it_is_and_without_a_body_there_is_no_type() -> None:
    for name in (b"authorization", b"x-api-key", b"x-goog-api-key", b"x-admin-key"):
        assert asked(HOST, LENGTH, (b"content-type", b"text/csv"), (name, b"x")) is None
    assert asked(HOST) is None
    assert asked(HOST, (b"content-length", b"0")) is None


@given(st.lists(st.tuples(st.sampled_from([b"host", b"origin", b"sec-fetch-site", b"content-type"]), st.binary())))
def test_no_header_is_too_strange(headers: Headers) -> None:
    failure = refusal({"headers": headers})
    assert failure is not None, "chance does not make a good Host"


class Unopened(Gateway):
    """A gateway that was not started: a refusal comes before anything that is opened then."""

    def __init__(self, data: Path) -> None:
        self.settings = load("dev", {}, data=data)


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/tokens", "/healthz", "/docs"])
async def test_both_planes_refuse_before_anything_else(tmp_path: Path, client: Any, path: str) -> None:
    scope = {
        "type": "http", "method": "GET", "path": path, "raw_path": path.encode(), "query_string": b"",
        "headers": [HOST, (b"origin", b"https://evil.example")], "client": None,
    }  # fmt: skip
    await Unopened(tmp_path)(scope, client.receive, client.send)
    assert (client.status, client.headers["x-ailink-error"]) == (403, "policy_denied")
    assert client.ended
