"""Who serves models: one row of facts a provider. How a provider speaks is its dialect's affair.

``compatible.toml`` has a row for each service that speaks OpenAI's format and needs no code; the others have a file. A
file's ``opener`` says where such a service is reached and how calls to it are signed, where a header does not do.
"""

import tomllib
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import NamedTuple, TypeAlias

from msgspec import Struct, convert

from ailink_provider.auth import Auth
from ailink_provider.transport import Sender


class Given(NamedTuple):
    """What a provider is opened with.

    ``key`` is "" where there is none, or the caller brings one; ``base_url`` is "" for the vendor's own. ``settings``
    are those that the row names. ``sender`` carries what signing itself has to ask for; None opens a connection for it.
    """

    key: str = ""
    base_url: str = ""
    settings: Mapping[str, str] = {}
    sender: Sender | None = None

    def __repr__(self) -> str:
        return f"Given(key={'set' if self.key else ''!r}, base_url={self.base_url!r}, settings={dict(self.settings)!r})"


class Access(NamedTuple):
    """Where a provider is asked, and what signs the calls; None where nothing does.

    ``moved`` is how the dialect's paths begin and what stands in the place of that here, ("", "") if they are as usual.
    """

    base_url: str
    auth: Auth | None = None
    moved: tuple[str, str] = ("", "")


Opener: TypeAlias = Callable[[Given], Access]


class Provider(Struct, frozen=True, forbid_unknown_fields=True):
    """A service that serves models.

    Args:
        name: what model prefixes ("name/model"), credentials and records call it.
        base_url: in the form the vendor's own SDK uses, with or without a version; "" if it must be configured.
        dialect: the name of the wire format it speaks.
        operations: what of the dialect it serves; () is all of it.
        relays: other wire formats that it understands as well: requests in them pass through untouched.
        hosts: the host names that are this vendor's; "*" stands for any characters.
        families: prefixes of bare model names that are this vendor's.
        key_variable, base_url_variable: where the environment may hold its key and another base URL.
        key_parts: the names and variables of what makes its key instead, in order and with colons between; the last one
            may be missing.
        key_file_variable: where the environment may name the file that is its key.
        settings: what else says where it is, and the variables of the environment for each: the first that is set.
        credential_header: the header and prefix that carry its key, where they are not the dialect's.
        opener: where it is and how calls are signed, where that takes more than this row. Raises ``Failure``
            (``credential_missing``) for a key or a setting that it cannot use.
        needs_key: whether it answers without a key only.
        aggregator: it serves other vendors' models, under their names.
        prices: its name in genai-prices; "" if unknown there.
        default_model: what a request without a model gets.
    """

    name: str
    base_url: str = ""
    dialect: str = "openai_chat"
    operations: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    key_variable: str = ""
    base_url_variable: str = ""
    key_parts: Mapping[str, str] = {}
    key_file_variable: str = ""
    settings: Mapping[str, tuple[str, ...]] = {}
    credential_header: tuple[str, str] | None = None
    opener: Opener | None = None
    needs_key: bool = True
    aggregator: bool = False
    prices: str = ""
    default_model: str | None = None

    @property
    def key_source(self) -> str:
        """The variables of the environment that hold its key, for people; "" if there are none."""
        return self.key_variable or " and ".join([*self.key_parts.values()][:-1]) or self.key_file_variable

    def key_of(self, variable: Callable[[str], str | None], file: Callable[[str], str | None]) -> str:
        """Return its key, "" if there is none.

        Args:
            variable: what a variable of the environment says.
            file: what the file holds that a variable names.
        """
        if self.key_variable and (key := variable(self.key_variable)):
            return key
        if key := self.joined({name: variable(source) or "" for name, source in self.key_parts.items()}):
            return key
        return (self.key_file_variable and file(self.key_file_variable)) or ""

    def joined(self, parts: Mapping[str, str]) -> str:
        """Return the key that ``parts``, by their names, make; "" if one is missing that may not be."""
        values = [parts.get(name, "") for name in self.key_parts]
        return ":".join(filter(None, values)) if values and all(values[:-1]) else ""

    def settings_of(self, variable: Callable[[str], str | None]) -> dict[str, str]:
        """Return its settings, as far as ``variable`` knows them."""
        found = {
            name: next(filter(None, map(variable, sources)), None) for name, sources in self.settings.items()
        }
        return {name: value for name, value in found.items() if value}


TABLE = files(__name__).joinpath("compatible.toml")


def compatible() -> tuple[Provider, ...]:
    """Return the rows of ``compatible.toml``."""
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    return tuple(convert({"name": name, **row}, Provider) for name, row in table.items())
