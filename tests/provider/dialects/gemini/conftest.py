"""What these tests share: the operations, the facts of real models, Google's own schema of a request and its client."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from google import genai
from google.genai import types

from ailink_provider.catalog import Facts, facts
from ailink_provider.chat import Chat, Event, Message, Text
from ailink_provider.dialects import Sent
from ailink_provider.dialects.gemini import DIALECT

# The SDK's own rules: camelCase aliases, unknown members forbidden, base64 for bytes.
_Strict = types.Content.__base__


class _ImageConfig(types.GenerationConfig):
    image_config: types.ImageConfig | None = None


class _Request(_Strict):  # type: ignore[misc, valid-type]
    model: str | None = None
    contents: list[types.Content]
    system_instruction: types.Content | None = None
    tools: list[types.Tool] | None = None
    tool_config: types.ToolConfig | None = None
    safety_settings: list[types.SafetySetting] | None = None
    generation_config: _ImageConfig | None = None
    cached_content: str | None = None
    labels: dict[str, str] | None = None
    service_tier: types.ServiceTier | None = None
    store: bool | None = None


def _names(value: Any) -> Any:
    if isinstance(value, list):
        return [_names(item) for item in value]
    return {key: _names(member) for key, member in value.items()} if isinstance(value, dict) else None


@pytest.fixture(scope="session")
def chats() -> Any:
    return DIALECT.operations["chat"]


@pytest.fixture(scope="session")
def arrays() -> Any:
    return DIALECT.operations["chat_array"]


@pytest.fixture(scope="session")
def gemini3() -> Facts:
    """Thinks by level, always."""
    return facts("gemini-3-pro-preview")


@pytest.fixture(scope="session")
def flash() -> Facts:
    """Thinks by budget, or not at all."""
    return facts("gemini-2.5-flash")


@pytest.fixture(scope="session")
def pro() -> Facts:
    """Thinks by budget, always."""
    return facts("gemini-2.5-pro")


@pytest.fixture(scope="session")
def old() -> Facts:
    """Does not think, and knows OpenAPI schemas only."""
    return facts("gemini-1.5-pro")


@pytest.fixture
def chat() -> Callable[..., Chat]:
    """Makes a chat that another dialect has read."""

    def make(*messages: Message, **fields: Any) -> Chat:
        return Chat(
            "gemini-3-pro-preview",
            list(messages) or [Message("user", [Text("Hi")])],
            dialect=fields.pop("dialect", "openai_chat"),
            **fields,
        )

    return make


@pytest.fixture(scope="session")
def valid() -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Checks a body of generateContent against Google's SDK, camelCase only, and returns it."""

    def check(body: dict[str, Any]) -> dict[str, Any]:
        request = _Request.model_validate(body)
        # The SDK takes both spellings of a name; what it writes itself is the one that is documented.
        assert _names(request.model_dump(by_alias=True, exclude_unset=True, mode="json")) == _names(body)
        return body

    return check


@pytest.fixture
def write(chats: Any, valid: Callable[..., dict[str, Any]]) -> Callable[[Chat, Facts], Sent]:
    """Writes a request and checks what is written."""

    def run(request: Chat, model: Facts) -> Sent:
        sent: Sent = chats.write_request(request, model)
        valid(msgspec.json.decode(msgspec.json.encode(sent.body)))
        return sent

    return run


@pytest.fixture(scope="session")
def stream() -> Callable[..., list[Event]]:
    """Reads a stream, cut into pieces of ``size`` bytes."""

    def run(data: bytes, sent: Sent | None = None, size: int = 1 << 20) -> list[Event]:
        reader = DIALECT.operations["chat"].reader(sent or Sent({}))
        events = [event for start in range(0, len(data), size) for event in reader.feed(data[start : start + size])]
        return events + reader.close()

    return run


@pytest.fixture(scope="session")
def frames() -> Callable[..., bytes]:
    """Frames chunks as Gemini does."""

    def run(*chunks: dict[str, Any]) -> bytes:
        return b"".join(b"data: " + msgspec.json.encode(chunk) + b"\r\n\r\n" for chunk in chunks)

    return run


@pytest.fixture
def client() -> Callable[..., genai.Client]:
    """Google's client, talking to ``answer(path, body)``, which returns bytes and their content type."""

    def make(answer: Callable[[str, dict[str, Any]], tuple[int, str, bytes]]) -> genai.Client:
        def handle(request: httpx2.Request) -> httpx2.Response:
            status, content_type, content = answer(
                str(request.url.raw_path, "ascii"), msgspec.json.decode(request.content)
            )
            return httpx2.Response(status, content=content, headers={"content-type": content_type})

        transport = httpx2.Client(transport=httpx2.MockTransport(handle))
        return genai.Client(
            api_key="test",
            http_options=types.HttpOptions(
                base_url="http://gateway.test", api_version="v1beta", httpx_client=transport
            ),
        )

    return make


@pytest.fixture(scope="session")
def golden() -> Callable[[str], dict[str, Any]]:
    def load(name: str) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.json.decode((Path(__file__).parent / "golden" / name).read_bytes())
        return found

    return load
