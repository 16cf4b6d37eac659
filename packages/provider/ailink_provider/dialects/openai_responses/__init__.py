"""OpenAI's Responses API as a dialect: bodies, replies, streams and errors, both ways. Keeps no reply and no
conversation, knows no service's address and no model's name.

Its one operation stands under two names. As "chat" it is what translation from any other dialect looks for. Its own
name is "responses": a target that serves both of OpenAI's formats can list it beside Chat Completions, which is "chat"
there, and requests of this dialect still pass through untouched.

Source of the format: OpenAI's API reference and the types of its Python SDK 3.52.
"""

from ailink_provider.dialects import Dialect, OutputLimit
from ailink_provider.dialects.openai_responses.errors import read_error, write_error
from ailink_provider.dialects.openai_responses.fields import NAME
from ailink_provider.dialects.openai_responses.instructions import instruct
from ailink_provider.dialects.openai_responses.listing import write_models
from ailink_provider.dialects.openai_responses.operations import Responses

_RESPONSES = Responses()

_LIMIT = OutputLimit(("max_output_tokens",), thinking=("reasoning",), budget=("max_tokens",))

DIALECT = Dialect(
    name=NAME,
    operations={_RESPONSES.name: _RESPONSES, "chat": _RESPONSES},
    read_error=read_error,
    write_error=write_error,
    write_models=write_models,
    limits={"responses": _LIMIT, "chat": _LIMIT},
    credential_header=("authorization", "Bearer "),
    request_headers=("openai-beta", "x-client-request-id"),
    response_headers=("openai-processing-ms", "openai-version"),
    base_version="/v1",
    instruct=instruct,
)
