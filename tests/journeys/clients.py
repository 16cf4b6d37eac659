"""The three clients: how each asks, and how its official SDK takes what the gateway answered.

Requests are plain HTTP, so that a journey can send what no SDK would. Answers are given to the SDK itself, over a
transport that plays them back, so that every refusal is seen as its user would see it.
"""

import http.client
import re
import socket
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote_plus, urlsplit

import anthropic
import httpx2
import openai
from google import genai
from google.genai import errors as genai_errors
from google.genai import types

FINAL = "false"  # what x-should-retry says of a failure that another attempt cannot cure
RETRYABLE = {
    "rate_limit_exceeded",
    "upstream_failed",
    "upstream_overloaded",
    "upstream_timeout",
    "all_upstreams_unavailable",
}


class Told(NamedTuple):
    """What a refusal says in the client's own shape; ``code`` is None where the shape has no place for it."""

    code: str | None
    message: str
    request_id: str


class Client(Protocol):
    """One vendor's way to ask. ``model`` is of the vendor's own family."""

    name: str
    model: str

    def path(self, model: str, stream: bool = False) -> str:
        """Return where a chat is asked for."""

    def body(self, model: str, stream: bool = False, text: str = "hi", **fields: Any) -> dict[str, Any]:
        """Return the smallest chat, with ``fields`` over it."""

    def told(self, body: Any) -> Told:
        """Return what an error body says, after checking that it has every member of the vendor's shape."""

    def exception(self, status: int) -> type[Exception]:
        """Return what the SDK raises for a status."""

    def play(self, answer: httpx2.Response, stream: bool = False) -> str:
        """Return the text that the SDK reads in an answer; raises what it raises."""


class _Player:
    """An HTTP client whose every answer is the one that is being played."""

    def __init__(self) -> None:
        self.http = httpx2.Client(transport=httpx2.MockTransport(lambda request: self._answer))
        self._answer: httpx2.Response

    @contextmanager
    def playing(self, answer: httpx2.Response) -> Iterator[None]:
        self._answer = httpx2.Response(answer.status_code, headers=answer.headers, content=answer.content)
        yield


class OpenAI:
    """Chat completions."""

    name, model = "openai", "gpt-4o"

    def __init__(self) -> None:
        self._player = _Player()
        self._sdk = openai.OpenAI(
            api_key="k", max_retries=0, base_url="http://played/v1", http_client=self._player.http
        )

    def path(self, model: str, stream: bool = False) -> str:
        return "/v1/chat/completions"

    def body(self, model: str, stream: bool = False, text: str = "hi", **fields: Any) -> dict[str, Any]:
        streaming = {"stream": True} if stream else {}
        return {"model": model, "messages": [{"role": "user", "content": text}], **streaming, **fields}

    def told(self, body: Any) -> Told:
        error = body["error"]
        assert {"message", "type", "code", "param", "request_id"} <= set(error), error
        assert body["detail"] == error["message"]
        return Told(error["code"], error["message"], error["request_id"])

    def exception(self, status: int) -> type[Exception]:
        known: dict[int, type[Exception]] = {
            400: openai.BadRequestError,
            401: openai.AuthenticationError,
            403: openai.PermissionDeniedError,
            404: openai.NotFoundError,
            429: openai.RateLimitError,
        }
        return known.get(status, openai.InternalServerError if status >= 500 else openai.APIStatusError)

    def play(self, answer: httpx2.Response, stream: bool = False) -> str:
        with self._player.playing(answer):
            asked: Any = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
            if not stream:
                return self._sdk.chat.completions.create(**asked).choices[0].message.content or ""
            chunks = self._sdk.chat.completions.create(**asked, stream=True)
            return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


class Anthropic:
    """Messages."""

    name, model = "anthropic", "claude-opus-4-6"

    def __init__(self) -> None:
        self._player = _Player()
        self._sdk = anthropic.Anthropic(
            api_key="k", max_retries=0, base_url="http://played", http_client=self._player.http
        )

    def path(self, model: str, stream: bool = False) -> str:
        return "/v1/messages"

    def body(self, model: str, stream: bool = False, text: str = "hi", **fields: Any) -> dict[str, Any]:
        streaming = {"stream": True} if stream else {}
        messages = [{"role": "user", "content": text}]
        return {"model": model, "max_tokens": 50, "messages": messages, **streaming, **fields}

    def told(self, body: Any) -> Told:
        assert body["type"] == "error", body
        assert {"type", "message"} <= set(body["error"]), body
        return Told(None, body["error"]["message"], body["request_id"])

    def exception(self, status: int) -> type[Exception]:
        known: dict[int, type[Exception]] = {
            400: anthropic.BadRequestError,
            401: anthropic.AuthenticationError,
            402: anthropic.PaymentRequiredError,
            403: anthropic.PermissionDeniedError,
            404: anthropic.NotFoundError,
            413: anthropic.RequestTooLargeError,
            429: anthropic.RateLimitError,
            504: anthropic.DeadlineExceededError,
            529: anthropic.OverloadedError,
        }
        return known.get(status, anthropic.InternalServerError if status >= 500 else anthropic.APIStatusError)

    def play(self, answer: httpx2.Response, stream: bool = False) -> str:
        with self._player.playing(answer):
            asked: Any = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
            if stream:
                with self._sdk.messages.stream(**asked) as events:
                    return events.get_final_text()
            return "".join(block.text for block in self._sdk.messages.create(**asked).content if block.type == "text")


