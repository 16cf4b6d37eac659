"""Replies, read and written: a whole one, and each line of a stream, which has the same shape.

``Answer`` reads both: a whole reply is a stream of one line, so the two cannot differ. Reading is lenient where servers
that resemble Ollama differ; writing is exact.
"""

import time
from datetime import UTC, datetime
from secrets import token_hex
from typing import Any, Final

from ailink_provider.chat import (
    Chat,
    Choice,
    Event,
    Finish,
    FinishReason,
    Media,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    Part,
    PartDelta,
    PartEnd,
    PartStart,
    Refusal,
    Reply,
    Text,
    Thinking,
    TokenLogprob,
    ToolCall,
    Usage,
    collect,
)
from ailink_provider.dialects import Sent
from ailink_provider.dialects.members import as_count, as_object, as_objects, as_text, json_text
from ailink_provider.dialects.ollama import errors
from ailink_provider.dialects.ollama.calls import arguments_of, made_id
from ailink_provider.dialects.ollama.fields import NAME
from ailink_provider.dialects.ollama.images import to_media
from ailink_provider.errors import Failure

CUT_SHORT: Final = "The upstream's stream ended before it was complete."
NOT_JSON: Final = "The upstream sent a line that is not a JSON object."

_FINISHES: dict[str, FinishReason] = {"stop": "stop", "length": "length", "content_filter": "content_filter"}
_FINISH_WORDS: dict[FinishReason, str] = {"tool_calls": "stop", "pause": "stop"}
# What a server says that only brought a model into memory, or out of it: it was asked nothing.
_NO_ANSWER = ("load", "unload")
_LAST_SECOND = 253402300799  # of the year 9999


class Answer:
    """Lines in, events out. Once it ``ended``, it takes no more."""

    def __init__(self, sent: Sent) -> None:
        self.ended = False
        self._sent = sent
        self._started = False
        self._seed = ""
        self._open: Text | Thinking | None = None
        self._parts = 0
        self._calls = 0

    def line(self, body: Any) -> list[Event]:
        """Return the events of one line, decoded."""
        events: list[Event] = []
        try:
            self._read(body, events)
        except Failure as failure:
            events += self.fail(failure)
        return events

    @property
    def saying(self) -> bool:
        """Whether a text is open."""
        return type(self._open) is Text

    def more(self, text: str, events: list[Event]) -> None:
        """Add to the text that is open."""
        if text:
            events.append(PartDelta(self._parts - 1, text))

    def fail(self, failure: Failure) -> list[Event]:
        """Return the last event of an answer that broke; none if it has ended already."""
        if self.ended:
            return []
        self.ended = True
        return [MessageError(failure)]

    def _read(self, body: Any, events: list[Event]) -> None:
        if not isinstance(body, dict):
            raise Failure("upstream_failed", NOT_JSON)
        if body.get("error"):
            raise errors.stream_error(body)
        done = body.get("done") is True
        if not done and not isinstance(body.get("message"), dict):
            return  # a server that is loading a model may say so
        if done and body.get("done_reason") in _NO_ANSWER:
            raise Failure("upstream_failed", f"The upstream gave no answer ('{body['done_reason']}').")
        if not self._started:
            self._start(body, events)
        self._message(as_object(body.get("message")), events)
        if logprobs := read_logprobs(body.get("logprobs")):
            events.append(PartDelta(max(self._parts - 1, 0), logprobs=logprobs))
        if done:
            self._hush(events)
            finish = read_finish(as_text(body.get("done_reason")), called=self._calls > 0)
            events += [MessageDelta(finish, read_usage(body)), MessageEnd()]
            self.ended = True

    def _start(self, body: dict[str, Any], events: list[Event]) -> None:
        self._started = True
        moment = as_text(body.get("created_at"))
        self._seed = f"{as_text(body.get('model'))} {moment}" if moment else token_hex(12)
        events.append(MessageStart(model=as_text(body.get("model")), created=read_moment(moment)))

    def _message(self, message: dict[str, Any], events: list[Event]) -> None:
        self._say(Thinking(signed_by=NAME), as_text(message.get("thinking")), events)
        self._say(Text(""), as_text(message.get("content")), events)
        images = message.get("images")
        for data in images if isinstance(images, list) else ():
            if as_text(data):
                self._whole(to_media(data), events)
        for call in as_objects(message.get("tool_calls")):
            self._call(call, events)

    def _say(self, kind: Text | Thinking, text: str, events: list[Event]) -> None:
        if not text:
            return
        if type(self._open) is not type(kind):
            self._hush(events)
            self._open = kind
            events.append(PartStart(self._parts, kind))
            self._parts += 1
        events.append(PartDelta(self._parts - 1, text))

    def _hush(self, events: list[Event]) -> None:
        if self._open is not None:
            self._open = None
            events.append(PartEnd(self._parts - 1))

    def _whole(self, part: Part, events: list[Event]) -> None:
        self._hush(events)
        events += [PartStart(self._parts, part), PartEnd(self._parts)]
        self._parts += 1

    def _call(self, source: dict[str, Any], events: list[Event]) -> None:
        function = as_object(source.get("function"))
        name = as_text(function.get("name"))
        if not name:
            return
        identifier = as_text(source.get("id")) or made_id(self._seed, self._calls)
        call = ToolCall(identifier, name, _read_arguments(function.get("arguments")))
        if name in self._sent.custom:
            given = (arguments_of(call) or {}).get("input")
            if isinstance(given, str):
                call.custom, call.arguments = True, given
        self._calls += 1
        self._whole(call, events)


