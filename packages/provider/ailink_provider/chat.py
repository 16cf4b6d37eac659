"""The canonical words for a conversation with a model: what every dialect reads into and writes from.

Nothing here knows a wire format, a vendor or a socket. Token counts are in tokens, media are base64
text, tool arguments are JSON text exactly as the model wrote them. ``Usage`` counts are totals: input
includes what was read from or written to a prompt cache, output includes reasoning.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeAlias

from msgspec import Struct, field

from ailink_provider.errors import Failure

Role: TypeAlias = Literal["system", "developer", "user", "assistant"]
MediaKind: TypeAlias = Literal["image", "audio", "document"]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "pause"]


# --- what a message is made of -------------------------------------------------------------------


class CacheMark(Struct, frozen=True):
    """A prompt-cache breakpoint after the part that carries it. ``ttl`` as the client wrote it ("5m", "1h")."""

    ttl: str | None = None


class Text(Struct):
    """Plain text. ``annotations`` are the dialect's own citation objects, carried unread but for one rule: where a web
    page is cited, its ``url`` and ``title`` stand at the top level, so that every dialect can show them."""

    text: str
    cache: CacheMark | None = None
    annotations: list[dict[str, Any]] | None = None


class Media(Struct):
    """An image, a sound or a document, by exactly one of ``data`` (base64), ``url`` or ``file_id``. ``extra``, here
    and below, holds the members of the object on the wire that only its own dialect knows."""

    kind: MediaKind
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    name: str | None = None
    detail: str | None = None
    cache: CacheMark | None = None
    extra: "Native | None" = None


class ToolCall(Struct):
    """The model's wish to call a tool. ``arguments`` is JSON text ("" while streaming starts); free text
    when ``custom``. ``signature`` is the vendor's proof of the thought that led here, with ``signed_by``
    the dialect that alone can use it."""

    id: str
    name: str
    arguments: str = ""
    custom: bool = False
    signature: str | None = None
    signed_by: str | None = None
    cache: CacheMark | None = None
    extra: "Native | None" = None


class ToolResult(Struct):
    """What a tool answered. It travels in a ``user`` message; ``name`` is the tool's, where known."""

    call_id: str
    parts: "list[Part]" = field(default_factory=list)
    is_error: bool = False
    name: str | None = None
    cache: CacheMark | None = None
    extra: "Native | None" = None


class Thinking(Struct):
    """Reasoning shown by a model. ``signature`` proves it, ``redacted`` replaces a hidden text; both mean
    something only to the dialect ``signed_by``. An unsigned or foreign one is never sent to a model."""

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    signed_by: str | None = None


class Refusal(Struct):
    """The model's words for declining."""

    text: str


class Native(Struct):
    """A block or tool that only ``dialect`` can say, carried whole and unread."""

    dialect: str
    value: dict[str, Any]


Part: TypeAlias = Text | Media | ToolCall | ToolResult | Thinking | Refusal | Native


class Message(Struct):
    """One turn. Adjacent messages of one role are allowed; a dialect that forbids them merges on writing."""

    role: Role
    parts: list[Part]
    name: str | None = None


# --- what is asked of the model ------------------------------------------------------------------


class Tool(Struct):
    """A function the model may call. ``schema`` is JSON Schema, None when the client gave none.
    ``custom`` tools take free text instead of JSON; ``format`` is their grammar, carried unread."""

    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    custom: bool = False
    format: dict[str, Any] | None = None
    cache: CacheMark | None = None
    extra: "Native | None" = None


class WebSearch(Struct):
    """The vendor's own web search. ``options`` as the client wrote them."""

    options: dict[str, Any] = field(default_factory=dict)


class ToolChoice(Struct):
    """``names`` narrows the tools to these; with "required" and one name, that tool must be called."""

    mode: Literal["auto", "none", "required"]
    names: list[str] | None = None


class OutputFormat(Struct):
    """ "json" is any JSON object; "schema" is JSON that fits ``schema``."""

    kind: Literal["text", "json", "schema"]
    name: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class Reasoning(Struct):
    """How much to think. ``effort`` is none|minimal|low|medium|high|xhigh|max; ``budget`` is in tokens
    (-1: the model decides); ``visible`` asks for the thoughts to be shown."""

    effort: str | None = None
    budget: int | None = None
    adaptive: bool | None = None
    visible: bool | None = None


