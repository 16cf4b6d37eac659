"""How answers are read: into models when they are good, into errors when they are not.

Only the gateway's own errors are recognised here; what a proxied API answers is never judged.
"""

from typing import Any, TypeVar

import httpx2
import pydantic

from ailink._retry import retry_after
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
from ailink.models import Model

M = TypeVar("M", bound=Model)

ERROR_HEADER = "X-AILink-Error"

STATUSES: dict[int, type[AIlinkError]] = {
    400: ValidationError,
    401: AuthenticationError,
    402: SpendCapError,
    403: PolicyDeniedError,
    404: NotFoundError,
    409: ConflictError,
    422: ValidationError,
    429: RateLimitError,
}
CODES: dict[str | None, type[AIlinkError]] = {"approval_timeout": ApprovalTimeoutError}


def is_gateway_error(response: httpx2.Response) -> bool:
    """Whether the gateway itself refused, rather than the API behind it (whose headers of ours it drops)."""
    return response.is_error and ERROR_HEADER in response.headers


def error_from(response: httpx2.Response) -> AIlinkError:
    """The error that an answer stands for, whoever wrote it and in whichever dialect's shape."""
    body = _json_object(response)
    found = body.get("error")
    error: dict[str, Any] = found if isinstance(found, dict) else {}
    status = response.status_code
    code = response.headers.get(ERROR_HEADER) or _text(error.get("code"))
    kind = CODES.get(code) or STATUSES.get(status) or (GatewayError if status >= 500 else AIlinkError)
    details = error.get("details")
    context: dict[str, Any] = {
        "status_code": status,
        "code": code,
        "request_id": _text(error.get("request_id")) or response.headers.get("X-Request-ID"),
        "param": _text(error.get("param")),
        "details": details,
        "retry_after": retry_after(response.headers),
        "response": response,
    }
    if issubclass(kind, PolicyDeniedError):
        context |= {"policy_name": _text(error.get("policy_name")), "reason": _text(error.get("reason"))}
    if issubclass(kind, ApprovalTimeoutError):
        waited = details.get("timeout") if isinstance(details, dict) else None
        context["timeout"] = waited if isinstance(waited, int | float) else None
    return kind(_text(error.get("message")) or _text(body.get("detail")) or _describe(response), **context)


def connection_error(error: httpx2.RequestError, gateway_url: str) -> APIConnectionError:
    """The error for a call that brought no answer."""
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx2.TimeoutException):
        return APITimeoutError(f"the gateway at {gateway_url} did not answer in time ({reason})")
    return APIConnectionError(f"the gateway at {gateway_url} cannot be reached ({reason})")


def item_from(response: httpx2.Response, model: type[M]) -> M:
    """The one thing an answer holds. Raises ``GatewayError`` if it does not."""
    return _read(response, model, _json_object(response))


def items_from(response: httpx2.Response, model: type[M]) -> list[M]:
    """The things a list holds. Raises ``GatewayError`` if it is not one."""
    items = _json_object(response).get("data")
    if not isinstance(items, list):
        raise _unreadable(response, f"a list of {model.__name__}")
    return [_read(response, model, item) for item in items]


def _read(response: httpx2.Response, model: type[M], value: Any) -> M:
    try:
        return model.model_validate(value)
    except pydantic.ValidationError as error:
        raise _unreadable(response, model.__name__) from error


def _unreadable(response: httpx2.Response, wanted: str) -> GatewayError:
    return GatewayError(
        f"{_describe(response)} with something that is not {wanted}: is gateway_url an AIlink gateway's?",
        status_code=response.status_code, request_id=response.headers.get("X-Request-ID"), response=response,
    )


def _describe(response: httpx2.Response) -> str:
    request = response.request
    said = f"{request.method} {request.url.copy_with(query=None)} was answered {response.status_code}"
    if response.has_redirect_location:
        return f"{said}, a redirect to {response.headers['Location']}: set gateway_url to where the gateway really is"
    return said


def _json_object(response: httpx2.Response) -> dict[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
