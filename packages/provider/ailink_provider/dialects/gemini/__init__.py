"""Gemini: the Generative Language API of Google (``/v1beta/models/{model}:generateContent`` and its siblings).

Formats are those of https://ai.google.dev/api and of the google-genai SDK. The model and the wish for a stream travel
in the path; a stream that is asked for without ``alt=sse`` is one JSON array. This package opens no socket and knows
no key.
"""

from ailink_provider.dialects import Dialect, Operation, OutputLimit
from ailink_provider.dialects.gemini.embeddings import BatchEmbedding, SingleEmbedding
from ailink_provider.dialects.gemini.errors import read_error, write_error
from ailink_provider.dialects.gemini.instructions import instruct
from ailink_provider.dialects.gemini.listing import write_models
from ailink_provider.dialects.gemini.names import NAME
from ailink_provider.dialects.gemini.operations import ArrayGeneration, Generation, TokenCount

_OPERATIONS: tuple[Operation, ...] = (
    Generation(),
    ArrayGeneration(),
    TokenCount(),
    BatchEmbedding(),
    SingleEmbedding(),
)

_LIMIT = OutputLimit(
    ("maxOutputTokens", "max_output_tokens"),
    within=("generationConfig", "generation_config"),
    counts=("candidateCount", "candidate_count"),
    thinking=("thinkingConfig", "thinking_config"),
    budget=("thinkingBudget", "thinking_budget"),
)

DIALECT = Dialect(
    name=NAME,
    operations={operation.name: operation for operation in _OPERATIONS},
    read_error=read_error,
    write_error=write_error,
    write_models=write_models,
    limits={"chat": _LIMIT, "chat_array": _LIMIT},
    credential_query="key",
    credential_header=("x-goog-api-key", ""),
    request_headers=("x-goog-api-client",),
    response_headers=("x-gemini-service-tier",),
    thoughts_bound_to_model=False,
    instruct=instruct,
)
