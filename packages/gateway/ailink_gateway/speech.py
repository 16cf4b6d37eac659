"""How one call is spoken: the bytes to send upstream, and what the upstream's bytes become for the client.

Two ways with one shape. ``Relay``: client and target share a wire format, so the reply's bytes pass untouched and usage
is read off them. ``Translation``: everything goes through the canonical words. Neither touches a socket.
"""

from typing import Any, TypeAlias

import msgspec
from msgspec.json import encode

from ailink_gateway.envelope import read_tree
from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Target
from ailink_gateway.ports import Thoughts
from ailink_gateway.thoughts import Notes, Turn, restore, turns_of
from ailink_provider.chat import (
    Chat,
    Embed,
    Embeddings,
    Event,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    PartDelta,
    PartStart,
    Text,
    Thinking,
    ToolCall,
    Usage,
)
from ailink_provider.chat import Reply as ChatReply
from ailink_provider.dialects import Loss, Measured, Operation
from ailink_provider.dialects.halves import decode, mended
from ailink_provider.errors import Failure
from ailink_provider.estimate import estimate_chat

CANONICAL = {Chat: "chat", Embed: "embeddings"}

_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Relay:
    """Same wire format on both sides."""

    def __init__(self, exchange: Exchange, target: Target, operation: Operation) -> None:
        self.path = operation.path(target.model, exchange.streaming)
        self.losses: list[Loss] = []
        self.content_type = None
        self._operation = operation
        self._meter = operation.meter(exchange.members, exchange.id) if exchange.streaming else None
        self.measured = Measured() if self._meter is None else self._meter.measured
        members = dict(exchange.members)
        operation.amend(members, target.model, target.facts)
        self.body = encode(members)

    def whole(self, body: bytes) -> bytes:
        """Return the client's body for the upstream's. Raises the ``Failure`` of an error that came with status 200."""
        self.measured = self._operation.measure(body)
        if self.measured.usage is not None and self.measured.failure is None:
            return body  # it was read as a reply
        if (legible := mended(body)) != body:
            self.whole(legible)
            return body
        try:
            members = _OBJECT.decode(body)
        except (ValueError, RecursionError):
            raise not_a_reply(body) from None
        # A reply that failed has an id and is the client's to read; what has none is no reply.
        if self.measured.failure is not None and _given(members, "error") and not _given(members, "id"):
            raise self.measured.failure
        return body

    def feed(self, chunk: bytes) -> bytes:
        """Return what these bytes of a stream become. An error that comes first is raised."""
        assert self._meter is not None
        return self._meter.feed(chunk)

    def close(self) -> bytes:
        """Return what is left when the upstream has ended."""
        assert self._meter is not None
        return self._meter.close()

    def fail(self, failure: Failure) -> bytes:
        """Return the end of a stream whose upstream broke."""
        assert self._meter is not None
        return self._meter.fail(failure)

    def input_tokens(self, exchange: Exchange) -> int:
        """Return an estimate of the input, in tokens, for a reply that brought no usage."""
        return len(exchange.body) // 4


class Memory:
    """The thoughts of one tenant's conversations with one target."""

    def __init__(self, thoughts: Thoughts, tenant: str, target: Target) -> None:
        self._thoughts, self._tenant = thoughts, tenant
        self._dialect, self._model = target.upstream.dialect, target.model

    def restore(self, chat: Chat) -> None:
        """Put back what the model's turns lack, in place."""
        restore(chat, self._dialect.name, self._find)

    def notes(self) -> Notes:
        """Return what takes notes of a stream."""
        return Notes(self._dialect.name, self._model)

    def keep_reply(self, reply: ChatReply) -> None:
        """Keep what a client may lose of a whole reply."""
        self.keep(turns_of(reply, self._dialect.name, self._model))

    def keep(self, turns: list[Turn]) -> None:
        """Keep these turns."""
        for turn in turns:
            self._thoughts.keep(self._tenant, turn)

    def _find(self, call_id: str) -> Turn | None:
        turn = self._thoughts.find(self._tenant, call_id)
        if turn is None or turn.dialect != self._dialect.name:
            return None
        return None if self._dialect.thoughts_bound_to_model and turn.model != self._model else turn


class Translation:
    """Two wire formats, with the canonical words between them."""

    def __init__(
        self, exchange: Exchange, target: Target, inbound: Operation, outbound: Operation, memory: Memory
    ) -> None:
        self.request: Any = inbound.read_request(read_tree(exchange.body), exchange.model, exchange.route.stream)
        self.request.model = target.model
        # A reply without tools has nothing that must come back, and costs nothing here.
        calls = isinstance(self.request, Chat) and bool(self.request.tools)
        self._memory = memory if calls else None
        self._notes = memory.notes() if calls and exchange.streaming else None
        if isinstance(self.request, Chat):
            memory.restore(self.request)
        self._inbound, self._outbound = inbound, outbound
        self._sent = outbound.write_request(self.request, target.facts)
        self.losses = self._sent.losses
        self.path = outbound.path(target.model, exchange.streaming)
        self.body = encode(self._sent.body)
        self.measured = Measured()
        self.content_type: str | None = None
        if exchange.streaming:
            self._reader = outbound.reader(self._sent)
            self._writer = inbound.writer(self.request, exchange.id)
            self.content_type = self._writer.content_type

    def whole(self, body: bytes) -> bytes:
        """Return the client's body for the upstream's."""
        try:
            tree: Any = decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise not_a_reply(body) from None
        if not isinstance(tree, dict):
            raise not_a_reply(body)
        reply = self._outbound.read_reply(tree, self._sent)
        self.measured = measured_of(reply)
        if self._memory is not None:
            self._memory.keep_reply(reply)
        return encode(self._inbound.write_reply(reply, self.request))

    def feed(self, chunk: bytes) -> bytes:
        """Return what these bytes of a stream become."""
        return self._write(self._reader.feed(chunk))

    def close(self) -> bytes:
        """Return what is left when the upstream has ended."""
        return self._write(self._reader.close())

    def fail(self, failure: Failure) -> bytes:
        """Return the end of a stream whose upstream broke."""
        self.measured.failure = failure
        return self._writer.write(MessageError(failure))

    def _write(self, events: list[Event]) -> bytes:
        out = []
        for event in events:
            if isinstance(event, MessageError) and not self._begun():
                self.measured.failure = event.failure
                break
            _measure(event, self.measured)
            if self._notes is not None and self._memory is not None:
                self._memory.keep(self._notes.feed(event))
            out.append(self._writer.write(event))
        return b"".join(out)

    def _begun(self) -> bool:
        measured = self.measured
        return bool(measured.characters or measured.model is not None or measured.finish)

    def input_tokens(self, exchange: Exchange) -> int:
        """Return an estimate of the input, in tokens, for a reply that brought no usage."""
        return estimate_chat(self.request) if isinstance(self.request, Chat) else len(exchange.body) // 4


