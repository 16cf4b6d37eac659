"""The fields that conditions may name, each compiled into what reads it off the facts of a call.

A field is single (a value or MISSING) or several (a list): the targets that may answer, a path with ``[*]``, a repeated
query parameter or header. A test of several is met if one of them meets it. Of what a request repeats nobody knows
which one its reader takes: see ``conditions.Reader``.
"""

import re
from collections.abc import Callable
from operator import attrgetter, methodcaller
from typing import Any, NamedTuple

from ailink_gateway.policy import paths
from ailink_gateway.policy.shapes import refuse, shown

# Field -> the attribute of the facts that holds it.
SINGLE = {
    "request.method": "method",
    "request.path": "path",
    "request.body_size": "body_size",
    "request.model": "model",
    "response.status": "status",
    "agent.name": "agent_name",
    "token.id": "token_id",
    "token.name": "token_name",
    "token.project_id": "project_id",
    "context.ip": "ip",
    "context.time.hour": "hour",
    "context.time.weekday": "weekday",
    "context.time.date": "date",
    "usage.spend_today_usd": "spend_today_usd",
    "usage.spend_month_usd": "spend_month_usd",
    "usage.requests_today": "requests_today",
    "usage.requests_this_hour": "requests_this_hour",
}
SEVERAL = {"target.model": "target_models", "target.provider": "target_providers"}
OPEN = ("request.body.<path>", "request.headers.<name>", "request.query.<name>", "response.body.<path>",
        "response.headers.<name>")  # fmt: skip

_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")


class Field(NamedTuple):
    """What reads a field. ``several`` says that it returns a list, ``repeats`` that its values are readings of one."""

    read: Callable[[Any], Any]
    several: bool
    repeats: bool = False


def compile_field(name: object, place: str, phase: str) -> Field:
    """Return what reads the field ``name``. Refuses unknown ones, and replies before there is one."""
    if not isinstance(name, str) or len(name) > 512:
        refuse(place, f"must be the name of a field, not {shown(name)}")
    if name.startswith("response.") and phase != "post":
        refuse(place, f"is {shown(name)}, which is known in policies with phase post only")
    if name in SINGLE:
        return Field(attrgetter(SINGLE[name]), False)
    if name in SEVERAL:
        return Field(attrgetter(SEVERAL[name]), True)
    prefix = next((prefix for prefix in _OPENERS if name.startswith(prefix) and len(name) > len(prefix)), None)
    if prefix is None:
        refuse(place, f"is no field: {shown(name)}; known: {', '.join((*SINGLE, *SEVERAL, *OPEN))}")
    return _OPENERS[prefix](name[len(prefix) :], place)


def is_reply_body(name: object) -> bool:
    """Whether a field is in the body of a reply."""
    return isinstance(name, str) and name.startswith(("response.body.", "response.body["))


def _body(text: str, place: str) -> Field:
    path = paths.parse(text, place)
    if paths.EVERY in path:
        return Field(methodcaller("body_values", path), True)
    if len(path) == 1 and isinstance(path[0], str):
        member = path[0]
        return Field(methodcaller("body_member", member), False)
    return Field(methodcaller("body_value", path), False)


def _reply_body(text: str, place: str) -> Field:
    path = paths.parse(text, place)
    if paths.EVERY in path:
        return Field(methodcaller("reply_values", path), True)
    return Field(methodcaller("reply_value", path), False)


def _header(text: str, place: str) -> Field:
    name = _header_name(text, place)
    return Field(methodcaller("header_values", name), True, repeats=True)


def _reply_header(text: str, place: str) -> Field:
    name = _header_name(text, place)
    return Field(methodcaller("reply_header", name), False)


def _header_name(text: str, place: str) -> bytes:
    if not _HEADER.fullmatch(text):
        refuse(place, f"must end in the name of a header, not {shown(text)}")
    return text.lower().encode()


def _query(text: str, place: str) -> Field:
    return Field(methodcaller("query", text), True, repeats=True)


def _root(compile_path: Callable[[str, str], Field]) -> Callable[[str, str], Field]:
    """A body may be a list: then its path begins with a bracket and no dot."""

    def compile_root(text: str, place: str) -> Field:
        if not text.startswith("["):
            refuse(place, f"is no field: {shown(text)} stands behind the body without a dot")
        return compile_path(text, place)

    return compile_root


_OPENERS: dict[str, Callable[[str, str], Field]] = {
    "request.body.": _body,
    "request.body": _root(_body),
    "request.headers.": _header,
    "request.query.": _query,
    "response.body.": _reply_body,
    "response.body": _root(_reply_body),
    "response.headers.": _reply_header,
}
