"""The clouds whose front doors are their own, before strict mocks of what lies behind: AWS, Azure, Google's, Ollama.

Each checks the path and the credential as the vendor does. What passes at Azure's and Google's goes on to the mock of
the format they share; for the others the answer is a fixed one.
"""

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from hashlib import sha256
from hmac import compare_digest, digest
from typing import Any, NamedTuple
from urllib.parse import parse_qs, quote, unquote

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from ailink_provider.dialects.bedrock_converse.eventstream import encode
from ailink_provider.testing import KEYS, MockUpstream
from ailink_provider.testing.server import Exchange, Received

REGION = "eu-central-1"
BEDROCK_KEY = "ABSKQmVkcm9ja0FQSUtleS1tb2Nr"
AZURE_KEY = "azure-mock-key-0123456789"
OLLAMA_MODELS = ("llama3.1:70b", "qwen3:8b")
TEXT = "Guten Tag."


class AWSKey(NamedTuple):
    """A key of AWS; ``stored`` is how it is written down as one credential."""

    id: str = "AKIDMOCKEXAMPLE00001"
    secret: str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYMOCKKEY"
    session: str = "IQoJb3JpZ2luX2VjEMOCK//////////wEaCXVzLWVhc3QtMSJH+session="

    @property
    def stored(self) -> str:
        return f"{self.id}:{self.secret}:{self.session}"

    @property
    def environment(self) -> dict[str, str]:
        return {"AWS_ACCESS_KEY_ID": self.id, "AWS_SECRET_ACCESS_KEY": self.secret, "AWS_SESSION_TOKEN": self.session}


AWS_KEY = AWSKey()


class Cloud(MockUpstream):
    """All of them on one port. ``arrived`` are the requests as they came, ``tokens`` the access tokens that were given.

    ``refuse_tokens`` is a status that the token endpoint answers instead.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.arrived: list[Received] = []
        self.tokens: list[str] = []
        self.refuse_tokens: int | None = None
        self.models = OLLAMA_MODELS
        self._key = rsa.generate_private_key(65537, 2048)

    def forget(self) -> None:
        super().forget()
        self.arrived.clear()
        self.refuse_tokens = None
        self.models = OLLAMA_MODELS

    @property
    def private_key(self) -> str:
        """The private key of the service account."""
        plain = serialization.NoEncryption()
        return self._key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain).decode()

    def account(self, **changes: str) -> str:
        """Return the key file of the service account that this cloud knows."""
        return json.dumps({
            "type": "service_account", "project_id": "mock-project", "private_key_id": "key-1",
            "private_key": self.private_key, "client_email": "robot@mock-project.iam.gserviceaccount.com",
            "token_uri": self.url("/token"), **changes,
        }, indent=2)

    async def _handle(self, exchange: Exchange) -> None:
        request = exchange.request
        self.arrived.append(request)
        try:
            if request.path == "/token":
                await _answer(exchange, *self._token(request))
            elif request.path.startswith("/model/"):
                await self._converse(exchange)
            elif request.path.startswith("/api/"):
                await self._ollama(exchange)
            elif request.path.startswith("/openai/"):
                _expect(request, {"api-key": AZURE_KEY})
                await self._within(exchange, request.target.removeprefix("/openai"), "authorization",
                                   f"Bearer {KEYS['openai']}")
            elif "/publishers/google/models/" in request.path:
                project, location = request.path.split("/")[3], request.path.split("/")[5]
                assert request.path.startswith(f"/v1/projects/{project}/locations/{location}/publishers/"), request.path
                _expect(request, {"authorization": f"Bearer {self.tokens[-1] if self.tokens else '?'}"})
                model = request.target.partition("/publishers/google/models/")[2]
                await self._within(exchange, f"/v1beta/models/{model}", "x-goog-api-key", KEYS["gemini"])
            else:
                await super()._handle(exchange)
        except Refused as refused:
            body = {"message": str(refused), "error": {"code": 403, "message": str(refused), "status": "FORBIDDEN"}}
            await _answer(exchange, 403, body)

    async def _within(self, exchange: Exchange, target: str, header: str, value: str) -> None:
        """Hand a request whose credential was right to the mock of the format, in that one's words."""
        outer = exchange.request
        kept = [(name, text) for name, text in outer.raw_headers if name.lower() not in ("authorization", "api-key")]
        exchange.request = Received(outer.method, target, [*kept, (header, value)], outer.body, outer.connection,
                                    outer.keep_alive)
        await super()._handle(exchange)

    # --- Google's tokens -------------------------------------------------------------------------

    def _token(self, request: Received) -> tuple[int, dict[str, Any]]:
        if self.refuse_tokens is not None:
            return self.refuse_tokens, {"error": "invalid_grant", "error_description": "secret words"}
        form = parse_qs(request.body.decode())
        assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
        signed, _, signature = form["assertion"][0].rpartition(".")
        self._key.public_key().verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), SHA256())
        claims = json.loads(_decoded(signed.partition(".")[2]))
        assert claims["aud"] == self.url("/token") and claims["iss"].startswith("robot@")
        self.tokens.append(f"ya29.mock-access-token-{len(self.tokens):04d}")
        return 200, {"access_token": self.tokens[-1], "expires_in": 3599, "token_type": "Bearer"}

    # --- AWS -------------------------------------------------------------------------------------

    async def _converse(self, exchange: Exchange) -> None:
        request = exchange.request
        sent = request.headers.get("authorization", "")
        if sent != f"Bearer {BEDROCK_KEY}":
            check_signature(request, AWS_KEY, REGION)
        assert request.json["messages"], request.body
        scripted = self._next_answer(request)
        if scripted.body is not None:
            await _answer(exchange, scripted.status or 200, scripted.body)
        elif request.path.endswith("/converse-stream"):
            await exchange.start(200, [("content-type", "application/vnd.amazon.eventstream")])
            for frame in _frames():
                await exchange.write(frame)
            await exchange.finish()
        else:
            await _answer(exchange, 200, {
                "output": {"message": {"role": "assistant", "content": [{"text": TEXT}]}}, "stopReason": "end_turn",
                "usage": {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13}, "metrics": {"latencyMs": 5}})

    # --- Ollama ----------------------------------------------------------------------------------

    async def _ollama(self, exchange: Exchange) -> None:
        request = exchange.request
        if request.path == "/api/tags":
            await _answer(exchange, 200, {"models": [{"name": name, "model": name} for name in self.models]})
            return
        assert request.path == "/api/chat", request.path
        body = request.json
        done = {"model": body["model"], "created_at": "2026-01-01T00:00:00Z", "done": True, "done_reason": "stop",
                "prompt_eval_count": 9, "eval_count": 4}
        if body.get("stream") is False:
            await _answer(exchange, 200, {**done, "message": {"role": "assistant", "content": TEXT}})
            return
        await exchange.start(200, [("content-type", "application/x-ndjson")])
        for word in TEXT.split(" "):
            piece = {**done, "done": False, "message": {"role": "assistant", "content": word}}
            await exchange.write(json.dumps(piece).encode() + b"\n")
        await exchange.write(json.dumps({**done, "message": {"role": "assistant", "content": ""}}).encode() + b"\n")
        await exchange.finish()


