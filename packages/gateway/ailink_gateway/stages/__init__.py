"""The stages of the pipeline, one verb a file. None imports another, nor anything of the control plane or the store."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ailink_gateway.exchange import Exchange, Reply

Proceed: TypeAlias = Callable[[Exchange], Awaitable[Reply]]
