"""What a mocked vendor is: the shape that the folders beside this file fill, and the words they share.

Nothing here goes through the project's dialects: the mock is an independent witness of the wire formats.
"""

from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from json import dumps
from typing import Any, NamedTuple, Protocol, TypeAlias

from ailink_provider.testing.script import Answer
from ailink_provider.testing.server import Headers, Received

Path: TypeAlias = tuple[str | int, ...]

# Unix seconds (2025-10-09): replies carry a fixed time, so that they can be compared whole.
CREATED = 1_760_000_000
GARBAGE = b'{"id": "broken", "choices": [{'
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


class Breach(NamedTuple):
    """A rule of the vendor's that a request breaks. ``message`` is the vendor's, ``where`` the path to the fault."""

    message: str
    where: Path = ()
    code: str | None = None


class Refusal(NamedTuple):
    """Why the vendor declines: ``kind`` is a row of the vendor's table of errors."""

    kind: str
    message: str | None = None
    where: Path = ()
    code: str | None = None
    status: int | None = None
    retry_after: float | None = None
    model: str = ""


class Whole(NamedTuple):
    """An answer in one piece."""

    status: int
    headers: Headers
    body: bytes


class Framing(NamedTuple):
    """How a vendor tells the events of a stream apart: an event that cannot be read, and an event among what a client
    has to pass over."""

    garbage: bytes
    noisy: Callable[[bytes], bytes]


def _noisy_sse(frame: bytes) -> bytes:
    plain = frame.replace(b"\r\n", b"\n").replace(b"data: ", b"data:", 1)
    return b": keep-alive\r\n\r\n" + plain.replace(b"\n", b"\r\n")


SERVER_SENT = Framing(b"data: " + GARBAGE + b"\n\n", _noisy_sse)


class Stream(NamedTuple):
    """An answer in events. The last frame is the one that says the reply is complete."""

    headers: Headers
    frames: Iterable[bytes]
    framing: Framing = SERVER_SENT


class Vendor(Protocol):
    """One vendor's API. ``credentials`` are the ways to send its key: a header's name and what stands before the key
    in it. ``errors`` maps a status to a kind of refusal."""

    name: str
    credentials: tuple[tuple[str, str], ...]
    errors: dict[int, str]

    def operation(self, method: str, path: str) -> str | None:
        """Return the name of the operation at this path, None if there is none."""

    def breaches(self, operation: str, request: Received) -> Iterator[Breach]:
        """Yield the rules that the request breaks. Its body is JSON."""

    def model(self, request: Received) -> str:
        """Return the model that is asked for, "" if none is."""

    def reply(self, operation: str, request: Received, answer: Answer, serial: int) -> Whole | Stream:
        """Return the answer. ``serial`` numbers the requests, and seeds every id."""

    def refuse(self, refusal: Refusal) -> Whole:
        """Return the vendor's error."""

    def error_event(self, refusal: Refusal) -> bytes:
        """Return the frame by which the vendor breaks off a stream."""


def mint(prefix: str, length: int, *seed: object) -> str:
    """Return an id as vendors make them: ``prefix`` and ``length`` letters and digits that depend on ``seed``."""
    number = int.from_bytes(sha256(repr(seed).encode()).digest(), "big")
    letters = []
    for _ in range(length):
        number, digit = divmod(number, len(_DIGITS))
        letters.append(_DIGITS[digit])
    return prefix + "".join(letters)


def encode(value: Any) -> bytes:
    """Return ``value`` as compact JSON in UTF-8."""
    return dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def dotted(where: Path) -> str:
    """Return a path as ``messages[0].content``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in where).removeprefix(".")


def unit_vector(text: str, dimensions: int) -> list[float]:
    """Return a vector of length 1 that depends on ``text`` alone."""
    raw = b"".join(sha256(f"{index}:{text}".encode()).digest() for index in range(-(-dimensions // 32)))
    values = [byte - 127.5 for byte in raw[:dimensions]]
    norm = sum(value * value for value in values) ** 0.5
    return [value / norm for value in values]
