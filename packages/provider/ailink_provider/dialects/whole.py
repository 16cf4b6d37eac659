"""What the operations that answer in one piece have in common: they have no stream."""

from collections.abc import Mapping
from typing import Any, NoReturn

from msgspec import Raw

from ailink_provider.dialects import Sent
from ailink_provider.errors import Failure


class Whole:
    """An operation without a stream: asking for one is the caller's mistake."""

    name: str

    def reader(self, sent: Sent) -> NoReturn:
        """Raise ``Failure``."""
        raise self._refusal()

    def writer(self, request: Any, request_id: str = "") -> NoReturn:
        """Raise ``Failure``."""
        raise self._refusal()

    def meter(self, body: Mapping[str, Raw], request_id: str = "") -> NoReturn:
        """Raise ``Failure``."""
        raise self._refusal()

    def _refusal(self) -> Failure:
        return Failure("invalid_request", f"'{self.name}' answers in one piece; it cannot be streamed.", param="stream")
