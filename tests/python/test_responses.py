"""Answers read into models and errors."""

import json
import pickle

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

import ailink
from ailink._responses import connection_error, error_from, is_gateway_error, item_from, items_from
from ailink.models import Token

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
error_fields = st.sampled_from(["message", "code", "param", "request_id", "policy_name", "reason", "details"])


def answered(status, body=None, headers=None):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = httpx2.Request("GET", "https://gateway.example.com/api/v1/tokens?key=hidden")
    return httpx2.Response(status, content=content, headers=headers, request=request)


@pytest.mark.parametrize(("status", "code", "kind"), [
    (400, "invalid_request", ailink.ValidationError),
    (401, "invalid_api_key", ailink.AuthenticationError),
    (402, "spend_cap_reached", ailink.SpendCapError),
    (402, "budget_exceeded", ailink.SpendCapError),
    (403, "policy_denied", ailink.PolicyDeniedError),
    (403, "content_blocked", ailink.PolicyDeniedError),
    (404, "model_not_found", ailink.NotFoundError),
    (405, "method_not_allowed", ailink.AIlinkError),
    (408, "approval_timeout", ailink.ApprovalTimeoutError),
    (408, "request_timeout", ailink.AIlinkError),
    (409, "idempotency_conflict", ailink.ConflictError),
    (413, "payload_too_large", ailink.AIlinkError),
    (422, "validation_error", ailink.ValidationError),
    (429, "rate_limit_exceeded", ailink.RateLimitError),
    (500, "internal_error", ailink.GatewayError),
    (503, "circuit_open", ailink.GatewayError),
    (504, "upstream_timeout", ailink.GatewayError),
])
def test_each_refusal_has_its_class(status, code, kind):
    error = error_from(answered(status, {"error": {"message": "no", "code": code}}, {"X-AILink-Error": code}))
    assert type(error) is kind
    assert (error.message, str(error), error.status_code, error.code) == ("no", "no", status, code)


@pytest.mark.parametrize("kind", [ailink.RateLimitError, ailink.SpendCapError])
def test_limits_and_caps_are_denials(kind):
    assert issubclass(kind, ailink.PolicyDeniedError)


def test_an_error_keeps_all_that_the_gateway_said():
    response = answered(
        429,
        {"error": {
            "message": "slow down", "code": "rate_limit_exceeded", "param": "model", "request_id": "req_1",
            "policy_name": "calm", "reason": "rate_limit_exceeded", "details": {"limit": 5},
        }},
        {"Retry-After": "7", "X-Request-ID": "req_header"},
    )
    error = error_from(response)
    assert isinstance(error, ailink.RateLimitError)
    assert (error.policy_name, error.reason) == ("calm", "rate_limit_exceeded")
    assert (error.param, error.request_id, error.details, error.retry_after) == ("model", "req_1", {"limit": 5}, 7)
    assert error.response is response


def test_a_denial_without_a_reason_gives_its_code():
    error = error_from(answered(402, {"error": {"message": "spent", "code": "spend_cap_reached"}}))
    assert isinstance(error, ailink.SpendCapError)
    assert (error.policy_name, error.reason) == (None, "spend_cap_reached")


@pytest.mark.parametrize("body", [
    {"type": "error", "error": {"type": "permission_error", "message": "no"}, "request_id": "req_2"},
    {"error": {"code": 403, "message": "no", "status": "PERMISSION_DENIED"}},
    {"detail": "no"},
])
def test_errors_in_other_dialects_are_understood(body):
    error = error_from(answered(403, body, {"X-AILink-Error": "policy_denied", "X-Request-ID": "req_2"}))
    assert isinstance(error, ailink.PolicyDeniedError)
    assert (error.message, error.code, error.request_id) == ("no", "policy_denied", "req_2")


@pytest.mark.parametrize(("details", "timeout"), [({"timeout": 600}, 600), ({"timeout": "x"}, None), (None, None)])
def test_an_approval_that_came_too_late_says_how_long_was_waited(details, timeout):
    error = error_from(answered(408, {"error": {"message": "late", "code": "approval_timeout", "details": details}}))
    assert isinstance(error, ailink.ApprovalTimeoutError)
    assert error.timeout == timeout


def test_an_answer_without_words_is_described_without_its_query():
    error = error_from(answered(502, b"<html>Bad gateway</html>"))
    assert isinstance(error, ailink.GatewayError)
    assert error.message == "GET https://gateway.example.com/api/v1/tokens was answered 502"


def test_a_redirect_says_where_the_gateway_is():
    error = error_from(answered(308, b"", {"Location": "https://new.example.com/"}))
    assert "a redirect to https://new.example.com/: set gateway_url" in error.message


@given(
    body=json_values | st.fixed_dictionaries({"error": json_values | st.dictionaries(error_fields, json_values)}),
    status=st.integers(min_value=300, max_value=599),
)
def test_no_answer_is_too_odd_to_be_an_error(body, status):
    error = error_from(answered(status, body))
    assert error.message
    assert error.status_code == status


@pytest.mark.parametrize(("status", "headers", "own"), [
    (403, {"X-AILink-Error": "policy_denied"}, True),
    (403, {}, False),
    (200, {"X-AILink-Error": "odd"}, False),
])
def test_the_header_tells_the_gateways_errors_from_an_apis(status, headers, own):
    assert is_gateway_error(answered(status, {}, headers)) is own


@pytest.mark.parametrize(("error", "kind", "words"), [
    (httpx2.ConnectError("refused"), ailink.APIConnectionError, "cannot be reached (refused)"),
    (httpx2.ReadTimeout(""), ailink.APITimeoutError, "did not answer in time (ReadTimeout)"),
])
def test_silence_is_an_error_that_names_the_gateway(error, kind, words):
    made = connection_error(error, "https://gateway.example.com")
    assert type(made) is kind
    assert made.message == f"the gateway at https://gateway.example.com {words}"
    assert (made.status_code, made.code, made.response) == (None, None, None)


@pytest.mark.parametrize("body", [b"", b"<html>", [], {"name": "no id"}, {"id": "x", "name": "y", "scopes": 5}])
def test_what_is_not_a_token_is_not_taken_for_one(body):
    with pytest.raises(ailink.GatewayError, match="not Token: is gateway_url an AIlink gateway's"):
        item_from(answered(200, body), Token)


@pytest.mark.parametrize("body", [[], {"data": None}, {"data": "x"}, {"items": []}])
def test_what_is_not_a_list_is_not_taken_for_one(body):
    with pytest.raises(ailink.GatewayError, match="not a list of Token"):
        items_from(answered(200, body), Token)


def test_an_unreadable_token_is_not_shown(token, secret):
    with pytest.raises(ailink.GatewayError) as caught:
        item_from(answered(201, {"token_id": token, "id": {"secret": secret}}), Token)
    assert secret not in str(caught.value)
    assert secret not in str(caught.value.__cause__)


def test_errors_survive_pickling():
    error = error_from(answered(403, {"error": {"message": "no", "code": "policy_denied", "policy_name": "calm"}}))
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), copy.message, copy.policy_name) == (ailink.PolicyDeniedError, "no", "calm")
