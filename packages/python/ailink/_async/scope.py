"""What a ``with`` block opens: asked for on the way in, nothing to close on the way out."""

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")


class AsyncScope(Generic[T]):
    """A context manager whose value is what ``enter`` returns."""

    def __init__(self, enter: Callable[[], Awaitable[T]]) -> None:
        self._enter = enter

    async def __aenter__(self) -> T:
        return await self._enter()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        return None
