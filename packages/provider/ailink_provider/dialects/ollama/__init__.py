"""Ollama's own API: ``/api/chat`` with its streams of JSON lines, ``/api/embed``, and the models of ``/api/tags``.

Source of the format: Ollama's API reference (docs.ollama.com) and the types of its Go package ``api``. Base URLs of
this dialect have no path. A server of one's own needs no key; Ollama's cloud takes a bearer's. Opens no socket.
"""

from ailink_provider.dialects import Dialect
from ailink_provider.dialects.ollama.chat import ChatCompletions
from ailink_provider.dialects.ollama.embeddings import Embeds
from ailink_provider.dialects.ollama.errors import read_error, write_error
from ailink_provider.dialects.ollama.fields import NAME
from ailink_provider.dialects.ollama.listing import MODELS_PATH, read_models, write_models

DIALECT = Dialect(
    name=NAME,
    operations={operation.name: operation for operation in (ChatCompletions(), Embeds())},
    read_error=read_error,
    write_error=write_error,
    write_models=write_models,
    credential_header=("authorization", "Bearer "),
    models_path=MODELS_PATH,
    read_models=read_models,
)

__all__ = ["DIALECT", "MODELS_PATH", "read_models"]
