"""What a wire format is: the shape that every dialect fills, and nothing of any one of them.

A dialect is a package of pure functions and small state machines. It reads and writes requests, replies,
events and errors; it opens no socket, knows no provider and no other dialect. Each has the same rooms:
``requests``, ``replies``, ``streams``, ``errors``, and an ``__init__`` that ends in one ``DIALECT``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from msgspec import Raw, Struct

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Embed, Embeddings, Event, Reply, Usage
from ailink_provider.errors import Failure


class Loss(NamedTuple):
    """A field of the client's request that the target's dialect cannot express.

    ``field`` is the client's own path to it ("logit_bias", "messages[2].content[0]"); ``why`` one short clause.
    """

    field: str
    why: str


class OutputLimit(NamedTuple):
    """Where a request says how much it may bring about. Names on one level are spellings of the same thing.

    ``within`` are the objects that hold the others, () for the request itself. ``fields`` are the limit of output in
    tokens, the one to set first; ``counts`` how many answers are asked for, ``batch`` the list of which each item gets
    that many. ``thinking`` are members that ask for thoughts, ``budget`` is the path to their number below them.
    """

    fields: tuple[str, ...]
    within: tuple[str, ...] = ()
    counts: tuple[str, ...] = ()
    batch: str | None = None
    thinking: tuple[str, ...] = ()
    budget: tuple[str, ...] = ()


@dataclass(slots=True)
class Sent:
    """What a dialect made of a canonical request, and what is needed to undo it on the reply.

    ``names`` maps a tool's name on the wire to the client's, where they differ. ``custom`` are the wire names
    of free-text tools that were wrapped as functions taking ``{"input": string}``. ``schema_tool`` is the
    wire name of a forced tool that stands in for structured output: its arguments are the reply's text.
    """

    body: dict[str, Any]
    losses: list[Loss] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    custom: frozenset[str] = frozenset()
    schema_tool: str | None = None


class Measured(Struct):
    """What is read off a reply that passes through untouched.

    ``characters`` counts the text, thinking and tool arguments produced so far: the bill of a stream that is
    cut short rests on it. ``complete`` is set by the dialect's terminal event, ``failure`` by an error in it.
    ``service_tier`` is the one that answered, in canonical words.
    """

    model: str | None = None
    usage: Usage | None = None
    finish: str | None = None
    characters: int = 0
    complete: bool = False
    failure: Failure | None = None
    service_tier: str | None = None


class StreamReader(Protocol):
    """An upstream's stream, to canonical events."""

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that these bytes complete; at most one ``MessageError``, the last."""

    def close(self) -> list[Event]:
        """The upstream closed: return what was pending, and ``MessageError`` if no terminal event had come."""


class StreamWriter(Protocol):
    """Canonical events, to the client's stream."""

    content_type: str

    def write(self, event: Event) -> bytes:
        """Return the bytes that this event becomes; b"" where the dialect has none for it."""


class Meter(Protocol):
    """Reads usage off a stream that passes through, and takes out what the client did not ask for."""

    measured: Measured

    def feed(self, chunk: bytes) -> bytes:
        """Return the bytes to forward: whole frames only, none from an error that comes first."""

    def close(self) -> bytes:
        """The upstream closed: return what is left to forward; set ``measured.failure`` if it was cut short."""

    def fail(self, failure: Failure) -> bytes:
        """The stream broke: return the error that tells the client, if anything was forwarded and none was told."""