class Gemini:
    """generateContent."""

    name, model = "gemini", "gemini-2.5-flash"

    def __init__(self) -> None:
        self._player = _Player()
        options = types.HttpOptions(base_url="http://played", httpx_client=self._player.http)
        self._sdk = genai.Client(api_key="k", http_options=options)

    def path(self, model: str, stream: bool = False) -> str:
        return f"/v1beta/models/{model}:{'streamGenerateContent?alt=sse' if stream else 'generateContent'}"

    def body(self, model: str, stream: bool = False, text: str = "hi", **fields: Any) -> dict[str, Any]:
        return {"contents": [{"role": "user", "parts": [{"text": text}]}], **fields}

    def told(self, body: Any) -> Told:
        error = body["error"]
        assert {"code", "message", "status", "details"} <= set(error), error
        assert re.fullmatch("[A-Z_]+", error["status"])
        info = error["details"][0]
        return Told(info["reason"].lower(), error["message"], info["metadata"]["request_id"])

    def exception(self, status: int) -> type[Exception]:
        return genai_errors.ServerError if status >= 500 else genai_errors.ClientError

    def play(self, answer: httpx2.Response, stream: bool = False) -> str:
        with self._player.playing(answer):
            if stream:
                replies = self._sdk.models.generate_content_stream(model="m", contents="hi")
                return "".join(reply.text or "" for reply in replies)
            return self._sdk.models.generate_content(model="m", contents="hi").text or ""


CLIENTS: tuple[Client, ...] = (OpenAI(), Anthropic(), Gemini())


class Secrets:
    """What must never show. ``found`` looks for each as it is, percent-encoded, in hex and in base64."""

    def __init__(self) -> None:
        self._spellings: dict[str, list[bytes]] = {}

    def add(self, secret: str) -> str:
        """Watch for one more; return it."""
        self._spellings[secret] = list({spelling for spelling in _spellings(secret.encode()) if len(spelling) >= 8})
        return secret

    def found(self, data: bytes) -> list[str]:
        """Return the secrets that ``data`` gives away."""
        return [secret for secret, spellings in self._spellings.items() if any(one in data for one in spellings)]


def _spellings(secret: bytes) -> Iterator[bytes]:
    yield from (secret, quote_plus(secret).encode(), secret.hex().encode(), secret.hex().upper().encode())
    # What stands before it shifts it in base64: the characters that depend on the secret alone, for each shift.
    for shift in range(3):
        within = slice(-(-shift * 8 // 6), (shift + len(secret)) * 8 // 6)
        yield b64encode(b"\0" * shift + secret)[within]
        yield urlsafe_b64encode(b"\0" * shift + secret)[within]


def refused(client: Client, answer: httpx2.Response, status: int, code: str) -> str:
    """Check a refusal from its status line to what the SDK makes of it; return its request id."""
    assert (answer.status_code, answer.headers.get("x-ailink-error")) == (status, code), answer.text
    told = client.told(answer.json())
    assert told.code in (code, None)
    assert told.message
    assert re.fullmatch("req_[0-9a-f]+", told.request_id)
    assert told.request_id == answer.headers["x-request-id"]
    assert answer.headers.get("x-should-retry") == (None if code in RETRYABLE else FINAL)
    expected = client.exception(status)
    try:
        client.play(answer)
    except expected as error:
        assert type(error) is expected
        assert told.message in str(error)
    else:
        raise AssertionError(f"the SDK took {answer.text!r} for an answer")
    return told.request_id


def send_raw(url: str, request: bytes, *, half_close: bool = False) -> httpx2.Response:
    """Send these very bytes on a connection of their own and read one answer; ``half_close`` ends the sending side."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=20) as connection:
        connection.sendall(request)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        return httpx2.Response(answer.status, headers=answer.getheaders(), content=answer.read())
