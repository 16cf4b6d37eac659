"""What can go wrong between a caller and the gateway: one class for each thing a caller would do about it.

Errors of an API behind the gateway are not here: they come back as responses, untouched. No error ever holds
a key in its message.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx2


class AIlinkError(Exception):
    """The base of every error that this package raises about a call.

    Attributes:
        message: what is wrong and what to do about it, in the gateway's words where it answered.
        status_code: the HTTP status; None when there was no answer.
        code: the gateway's name for what happened, such as ``policy_denied``.
        request_id: what to quote when asking the gateway's operator.
        param: the field at fault, where one is.
        details: more about it, as the gateway sent it (the fields that failed validation, for one).
        retry_after: seconds after which another attempt makes sense, where the gateway said so.
        response: the whole answer; None when there was none.
    """

    def __init__(
        self, message: str, *, status_code: int | None = None, code: str | None = None,
        request_id: str | None = None, param: str | None = None, details: Any = None,
        retry_after: float | None = None, response: "httpx2.Response | None" = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status_code = status_code
        self.code = code
        self.request_id = request_id
        self.param = param
        self.details = details
        self.retry_after = retry_after
        self.response = response


class APIConnectionError(AIlinkError):
    """No answer came: the gateway could not be reached, or the connection broke."""


class APITimeoutError(APIConnectionError):
    """No answer came in time. Whether a write took effect is not known."""


class ValidationError(AIlinkError):
    """400 or 422: the request is not one that can be carried out. ``param`` and ``details`` say where."""


class AuthenticationError(AIlinkError):
    """401: the key is missing, unknown, revoked or of the wrong kind."""


class PolicyDeniedError(AIlinkError):
    """403: a rule of the gateway forbids the call.

    Attributes:
        policy_name: the policy that decided, where one did.
        reason: why, such as ``method_not_allowed``; the error's ``code`` when the gateway gives no other.
    """

    def __init__(
        self, message: str, *, policy_name: str | None = None, reason: str | None = None, **context: Any
    ) -> None:
        super().__init__(message, **context)
        self.policy_name = policy_name
        self.reason = reason or self.code


class RateLimitError(PolicyDeniedError):
    """429: too many calls. ``retry_after`` says when there is room again."""


class SpendCapError(PolicyDeniedError):
    """402: a budget, spend cap or quota has no room for this call."""


class NotFoundError(AIlinkError):
    """404: there is no such thing, or it is not the caller's to see."""


class ConflictError(AIlinkError):
    """409: it clashes with what is there already, or with a call still under way."""


class ApprovalTimeoutError(AIlinkError):
    """Nobody decided on an approval in time.

    Attributes:
        timeout: how long was waited, in seconds; None where the gateway does not say.
    """

    def __init__(self, message: str, *, timeout: float | None = None, **context: Any) -> None:
        super().__init__(message, **context)
        self.timeout = timeout


class GatewayError(AIlinkError):
    """5xx: the gateway, or the upstream it called, failed; or what answered does not speak like a gateway."""
