"""Faults, from outside: whatever breaks behind the gateway, or in front of it, the client is told in its own shape,
what was produced is billed, and nothing is left behind.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx2
import openai
import psutil
import pytest
from google.genai import errors as genai_errors

from ailink_provider.testing import KEYS, Fault, MockUpstream

from .clients import CLIENTS, Client, refused
from .conftest import Caller, Gateway

RecordOf = Callable[[str], Any]
MakeToken = Callable[..., str]

PAIRS = [(client, other.model) for client in CLIENTS for other in CLIENTS]
WORDS = " ".join(f"word{number}" for number in range(40))

every_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
every_pair = pytest.mark.parametrize(("client", "model"), PAIRS, ids=lambda value: getattr(value, "name", value))
either_way = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def status_for(client: Client, code: str, status: int) -> int:
    """Return the status of a failure in a client's dialect: Anthropic has its own for two codes."""
    own = {"upstream_overloaded": 529, "insufficient_quota": 402} if client.name == "anthropic" else {}
    return own.get(code, status)


def failed(records: Iterable[Any], code: str, upstream_status: int | None) -> None:
    """Check the records of calls that brought nothing."""
    for record in records:
        assert (record.outcome, record.error_code, record.upstream_status) == ("failed", code, upstream_status), record
        assert (record.completion_tokens, record.cost_usd) == (None, None), record


# --- before the first event ------------------------------------------------------------------------

# What the upstream does; what the client is told; what the record says that the upstream said.
BEFORE: dict[str, tuple[dict[str, Any], int, str, int | None]] = {
    "closes": ({"fault": Fault("cut")}, 502, "upstream_failed", None),
    "resets": ({"fault": Fault("reset")}, 502, "upstream_failed", None),
    "HTML": ({"fault": Fault("html")}, 502, "upstream_failed", 502),
    "HTML with 200": ({"fault": Fault("html", status=200)}, 502, "upstream_failed", 200),
    "an empty body": ({"status": 200, "body": b""}, 502, "upstream_failed", 200),
    "a string": ({"status": 200, "body": b'"text"'}, 502, "upstream_failed", 200),
    "a redirect": ({"status": 302, "headers": [("location", "http://evil.example/")]}, 502, "upstream_failed", 302),
    "context overflow": ({"fault": Fault("context")}, 400, "context_length_exceeded", 400),
    "401": ({"fault": Fault("status", status=401)}, 502, "upstream_auth", 401),
    "403": ({"fault": Fault("status", status=403)}, 502, "upstream_auth", 403),
    "404": ({"fault": Fault("status", status=404)}, 404, "model_not_found", 404),
    "400 and nothing": ({"status": 400, "body": b""}, 400, "invalid_request", 400),
    "400 and a line of text": ({"status": 400, "body": b"Bad Request"}, 400, "invalid_request", 400),
    "400 and HTML": ({"status": 400, "body": b"<html>Bad Request</html>"}, 502, "upstream_failed", 400),
    "429": ({"fault": Fault("status", status=429, retry_after=7)}, 429, "rate_limit_exceeded", 429),
    "500": ({"fault": Fault("status", status=500)}, 502, "upstream_failed", 500),
    "503": ({"fault": Fault("status", status=503)}, 503, "upstream_overloaded", 503),
    "504": ({"fault": Fault("status", status=504)}, 504, "upstream_timeout", 504),
    "529": ({"fault": Fault("status", status=529)}, 503, "upstream_overloaded", 529),
}
ONLY_WHOLE: dict[str, tuple[dict[str, Any], int, str, int | None]] = {
    "malformed": ({"fault": Fault("malformed")}, 502, "upstream_failed", 200),
    "a body cut in half": ({"fault": Fault("cut", at=1)}, 502, "upstream_failed", 200),
}
ONLY_STREAMS: dict[str, tuple[dict[str, Any], int, str, int | None]] = {
    "ends before it begins": ({"fault": Fault("eof", at=0)}, 502, "upstream_failed", 200),
    "cut before it begins": ({"fault": Fault("cut", at=0)}, 502, "upstream_failed", 200),
}


