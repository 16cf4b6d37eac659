"""Actions that change what is sent, or in phase post what is answered: override and transform."""

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from msgspec import Struct

from ailink_gateway.forward import HOP_BY_HOP, KEPT_BACK, PRIVATE, PRIVATE_PREFIXES
from ailink_gateway.policy import paths
from ailink_gateway.policy.compiled import Foresight, Rule, Verdict
from ailink_gateway.policy.patterns import LONGEST, Replacer
from ailink_gateway.policy.rewriting import (
    Edit,
    Instruct,
    RemoveField,
    ReplaceText,
    SetField,
    remove_header,
    rewrite,
    set_header,
)
from ailink_gateway.policy.shapes import Members, refuse, shown
from ailink_gateway.targets import checked
from ailink_provider.errors import Failure

if TYPE_CHECKING:
    from ailink_gateway.policy.run import Run

MOST = 50
LARGEST_VALUE = 64 * 1024  # bytes of JSON
_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}")
_OPERATIONS = ("set_header", "remove_header", "append_system_prompt", "prepend_system_prompt", "regex_replace",
               "set_body_field", "remove_body_field")  # fmt: skip


class SetHeader(Struct, frozen=True):
    """Sets a header, or with no value takes it away."""

    header: bytes
    value: bytes | None

    def edit_headers(self, run: "Run") -> None:
        """Change the request's headers, or the reply's once there is one."""
        answer = run.facts.answer
        if answer is not None:
            answer.headers = [header for header in answer.headers if header[0].lower() != self.header]
            if self.value is not None:
                answer.headers.append((self.header, self.value))
        elif self.value is None:
            remove_header(run.exchange, self.header)
        else:
            set_header(run.exchange, self.header, self.value)


class Override(Struct, frozen=True):
    """Sets fields of the body."""

    fields: tuple[SetField, ...]
    reads_reply: bool

    name = "override"
    rewrites = True

    def apply(self, run: "Run", rule: Rule) -> Verdict:
        """See ``Action``."""
        rewrite(run, self.fields)
        return None

    def foresee(self, run: "Run", rule: Rule) -> Foresight:
        """See ``Action``."""
        return "set " + ", ".join(paths.spell(field.path) for field in self.fields)


class Transform(Struct, frozen=True):
    """Changes headers and body, in the order of its operations for each of the two."""

    headers: tuple[SetHeader, ...]
    edits: tuple[Edit, ...]
    said: str
    reads_reply: bool

    name = "transform"
    rewrites = True

    def apply(self, run: "Run", rule: Rule) -> Verdict:
        """See ``Action``."""
        for header in self.headers:
            header.edit_headers(run)
        if self.edits:
            rewrite(run, self.edits)
        return None

    def foresee(self, run: "Run", rule: Rule) -> Foresight:
        """See ``Action``."""
        return self.said


def read_override(members: Members, phase: str) -> Override:
    """Read ``override{set_body_fields: {path: value}}``."""
    fields = read_fields(members.take("set_body_fields"), members.at("set_body_fields"), phase)
    return Override(fields, phase == "post")


def read_fields(value: object, place: str, phase: str) -> tuple[SetField, ...]:
    """Read ``{path: value}``, where a value is any JSON."""
    if not isinstance(value, Mapping) or not 1 <= len(value) <= MOST:
        refuse(place, f"must be an object of 1 to {MOST} paths and their values, not {shown(value)}")
    return tuple(_set_field(path, entry, f"{place}.{path}"[:256], phase) for path, entry in value.items())


def read_transform(members: Members, phase: str) -> Transform:
    """Read ``transform{operations: [...]}``."""
    headers: list[SetHeader] = []
    edits: list[Edit] = []
    said: list[str] = []
    for index, entry in enumerate(members.list("operations", most=MOST)):
        operation = Members(entry, f"{members.at('operations')}[{index}]")
        kind = operation.choice("type", _OPERATIONS)
        said.append(kind)
        if kind in ("set_header", "remove_header"):
            headers.append(_header(operation, kind == "set_header", phase))
        else:
            edits.append(_edit(operation, kind, phase))
        operation.done()
    return Transform(tuple(headers), tuple(edits), ", ".join(dict.fromkeys(said)), phase == "post" and bool(edits))


def _edit(operation: Members, kind: str, phase: str) -> Edit:
    if kind == "set_body_field":
        path = operation.text("path", most=256)
        return _set_field(path, operation.take("value"), operation.at("path"), phase)
    if kind == "remove_body_field":
        return RemoveField(paths.parse(operation.text("path", most=256), operation.at("path")))
    if kind == "regex_replace":
        pattern, replacement = operation.take("pattern"), operation.text("replacement", most=LONGEST, least=0)
        replacer = Replacer(pattern, replacement, operation.at("pattern"), operation.at("replacement"))
        field = operation.text("field", None, most=256)
        return ReplaceText(None if field is None else paths.parse(field, operation.at("field")), replacer)
    if phase == "post":
        refuse(operation.at("type"), f"is {kind}, which can change requests only: use phase pre")
    return Instruct(operation.text("text", most=32_768), kind == "prepend_system_prompt")


def _set_field(path: object, value: Any, place: str, phase: str) -> SetField:
    if not isinstance(path, str) or len(path) > 256:
        refuse(place, "must be a path of at most 256 characters")
    steps = paths.parse(path, place)
    try:
        size = len(json.dumps(value, allow_nan=False))
    except ValueError:
        refuse(place, "has a value that is no JSON")
    if size > LARGEST_VALUE:
        refuse(place, f"has a value of more than {LARGEST_VALUE} bytes")
    if steps == ("model",) and phase == "pre":
        check_model(value, place)
    return SetField(steps, value)


def check_model(value: object, place: str) -> str:
    """Return the name of a model. Refuses what can be none."""
    if not isinstance(value, str):
        refuse(place, f"must be the name of a model, not {shown(value)}")
    try:
        return checked(value)
    except Failure as failure:
        refuse(place, f"is no name of a model: {failure.message.rstrip('.')}")


def _header(operation: Members, sets: bool, phase: Literal["pre", "post"] | str) -> SetHeader:
    name = operation.text("name", most=128).lower()
    encoded, folded = name.encode(), name.replace("_", "-").encode()
    place = operation.at("name")
    if not _HEADER.fullmatch(name):
        refuse(place, f"is no header's name: {shown(name)}")
    ours = folded in KEPT_BACK if phase == "post" else folded in PRIVATE or folded.startswith(PRIVATE_PREFIXES)
    if folded in HOP_BY_HOP or ours or folded.startswith(b"x-ailink-"):
        refuse(place, f"is {name}, which belongs to the connection or to the gateway")
    if not sets:
        return SetHeader(encoded, None)
    value = operation.text("value", most=1024)
    if not all(" " <= character <= "~" for character in value):
        refuse(operation.at("value"), "must be visible ASCII")
    return SetHeader(encoded, value.encode())
