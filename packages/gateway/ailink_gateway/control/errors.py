"""Refusals: one JSON body for every failure, whoever raised it. Never quotes the body of a request."""

import logging
import math
from collections.abc import Sequence
from difflib import get_close_matches
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.routing import Route

from ailink_provider.errors import Failure

logger = logging.getLogger("ailink.control")

_FIELDS_LISTED = 20
_LONGEST_COMPARED = 256
_CLOSE = 0.8
_CODE_OF_STATUS = {400: "invalid_request", 404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}


class FieldError(BaseModel):
    """What is wrong with one field."""

    field: str = Field(examples=["circuit_breaker.failure_threshold"])
    message: str = Field(examples=["Input should be greater than or equal to 1"])


class Error(BaseModel):
    """What went wrong."""

    message: str = Field(description="What is wrong, and the way out.", examples=["There is no token 'tok_...'."])
    type: str = Field(description="The kind that clients sort errors by.", examples=["not_found_error"])
    code: str = Field(description="What exactly; also in the header X-AILink-Error.", examples=["not_found"])
    param: str | None = Field(description="The field at fault.", examples=["id"])
    request_id: str = Field(description="Also in the header X-Request-ID.", examples=["req_9f1c2ab47c6e05d1b33a80e4"])
    reason: str | None = Field(None, description="Why a permission is lacking.")
    details: list[FieldError] | None = Field(None, description="Every field at fault, for validation errors.")


class ErrorBody(BaseModel):
    """The body of every refusal."""

    error: Error
    detail: str = Field(description="The message once more, for clients that look here.")


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return how OpenAPI documents the refusals that routes share, and those with the given statuses."""
    all_of_them = (400, 401, 403, 422, *statuses)
    return {status: {"model": ErrorBody, "description": HTTPStatus(status).phrase} for status in all_of_them}


def answer(failure: Failure, request_id: str) -> JSONResponse:
    """Return the response that tells the client of a failure; one of the gateway's own is logged."""
    if failure.status >= 500:
        logger.error("%s: %s", request_id, failure.message, exc_info=failure)
    details = failure.details
    if failure.code == "validation_error" and details is None:
        details = [{"field": failure.param, "message": failure.message}]
    known = {"policy_name": failure.policy_name, "reason": failure.reason, "details": details}
    error = {
        "message": failure.message, "type": failure.kind, "code": failure.code, "param": failure.param,
        "request_id": request_id, **{name: value for name, value in known.items() if value is not None},
    }
    headers = {"X-AILink-Error": failure.code, "X-Request-ID": request_id}
    if failure.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(failure.retry_after)))
    elif not failure.retryable:
        headers["X-Should-Retry"] = "false"
    return JSONResponse({"error": error, "detail": failure.message}, failure.status, headers)


def install(app: FastAPI) -> None:
    """Have every failure of ``app`` answered here."""
    app.exception_handler(Failure)(_failure)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(HTTPException)(_of_framework)
    app.exception_handler(Exception)(_unexpected)


async def _failure(request: Request, error: Failure) -> JSONResponse:
    return answer(error, request.state.request_id)


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    return answer(_read_validation(error.errors()), request.state.request_id)


async def _of_framework(request: Request, error: HTTPException) -> JSONResponse:
    code = _CODE_OF_STATUS.get(error.status_code, "invalid_request" if error.status_code < 500 else "internal_error")
    headers = dict(error.headers or {})
    if error.status_code == 405:  # the framework names the methods of one route, and a path may have several
        headers["Allow"] = ", ".join(_methods(request))
        message = f"{request.method} is not possible here: use {headers['Allow']}."
    elif error.status_code == 404:
        message = f"There is nothing at {request.url.path}.{_nearest(request)}"
    else:
        message = f"{error.detail}."
    failure = Failure(code, message, status=error.status_code)
    response = answer(failure, request.state.request_id)
    response.headers.update(headers)
    return response


def _methods(request: Request) -> list[str]:
    """Return the methods that are possible where a request went."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    return sorted({
        method for route in routes if route.path_regex.match(request.scope["path"]) for method in route.methods or ()
    })


def _nearest(request: Request) -> str:
    """Return a sentence on the path that was probably meant, "" if none is close."""
    path = request.scope["path"].rstrip("/")
    if len(path) > _LONGEST_COMPARED:
        return ""
    asked = path.split("/")
    known = set()
    for route in request.app.routes:
        segments = route.path.split("/") if isinstance(route, Route) else []
        if len(segments) == len(asked):  # ids are taken as they are
            segments = [own if named.startswith("{") else named for named, own in zip(segments, asked, strict=True)]
        known.add("/".join(segments))
    close = get_close_matches(path, sorted(known), n=1, cutoff=_CLOSE)
    return f" Did you mean {close[0]}?" if close else ""


async def _unexpected(request: Request, _error: Exception) -> JSONResponse:
    # The server logs the exception, as it is raised again after this.
    failure = Failure("internal_error", "The gateway failed to handle this request; its log says why.")
    return answer(failure, request.state.request_id)


def _read_validation(errors: Sequence[Any]) -> Failure:
    first = errors[0]
    if first["type"] == "json_invalid":
        return Failure("invalid_request", f"The body is not valid JSON: {first['ctx']['error']}.", param="body")
    details = [
        {"field": ".".join(map(str, error["loc"][1:]))[:256] or str(error["loc"][0]), "message": error["msg"]}
        for error in errors[:_FIELDS_LISTED]
    ]
    if details[0]["field"] == "body":
        details[0]["message"] += "; send a JSON object with Content-Type: application/json"
    listed = "; ".join(f"{detail['field']}: {detail['message']}" for detail in details)
    message = f"The request is not valid. {listed.removesuffix('.')}."
    return Failure("validation_error", message, param=details[0]["field"], details=details)
