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
    from ailink._approvals import ApprovalResult
    from ailink._async.client import AsyncClient
    from ailink._sync.client import AIlinkClient
    from ailink.health import AsyncHealthPoller, HealthPoller
    from ailink.models import (
        AdminKey,
        ApprovalDecision,
        ApprovalRequest,
        AuditLog,
        Credential,
        Policy,
        Price,
        Project,
        Service,
        Session,
        Spend,
        Token,
    )

__all__ = [
    "AIlinkClient",
    "AIlinkError",
    "APIConnectionError",
    "APITimeoutError",
    "AdminKey",
    "ApprovalDecision",
    "ApprovalRequest",
    "ApprovalResult",
    "ApprovalTimeoutError",
    "AsyncClient",
    "AsyncHealthPoller",
    "AuditLog",
    "AuthenticationError",
    "ConflictError",
    "Credential",
    "GatewayError",
    "HealthPoller",
    "NotFoundError",
    "Policy",
    "PolicyDeniedError",
    "Price",
    "Project",
    "RateLimitError",
    "Service",
    "Session",
    "Spend",
    "SpendCapError",
    "Token",
    "ValidationError",
]

_MODULES = {
    "AIlinkClient": "ailink._sync.client",
    "AdminKey": "ailink.models",
    "ApprovalDecision": "ailink.models",
    "ApprovalRequest": "ailink.models",
    "ApprovalResult": "ailink._approvals",
    "AsyncClient": "ailink._async.client",
    "AsyncHealthPoller": "ailink.health",
    "AuditLog": "ailink.models",
    "Credential": "ailink.models",
    "HealthPoller": "ailink.health",
    "Policy": "ailink.models",
    "Price": "ailink.models",
    "Project": "ailink.models",
    "Service": "ailink.models",
    "Session": "ailink.models",
    "Spend": "ailink.models",
    "Token": "ailink.models",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
