"""The stages of the pipeline, one verb a file. None imports another, nor anything of the control plane or the store.

A stage that has nothing to do for a call steps aside: it returns what ``proceed`` does, and costs no more than that.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from ailink_gateway.exchange import Exchange, Reply

Proceed: TypeAlias = Callable[[Exchange], Awaitable[Reply]]