Speech: TypeAlias = Relay | Translation


def _given(members: dict[str, msgspec.Raw], name: str) -> bool:
    return bytes(members.get(name, b"null")) != b"null"


def speak(exchange: Exchange, target: Target, thoughts: Thoughts) -> Speech:
    """Return how this exchange is spoken with this target. Raises ``Failure`` when the target's dialect has no such
    operation.
    """
    inbound = exchange.route.dialect.operations[exchange.route.operation]
    if is_relayed(exchange, target):
        return Relay(exchange, target, inbound)
    outbound = target.upstream.dialect.operations.get(CANONICAL[inbound.speaks])
    if outbound is None:
        raise Failure(
            "invalid_request",
            f"{target.upstream.name} has no {CANONICAL[inbound.speaks]}: ask another model.",
            param="model",
        )
    assert exchange.grant is not None  # Authenticate stands before this
    return Translation(exchange, target, inbound, outbound, Memory(thoughts, exchange.grant.tenant, target))


def is_relayed(exchange: Exchange, target: Target) -> bool:
    """Whether client and target share the wire format of this exchange."""
    route, upstream = exchange.route, target.upstream
    if route.dialect is upstream.dialect:
        return True
    inbound = route.dialect.operations[route.operation]
    return any(known.operations.get(inbound.name) is inbound for known in (upstream.dialect, *upstream.relays))


def count_locally(exchange: Exchange) -> bytes:
    """Return the client's answer to "how many tokens is this", estimated here."""
    inbound = exchange.route.dialect.operations[exchange.route.operation]
    chat: Chat = inbound.read_request(read_tree(exchange.body), exchange.model, exchange.route.stream)
    tokens = estimate_chat(chat)
    return encode(inbound.write_reply(ChatReply(model=chat.model, usage=Usage(input_tokens=tokens)), chat))


def measured_of(reply: ChatReply | Embeddings) -> Measured:
    """Return what is recorded of a whole canonical reply."""
    if isinstance(reply, Embeddings):
        # No text is of no tokens: an upstream that counts none, as Gemini's does not, has not said what it cost.
        return Measured(model=reply.model, usage=reply.usage if reply.usage.total_tokens else None, complete=True)
    measured = Measured(model=reply.model, usage=reply.usage, complete=True, service_tier=reply.service_tier)
    for choice in reply.choices:
        if choice.finish is not None:
            measured.finish = choice.finish.reason
        for part in choice.parts:
            measured.characters += _characters(part)
    return measured


def error_instead(speech: Speech, body: bytes) -> Failure | None:
    """Return the failure that ``body`` tells of, where a stream was asked for: some upstreams answer an error with
    status 200 and as a whole. None if it is something else.
    """
    try:
        if tells_of_error(body):
            speech.whole(body)
    except Failure as failure:
        return failure
    return None


def tells_of_error(body: bytes) -> bool:
    """Whether an upstream's whole answer says that it failed."""
    try:
        return _given(_OBJECT.decode(body), "error")
    except (ValueError, RecursionError):
        return False


def not_a_reply(body: bytes) -> Failure:
    """Return the failure of an upstream that answered something else than JSON."""
    shown = "".join(c for c in body[:200].decode("utf-8", "replace") if c.isprintable())
    return Failure("upstream_failed", f"The upstream answered something that is not a reply: {shown}")


def _measure(event: Event, measured: Measured) -> None:
    if isinstance(event, PartDelta):
        measured.characters += len(event.text)
    elif isinstance(event, PartStart):
        measured.characters += _characters(event.part)
    elif isinstance(event, MessageDelta):
        measured.usage = event.usage or measured.usage
        measured.service_tier = event.service_tier or measured.service_tier
        if event.finish is not None:
            measured.finish = event.finish.reason
    elif isinstance(event, MessageStart):
        measured.model = event.model
        measured.usage = event.usage or measured.usage
        measured.service_tier = event.service_tier or measured.service_tier
    elif isinstance(event, MessageError):
        measured.failure = event.failure
        measured.complete = True
    else:
        measured.complete = measured.complete or isinstance(event, MessageEnd)


def _characters(part: object) -> int:
    if isinstance(part, Text | Thinking):
        return len(part.text)
    return len(part.arguments) if isinstance(part, ToolCall) else 0
