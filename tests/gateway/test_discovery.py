"""What providers say they have: asked in the background, kept within bounds, and never in the way of a call."""

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from ailink_gateway.backends import discovery as module
from ailink_gateway.backends.discovery import Discovery
from ailink_gateway.backends.upstreams import reach
from ailink_gateway.grant import Grant, Snapshot, Upstream
from ailink_provider.errors import Failure
from ailink_provider.providers import Given
from ailink_provider.registry import providers
from ailink_provider.transport import Request, Response

GRANT = Grant(token_id="tok_a", token_name="a", project_id="p")


def tags(*names: str) -> bytes:
    return json.dumps({"models": [{"name": name} for name in names]}).encode()


class Server:
    """Answers what it was told to, in order, and the last for good; ``asked`` counts up with each question."""

    def __init__(self, *answers: bytes | int | Failure) -> None:
        self.answers = list(answers)
        self.requests: list[Request] = []
        self.deadlines: list[float | None] = []
        self.more = asyncio.Event()

    async def send(self, request: Request, deadline: float | None = None) -> Response:
        self.requests.append(request)
        self.deadlines.append(deadline)
        self.more.set()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Failure):
            raise answer
        return Response(200, [], answer) if isinstance(answer, bytes) else Response(answer, [], b"")

    async def asked(self, times: int) -> None:
        while len(self.requests) < times:
            self.more.clear()
            await asyncio.wait_for(self.more.wait(), 10)


def ollama(server: Server, key: str = "") -> Upstream:
    return reach(providers()["ollama"], Given(key, "http://ollama.test:11434", {}, server))


async def after(server: Server, times: int, **environment: Upstream) -> Snapshot:
    """Return what is known when ``server`` has been asked so often, and its last answer but one was heard."""
    snapshot = Snapshot(environment=environment)
    discovery = Discovery(snapshot, interval=0.001)
    discovery.start()
    await server.asked(times + 1)
    await discovery.stop()
    return snapshot


async def test_what_a_provider_has_is_listed_and_found(call: Any) -> None:
    server = Server(tags("llama3.1:70b", "qwen3:8b"))
    snapshot = await after(server, 1, ollama=ollama(server, "a-key"))
    [request, *_] = server.requests
    assert (request.method, request.target) == ("GET", b"/api/tags")
    assert dict(request.headers)[b"authorization"] == b"Bearer a-key"
    assert all(deadline is not None for deadline in server.deadlines)
    listed = json.loads((await call(GRANT, "GET", "/v1/models", snapshot=snapshot)).body)["data"]
    assert [(entry["id"], entry["owned_by"]) for entry in listed] == [
        ("llama3.1:70b", "ollama"), ("qwen3:8b", "ollama")]  # fmt: skip
    questions = len(server.requests)
    server.answers = [b'{"model":"qwen3:8b","done":true,"message":{"content":"hi"}}']
    body = b'{"model":"qwen3:8b","messages":[{"role":"user","content":"x"}]}'
    assert (await call(GRANT, "POST", "/v1/chat/completions", body, snapshot=snapshot)).status == 200
    assert [request.target for request in server.requests[questions:]] == [b"/api/chat"], "a call asks for no list"


async def test_what_was_said_last_holds_while_there_is_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    failure = Failure("upstream_failed", "ollama.test:11434 could not be reached.")
    server = Server(tags("old"), tags("new"), failure, failure, 500, b"[]")
    snapshot = await after(server, 6, ollama=ollama(server))
    assert snapshot.discovered == {"ollama": ("new",)}
    said = [record.getMessage() for record in caplog.records]
    assert sum("could not be reached" in line for line in said) == 1, "an outage is told once"
    assert any("answered 500" in line for line in said) and any("no JSON" in line for line in said)


async def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MODELS", 3)
    server = Server(tags("a" * 257, "bell\x07", "m1", "m2", "m3", "m4"))
    assert (await after(server, 1, ollama=ollama(server))).discovered == {"ollama": ("m1", "m2", "m3")}


async def test_an_answer_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_LIMIT", 10)
    server = Server(tags("llama3.1:70b"))
    assert (await after(server, 1, ollama=ollama(server))).discovered == {}


async def test_who_has_no_such_question_is_not_asked(make_upstream: Callable[..., Upstream], listener: Any) -> None:
    discovery = Discovery(Snapshot(environment={"openai": make_upstream("openai")}))
    discovery.start()
    await asyncio.sleep(0)
    await discovery.stop()
    assert not listener.asked
