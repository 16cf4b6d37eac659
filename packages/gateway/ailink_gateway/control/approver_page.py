"""The approver's page as HTML: plain, without scripts, readable on a phone. Everything of a request is escaped, and
what cannot be seen in it is named. Decides and looks up nothing.
"""

import re
from base64 import b64encode
from datetime import UTC, datetime
from hashlib import sha256
from html import escape
from typing import NamedTuple

from ailink_gateway.approval import Approval, CanonicalRequest
from ailink_gateway.visible import pieces

BODY_SHOWN = 1024 * 1024  # bytes
# Letters that are written from right to left, and numbers that are in their scripts. Numbers and marks beside them
# would be shown in another order than they are sent in: which value a key has would be anybody's guess.
_BACKWARDS = re.compile(
    "[{0}]+(?: [{0}]+)*|[{1}]+".format(
        "\u0590-\u065f\u066d-\u06ef\u06fa-\u08ff\ufb1d-\ufdff\ufe70-\ufeff\U00010800-\U00010d2f\U00010d40-\U00010e5f"
        "\U00010e80-\U00010fff\U0001e800-\U0001efff",
        "\u0660-\u066c\u06f0-\u06f9\U00010d30-\U00010d3f\U00010e60-\U00010e7f",
    )
)

STYLE = """
:root{color-scheme:light dark;--line:#8885;--soft:#8882;--mark:#b00020;--go:#0a7d33}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,sans-serif;margin:0 auto;max-width:52rem;padding:1rem}
h1{font-size:1.3rem;margin:.2rem 0 .6rem}
h2{font-size:1rem;margin:1.4rem 0 .4rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem .9rem;margin:0}
dt{opacity:.7}
dd{margin:0;overflow-wrap:anywhere}
pre{background:var(--soft);border:1px solid var(--line);border-radius:.4rem;padding:.7rem;margin:0;font-size:.85rem;
white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate}
code,.raw{font-family:ui-monospace,monospace;unicode-bidi:isolate;overflow-wrap:anywhere}
mark{background:var(--mark);color:#fff;border-radius:.2rem;padding:0 .25rem;font-size:.8em}
.note{border-left:4px solid var(--mark);padding:.3rem .8rem;margin:.8rem 0;background:var(--soft)}
.state{display:inline-block;border:1px solid var(--line);border-radius:1rem;padding:.1rem .8rem}
form{margin:.8rem 0}
label{display:block;margin:.3rem 0}
input{font:inherit;width:100%;padding:.6rem;border:1px solid var(--line);border-radius:.4rem}
.choices{display:flex;gap:.8rem;margin-top:.8rem}
button{font:inherit;font-weight:600;flex:1;padding:.8rem;border:0;border-radius:.4rem;color:#fff;background:#444}
button.go{background:var(--go)}
button.stop{background:var(--mark)}
a{color:inherit}
"""
STYLE_HASH = b64encode(sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}

_STATES = {
    "pending": "Waiting for a decision",
    "approved": "Approved",
    "rejected": "Rejected",
    "expired": "Expired",
}
_EXECUTIONS = {
    "running": "it is being sent",
    "done": "it was sent",
    "failed": "sending it failed",
    "unknown": "whether it was sent is unknown; it is not sent again",
}


class Visitor(NamedTuple):
    """Who looks: ``csrf`` is set for a signed-in approver, ``key_id`` tells which. ``query`` is that of the link."""

    key_id: str | None
    csrf: str | None
    query: str


def request_page(approval: Approval, request: CanonicalRequest | None, visitor: Visitor, notice: str | None) -> str:
    """Return the page of one approval, with what its visitor may do."""
    state = _STATES[approval.status]
    if approval.execution in _EXECUTIONS:
        state += f": {_EXECUTIONS[approval.execution]}"
    about = approval.about
    facts = [
        ("Agent", _inline(about.agent_name or "not named")),
        ("Token", _inline(approval.token_id or "none")),
        ("Project", _inline(approval.project_id)),
        ("Policy", _inline(", ".join(approval.policy_names))),
        ("Asked", _moment(approval.created_at)),
        ("Expires", _moment(approval.expires_at)),
    ]
    if approval.decided_by is not None:
        facts.append(("Decided by", _inline(approval.decided_by)))
    if approval.reason:
        facts.append(("Reason", _inline(approval.reason)))
    return _document("Approval", "".join((
        "<h1>A request waits for approval</h1>" if approval.status == "pending" else "<h1>Approval</h1>",
        f'<p class="state">{escape(state)}</p>',
        _notice(notice),
        _list(facts),
        _request(request) if request is not None else "<p>The request itself has been erased.</p>",
        _choices(approval, visitor) if approval.status == "pending" else "",
    )))


