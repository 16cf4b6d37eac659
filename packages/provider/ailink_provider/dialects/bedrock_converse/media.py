"""Images, sounds and documents, both ways. Opens no URL and decodes no more of a file than its first bytes.

A file travels as base64 with a word for its format, or stays in S3. Source: `ImageBlock`, `DocumentBlock` and
`AudioBlock` of the Amazon Bedrock Runtime API.
"""

import re
from base64 import b64encode
from typing import Any

from ailink_provider.chat import Media, MediaKind, Native
from ailink_provider.dialects import fields
from ailink_provider.dialects.bedrock_converse.draft import Draft
from ailink_provider.dialects.bedrock_converse.words import NAME
from ailink_provider.dialects.contents import sniff
from ailink_provider.dialects.fields import unsupported

_IMAGES = {"png": "image/png", "jpeg": "image/jpeg", "gif": "image/gif", "webp": "image/webp"}
_OFFICE = "application/vnd.openxmlformats-officedocument"
_DOCUMENTS = {
    "pdf": "application/pdf", "csv": "text/csv", "doc": "application/msword", "xls": "application/vnd.ms-excel",
    "docx": f"{_OFFICE}.wordprocessingml.document", "xlsx": f"{_OFFICE}.spreadsheetml.sheet", "html": "text/html",
    "txt": "text/plain", "md": "text/markdown",
}
_AUDIO = {
    **dict.fromkeys(("mp3", "mpeg", "mpga"), "audio/mpeg"),
    **{word: f"audio/{word}" for word in (
        "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "pcm", "webm")},
}
FORMATS: dict[MediaKind, dict[str, str]] = {"image": _IMAGES, "document": _DOCUMENTS, "audio": _AUDIO}

# Other names of the same formats, and types that are text whatever they are called.
_ALIASES = {
    "image/jpg": "image/jpeg", "text/x-markdown": "text/markdown", "audio/mp3": "audio/mpeg",
    "audio/x-wav": "audio/wav", "audio/wave": "audio/wav", "audio/x-m4a": "audio/m4a", "audio/l16": "audio/pcm",
    "audio/x-flac": "audio/flac",
    **dict.fromkeys(("application/json", "application/xml", "application/yaml", "application/x-yaml",
                     "application/javascript"), "text/plain"),
}
# The first word of a type is the one that is written.
_WORDS = {media_type: (kind, word) for kind, table in FORMATS.items() for word, media_type in reversed(table.items())}
_KNOWN = {"image": ("format", "source"), "audio": ("format", "source"), "document": ("format", "source", "name")}
_NAME_LIMIT = 180  # 200 on the wire; the rest is for the number of a name that is taken
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9\s()\[\]-]+")
_S3 = "s3://"


# --- reading -------------------------------------------------------------------------------------


def read_media(kind: MediaKind, block: dict[str, Any], path: str) -> Media | Native:
    """Return the file of a block, or the block unread if its source or format has no canonical word."""
    source, value = fields.member(block.get("source"), f"{path}.source")
    where = f"{path}.source.{source}"
    word = fields.optional(block, "format", fields.text, path) or ("txt" if source == "text" else "")
    media = Media(kind, FORMATS[kind].get(word), extra=fields.leftover(block, _KNOWN[kind], NAME))
    if kind == "document":
        media.name = fields.required(block, "name", fields.text, path)
    if source == "bytes":
        media.data = fields.text(value, where)
    elif source == "text" and kind == "document":
        media.data = b64encode(fields.text(value, where).encode("utf-8", "replace")).decode()
    elif source == "s3Location" and fields.record(value, where).keys() == {"uri"}:
        media.file_id = fields.text(value["uri"], f"{where}.uri")
    else:
        media.media_type = None
    return Native(NAME, {kind: block}) if media.media_type is None else media


# --- writing -------------------------------------------------------------------------------------


def write_media(media: Media, path: str, draft: Draft) -> dict[str, Any]:
    """Return the block of a file.

    Raises ``Failure`` (``unsupported_parameter``) for what the service does not take: URLs other than S3's, files kept
    at another vendor, formats it does not know.
    """
    if media.detail not in (None, "auto"):
        draft.lose(f"{path}.detail", "Converse has no such parameter")
    kind, word = _format(media, path)
    written: dict[str, Any] = {"format": word}
    if kind == "document":
        written["name"] = _document_name(media.name, draft)
    return {kind: {**written, "source": _source(media, path, draft), **draft.members(media.extra, path)}}


def shown_media(media: Media) -> dict[str, Any] | None:
    """Return the block of a file in a reply, None if it has no content or a format without a word."""
    word = FORMATS[media.kind]
    found = next((name for name, media_type in word.items() if media_type == media.media_type), None)
    if found is None or not media.data:
        return None
    named = {"name": media.name or "document"} if media.kind == "document" else {}
    return {media.kind: {"format": found, **named, "source": {"bytes": media.data}}}


def _source(media: Media, path: str, draft: Draft) -> dict[str, Any]:
    kept = media.file_id if draft.own else None
    place = media.url or kept or ""
    if place.startswith(_S3):
        return {"s3Location": {"uri": place}}
    if media.file_id is not None:
        raise unsupported(path, "A file that is kept at another vendor cannot be used here: send its content.")
    if media.url is not None:
        raise unsupported(path, "Amazon Bedrock fetches no URL: send the file's content as a data URL instead.")
    if not media.data:
        raise fields.invalid(path, "the file is empty")
    return {"bytes": media.data}


def _format(media: Media, path: str) -> tuple[MediaKind, str]:
    # The bytes are right where the declared type is wrong, which clients often have from a file's name.
    declared = (media.media_type or "").partition(";")[0].strip().lower()
    media_type = sniff(media.data or "") or _ALIASES.get(declared, declared)
    found = _WORDS.get(media_type)
    if found is None and media_type.startswith("text/"):
        found = "document", "txt"
    if found is None:
        ending = (media.name or media.url or media.file_id or "").rpartition(".")[2].lower()
        word = {"jpg": "jpeg"}.get(ending, ending)
        found = (media.kind, word) if word in FORMATS[media.kind] else None
    if found is None:
        raise unsupported(path, f"Amazon Bedrock takes no {media_type or 'file of unknown type'}: send "
                                f"{', '.join(FORMATS[media.kind])}.")
    return found


def _document_name(name: str | None, draft: Draft) -> str:
    """Return a name of letters, digits, single spaces, hyphens and brackets that no other document here has."""
    stem, dot, ending = (name or "").rpartition(".")
    kept = stem if dot and ending.lower() in _DOCUMENTS else name or ""
    cleaned = " ".join(_NOT_IN_NAMES.sub("-", kept).split())[:_NAME_LIMIT].strip("- ") or "document"
    fitted, number = cleaned, 1
    while fitted in draft.documents:
        number += 1
        fitted = f"{cleaned} ({number})"
    draft.documents.add(fitted)
    return fitted
