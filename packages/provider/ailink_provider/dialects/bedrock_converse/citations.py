"""Citations of documents, search results and web pages, both ways.

They stand beside the text that they are about. Source: `CitationsContentBlock` of the Amazon Bedrock Runtime API.
"""

from typing import Any

from ailink_provider.chat import Native, Part, Text
from ailink_provider.dialects import fields
from ailink_provider.dialects.bedrock_converse.words import NAME

_MEMBERS = ("title", "source", "sourceContent", "location")


def read_cited(value: Any, path: str) -> Part:
    """Return the text of a ``citationsContent`` with its citations, or the block unread if it holds more than text."""
    block = fields.record(value, path)
    content = fields.optional(block, "content", fields.records, path) or []
    citations = fields.optional(block, "citations", fields.records, path) or []
    texts = [item["text"] for item in content if isinstance(item.get("text"), str)]
    if len(texts) < len(content):
        return Native(NAME, {"citationsContent": block})
    return Text("".join(texts), annotations=[read_citation(citation) for citation in citations] or None)


def read_citation(citation: dict[str, Any]) -> dict[str, Any]:
    """Return the annotation for a citation: itself, and the address of a web page where every dialect looks for it."""
    url = _page(citation).get("url")
    return {**citation, "url": url} if isinstance(url, str) else citation


def write_citation(annotation: dict[str, Any]) -> dict[str, Any] | None:
    """Return the citation for an annotation: this dialect's as it is, any other's if it is of a web page."""
    if isinstance(annotation.get("location"), dict):
        return {key: value for key, value in annotation.items() if key in _MEMBERS}
    url, title = annotation.get("url"), annotation.get("title")
    if not isinstance(url, str) or not url:
        return None
    return {**({"title": title} if isinstance(title, str) else {}), "location": {"web": {"url": url}}}


def returned(annotations: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    """Return the citations that may go back to a model: its own. Those of web pages may be another's, and are none."""
    return [citation for note in annotations or ()
            if isinstance(note.get("location"), dict) and not _page(note) and (citation := write_citation(note))]


def cited(text: str, citations: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the block of a text, with its citations where there are any."""
    return {"citationsContent": {"content": [{"text": text}], "citations": citations}} if citations else {"text": text}


def _page(citation: dict[str, Any]) -> dict[str, Any]:
    location = citation.get("location")
    web = location.get("web") if isinstance(location, dict) else None
    return web if isinstance(web, dict) else {}