class Refused(Exception):
    """A front door stays closed."""


def check_signature(request: Received, key: AWSKey, region: str) -> None:
    """Raise ``Refused`` unless a request is signed with ``key`` over exactly what arrived (AWS Signature Version 4).

    Made from the same description as what it checks, and by other hands; its own test is what botocore signs.
    """
    kind, _, fields = request.headers.get("authorization", "").partition(" ")
    if kind != "AWS4-HMAC-SHA256":
        raise Refused("there is no signature")
    given = dict(field.strip().partition("=")[::2] for field in fields.split(","))
    scope = f"{request.headers['x-amz-date'][:8]}/{region}/bedrock/aws4_request"
    if given["Credential"] != f"{key.id}/{scope}":
        raise Refused(f"the signature is for {given['Credential'].partition('/')[2]}, not {scope}")
    if key.session and request.headers.get("x-amz-security-token") != key.session:
        raise Refused("the session's token is missing")
    names = given["SignedHeaders"].split(";")
    owed = {"host", *(name for name in request.headers if name.startswith("x-amz-") or name == "content-type")}
    if names != sorted(names) or not owed <= set(names):
        raise Refused(f"not signed: {owed - set(names)}")
    path, _, query = request.target.partition("?")
    canonical = "\n".join([
        request.method, quote(path, safe="/"), "&".join(sorted(query.split("&"))),
        *(f"{name}:{' '.join(request.headers[name].split())}" for name in names), "", ";".join(names),
        sha256(request.body).hexdigest()])
    text = "\n".join(["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, sha256(canonical.encode()).hexdigest()])
    secret = f"AWS4{key.secret}".encode()
    for word in scope.split("/"):
        secret = digest(secret, word.encode(), "sha256")
    if not compare_digest(digest(secret, text.encode(), "sha256").hex(), given["Signature"]):
        raise Refused(f"the signature does not fit what arrived; AWS quotes it: {canonical}")


def _expect(request: Received, credential: Mapping[str, str]) -> None:
    """Raise ``Refused`` unless this credential came and no other."""
    carriers = ("authorization", "api-key", "x-api-key", "x-goog-api-key")
    found = {name: value for name, value in request.headers.items() if name in carriers}
    if found != credential:
        raise Refused(f"wrong credential: {sorted(found)}")


def _decoded(part: str) -> bytes:
    return urlsafe_b64decode(part + "=" * (-len(part) % 4))


def _frames() -> Iterator[bytes]:
    events: list[tuple[str, dict[str, Any]]] = [
        ("messageStart", {"role": "assistant"}),
        *(("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}}) for word in ("Guten ", "Tag.")),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        ("metadata", {"usage": {"inputTokens": 9, "outputTokens": 4, "totalTokens": 13}, "metrics": {"latencyMs": 5}}),
    ]
    for name, payload in events:
        headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
        yield encode(headers, json.dumps(payload).encode())


async def _answer(exchange: Exchange, status: int, body: Any) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    await exchange.start(status, [("content-type", "application/json"), ("x-amzn-requestid", "mock-1")], len(content))
    await exchange.write(content)
    await exchange.finish()


def model_of(request: Received) -> str:
    """Return the model in the path of a Converse request."""
    return unquote(request.target.removeprefix("/model/").rpartition("/")[0])
