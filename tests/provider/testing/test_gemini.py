"""Gemini's side of the mock, as Google's own SDK sees it."""

import json

import httpx2
import pytest
from google.genai import types
from google.genai.client import AsyncClient
from google.genai.errors import APIError, ClientError, ServerError

from ailink_provider.chat import Usage
from ailink_provider.testing import KEYS, Fault, MockUpstream

MODEL = "gemini-2.5-flash"
ASK = "What is the weather in Paris?"
WEATHER = types.Tool(function_declarations=[types.FunctionDeclaration(
    name="weather", parameters_json_schema={"type": "object", "properties": {"city": {"type": "string"}}})])
# The SDK would run the functions itself.
BY_HAND = types.AutomaticFunctionCallingConfig(disable=True)


async def test_echoes_by_default(upstream: MockUpstream, gemini_client: AsyncClient) -> None:
    reply = await gemini_client.models.generate_content(model=MODEL, contents=ASK)
    assert reply.text == f"echo: {ASK}"
    assert reply.candidates is not None and reply.candidates[0].finish_reason == types.FinishReason.STOP
    assert reply.usage_metadata is not None and reply.usage_metadata.total_token_count == 18
    upstream.assert_clean()


async def test_streams_what_it_says_whole(upstream: MockUpstream, gemini_client: AsyncClient) -> None:
    upstream.script(text="It is sunny today.", thinking="Hm.", usage=Usage(29, 60, 9, reasoning_tokens=15), times=2)
    config = types.GenerateContentConfig(thinking_config=types.ThinkingConfig(include_thoughts=True))
    whole = await gemini_client.models.generate_content(model=MODEL, contents=ASK, config=config)
    stream = await gemini_client.models.generate_content_stream(model=MODEL, contents=ASK, config=config)
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.text or "" for chunk in chunks) == whole.text == "It is sunny today."
    assert chunks[0].parts is not None and (chunks[0].parts[0].thought, chunks[0].parts[0].text) == (True, "Hm.")
    assert chunks[-1].usage_metadata == whole.usage_metadata
    usage = whole.usage_metadata
    assert usage is not None
    assert (usage.candidates_token_count, usage.thoughts_token_count, usage.cached_content_token_count) == (45, 15, 9)
    reasons = [chunk.candidates[0].finish_reason for chunk in chunks if chunk.candidates]
    assert reasons == [None] * (len(chunks) - 1) + [types.FinishReason.STOP]
    upstream.assert_clean()


async def test_thoughts_are_shown_only_when_asked_for(upstream: MockUpstream, gemini_client: AsyncClient) -> None:
    upstream.script(text="Yes.", thinking="Hm.")
    reply = await gemini_client.models.generate_content(model=MODEL, contents=ASK)
    assert reply.parts is not None and [part.text for part in reply.parts] == ["Yes."]


