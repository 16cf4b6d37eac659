"""Errors: of the service, of what stands before it, and ours for its clients."""

import pytest
from msgspec.json import encode

from ailink_provider.dialects.bedrock_converse import DIALECT
from ailink_provider.errors import Failure

PREFIX = "com.amazonaws.bedrock#"


def read(status, name="", message="It said so.", **headers):
    body = encode({"message": message})
    return DIALECT.read_error(status, {"x-amzn-errortype": name, **headers} if name else headers, body)


@pytest.mark.parametrize(("status", "name", "message", "code"), [
    (400, "ValidationException", "Malformed input request.", "invalid_request"),
    (400, "ValidationException", "Input is too long for requested model.", "context_length_exceeded"),
    (400, "ValidationException", "The model returned the following errors: prompt is too long: 9 tokens > 8 maximum",
     "context_length_exceeded"),
    (400, "ValidationException", "The provided model identifier is invalid.", "model_not_found"),
    (400, "ServiceQuotaExceededException", "Quota.", "insufficient_quota"),
    (400, "IncompleteSignatureException", "Authorization header requires 'Credential' AKIA", "upstream_auth"),
    (401, "", "", "upstream_auth"), (402, "", "", "insufficient_quota"),
    (403, "AccessDeniedException", "You don't have access to the model.", "upstream_auth"),
    (403, "UnrecognizedClientException", "The security token AKIAEXAMPLE is invalid.", "upstream_auth"),
    (403, "", "Authentication failed: Please make sure your API Key is valid.", "upstream_auth"),
    (404, "ResourceNotFoundException", "No such model.", "model_not_found"),
    (404, "UnknownOperationException", "", "upstream_failed"),
    (405, "", "Not that way.", "invalid_request"), (409, "ConflictException", "Busy with another.", "conflict"),
    (408, "ModelTimeoutException", "Slow.", "upstream_timeout"),
    (413, "", "Request body too large.", "payload_too_large"), (413, "", "Too many tokens.", "context_length_exceeded"),
    (424, "ModelErrorException", "Bad.", "upstream_failed"),
    (429, "ThrottlingException", "Too many tokens, please wait before trying again.", "rate_limit_exceeded"),
    (429, "ModelNotReadyException", "Warming up.", "upstream_overloaded"),
    (500, "InternalServerException", "Oops.", "upstream_failed"),
    (503, "ServiceUnavailableException", "Full.", "upstream_overloaded"), (504, "", "", "upstream_timeout"),
    (418, "TeapotException", "Tea.", "upstream_failed")])
def test_what_the_service_says(status, name, message, code):
    failure = read(status, name, message)
    assert (failure.code, failure.upstream_status) == (code, status)
    if code in ("upstream_auth", "insufficient_quota"):
        assert message not in failure.message or not message
        assert "Amazon Bedrock" in failure.message
    elif message:
        assert failure.message == message
    else:
        assert str(status) in failure.message


@pytest.mark.parametrize(("headers", "body"), [
    ({"x-amzn-errortype": "ThrottlingException:http://internal.amazon.com/coral/"}, {"message": "m"}),
    ({"x-amzn-errortype": f"{PREFIX}ThrottlingException"}, {"Message": "m"}),
    ({}, {"__type": f"{PREFIX}ThrottlingException", "message": "m"}), ({}, {"code": "ThrottlingException",
                                                                             "message": "m"})])
def test_a_name_stands_in_many_places(headers, body):
    failure = DIALECT.read_error(200, headers, encode(body))
    assert (failure.code, failure.message, failure.upstream_status) == ("rate_limit_exceeded", "m", 429)


@pytest.mark.parametrize(("status", "body", "code"), [
    (502, b"<html>Bad\nGateway</html>", "upstream_failed"), (400, b"<html>", "upstream_failed"),
    (404, b"[1]", "not_found"), (400, b"", "invalid_request"), (405, b"", "invalid_request"),
    (404, b"<html>", "upstream_failed"), (424, b"", "upstream_failed"), (503, b"", "upstream_overloaded"),
    (413, b"too big", "payload_too_large"),
    (403, b"key sk-secret", "upstream_auth"), (429, b'{"message":7}', "rate_limit_exceeded"),
    (500, b"[" * 9000, "upstream_failed")])
def test_what_stands_before_it_says(status, body, code):
    failure = DIALECT.read_error(status, {}, body)
    assert (failure.code, failure.upstream_status) == (code, status)
    assert len(failure.message) < 350
    assert not any(ord(character) < 32 for character in failure.message)
    assert "secret" not in failure.message


def test_an_exception_without_words_is_known_by_its_name():
    failure = DIALECT.read_error(403, {"x-amzn-errortype": "ExpiredTokenException"}, b"")
    assert (failure.code, "check the key" in failure.message) == ("upstream_auth", True)


@pytest.mark.parametrize(("value", "seconds"), [("7", 7.0), ("1.5", 1.5), ("", None), ("soon", None), ("-1", None)])
def test_how_long_to_wait(value, seconds):
    assert read(429, "ThrottlingException", **{"retry-after": value}).retry_after == seconds


def test_long_messages_are_cut():
    assert len(read(500, message="x" * 5000).message) == 300
    assert len(read(400, message="x" * 5000).message) == 2000
    assert read(400, message="a\x00\x1b[31mb").message == "a [31mb"


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "invalid_request", "upstream_overloaded", "upstream_failed",
                                  "internal_error", "budget_exceeded", "model_not_found"])
def test_botocore_understands_ours(golden, code):
    case = golden("written.json")["errors"][code]
    failure = Failure(code, case["body"]["message"])
    assert DIALECT.write_error(failure, "req_1") == (case["status"], case["body"])
    assert case["read"] == {"Code": case["body"]["__type"], "Message": failure.message}


@pytest.mark.parametrize(("failure", "status", "name"), [
    (Failure("policy_denied", "m", policy_name="p", reason="r", details={"a": 1}), 403, "AccessDeniedException"),
    (Failure("conflict", "m"), 409, "ConflictException"),
    (Failure("upstream_timeout", "m"), 504, "ModelTimeoutException"),
    (Failure("method_not_allowed", "m"), 405, "ValidationException"),
    (Failure("invalid_request", "m", status=418), 418, "ValidationException")])
def test_ours_keep_their_status(failure, status, name):
    code, body = DIALECT.write_error(failure, "req_1")
    assert (code, body["__type"], body["message"], body["request_id"]) == (status, name, "m", "req_1")
    assert [body.get(key) for key in ("policy_name", "reason", "details")] == [
        failure.policy_name, failure.reason, failure.details]
