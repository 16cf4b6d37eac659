"""Adding to a conversation's system message, or making one; a text completion has its prompt alone."""

from typing import Any

from ailink_provider.dialects.members import invalid

_ROLES = ("system", "developer")


def instruct(body: dict[str, Any], text: str, first: bool) -> str | None:
    """See ``Dialect.instruct``."""
    messages = body.get("messages")
    if isinstance(messages, list):
        for message in messages:
            if isinstance(message, dict) and message.get("role") in _ROLES:
                message["content"] = _joined(message.get("content"), text, first)
                return "messages"
        messages.insert(0, {"role": "system", "content": text})
        return "messages"
    if "prompt" not in body:
        return None
    prompt = body["prompt"]
    if isinstance(prompt, str):
        body["prompt"] = f"{text}\n\n{prompt}"
    elif isinstance(prompt, list) and prompt and all(isinstance(entry, str) for entry in prompt):
        body["prompt"] = [f"{text}\n\n{entry}" for entry in prompt]
    else:
        raise invalid("prompt", "must be a text: instructions cannot be added to tokens")
    return "prompt"


def _joined(content: Any, text: str, first: bool) -> Any:
    if isinstance(content, list):
        part = {"type": "text", "text": text}
        return [part, *content] if first else [*content, part]
    if not isinstance(content, str) or not content:
        return text
    return f"{text}\n\n{content}" if first else f"{content}\n\n{text}"