@pytest.mark.parametrize("model", [MODEL, "gemini-3-pro-preview"])
async def test_calls_go_round(upstream: MockUpstream, gemini_client: AsyncClient, model: str) -> None:
    """Calls of Gemini 3 are signed and named; what the mock said may be sent back to it, and is then checked."""
    upstream.script(tool_calls=[("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})])
    config = types.GenerateContentConfig(tools=[WEATHER], automatic_function_calling=BY_HAND)
    first = await gemini_client.models.generate_content(model=model, contents=ASK, config=config)
    assert first.function_calls is not None and first.parts is not None and first.candidates is not None
    assert [call.args for call in first.function_calls] == [{"city": "Paris"}, {"city": "Rome"}]
    signs = model.startswith("gemini-3")
    assert [bool(part.thought_signature) for part in first.parts] == [signs, False]
    assert [bool(call.id) for call in first.function_calls] == [signs, signs]
    answers = [types.FunctionResponse(id=call.id, name=call.name, response={"output": "sun"})
               for call in first.function_calls]
    last = types.UserContent([types.Part(function_response=answer) for answer in answers])
    contents = [types.UserContent(ASK), first.candidates[0].content, last]
    await gemini_client.models.generate_content(model=model, contents=contents, config=config)
    upstream.assert_clean()


async def test_streams_as_an_array_without_sse(upstream: MockUpstream, http: httpx2.AsyncClient) -> None:
    upstream.script(text="one two")
    body = {"contents": [{"parts": [{"text": "Hi"}]}]}
    reply = await http.post(f"/v1beta/models/{MODEL}:streamGenerateContent", json=body,
                            headers={"x-goog-api-key": KEYS["gemini"]})
    texts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in json.loads(reply.content)]
    assert texts == ["one", " two"]


@pytest.mark.parametrize(("finish", "reason"), [
    ("length", "MAX_TOKENS"), ("content_filter", "SAFETY"), ("MALFORMED_FUNCTION_CALL", "MALFORMED_FUNCTION_CALL"),
])
async def test_finishes(upstream: MockUpstream, gemini_client: AsyncClient, finish: str, reason: str) -> None:
    upstream.script(text="So", finish=finish)
    reply = await gemini_client.models.generate_content(model=MODEL, contents=ASK)
    assert reply.candidates is not None and reply.candidates[0].finish_reason == types.FinishReason(reason)


async def test_blocks_a_prompt_without_candidates(upstream: MockUpstream, gemini_client: AsyncClient) -> None:
    upstream.script(finish="prompt_blocked", times=2)
    whole = await gemini_client.models.generate_content(model=MODEL, contents=ASK)
    chunks = [chunk async for chunk in await gemini_client.models.generate_content_stream(model=MODEL, contents=ASK)]
    for reply in (whole, *chunks):
        assert reply.candidates is None
        assert reply.prompt_feedback is not None
        assert reply.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT
    assert len(chunks) == 1


async def test_counts_tokens_and_embeds(
        upstream: MockUpstream, gemini_client: AsyncClient, http: httpx2.AsyncClient) -> None:
    assert (await gemini_client.models.count_tokens(model=MODEL, contents=ASK)).total_tokens == 11
    config = {"output_dimensionality": 8, "task_type": "CLUSTERING"}
    embedded = await gemini_client.models.embed_content(
        model="gemini-embedding-001", contents=["a", "b"], config=config)
    assert embedded.embeddings is not None
    vectors = [embedding.values for embedding in embedded.embeddings]
    assert [len(vector or []) for vector in vectors] == [8, 8] and vectors[0] != vectors[1]
    single = await http.post("/v1beta/models/gemini-embedding-001:embedContent",
                             json={"content": {"parts": [{"text": "a"}]}, "outputDimensionality": 8},
                             headers={"x-goog-api-key": KEYS["gemini"]})
    assert single.json()["embedding"]["values"] == vectors[0]
    upstream.assert_clean()


async def test_replies_fit_the_types_of_the_sdk(upstream: MockUpstream, http: httpx2.AsyncClient) -> None:
    upstream.script(text="Yes.", thinking="Hm.", tool_calls=[("weather", {})])
    body = {"contents": [{"parts": [{"text": "Hi"}]}],
            "generationConfig": {"thinkingConfig": {"includeThoughts": True}}}
    reply = await http.post("/v1beta/models/gemini-3-pro-preview:generateContent", json=body,
                            headers={"x-goog-api-key": KEYS["gemini"]})
    parsed = types.GenerateContentResponse.model_validate_json(reply.content)
    assert parsed.parts is not None and len(parsed.parts) == 3


@pytest.mark.parametrize(("fault", "error", "status"), [
    (Fault("status", status=400), ClientError, "INVALID_ARGUMENT"),
    (Fault("context"), ClientError, "INVALID_ARGUMENT"),
    (Fault("status", status=401), ClientError, "UNAUTHENTICATED"),
    (Fault("status", status=403), ClientError, "PERMISSION_DENIED"),
    (Fault("status", status=404), ClientError, "NOT_FOUND"),
    (Fault("status", status=429, retry_after=34.4), ClientError, "RESOURCE_EXHAUSTED"),
    (Fault("quota"), ClientError, "RESOURCE_EXHAUSTED"),
    (Fault("status", status=500), ServerError, "INTERNAL"),
    (Fault("status", status=503), ServerError, "UNAVAILABLE"),
    (Fault("html"), ServerError, "Bad Gateway"),
])
async def test_errors_raise_the_right_exception(
        upstream: MockUpstream, gemini_client: AsyncClient, fault: Fault, error: type[APIError], status: str) -> None:
    upstream.script(fault=fault)
    with pytest.raises(error) as caught:
        await gemini_client.models.generate_content(model=MODEL, contents=ASK)
    assert caught.value.status == status
    if fault.retry_after is not None:
        assert caught.value.details["error"]["details"][-1]["retryDelay"] == "34.4s"


async def test_a_wrong_key_is_400_with_a_reason(gemini_client: AsyncClient) -> None:
    async with MockUpstream(keys={"gemini": "another"}) as upstream:
        gemini_client._api_client._http_options.base_url = upstream.url()
        with pytest.raises(ClientError) as caught:
            await gemini_client.models.generate_content(model=MODEL, contents=ASK)
    assert caught.value.code == 400
    assert caught.value.details["error"]["details"][0]["reason"] == "API_KEY_INVALID"


async def test_an_error_inside_the_stream_raises(upstream: MockUpstream, gemini_client: AsyncClient) -> None:
    upstream.script(text="one two three", fault=Fault("error_event", at=2))
    seen = []
    with pytest.raises(ServerError, match="overloaded"):
        async for chunk in await gemini_client.models.generate_content_stream(model=MODEL, contents=ASK):
            seen.append(chunk.text)
    assert seen == ["one", " two"]
