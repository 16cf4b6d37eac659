"""What an answer rests on: grounding and citations, to and from the annotations of its text.

Gemini says it of a candidate as a whole, in objects of its own, which are carried unread. The web pages in them are
told apart as well, by ``url`` and ``title``, for clients of other dialects; and from those of other dialects the
grounding is made that Gemini's clients look for. Where in the text a page is cited is not told: Gemini counts bytes of
one part, others count characters of the whole.
"""

from collections.abc import Iterable, Mapping
from typing import Any

ANNOTATIONS = ("groundingMetadata", "citationMetadata", "urlContextMetadata")


def read_notes(candidate: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a candidate, or a piece of one, says about its sources."""
    return {key: candidate[key] for key in ANNOTATIONS if key in candidate}


def annotations_of(notes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the annotations for what ``read_notes`` found: its objects, one each, then the web pages among them."""
    return [*({key: value} for key, value in notes.items()), *_pages(notes.get("groundingMetadata"))]


def write_notes(annotations: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the members of a candidate that tell the sources of its text."""
    annotations = list(annotations)
    notes = {key: note[key] for note in annotations for key in ANNOTATIONS if key in note}
    webs = [{"uri": note["url"], "title": note.get("title") or note["url"]} for note in annotations if note.get("url")]
    if webs and "groundingMetadata" not in notes:
        notes["groundingMetadata"] = {"groundingChunks": [{"web": web} for web in webs]}
    return notes


def _pages(grounding: Any) -> list[dict[str, Any]]:
    chunks = grounding.get("groundingChunks") if isinstance(grounding, dict) else None
    webs = [chunk.get("web") for chunk in chunks if isinstance(chunk, dict)] if isinstance(chunks, list) else []
    return [{"url": web["uri"], "title": web.get("title")} for web in webs
            if isinstance(web, dict) and isinstance(web.get("uri"), str)]