class TestBeforeTheFirstEvent:
    """The answer is a whole error, with its own status, for each client and each vendor."""

    @pytest.mark.parametrize(
        ("faults", "ways"),
        [(BEFORE, (False, True)), (ONLY_WHOLE, (False,)), (ONLY_STREAMS, (True,))],
        ids=["either way", "whole", "streams"],
    )
    def test_every_fault(
        self,
        call: Caller,
        upstream: MockUpstream,
        record_of: RecordOf,
        subtests: pytest.Subtests,
        faults: Any,
        ways: tuple[bool, ...],
    ) -> None:
        for name, (script, status, code, upstream_status) in faults.items():
            seen = []
            with subtests.test(name):
                for client, model in PAIRS:
                    for stream in ways:
                        upstream.forget()
                        # Every time: a kept-alive connection that breaks without an answer may just have been dead.
                        upstream.script(**script, times=None)
                        answer = call(client, model, stream=stream)
                        seen.append(refused(client, answer, status_for(client, code, status), code))
                failed(map(record_of, seen), code, upstream_status)

    @every_pair
    def test_an_error_as_the_first_event(
        self, client: Client, model: str, call: Caller, upstream: MockUpstream, record_of: RecordOf
    ) -> None:
        upstream.script(fault=Fault("error_event", status=503))
        # OpenAI's own word for it is "server_error".
        code, status = ("upstream_failed", 502) if model == "gpt-4o" else ("upstream_overloaded", 503)
        request_id = refused(client, call(client, model, stream=True), status_for(client, code, status), code)
        failed([record_of(request_id)], code, 200)

    @every_pair
    @either_way
    @pytest.mark.parametrize("body", [
        b'{"error":{"message":"The model is overloaded.","type":"rate_limit_error","status":"RESOURCE_EXHAUSTED"}}',
        b'{\n  "error": {\n    "message": "The model is overloaded.", "type": "rate_limit_error",'
        b' "status": "RESOURCE_EXHAUSTED"\n  }\n}\n',
    ], ids=["a line", "lines"])  # fmt: skip
    def test_an_error_that_comes_whole_with_200(
        self, client: Client, model: str, stream: bool, body: bytes, call: Caller, upstream: MockUpstream,
        record_of: RecordOf,
    ) -> None:  # fmt: skip
        upstream.script(status=200, body=body, headers=[("content-type", "application/json")])
        answer = call(client, model, stream=stream)
        request_id = refused(client, answer, 429, "rate_limit_exceeded")
        assert client.told(answer.json()).message == "The model is overloaded."
        failed([record_of(request_id)], "rate_limit_exceeded", 200)

    @every_pair
    def test_no_money(
        self, client: Client, model: str, call: Caller, upstream: MockUpstream, record_of: RecordOf
    ) -> None:
        """It looks like a rate limit to some vendors, but no waiting helps."""
        upstream.script(fault=Fault("quota"))
        code = "insufficient_quota"
        record = record_of(refused(client, call(client, model), status_for(client, code, 429), code))
        failed([record], code, record.upstream_status)

    @every_client
    def test_how_long_to_wait(self, client: Client, call: Caller, upstream: MockUpstream) -> None:
        """A header at one vendor, a line in the body at another: each client gets the one that it reads."""
        for model in [other.model for other in CLIENTS]:
            upstream.script(fault=Fault("status", status=429, retry_after=7))
            answer = call(client, model)
            assert answer.headers["retry-after"] == "7"
            if client.name == "gemini":
                delays = [item.get("retryDelay") for item in answer.json()["error"]["details"]]
                assert "7s" in delays

    @every_pair
    def test_a_refused_key(self, client: Client, model: str, call: Caller, upstream: MockUpstream) -> None:
        """Nothing of what the upstream says about our key is passed on: it may quote a piece of it."""
        for status in (401, 403):
            quoted = f"Incorrect API key provided: {KEYS['openai'][:9]}********. See https://vendor.example/keys"
            upstream.script(fault=Fault("status", status=status, message=quoted))
            answer = call(client, model)
            refused(client, answer, 502, "upstream_auth")
            assert "sk-" not in answer.text and "vendor.example" not in answer.text

    @every_pair
    def test_a_key_that_is_quoted_in_any_other_error(
        self, client: Client, model: str, call: Caller, upstream: MockUpstream
    ) -> None:
        key = KEYS[next(other.name for other in CLIENTS if other.model == model)]
        for status, code in ((400, "invalid_request"), (500, "upstream_failed")):
            upstream.script(fault=Fault("status", status=status, message=f"I was sent {key}."))
            answer = call(client, model)  # which looks for secrets
            assert answer.headers["x-ailink-error"] == code

    @every_pair
    @either_way
    def test_a_key_that_is_quoted_in_a_reply(
        self, client: Client, model: str, stream: bool, call: Caller, upstream: MockUpstream
    ) -> None:
        key = KEYS[next(other.name for other in CLIENTS if other.model == model)]
        upstream.script(text=f"I was sent {key}.", chunks=[f"I was sent {key}", "."])
        assert client.play(call(client, model, stream=stream), stream).startswith("I was sent ***")

    @every_client
    @either_way
    def test_a_refused_connection(
        self, client: Client, stream: bool, call: Caller, make_token: MakeToken, record_of: RecordOf
    ) -> None:
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            token = make_token(client.name, upstream_url=f"http://127.0.0.1:{closed.getsockname()[1]}")
            answer = call(client, stream=stream, token=token)
        request_id = refused(client, answer, 502, "upstream_failed")
        failed([record_of(request_id)], "upstream_failed", None)