def _read_arguments(value: Any) -> str:
    if isinstance(value, str):
        return value  # some models' templates let the text itself through
    try:
        return "{}" if value is None else json_text(value, "arguments")
    except Failure as failure:
        raise Failure("upstream_failed", f"The upstream's answer cannot be read: {failure.message}") from failure


def read_reply(body: dict[str, Any], sent: Sent) -> Reply:
    """Return the canonical reply. Raises ``Failure`` if the body is an error or no reply at all."""
    source = as_object(body)
    if not isinstance(source.get("message"), dict) and not source.get("error"):
        raise Failure("upstream_failed", "The upstream's answer has no message.")
    return collect(Answer(sent).line(source | {"done": True}))


def read_finish(word: str, called: bool) -> Finish:
    """Return why an answer ended. ``called``: it called a tool, for which Ollama has no word of its own."""
    reason = _FINISHES.get(word, "stop")
    return Finish("tool_calls" if called and reason == "stop" else reason, word or None)


def read_usage(body: dict[str, Any]) -> Usage | None:
    """Return the tokens counted, None if there are no counts.

    The prompt's count is absent where all of it was in the server's cache: then nothing of it was evaluated, and 0 is
    what the server says.
    """
    read, written = body.get("prompt_eval_count"), body.get("eval_count")
    if read is None and written is None:
        return None
    return Usage(input_tokens=as_count(read), output_tokens=as_count(written))


def read_moment(text: str) -> int:
    """Return the Unix second of an RFC 3339 time, 0 if it is none."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return 0
    return max(int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()), 0)


def read_logprobs(value: Any) -> list[TokenLogprob]:
    """Return the log-probabilities of a line's tokens."""
    return [_read_logprob(entry) for entry in as_objects(value)]


def _read_logprob(entry: dict[str, Any]) -> TokenLogprob:
    number, octets = entry.get("logprob"), entry.get("bytes")
    return TokenLogprob(
        as_text(entry.get("token")),
        float(number) if isinstance(number, float) or (isinstance(number, int) and abs(number) < 1 << 53) else 0.0,
        [as_count(octet) for octet in octets] if isinstance(octets, list) else None,
        [_read_logprob(rival) for rival in as_objects(entry.get("top_logprobs"))],
    )


def write_reply(reply: Reply, request: Chat) -> dict[str, Any]:
    """Return the client's body. Raises ``Failure`` for a call that no client of this API could read."""
    choice = reply.choices[0] if reply.choices else Choice()
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    for part in choice.parts:
        for key, value in write_part(part, thoughts_shown(request)).items():
            message[key] = message[key] + value if key in message else value
    if explanation := unsaid_refusal(choice.finish, choice.parts):
        message["content"] += explanation
    logprobs = {"logprobs": write_logprobs(choice.logprobs)} if choice.logprobs else {}
    return head(reply.model or request.model, reply.created) | {"message": message} | logprobs | write_end(
        choice.finish, reply.usage
    )  # fmt: skip


def head(model: str, created: int) -> dict[str, Any]:
    """Return the members every line begins with. ``created`` is in Unix seconds; 0 is now."""
    moment = datetime.fromtimestamp(min(created, _LAST_SECOND) or time.time(), UTC)
    return {"model": model, "created_at": moment.isoformat(timespec="microseconds").replace("+00:00", "Z")}


def thoughts_shown(request: Chat) -> bool:
    """Whether the client wants to see thoughts: yes, unless it said that there shall be none."""
    return request.reasoning is None or request.reasoning.effort != "none"


def write_part(part: Part, shown: bool) -> dict[str, Any]:
    """Return the members of a message that a whole part, or the begin of one, becomes; {} where there are none.

    Raises ``Failure`` (``upstream_failed``) for a call whose arguments are no JSON object. ``shown``: thoughts, too.
    """
    if isinstance(part, Text | Refusal):
        return {"content": part.text} if part.text else {}
    if isinstance(part, Thinking):
        return {"thinking": part.text} if part.text and shown else {}
    if isinstance(part, ToolCall):
        arguments = arguments_of(part)
        if arguments is None:
            raise Failure(
                "upstream_failed",
                f"The model called '{part.name}' with arguments that are no JSON object. Another attempt may go well.",
            )
        return {"tool_calls": [{"id": part.id, "function": {"name": part.name, "arguments": arguments}}]}
    if isinstance(part, Media):
        return {"images": [part.data]} if part.kind == "image" and part.data else {}
    return {}


def write_end(finish: Finish | None, usage: Usage | None) -> dict[str, Any]:
    """Return the members that end an answer. Durations, which only a server of Ollama's knows, are left out."""
    reason = finish.reason if finish is not None else "stop"
    end: dict[str, Any] = {"done": True, "done_reason": _FINISH_WORDS.get(reason, reason)}
    if usage is not None:
        end |= {"prompt_eval_count": usage.input_tokens, "eval_count": usage.output_tokens}
    return end


def unsaid_refusal(finish: Finish | None, parts: list[Part]) -> str:
    """Return the model's reason for declining, "" where there is none or the parts have it."""
    if finish is None or any(isinstance(part, Refusal) for part in parts):
        return ""
    return finish.explanation or ""


def write_logprobs(logprobs: list[TokenLogprob]) -> list[dict[str, Any]]:
    """Return the ``logprobs`` of a line."""
    return [_write_logprob(entry) | {"top_logprobs": list(map(_write_logprob, entry.top))} for entry in logprobs]


def _write_logprob(entry: TokenLogprob) -> dict[str, Any]:
    octets = {} if entry.bytes is None else {"bytes": entry.bytes}
    return {"token": entry.token, "logprob": entry.logprob} | octets
