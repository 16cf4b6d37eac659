"""A reply, read and written: the body of ``generateContent``'s answer, and of each chunk of a stream.

``Answer`` reads both: a whole reply is a stream of one chunk, so the two cannot differ. What an upstream gets wrong is
``Failure("upstream_failed")``; what it does not say yet is taken as said later.
"""

from secrets import token_hex
from typing import Any

from ailink_provider.chat import (
    Chat,
    Choice,
    Event,
    Finish,
    Media,
    MessageDelta,
    MessageEnd,
    MessageError,
    MessageStart,
    Native,
    Part,
    PartDelta,
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
from ailink_provider.dialects.gemini.citations import read_notes, write_notes
from ailink_provider.dialects.gemini.errors import read_error_object
from ailink_provider.dialects.gemini.fields import integer, join, many, members, number, text
from ailink_provider.dialects.gemini.finishes import blocked_prompt, check_finish, reason_for, write_finish
from ailink_provider.dialects.gemini.media import write_shown_media
from ailink_provider.dialects.gemini.names import NAME
from ailink_provider.dialects.gemini.parts import Piece, arguments, call_part, members_of, read_part, signed
from ailink_provider.dialects.gemini.requests import TIER_WORDS, TIERS
from ailink_provider.dialects.gemini.signatures import is_mark, seal, write_marked
from ailink_provider.dialects.gemini.turns import Turn
from ailink_provider.dialects.gemini.usage import UsageMetadata, read_metadata, read_usage, write_usage
from ailink_provider.errors import Failure

CHOICE_LIMIT = 64


class Answer:
    """Chunks in, events out. Once ``broken``, it takes no more. ``whole`` forgives a missing finish."""

    def __init__(self, sent: Sent, whole: bool = False) -> None:
        self.broken = False
        self._sent = sent
        self._whole = whole
        self._started = False
        self._seed = ""
        self._turns: dict[int, Turn] = {}
        self._finishes: dict[int, Finish] = {}
        self._usage: Usage | None = None
        self._metadata: UsageMetadata | None = None

    def chunk(self, body: Any) -> list[Event]:
        """Return the events of one chunk, decoded."""
        first = not self._started
        events: list[Event] = []
        try:
            self._read(body, events)
        except Failure as failure:
            if first and all(isinstance(event, MessageStart | MessageDelta) for event in events):
                # Nothing of an answer was seen, so none has begun; what it cost is still told.
                events = [event for event in events if isinstance(event, MessageDelta)]
            # Reading is as strict as with requests, but here it is not the client who is at fault.
            if failure.code == "invalid_request" and failure.upstream_status is None:
                failure = Failure("upstream_failed", f"The upstream's answer cannot be read: {failure.message}")
            events.append(self.fail(failure))
        return events

    @property
    def begun(self) -> bool:
        """Whether a candidate was seen."""
        return bool(self._turns)

    def more(self, choice: int, text: str, metadata: UsageMetadata | None, events: list[Event]) -> bool:
        """Take a chunk of no more than a piece of a candidate's text; return whether that candidate has begun."""
        turn = self._turns.get(choice)
        if turn is None:
            return False
        if metadata is not None:
            self._count(metadata, events)
        events += turn.add(Piece(Text(text)))
        return True

    def fail(self, failure: Failure) -> MessageError:
        """Return the last event of an answer that broke."""
        self.broken = True
        return MessageError(failure)

    def end(self) -> list[Event]:
        """The upstream is done: return the end of the reply, or its ``MessageError`` if it was cut short."""
        if self.broken:
            return []
        if not self._finishes and not self._turns:
            return [self.fail(Failure("upstream_failed", "The upstream gave no answer."))]
        events: list[Event] = []
        for choice, turn in sorted(self._turns.items()):
            events += turn.end()
            if choice not in self._finishes and not self._whole:
                return [*events, self.fail(Failure("upstream_failed", "The upstream's answer was cut short."))]
            finish = self._finishes.setdefault(choice, Finish("stop"))
            if finish.native is not None and finish.reason == "stop":
                finish.reason = reason_for(finish.native, turn.called)
        events += [MessageDelta(finish=finish, choice=choice) for choice, finish in sorted(self._finishes.items())]
        return [*events, MessageEnd()]

    def _read(self, body: Any, events: list[Event]) -> None:
        fields = members(body, "")
        if fields.get("error"):
            raise read_error_object(fields["error"])
        metadata = read_metadata(fields.get("usageMetadata"))
        if not self._started:
            self._started = True
            identity = text(fields.get("responseId", ""), "responseId")
            self._seed = identity or token_hex(12)
            events.append(
                MessageStart(
                    identity, text(fields.get("modelVersion", ""), "modelVersion"), service_tier=_tier(metadata)
                )
            )
        if metadata is not None:  # before anything can fail: it is billed all the same
            self._count(metadata, events)
        for position, candidate in enumerate(many(fields.get("candidates", []), "candidates")):
            self._candidate(candidate, position, events)
        feedback = members(fields.get("promptFeedback", {}), "promptFeedback")
        if "blockReason" in feedback and not self._turns:
            self._finishes[0] = blocked_prompt(
                text(feedback["blockReason"], "promptFeedback.blockReason"),
                text(feedback.get("blockReasonMessage", ""), "promptFeedback.blockReasonMessage"),
            )

    def _count(self, metadata: UsageMetadata, events: list[Event]) -> None:
        if metadata != self._metadata:
            self._metadata = metadata
            usage = read_usage(metadata)
            if usage != self._usage:
                self._usage = usage
                events.append(MessageDelta(usage=usage, service_tier=_tier(metadata)))

    def _candidate(self, value: Any, position: int, events: list[Event]) -> None:
        where = f"candidates[{position}]"
        candidate = members(value, where)
        choice = integer(candidate.get("index", position), join(where, "index"))
        if not 0 <= choice < CHOICE_LIMIT:
            raise Failure("upstream_failed", f"The upstream's answer has a candidate number {choice}.")
        turn = self._turns.setdefault(choice, Turn(choice, self._seed))
        turn.note(read_notes(candidate))
        parts = join(where, "content.parts")
        content = members(candidate.get("content", {}), join(where, "content"))
        for index, item in enumerate(many(content.get("parts", []), parts)):
            piece = read_part(item, f"{parts}[{index}]")
            if isinstance(piece.part, ToolCall):
                self._restore(piece.part)
            events += turn.add(piece)
        logprobs = _read_logprobs(candidate.get("logprobsResult"), join(where, "logprobsResult"))
        if logprobs:
            events.append(PartDelta(turn.last, logprobs=logprobs, choice=choice))
        word = text(candidate.get("finishReason", ""), join(where, "finishReason"))
        if word:
            message = text(candidate.get("finishMessage", ""), join(where, "finishMessage"))
            check_finish(word, message)
            self._finishes[choice] = Finish(reason_for(word, False), native=word, explanation=message or None)

    def _restore(self, call: ToolCall) -> None:
        """Give a call the client's name for its tool, and a free-text tool its text."""
        if call.name in self._sent.custom:
            given = arguments(call).get("input")
            if isinstance(given, str):
                call.custom, call.arguments = True, given
        call.name = self._sent.names.get(call.name, call.name)


def _tier(metadata: UsageMetadata | None) -> str | None:
    return TIER_WORDS.get(metadata.service_tier or "") if metadata is not None else None


def read_reply(body: dict[str, Any], sent: Sent) -> Reply:
    """Return the canonical reply. Raises ``Failure`` if the upstream's answer is an error, or none."""
    answer = Answer(sent, whole=True)
    return collect(answer.chunk(body) + answer.end())


def write_reply(reply: Reply, request: Chat) -> dict[str, Any]:
    """Return the client's body."""
    shown = thoughts_shown(request)
    body: dict[str, Any] = {
        "candidates": [_write_choice(choice, position, shown) for position, choice in enumerate(reply.choices)],
        "modelVersion": reply.model or request.model,
    }
    if reply.usage is not None:
        body["usageMetadata"] = {**write_usage(reply.usage), **write_tier(reply.service_tier)}
    if reply.id:
        body["responseId"] = reply.id
    return body


def thoughts_shown(request: Chat) -> bool:
    """Whether the client asked for thoughts. Signed ones go out in any case: they have to come back."""
    return request.reasoning is not None and request.reasoning.visible is True


def write_part(part: Part, shown: bool) -> dict[str, Any] | None:
    """Return the Part for a whole canonical part; None where there is none, or it is not to be shown.

    Raises ``Failure`` for a call whose arguments the model did not write as a JSON object.
    """
    if isinstance(part, Text | Refusal):
        return {"text": part.text} if part.text else None
    if isinstance(part, Thinking):
        signature = seal(part)
        if is_mark(part):
            return signed({"text": ""}, signature)
        if signature is None and not (shown and part.text):
            return None
        return signed({"text": part.text, "thought": True}, signature)
    if isinstance(part, ToolCall):
        return call_part(part, part.name, seal(part))
    if isinstance(part, Media):
        media = write_shown_media(part)
        return media and {**media, **members_of(part.extra)}
    return dict(part.value) if isinstance(part, Native) and part.dialect == NAME else None


def write_candidate(choice: int, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a candidate; Google's SDK throws a turn away that has no part at all."""
    return {"content": {"parts": parts or [{"text": ""}], "role": "model"}, "index": choice}


def write_end(finish: Finish | None) -> dict[str, Any]:
    """Return the members of a candidate that say why it ended."""
    explained = {"finishMessage": finish.explanation} if finish is not None and finish.explanation else {}
    return {"finishReason": write_finish(finish), **explained}


def write_malformed(failure: Failure) -> dict[str, Any]:
    """Return the end of a candidate whose model wrote a call that no client could read."""
    return {"finishReason": "MALFORMED_FUNCTION_CALL", "finishMessage": failure.message}


def write_tier(tier: str | None) -> dict[str, Any]:
    """Return the member of ``usageMetadata`` that names the service tier."""
    return {"serviceTier": TIERS[tier]} if tier in TIERS else {}


def write_logprobs(logprobs: list[TokenLogprob]) -> dict[str, Any]:
    """Return ``logprobsResult``."""

    def entry(token: TokenLogprob) -> dict[str, Any]:
        return {"token": token.token, "logProbability": token.logprob}

    return {
        "chosenCandidates": [entry(token) for token in logprobs],
        "topCandidates": [{"candidates": [entry(rival) for rival in token.top]} for token in logprobs],
    }


def _write_choice(choice: Choice, position: int, shown: bool) -> dict[str, Any]:
    end = write_end(choice.finish)
    try:
        parts = write_marked(choice.parts, lambda _, part: write_part(part, shown))
    except Failure as failure:
        parts, end = [], write_malformed(failure)
    notes = [note for part in choice.parts if isinstance(part, Text) for note in part.annotations or ()]
    logprobs = {"logprobsResult": write_logprobs(choice.logprobs)} if choice.logprobs is not None else {}
    return {**write_candidate(position, parts), **end, **write_notes(notes), **logprobs}


def _read_logprobs(value: Any, where: str) -> list[TokenLogprob]:
    if value is None:
        return []
    result = members(value, where)
    rivals = many(result.get("topCandidates", []), join(where, "topCandidates"))
    read = []
    for position, chosen in enumerate(many(result.get("chosenCandidates", []), join(where, "chosenCandidates"))):
        token = _read_token(chosen, f"{where}.chosenCandidates[{position}]")
        if position < len(rivals):
            here = f"{where}.topCandidates[{position}]"
            group = many(members(rivals[position], here).get("candidates", []), join(here, "candidates"))
            token.top = [_read_token(rival, join(here, "candidates")) for rival in group]
        read.append(token)
    return read


def _read_token(value: Any, where: str) -> TokenLogprob:
    entry = members(value, where)
    return TokenLogprob(
        text(entry.get("token", ""), join(where, "token")),
        number(entry.get("logProbability", 0.0), join(where, "logProbability")),
    )
