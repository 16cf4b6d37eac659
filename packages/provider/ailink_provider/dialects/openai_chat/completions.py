"""The operation "completions": ``POST /completions``, text from text, as it was before chat.

For other dialects a prompt is a conversation of one user message. Several prompts in one request, and prompts given as
token ids, have no canonical form: only a target of this dialect answers them.
"""

from typing import Any

from msgspec import Raw

from ailink_provider.catalog import Facts
from ailink_provider.chat import Chat, Choice, Finish, Message, MessageStart, Refusal, Reply, Text, TokenLogprob
from ailink_provider.dialects import Sent
from ailink_provider.dialects.members import as_object, as_objects, as_text, invalid, optional, unsupported
from ailink_provider.dialects.openai_chat import replies, requests
from ailink_provider.dialects.openai_chat.chat import ChatCompletions, amend_stream
from ailink_provider.dialects.openai_chat.draft import Draft
from ailink_provider.dialects.openai_chat.streams import ChatReader, ChatWriter
from ailink_provider.dialects.openai_chat.usage import write_usage
from ailink_provider.dialects.openai_chat.words import NAME

_READ = frozenset({*requests.PLAIN, "model", "prompt", "max_tokens", "stop", "n", "user", "metadata", "stream"})
_FINISH_WORDS = {"length": "length", "content_filter": "content_filter"}


class TextCompletions(ChatCompletions):
    """Asks for the text that follows a prompt. See ``Operation`` for what each method promises."""

    name = "completions"

    def path(self, model: str, stream: bool) -> str:
        """Return the path below the base URL."""
        return "/completions"

    def read_request(self, body: dict[str, Any], model: str | None = None, stream: bool | None = None) -> Chat:
        """Return the canonical chat. Raises ``Failure`` on anything malformed."""
        chat = Chat(requests.read_model(body, model), [Message("user", [Text(_read_prompt(body))])], dialect=NAME)
        count = optional(body, "logprobs", int)
        requests.read_common(chat, {key: value for key, value in body.items() if key != "logprobs"}, stream)
        chat.max_tokens = optional(body, "max_tokens", int)
        if count is not None:
            chat.logprobs, chat.top_logprobs = True, count
        requests.keep_extras(chat, body, _READ)
        return chat

    def write_request(self, request: Chat, facts: Facts) -> Sent:
        """Return the body for a model with these facts."""
        draft = Draft(request, facts)
        body: dict[str, Any] = {"model": request.model, "prompt": _write_prompt(request)}
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
        body |= requests.write_common(draft, facts)
        body.pop("top_logprobs", None)
        if body.pop("logprobs", False):
            body["logprobs"] = request.top_logprobs or 0
        for name in ("metadata", "service_tier"):
            if body.pop(name, None) is not None:
                draft.lose(name, "text completions have no such field")
        for name in ("tools", "output", "reasoning"):
            if getattr(request, name):
                raise unsupported(name, "cannot be asked of a model that only completes text")
        requests.write_extras(draft, body, frozenset())
        return Sent(body, draft.losses)

    def read_reply(self, body: dict[str, Any], sent: Sent) -> Reply:
        """Return the canonical reply."""
        choices = [choice | {"message": {"content": choice.get("text")}, "logprobs": _chat_logprobs(choice)}
                   for choice in as_objects(as_object(body).get("choices"))]
        return replies.read_reply(as_object(body) | {"choices": choices}, sent)

    def write_reply(self, reply: Reply, request: Chat) -> dict[str, Any]:
        """Return the client's body."""
        usage = {"usage": write_usage(reply.usage)} if reply.usage is not None else {}
        return replies.head(reply.id, reply.model or request.model, reply.created, "text_completion", "cmpl") | {
            "choices": [_write_choice(choice, index) for index, choice in enumerate(reply.choices)]} | usage

    def reader(self, sent: Sent) -> "TextReader":
        """Return a fresh reader of a stream."""
        return TextReader(sent)

    def writer(self, request: Chat, request_id: str = "") -> "TextWriter":
        """Return a fresh writer of a stream."""
        return TextWriter(request, request_id)

    def amend(self, body: dict[str, Raw], model: str, facts: Facts) -> None:
        """Set the model, and have usage reported, in place. Here the token limit has one name for all models."""
        amend_stream(body, model)


