"""Amazon Bedrock's Converse API as a dialect: bodies, replies, binary streams and errors, both ways. It opens no socket
and signs nothing.

Source: the Amazon Bedrock Runtime API of 2023-09-30. The credential header is that of Bedrock's API keys; a request
that is signed with an AWS key instead is ``ailink_provider.auth.AWSSigV4Auth``'s affair. Base URLs have no version.
"""

from ailink_provider.dialects import Dialect
from ailink_provider.dialects.bedrock_converse.errors import read_error, write_error
from ailink_provider.dialects.bedrock_converse.listing import write_models
from ailink_provider.dialects.bedrock_converse.operations import Converse
from ailink_provider.dialects.bedrock_converse.words import NAME

DIALECT = Dialect(
    name=NAME,
    operations={"chat": Converse()},
    read_error=read_error,
    write_error=write_error,
    write_models=write_models,
    credential_header=("authorization", "Bearer "),
    response_headers=("x-amzn-requestid",),
)
