"""The data plane's table: method and path to dialect and operation. What stands here is a model's route; all else is an
API's.

Only the vendors' own paths are listed. ``/v1`` may be left out of OpenAI's. Nothing here looks at a body.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from ailink_provider.builtin import dialects
from ailink_provider.dialects import Dialect

Kind = Literal["model", "models", "api", "closed"]


class Route(Struct, frozen=True):
    """Where a request leads.

    kind: "model" asks a model, "models" lists them, "api" goes to the token's own upstream, "closed" is refused with
    the code ``refusal``, and ``allow`` is the method that would not be. dialect: how the client speaks, errors
    included. model and stream are set where the path says them; service is the name of the registered API that the
    path is below.
    """

    kind: Kind
    dialect: Dialect
    operation: str = ""
    model: str | None = None
    stream: bool | None = None
    refusal: str = "not_found"
    allow: str = ""
    service: str | None = None


# method, path, dialect, operation
TABLE = (
    ("POST", "/v1/chat/completions", "openai_chat", "chat"),
    ("POST", "/v1/completions", "openai_chat", "completions"),
    ("POST", "/v1/embeddings", "openai_chat", "embeddings"),
    ("POST", "/v1/responses", "openai_responses", "responses"),
    ("GET", "/v1/models", "openai_chat", "models"),
    ("POST", "/v1/messages", "anthropic_messages", "chat"),
    ("POST", "/v1/messages/count_tokens", "anthropic_messages", "count_tokens"),
    ("GET", "/v1beta/models", "gemini", "models"),
)

# verb, operation, stream: the part after the colon in /v1beta/models/{model}:{verb}
VERBS = {
    "generateContent": ("chat", False),
    "streamGenerateContent": ("chat", True),
    "countTokens": ("count_tokens", False),
    "embedContent": ("embed_content", False),
    "batchEmbedContents": ("embeddings", False),
}
_VERB_PATH = re.compile(r"/v1(?:beta)?/models/(.+):([A-Za-z]+)")
_ONE_MODEL = re.compile(r"(/v1beta|/v1|)/models/([^:]+)")
# Vendors share the path of their lists of models. Whose list a client can read shows in a header that it sends.
_READERS = ((b"anthropic-version", "anthropic_messages"), (b"x-goog-api-key", "gemini"))
_SHORT = ("/chat/completions", "/completions", "/embeddings", "/models", "/responses")

_SERVICE = re.compile(r"/v1/proxy/services/([^/]+)(?:/.*)?")

# Objects that belong to one account cannot be shared by tokens until each is known to be its token's.
_CLOSED = re.compile(
    r"/v1/(files|uploads|batches|fine_tuning|images|audio|moderations|realtime|responses(?=/)|proxy)(/.*)?"
)


@lru_cache(maxsize=1)
def _table() -> dict[tuple[str, str], Route]:
    routes = {}
    for method, path, dialect, operation in TABLE:
        route = Route("models" if operation == "models" else "model", dialects()[dialect], operation)
        routes[method, path] = route
        if (short := path.removeprefix("/v1")) in _SHORT:
            routes[method, short] = route
    return routes


def match(method: str, path: str, query: bytes, headers: Sequence[tuple[bytes, bytes]] = ()) -> Route:
    """Return where a request leads; ``headers`` have lower-case names. Never fails: what is not in the table is an
    API's.
    """
    route = _table().get((method, path))
    if route is None and (found := _VERB_PATH.fullmatch(path)):
        return _verb(method, found, query)
    route = route or _other(method, path)
    return _in_words_of(route, headers) if route.kind == "models" else route


def _in_words_of(route: Route, headers: Sequence[tuple[bytes, bytes]]) -> Route:
    sent = {name for name, _ in headers}
    for header, dialect in _READERS:
        if header in sent:
            return replace(route, dialect=dialects()[dialect])
    return route


def _verb(method: str, found: re.Match[str], query: bytes) -> Route:
    dialect = dialects()["gemini"]
    model, verb = found[1], found[2]
    if method != "POST" or verb not in VERBS:
        if verb not in VERBS:
            return Route("closed", dialect)
        return Route("closed", dialect, refusal="method_not_allowed", allow="POST")
    operation, stream = VERBS[verb]
    if stream and b"alt=sse" not in query.split(b"&"):
        operation = "chat_array"
    return Route("model", dialect, operation, model, stream)


@lru_cache(maxsize=1024)
def _other(method: str, path: str) -> Route:
    dialect = dialects()["openai_chat"]
    if found := _SERVICE.fullmatch(path):
        return Route("api", dialect, service=found[1])
    if method == "GET" and (found := _ONE_MODEL.fullmatch(path)):
        return Route("models", dialects()["gemini"] if found[1] == "/v1beta" else dialect, "models", found[2])
    if _CLOSED.fullmatch(path):
        return Route("closed", dialect)
    for (allowed, known), route in _table().items():
        if known == path:
            return Route("closed", route.dialect, refusal="method_not_allowed", allow=allowed)
    return Route("api", dialect)
