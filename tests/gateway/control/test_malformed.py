"""Whatever is sent, the answer is a success or a refusal, and what was accepted can be read again."""

import json
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | st.sampled_from([
        "2030-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-23:59", 253402300799.9999, 1e308,
        "bearer", "header", "openai", "default", "https://a.example", 10**30, "\ud800",
    ]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = {
    "tokens": ["upstream_url", "credential_id", "default_model", "allowed_models", "scopes", "raw_paths", "expires_at",
               "circuit_breaker", "project_id"],
    "credentials": ["provider", "injection", "header_name", "query_name", "secret", "project_id"],
    "projects": ["extra"],
}
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def bodies(resource: str) -> st.SearchStrategy[dict[str, Any]]:
    named = st.fixed_dictionaries({"name": st.uuids().map(str) | anything})
    required = st.fixed_dictionaries({"secret": st.just("s")} if resource == "credentials" else {})
    others = st.dictionaries(st.sampled_from(FIELDS[resource]), anything, max_size=2)
    return st.tuples(named, required, others).map(lambda parts: parts[0] | parts[1] | parts[2])


@pytest.mark.parametrize("resource", FIELDS)
@quick
@given(st.data())
async def test_bodies(admin: httpx2.AsyncClient, resource: str, data: st.DataObject) -> None:
    body = data.draw(bodies(resource))
    content, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
    created = await admin.post(f"/api/v1/{resource}", content=content, headers=headers)
    assert created.status_code in (201, 400, 409, 422), created.text
    if created.status_code == 201:
        path = f"/api/v1/{resource}/{created.json()['id']}"
        assert (await admin.get(path)).status_code == 200
        changed = await admin.patch(path, content=content, headers=headers)
        assert changed.status_code in (200, 409, 422), changed.text
        assert (await admin.get(f"/api/v1/{resource}")).status_code == 200
    else:
        assert created.json()["detail"]


@quick
@given(st.lists(st.tuples(
    st.sampled_from(["limit", "starting_after", "session_id", "status", "from", "to", "token_id", "model"]),
    st.text(max_size=20) | st.integers().map(str)
    | st.sampled_from(["0001-01-01", "9999-12-31T23:59:59-23:59", "1e400"]),
), max_size=3))
async def test_queries(admin: httpx2.AsyncClient, query: list[tuple[str, str]]) -> None:
    try:
        answer = await admin.get("/api/v1/audit", params=httpx2.QueryParams(query))
    except UnicodeEncodeError:
        return  # half a character cannot be written into a URL
    assert answer.status_code in (200, 400, 422), answer.text


@quick
@given(st.text(max_size=30) | st.integers().map(str))
async def test_event_ids(admin: httpx2.AsyncClient, broadcaster: Any, text: str) -> None:
    broadcaster.close()
    headers = [(b"last-event-id", text.encode("utf-8", "replace"))]
    answer = await admin.get("/api/v1/audit/stream", headers=headers)
    assert answer.status_code in (200, 422), answer.text


@pytest.mark.parametrize("half", [b'"\\ud800"', b'"\xed\xa0\x80"'])
@pytest.mark.parametrize(("path", "body"), [
    ("policies", b'{"name": "p", "rules": [{"when": {"field": "request.path", "op": "eq", "value": HALF}, '
                 b'"then": {"type": "deny"}}]}'),
    ("policies", b'{"name": "p", "rules": [{"then": {"type": "override", "set_body_fields": {HALF: 1}}}]}'),
    ("policies/test", b'{"policy": {"rules": [{"then": {"type": "deny"}}]}, '
                      b'"requests": [{"method": "GET", "path": "/x", "body": HALF}]}'),
    ("policies/test", b'{"policy": {"phase": "post", "rules": [{"then": {"type": "deny"}}]}, '
                      b'"requests": [{"method": "GET", "path": "/x", "response": {"headers": {"x": HALF}}}]}'),
    ("projects", b'{"name": HALF}'),
])
async def test_half_a_character_is_refused(admin: httpx2.AsyncClient, path: str, body: bytes, half: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    refused = await admin.post(f"/api/v1/{path}", content=body.replace(b"HALF", half), headers=headers)
    assert refused.status_code == 422, refused.text
    assert refused.json()["error"]["param"] in ("rules", "requests", "name")
    whole = body.replace(b"HALF", b'"\\ud83d\\ude00"')
    answer = await admin.post(f"/api/v1/{path}", content=whole, headers=headers)
    assert answer.status_code in (200, 201), answer.text
