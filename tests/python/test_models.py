"""Models: read like objects and like mappings, printed without secrets."""

from datetime import UTC, datetime

import pytest

from ailink import ApprovalDecision, ApprovalRequest, AuditLog, Credential, Policy, Project, Token


def test_a_model_reads_like_an_object_and_like_a_mapping():
    token = Token.model_validate({"id": "tok_1", "name": "bot", "shade": "blue"})
    assert token.id == token["id"] == token.get("id") == "tok_1"
    assert token["shade"] == token.get("shade") == token.shade == "blue"
    assert token["credential_id"] is None
    assert "shade" in token and "credential_id" in token
    assert "colour" not in token
    assert token.get("colour") is None
    assert token.get("colour", "red") == "red"
    with pytest.raises(KeyError, match="colour"):
        token["colour"]


def test_lists_are_not_shared_between_models():
    Token(id="tok_1", name="a").scopes.append("write")
    assert Token(id="tok_2", name="b").scopes == []


@pytest.mark.parametrize(("model", "fields"), [
    (Project, {"id": "p", "name": "finance"}),
    (Token, {
        "id": "tok_1", "name": "bot", "credential_id": "c", "upstream_url": "https://api.example.com",
        "is_active": False, "policy_ids": ["p"], "scopes": ["tokens:read"],
    }),
    (Credential, {"id": "c", "name": "prod", "provider": "openai", "created_at": datetime(2026, 5, 1, tzinfo=UTC)}),
    (Policy, {"id": "p", "name": "calm", "mode": "shadow", "phase": "post", "rules": [{"then": "allow"}], "retry": {}}),
    (AuditLog, {
        "id": "a", "method": "GET", "path": "/v1/models", "upstream_status": None, "response_latency_ms": 12.5,
        "agent_name": "bot", "model": "gpt-4o", "cost_usd": 0.0000975, "cache_hit": True,
    }),
    (ApprovalRequest, {
        "id": "apr_1", "token_id": "tok_1", "status": "pending", "request_summary": {"method": "POST"},
        "expires_at": datetime(2026, 5, 1, tzinfo=UTC),
    }),
    (ApprovalDecision, {"id": "apr_1", "status": "approved", "updated": True}),
])
def test_every_documented_field_is_there(model, fields):
    made = model.model_validate_json(model.model_validate(fields).model_dump_json())
    assert {name: made[name] for name in fields} == fields
    assert not made.model_extra


def test_numbers_serve_as_ids():
    assert AuditLog.model_validate({"id": 7}).id == "7"


@pytest.mark.parametrize("show", [repr, str, lambda token: f"{[token]}"])
def test_a_printed_token_hides_its_secret(show, token, secret):
    shown = show(Token(id="tok_AbCdEf012345", name="bot", token_id=token))
    assert secret not in shown
    assert "tok_AbCdEf012345" in shown and "bot" in shown


def test_secrets_are_hidden_wherever_they_are(token, secret):
    shown = repr(Credential.model_validate({
        "id": "c", "name": "prod", "secret": "hunter2", "api_key": {"nested": "hunter3"},
        "notes": ["use sk-live-hunter4", {"deep": f"or {token}", "secret": "hunter5"}],
        "admin": "ailink_admin_hunter6",
    }))
    assert "hunter" not in shown
    assert secret not in shown
    assert "'use **********'" in shown


def test_public_ids_and_plain_words_are_shown():
    shown = repr(AuditLog.model_validate({"id": "a", "token_id": "tok_AbCdEf012345", "agent_name": "task-desk-7"}))
    assert "tok_AbCdEf012345" in shown
    assert "task-desk-7" in shown


def test_a_secret_can_still_be_stored(token):
    assert Token(id="tok_1", name="bot", token_id=token).model_dump()["token_id"] == token