class Chat(Struct):
    """One request for a reply. ``dialect`` names who read it; ``extras`` are the fields that reader does not
    interpret, keyed by their name on its wire; ``stop`` and ``tools`` keep the client's order. ``apart`` is how many of
    the first messages stand in a field of their own on that wire (a system prompt): paths do not count them.

    ``asides`` are such fields that mean nothing elsewhere: their own dialect writes them back, no other misses them.
    ``bound`` says what only that dialect's vendor can serve, such as a conversation that it keeps: another dialect
    raises the first of these instead of writing the request."""

    model: str
    messages: list[Message]
    dialect: str = ""
    tools: list[Tool | WebSearch | Native] = field(default_factory=list)
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    output: OutputFormat | None = None
    reasoning: Reasoning | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: list[str] = field(default_factory=list)
    n: int = 1
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    service_tier: str | None = None
    user: str | None = None
    metadata: dict[str, str] | None = None
    stream: bool = False
    include_usage: bool = False
    legacy_functions: bool = False
    apart: int = 0
    extras: dict[str, Any] = field(default_factory=dict)
    asides: dict[str, Any] = field(default_factory=dict)
    bound: list[Failure] = field(default_factory=list)


class Embed(Struct):
    """One request for embeddings. ``inputs`` are texts, or lists of token ids where the client sent those."""

    model: str
    inputs: list[str | list[int]]
    dialect: str = ""
    dimensions: int | None = None
    encoding: Literal["float", "base64"] = "float"
    task: str | None = None
    single: bool = False
    stream: bool = False
    extras: dict[str, Any] = field(default_factory=dict)


# --- what comes back -----------------------------------------------------------------------------


class Usage(Struct):
    """Tokens of one call. Input includes both cache counts; output includes reasoning."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    input_audio_tokens: int = 0
    output_audio_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together, in tokens."""
        return self.input_tokens + self.output_tokens


class Finish(Struct):
    """Why a choice ended. ``native`` is the upstream's own word; ``explanation`` its reason for a refusal."""

    reason: FinishReason
    native: str | None = None
    stop_sequence: str | None = None
    explanation: str | None = None


class TokenLogprob(Struct):
    """The log-probability (natural logarithm) of one output token and of its rivals."""

    token: str
    logprob: float
    bytes: list[int] | None = None
    top: "list[TokenLogprob]" = field(default_factory=list)


class Choice(Struct):
    """One of the answers of a reply."""

    parts: list[Part] = field(default_factory=list)
    finish: Finish | None = None
    logprobs: list[TokenLogprob] | None = None


class Reply(Struct):
    """A whole answer. ``created`` is in Unix seconds, 0 where the upstream gives none."""

    id: str = ""
    model: str = ""
    created: int = 0
    choices: list[Choice] = field(default_factory=list)
    usage: Usage | None = None
    service_tier: str | None = None


class Embeddings(Struct):
    """Vectors in the order of the inputs."""

    model: str
    vectors: list[list[float]]
    usage: Usage = field(default_factory=Usage)


# --- the same answer as events -------------------------------------------------------------------


class MessageStart(Struct, tag="message_start"):
    """First event, once. ``usage`` where the upstream already knows its input."""

    id: str = ""
    model: str = ""
    created: int = 0
    usage: Usage | None = None
    service_tier: str | None = None


class PartStart(Struct, tag="part_start"):
    """A part begins. ``index`` counts the parts of this choice from 0; several may be open at once.
    ``part`` holds what is known so far: a tool call's id and name, an empty text."""

    index: int
    part: Part
    choice: int = 0


class PartDelta(Struct, tag="part_delta"):
    """More of a part: ``text`` is appended to a text, thinking, refusal, or a tool call's arguments."""

    index: int
    text: str = ""
    signature: str | None = None
    annotation: dict[str, Any] | None = None
    logprobs: list[TokenLogprob] | None = None
    choice: int = 0


