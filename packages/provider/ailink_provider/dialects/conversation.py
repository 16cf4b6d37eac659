"""The operation that asks for a model's next message, as far as it is the same in every dialect.

It joins the rooms of a dialect and translates nothing itself.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import msgspec
from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Embed, Reply
from ailink_provider.dialects import Measured, Meter, Sent, StreamReader, StreamWriter


class Rooms(NamedTuple):
    """What a dialect's rooms do for a conversation; ``Operation`` says what each promises."""

    read_request: Callable[[dict[str, Any], str | None, bool | None], Chat]
    write_request: Callable[[Chat, Facts], Sent]
    read_reply: Callable[[dict[str, Any], Sent], Reply]
    write_reply: Callable[[Reply, Chat], dict[str, Any]]
    reader: Callable[[Sent], StreamReader]
    writer: Callable[[Chat, str], StreamWriter]
    meter: Callable[[str], Meter]
    measure: Callable[[bytes], Measured]


class Conversation(ABC):
    """Asks for the next message of a conversation, whole or streamed. See ``Operation`` for what each method promises.

    A dialect tells its ``rooms`` and its path, and overrides what it has of its own.
    """

    name = "chat"
    speaks: type[Chat] | type[Embed] = Chat
    rooms: ClassVar[Rooms]

    @abstractmethod
    def path(self, model: str, stream: bool) -> str:
        """Return path and query below the base URL."""

    def read_request(self, body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Chat:
        """Return the canonical chat. Raises ``Failure`` (``invalid_request``) on anything malformed."""
        return self.rooms.read_request(body, model, stream)

    def write_request(self, request: Chat, facts: Facts) -> Sent:
        """Return the body for a model with these facts. Raises ``Failure`` for what must not be dropped."""
        return self.rooms.write_request(request, facts)

    def read_reply(self, body: dict[str, Any], sent: Sent) -> Reply:
        """Return the canonical reply. Raises ``Failure`` (``upstream_failed``) if it is not one."""
        return self.rooms.read_reply(body, sent)

    def write_reply(self, reply: Reply, request: Chat) -> dict[str, Any]:
        """Return the client's body."""
        return self.rooms.write_reply(reply, request)

    def reader(self, sent: Sent) -> StreamReader:
        """Return a fresh reader of the answer to ``sent``. Raises ``Failure`` where there are no streams."""
        return self.rooms.reader(sent)

    def writer(self, request: Chat, request_id: str = "") -> StreamWriter:
        """Return a fresh writer for the client that asked ``request``. Raises ``Failure`` where there are no
        streams."""
        return self.rooms.writer(request, request_id)

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Set the model, in place: all there is to change where usage is always reported."""
        body["model"] = Raw(msgspec.json.encode(model))

    def meter(self, body: Mapping[str, Raw], request_id: str = "") -> Meter:
        """Return a fresh meter: the same for all where nothing a client can ask changes what is measured."""
        return self.rooms.meter(request_id)

    def measure(self, body: bytes) -> Measured:
        """Read usage off a whole reply that passes through."""
        return self.rooms.measure(body)
