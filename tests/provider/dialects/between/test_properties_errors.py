"""Any failure, written for a client of a dialect and read by whoever takes this gateway for an upstream.

What must survive: the class of the status; the family of the code, where the refusal of a key is never the caller's own
again; when to try again; and, but for what is said of keys and accounts, the message.
"""


import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailink_provider.chat import MessageError
from ailink_provider.dialects import Sent
from ailink_provider.errors import CODES, Failure
from ailink_provider.registry import dialects

from .conftest import LEAST, OUTBOUND

NAMES = OUTBOUND

# What each code may be read back as: a status tells the family, the words of a message at most more.
_REQUEST = {"invalid_request", "context_length_exceeded", "conflict"}
_LIMIT = {"rate_limit_exceeded", "insufficient_quota"}
FAMILIES = {
    400: _REQUEST, 401: {"upstream_auth"}, 402: {"insufficient_quota"}, 403: {"upstream_auth"},
    404: {"not_found", "model_not_found"}, 405: _REQUEST, 408: {"upstream_timeout"}, 409: _REQUEST,
    413: {"payload_too_large"}, 422: _REQUEST, 429: _LIMIT, 500: {"upstream_failed"}, 502: {"upstream_failed"},
    503: {"upstream_overloaded"}, 504: {"upstream_timeout"},
}
NOT_REPEATED = {"upstream_auth", "insufficient_quota"}

failures = st.builds(
    lambda code, message, param, seconds, reason: Failure(
        code, message, param=param, retry_after=seconds, reason=reason, details=[{"a": 1}] if reason else None),
    st.sampled_from([code for code in CODES if code != "client_closed"]),
    st.from_regex(r"[A-Z][a-z]{1,10}( [a-z]{1,10}){1,8}\.", fullmatch=True),
    st.none() | st.sampled_from(["messages[0].content", "tools"]), st.none() | st.sampled_from([0.5, 7.0, 34.4, 120.0]),
    st.none() | st.just("why"))


def family(failure: Failure) -> set[str]:
    """Return what a failure of the gateway's may be to the next one."""
    if failure.status == 502 and failure.code in ("upstream_auth", "credential_missing"):
        return {"upstream_failed"}
    return FAMILIES[failure.status]


@pytest.mark.parametrize("dialect", NAMES)
@settings(max_examples=40, deadline=None)
@given(failures)
def test_an_answer(dialect: str, failure: Failure) -> None:
    status, body = dialects()[dialect].write_error(failure, "req_1")
    headers = {} if failure.retry_after is None else {"retry-after": f"{failure.retry_after:g}"}
    if dialect == "gemini":
        headers = {}  # there it stands in the body
    found = dialects()[dialect].read_error(status, headers, msgspec.json.encode(body))
    assert found.upstream_status is not None
    assert found.upstream_status // 100 == status // 100 == failure.status // 100
    assert found.code in family(failure)
    if found.code not in NOT_REPEATED:
        assert found.message == failure.message
    if found.code != "upstream_auth":
        assert found.retry_after == failure.retry_after


@pytest.mark.parametrize("dialect", NAMES)
@settings(max_examples=40, deadline=None)
@given(failures)
def test_an_error_in_a_stream(dialect: str, failure: Failure) -> None:
    operation = dialects()[dialect].operations["chat"]
    written = operation.writer(operation.read_request(LEAST[dialect], "m")).write(MessageError(failure))
    reader = operation.reader(Sent({}))
    (event,) = [*reader.feed(written), *reader.close()]
    assert isinstance(event, MessageError)
    found = event.failure
    if dialect == "bedrock_converse":  # whose streams know five exceptions, and whose fault they were
        assert (found.status < 500) == (failure.status < 500)
    elif dialect != "ollama":  # whose errors are texts in a stream
        assert found.code in family(failure)
    if found.code not in NOT_REPEATED:
        assert found.message == failure.message


@pytest.mark.parametrize("dialect", NAMES)
@settings(max_examples=40, deadline=None)
@given(status=st.integers(400, 599), body=st.binary(max_size=60) | st.sampled_from([
    b"<html><h1>502 Bad Gateway</h1></html>", b"[]", b'{"error": {"code": "%s"}}' %
    (b"9" * 5000), b'{"error":{"message":{},"type":[],"details":[[]]}}', b'"x"', b"null"]),
    header=st.sampled_from(["", "7", "-1", "nan", "1e999", "Wed, 21 Oct 2015 07:28:00 GMT", "\x00", "9" * 400]))
def test_any_answer_is_a_failure(dialect: str, status: int, body: bytes, header: str) -> None:
    found = dialects()[dialect].read_error(status, {"retry-after": header, "retry-after-ms": header}, body)
    assert found.upstream_status == status
    assert len(found.message) < 1000
    assert found.retry_after is None or 0 <= found.retry_after < float("inf")
    for outbound in NAMES:
        answered, written = dialects()[outbound].write_error(found, "req_1")
        assert 400 <= answered < 600
        msgspec.json.encode(written)