class Operation(Protocol):
    """One thing that can be asked in a dialect. ``speaks`` is the canonical request it reads into and writes from.

    Bodies are decoded JSON objects. ``read_request`` raises ``Failure`` (``invalid_request``, with ``param``)
    on anything malformed; it never raises another exception, whatever JSON it is given.
    """

    name: str
    speaks: type[Chat] | type[Embed]

    def path(self, model: str, stream: bool) -> str:
        """Return path and query below the provider's base URL, ``model`` percent-encoded where it is part of it."""

    def read_request(self, body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Any:
        """Return the canonical request. Path-borne ``model`` and ``stream`` are passed in."""

    def write_request(self, request: Any, facts: Facts) -> Sent:
        """Return the body for a model with these facts. Raises ``Failure`` for what must not be dropped."""

    def read_reply(self, body: dict[str, Any], sent: Sent) -> Any:
        """Return the canonical reply. Raises ``Failure`` (``upstream_failed``) if it is not one."""

    def write_reply(self, reply: Any, request: Any) -> dict[str, Any]:
        """Return the client's body."""

    def reader(self, sent: Sent) -> StreamReader:
        """Return a fresh reader of the answer to ``sent``."""

    def writer(self, request: Any, request_id: str = "") -> StreamWriter:
        """Return a fresh writer for the client that asked ``request``. ``request_id`` is told with an error."""

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Change a request that stays in this dialect, in place: the model, and that usage is always reported."""

    def meter(self, body: Mapping[str, Raw], request_id: str = "") -> Meter:
        """Return a fresh meter. ``body`` is the client's own, before ``amend``; ``request_id`` is told with an error
        that is not the upstream's own."""

    def measure(self, body: bytes) -> Measured:
        """Read usage off a whole reply that passes through. Never raises: what is not understood is not counted."""


def no_instructions(body: dict[str, Any], text: str, first: bool) -> str | None:
    """Add nothing: a dialect that no client speaks."""
    return None


@dataclass(frozen=True, slots=True)
class Dialect:
    """A wire format.

    ``credential_header`` is the header and prefix that carry the key. ``request_headers`` are the caller's
    headers that travel on; ``fixed_headers`` are sent unless the caller gave them. ``write_error`` returns
    status and body for a client, ``read_error`` takes status, lower-case headers and body of an upstream.
    ``write_models`` lists models by name and owner. ``models_path`` is where a service says which models it has, and
    ``read_models`` takes their names from what it says; "" and None where it is not asked. ``credential_query`` is
    where a key may stand in the query.
    ``limits`` says by operation where a limit of output stands; one that is not in it has no output.
    ``base_version`` is what a base URL ends in whose paths carry no version ("/v1"), "" where they carry their own.
    ``thoughts_bound_to_model`` says that a thought's signature is good for the model alone that gave it.
    ``instruct(body, text, first)`` adds to what the system tells the model, before or after what is there, in a decoded
    request of any operation, and returns the member that it changed; None where the operation takes no instructions.
    It raises ``Failure`` (``invalid_request``) where there is no place for them.
    """

    name: str
    operations: Mapping[str, Operation]
    read_error: Callable[[int, Mapping[str, str], bytes], Failure]
    write_error: Callable[[Failure, str], tuple[int, dict[str, Any]]]
    write_models: Callable[[Sequence[tuple[str, str]]], dict[str, Any]]
    credential_header: tuple[str, str]
    credential_query: str | None = None
    request_headers: tuple[str, ...] = ()
    fixed_headers: Mapping[str, str] = field(default_factory=dict)
    response_headers: tuple[str, ...] = ()
    base_version: str = ""
    models_path: str = ""
    read_models: Callable[[dict[str, Any]], list[str]] | None = None
    thoughts_bound_to_model: bool = True
    limits: Mapping[str, OutputLimit] = field(default_factory=dict)
    instruct: Callable[[dict[str, Any], str, bool], str | None] = no_instructions


def refuse_bound(chat: Chat, dialect: str) -> None:
    """Raise the ``Failure`` of what ties ``chat`` to the dialect that read it, if it is about to be written in another.

    Every ``write_request`` of a ``Chat`` begins with this.
    """
    if chat.bound and chat.dialect != dialect:
        raise chat.bound[0]


__all__ = ["Dialect", "Embeddings", "Loss", "Measured", "Meter", "Operation", "OutputLimit", "Reply", "Sent",
           "StreamReader", "StreamWriter", "no_instructions", "refuse_bound"]
