"""Images, sounds and documents: ``inlineData`` and ``fileData``, to and from canonical ``Media``.

Nothing is fetched or decoded here: data stay base64 text. Gemini reads ``fileUri`` only where it may (its own Files
API, Cloud Storage, some public addresses); whoever sends the request may put the data in its place beforehand.
"""

from typing import Any

import msgspec

from ailink_provider.chat import Media, MediaKind
from ailink_provider.dialects.gemini.fields import join, members, text
from ailink_provider.dialects.gemini.signatures import standard_base64
from ailink_provider.errors import Failure

# How far the model looks into an image: the client's word and Gemini's.
RESOLUTIONS = {
    "low": "MEDIA_RESOLUTION_LOW",
    "medium": "MEDIA_RESOLUTION_MEDIUM",
    "high": "MEDIA_RESOLUTION_HIGH",
    "ultra_high": "MEDIA_RESOLUTION_ULTRA_HIGH",
}
DETAILS = {word: detail for detail, word in RESOLUTIONS.items()}

# What base64 of a file starts with; what a client declares is often wrong.
_MAGIC: dict[str, tuple[tuple[str, str], ...]] = {
    "image": (("iVBORw0KGgo", "image/png"), ("/9j/", "image/jpeg"), ("R0lGOD", "image/gif"), ("UklGR", "image/webp")),
    "audio": (("UklGR", "audio/wav"), ("SUQz", "audio/mp3"), ("T2dnU", "audio/ogg"), ("ZkxhQ", "audio/flac")),
    "document": (("JVBERi0", "application/pdf"),),
}
_EXTENSIONS = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "heic": "image/heic",
    "heif": "image/heif",
    "mp3": "audio/mp3",
    "wav": "audio/wav",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
}
_USUAL = {"image": "image/png", "audio": "audio/wav", "document": "application/pdf"}
_FILES = ("https://generativelanguage.googleapis.com/", "gs://", "files/")


def read_media(part: dict[str, Any], where: str) -> Media | None:
    """Return the media of a part with ``inlineData`` or ``fileData``; None for what only Gemini has (video ...)."""
    key = "inlineData" if "inlineData" in part else "fileData"
    where = join(where, key)
    source = members(part[key], where)
    media_type = text(source["mimeType"], join(where, "mimeType")) if "mimeType" in source else None
    name = text(source["displayName"], join(where, "displayName")) if "displayName" in source else None
    if key == "inlineData":
        data = standard_base64(text(source.get("data"), join(where, "data")))
        kind = _kind(media_type)
        return Media(kind, media_type, data=data, name=name) if kind else None
    uri = text(source.get("fileUri"), join(where, "fileUri"))
    kind = _kind(media_type or _guess(uri))
    if kind is None:
        return None
    if uri.startswith(("https://", "http://")) and not uri.startswith(_FILES):
        return Media(kind, media_type, url=uri, name=name)
    return Media(kind, media_type, file_id=uri, name=name)


def write_media(media: Media, where: str, own: bool) -> dict[str, Any]:
    """Return the part for ``media``. ``own`` says that the client speaks Gemini itself.

    Raises ``Failure``: ``unsupported_parameter`` for another vendor's file, ``invalid_request`` for data of no type.
    """
    name = {"displayName": media.name} if own and media.name else {}
    if media.data is not None:
        media_type = _sniff(media) or media.media_type
        if not media_type:
            raise Failure("invalid_request", f"'{where}' needs the media type of its data.", param=where)
        return {"inlineData": {"mimeType": media_type, "data": media.data, **name}}
    uri = media.url or media.file_id or ""
    if media.file_id is not None and not own and not uri.startswith(_FILES):
        raise Failure(
            "unsupported_parameter",
            f"'{where}' is a file that was uploaded to another provider. Send its content instead.",
            param=where,
        )
    if not uri:
        raise Failure("invalid_request", f"'{where}' has neither data nor an address.", param=where)
    media_type = media.media_type or _guess(uri)
    return {"fileData": {"fileUri": uri, **({"mimeType": media_type} if media_type else {}), **name}}


def write_shown_media(media: Media) -> dict[str, Any] | None:
    """Return the part for media in an answer, None if there is nothing to show. What a model made has a type, even if
    its upstream did not say which: the usual one of its kind is taken."""
    if media.data is None and not (media.url or media.file_id):
        return None
    if media.data is not None and not media.media_type:
        media = msgspec.structs.replace(media, media_type=_USUAL[media.kind])
    return write_media(media, "content", own=True)


def _kind(media_type: str | None) -> MediaKind | None:
    family = (media_type or "video/").partition("/")[0].lower()
    if family == "image":
        return "image"
    if family == "audio":
        return "audio"
    return None if family == "video" else "document"


def _sniff(media: Media) -> str | None:
    data = media.data or ""
    return next((found for start, found in _MAGIC[media.kind] if data.startswith(start)), None)


def _guess(uri: str) -> str | None:
    return _EXTENSIONS.get(uri.partition("?")[0].partition("#")[0].rpartition(".")[2].lower())
