"""The approver's page: a signed link shows a request, an approver signs in once, a POST decides.

A link alone decides nothing, and a GET never does. The sign-in is a cookie that names the key and is signed; it ends
with the key, or after some hours, and a form counts only with a code that is bound to both.
"""

import hmac
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from ailink_gateway.approval import Approval, CanonicalRequest
from ailink_gateway.control.approver_page import HEADERS, Visitor, refusal_page, request_page
from ailink_gateway.control.authentication import Principal
from ailink_gateway.control.context import Context, Given
from ailink_gateway.control.resource import operation_id
from ailink_gateway.control.scopes import allows
from ailink_gateway.links import PAGE
from ailink_gateway.vault import APPROVER_SESSIONS
from ailink_provider.errors import Failure

COOKIE = "ailink_approver"
SESSION_SECONDS = 8 * 3600
FORM_BYTES = 16 * 1024
DECIDE = "approvals:decide"

router = APIRouter(generate_unique_id_function=operation_id, include_in_schema=False)


class Session(NamedTuple):
    """A sign-in that holds: whose, and the cookie that proves it."""

    admin: Principal
    cookie: str

    @property
    def key_id(self) -> str:
        """Which admin key signed in."""
        return self.admin.key_id or ""


@router.get(PAGE + "{id}")
async def show_approval(id: str, request: Request, given: Given) -> Response:
    """Show a request to who has a link to it, or has signed in."""
    session = await _session(request, given)
    if session is None and not _linked(id, request, given):
        return _refused(id, "This link is not valid, or has expired.")
    try:
        return await _page(id, request, given, session)
    except Failure as failure:
        return _html(refusal_page(id, failure.message), failure.status)


@router.post(PAGE + "{id}/sign-in")
async def sign_in(id: str, request: Request, given: Given) -> Response:
    """Sign an approver in, and go back to the page."""
    form = await _form(request)
    if not _same_origin(request):
        return _refused(id, "This form came from another site.")
    admin = await given.admins.find(form.get("key", "").strip())
    if admin is None or not allows(admin.scopes, DECIDE):
        return _refused(id, "This is no admin key that may decide on approvals.")
    response = RedirectResponse(_here(id, request), 303, HEADERS)
    response.set_cookie(
        COOKIE, _cookie(admin, given), max_age=SESSION_SECONDS, path=PAGE, httponly=True, samesite="strict",
        secure=given.links.secure,
    )
    return response


@router.post(PAGE + "{id}")
async def decide_on_page(id: str, request: Request, given: Given) -> Response:
    """Decide as the signed-in approver, and go back to the page."""
    form = await _form(request)
    session = await _session(request, given)
    if session is None:
        return _refused(id, "Sign in to decide: nothing was decided.")
    if not _same_origin(request) or not hmac.compare_digest(form.get("csrf", "").encode(), _csrf(session, id, given)):
        return _refused(id, "This form is not from this page, or it is too old: nothing was decided.")
    decision = form.get("decision")
    if decision not in ("approved", "rejected"):
        return _refused(id, "Choose to approve or to reject: nothing was decided.")
    try:
        reason = form.get("reason", "").strip()[:500] or None
        await given.approvals.decide(id, "approved" if decision == "approved" else "rejected", session.key_id, reason)
    except Failure as failure:
        if failure.code != "conflict":
            return _html(refusal_page(id, failure.message), failure.status)
        return await _page(id, request, given, session, failure)
    return RedirectResponse(_here(id, request), 303, HEADERS)


async def _page(
    approval_id: str, request: Request, given: Context, session: Session | None, failure: Failure | None = None,
) -> Response:
    approval: Approval = await given.approvals.wait(approval_id, 0)
    content: CanonicalRequest | None = await given.approvals.request(approval_id)
    visitor = Visitor(None, None, _query(request))
    if session is not None:
        visitor = Visitor(session.key_id, _csrf(session, approval_id, given).decode(), _query(request))
    notice = failure.message if failure is not None else None
    return _html(request_page(approval, content, visitor, notice), failure.status if failure is not None else 200)


async def _session(request: Request, given: Context) -> Session | None:
    cookie = request.cookies.get(COOKIE, "")
    key_id, _, rest = cookie.partition(".")
    ends, _, _ = rest.partition(".")
    if not (ends.isascii() and ends.isdecimal() and len(ends) <= 12 and int(ends) > given.now()):
        return None
    expected = _signed(key_id, int(ends), given)
    if not hmac.compare_digest(cookie.encode("utf-8", "replace"), expected.encode()):
        return None
    admin = await given.admins.by_id(key_id)
    return Session(admin, cookie) if admin is not None and allows(admin.scopes, DECIDE) else None


def _cookie(admin: Principal, given: Context) -> str:
    ends = int(given.now()) + SESSION_SECONDS
    return _signed(admin.key_id or "", min(ends, int(admin.expires_at)) if admin.expires_at else ends, given)


def _signed(key_id: str, ends: int, given: Context) -> str:
    said = f"{key_id}.{ends}"
    # With the operator's key, what was signed for it ends, too.
    code = _code(given, b"session", said.encode(), given.admins.mark(key_id))
    return f"{said}.{code.decode()}"


def _csrf(session: Session, approval_id: str, given: Context) -> bytes:
    return _code(given, b"form", session.cookie.encode(), approval_id.encode())


def _code(given: Context, *parts: bytes) -> bytes:
    data = b"".join(len(part).to_bytes(4) + part for part in parts)
    return urlsafe_b64encode(hmac.digest(given.vault.derive(APPROVER_SESSIONS), data, "sha256")).rstrip(b"=")


def _linked(approval_id: str, request: Request, given: Context) -> bool:
    query = request.query_params
    return given.links.opens(approval_id, query.get("expires", ""), query.get("signature", ""), given.now())


def _query(request: Request) -> str:
    """Return what of the link makes it valid, so that it can be gone on with."""
    query = request.query_params
    if not query.get("expires", "").isdecimal() or "signature" not in query:
        return ""
    signature = "".join(c for c in query["signature"] if c.isascii() and (c.isalnum() or c in "-_"))
    return f"?expires={query['expires']}&signature={signature}"


def _here(approval_id: str, request: Request) -> str:
    safe = "".join(c for c in approval_id if c.isascii() and (c.isalnum() or c == "_"))
    return f"{PAGE}{safe}{_query(request)}"


def _same_origin(request: Request) -> bool:
    """Whether a form was sent from a page of this host, as far as the browser tells."""
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


async def _form(request: Request) -> Mapping[str, str]:
    body = await request.body()
    if len(body) > FORM_BYTES:
        return {}
    try:
        return dict(parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=10))
    except ValueError:  # more fields than any of these forms has
        return {}


def _refused(approval_id: str, notice: str) -> Response:
    return _html(refusal_page(approval_id, notice), 403)


def _html(page: str, status: int) -> Response:
    return HTMLResponse(page, status, HEADERS)