class PartEnd(Struct, tag="part_end"):
    """A part is complete."""

    index: int
    choice: int = 0


class MessageDelta(Struct, tag="message_delta"):
    """A choice's finish, the usage so far (it replaces every earlier one), or both."""

    finish: Finish | None = None
    usage: Usage | None = None
    choice: int = 0
    service_tier: str | None = None


class MessageEnd(Struct, tag="message_end"):
    """Last event of a reply that is whole."""


class MessageError(Struct, tag="message_error"):
    """Last event of a reply that broke."""

    failure: Failure


Event: TypeAlias = MessageStart | PartStart | PartDelta | PartEnd | MessageDelta | MessageEnd | MessageError


def unfold(reply: Reply) -> Iterator[Event]:
    """Yield the events of a whole reply, as a stream of it would have brought them."""
    yield MessageStart(
        id=reply.id, model=reply.model, created=reply.created, usage=reply.usage, service_tier=reply.service_tier
    )
    for number, choice in enumerate(reply.choices):
        for index, part in enumerate(choice.parts):
            yield PartStart(index, part, number)
            yield PartEnd(index, number)
        if choice.logprobs is not None:
            yield PartDelta(max(len(choice.parts) - 1, 0), logprobs=choice.logprobs, choice=number)
        yield MessageDelta(finish=choice.finish, choice=number)
    yield MessageDelta(usage=reply.usage, service_tier=reply.service_tier)
    yield MessageEnd()


class Collector:
    """Gathers events into a ``Reply``. Feed every event; read ``reply`` at any time.

    An error event raises its ``Failure``; what came before it stays in ``reply``.
    """

    def __init__(self) -> None:
        self.reply = Reply()
        self._open: dict[tuple[int, int], Part] = {}
        self._fragments: dict[tuple[int, int], list[str]] = {}

    def feed(self, event: Event) -> None:
        """Add one event."""
        reply = self.reply
        if isinstance(event, PartDelta):
            self._delta(event)
        elif isinstance(event, PartStart):
            part = _copy(event.part)
            self._open[event.choice, event.index] = part
            self._choice(event.choice).parts.append(part)
        elif isinstance(event, PartEnd):
            self._seal((event.choice, event.index))
        elif isinstance(event, MessageStart):
            reply.id, reply.model, reply.created = event.id, event.model, event.created
            reply.usage, reply.service_tier = event.usage or reply.usage, event.service_tier
        elif isinstance(event, MessageDelta):
            if event.finish is not None:
                self._choice(event.choice).finish = event.finish
            reply.usage = event.usage or reply.usage
            reply.service_tier = event.service_tier or reply.service_tier
        else:
            for key in list(self._fragments):
                self._seal(key)
            if isinstance(event, MessageError):
                raise event.failure

    def _choice(self, number: int) -> Choice:
        while len(self.reply.choices) <= number:
            self.reply.choices.append(Choice())
        return self.reply.choices[number]

    def _delta(self, event: PartDelta) -> None:
        key = (event.choice, event.index)
        if event.logprobs:
            choice = self._choice(event.choice)
            choice.logprobs = (choice.logprobs or []) + event.logprobs
        part = self._open.get(key)
        if part is None:
            return
        if event.text:
            self._fragments.setdefault(key, []).append(event.text)
        if event.signature is not None and isinstance(part, Thinking | ToolCall):
            part.signature = event.signature
        if event.annotation is not None and isinstance(part, Text):
            part.annotations = [*(part.annotations or []), event.annotation]

    def _seal(self, key: tuple[int, int]) -> None:
        added = "".join(self._fragments.pop(key, []))
        part = self._open.get(key)
        if isinstance(part, Text | Thinking | Refusal):
            part.text += added
        elif isinstance(part, ToolCall):
            part.arguments += added


def collect(events: Iterable[Event]) -> Reply:
    """Return the reply that ``events`` describe. Raises the ``Failure`` of an error event."""
    collector = Collector()
    for event in events:
        collector.feed(event)
    return collector.reply


def _copy(part: Part) -> Part:
    # Deltas change the part in place; the event's own must stay as it was sent.
    return type(part)(**{name: getattr(part, name) for name in part.__struct_fields__})
