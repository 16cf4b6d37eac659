"""OpenAI's Chat Completions, text completions and embeddings, and whatever resembles them: the wire format that most
services speak. Knows no service's address and no model's name.

Source of the format: OpenAI's API reference and the types of its Python SDK; the variants are those of Azure, DeepSeek,
Google, LiteLLM, Mistral, OpenRouter, vLLM and xAI.
"""

from ailink_provider.dialects import Dialect, OutputLimit
from ailink_provider.dialects.openai_chat.chat import ChatCompletions
from ailink_provider.dialects.openai_chat.completions import TextCompletions
from ailink_provider.dialects.openai_chat.embeddings import Embeds
from ailink_provider.dialects.openai_chat.errors import read_error, write_error
from ailink_provider.dialects.openai_chat.instructions import instruct
from ailink_provider.dialects.openai_chat.listing import write_models
from ailink_provider.dialects.openai_chat.words import NAME

_THINKING = ("reasoning_effort", "reasoning", "thinking")
_LIMITS = {
    "chat": OutputLimit(
        ("max_tokens", "max_completion_tokens"), counts=("n",), thinking=_THINKING,
        budget=("max_tokens", "budget_tokens"),
    ),
    "completions": OutputLimit(("max_tokens",), counts=("n", "best_of"), batch="prompt"),
}

DIALECT = Dialect(
    name=NAME,
    operations={operation.name: operation for operation in (ChatCompletions(), TextCompletions(), Embeds())},
    read_error=read_error,
    write_error=write_error,
    write_models=write_models,
    limits=_LIMITS,
    credential_header=("authorization", "Bearer "),
    request_headers=("openai-beta", "x-client-request-id"),
    response_headers=("openai-processing-ms", "openai-version"),
    base_version="/v1",
    instruct=instruct,
)
