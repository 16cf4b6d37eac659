"""How a request to an upstream is signed: what a credential adds to its headers and its query.

Every kind has one method, ``apply``; none of them sends the request, keeps it or changes it. A credential's value is in
the result and nowhere else: not in a ``repr``, a message or a log. What has to ask somebody for a token first is in
``service_account``.
"""

import re
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from hmac import digest
from time import gmtime, strftime, time
from typing import Protocol
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from ailink_provider.errors import Failure

CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Signed:
    """What is to be added to a request. ``headers`` have lower-case names; each replaces one of its name. ``query`` are
    parameters not yet encoded: ``onto`` adds them to a URL. ``secrets`` are what the answer must not show."""

    __slots__ = ("headers", "query", "secrets")

    def __init__(
        self, headers: Mapping[str, str] | None = None, query: Mapping[str, str] | None = None,
        secrets: Sequence[str] = (),
    ) -> None:
        self.headers = dict(headers or {})
        self.query = dict(query or {})
        self.secrets = tuple(secrets)

    def onto(self, url: str) -> str:
        """Return ``url`` with the parameters added, encoded as a later signature counts on."""
        if not self.query:
            return url
        place = urlsplit(url)
        added = urlencode(self.query, quote_via=quote, safe="")
        return urlunsplit(place._replace(query=f"{place.query}&{added}" if place.query else added))

    def __repr__(self) -> str:
        return f"Signed(headers={sorted(self.headers)}, query={sorted(self.query)})"


