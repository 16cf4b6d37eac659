"""The parts of a message's content, read and written: text, image, sound, file, refusal. Fetches nothing, drops nothing
unsaid.

A part of a type this room does not know becomes ``Native`` and is written back as it was.
"""

import base64
from collections.abc import Callable, Iterable
from typing import Any

from ailink_provider.chat import CacheMark, Media, MediaKind, Native, Part, Refusal, Text
from ailink_provider.dialects.contents import split_data_url
from ailink_provider.dialects.members import as_text, invalid, one_object, optional, required, unsupported
from ailink_provider.dialects.openai_chat import reasoning
from ailink_provider.dialects.openai_chat.draft import Draft
from ailink_provider.dialects.openai_chat.words import NAME

# Two words for one mark: Anthropic's, which compatible services take over, and OpenAI's own since GPT-5.6.
# The first without a lifetime means five minutes; said so, the two can be told apart again when they are written.
_CONTROL_TTLS = ("5m", "1h")
_BREAKPOINT_TTLS = ("30m", "12h")

_SOUNDS = {"wav": "audio/wav", "mp3": "audio/mpeg"}
_SOUND_FORMATS = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/wave": "wav", "audio/mpeg": "mp3",
                  "audio/mp3": "mp3"}
_PDF = "application/pdf"
_DETAILS = ("auto", "low", "high", "original")

# Whose file ids are valid at a target that speaks this dialect: both are OpenAI's.
_FILE_ID_DIALECTS = (NAME, "openai_responses")


def read_content(value: Any, where: str) -> list[Part]:
    """Return the parts of ``content``: a string or a list of parts. Raises ``Failure`` for anything else."""
    if isinstance(value, str):
        return [Text(value)]
    if not isinstance(value, list):
        raise invalid(where, "must be a string or a list of content parts")
    return [read_part(one_object(part, f"{where}[{index}]"), f"{where}[{index}]") for index, part in enumerate(value)]


def read_part(part: dict[str, Any], where: str) -> Part:
    """Return one content part. Raises ``Failure`` if a known type lacks what it needs."""
    reader = _READERS.get(required(part, "type", str, where))
    return reader(part, where) if reader is not None else Native(NAME, part)


def read_mark(source: dict[str, Any], where: str) -> CacheMark | None:
    """Return the prompt-cache breakpoint that stands on a part, a message, a tool or a call."""
    own = optional(source, "prompt_cache_breakpoint", dict, where)
    if own is not None:
        return CacheMark(optional(own, "ttl", str, f"{where}.prompt_cache_breakpoint"))
    control = optional(source, "cache_control", dict, where)
    if control is not None:
        return CacheMark(optional(control, "ttl", str, f"{where}.cache_control") or _CONTROL_TTLS[0])
    return None


def read_image_url(value: Any, where: str) -> Media:
    """Return the image of an ``image_url`` member: an object with a ``url``, or, as some services have it, the URL."""
    source = {"url": value} if isinstance(value, str) else one_object(value, where)
    url = required(source, "url", str, where)
    detail = optional(source, "detail", str, where)
    if url.startswith("data:"):
        media_type, data = split_data_url(url, f"{where}.url")
        return Media("image", media_type, data, detail=detail)
    if not url.lower().startswith(("https://", "http://")):
        raise invalid(f"{where}.url", "must be an http(s) URL or a data: URL")
    return Media("image", url=url, detail=detail)


def write_parts(draft: Draft, parts: Iterable[tuple[str, Part]], *, media: bool = False) -> str | list[dict[str, Any]]:
    """Return ``content`` for parts given with the client's path to each: a string if one plain text is all there is.

    ``media``: whether anything but text may stand there."""
    written = [value for where, part in parts if (value := _write_part(draft, part, where, media)) is not None]
    if not written:
        return ""
    if len(written) == 1 and written[0].keys() == {"type", "text"}:
        return as_text(written[0]["text"])
    return written


def write_mark(draft: Draft, mark: CacheMark | None, *, on_part: bool = True) -> dict[str, Any]:
    """Return the member that sets a prompt-cache breakpoint, {} for none. Only content parts know OpenAI's own."""
    if mark is None:
        return {}
    if on_part and (mark.ttl in _BREAKPOINT_TTLS or (draft.own and mark.ttl is None)):
        return {"prompt_cache_breakpoint": {"mode": "explicit"} | ({"ttl": mark.ttl} if mark.ttl else {})}
    if draft.own:
        return {"cache_control": {"type": "ephemeral"} | ({"ttl": mark.ttl} if mark.ttl else {})}
    draft.lose("cache_control", "the target decides by itself what it caches")
    return {}


def data_url(media: Media) -> str:
    """Return the data: URL of an image, by its declared type."""
    return f"data:{media.media_type or 'image/png'};base64,{media.data or ''}"


def _read_text(part: dict[str, Any], where: str) -> Part:
    return Text(required(part, "text", str, where), read_mark(part, where))


