"""The parts of a message's content and of a tool's output, read and written: text, image, file, sound, refusal. Fetches
nothing, drops nothing unsaid.

A part of a type this room does not know becomes ``Native`` and is written back as it was.
"""

import base64
from collections.abc import Callable, Iterable
from typing import Any

from ailink_provider.chat import CacheMark, Media, MediaKind, Native, Part, Refusal, Text
from ailink_provider.dialects.contents import split_data_url
from ailink_provider.dialects.members import as_text, invalid, one_object, optional, required, unsupported
from ailink_provider.dialects.openai_responses.draft import Draft
from ailink_provider.dialects.openai_responses.fields import NAME, leftover

_PDF = "application/pdf"
_DETAILS: dict[MediaKind, tuple[str, ...]] = {"image": ("auto", "low", "high", "original"),
                                              "document": ("auto", "low", "high")}
_SOUNDS = {"wav": "audio/wav", "mp3": "audio/mpeg"}
_SOUND_FORMATS = {media_type: form for form, media_type in _SOUNDS.items()}
_MARK = "prompt_cache_breakpoint"
_FOREIGN_FILE = "refers to a file the target does not have; send its data instead"

# How the types of content begin that the API itself may add; items of the conversation have other names.
_CONTENT_TYPES = ("input_", "output_", "computer_screenshot")


def read_content(value: Any, where: str) -> list[Part]:
    """Return the parts of ``content`` or ``output``: a string or a list of parts. Raises ``Failure`` for all else."""
    if isinstance(value, str):
        return [Text(value)]
    if not isinstance(value, list):
        raise invalid(where, "must be a string or a list of content parts")
    return [_read_part(one_object(part, f"{where}[{index}]"), f"{where}[{index}]") for index, part in enumerate(value)]


def is_content(part: Native) -> bool:
    """Whether what only this dialect can say stands in a message's content, not beside the message."""
    return as_text(part.value.get("type")).startswith(_CONTENT_TYPES)


def _read_part(part: dict[str, Any], where: str) -> Part:
    kind = required(part, "type", str, where)
    reader = _READERS.get(kind)
    if reader is not None:
        return reader(part, where)
    if not kind.startswith(_CONTENT_TYPES):
        raise invalid(f"{where}.type", f"must be one of {', '.join(_READERS)}")
    return Native(NAME, part)


def _read_mark(part: dict[str, Any], where: str) -> CacheMark | None:
    mark = optional(part, _MARK, dict, where)
    return None if mark is None else CacheMark(optional(mark, "ttl", str, f"{where}.{_MARK}"))


def _read_text(part: dict[str, Any], where: str) -> Part:
    # Citations and log-probabilities are a reply's: clients send them back, no model takes them.
    return Text(required(part, "text", str, where), _read_mark(part, where))


def _read_refusal(part: dict[str, Any], where: str) -> Part:
    return Refusal(required(part, "refusal", str, where))


def _read_image(part: dict[str, Any], where: str) -> Part:
    media = Media("image", detail=optional(part, "detail", str, where), cache=_read_mark(part, where))
    media.extra = leftover(part, ("type", "image_url", "file_id", "detail", _MARK))
    url = optional(part, "image_url", str, where)
    if url is None:
        media.file_id = required(part, "file_id", str, where)
    elif url.startswith("data:"):
        media.media_type, media.data = split_data_url(url, f"{where}.image_url")
    else:
        media.url = _web_address(url, f"{where}.image_url")
    return media


def _read_file(part: dict[str, Any], where: str) -> Part:
    media = Media("document", name=optional(part, "filename", str, where), detail=optional(part, "detail", str, where),
                  cache=_read_mark(part, where))
    media.extra = leftover(part, ("type", "file_data", "file_url", "file_id", "filename", "detail", _MARK))
    data, url = optional(part, "file_data", str, where), optional(part, "file_url", str, where)
    if data is not None:
        media.media_type, media.data = (split_data_url(data, f"{where}.file_data") if data.startswith("data:")
                                        else (_PDF, data))
        kinds: dict[str, MediaKind] = {"image": "image", "audio": "audio"}
        media.kind = kinds.get(media.media_type.partition("/")[0], "document")
    elif url is not None:
        media.url = _web_address(url, f"{where}.file_url")
    else:
        media.file_id = optional(part, "file_id", str, where)
        if media.file_id is None:
            raise invalid(where, "needs file_data, file_url or file_id")
    return media