class Auth(Protocol):
    """A way to sign requests."""

    async def apply(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Signed:
        """Return what to add to a request for ``url``, which is absolute and encoded as it is sent.

        Raises ``Failure``: ``upstream_auth`` for a credential that is refused, ``upstream_failed`` or
        ``upstream_timeout`` where a token for it cannot be had.
        """


class NoAuth:
    """Nothing: for an upstream that asks for no key."""

    __slots__ = ()

    async def apply(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Signed:
        """Return nothing to add."""
        return Signed()

    def __repr__(self) -> str:
        return "NoAuth()"


class Unusable:
    """A credential that cannot be used: every request is refused with the reason, and nothing else is."""

    __slots__ = ("_code", "_message")

    def __init__(self, failure: Failure) -> None:
        self._code, self._message = failure.code, failure.message

    async def apply(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Signed:
        """Raise the failure."""
        raise Failure(self._code, self._message)

    def __repr__(self) -> str:
        return "Unusable()"


class Fixed:
    """The same addition to every request, whatever it is."""

    __slots__ = ("_signed",)

    def __init__(self, signed: Signed) -> None:
        self._signed = signed

    @property
    def signed(self) -> Signed:
        """The addition, for who makes it once instead of asking for each request."""
        return Signed(self._signed.headers, self._signed.query, self._signed.secrets)

    async def apply(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Signed:
        """Return the addition."""
        return self.signed

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join((*self._signed.headers, *self._signed.query))})"


class APIKeyAuth(Fixed):
    """A key: as a bearer token, or bare in the header or the query parameter that is named. Raises ``Failure``
    (``credential_missing``) for a key that is empty or could break out of its line."""

    __slots__ = ()

    def __init__(self, key: str, header: str | None = None, query: str | None = None) -> None:
        _check(key, "API key")
        if header is None and query is None:
            super().__init__(Signed({"authorization": f"Bearer {key}"}, secrets=[key]))
        else:
            super().__init__(Signed({header.lower(): key} if header else {}, {query: key} if query else {}, [key]))


class BearerTokenAuth(Fixed):
    """A bearer token (RFC 6750). Raises ``Failure`` (``credential_missing``) like ``APIKeyAuth``."""

    __slots__ = ()

    def __init__(self, token: str) -> None:
        _check(token, "token")
        super().__init__(Signed({"authorization": f"Bearer {token}"}, secrets=[token]))


class BasicAuth(Fixed):
    """A user's name and password (RFC 7617, in UTF-8). Raises ``Failure`` (``credential_missing``) for a name that is
    empty or holds a colon."""

    __slots__ = ()

    def __init__(self, username: str, password: str) -> None:
        if not username or ":" in username:
            raise Failure("credential_missing", "The user name is empty or holds a colon.")
        pair = b64encode(f"{username}:{password}".encode("utf-8", "surrogatepass")).decode()
        super().__init__(Signed({"authorization": f"Basic {pair}"}, secrets=[pair, password]))


class ChainedAuth:
    """Several ways, one after the other: each sees what those before it added, and replaces what has its name."""

    __slots__ = ("_auths",)

    def __init__(self, *auths: Auth) -> None:
        self._auths = auths

    async def apply(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Signed:
        """Return what all of them add."""
        whole = Signed()
        for auth in self._auths:
            signed = await auth.apply(method, whole.onto(url), {**headers, **whole.headers}, body)
            whole.headers.update(signed.headers)
            whole.query.update(signed.query)
            whole.secrets += signed.secrets
        return whole

    def __repr__(self) -> str:
        return f"ChainedAuth({', '.join(map(repr, self._auths))})"


# --- Amazon Web Services -------------------------------------------------------------------------


class AWSSigV4Auth:
    """AWS Signature Version 4, for every service but S3 (whose paths are signed otherwise).

    Args:
        access_key_id, secret_access_key: the key.
        region: where the service is, as in its host name ("us-east-1").
        service: its signing name ("bedrock").
        session_token: what belongs to a temporary key.
        clock: the time, in seconds since 1970; the service refuses a signature that is five minutes off.

    What is signed: method, host, path, query, body, ``content-type`` and every ``x-amz-*`` header. Source: "Signature
    Version 4 signing process" of the AWS General Reference.
    """

    __slots__ = ("_clock", "_day", "_id", "_key", "_scope", "_secret", "_secrets", "_token")

    def __init__(
        self, access_key_id: str, secret_access_key: str, region: str, service: str, session_token: str | None = None,
        *, clock: Callable[[], float] = time,
    ) -> None:
        _check(access_key_id, "AWS access key id")
        _check(secret_access_key, "AWS secret access key")
        if session_token is not None:
            _check(session_token, "AWS session token")
        if not re.fullmatch(r"[a-z0-9-]+", region) or not re.fullmatch(r"[a-z0-9-]+", service):
            raise Failure("credential_missing", "An AWS key needs a region such as us-east-1 and the service's name.")
        self._id, self._secret, self._token = access_key_id, secret_access_key, session_token
        # AWS quotes what was signed in a refusal, the session's token too.
        self._secrets = tuple(filter(None, (secret_access_key, session_token, access_key_id)))
        self._scope = (region, service)
        self._clock = clock
        self._day, self._key = "", b""

    async def apply(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> Signed:
        """Return the signature, its time and the session token."""
        moment = strftime("%Y%m%dT%H%M%SZ", gmtime(self._clock()))
        added = {"x-amz-date": moment} | ({"x-amz-security-token": self._token} if self._token else {})
        given = {name.lower(): value for name, value in headers.items()}
        place = urlsplit(url)
        signed = {"host": _host(place.scheme, place.hostname or "", place.port)} | {
            name: " ".join(value.split()) for name, value in (given | added).items()
            if name == "content-type" or name.startswith("x-amz-")}
        names = ";".join(sorted(signed))
        request = "\n".join((
            method.upper(), quote(_plain(place.path), safe="/~"), _ordered(place.query),
            *(f"{name}:{signed[name]}" for name in sorted(signed)), "", names,
            signed.get("x-amz-content-sha256", sha256(body).hexdigest())))
        scope = "/".join((moment[:8], *self._scope, "aws4_request"))
        text = "\n".join(("AWS4-HMAC-SHA256", moment, scope, sha256(request.encode()).hexdigest()))
        signature = digest(self._signing_key(moment[:8]), text.encode(), "sha256").hex()
        credential = f"AWS4-HMAC-SHA256 Credential={self._id}/{scope}, SignedHeaders={names}, Signature={signature}"
        return Signed({**added, "authorization": credential}, secrets=self._secrets)

    def _signing_key(self, day: str) -> bytes:
        if day != self._day:
            key = f"AWS4{self._secret}".encode()
            for word in (day, *self._scope, "aws4_request"):
                key = digest(key, word.encode(), "sha256")
            self._day, self._key = day, key
        return self._key

    def __repr__(self) -> str:
        return f"AWSSigV4Auth({', '.join(self._scope)})"


def _host(scheme: str, host: str, port: int | None) -> str:
    named = f"[{host}]" if ":" in host else host
    return named if port in (None, {"http": 80, "https": 443}.get(scheme)) else f"{named}:{port}"


def _plain(path: str) -> str:
    """Return a path without dot segments and doubled slashes. It is encoded already; a signature encodes it again."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment not in ("", "."):
            kept.append(segment)
    inner = "/".join(kept)
    return f"/{inner}/" if inner and path.endswith("/") else f"/{inner}"


def _ordered(query: str) -> str:
    pairs = (pair.partition("=") for pair in query.split("&") if pair)
    return "&".join(f"{name}={value}" for name, value in sorted((name, value) for name, _, value in pairs))


# --- shared --------------------------------------------------------------------------------------


def _check(value: str, what: str) -> None:
    if not value or not value.isascii() or CONTROL.search(value):
        raise Failure("credential_missing", f"The {what} is empty, or holds characters that no header can carry.")