# --- within a stream -------------------------------------------------------------------------------

MID_STREAM = {
    "cut": Fault("cut", at=20),
    "an error": Fault("error_event", at=20, status=503),
    "an end without its last event": Fault("eof", at=20),
    "an event that is not JSON": Fault("malformed", at=20),
}
IN_STREAM: dict[str, tuple[type[Exception], ...]] = {
    "openai": (openai.APIError,),
    "anthropic": (anthropic.APIStatusError,),
    "gemini": (genai_errors.APIError,),
}


@every_pair
class TestWithinAStream:
    """After the first event nothing is repeated: the stream ends in an error of the client's own."""

    def test_every_fault(
        self,
        client: Client,
        model: str,
        call: Caller,
        upstream: MockUpstream,
        record_of: RecordOf,
        subtests: pytest.Subtests,
    ) -> None:
        faults = dict(MID_STREAM)
        if client.model == model and client.name != "openai":
            del faults["an event that is not JSON"]  # a relay passes on what its client's SDK can judge as well
        answers = {}
        for name, fault in faults.items():
            upstream.script(text=WORDS, fault=fault)
            answers[name] = call(client, model, stream=True)
        assert len(upstream.requests) == len(faults), "nothing was tried again"
        for name, answer in answers.items():
            with subtests.test(name):
                assert answer.status_code == 200
                assert "word10" in answer.text
                with pytest.raises(IN_STREAM[client.name]) as caught:
                    client.play(answer, stream=True)
                assert not isinstance(caught.value, openai.APIConnectionError | anthropic.APIConnectionError)
                self.check_bill(record_of(answer.headers["x-request-id"]), answer.text)

    def check_bill(self, record: Any, received: str) -> None:
        assert (record.outcome, record.status, record.upstream_status) == ("failed", 200, 200)
        assert record.error_code in ("upstream_failed", "upstream_overloaded")
        assert record.is_streaming
        produced = [word for word in WORDS.split() if word in received]
        assert len(produced) > 10
        assert record.usage_estimated
        assert record.completion_tokens == pytest.approx(len(" ".join(produced)) / 4, abs=2)
        assert record.prompt_tokens > 0
        assert record.cost_usd > 0

    def test_single_bytes(
        self, client: Client, model: str, call: Caller, upstream: MockUpstream, record_of: RecordOf
    ) -> None:
        """However it is cut up: characters of several bytes, frames, headers of chunks."""
        upstream.script(text="Grüße, 世界 😀.", fault=Fault("drip"), times=2)
        answers = [call(client, model), call(client, model, stream=True)]
        for stream, answer in enumerate(answers):
            answered(client, answer, bool(stream), record_of)


