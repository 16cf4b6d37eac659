"""What became of an approval, and the answer that it is for whoever waited. Nothing here sends anything."""

import asyncio
import base64
import json
import threading
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, cast

import httpx2

from ailink.exceptions import AIlinkError
from ailink.models import ApprovalRequest

LONGEST_POLL = 25  # seconds that the gateway holds one question
PAUSE = 1.0  # seconds between questions when the gateway cannot be reached, or does not hold them
SETTLED = frozenset({"done", "failed", "unknown"})
OUTCOMES = frozenset({"approval_rejected", "approval_timeout"})
# What described the answer's way to the gateway, and no longer fits the bytes that it kept.
FRAMING = frozenset({"content-encoding", "content-length", "transfer-encoding"})


@dataclass(frozen=True)
class ApprovalResult:
    """What a human decided.

    Attributes:
        id: the approval's.
        approved: whether the call was let through.
        reason: the words of whoever decided, if any.
        response: what the call was answered; None if it was not sent, or its outcome is not known.
        execution: how far the call came: "none", "done", "failed", or "unknown" when the gateway died over it.
    """

    id: str
    approved: bool
    reason: str | None
    response: httpx2.Response | None
    execution: str

    def __await__(self) -> Generator[None, None, "ApprovalResult"]:
        yield from ()
        return self


class Waiting:
    """An ``ApprovalResult`` to be: await it, and the event loop goes on meanwhile; to read it blocks."""

    def __init__(self, call: Callable[[], ApprovalResult]) -> None:
        self._call = call
        self._known: ApprovalResult | None = None

    def __await__(self) -> Generator[Any, None, ApprovalResult]:
        return asyncio.wrap_future(self._started()).__await__()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._result(), name)

    def _started(self) -> Future[ApprovalResult]:
        """The result to be, from a thread that ends with the program: one of the event loop's would hold that up, for
        as long as was to be waited, after its caller has given up."""
        outcome: Future[ApprovalResult] = Future()
        outcome.set_running_or_notify_cancel()

        def settle() -> None:
            try:
                outcome.set_result(self._result())
            except Exception as error:  # noqa: BLE001 - whoever awaits it is told
                outcome.set_exception(error)

        threading.Thread(target=copy_context().run, args=(settle,), name="ailink-approval", daemon=True).start()
        return outcome

    def _result(self) -> ApprovalResult:
        if self._known is None:
            self._known = self._call()
        return self._known


async def finish_async(call: Callable[[], Awaitable[ApprovalResult]]) -> ApprovalResult:
    """The asynchronous client's way to wait."""
    return await call()


def finish_sync(call: Callable[[], ApprovalResult]) -> ApprovalResult:
    """The synchronous client's: it blocks, except within a running event loop, which would stand still."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call()
    return cast(ApprovalResult, Waiting(call))  # it reads like one


def is_settled(approval: ApprovalRequest) -> bool:
    """Whether nothing more will come of it."""
    return approval.status in ("rejected", "expired") or (approval.status == "approved" and
                                                          approval.execution in SETTLED)


def result_of(approval: ApprovalRequest) -> ApprovalResult:
    """What a settled approval came to."""
    return ApprovalResult(
        id=approval.id, approved=approval.status == "approved", reason=approval.reason,
        response=_response(approval.response) if approval.response else None, execution=approval.execution or "none",
    )


def pending_id(response: httpx2.Response) -> str | None:
    """The id of the approval that a call waits for, if that is what its answer says."""
    if response.status_code != 202 or "/api/v1/approvals/" not in response.headers.get("Location", ""):
        return None
    return response.headers["Location"].partition("?")[0].rpartition("/")[2] or None


def refused(code: str, status_code: int, message: str, request: httpx2.Request | None) -> httpx2.Response:
    """The answer of a call that was not let through, in the gateway's own words for it."""
    error = {"message": message, "type": "permission_error", "code": code, "param": None}
    return httpx2.Response(
        status_code, json={"error": error, "detail": message}, headers={"X-AILink-Error": code}, request=request,
    )


def returned(error: AIlinkError) -> httpx2.Response | None:
    """The answer that ``error`` was raised for, if it is what a human decided, or did not."""
    return error.response if error.code in OUTCOMES else None


def _response(kept: dict[str, Any]) -> httpx2.Response:
    body = kept.get("body")
    if isinstance(body, str):
        content = base64.b64decode(body) if kept.get("encoding") == "base64" else body.encode()
    else:
        content = b"" if body is None else json.dumps(body).encode()
    given = kept.get("headers") or {}
    pairs = given.items() if isinstance(given, dict) else given
    headers = [(name, value) for name, value in pairs if name.lower() not in FRAMING]
    return httpx2.Response(kept["status_code"], headers=headers, content=content)
