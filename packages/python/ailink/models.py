"""What the management API answers with, as pydantic models.

Fields that a newer gateway adds are kept. A model can be read like a mapping too (``token["token_id"]``).
Printing one never shows a secret; ``model_dump`` does, for that is how a new token is stored.
"""

import re
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

SECRET_NAMES = frozenset({"secret", "api_key"})
SECRET_TEXT = re.compile(r"\b(?:ailink_(?:v1|admin)_|sk[-_])\w[\w.-]*")
HIDDEN = "**********"


def hide_secrets(value: Any, name: Any = None) -> Any:
    """``value`` as it may be shown: keys and what is stored under a secret's ``name`` are starred out."""
    match value:
        case _ if value and name in SECRET_NAMES:
            return HIDDEN
        case str():
            return SECRET_TEXT.sub(HIDDEN, value)
        case dict():
            return {key: hide_secrets(item, key) for key, item in value.items()}
        case list():
            return [hide_secrets(item) for item in value]
    return value


class Model(BaseModel):
    """Something the gateway keeps. Unknown fields are kept as they came."""

    model_config = ConfigDict(
        extra="allow", coerce_numbers_to_str=True, defer_build=True, hide_input_in_errors=True,
    )

    def __getitem__(self, name: str) -> Any:
        """The field ``name``. Raises ``KeyError`` if the gateway sent none and the model knows none."""
        if name in type(self).model_fields:
            return getattr(self, name)
        return (self.model_extra or {})[name]

    def __contains__(self, name: object) -> bool:
        return name in type(self).model_fields or name in (self.model_extra or {})

    def get(self, name: str, default: Any = None) -> Any:
        """The field ``name``, or ``default`` where there is no such field."""
        try:
            return self[name]
        except KeyError:
            return default

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [(name, hide_secrets(value, name)) for name, value in super().__repr_args__()]


class Project(Model):
    """A space of its own for tokens, credentials, policies and services."""

    id: str
    name: str
    created_at: datetime | None = None


class Token(Model):
    """A virtual key that an agent holds. ``token_id`` is the whole secret, there once: when the token is
    created or rotated. ``id`` is its public name."""

    id: str
    name: str
    token_id: str | None = None
    project_id: str | None = None
    credential_id: str | None = None
    upstream_url: str | None = None
    is_active: bool = True
    policy_ids: list[str] = []
    scopes: list[str] = []
    created_at: datetime | None = None


class Credential(Model):
    """An upstream's secret, which the gateway keeps and never gives back."""

    id: str
    name: str
    provider: str | None = None
    project_id: str | None = None
    created_at: datetime | None = None


class Policy(Model):
    """Rules that calls are held to. ``mode`` is "enforce" or "shadow", ``phase`` "pre" or "post"."""

    id: str
    name: str
    mode: str = "enforce"
    phase: str = "pre"
    rules: list[dict[str, Any]] = []
    retry: dict[str, Any] | None = None


class Service(Model):
    """An API that is called by name. ``service_type`` is "generic" or "llm"."""

    id: str
    name: str
    base_url: str
    description: str = ""
    service_type: str = "generic"
    credential_id: str | None = None
    is_active: bool = True
    created_at: datetime | None = None


class Spend(Model):
    """What was spent in the current day, month and ever, and what may be, in US dollars; None is no limit."""

    daily_limit_usd: float | None = None
    monthly_limit_usd: float | None = None
    lifetime_limit_usd: float | None = None
    current_daily_usd: float = 0
    current_monthly_usd: float = 0
    current_lifetime_usd: float = 0


class Price(Model):
    """What a model costs, in US dollars per million tokens."""

    id: str
    provider: str
    model: str


class Session(Model):
    """Calls made in one session."""

    id: str


class AdminKey(Model):
    """A key that manages the gateway, as far as its ``scopes`` go. ``key`` is the whole secret, there once: when the
    key is created or rotated."""

    id: str
    name: str
    scopes: list[str] = []
    key: str | None = None


class AuditLog(Model):
    """One call, as it was recorded. ``upstream_status`` is None when nothing was sent upstream; ``cost_usd`` is
    in US dollars, ``response_latency_ms`` in milliseconds."""

    id: str
    request_id: str | None = None
    created_at: datetime | None = None
    token_id: str | None = None
    project_id: str | None = None
    method: str | None = None
    path: str | None = None
    upstream_status: int | None = None
    response_latency_ms: float | None = None
    agent_name: str | None = None
    session_id: str | None = None
    parent_span_id: str | None = None
    model: str | None = None
    provider: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cost_usd: float | None = None
    policy_result: Any = None
    shadow_violations: Any = None
    cache_hit: bool | None = None
    is_streaming: bool | None = None
    finish_reason: str | None = None
    error_code: str | None = None


class ApprovalRequest(Model):
    """A call that waits for a human. ``status`` is "pending", "approved", "rejected" or "expired"; ``execution``
    is how far the approved call has come: "none", "running", "done", "failed" or "unknown"."""

    id: str
    token_id: str | None = None
    status: str
    execution: str | None = None
    reason: str | None = None
    request_summary: dict[str, Any] = {}
    expires_at: datetime | None = None
    response: dict[str, Any] | None = None


class ApprovalDecision(Model):
    """What came of deciding on an approval. ``updated`` is False when it had been decided the same way before."""

    id: str
    status: str
    updated: bool | None = None
