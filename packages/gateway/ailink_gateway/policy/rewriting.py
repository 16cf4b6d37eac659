"""How rules change a request or a reply: edits of the body, in order, and what follows from them for the exchange.

After an edit the exchange is as if the client had sent it so: body, members, model, targets, stream.
"""

from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
from msgspec import Struct

from ailink_gateway.envelope import read_members
from ailink_gateway.policy.bodies import Body, JsonBody, Unreadable
from ailink_gateway.policy.paths import Path
from ailink_gateway.targets import checked
from ailink_provider.errors import Failure

if TYPE_CHECKING:
    from ailink_gateway.exchange import Exchange
    from ailink_gateway.policy.run import Run

MODEL: Path = ("model",)
LARGEST = 25 * 1024 * 1024  # bytes that a rewritten body may have
REPLACING_SECONDS = 1.0  # that one operation may take over the texts of one body
_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"})
_FLAG = msgspec.json.Decoder(bool | None)


class SetField(Struct, frozen=True):
    """Sets what a path leads to."""

    path: Path
    value: Any

    def edit(self, body: Body, exchange: "Exchange") -> None:
        """Change ``body``."""
        body.set(self.path, self.value)


class RemoveField(Struct, frozen=True):
    """Takes away what a path leads to."""

    path: Path

    def edit(self, body: Body, exchange: "Exchange") -> None:
        """Change ``body``."""
        body.remove(self.path)


class ReplaceText(Struct, frozen=True):
    """Replaces in every text below a path, or in the whole body. See ``patterns.Replacer``."""

    path: Path | None
    replace: Callable[[str, int, float], str | None]

    def edit(self, body: Body, exchange: "Exchange") -> None:
        """Change ``body``."""
        until = monotonic() + REPLACING_SECONDS

        def changed(text: str) -> str:
            made = self.replace(text, LARGEST, until)
            if made is None:
                why = "what a rule replaces in it is too much, or takes too long to find"
                raise Unreadable(why, "body_not_rewritable")
            return made

        body.change(self.path, changed)


class Instruct(Struct, frozen=True):
    """Adds to what the system tells a model, before (``first``) or after what is there; calls of APIs have no such
    thing.
    """

    text: str
    first: bool

    def edit(self, body: Body, exchange: "Exchange") -> None:
        """Change ``body``."""
        if exchange.route.kind == "model" and isinstance(body, JsonBody) and isinstance(body.tree, dict):
            member = exchange.route.dialect.instruct(body.tree, self.text, self.first)
            if member is not None:
                body.touch(member)


Edit: TypeAlias = SetField | RemoveField | ReplaceText | Instruct


def rewrite(run: "Run", edits: Sequence[Edit]) -> None:
    """Change the body of the request, or of the reply once there is one. Raises ``Failure`` where that cannot be."""
    answer = run.facts.answer
    if answer is not None:
        if answer.body is not None:
            for edit in edits:
                edit.edit(answer.body, run.exchange)
            answer.replace(answer.body.encode())
        return
    exchange = run.exchange
    if exchange.route.model is not None:  # it stands in the path
        edits = [edit for edit in edits if not _asks_model(run, edit)]
    if exchange.resumed is not None:
        return  # what was approved was rewritten before it was shown
    if not edits or (body := _body(run, edits)) is None:
        return
    for edit in edits:
        edit.edit(body, exchange)
    _adopt(run, body.encode())


def _asks_model(run: "Run", edit: Edit) -> bool:
    if isinstance(edit, SetField) and edit.path == MODEL:
        run.ask_model(edit.value)
        return True
    return False


def _body(run: "Run", edits: Sequence[Edit]) -> Body | None:
    body = run.facts.read_body()
    if body is None and run.exchange.method not in _WITHOUT_BODY and any(isinstance(edit, SetField) for edit in edits):
        body = JsonBody(b"", {})
        run.facts.put_body(body)
        set_header(run.exchange, b"content-type", b"application/json")
    return body


def _adopt(run: "Run", data: bytes) -> None:
    exchange = run.exchange
    if len(data) > LARGEST:
        raise Unreadable("what a rule makes of it would be too large", "body_not_rewritable")
    exchange.body = data
    if exchange.route.kind != "model":
        return
    before = exchange.members.get("model")
    exchange.members = members = read_members(data)
    if exchange.route.stream is None:
        streamed, exchange.streaming = exchange.streaming, _flag(members.get("stream"))
        if streamed and not exchange.streaming and "stream_options" in members:
            del members["stream_options"]  # which no vendor takes without a stream
            exchange.body = msgspec.json.encode(members)
    if exchange.route.model is None and (asked := members.get("model")) is not None and asked != before:
        run.ask_model(_decoded(asked))


def _flag(raw: msgspec.Raw | None) -> bool:
    try:
        return raw is not None and bool(_FLAG.decode(raw))
    except msgspec.ValidationError:
        raise Failure("invalid_request", "stream must be true or false.", param="stream") from None


def _decoded(raw: msgspec.Raw) -> Any:
    return msgspec.json.decode(raw)


def checked_model(model: object) -> str:
    """Return the name of a model. Raises ``Failure`` (``invalid_request``) for what can be none."""
    if not isinstance(model, str):
        raise Failure("invalid_request", "model must be a string.", param="model")
    return checked(model)


def set_header(exchange: "Exchange", name: bytes, value: bytes) -> None:
    """Set a header of the request, in place of all of its name."""
    remove_header(exchange, name)
    exchange.raw_headers = [*exchange.raw_headers, (name, value)]
    exchange.headers[name] = value


def remove_header(exchange: "Exchange", name: bytes) -> None:
    """Take a header out of the request, however it is spelt: many servers cannot tell "_" from "-"."""
    folded = name.replace(b"_", b"-")
    kept = [header for header in exchange.raw_headers if header[0].replace(b"_", b"-") != folded]
    if len(kept) != len(exchange.raw_headers):
        exchange.raw_headers = kept
        exchange.headers = dict(kept)