def refusal_page(approval_id: str, notice: str) -> str:
    """Return the page for who may not see the approval: it can only be signed in from here."""
    return _document("Approval", f"<h1>Approval</h1>{_notice(notice)}{_sign_in(approval_id, '')}")


def _request(request: CanonicalRequest) -> str:
    path = request.raw_path.decode("latin-1") + (f"?{request.query.decode('latin-1')}" if request.query else "")
    service = f"the service {request.service}, " if request.service is not None else ""
    to = [_inline(service + label + (f" ({model})" if model else "")) for label, model in request.targets]
    headers = "\n".join(
        f"{_inline(name.decode('latin-1'))}: {_inline(value.decode('utf-8', 'surrogateescape'))}"
        for name, value in request.headers
    )
    return "".join((
        "<h2>Request</h2>",
        f'<pre id="request">{_inline(request.method)} {_inline(path)}</pre>',
        "<h2>Goes to</h2>",
        f'<p class="raw">{"<br>or else ".join(to)}</p>',
        _body(request.body),
        f'<h2>Headers</h2><pre id="headers">{headers}</pre>' if headers else "",
    ))


def _body(body: bytes) -> str:
    if not body:
        return "<h2>Body</h2><p>None.</p>"
    part, note = body, ""
    if len(body) > BODY_SHOWN:
        part = body[:BODY_SHOWN]
        note = _notice(f"Only the first {BODY_SHOWN:,} of {len(body):,} bytes are shown. The rest would be sent, too.")
    try:
        text = part.decode("utf-8", "strict" if part is body else "ignore")
        shown = _lines(text)
    except UnicodeDecodeError:
        note += _notice("This is no UTF-8 text: it is shown as base64.")
        shown = escape(b64encode(part).decode())
    digest = sha256(body).hexdigest()
    return (
        f'<h2>Body</h2>{note}<pre id="body">{shown}</pre>'
        f"<p>{len(body):,} bytes, SHA-256 <code>{digest}</code></p>"
    )


def _choices(approval: Approval, visitor: Visitor) -> str:
    where = f"/ailink/approvals/{escape(approval.id)}"
    if visitor.csrf is None:
        again = f'<p>Signed in before? <a href="{where}{escape(visitor.query)}">Go on to decide</a>.</p>'
        return again + _sign_in(approval.id, visitor.query)
    return (
        f'<h2>Decide</h2><form method="post" action="{where}{escape(visitor.query)}">'
        f'<input type="hidden" name="csrf" value="{escape(visitor.csrf)}">'
        '<label>Reason, told to the caller <input name="reason" maxlength="500" autocomplete="off"></label>'
        '<div class="choices"><button class="go" name="decision" value="approved">Approve</button>'
        '<button class="stop" name="decision" value="rejected">Reject</button></div></form>'
        f"<p>Signed in with <code>{escape(visitor.key_id or '')}</code>.</p>"
    )


def _sign_in(approval_id: str, query: str) -> str:
    return (
        f'<h2>Sign in to decide</h2><form method="post" '
        f'action="/ailink/approvals/{escape(approval_id)}/sign-in{escape(query)}">'
        '<label>Admin key with the scope approvals:decide '
        '<input type="password" name="key" required autocomplete="current-password"></label>'
        '<div class="choices"><button>Sign in</button></div></form>'
    )


def _list(facts: list[tuple[str, str]]) -> str:
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{value}</dd>" for name, value in facts) + "</dl>"


def _notice(text: str | None) -> str:
    return f'<p class="note" role="status">{escape(text)}</p>' if text else ""


def _inline(text: str) -> str:
    return _marked(text, lines=False)


def _lines(text: str) -> str:
    return _marked(text, lines=True)


def _marked(text: str, lines: bool) -> str:
    return "".join(
        f"<mark>{escape(piece)}</mark>" if was_hidden else _in_order(piece) for piece, was_hidden in pieces(text, lines)
    )


def _in_order(text: str) -> str:
    """Return text so that it is shown in the order that it has: what is written backwards is so by itself only."""
    return escape(text) if text.isascii() else _BACKWARDS.sub(r"<bdi>\g<0></bdi>", escape(text))


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _document(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)} · AIlink</title><style>{STYLE}</style></head><body>{body}</body></html>"
    )
