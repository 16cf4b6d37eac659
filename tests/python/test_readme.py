"""The README's examples run as they are."""

import json
import re
from pathlib import Path

import pytest

TEXT = (Path(__file__).parents[2] / "packages" / "python" / "README.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)

ANSWERS = {
    ("POST", "/v1/chat/completions"): {
        "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-4o",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "In short:"}}],
    },
    ("POST", "/v1/messages"): {
        "id": "m", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "end_turn",
        "stop_sequence": None, "content": [{"type": "text", "text": "In short:"}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    },
    ("GET", "/v1/models"): {"object": "list", "data": []},
    ("POST", "/api/v1/credentials"): {"id": "cred_1", "name": "prod-openai", "provider": "openai"},
    ("GET", "/api/v1/tokens"): {"data": [{"id": "tok_1", "name": "bot"}], "has_more": False},
    ("GET", "/api/v1/audit"): {"data": [{"id": "a_1", "method": "GET", "path": "/v1/models"}], "has_more": False},
    ("PATCH", "/api/v1/tokens/tok_AbCdEf012345"): {"id": "tok_AbCdEf012345", "name": "billing"},
    ("DELETE", "/api/v1/tokens/tok_AbCdEf012345"): {},
    ("DELETE", "/api/v1/credentials/cred_1"): {},
    ("GET", "/healthz"): {"status": "ok"},
}


@pytest.fixture
def small_gateway(gateway, token, admin_key, monkeypatch):
    """A gateway that knows the README's calls and no other."""
    created = {"id": "tok_AbCdEf012345", "token_id": token, "name": "billing-bot"}
    answers = ANSWERS | {("POST", "/api/v1/tokens"): created}
    example = type(gateway.otherwise(None))

    def answer(call):
        found = answers.get((call.method, call.path.partition("?")[0]))
        if found is None:
            body = {"error": {"message": "no such token", "code": "not_found", "request_id": "req_1"}}
            return example(404, json.dumps(body).encode(), {"X-AILink-Error": "not_found"})
        return example(200, json.dumps(found).encode())

    gateway.otherwise = answer
    monkeypatch.setenv("AILINK_GATEWAY_URL", gateway.url)
    monkeypatch.setenv("AILINK_TOKEN", token)
    monkeypatch.setenv("AILINK_ADMIN_KEY", admin_key)
    return gateway


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_runs(example, small_gateway, capsys, secret):
    exec(compile(example, "README.md", "exec"), {"__name__": "__main__"})
    assert small_gateway.calls
    shown = capsys.readouterr().out
    assert shown
    assert secret not in shown


def test_there_are_examples():
    assert len(EXAMPLES) >= 5
