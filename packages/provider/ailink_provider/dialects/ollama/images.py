"""Media: images as a list of base64 texts beside a message's content, all that this API takes. Fetches nothing."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from ailink_provider.chat import Media
from ailink_provider.dialects.members import invalid, unsupported
from ailink_provider.dialects.ollama.draft import Draft
from ailink_provider.dialects.ollama.fields import optional

# What base64 of an image begins with; nothing else tells its type.
_MAGIC = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
)


def read_images(source: Mapping[str, Any], where: str) -> list[Media]:
    """Return the images of a message. Raises ``Failure`` if they are not a list of strings."""
    images = []
    for index, data in enumerate(optional(source, "images", list, where) or ()):
        if not isinstance(data, str):
            raise invalid(f"{where}.images[{index}]", "must be a string of base64")
        images.append(to_media(data))
    return images


def to_media(data: str) -> Media:
    """Return the image that base64 text is."""
    return Media("image", next((kind for start, kind in _MAGIC if data.startswith(start)), None), data)


def write_image(draft: Draft, media: Media, where: str) -> str:
    """Return the base64 text of an image. Raises ``Failure`` (``unsupported_parameter``) for any other medium."""
    if media.kind != "image":
        raise unsupported(where, f"cannot be sent: Ollama takes no {media.kind}, only text and images")
    if media.data is None:
        raise unsupported(where, "cannot be sent: Ollama fetches no image; send its data, as a data: URL or base64")
    if media.detail not in (None, "auto"):
        draft.lose(f"{where}.detail", "the target looks at every image in the same way")
    return media.data


def write_document(media: Media, where: str) -> str | None:
    """Return the text of a document that is text, None for any other medium. Raises ``Failure`` if it is not base64."""
    if media.kind != "document" or media.data is None or not (media.media_type or "").startswith("text/"):
        return None
    try:
        return b64decode(media.data, validate=True).decode("utf-8", "replace")
    except ValueError:
        raise invalid(where, "is not valid base64") from None
