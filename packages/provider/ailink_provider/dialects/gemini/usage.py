"""Token counts: ``usageMetadata``, to and from canonical ``Usage``.

Gemini counts thoughts beside the candidates' tokens, canonical usage within the output. Some of its backends count
them within the candidates too; the total tells which. Malformed counts are no counts; nothing is raised.
"""

from typing import Any

import msgspec
from msgspec import Struct

from ailink_provider.chat import Usage


class ModalityCount(Struct, gc=False):
    """Tokens of one modality: TEXT, IMAGE, VIDEO, AUDIO or DOCUMENT."""

    modality: str | None = None
    token_count: int | None = msgspec.field(name="tokenCount", default=None)


class UsageMetadata(Struct, rename="camel", gc=False):
    """``usageMetadata`` as far as it is read. Early chunks of a stream leave some of it out."""

    prompt_token_count: int | None = None
    cached_content_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None
    total_token_count: int | None = None
    prompt_tokens_details: list[ModalityCount] | None = None
    candidates_tokens_details: list[ModalityCount] | None = None
    service_tier: str | None = None


def read_metadata(value: Any) -> UsageMetadata | None:
    """Return ``usageMetadata`` from decoded JSON; None if it is absent or malformed."""
    if value is None:
        return None
    try:
        return msgspec.convert(value, UsageMetadata)
    except msgspec.ValidationError:
        return None


def read_usage(metadata: UsageMetadata) -> Usage:
    """Return the canonical counts. What tools put into the prompt is input as well."""
    prompt = (metadata.prompt_token_count or 0) + (metadata.tool_use_prompt_token_count or 0)
    candidates = metadata.candidates_token_count or 0
    thoughts = metadata.thoughts_token_count or 0
    inclusive = thoughts > 0 and metadata.total_token_count == prompt + candidates
    return Usage(
        input_tokens=prompt,
        output_tokens=candidates if inclusive else candidates + thoughts,
        cache_read_tokens=metadata.cached_content_token_count or 0,
        reasoning_tokens=thoughts,
        input_audio_tokens=_audio(metadata.prompt_tokens_details),
        output_audio_tokens=_audio(metadata.candidates_tokens_details),
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """Return ``usageMetadata``. Counts that are zero by nature of the call are left out, as Gemini leaves them."""
    candidates = usage.output_tokens - usage.reasoning_tokens
    metadata: dict[str, Any] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": candidates,
        "totalTokenCount": usage.total_tokens,
    }
    if usage.reasoning_tokens:
        metadata["thoughtsTokenCount"] = usage.reasoning_tokens
    if usage.cache_read_tokens:
        metadata["cachedContentTokenCount"] = usage.cache_read_tokens
    if usage.input_audio_tokens:
        metadata["promptTokensDetails"] = _details(usage.input_tokens, usage.input_audio_tokens)
    if usage.output_audio_tokens:
        metadata["candidatesTokensDetails"] = _details(candidates, usage.output_audio_tokens)
    return metadata


def _audio(details: list[ModalityCount] | None) -> int:
    count = 0
    for item in details or ():
        if item.modality == "AUDIO":
            count += item.token_count or 0
    return count


def _details(total: int, audio: int) -> list[dict[str, Any]]:
    return [{"modality": "TEXT", "tokenCount": total - audio}, {"modality": "AUDIO", "tokenCount": audio}]
