"""The table says where a request leads; nothing that is not in it reaches a model, and nothing else is closed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_gateway.routes import match

MODELS = [
    ("POST", "/v1/chat/completions", "openai_chat", "chat"),
    ("POST", "/chat/completions", "openai_chat", "chat"),
    ("POST", "/v1/completions", "openai_chat", "completions"),
    ("POST", "/completions", "openai_chat", "completions"),
    ("POST", "/v1/embeddings", "openai_chat", "embeddings"),
    ("POST", "/embeddings", "openai_chat", "embeddings"),
    ("POST", "/v1/responses", "openai_responses", "responses"),
    ("POST", "/responses", "openai_responses", "responses"),
    ("POST", "/v1/messages", "anthropic_messages", "chat"),
    ("POST", "/v1/messages/count_tokens", "anthropic_messages", "count_tokens"),
]


@pytest.mark.parametrize(("method", "path", "dialect", "operation"), MODELS)
def test_a_vendors_path_asks_a_model_in_its_dialect(method: str, path: str, dialect: str, operation: str) -> None:
    route = match(method, path, b"")
    assert (route.kind, route.dialect.name, route.operation) == ("model", dialect, operation)
    assert route.model is None and route.stream is None, "the body says them"


@pytest.mark.parametrize(("method", "path", "dialect", "operation"), MODELS)
@pytest.mark.parametrize("other", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"])
def test_another_method_on_it_is_refused_in_its_dialect(
    method: str, path: str, dialect: str, operation: str, other: str
) -> None:
    route = match(other, path, b"")
    assert (route.kind, route.refusal, route.dialect.name) == ("closed", "method_not_allowed", dialect)
    assert route.allow == method


@pytest.mark.parametrize(
    ("path", "dialect", "model"),
    [
        ("/v1/models", "openai_chat", None),
        ("/models", "openai_chat", None),
        ("/v1/models/gpt-4o", "openai_chat", "gpt-4o"),
        ("/v1/models/openai/gpt-4o", "openai_chat", "openai/gpt-4o"),
        ("/models/gpt-4o", "openai_chat", "gpt-4o"),
        ("/v1beta/models", "gemini", None),
        ("/v1beta/models/gemini-2.5-flash", "gemini", "gemini-2.5-flash"),
    ],
)
def test_models_are_listed(path: str, dialect: str, model: str | None) -> None:
    route = match("GET", path, b"")
    assert (route.kind, route.dialect.name, route.model) == ("models", dialect, model)


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/gpt-4o"])
@pytest.mark.parametrize(
    ("header", "dialect"),
    [(b"anthropic-version", "anthropic_messages"), (b"x-goog-api-key", "gemini"), (b"x-api-key", "openai_chat")],
)
def test_models_are_listed_as_the_client_reads_them(path: str, header: bytes, dialect: str) -> None:
    route = match("GET", path, b"", [(b"host", b"here"), (header, b"x")])
    assert (route.kind, route.dialect.name) == ("models", dialect)


@pytest.mark.parametrize("version", ["v1beta", "v1"])
@pytest.mark.parametrize(
    ("verb", "query", "operation", "stream"),
    [
        ("generateContent", b"", "chat", False),
        ("streamGenerateContent", b"alt=sse", "chat", True),
        ("streamGenerateContent", b"key=k&alt=sse", "chat", True),
        ("streamGenerateContent", b"", "chat_array", True),
        ("streamGenerateContent", b"xalt=sse", "chat_array", True),
        ("streamGenerateContent", b"alt=json", "chat_array", True),
        ("countTokens", b"", "count_tokens", False),
        ("embedContent", b"", "embed_content", False),
        ("batchEmbedContents", b"", "embeddings", False),
    ],
)
def test_geminis_verbs(version: str, verb: str, query: bytes, operation: str, stream: bool) -> None:
    route = match("POST", f"/{version}/models/gemini-2.5-flash:{verb}", query)
    assert (route.kind, route.dialect.name, route.operation) == ("model", "gemini", operation)
    assert (route.model, route.stream) == ("gemini-2.5-flash", stream)


@pytest.mark.parametrize("name", ["tunedModels/mine", "openai/gpt-4o", "a:b", "100%25", "%2e%2e", "a b"])
def test_the_models_name_is_taken_as_the_path_has_it(name: str) -> None:
    # The path comes decoded; to decode it again would let a name mean another one than was looked at.
    assert match("POST", f"/v1beta/models/{name}:generateContent", b"").model == name


@pytest.mark.parametrize(
    ("method", "path", "refusal"),
    [
        ("POST", "/v1beta/models/gemini-pro:predict", "not_found"),
        ("GET", "/v1beta/models/gemini-pro:generateContent", "method_not_allowed"),
        ("DELETE", "/v1/models/gemini-pro:countTokens", "method_not_allowed"),
    ],
)
def test_geminis_other_verbs_are_closed_in_its_dialect(method: str, path: str, refusal: str) -> None:
    route = match(method, path, b"")
    assert (route.kind, route.dialect.name, route.refusal) == ("closed", "gemini", refusal)
    assert route.allow == ("POST" if refusal == "method_not_allowed" else "")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files",
        "/v1/files/file-1/content",
        "/v1/uploads",
        "/v1/batches/b1/cancel",
        "/v1/fine_tuning/jobs",
        "/v1/images/generations",
        "/v1/audio/speech",
        "/v1/moderations",
        "/v1/realtime",
        "/v1/responses/resp_1/cancel",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_objects_that_no_token_owns_are_closed(method: str, path: str) -> None:
    assert (match(method, path, b"").kind, match(method, path, b"").refusal) == ("closed", "not_found")


@pytest.mark.parametrize("path", ["/v1/proxy", "/v1/proxy/", "/v1/proxy/services", "/v1/proxy/services/"])
def test_what_names_no_service_is_the_gateways_own_and_never_an_upstreams(path: str) -> None:
    assert match("POST", path, b"").kind == "closed"


@pytest.mark.parametrize("path", ["", "/", "/v1/charges", "/v1/chat/completions", "//evil.example/"])
def test_a_path_below_a_service_is_that_services(path: str) -> None:
    route = match("POST", f"/v1/proxy/services/stripe{path}", b"")
    assert (route.kind, route.service) == ("api", "stripe")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/customers",
        "/api/chat.postMessage",
        "/v2/models",
        "/v1/filesystem",
        "/v1/images-of-mine",
        "/v1/chat/completions/",
        "/V1/chat/completions",
        "//v1/chat/completions",
        "/v1//chat/completions",
        "/v1/chat/completions/extra",
        "/v1/messages/batches",
        "/v1beta/files",
        "/",
        "",
    ],
)
def test_anything_else_is_an_apis(path: str) -> None:
    assert match("POST", path, b"").kind == "api"


@given(
    st.sampled_from(["GET", "POST", "PURGE", ""]),
    st.sampled_from(["", "/", "/v1", "/v1/", "/v1beta/models/"]),
    st.text() | st.text(st.sampled_from("models:/%.\n\x00 generateContent"), max_size=40),
    st.binary() | st.just(b"alt=sse"),
)
def test_no_path_is_too_strange(method: str, start: str, rest: str, query: bytes) -> None:
    route = match(method, start + rest, query)
    assert route.kind in ("model", "models", "api", "closed")
    assert route.kind != "model" or (method == "POST" and route.operation in route.dialect.operations)
