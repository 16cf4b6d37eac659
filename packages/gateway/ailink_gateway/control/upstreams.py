"""Upstream URLs as clients give them: refused here when a call to them could not be made as it is written.

Whether the address may be reached is decided where the socket is opened, each time.
"""

from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from ailink_provider.errors import Failure
from ailink_provider.transport.origin import Origin


def _plain(url: str) -> str:
    try:
        Origin.parse(url)
    except Failure as failure:
        raise PydanticCustomError("upstream_url", "{message}", {"message": failure.message}) from None
    return url


UpstreamUrl = Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(_plain)]