class TextReader(ChatReader):
    """Reads a stream of ``text_completion``."""

    may_be_ordinary = False

    def delta(self, choice: dict[str, Any]) -> dict[str, Any]:
        """Return the text that a choice adds, as a chat's delta."""
        return {"content": choice.get("text")}

    def logprobs(self, choice: dict[str, Any]) -> Any:
        """Return a choice's log-probabilities in the chat's form."""
        return _chat_logprobs(choice)


class TextWriter(ChatWriter):
    """Writes a stream of ``text_completion``: of a reply only what it says."""

    def opening(self, start: MessageStart) -> dict[str, Any]:
        """Return the members every chunk starts with."""
        return replies.head(start.id, start.model or self.model, start.created, "text_completion", "cmpl")

    def choice(self, number: int, delta: dict[str, Any], logprobs: list[TokenLogprob] | None,
               finish: dict[str, Any]) -> dict[str, Any] | None:
        """Return the choice of a chunk, None where there is nothing to say."""
        text = (delta.get("content") or "") + (delta.get("refusal") or "")
        word = _finish_word(finish["finish_reason"])
        if not (text or word or logprobs):
            return None
        return {"index": number, "text": text, "logprobs": _write_logprobs(logprobs), "finish_reason": word}


def _read_prompt(body: dict[str, Any]) -> str:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, list) and all(isinstance(entry, str | int | list) for entry in prompt):
        raise unsupported("prompt", "must be one text here: several prompts, or token ids, cannot be translated")
    raise invalid("prompt", "is required and must be a string or a list with one string")


def _write_prompt(chat: Chat) -> str:
    parts = [part for message in chat.messages for part in message.parts]
    if len(chat.messages) != 1 or chat.messages[0].role != "user" or not all(isinstance(part, Text) for part in parts):
        raise unsupported("messages", "must be one user message of text for a model that only completes text")
    return "".join(part.text for part in parts if isinstance(part, Text))


def _finish_word(word: str | None) -> str | None:
    return _FINISH_WORDS.get(word, "stop") if word else None


def _write_choice(choice: Choice, index: int) -> dict[str, Any]:
    finish = choice.finish or Finish("stop")
    text = "".join(part.text for part in choice.parts if isinstance(part, Text | Refusal))
    return {"index": index, "text": text, "logprobs": _write_logprobs(choice.logprobs),
            "finish_reason": _finish_word(finish.reason)}


def _write_logprobs(logprobs: list[TokenLogprob] | None) -> dict[str, Any] | None:
    if logprobs is None:
        return None
    offsets = [0]
    for entry in logprobs:
        offsets.append(offsets[-1] + len(entry.token))
    return {"tokens": [entry.token for entry in logprobs], "token_logprobs": [entry.logprob for entry in logprobs],
            "top_logprobs": [{rival.token: rival.logprob for rival in entry.top} for entry in logprobs],
            "text_offset": offsets[:-1]}


def _chat_logprobs(choice: dict[str, Any]) -> dict[str, Any] | None:
    """Return the log-probabilities of a choice in the chat's form: one object a token, not one list a property."""
    columns = as_object(choice.get("logprobs"))
    tokens = columns.get("tokens")
    if not isinstance(tokens, list):
        return None
    numbers, rivals = _column(columns, "token_logprobs"), _column(columns, "top_logprobs")
    return {"content": [{
        "token": as_text(token), "logprob": numbers[row] if row < len(numbers) else None,
        "top_logprobs": [{"token": rival, "logprob": number} for rival, number in
                         as_object(rivals[row] if row < len(rivals) else None).items()],
    } for row, token in enumerate(tokens)]}


def _column(columns: dict[str, Any], name: str) -> list[Any]:
    value = columns.get(name)
    return value if isinstance(value, list) else []
