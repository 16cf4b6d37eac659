"""What the data of media says of itself: the magic bytes it begins with, and the head of a ``data:`` URL. Knows no
dialect, and decodes nothing whole.
"""

from binascii import a2b_base64

from ailink_provider.dialects.members import invalid

_MAGIC = ((b"\x89PNG\r\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"),
          (b"%PDF", "application/pdf"))


def sniff(data: str) -> str | None:
    """Return the media type that base64 ``data`` begins as, None for one that is not known."""
    try:
        head = a2b_base64(data[:24])
    except ValueError:
        return None
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    return next((media_type for magic, media_type in _MAGIC if head.startswith(magic)), None)


def split_data_url(url: str, where: str) -> tuple[str, str]:
    """Return media type and base64 of a ``data:`` URL. Raises ``Failure`` (``invalid_request``) for any other form."""
    head, comma, data = url[len("data:"):].partition(",")
    media_type, *parameters = (word.strip() for word in head.split(";"))
    if not comma or "base64" not in parameters:
        raise invalid(where, "must be of the form data:<media type>;base64,<data>")
    return media_type.lower() or "application/octet-stream", data