# Google's SDK reads neither comments nor "data:" without its space, and a relay does not change them.
@pytest.mark.parametrize(
    ("client", "model"), PAIRS[:-1], ids=[f"{client.name}-{model}" for client, model in PAIRS[:-1]]
)
def test_noise(client: Client, model: str, call: Caller, upstream: MockUpstream, record_of: RecordOf) -> None:
    """Comments, carriage returns, fields without a space: all of it is SSE."""
    upstream.script(text="Grüße, 世界 😀.", fault=Fault("noise"))
    answered(client, call(client, model, stream=True), True, record_of)


def answered(client: Client, answer: httpx2.Response, stream: bool, record_of: RecordOf) -> None:
    """Check that nothing is missing, and that it is recorded so."""
    assert client.play(answer, stream) == "Grüße, 世界 😀."
    record = record_of(answer.headers["x-request-id"])
    assert (record.outcome, record.error_code, record.finish_reason) == ("answered", None, "stop")
    assert (record.prompt_tokens, record.completion_tokens) == (11, 7)
    assert not record.usage_estimated
    assert record.cost_usd > 0


# --- a client that leaves --------------------------------------------------------------------------


@asynccontextmanager
async def asked(gateway: Gateway, token: str, client: Client, model: str, stream: bool) -> AsyncIterator[socket.socket]:
    """A call of which nothing is read by itself, on a socket whose closing is the client's leaving."""
    body = httpx2.Request("POST", gateway.url, json=client.body(model, stream)).content
    head = f"POST {client.path(model, stream)} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n"
    with socket.create_connection(gateway.address) as connection:
        connection.settimeout(20)
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        yield connection


async def read_until(connection: socket.socket, mark: bytes) -> bytes:
    """Read until ``mark`` has come; return all that did."""
    received = b""
    while mark not in received:
        chunk = await asyncio.to_thread(connection.recv, 65536)
        assert chunk, received
        received += chunk
    return received


def request_id_in(received: bytes) -> str:
    return received.partition(b"x-request-id: ")[2].partition(b"\r\n")[0].decode()


class TestLeaving:
    """A client that goes away takes its upstream with it, and pays for what was produced."""

    @every_pair
    async def test_within_a_stream(
        self, client: Client, model: str, gateway: Gateway, token: str, upstream: MockUpstream, record_of: RecordOf
    ) -> None:
        upstream.script(text=WORDS, fault=Fault("hang", at=20))
        async with asked(gateway, token, client, model, stream=True) as connection:
            received = await read_until(connection, b"word14")
        await upstream.disconnected()
        record = record_of(request_id_in(received))
        assert (record.outcome, record.error_code) == ("cancelled", "client_closed")
        assert (record.status, record.upstream_status) == (200, 200)
        assert record.usage_estimated
        least, most = WORDS.partition(" word15")[0], WORDS.partition(" word20")[0]
        assert len(least) / 4 <= record.completion_tokens <= len(most) / 4 + 1
        assert record.prompt_tokens > 0
        assert record.cost_usd > 0

    @every_client
    @either_way
    async def test_before_the_answer(
        self, client: Client, stream: bool, gateway: Gateway, make_token: MakeToken, upstream: MockUpstream, admin: Any,
        call: Caller, record_of: RecordOf,
    ) -> None:  # fmt: skip
        token = make_token()
        for model in [other.model for other in CLIENTS]:
            upstream.forget()
            upstream.script(fault=Fault("hang"))
            async with asked(gateway, token, client, model, stream):
                await upstream.received()
            await upstream.disconnected()
        # No answer named them: they are found by their token.
        marker = record_of(call(client, token=token).headers["x-request-id"])
        records = [record for record in admin.audit.list(token_id=token) if record.id != marker.id]
        assert len(records) == len(CLIENTS)
        for record in records:
            assert (record.outcome, record.error_code) == ("cancelled", "client_closed"), record
            assert (record.status, record.upstream_status) == (None, None), record

    async def test_all_at_once(
        self, gateway: Gateway, token: str, upstream: MockUpstream, call: Caller, record_of: RecordOf
    ) -> None:
        """Fifty of them: no connection to the upstream stays open."""
        upstream.script(text=WORDS, fault=Fault("hang", at=20), times=None)
        client, model = PAIRS[1]
        calls = [asked(gateway, token, client, model, stream=True) for _ in range(50)]
        connections = [await one.__aenter__() for one in calls]
        seen = [request_id_in(await read_until(connection, b"word14")) for connection in connections]
        for one in calls:
            await one.__aexit__(None, None, None)
        for number in range(len(calls)):
            await upstream.disconnected(number)
        for request_id in seen:
            assert record_of(request_id).outcome == "cancelled"
        upstream.forget()
        assert call(client, model).status_code == 200


