"""What stages are given: protocols only. Their implementations live in ``backends`` and are chosen in ``app``."""

from typing import Protocol

from ailink_gateway.grant import Grant
from ailink_gateway.record import Opened, Record


class Directory(Protocol):
    """Who may call."""

    def cached(self, secret: str) -> Grant | None:
        """Return the grant of a token if it is known and current. Takes about a microsecond and does no I/O."""

    async def find(self, secret: str) -> Grant:
        """Return the grant of a token. Raises ``Failure`` (``invalid_api_key``) for one that may not call."""

    async def anonymous(self) -> Grant | None:
        """Return the grant of callers without a token, or None where there are none."""


class Journal(Protocol):
    """Where calls are written down."""

    def open(self, opened: Opened) -> None:
        """Note that a call is about to be made. Raises ``Failure`` (``spool_full``) if its record could not be kept."""

    def close(self, record: Record) -> None:
        """Write the record of a call, once. Raises ``Failure`` (``spool_full``) or ``OSError`` if it cannot be kept."""
