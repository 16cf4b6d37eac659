"""How a request is signed with a Google service account: the only credential that asks anybody anything, its token
endpoint for a token. See ``auth`` for what every way to sign has in common.
"""

import asyncio
import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from time import time
from typing import Any
from urllib.parse import urlencode

import msgspec

from ailink_provider.auth import CONTROL, Signed
from ailink_provider.errors import Failure
from ailink_provider.transport import Guard, Origin, Request, Sender, Transport

GOOGLE_TOKENS = "https://oauth2.googleapis.com"
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
_TOKEN_SECONDS = 10.0
_RENEWAL_PAUSE = 5.0
_TOKEN_LIMIT = 64 * 1024


class GoogleServiceAccountAuth:
    """A Google service account: a signed assertion, exchanged for an access token that serves until it is nearly over.

    Args:
        info: the account's key file, decoded: client_email, private_key, token_uri, private_key_id.
        scopes: what the token is to allow.
        token_origins: where a token may be asked for; the key file is not trusted to name any other place.
        sender: carries the question for a token; None opens a connection for it, to that very host alone.
        clock: the time, in seconds since 1970.

    However many requests wait for a token, it is asked for once; the next one is fetched while the last still serves,
    so that only the first request waits. Whatever keeps it from them is an ``upstream_auth``. Needs the package
    ``cryptography``.
    Source: "Using OAuth 2.0 for server to server applications" of Google Identity; RFC 7523.
    """

    __slots__ = ("_clock", "_email", "_fetching", "_key", "_key_id", "_renewed_from", "_scopes", "_sender",
                 "_serves_until", "_token", "_url")

    def __init__(
        self, info: Mapping[str, Any], scopes: Sequence[str] = (CLOUD_PLATFORM,), *,
        token_origins: Sequence[str] = (GOOGLE_TOKENS,), sender: Sender | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        self._email, self._url = _member(info, "client_email"), _member(info, "token_uri")
        self._key_id = info.get("private_key_id")
        self._key = _private_key(_member(info, "private_key"))
        if not _is_at(self._url, token_origins):
            raise Failure("credential_missing", "The service account's token_uri is not one of Google's: use the key "
                                                "file as Google made it.")
        self._scopes, self._clock, self._sender = " ".join(scopes), clock, sender
        self._token, self._renewed_from, self._serves_until = "", 0.0, 0.0
        self._fetching: asyncio.Task[None] | None = None

    async def apply(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Signed:
        """Return the access token, fetched if there is none that is good."""
        now = self._clock()
        over = now >= self._serves_until
        if self._fetching is None and (over or now >= self._renewed_from):
            self._fetching = asyncio.create_task(self._fetch())
            self._fetching.add_done_callback(self._fetched)
        if over and self._fetching is not None:
            # Who gives up waiting does not take the token from the others.
            await asyncio.shield(self._fetching)
        return Signed({"authorization": f"Bearer {self._token}"}, secrets=[self._token])

    def __repr__(self) -> str:
        return "GoogleServiceAccountAuth()"

    def _fetched(self, task: "asyncio.Task[None]") -> None:
        self._fetching = None
        if not task.cancelled() and task.exception() is not None:  # seen, even if nobody waits any more
            self._renewed_from = self._clock() + _RENEWAL_PAUSE

    async def _fetch(self) -> None:
        asked = self._clock()
        status, answer = await _post(self._sender, self._url, {
            "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": self._assertion(int(asked))})
        token, lifetime = answer.get("access_token"), answer.get("expires_in")
        if status != 200 or not isinstance(token, str) or not token or CONTROL.search(token):
            raise _refused(status, answer.get("error"))
        seconds = lifetime if isinstance(lifetime, int) and not isinstance(lifetime, bool) and lifetime > 0 else 0
        self._token = token
        self._renewed_from = asked + max(seconds - 60, seconds / 2)
        self._serves_until = asked + max(seconds - 10, seconds / 2)

    def _assertion(self, now: int) -> str:
        header = {"alg": "RS256", "typ": "JWT"} | ({"kid": self._key_id} if isinstance(self._key_id, str) else {})
        claims = {"iss": self._email, "scope": self._scopes, "aud": self._url, "iat": now, "exp": now + 3600}
        text = b".".join(_base64url(msgspec.json.encode(part)) for part in (header, claims))
        return (text + b"." + _base64url(self._key(text))).decode()


def _private_key(pem: str) -> Callable[[bytes], bytes]:
    """Return the function that signs with a key (RSASSA-PKCS1-v1_5 with SHA-256)."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError:
        raise Failure("credential_missing", "A Google service account needs the package 'cryptography': install it "
                                            "beside ailink-provider.") from None
    try:
        key = load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise Failure("credential_missing", "The service account's private_key is no RSA key in PEM: use the key file "
                                            "as Google made it.")
    return lambda text: key.sign(text, PKCS1v15(), SHA256())


def _is_at(url: str, origins: Sequence[str]) -> bool:
    try:
        return str(Origin.parse(url)[0]) in {str(Origin.parse(origin)[0]) for origin in origins}
    except Failure:
        return False


async def _post(sender: Sender | None, url: str, form: Mapping[str, str]) -> tuple[int, dict[str, Any]]:
    origin, path = Origin.parse(url)
    request = Request("POST", origin, path.encode() or b"/", [
        (b"content-type", b"application/x-www-form-urlencoded"), (b"accept", b"application/json"),
        (b"accept-encoding", b"identity")], urlencode(form).encode(), resend=True)
    own = None
    if sender is None:
        sender = own = Transport(guard=Guard([origin.authority]))
    deadline = asyncio.get_running_loop().time() + _TOKEN_SECONDS
    try:
        response = await sender.send(request, deadline)
        body = await response.read(_TOKEN_LIMIT)
    except Failure as failure:
        why = "did not answer in time" if failure.code == "upstream_timeout" else "could not be reached"
        raise Failure("upstream_auth", f"Google's token endpoint {why}.", reason=failure.reason) from None
    finally:
        if own is not None:
            await own.close()
    try:
        answer = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        answer = None
    return response.status, answer if isinstance(answer, dict) else {}


def _refused(status: int, word: Any) -> Failure:
    if 400 <= status < 500 and status not in (408, 429):
        shown = f" ({word})" if isinstance(word, str) and re.fullmatch(r"[a-z_]{1,40}", word) else ""
        message = f"Google refused the service account{shown}: check that it exists, its key and this machine's clock."
    else:
        message = f"Google's token endpoint answered {status} without a token."
    return Failure("upstream_auth", message, upstream_status=status)


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _member(info: Mapping[str, Any], name: str) -> str:
    value = info.get(name)
    if not isinstance(value, str) or not value or not value.isascii():
        raise Failure("credential_missing", f"The service account has no {name}: use the key file as Google made it.")
    return value
