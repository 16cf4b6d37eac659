"""Endpoints sign what they send, read JSON, and open nothing of their own where a carrier is given."""

import json

import pytest

from ailink_provider.auth import APIKeyAuth
from ailink_provider.endpoint import Endpoint
from ailink_provider.errors import Failure
from ailink_provider.resilience import APIError
from ailink_provider.testing import MockUpstream
from ailink_provider.transport import Request, Response


class Carrier:
    """Remembers what is sent and answers as told."""

    def __init__(self, status: int = 200, body: bytes = b"{}", headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        self.requests: list[Request] = []
        self._answer = (status, list(headers), body)

    async def send(self, request: Request, deadline: float | None = None) -> Response:
        self.requests.append(request)
        return Response(*self._answer)


async def test_posts_signed_json_below_its_url() -> None:
    carrier = Carrier(body=b'{"text": "hi"}')
    endpoint = Endpoint("https://api.example.com/v1/", APIKeyAuth("sk-1"), carrier)
    assert endpoint.url == "https://api.example.com/v1"
    assert await endpoint.post("/completions?x=1", {"prompt": "a"}) == {"text": "hi"}
    sent = carrier.requests[0]
    assert (sent.method, str(sent.url), sent.target) == ("POST", "https://api.example.com", b"/v1/completions?x=1")
    assert isinstance(sent.body, bytes) and json.loads(sent.body) == {"prompt": "a"}
    headers = dict(sent.headers)
    assert headers[b"authorization"] == b"Bearer sk-1" and headers[b"content-type"] == b"application/json"
    assert headers[b"accept-encoding"] == b"identity"


async def test_a_key_in_the_query_is_added_to_it() -> None:
    carrier = Carrier()
    endpoint = Endpoint("http://[::1]:8080", APIKeyAuth("k y", query="api_key"), carrier)
    await endpoint.get("/models?a=b")
    assert carrier.requests[0].target == b"/models?a=b&api_key=k%20y"
    assert "k y" not in repr(endpoint) and "k%20y" not in repr(endpoint)


async def test_unsigned_requests_carry_no_key() -> None:
    carrier = Carrier()
    await Endpoint("https://api.example.com", APIKeyAuth("sk-1"), carrier).send("GET", "", signed=False)
    assert b"authorization" not in dict(carrier.requests[0].headers)
    assert carrier.requests[0].target == b"/"


@pytest.mark.parametrize(("body", "message", "kind"), [
    (b'{"error": {"message": "slow down", "type": "rate_limit_error"}}', "slow down", "rate_limit_error"),
    (b'{"message": "no"}', "no", None), (b'{"error": "plain"}', "plain", None), (b'"text"', "text", None),
    (b"<html>", "The upstream answered 429.", None), (b"[1]", "The upstream answered 429.", None),
    (b'{"error": {"message": 5, "type": 6}}', "The upstream answered 429.", None),
])
async def test_a_refusal_is_an_api_error(body: bytes, message: str, kind: str | None) -> None:
    endpoint = Endpoint("https://api.example.com", None, Carrier(429, body, ((b"retry-after", b"7"),)))
    with pytest.raises(APIError) as caught:
        await endpoint.get("/x")
    error = caught.value
    assert (error.status_code, error.message, error.type, error.retry_after) == (429, message, kind, 7.0)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"a":', b"\xff"])
async def test_an_answer_that_is_not_json_is_a_failure(body: bytes) -> None:
    with pytest.raises(Failure) as caught:
        await Endpoint("https://api.example.com", None, Carrier(body=body)).get("/x")
    assert caught.value.code == "upstream_failed"


async def test_a_redirect_is_no_answer() -> None:
    with pytest.raises(APIError):
        await Endpoint("https://api.example.com", None, Carrier(302)).get("/x")


async def test_what_is_not_ascii_is_refused() -> None:
    with pytest.raises(Failure) as caught:
        await Endpoint("https://api.example.com", None, Carrier()).get("/ä")
    assert caught.value.code == "invalid_request"


async def test_opens_a_transport_of_its_own_for_its_own_host() -> None:
    async with MockUpstream() as upstream:
        upstream.script(status=200, headers=[("content-type", "application/json")], body=b'{"ok": true}')
        endpoint = Endpoint(upstream.url("/api"))
        assert await endpoint.get("/status") == {"ok": True}
        await endpoint.close()
        await endpoint.close()
        assert upstream.requests[0].path == "/api/status"


async def test_a_carrier_that_was_given_is_not_closed() -> None:
    endpoint = Endpoint("https://api.example.com", None, Carrier())
    await endpoint.close()
    assert await endpoint.get("/x") == {}