def _read_image(part: dict[str, Any], where: str) -> Part:
    media = read_image_url(part.get("image_url"), f"{where}.image_url")
    media.cache = read_mark(part, where)
    return media


def _read_audio(part: dict[str, Any], where: str) -> Part:
    audio, place = required(part, "input_audio", dict, where), f"{where}.input_audio"
    form = required(audio, "format", str, place)
    return Media("audio", _SOUNDS.get(form, f"audio/{form}"), required(audio, "data", str, place),
                 cache=read_mark(part, where))


def _read_file(part: dict[str, Any], where: str) -> Part:
    file, place = required(part, "file", dict, where), f"{where}.file"
    name, mark = optional(file, "filename", str, place), read_mark(part, where)
    data = optional(file, "file_data", str, place)
    if data is None:
        file_id = optional(file, "file_id", str, place)
        if file_id is None:
            raise invalid(place, "needs file_data or file_id")
        return Media("document", file_id=file_id, name=name, cache=mark)
    if data.startswith("data:"):
        media_type, data = split_data_url(data, f"{place}.file_data")
    else:
        media_type = _PDF
    kinds: dict[str, MediaKind] = {"image": "image", "audio": "audio"}
    return Media(kinds.get(media_type.partition("/")[0], "document"), media_type, data, name=name, cache=mark)


def _read_refusal(part: dict[str, Any], where: str) -> Part:
    return Refusal(required(part, "refusal", str, where))


def _read_thinking(part: dict[str, Any], where: str) -> Part:
    # Anthropic's block among the content. Mistral's, whose text is a list of parts, stays Native.
    if isinstance(part.get("thinking", ""), list):
        return Native(NAME, part)
    thoughts = reasoning.read_thoughts({"thinking_blocks": [part]})
    return thoughts[0] if thoughts else Text("")


_READERS: dict[str, Callable[[dict[str, Any], str], Part]] = {
    "text": _read_text, "image_url": _read_image, "input_audio": _read_audio, "file": _read_file,
    "refusal": _read_refusal, "thinking": _read_thinking, "redacted_thinking": _read_thinking,
}


def _write_part(draft: Draft, part: Part, where: str, media: bool) -> dict[str, Any] | None:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text} | write_mark(draft, part.cache)
    if isinstance(part, Refusal):
        return {"type": "text", "text": part.text}
    if isinstance(part, Media) and media:
        return _write_media(draft, part, where) | write_mark(draft, part.cache)
    if isinstance(part, Native) and part.dialect == NAME:
        return part.value if "type" in part.value else None
    kind = f"what only {part.dialect} can say" if isinstance(part, Native) else type(part).__name__.lower()
    draft.lose(where, f"{kind} has no place here in the target's dialect")
    return None


def _write_media(draft: Draft, media: Media, where: str) -> dict[str, Any]:
    draft.members(media.extra, where)
    if media.file_id is not None:
        if media.kind == "image" or draft.chat.dialect not in _FILE_ID_DIALECTS:
            raise unsupported(where, "refers to a file the target does not have; send its data instead")
        return {"type": "file", "file": {"file_id": media.file_id}}
    return _MEDIA_WRITERS[media.kind](draft, media, where)


def _write_image(draft: Draft, media: Media, where: str) -> dict[str, Any]:
    image: dict[str, Any] = {"url": media.url or data_url(media)}
    if media.detail in _DETAILS or (media.detail and draft.own):
        image["detail"] = media.detail
    elif media.detail:
        draft.lose(f"{where}.detail", f"'{media.detail}' is no detail the target knows")
    return {"type": "image_url", "image_url": image}


def _write_audio(draft: Draft, media: Media, where: str) -> dict[str, Any]:
    media_type = (media.media_type or "").partition(";")[0]
    form = _SOUND_FORMATS.get(media_type) or (media_type.partition("/")[2] if draft.own else None)
    if media.data is None or not form:
        raise unsupported(where, "cannot be sent: the target takes sound only as base64 data in wav or mp3")
    return {"type": "input_audio", "input_audio": {"data": media.data, "format": form}}


def _write_document(draft: Draft, media: Media, where: str) -> dict[str, Any]:
    if media.data is None:
        raise unsupported(where, "cannot be sent: the target takes documents only as base64 data")
    media_type = media.media_type or _PDF
    if media_type.startswith("text/") and not draft.own:
        try:
            return {"type": "text", "text": base64.b64decode(media.data).decode("utf-8", "replace")}
        except ValueError:
            raise invalid(where, "is not valid base64") from None
    name = media.name or ("document.pdf" if media_type == _PDF else "document")
    return {"type": "file", "file": {"filename": name, "file_data": f"data:{media_type};base64,{media.data}"}}


_MEDIA_WRITERS: dict[MediaKind, Callable[[Draft, Media, str], dict[str, Any]]] = {
    "image": _write_image, "audio": _write_audio, "document": _write_document,
}
