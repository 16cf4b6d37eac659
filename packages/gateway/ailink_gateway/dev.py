"""What makes an open door on a developer's machine safe: only this machine's own programs may knock.

A web page in the same browser must not be able to use the gateway, so a foreign ``Host`` (DNS rebinding), a foreign
``Origin`` or a cross-site fetch is refused, and callers without a token may send nothing but JSON, which a plain HTML
form cannot.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ailink_provider.errors import Failure

HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})
CREDENTIALS = frozenset({b"authorization", b"x-api-key", b"x-goog-api-key", b"x-admin-key"})


def refusal(scope: Mapping[str, Any], *, own_page: bool = False) -> Failure | None:
    """Return why this request may not be answered in development, or None if it may.

    ``own_page`` is set for pages of the gateway, whose forms protect themselves.
    """
    headers = dict(scope["headers"])
    if _host(headers.get(b"host", b"").decode("latin-1")) not in HOSTS:
        return _refused("`ailink dev` answers only to localhost, 127.0.0.1 and [::1]; this request named another host.")
    origin = headers.get(b"origin")
    if origin is not None and _host(origin.decode("latin-1").partition("//")[2]) not in HOSTS:
        return _refused("`ailink dev` refuses requests from web pages of other origins.")
    if headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin", b"same-site"):
        return _refused("`ailink dev` refuses cross-site requests.")
    has_body = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
    if has_body and not own_page and CREDENTIALS.isdisjoint(headers):
        content_type = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
        if content_type != b"application/json":
            return Failure(
                "invalid_request",
                "Without a token, a body must have Content-Type: application/json.",
                param="content-type",
                status=415,
            )
    return None


def _host(header: str) -> str | None:
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def _refused(message: str) -> Failure:
    return Failure("policy_denied", message, reason="foreign_origin")
