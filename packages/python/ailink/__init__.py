"""Python client for the AIlink gateway.

Clients and models load when they are first used, so that importing the package stays cheap; nothing here
reads the environment or opens a connection.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ailink.exceptions import (
    AIlinkError,
    APIConnectionError,
    APITimeoutError,
    ApprovalTimeoutError,
    AuthenticationError,
    ConflictError,
    GatewayError,
    NotFoundError,
    PolicyDeniedError,
    RateLimitError,
    SpendCapError,
    ValidationError,
)

if TYPE_CHECKING:
    from ailink._async.client import AsyncClient
    from ailink._sync.client import AIlinkClient
    from ailink.models import ApprovalDecision, ApprovalRequest, AuditLog, Credential, Policy, Project, Token

__all__ = [
    "AIlinkClient",
    "AIlinkError",
    "APIConnectionError",
    "APITimeoutError",
    "ApprovalDecision",
    "ApprovalRequest",
    "ApprovalTimeoutError",
    "AsyncClient",
    "AuditLog",
    "AuthenticationError",
    "ConflictError",
    "Credential",
    "GatewayError",
    "NotFoundError",
    "Policy",
    "PolicyDeniedError",
    "Project",
    "RateLimitError",
    "SpendCapError",
    "Token",
    "ValidationError",
]

_MODULES = {
    "AIlinkClient": "ailink._sync.client",
    "AsyncClient": "ailink._async.client",
    "ApprovalDecision": "ailink.models",
    "ApprovalRequest": "ailink.models",
    "AuditLog": "ailink.models",
    "Credential": "ailink.models",
    "Policy": "ailink.models",
    "Project": "ailink.models",
    "Token": "ailink.models",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
