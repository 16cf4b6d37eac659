"""The approver's page, as a browser without scripts uses it: links that only show, a sign-in, forms that decide."""

import re
from collections.abc import Awaitable, Callable
from html import unescape
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from ailink_gateway import routes
from ailink_gateway.approval import Approval, CanonicalRequest
from ailink_gateway.backends.approvals import StoreApprovals
from ailink_gateway.control.approver_page import BODY_SHOWN
from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Grant
from ailink_gateway.links import Links
from ailink_gateway.vault import Vault

Caller = Callable[..., httpx2.AsyncClient]
Create = Callable[..., Awaitable[dict[str, Any]]]
Ask = Callable[..., Awaitable[Approval]]


class Form:
    """One form of a page: where it goes, and its fields."""

    def __init__(self, action: str, method: str) -> None:
        self.action, self.method = action, method
        self.fields: dict[str, str] = {}


class Page(HTMLParser):
    """What a page holds: its forms, links, tags, and the text of elements by id."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.texts: dict[str, str] = {}
        self._id: str | None = None
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        assert not any(name.startswith("on") for name in given)
        if tag == "form":
            self.forms.append(Form(given["action"] or "", given["method"] or ""))
        elif tag == "input" and given["name"]:
            self.forms[-1].fields[given["name"]] = given.get("value") or ""
        elif tag == "a":
            self.links.append(given["href"] or "")
        elif tag == "pre":
            self._id = given["id"]
            self.texts[str(self._id)] = ""

    def handle_data(self, data: str) -> None:
        if self._id is not None:
            self.texts[self._id] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre":
            self._id = None


@pytest.fixture
async def sent(approvals: StoreApprovals) -> list[str | None]:
    """The approvals whose requests were sent."""
    sent: list[str | None] = []

    async def pipeline(exchange: Exchange) -> None:
        sent.append(exchange.approval_id)
        await exchange.send({"type": "http.response.start", "status": 200, "headers": []})

    await approvals.start(pipeline)
    return sent


@pytest.fixture
def ask(approvals: StoreApprovals, sent: list[str | None]) -> Ask:
    async def make(
        body: bytes = b'{"amount": 100}', path: bytes = b"/charges", query: bytes = b"", agent: bytes = b"bot",
        headers: list[tuple[bytes, bytes]] | None = None,
    ) -> Approval:
        headers = [(b"x-ailink-agent-name", agent), *(headers or [])]
        scope = {
            "type": "http", "method": "POST", "path": path.decode(), "raw_path": path, "query_string": query,
            "headers": headers, "client": None,
        }
        exchange = Exchange.of(scope, pytest.fail, pytest.fail, routes.match("POST", "/charges", b""))
        exchange.grant = Grant(token_id="tok_1", token_name="agent", project_id="default")
        exchange.approvals_needed = [{"policy_name": "<payments>", "rule": 0, "timeout_seconds": 600}]
        return await approvals.ask(
            exchange, CanonicalRequest("POST", path, query, headers, body, None, [("https://api.example", "")])
        )

    return make


@pytest.fixture
def links(vault: Vault) -> Links:
    return Links(vault, "")


@pytest.fixture
async def approver(create: Create) -> dict[str, Any]:
    return await create("admin-keys", name="approver", scopes=["approvals:decide"])


async def sign_in(browser: httpx2.AsyncClient, url: str, key: str) -> httpx2.Response:
    page = Page((await browser.get(url)).text)
    [form] = [form for form in page.forms if "key" in form.fields]
    return await browser.post(form.action, data={"key": key})


async def test_a_link_shows_the_exact_request_and_decides_nothing(caller: Caller, ask: Ask, links: Links) -> None:
    approval = await ask(b'{"amount": 100,\n "to": "A & B"}', query=b"q=%3Cb%3E&x=1", headers=[(b"x-h", b"<i>")])
    response = await caller().get(links.to(approval.id, approval.expires_at))
    assert response.status_code == 200
    page = Page(response.text)
    assert page.texts["request"] == "POST /charges?q=%3Cb%3E&x=1"
    assert page.texts["body"] == '{"amount": 100,\n "to": "A & B"}'
    assert "x-h: <i>" in page.texts["headers"]
    assert "&lt;payments&gt;" in response.text
    assert "script" not in page.tags and "i" not in page.tags
    assert [form.fields.keys() for form in page.forms] == [{"key"}]
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "frame-ancestors 'none'" in policy and "form-action 'self'" in policy
    assert response.headers["referrer-policy"] == "no-referrer"
    assert response.headers["cache-control"] == "no-store"


async def test_the_style_is_the_one_that_the_policy_allows(caller: Caller, ask: Ask, links: Links) -> None:
    from base64 import b64encode
    from hashlib import sha256

    approval = await ask()
    response = await caller().get(links.to(approval.id, approval.expires_at))
    style = re.search(r"<style>(.*)</style>", response.text, re.DOTALL)
    assert style is not None
    digest = b64encode(sha256(style[1].encode()).digest()).decode()
    assert f"'sha256-{digest}'" in response.headers["content-security-policy"]
    assert " style=" not in response.text


async def test_what_cannot_be_seen_is_named(caller: Caller, ask: Ask, links: Links) -> None:
    hidden = "pay \u202e001\u202c \u200bto\u00a0Bob\u2066 \U000e0041\r\x00\ufe0f\u3164"
    approval = await ask(hidden.encode(), agent="b\u200bot".encode())
    text = (await caller().get(links.to(approval.id, approval.expires_at))).text
    for character in "\u202e\u202c\u200b\u00a0\u2066\U000e0041\r\x00\ufe0f\u3164":
        assert character not in text
        assert f"U+{ord(character):04X}" in text
    assert "<mark>U+202E RIGHT-TO-LEFT OVERRIDE</mark>" in text
    # A reader who takes the marks for what they stand for has the very body.
    body = re.search(r'<pre id="body">(.*?)</pre>', text, re.DOTALL)
    assert body is not None
    back = re.sub(r"<mark>U\+([0-9A-F]+)[^<]*</mark>", lambda found: chr(int(found[1], 16)), body[1])
    assert unescape(back) == hidden


async def test_letters_that_are_written_backwards_reorder_nothing(caller: Caller, ask: Ask, links: Links) -> None:
    """Beside them 900 would be shown with the other key: each stands by itself, and all else in its order."""
    body = '{"\u05d0": 900, "\u05d1 \u05d2": 1, "\u0664 \u0665": "x"}'
    approval = await ask(body.encode())
    page = (await caller().get(links.to(approval.id, approval.expires_at))).text
    shown = re.search(r'<pre id="body">(.*?)</pre>', page, re.DOTALL)
    assert shown is not None
    assert unescape(shown[1]) == (
        '{"<bdi>\u05d0</bdi>": 900, "<bdi>\u05d1 \u05d2</bdi>": 1, "<bdi>\u0664</bdi> <bdi>\u0665</bdi>": "x"}'
    )


async def test_bodies_that_are_no_text_or_long(caller: Caller, ask: Ask, links: Links) -> None:
    binary, long = await ask(b"\xff\x00\xfe"), await ask("é".encode() * BODY_SHOWN)
    page = (await caller().get(links.to(binary.id, binary.expires_at))).text
    assert "/wD+" in page and "base64" in page
    page = (await caller().get(links.to(long.id, long.expires_at))).text
    assert len(Page(page).texts["body"]) == BODY_SHOWN // 2
    assert f"Only the first {BODY_SHOWN:,} of {2 * BODY_SHOWN:,} bytes" in page


async def test_an_approver_signs_in_once_and_decides_by_forms(
    caller: Caller, ask: Ask, links: Links, approver: dict[str, Any], admin: httpx2.AsyncClient,
    sent: list[str | None], approvals: StoreApprovals,
) -> None:
    browser = caller()
    first, second = await ask(), await ask(b"2")
    response = await sign_in(browser, links.to(first.id, first.expires_at), approver["key"])
    assert response.status_code == 303
    cookie = response.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/ailink/approvals/" in cookie
    assert approver["key"] not in cookie
    page = Page((await browser.get(response.headers["location"])).text)
    [form] = page.forms
    assert (form.method, set(form.fields)) == ("post", {"csrf", "reason"})
    decided = await browser.post(form.action, data={**form.fields, "decision": "approved"})
    assert decided.status_code == 303
    page_text = (await browser.get(decided.headers["location"])).text
    assert "Approved" in page_text and "<form" not in page_text
    await approvals.wait(first.id)
    # Signed in: any request may be looked at and decided, without a link.
    page = Page((await browser.get(f"/ailink/approvals/{second.id}")).text)
    [form] = page.forms
    await browser.post(form.action, data={**form.fields, "decision": "rejected", "reason": " no <way> "})
    shown = (await admin.get(f"/api/v1/approvals/{second.id}")).json()
    assert (shown["status"], shown["reason"], shown["decided_by"]) == ("rejected", "no <way>", approver["id"])
    assert "no &lt;way&gt;" in (await browser.get(f"/ailink/approvals/{second.id}")).text
    assert sent == [first.id]


async def test_the_operators_own_key_signs_in_too(caller: Caller, ask: Ask, links: Links, admin_key: str) -> None:
    approval, browser = await ask(), caller()
    assert (await sign_in(browser, links.to(approval.id, approval.expires_at), f" {admin_key} ")).status_code == 303
    assert "Approve" in (await browser.get(f"/ailink/approvals/{approval.id}")).text


async def test_forged_and_expired_links_show_nothing(caller: Caller, ask: Ask, links: Links, clock: Any) -> None:
    approval, other = await ask(b"the-body"), await ask()
    url = links.to(approval.id, approval.expires_at)
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    browser = caller()
    forged = [
        {}, {**query, "signature": query["signature"][:-1] + ("A" if query["signature"][-1] != "A" else "B")},
        {**query, "expires": str(int(query["expires"]) + 1)}, {**query, "expires": f"0{query['expires']}"},
        {**query, "signature": ""}, {"expires": query["expires"]}, {**query, "expires": "9" * 400},
        {**query, "expires": "x"}, {**query, "signature": "é"},
    ]
    for parameters in forged:
        response = await browser.get(f"/ailink/approvals/{approval.id}", params=parameters)
        assert response.status_code == 403, parameters
        assert "the-body" not in response.text
    elsewhere = await browser.get(f"/ailink/approvals/{other.id}", params=query)
    missing = await browser.get("/ailink/approvals/apr_nothing", params=query)
    assert elsewhere.status_code == missing.status_code == 403
    assert (await browser.get(url)).status_code == 200
    clock.now += 601
    assert (await browser.get(url)).status_code == 403


@pytest.mark.parametrize("scopes", [["approvals:read"], ["tokens:write", "audit:read"]])
async def test_a_key_that_may_not_decide_does_not_sign_in(
    caller: Caller, ask: Ask, links: Links, create: Create, scopes: list[str],
) -> None:
    approval, key = await ask(), await create("admin-keys", name="k", scopes=scopes)
    response = await sign_in(caller(), links.to(approval.id, approval.expires_at), key["key"])
    assert (response.status_code, response.headers.get("set-cookie")) == (403, None)


async def test_a_token_does_not_sign_in(caller: Caller, ask: Ask, links: Links, create: Create) -> None:
    approval, token = await ask(), await create("tokens", name="agent")
    response = await sign_in(caller(), links.to(approval.id, approval.expires_at), token["token_id"])
    assert response.status_code == 403
    assert token["token_id"] not in response.text


async def test_a_form_counts_only_from_its_page_and_its_session(
    caller: Caller, ask: Ask, links: Links, approver: dict[str, Any], admin: httpx2.AsyncClient, clock: Any,
) -> None:
    approval, other = await ask(), await ask()
    browser, stranger = caller(), caller()
    await sign_in(browser, links.to(approval.id, approval.expires_at), approver["key"])
    await sign_in(stranger, links.to(approval.id, approval.expires_at), approver["key"])
    path = f"/ailink/approvals/{approval.id}"
    [form] = Page((await browser.get(path)).text).forms
    [of_other] = Page((await browser.get(f"/ailink/approvals/{other.id}")).text).forms
    good = {**form.fields, "decision": "approved"}
    cross = {"sec-fetch-site": "cross-site"}
    for client, data, headers in (
        (browser, {"decision": "approved"}, {}), (browser, {**good, "csrf": "x"}, {}),
        (browser, {**good, "csrf": of_other.fields["csrf"]}, {}), (browser, good, cross),
        (browser, good, {"origin": "https://evil.example"}), (browser, {**good, "decision": "maybe"}, {}),
        (caller(), good, {}), (browser, {**good, "padding": "x" * 20_000}, {}),
        (browser, {**good, **{f"more{number}": "x" for number in range(10)}}, {}),
    ):
        response = await client.post(path, data=data, headers=headers)
        assert response.status_code == 403, (data, headers)
    assert (await admin.get(f"/api/v1/approvals/{approval.id}")).json()["status"] == "pending"
    assert (await browser.post(path, data=good, headers={"sec-fetch-site": "same-origin"})).status_code == 303


async def test_a_session_ends_with_its_key_and_its_time(
    caller: Caller, ask: Ask, links: Links, approver: dict[str, Any], admin: httpx2.AsyncClient, clock: Any,
) -> None:
    approval, browser, second = await ask(), caller(), caller()
    url, path = links.to(approval.id, approval.expires_at), f"/ailink/approvals/{approval.id}"
    await sign_in(browser, url, approver["key"])
    cookie = browser.cookies["ailink_approver"]
    assert (await browser.get(path)).status_code == 200
    for forged in (cookie[:-1] + ("A" if cookie[-1] != "A" else "B"), cookie.replace("adm_", "adm_x"), "", "..",
                   cookie.replace(".", ".9", 1), f"operator.{cookie.partition('.')[2]}"):
        assert (await second.get(path, headers={"cookie": f"ailink_approver={forged}"})).status_code == 403
    before = clock.now
    clock.now += 9 * 3600
    assert (await browser.get(path)).status_code == 403
    clock.now = before
    await admin.delete(f"/api/v1/admin-keys/{approver['id']}")
    assert (await browser.get(path)).status_code == 403


async def test_a_decision_that_comes_too_late_says_so(
    caller: Caller, ask: Ask, links: Links, approver: dict[str, Any], admin: httpx2.AsyncClient,
) -> None:
    approval, browser = await ask(), caller()
    await sign_in(browser, links.to(approval.id, approval.expires_at), approver["key"])
    path = f"/ailink/approvals/{approval.id}"
    [form] = Page((await browser.get(path)).text).forms
    await admin.post(f"/api/v1/approvals/{approval.id}/reject")
    response = await browser.post(path, data={**form.fields, "decision": "approved"})
    assert response.status_code == 409
    assert "was rejected already" in response.text


async def test_a_get_never_decides(
    caller: Caller, ask: Ask, links: Links, approver: dict[str, Any], admin: httpx2.AsyncClient,
) -> None:
    approval, browser = await ask(), caller()
    url = links.to(approval.id, approval.expires_at)
    await sign_in(browser, url, approver["key"])
    [form] = Page((await browser.get(url)).text).forms
    await browser.get(f"/ailink/approvals/{approval.id}", params={**form.fields, "decision": "approved"})
    assert (await browser.get(f"/ailink/approvals/{approval.id}/sign-in")).status_code == 401
    assert (await admin.get(f"/api/v1/approvals/{approval.id}")).json()["status"] == "pending"


async def test_an_approval_that_is_not_there(caller: Caller, ask: Ask, links: Links, approver: dict[str, Any]) -> None:
    approval, browser = await ask(), caller()
    await sign_in(browser, links.to(approval.id, approval.expires_at), approver["key"])
    for path in ("apr_nothing", "%3Cscript%3E", "%22%3E%3Cb%3E"):
        response = await browser.get(f"/ailink/approvals/{path}")
        assert response.status_code == 404
        assert "<script" not in response.text and "<b>" not in response.text