def _read_audio(part: dict[str, Any], where: str) -> Part:
    audio, place = required(part, "input_audio", dict, where), f"{where}.input_audio"
    form = required(audio, "format", str, place)
    return Media("audio", _SOUNDS.get(form, f"audio/{form}"), required(audio, "data", str, place))


_READERS: dict[str, Callable[[dict[str, Any], str], Part]] = {
    "input_text": _read_text, "input_image": _read_image, "input_file": _read_file, "input_audio": _read_audio,
    "output_text": _read_text, "refusal": _read_refusal,
}


def _web_address(url: str, where: str) -> str:
    if not url.lower().startswith(("https://", "http://")):
        raise invalid(where, "must be an http(s) URL or a data: URL")
    return url


def write_content(draft: Draft, parts: Iterable[tuple[str, Part]]) -> str | list[dict[str, Any]]:
    """Return ``content`` or ``output`` for parts given with the client's path to each: a string if one plain text is
    all there is."""
    written = [value for where, part in parts if (value := _write_part(draft, part, where)) is not None]
    if not written:
        return ""
    if len(written) == 1 and written[0].keys() == {"type", "text"}:
        return as_text(written[0]["text"])
    return written


def _write_part(draft: Draft, part: Part, where: str) -> dict[str, Any] | None:
    if isinstance(part, Text):
        return {"type": "input_text", "text": part.text} | draft.mark(part.cache)
    if isinstance(part, Refusal):
        return {"type": "input_text", "text": part.text}
    if isinstance(part, Media):
        written = _MEDIA_WRITERS[part.kind](draft, part, where)
        return written | draft.members(part.extra, where) | draft.mark(part.cache)
    if isinstance(part, Native) and part.dialect == NAME:
        return part.value
    kind = f"what only {part.dialect} can say" if isinstance(part, Native) else type(part).__name__.lower()
    draft.lose(where, f"{kind} has no place here in the target's dialect")
    return None


def _source(draft: Draft, media: Media, where: str, form: str) -> dict[str, Any]:
    """Return the member that says where an image or a file is, named after ``form``."""
    if media.file_id is not None:
        if not draft.shares_account:
            raise unsupported(where, _FOREIGN_FILE)
        return {"file_id": media.file_id}
    return {f"{form}_url": media.url}


def _detail(draft: Draft, media: Media, where: str) -> dict[str, Any]:
    if media.detail is None:
        return {}
    if media.detail in _DETAILS[media.kind] or draft.own:
        return {"detail": media.detail}
    draft.lose(f"{where}.detail", f"'{media.detail}' is no detail the target knows")
    return {}


def _write_image(draft: Draft, media: Media, where: str) -> dict[str, Any]:
    if media.data is not None:
        source: dict[str, Any] = {"image_url": f"data:{media.media_type or 'image/png'};base64,{media.data}"}
    else:
        source = _source(draft, media, where, "image")
    return {"type": "input_image", "detail": "auto"} | source | _detail(draft, media, where)


def _write_file(draft: Draft, media: Media, where: str) -> dict[str, Any]:
    if media.data is None:
        named = {"filename": media.name} if media.name and draft.own else {}
        return {"type": "input_file"} | _source(draft, media, where, "file") | named | _detail(draft, media, where)
    media_type = media.media_type or _PDF
    if media_type.startswith("text/") and not draft.own:
        try:
            return {"type": "input_text", "text": base64.b64decode(media.data).decode("utf-8", "replace")}
        except ValueError:
            raise invalid(where, "is not valid base64") from None
    name = media.name or ("document.pdf" if media_type == _PDF else "document")
    data = f"data:{media_type};base64,{media.data}"
    return {"type": "input_file", "filename": name, "file_data": data} | _detail(draft, media, where)


def _write_audio(draft: Draft, media: Media, where: str) -> dict[str, Any]:
    media_type = (media.media_type or "").partition(";")[0]
    form = _SOUND_FORMATS.get(media_type) or media_type.partition("/")[2]
    if media.data is None or not draft.own:
        raise unsupported(where, "cannot be sent: the target takes no sound")
    return {"type": "input_audio", "input_audio": {"data": media.data, "format": form}}


_MEDIA_WRITERS: dict[MediaKind, Callable[[Draft, Media, str], dict[str, Any]]] = {
    "image": _write_image, "audio": _write_audio, "document": _write_file,
}
