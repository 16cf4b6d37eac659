"""Names and ids on Gemini's wire: the dialect's own name, resource names, tool names, ids for calls that came without.

Pure functions of their arguments; nothing here reads a body.
"""

import re
from hashlib import sha256
from urllib.parse import quote

from ailink_provider.dialects.identifiers import conform

NAME = "gemini"
TOOL_NAME_LIMIT = 128
_TOOL_NAME = re.compile(r"[A-Za-z0-9_.:-]")
_TOOL_NAME_START = re.compile(r"[A-Za-z_]")


def resource(model: str) -> str:
    """Return the resource name of ``model``: ``models/...``, or ``tunedModels/...`` where it says so itself."""
    name = bare(model)
    return name if name.startswith("tunedModels/") else f"models/{name}"


def bare(model: str) -> str:
    """Return ``model`` without the collection that every model is in."""
    return model.removeprefix("models/")


def path(model: str, method: str) -> str:
    """Return the path of ``method`` on ``model``, below a base URL without a version."""
    collection, _, name = resource(model).partition("/")
    return f"/v1beta/{collection}/{quote(name, safe='')}:{method}"


def tool_name(name: str) -> str:
    """Return ``name`` if Gemini takes it (letters, digits and ``_.:-``, a letter or ``_`` first, at most 128), else
    its stand-in: always the same for the same name, different for different ones."""
    # No name may contain a slash, so it is turned into the underscore that has to come first.
    return conform(name if _TOOL_NAME_START.match(name) else f"/{name}", _TOOL_NAME, TOOL_NAME_LIMIT)


def call_id(seed: str, choice: int, index: int) -> str:
    """Return an id for a call that Gemini gave none: the same for the same place in the same answer."""
    return f"call_{sha256(f'{seed}/{choice}/{index}'.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"
