"""How much a request's body may count for as input, whoever's format it has: text by its bytes, media by a table.

No tokenizer in use makes more than one token of a byte of UTF-8, so the bytes of a body bound the tokens of its text.
Media are bytes that say little of their tokens. They are looked for only where a body may have any.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import re2  # type: ignore[import-untyped]
from msgspec import Raw, Struct

from ailink_gateway.envelope import read_document, read_tree

# An encoding at the lowest rates in use has more than sixteen characters of base64 for each token that it counts for.
SOUND_CHARACTERS_A_TOKEN = 16
LEAST_SOUND_TOKENS = 1000
TOOL_TOKENS = 1000  # what vendors put around tools, of their own

# What holds or names media has one of these in it, and so has what asks for a cache or for sound. A letter or "_" that
# is escaped without need could hide any of them.
_MEDIA = (
    rb'_url|input_audio|nlineData|nline_data|"file|input_file|input_image|"source"|computer_screenshot|item_reference'
    rb"|container_upload"
)
_LOOKED_FOR = (_MEDIA, rb"cache_control", rb"audio|AUDIO", rb"\\u00[4-7]")
_IS_MEDIA, _IS_CACHED, _IS_SOUND, _IS_HIDDEN = range(len(_LOOKED_FOR))
_ELSEWHERE = frozenset({
    "previous_response_id", "conversation", "cachedContent", "cached_content", "mcp_servers", "container",
    "web_search_options", "plugins",
})  # fmt: skip
_nothing_else_in = (_ELSEWHERE | {"tools", "prompt"}).isdisjoint
_NOTHING = (b"null", b'""', b"[]", b"{}")
_PLAIN_TOOLS = frozenset({"function", "custom", None})
_DECLARED = frozenset({"functionDeclarations", "function_declarations"})
_PARTS = (("inlineData", "inline_data"), ("fileData", "file_data"))
_CALLS = frozenset({"tool_use", "server_tool_use", "function", "function_call"})
# Members whose insides are words, whatever they are called: arguments, schemas, settings.
_WORDLESS = frozenset({
    "tools", "functions", "args", "arguments", "response_format", "text", "metadata", "generationConfig",
    "generation_config", "output_config", "output_format",
})  # fmt: skip


class Extent(Struct):
    """What a body counts for at most: ``tokens`` of text and sound, so many ``images``; ``open_ended`` if it
    names what is not in it, so that only the model's context window bounds it. ``hears`` says that some of it may be
    sound, ``caching`` and ``speaks`` that it may ask for what is written to a cache, or for sound.
    """

    tokens: int
    images: int = 0
    hears: bool = False
    open_ended: bool = False
    caching: bool = False
    speaks: bool = False


def extent(members: Mapping[str, Raw], body: bytes) -> Extent:
    """Return what a request's body counts for at most. ``members`` are its own, undecoded.

    Raises ``Failure`` (``invalid_request``) for a body with media, or tools, in which a key stands twice.
    """
    found = Extent(len(body))
    seen = _lookout.Match(body)
    if seen is None and _nothing_else_in(members):  # nearly always
        return found
    if "tools" in members:
        tools = read_document(bytes(members["tools"]))
        found.tokens += TOOL_TOKENS
        found.open_ended = _runs_tools(tools)
    for name in _ELSEWHERE.intersection(members):
        found.open_ended = found.open_ended or bytes(members[name]) not in _NOTHING
    if "prompt" in members and bytes(members["prompt"])[:1] == b"{":  # one that is stored elsewhere
        found.open_ended = True
    if seen is not None:
        hidden = _IS_HIDDEN in seen
        found.caching = hidden or _IS_CACHED in seen
        found.speaks = hidden or _IS_SOUND in seen
        if hidden or _IS_MEDIA in seen:
            for name, value in read_tree(body).items():
                if name not in _WORDLESS:
                    _look(value, found)
    return found


def _look_for(patterns: Iterable[bytes]) -> "re2.Set":
    """Return what tells which of these a body has in it. One pass of RE2 over the bytes finds all, where ``in`` takes
    one for each word and ``re`` tries each word at each place.
    """
    lookout = re2.Set.SearchSet()
    for pattern in patterns:
        lookout.Add(pattern)
    lookout.Compile()
    return lookout


_lookout = _look_for(_LOOKED_FOR)


def _runs_tools(tools: Any) -> bool:
    """Whether a tool is one that the vendor itself runs, and puts the results of before the model."""
    if not isinstance(tools, list):
        return tools is not None  # an object may stand for a list of one
    for tool in tools:
        if not isinstance(tool, dict):
            return True
        if "type" in tool or "name" in tool:
            if tool.get("type") not in _PLAIN_TOOLS:
                return True
        elif not tool.keys() <= _DECLARED:
            return True
    return False


def _look(node: Any, found: Extent) -> None:
    if isinstance(node, list):
        for item in node:
            _look(item, found)
    elif isinstance(node, dict) and node.get("type") not in _CALLS:
        medium = _medium(node)
        if medium is not None:
            _count(*medium, found)
        else:
            for name, value in node.items():
                if name not in _WORDLESS:
                    _look(value, found)


def _medium(node: dict[str, Any]) -> tuple[str, str | None] | None:
    """Return the kind of medium that an object is and its base64 (None: it lies elsewhere), or None if it is none."""
    for names in _PARTS:
        for name in names:
            if isinstance(inner := node.get(name), dict):
                return str(inner.get("mimeType", inner.get("mime_type"))), _text(inner.get("data"))
    kind = node.get("type")
    if "image_url" in node:
        inner = node["image_url"]
        return "image", _inline(inner.get("url") if isinstance(inner, dict) else inner)
    if isinstance(inner := node.get("input_audio"), dict):
        return "audio", _text(inner.get("data"))
    if isinstance(inner := node.get("file"), dict) and inner.keys() & {"file_data", "file_id"}:
        return "document", _inline(inner.get("file_data"))
    if kind == "input_file":
        return "document", _inline(node.get("file_data"))
    if isinstance(inner := node.get("source"), dict) and inner.get("type") in ("base64", "url", "file"):
        return "image" if kind == "image" else "document", _text(inner.get("data"))
    if kind in ("input_image", "computer_screenshot"):
        return "image", None
    if kind in ("item_reference", "video_url", "audio_url", "container_upload"):
        return "video", None
    return None


def _count(kind: str, data: str | None, found: Extent) -> None:
    if kind.startswith("image"):
        found.images += 1
        found.tokens -= len(data or "")
    elif data is None:
        found.open_ended = True
        found.hears = found.hears or not kind.startswith("document")
    elif kind.startswith(("audio", "video")):
        found.hears = True
        found.tokens += max(LEAST_SOUND_TOKENS, len(data) // SOUND_CHARACTERS_A_TOKEN) - len(data)


def _inline(url: Any) -> str | None:
    """Return the base64 of a URL that holds its own data, or of a plain one; None of one that leads elsewhere."""
    if not isinstance(url, str) or url[:4].lower() == "http":
        return None
    return url.partition(",")[2] if url[:5].lower() == "data:" else url


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
