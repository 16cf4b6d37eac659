"""Reading a policy's document strictly: what is missing, unknown or of the wrong kind is refused with its place.

The one error is ``Failure`` (``validation_error``), its ``param`` the place as ``rules[2].when.all[0].op``.
"""

import re
from collections.abc import Iterable
from typing import Any, NoReturn

from ailink_provider.errors import Failure

REQUIRED = object()
_WINDOW = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SHOWN = 40


def refuse(place: str, why: str) -> NoReturn:
    """Raise the ``Failure`` of a document that is wrong at ``place``; ``why`` continues "<place> ..."."""
    message = f"{place} {why}."
    raise Failure("validation_error", message, param=place, details=[{"field": place, "message": message}])


def shown(value: object) -> str:
    """Return a value for a message, short."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


class Members:
    """One object of the document. Each member is taken once; ``done`` refuses those that nobody took."""

    def __init__(self, value: object, place: str) -> None:
        if not isinstance(value, dict):
            refuse(place, f"must be an object, not {shown(value)}")
        self._left: dict[str, Any] = dict(value)
        self._known: list[str] = []
        self.place = place

    def at(self, name: str) -> str:
        """Return the place of a member."""
        return f"{self.place}.{name}" if self.place else name

    def has(self, name: str) -> bool:
        """Whether there is such a member that was not taken."""
        return name in self._left

    def names(self) -> list[str]:
        """Return the members that were not taken."""
        return list(self._left)

    def take(self, name: str, default: Any = REQUIRED) -> Any:
        """Return a member of any kind."""
        self._known.append(name)
        if name in self._left:
            return self._left.pop(name)
        if default is REQUIRED:
            refuse(self.at(name), "is missing")
        return default

    def text(self, name: str, default: Any = REQUIRED, *, most: int = 1024, least: int = 1) -> Any:
        """Return a text of ``least`` to ``most`` characters without control characters."""
        value = self.take(name, default)
        if value is default and default is not REQUIRED:
            return value
        if not isinstance(value, str) or not least <= len(value) <= most:
            refuse(self.at(name), f"must be a text of {least} to {most} characters, not {shown(value)}")
        if any((character < " " and character not in "\n\t") or "\x7f" <= character <= "\x9f" for character in value):
            refuse(self.at(name), "must have no control characters")
        if any("\ud800" <= character <= "\udfff" for character in value):
            refuse(self.at(name), "must be valid text")
        return value

    def choice(self, name: str, choices: Iterable[str], default: Any = REQUIRED) -> Any:
        """Return one of some words."""
        value = self.take(name, default)
        known = tuple(choices)
        if value is default and default is not REQUIRED:
            return value
        if not isinstance(value, str) or value not in known:
            refuse(self.at(name), f"must be one of {', '.join(known)}, not {shown(value)}")
        return value

    def integer(self, name: str, default: Any = REQUIRED, *, least: int, most: int) -> Any:
        """Return a whole number within bounds."""
        value = self.take(name, default)
        if value is default and default is not REQUIRED:
            return value
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            refuse(self.at(name), f"must be a whole number from {least} to {most}, not {shown(value)}")
        return value

    def number(self, name: str, *, least: float, most: float) -> float | int:
        """Return a number within bounds."""
        value = self.take(name)
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most:
            refuse(self.at(name), f"must be a number from {least} to {most}, not {shown(value)}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Return true or false."""
        value = self.take(name, default)
        if not isinstance(value, bool):
            refuse(self.at(name), f"must be true or false, not {shown(value)}")
        return value

    def seconds(self, name: str, default: Any = REQUIRED, *, most: int) -> int:
        """Return a length of time such as "1s", "10m", "1h" or "1d", in seconds."""
        value = self.take(name, default)
        found = _WINDOW.fullmatch(value) if isinstance(value, str) else None
        seconds = int(found[1]) * _UNITS[found[2]] if found else 0
        if not 0 < seconds <= most:
            refuse(self.at(name), f'must be a time such as "30s", "10m", "1h" or "1d", not {shown(value)}')
        return seconds

    def list(self, name: str, default: Any = REQUIRED, *, most: int) -> Any:
        """Return a list that is not empty, its entries unread."""
        value = self.take(name, default)
        if value is default and default is not REQUIRED:
            return value
        return entries(value, self.at(name), most)

    def texts(self, name: str, default: Any = REQUIRED, *, most: int = 100) -> Any:
        """Return a list of texts as a tuple."""
        value = self.list(name, default, most=most)
        if value is default and default is not REQUIRED:
            return value
        for index, entry in enumerate(value):
            if not isinstance(entry, str) or not 0 < len(entry) <= 512 or not entry.isprintable():
                refuse(f"{self.at(name)}[{index}]", f"must be a text of 1 to 512 characters, not {shown(entry)}")
        return tuple(value)

    def done(self) -> None:
        """Refuse what nobody took."""
        for name in self._left:
            known = ", ".join(dict.fromkeys(self._known))
            where = self.at(name[:_SHOWN])
            refuse(where, f"is not known here; known: {known}" if known else "is not known here: this takes nothing")


def entries(value: object, place: str, most: int) -> "list[Any]":
    """Return ``value`` if it is a list of 1 to ``most`` entries."""
    if not isinstance(value, list) or not 1 <= len(value) <= most:
        refuse(place, f"must be a list of 1 to {most} entries")
    return value
