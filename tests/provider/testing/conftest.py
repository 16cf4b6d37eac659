"""A running mock, a bare HTTP client for what no SDK would send, and the vendors' own SDKs pointed at the mock."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from anthropic import AsyncAnthropic
from google import genai
from openai import AsyncOpenAI

from ailink_provider.testing import KEYS, MockUpstream

HEADERS = {
    "openai": {"authorization": f"Bearer {KEYS['openai']}"},
    "anthropic": {"x-api-key": KEYS["anthropic"], "anthropic-version": "2023-06-01"},
    "gemini": {"x-goog-api-key": KEYS["gemini"]},
    "responses": {"authorization": f"Bearer {KEYS['openai']}"},
    "bedrock": {"authorization": f"Bearer {KEYS['bedrock']}"},
    "ollama": {},
}
PATHS = {
    "openai": "/v1/chat/completions", "anthropic": "/v1/messages",
    "gemini": "/v1beta/models/{model}:generateContent", "responses": "/v1/responses",
    "bedrock": "/model/{model}/converse", "ollama": "/api/chat",
}

Send = Callable[..., Awaitable[httpx2.Response]]


@pytest.fixture
async def upstream() -> AsyncIterator[MockUpstream]:
    async with MockUpstream() as mock:
        yield mock


@pytest.fixture
async def http(upstream: MockUpstream) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=upstream.url(), trust_env=False, verify=False, timeout=10) as client:
        yield client


@pytest.fixture
def send(http: httpx2.AsyncClient) -> Send:
    """POST a body to a vendor as a well-behaved client would."""

    async def post(vendor: str, body: Any, path: str | None = None, **headers: str) -> httpx2.Response:
        model = body.get("model", "gemini-2.5-flash") if isinstance(body, dict) else ""
        url = path or PATHS[vendor].format(model=quote(model, safe=""))
        if vendor in ("gemini", "bedrock") and isinstance(body, dict):
            body = {key: value for key, value in body.items() if key != "model"}
        return await http.post(url, json=body, headers=HEADERS[vendor] | headers)

    return post


@pytest.fixture
async def openai_client(upstream: MockUpstream) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=upstream.url("/v1"), api_key=KEYS["openai"], max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic_client(upstream: MockUpstream) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=upstream.url(), api_key=KEYS["anthropic"], max_retries=0) as client:
        yield client


@pytest.fixture
async def gemini_client(upstream: MockUpstream) -> AsyncIterator[genai.client.AsyncClient]:
    options = genai.types.HttpOptions(base_url=upstream.url(), retry_options=genai.types.HttpRetryOptions(attempts=1))
    client = genai.Client(api_key=KEYS["gemini"], http_options=options).aio
    yield client
    await client.aclose()
