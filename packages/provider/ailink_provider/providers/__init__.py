"""Who serves models: one row of facts a provider. How a provider speaks is its dialect's affair.

``compatible.toml`` has a row for each service that speaks OpenAI's format and needs no code; the others have a file.
"""

import tomllib
from importlib.resources import files

from msgspec import Struct, convert


class Provider(Struct, frozen=True, forbid_unknown_fields=True):
    """A service that serves models.

    Args:
        name: what model prefixes ("name/model"), credentials and records call it.
        base_url: in the form the vendor's own SDK uses, with or without a version; "" if it must be configured.
        dialect: the name of the wire format it speaks.
        relays: other wire formats that it understands as well: requests in them pass through untouched.
        hosts: the host names that are this vendor's.
        families: prefixes of bare model names that are this vendor's.
        key_variable, base_url_variable: where the environment may hold its key and another base URL.
        needs_key: whether it answers without a key only.
        aggregator: it serves other vendors' models, under their names.
        prices: its name in genai-prices; "" if unknown there.
        default_model: what a request without a model gets.
    """

    name: str
    base_url: str = ""
    dialect: str = "openai_chat"
    relays: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    key_variable: str = ""
    base_url_variable: str = ""
    needs_key: bool = True
    aggregator: bool = False
    prices: str = ""
    default_model: str | None = None


def compatible() -> tuple[Provider, ...]:
    """Return the rows of ``compatible.toml``."""
    table = tomllib.loads(files(__name__).joinpath("compatible.toml").read_text(encoding="utf-8"))
    return tuple(convert({"name": name, **row}, Provider) for name, row in table.items())
