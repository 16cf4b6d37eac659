"""Bodies as rules read and rewrite them: JSON, urlencoded forms, and multipart forms, which are only read.

What two readers might understand differently is not understood at all: a name that stands twice, a part that is spelt
unusually. ``Unreadable`` refuses the call where an enforced rule needs such a body.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, Protocol
from urllib.parse import quote_plus, unquote_to_bytes

import msgspec

from ailink_gateway.envelope import read_document, read_members
from ailink_gateway.policy import paths
from ailink_gateway.policy.paths import EVERY, MISSING, Path
from ailink_provider.errors import Failure

FIELDS = 1000  # of a form
PART_HEAD = 2048  # bytes of the headers of one part

# Parameters of a Content-Type. In these charsets JSON and forms say what they say in UTF-8; in others, such as UTF-7 or
# EBCDIC, the same bytes say something else to a reader that obeys the charset.
_PARAMETERS = re.compile(r"""(?:;\s*(?:[!#-'*+.\w^`|~-]+=(?:[!#-'*+.\w^`|~:/-]+|"[^"\\]*")\s*)?)*""", re.ASCII)
_CHARSET = re.compile(r""";\s*charset="?([^;"\s]*)""", re.IGNORECASE)
_ALIKE = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252"})

Change = Callable[[str], str]


class Unreadable(Failure):
    """A body that a rule needs and that cannot be read, or not be rewritten."""

    def __init__(self, why: str, reason: str = "body_unreadable") -> None:
        super().__init__(
            "policy_denied", f"A policy must read the body of this call and cannot: {why}.", param="body", reason=reason
        )


class Body(Protocol):
    """A body. ``tree`` is what it says; changes are made here and written by ``encode``."""

    tree: Any

    def set(self, path: Path, value: Any) -> None:
        """Set what the path leads to."""

    def remove(self, path: Path) -> None:
        """Take away what the path leads to."""

    def change(self, path: Path | None, change: Change) -> None:
        """Have ``change`` replace every text below ``path``, or in the whole body."""

    def encode(self) -> bytes:
        """Return the bytes. Raises ``Failure`` for what cannot be written."""


def read_body(content_type: str | None, data: bytes, *, model: bool) -> Body | None:
    """Return what a request or reply carries, None if it is empty. A ``model``'s is JSON whatever it says it is.

    Raises ``Unreadable``; for a key that stands twice, and for a model's body, ``Failure`` (``invalid_request``).
    """
    if not data:
        return None
    if model:
        return JsonBody(data, read_document(data))
    kind, _, parameters = (content_type or "").partition(";")
    kind = kind.strip().lower()
    if parameters:
        _check_parameters(";" + parameters)
    if kind in ("", "application/json", "text/json") or (kind.startswith("application/") and kind.endswith("+json")):
        try:
            return JsonBody(data, read_document(data))
        except Failure as failure:
            if failure.param is not None:
                raise
            raise Unreadable(failure.message.rstrip(".")) from None
    if kind == "application/x-www-form-urlencoded":
        return FormBody(data)
    if kind == "multipart/form-data":
        return MultipartBody(content_type or "", data)
    raise Unreadable(f"it is {kind[:64]!r}, and rules read JSON, urlencoded and multipart forms")


def _check_parameters(parameters: str) -> None:
    if _PARAMETERS.fullmatch(parameters) is None:
        raise Unreadable("the parameters of its Content-Type are not plain")
    if any(charset.lower() not in _ALIKE for charset in _CHARSET.findall(parameters)):
        raise Unreadable("its charset is not UTF-8")


class JsonBody:
    """JSON. What no change touched is written as it was read."""

    def __init__(self, data: bytes, tree: Any) -> None:
        self.tree = tree
        self._data = data
        self._touched: set[str] | None = set()  # members of the root; None is all of it

    def set(self, path: Path, value: Any) -> None:
        """See ``Body``."""
        self._touch(path)
        self.tree = paths.write(self.tree, path, value)

    def remove(self, path: Path) -> None:
        """See ``Body``."""
        self._touch(path)
        paths.remove(self.tree, path)

    def change(self, path: Path | None, change: Change) -> None:
        """See ``Body``."""
        if path is None:
            self._touched = None
            self.tree = _changed(self.tree, change)
            return
        self._touch(path)
        for steps in _concrete(self.tree, path):
            self.tree = paths.write(self.tree, steps, _changed(paths.read(self.tree, steps), change))

    def touch(self, member: str) -> None:
        """Note that a member of the root was changed from outside."""
        self._touch((member,))

    def _touch(self, path: Path) -> None:
        if isinstance(path[0], str) and isinstance(self.tree, dict):
            if self._touched is not None:
                self._touched.add(path[0])
        else:
            self._touched = None

    def encode(self) -> bytes:
        """See ``Body``."""
        if self._touched is None or not isinstance(self.tree, dict):
            return _dump(self.tree)
        before = _raw_members(self._data)
        members = {
            name: before[name] if name in before and name not in self._touched else msgspec.Raw(_dump(value))
            for name, value in self.tree.items()
        }
        # Keys may be spelt in ways that msgspec would not write, such as half a surrogate pair.
        return b"{" + b",".join(_dump(name) + b":" + bytes(raw) for name, raw in members.items()) + b"}"


class FormBody:
    """An urlencoded form. ``a[b]`` is a member of ``a``, ``a[0]`` and ``a[]`` its entries."""

    def __init__(self, data: bytes) -> None:
        self._pairs: list[tuple[str, str]] = []
        if b";" in data:  # some servers take it for an ampersand
            raise Unreadable("the form has a semicolon that is not encoded")
        for piece in data.split(b"&"):
            if not piece:
                continue
            name, _, value = piece.partition(b"=")
            self._pairs.append((_text(name), _text(value)))
        self.tree = _tree(self._pairs)

    def set(self, path: Path, value: Any) -> None:
        """See ``Body``."""
        if EVERY in path:
            for steps in _concrete(self.tree, path):
                self.set(steps, value)
            return
        self.remove(path)
        self._pairs.extend(_pairs(_bracketed(path), value))
        self.tree = _tree(self._pairs)

    def remove(self, path: Path) -> None:
        """See ``Body``."""
        gone = set(_concrete(self.tree, path))
        kept = [
            pair for pair, steps in zip(self._pairs, _steps(self._pairs), strict=True)
            if not any(steps[: len(path)] == found for found in gone)
        ]  # fmt: skip
        self._pairs = kept
        self.tree = _tree(kept)

    def change(self, path: Path | None, change: Change) -> None:
        """See ``Body``."""
        wanted = None if path is None else set(_concrete(self.tree, path))
        self._pairs = [
            (name, change(value) if wanted is None or any(steps[: len(found)] == found for found in wanted) else value)
            for (name, value), steps in zip(self._pairs, _steps(self._pairs), strict=True)
        ]
        self.tree = _tree(self._pairs)

    def encode(self) -> bytes:
        """See ``Body``."""
        return "&".join(f"{quote_plus(name, safe='[]')}={quote_plus(value)}" for name, value in self._pairs).encode()


class MultipartBody:
    """A multipart form: its fields as texts, its files as ``{"filename", "size"}``. It cannot be rewritten."""

    def __init__(self, content_type: str, data: bytes) -> None:
        self.tree = _tree(_parts(content_type, data))

    def set(self, path: Path, value: Any) -> None:
        """Refuse. See ``Body``."""
        raise _fixed()

    def remove(self, path: Path) -> None:
        """Refuse. See ``Body``."""
        raise _fixed()

    def change(self, path: Path | None, change: Change) -> None:
        """Refuse. See ``Body``."""
        raise _fixed()

    def encode(self) -> bytes:
        """Refuse. See ``Body``."""
        raise _fixed()


def _fixed() -> Unreadable:
    return Unreadable("it must rewrite a multipart form: send JSON or an urlencoded form", "body_not_rewritable")


def _dump(value: Any) -> bytes:
    # The standard library's, as it writes whole numbers of any length and escapes what is no character.
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode()


def _changed(value: Any, change: Change) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_changed(entry, change) for entry in value]
    if isinstance(value, dict):
        return {name: _changed(entry, change) for name, entry in value.items()}
    return value


def _concrete(tree: Any, path: Path) -> list[Path]:
    """Return the paths, without ``[*]``, to what is there."""
    found: list[tuple[Path, Any]] = [((), tree)]
    for step in path:
        if step is EVERY:
            found = [
                ((*steps, index), entry)
                for steps, value in found if isinstance(value, list)
                for index, entry in enumerate(value)
            ]  # fmt: skip
        else:
            found = [
                ((*steps, step), entry)
                for steps, value in found if (entry := paths.read(value, (step,))) is not MISSING
            ]  # fmt: skip
    return [steps for steps, _ in found]


def _raw_members(data: bytes) -> dict[str, msgspec.Raw]:
    try:
        return read_members(data) if data else {}
    except Failure:  # such as half a surrogate pair, which only the slow reader takes: all of it is written anew
        return {}


# --- forms ---------------------------------------------------------------------------------------

_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_INDEX = re.compile(r"0|[1-9][0-9]{0,2}")


def _text(data: bytes) -> str:
    try:
        return unquote_to_bytes(data.replace(b"+", b" ")).decode()
    except UnicodeDecodeError:
        raise Unreadable("a field of the form is not UTF-8") from None


def _steps(pairs: Iterable[tuple[str, Any]]) -> list[Path]:
    """Return where each field stands in the tree; ``[]`` is the next entry."""
    appended: dict[Path, int] = {}
    found: list[Path] = []
    for name, _ in pairs:
        parsed = _NAME.fullmatch(name)
        inner = re.findall(r"\[([^\[\]]*)\]", parsed[2]) if parsed else []
        steps: Path = (parsed[1],) if parsed else (name,)
        for step in inner:
            if step == "":
                index = appended.get(steps, 0)
                appended[steps] = index + 1
                steps = (*steps, index)
            else:
                steps = (*steps, int(step) if _INDEX.fullmatch(step) else step)
        found.append(steps)
    return found


def _tree(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > FIELDS:
        raise Unreadable(f"the form has more than {FIELDS} fields")
    root: dict[str | int, Any] = {}
    for steps, (name, value) in zip(_steps(pairs), pairs, strict=True):
        if len(steps) > paths.DEEPEST:
            raise Unreadable("a field of the form is nested too deeply")
        place: Any = root
        for step in steps[:-1]:
            place = place.setdefault(step, {})
            if not isinstance(place, dict):
                raise Unreadable(f"the form has the field {name[:64]!r} beside another of that name")
        last: Any = steps[-1]
        if last in place:
            raise Unreadable(f"the field {name[:64]!r} stands twice in the form")
        place[last] = value if isinstance(value, str) else _File(value)
    return {str(name): _listed(value) for name, value in root.items()}


class _File(dict[str, Any]):
    """What is told of a file: not a level of the form."""


def _listed(value: Any) -> Any:
    if isinstance(value, _File) or not isinstance(value, dict):
        return value
    if value and all(isinstance(step, int) for step in value):
        if sorted(value) != list(range(len(value))):
            raise Unreadable("the entries of a list in the form are not numbered from 0")
        return [_listed(value[index]) for index in range(len(value))]
    return {str(name): _listed(entry) for name, entry in value.items()}


def _bracketed(path: Path) -> str:
    return str(path[0]) + "".join(f"[{step}]" for step in path[1:])


def _pairs(name: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, dict):
        return [pair for key, entry in value.items() for pair in _pairs(f"{name}[{key}]", entry)]
    if isinstance(value, list):
        return [pair for index, entry in enumerate(value) for pair in _pairs(f"{name}[{index}]", entry)]
    if isinstance(value, str):
        return [(name, value)]
    return [(name, "" if value is None else json.dumps(value))]


# --- multipart -----------------------------------------------------------------------------------

_BOUNDARY = re.compile(
    r"""(?i)multipart/form-data\s*;\s*boundary=(?:"([^"\\]{1,70})"|([!#-.0-9A-Z_a-z^`|~'+]{1,70}))\s*"""
)
_DISPOSITION = re.compile(
    rb'(?i)content-disposition: ?form-data; ?name="([^"\\\r\n]{1,256})"(?:; ?filename="([^"\\\r\n]{0,256})")?'
)
_KIND = re.compile(rb"(?i)content-type: ?[\x20-\x7e]{1,256}")


def _parts(content_type: str, data: bytes) -> list[tuple[str, Any]]:
    found = _BOUNDARY.fullmatch(content_type.strip())
    if found is None:
        raise Unreadable("its boundary is not plain")
    mark = b"--" + (found[1] or found[2]).encode()
    pieces = (b"\r\n" + data).split(b"\r\n" + mark, FIELDS + 2)
    if len(pieces) > FIELDS + 2 or len(pieces) < 2 or pieces[0] not in (b"", b"\r\n") or pieces[-1].strip() != b"--":
        raise Unreadable("it is no plain multipart form")
    return [_part(piece) for piece in pieces[1:-1]]


def _part(piece: bytes) -> tuple[str, Any]:
    head, blank, content = piece.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"\r\n") or len(head) > PART_HEAD:
        raise Unreadable("a part of the form has no plain head")
    lines = head[2:].split(b"\r\n")
    dispositions = [found for line in lines if (found := _DISPOSITION.fullmatch(line))]
    if len(dispositions) != 1 or len(lines) - 1 != sum(bool(_KIND.fullmatch(line)) for line in lines) or len(lines) > 2:
        raise Unreadable("a part of the form is spelt unusually")
    name, filename = dispositions[0].groups()
    try:
        if filename is not None:
            return name.decode(), {"filename": filename.decode(), "size": len(content)}
        return name.decode(), content.decode()
    except UnicodeDecodeError:
        raise Unreadable("a part of the form is not UTF-8") from None
