"""The one error type that crosses every border of AIlink, and the table that gives each code its status.

A ``Failure`` never carries a secret: its message is for the caller. It knows nothing of any wire format;
a dialect writes it in its own shape.
"""

from typing import Any

# code -> (HTTP status, the kind that clients sort errors by)
CODES: dict[str, tuple[int, str]] = {
    "invalid_request": (400, "invalid_request_error"),
    "unsupported_parameter": (400, "invalid_request_error"),
    "context_length_exceeded": (400, "invalid_request_error"),
    "invalid_api_key": (401, "authentication_error"),
    "budget_exceeded": (402, "insufficient_quota"),
    "spend_cap_reached": (402, "insufficient_quota"),
    "quota_exceeded": (402, "insufficient_quota"),
    "policy_denied": (403, "permission_error"),
    "content_blocked": (403, "permission_error"),
    "approval_rejected": (403, "permission_error"),
    "not_found": (404, "not_found_error"),
    "model_not_found": (404, "not_found_error"),
    "method_not_allowed": (405, "invalid_request_error"),
    "approval_timeout": (408, "timeout_error"),
    "request_timeout": (408, "timeout_error"),
    "conflict": (409, "conflict_error"),
    "idempotency_conflict": (409, "conflict_error"),
    "outcome_unknown": (409, "conflict_error"),
    "payload_too_large": (413, "request_too_large"),
    "validation_error": (422, "invalid_request_error"),
    "rate_limit_exceeded": (429, "rate_limit_error"),
    "insufficient_quota": (429, "insufficient_quota"),
    "internal_error": (500, "api_error"),
    "upstream_failed": (502, "api_error"),
    "upstream_auth": (502, "api_error"),
    "credential_missing": (502, "api_error"),
    "all_upstreams_unavailable": (503, "overloaded_error"),
    "upstream_overloaded": (503, "overloaded_error"),
    "circuit_open": (503, "overloaded_error"),
    "spool_full": (503, "overloaded_error"),
    "upstream_timeout": (504, "timeout_error"),
    "client_closed": (499, "api_error"),
}

# What a second attempt, here or elsewhere, may cure.
RETRYABLE = frozenset(
    {
        "rate_limit_exceeded",
        "upstream_failed",
        "upstream_overloaded",
        "upstream_timeout",
        "circuit_open",
        "all_upstreams_unavailable",
        "spool_full",
    }
)


# Reasons of failures before anything was sent: whatever was asked, it had no effect and may be asked again.
UNSENT = frozenset({"name_not_found", "connect_failed", "tls_failed", "connect_timeout", "address_not_allowed",
                    "pool_timeout", "pool_full", "not_sent"})


IN_FLIGHT = "in_flight"  # the reason of what is refused only while the same request is under way


class Failure(Exception):
    """A call that cannot be answered as asked.

    Args:
        code: a key of ``CODES``; decides status and kind.
        message: what is wrong and the way out, for the caller.
        param: the field at fault, in the words of the caller's dialect.
        status: only where an upstream's status is kept instead of the code's own.
        retry_after: seconds until another attempt makes sense.
        reason, policy_name, details: as CONTRACT's error body has them.
        upstream_status: what the upstream answered, where it did.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        param: str | None = None,
        status: int | None = None,
        retry_after: float | None = None,
        reason: str | None = None,
        policy_name: str | None = None,
        details: Any = None,
        upstream_status: int | None = None,
    ) -> None:
        super().__init__(message)
        default, kind = CODES[code]
        self.code = code
        self.message = message
        self.param = param
        self.status = status or default
        self.kind = kind
        self.retry_after = retry_after
        self.reason = reason
        self.policy_name = policy_name
        self.details = details
        self.upstream_status = upstream_status

    @property
    def retryable(self) -> bool:
        """Whether another attempt may succeed."""
        return self.code in RETRYABLE or self.reason == IN_FLIGHT

    @property
    def unsent(self) -> bool:
        """Whether the upstream was never reached, so that even what must not happen twice may be tried again."""
        return self.reason in UNSENT

    def __repr__(self) -> str:
        return f"Failure({self.code!r}, {self.message!r})"
