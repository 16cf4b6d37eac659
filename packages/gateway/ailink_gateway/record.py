"""The audit row of one call, and the mark that precedes it. Data only: who writes it where is the spool's affair."""

import re
from typing import Any

from msgspec import Struct
from msgspec.json import encode

# Bytes of JSON, so that a record fits into a line of the spool whatever a client or an upstream sends.
PATH_LIMIT = 1024
NAME_LIMIT = 256
LIST_LIMIT = 512
COUNT_LIMIT = 2**31 - 1  # tokens
COST_LIMIT = 10**15  # nano-dollars of one call, so that sums of costs can be stored whatever an upstream reports

_PLAIN = re.compile(r"[ !#-\[\]-~]*")


class Opened(Struct, tag="opened"):
    """Written before the upstream is called, so that a crash in between is found. Times are Unix seconds.

    ``held_nano`` is what a budget holds for the call, in nano-dollars. A second one of the same id takes the place of
    the first.
    """

    id: str
    created_at: float
    token_id: str | None
    project_id: str | None
    method: str
    path: str
    operation: str
    model: str | None
    provider: str | None
    held_nano: int | None = None


class Record(Struct, tag="record", omit_defaults=True):
    """One call, answered or not. Times are Unix seconds, latencies milliseconds, cost nano-dollars, None what is
    unknown.

    ``policy_result`` is what policies decided, ``shadow_violations`` what those in shadow mode would have; ``span_id``
    is the gateway's own span in the caller's trace. ``chain``, ``chain_sequence`` and ``chain_code`` (hex) are the
    journal's to set. What is None is not written, so that a field that comes later changes no code of an earlier row:
    give a new field the default None.

    ``outcome`` is answered (a whole reply), failed, cancelled (the client left) or unknown (the gateway died
    meanwhile). ``status`` is what the client got, ``upstream_status`` what the upstream said.
    """

    id: str
    request_id: str
    created_at: float
    finished_at: float | None
    token_id: str | None
    project_id: str | None
    method: str
    path: str
    operation: str
    dialect: str | None
    status: int | None
    upstream_status: int | None
    response_latency_ms: float | None
    first_byte_ms: float | None
    agent_name: str | None
    session_id: str | None
    parent_span_id: str | None
    model: str | None
    requested_model: str | None
    provider: str | None
    upstream: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    usage_estimated: bool
    cost_nano: int | None
    cache_hit: bool
    is_streaming: bool
    finish_reason: str | None
    error_code: str | None
    outcome: str
    attempts: int
    policy_result: str | None = None
    policy_name: str | None = None
    shadow_violations: list[Any] | None = None
    tags: dict[str, str] | None = None
    service: str | None = None
    approval_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    chain: str | None = None
    chain_sequence: int | None = None
    chain_code: str | None = None


FLAGS = tuple(name for name, kind in Record.__annotations__.items() if kind is bool)


def capped(text: str, limit: int) -> str:
    """Return ``text`` without control characters, cut so that it takes at most ``limit`` bytes of JSON."""
    if is_plain(text, limit):
        return text
    shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:limit])
    while len(encode(shown)) - len('""') > limit:
        shown = shown[: len(shown) * 7 // 8]
    return shown


def is_plain(text: str, limit: int) -> bool:
    """Whether ``text`` takes at most ``limit`` bytes of JSON as it is: it is short, and holds what is not escaped."""
    return len(text) <= limit and _PLAIN.fullmatch(text) is not None


def capped_list(entries: list[Any]) -> list[Any] | None:
    """Return the first entries that take at most ``LIST_LIMIT`` bytes of JSON together; None for no entry."""
    kept: list[Any] = []
    size = 0
    for entry in entries:
        size += len(encode(entry)) + 1
        if size > LIST_LIMIT:
            break
        kept.append(entry)
    return kept or None


def unknown(opened: Opened, now: float) -> Record:
    """Return the row of a call whose end nobody saw. It counts for what was held, as it may have cost that."""
    return Record(
        id=opened.id,
        request_id=opened.id,
        created_at=opened.created_at,
        finished_at=now,
        token_id=opened.token_id,
        project_id=opened.project_id,
        method=opened.method,
        path=opened.path,
        operation=opened.operation,
        dialect=None,
        status=None,
        upstream_status=None,
        response_latency_ms=None,
        first_byte_ms=None,
        agent_name=None,
        session_id=None,
        parent_span_id=None,
        model=opened.model,
        requested_model=opened.model,
        provider=opened.provider,
        upstream=None,
        prompt_tokens=None,
        completion_tokens=None,
        cache_read_tokens=None,
        cache_write_tokens=None,
        reasoning_tokens=None,
        usage_estimated=True,
        cost_nano=None if opened.held_nano is None else min(opened.held_nano, COST_LIMIT),
        cache_hit=False,
        is_streaming=False,
        finish_reason=None,
        error_code="outcome_unknown",
        outcome="unknown",
        attempts=1,
    )
