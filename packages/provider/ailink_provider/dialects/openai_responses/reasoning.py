"""Reasoning items: how thoughts travel in this format, which gives the client an opaque item to keep and to send back.

An item of the vendor's own is carried whole, as the signature of its thought, and goes back as it came: its id, its
encrypted content and its summary belong together. Another vendor's thought is given to the client as such an item too,
its proof sealed in ``encrypted_content``, and is opened again when it comes back. None becomes text for a model.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from ailink_provider.chat import Thinking
from ailink_provider.dialects.failures import UNREADABLE
from ailink_provider.dialects.members import as_object, as_objects, as_text, json_text, optional
from ailink_provider.dialects.openai_responses.fields import NAME

ENCRYPTED = "reasoning.encrypted_content"  # what `include` calls the members without which an item is only a name

# What seals another dialect's proof: JSON [signed_by, signature, redacted] follows.
_SEAL = "ailink:"
_SEALED = f'"{_SEAL}'.encode()
_BREAK = "\n\n"
_decode_proof = msgspec.json.Decoder(tuple[str | None, str | None, str | None]).decode


def read_item(item: dict[str, Any], where: str) -> Thinking:
    """Return the thought of a client's reasoning item. Raises ``Failure`` if it is malformed."""
    for member in ("summary", "content"):
        optional(item, member, list, where)
    thought = Thinking(text_of(item))
    sealed = optional(item, "encrypted_content", str, where) or ""
    if sealed.startswith(_SEAL):
        thought.signed_by, thought.signature, thought.redacted = _open(sealed)
    else:
        thought.signature, thought.signed_by = json_text(item, where), NAME
    return thought


def read_output(item: dict[str, Any]) -> Thinking:
    """Return the thought of an upstream's reasoning item."""
    return Thinking(text_of(item), json_text(item, "output"), signed_by=NAME)


def text_of(item: dict[str, Any]) -> str:
    """Return what an item shows of the thought: its own words, where the model lets them be seen, and its summary."""
    shown = (*as_objects(item.get("content")), *as_objects(item.get("summary")))
    return _BREAK.join(text for section in shown if (text := as_text(section.get("text"))))


def write_item(thought: Thinking, stored: bool) -> dict[str, Any] | None:
    """Return the item for the model whose thought it is, None for another's.

    ``stored``: whether the vendor may have kept the item, so that its name alone will do."""
    if thought.signed_by != NAME:
        return None
    item = _decode(thought.signature)
    if not item:
        # Other services pass on the encrypted content alone.
        proof = thought.redacted or thought.signature
        summary = [{"type": "summary_text", "text": thought.text}] if thought.text else []
        return {"type": "reasoning", "summary": summary, "encrypted_content": proof} if proof else None
    return item if stored or item.get("encrypted_content") or item.get("content") else None


def show(thought: Thinking, identifier: str) -> dict[str, Any]:
    """Return the item that a client gets for a thought."""
    return {"id": identifier, "type": "reasoning", "encrypted_content": seal(thought),
            "summary": [{"type": "summary_text", "text": thought.text}] if thought.text else []}


def seal(thought: Thinking) -> str:
    """Return the ``encrypted_content`` that brings a thought back as it was; its text is not in it."""
    proof = (thought.signed_by, thought.signature, thought.redacted)
    return _SEAL + msgspec.json.encode(proof).decode()


def restore(body: Mapping[str, Raw]) -> Raw | None:
    """Return the ``input`` of a client's request as the vendor's own models take it, None if it is so already.

    What was sealed is opened: the vendor's items come out as they were, those of other models are left out."""
    listed = bytes(body.get("input", b""))
    if _SEALED not in listed:
        return None
    try:
        items = msgspec.json.decode(listed, type=list[Raw])
    except UNREADABLE:
        return None
    restored = [_restored(item) if _SEALED in bytes(item) else item for item in items]
    return Raw(msgspec.json.encode([item for item in restored if item is not None]))


def _restored(raw: Raw) -> Raw | None:
    item = as_object(msgspec.json.decode(raw))
    if item.get("type") != "reasoning" or not as_text(item.get("encrypted_content")).startswith(_SEAL):
        return raw
    own = write_item(read_item(item, "input"), stored=True)
    return None if own is None else Raw(msgspec.json.encode(own))


def _open(sealed: str) -> tuple[str | None, str | None, str | None]:
    try:
        signed_by, signature, redacted = _decode_proof(sealed.removeprefix(_SEAL))
    except UNREADABLE:
        return None, None, None
    return signed_by, signature, redacted


def _decode(signature: str | None) -> dict[str, Any]:
    try:
        return as_object(msgspec.json.decode(signature or "null"))
    except UNREADABLE:
        return {}
