"""Images and documents, both ways. Opens no URL and decodes no more of a file than its first bytes, texts apart.

Source: the vision and PDF guides; `ImageBlockParam` and `DocumentBlockParam` of the vendor's SDK.
"""

from base64 import b64decode, b64encode
from typing import Any

from ailink_provider.chat import Media, MediaKind, Native
from ailink_provider.dialects import fields
from ailink_provider.dialects.anthropic_messages.caching import read_mark
from ailink_provider.dialects.anthropic_messages.draft import Draft
from ailink_provider.dialects.anthropic_messages.words import NAME
from ailink_provider.dialects.contents import sniff
from ailink_provider.dialects.fields import unsupported

IMAGES = ("image/jpeg", "image/png", "image/gif", "image/webp")
_PDF = "application/pdf"
_TEXTS = ("application/json", "application/xml", "application/yaml", "application/x-yaml", "application/javascript")
_KNOWN = {"image": ("type", "source", "cache_control"), "document": ("type", "source", "cache_control", "title")}


def read_image(block: dict[str, Any], path: str) -> Media | Native:
    """Return the image of a block, or the block unread if its source is of a kind that has no canonical word."""
    return _read(block, path, "image")


def read_document(block: dict[str, Any], path: str) -> Media | Native:
    """Return the document of a block, or the block unread if its source is of a kind that has no canonical word."""
    return _read(block, path, "document")


def _read(block: dict[str, Any], path: str, kind: MediaKind) -> Media | Native:
    source = fields.required(block, "source", fields.record, path)
    where = f"{path}.source"
    media = Media(kind, cache=read_mark(block, path), extra=fields.leftover(block, _KNOWN[kind], NAME))
    match fields.required(source, "type", fields.text, where):
        case "base64":
            media.media_type = fields.required(source, "media_type", fields.text, where)
            media.data = fields.required(source, "data", fields.text, where)
        case "text":
            words = fields.required(source, "data", fields.text, where)
            media.media_type, media.data = "text/plain", b64encode(words.encode("utf-8", "replace")).decode()
        case "url":
            media.url = fields.required(source, "url", fields.text, where)
        case "file":
            media.file_id = fields.required(source, "file_id", fields.text, where)
        case _:
            return Native(NAME, block)
    if kind == "document":
        media.name = fields.optional(block, "title", fields.text, path)
    return media


def write_media(media: Media, path: str, draft: Draft) -> dict[str, Any]:
    """Return the block of an image or a document.

    Raises ``Failure``: ``unsupported_parameter`` for what the vendor does not take (audio, other file types, files kept
    at another vendor), ``invalid_request`` for a text that is not UTF-8.
    """
    if media.kind == "audio":
        raise unsupported(path, "The Messages API takes no audio: send a transcript, or choose another model.")
    if media.detail not in (None, "auto"):
        draft.lose(f"{path}.detail", "the Messages API has no such parameter")
    kind, source = _source(media, path, draft)
    title = {"title": media.name} if kind == "document" and media.name else {}
    return {"type": kind, "source": source, **title, **draft.members(media.extra, path)}


def _source(media: Media, path: str, draft: Draft) -> tuple[str, dict[str, Any]]:
    if media.file_id is not None:
        if not draft.own:
            raise unsupported(path, "A file that is kept at another vendor cannot be used here: send its content.")
        return media.kind, {"type": "file", "file_id": media.file_id}
    if media.url is not None:
        if not media.url.lower().startswith(("https://", "http://")):
            raise unsupported(path, "The Messages API fetches only http(s) URLs: send the file's content instead.")
        return media.kind, {"type": "url", "url": media.url}
    data = media.data or ""
    # The bytes are right where the declared type is wrong, which clients often have from a file's name.
    media_type = sniff(data) or (media.media_type or "").partition(";")[0].strip().lower()
    if media_type in IMAGES:
        return "image", {"type": "base64", "media_type": media_type, "data": data}
    if media_type == _PDF:
        return "document", {"type": "base64", "media_type": _PDF, "data": data}
    if media_type.startswith("text/") or media_type in _TEXTS:
        return "document", {"type": "text", "media_type": "text/plain", "data": _decode(data, path)}
    raise unsupported(path, f"The Messages API takes no {media_type or 'file of unknown type'}: send JPEG, PNG, GIF or "
                            "WebP images, PDF or plain text.")


def _decode(data: str, path: str) -> str:
    try:
        return b64decode(data, validate=True).decode()
    except ValueError:
        raise fields.invalid(path, "the text is not base64 of UTF-8") from None