# --- a client that is slow -------------------------------------------------------------------------

PIECE = "x" * 16_384
PIECES = 3_072
GROWTH = 24 * 1024 * 1024  # generous: the stream has 48 MiB


@pytest.mark.parametrize(("client", "model"), [PAIRS[0], PAIRS[1]], ids=["relayed", "translated"])
async def test_a_slow_reader(
    client: Client, model: str, gateway: Gateway, token: str, call: Caller, upstream: MockUpstream
) -> None:
    """While it reads nothing its upstream is held back, the gateway's memory stays, and others are served."""
    process = psutil.Process(gateway.process.pid)
    upstream.script(chunks=[PIECE] * PIECES, times=2)
    async with asked(gateway, token, client, model, stream=True) as connection:
        await read_until(connection, b"xxxx")
        before = process.memory_info().rss
        # Another one takes the same stream to its end meanwhile: had the first not been held back, it would be done.
        with call.http.stream(
            "POST", client.path(model), headers={"Authorization": f"Bearer {token}"}, json=client.body(model, True)
        ) as other:
            size = sum(len(chunk) for chunk in other.iter_raw())
        assert size > len(PIECE) * PIECES
        slow, quick = upstream.requests
        assert quick.outcome.result(10) == "answered"
        assert not slow.outcome.done()
        assert slow.sent < quick.sent / 2
        assert process.memory_info().rss - before < GROWTH
    await upstream.disconnected(0)


# --- afterwards ------------------------------------------------------------------------------------


def test_nothing_is_left_behind(gateway: Gateway, call: Caller, clouds: MockUpstream, upstream: MockUpstream) -> None:
    """After every kind of fault: no socket beyond the clients' own, no growing number of files."""
    process = psutil.Process(gateway.process.pid)
    call.request("GET", "/healthz")
    files = process.num_fds()
    for name in ("closes", "HTML", "401"):
        for client, model in PAIRS:
            for stream in (False, True):
                upstream.forget()
                upstream.script(**BEFORE[name][0], times=None)
                call(client, model, stream=stream)
        upstream.forget()
    for fault in MID_STREAM.values():
        for client, model in PAIRS:
            upstream.script(text=WORDS, fault=fault)
            call(client, model, stream=True)
    clouds.drop_idle_connections()
    for _ in range(1000):  # each a round trip through the gateway: it has had its turns to close what is to be closed
        call.request("GET", "/healthz")
        to_upstream = [one for one in process.net_connections("tcp") if one.raddr and one.raddr.port == clouds.port]
        if not to_upstream:
            break
    assert not to_upstream
    assert {one.status for one in process.net_connections("tcp")} <= {psutil.CONN_LISTEN, psutil.CONN_ESTABLISHED}
    assert process.num_fds() <= files + 2
