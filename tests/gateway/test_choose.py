"""Which target answers, step by step as the contract says it; and that no way of naming a model opens another door."""

from collections.abc import Callable
from typing import Any

import pytest

from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Grant, Snapshot, Upstream
from ailink_gateway.stages.choose import Choose
from ailink_gateway.targets import Resolver, is_allowed, resolve, visible
from ailink_provider.errors import Failure

MakeUpstream = Callable[..., Upstream]
MakeExchange = Callable[..., Exchange]
MakeGrant = Callable[..., Grant]


@pytest.fixture
def make_grant(make_upstream: MakeUpstream) -> MakeGrant:
    """Makes a grant; ``own`` is a provider's name or "unknown", ``project`` names of providers."""

    def make(own: str | None = None, project: tuple[str, ...] = (), **fields: Any) -> Grant:
        upstream = None
        if own is not None:
            name = None if own in ("unknown", "generic") else own
            key = None if fields.get("passthrough") else b"key-of-the-token"
            upstream = make_upstream(name, f"https://own-{own}.example", key, generic=own == "generic")
        return Grant(
            token_id="tok_a",
            token_name="a",
            project_id="p",
            own=upstream,
            project={name: make_upstream(name, f"https://project-{name}.example") for name in project},
            **fields,
        )

    return make


@pytest.fixture
def make_snapshot(make_upstream: MakeUpstream) -> Callable[..., Snapshot]:
    """Makes a snapshot in which these providers have a key from the environment."""

    def make(*environment: str, simulated: bool = False, **fields: Any) -> Snapshot:
        return Snapshot(
            environment={name: make_upstream(name, f"https://env-{name}.example") for name in environment},
            simulated=make_upstream(None, "https://simulated.example", None) if simulated else None,
            **fields,
        )

    return make


def found(model: str, grant: Grant, snapshot: Snapshot) -> list[tuple[str, str]]:
    """Return the targets as (host, model)."""
    targets = resolve(model, grant, snapshot)
    return [(target.upstream.origin.host.removesuffix(".example"), target.model) for target in targets]


ALIASES = {"fast": "gpt-4o-mini", "far": "openrouter/openai/gpt-4o", "openai/gpt-4o": "claude-opus-5"}

# model | the token's own upstream | the project's keys | the environment's keys -> host, model
STEPS: list[tuple[str, str | None, tuple[str, ...], tuple[str, ...], str, str]] = [
    # (1) a provider's name as a prefix is stripped ...
    ("openai/gpt-4o", None, (), ("openai",), "env-openai", "gpt-4o"),
    ("openai/gpt-4o", None, ("openai",), ("openai",), "project-openai", "gpt-4o"),
    ("openai/gpt-4o", "openai", ("openai",), ("openai",), "own-openai", "gpt-4o"),
    ("openai/gpt-4o", "anthropic", ("openai",), ("openai",), "project-openai", "gpt-4o"),
    ("openai/whatever-it-is", None, (), ("openai", "anthropic"), "env-openai", "whatever-it-is"),
    ("openai/claude-opus-5", None, (), ("openai", "anthropic"), "env-openai", "claude-opus-5"),
    ("aiml/openai/gpt-4o", None, (), ("aiml", "openai"), "env-aiml", "openai/gpt-4o"),
    ("openrouter/openai/gpt-4o", None, (), ("openrouter", "openai"), "env-openrouter", "openai/gpt-4o"),
    ("openrouter/openai/gpt-4o", "openai", (), ("openrouter",), "env-openrouter", "openai/gpt-4o"),
    # ... unless the token's own upstream may have such names itself
    ("openai/gpt-4o", "openrouter", (), (), "own-openrouter", "openai/gpt-4o"),
    ("openai/gpt-4o", "openrouter", ("openai",), ("openai",), "own-openrouter", "openai/gpt-4o"),
    ("openrouter/auto", "openrouter", (), (), "own-openrouter", "openrouter/auto"),
    ("openai/gpt-4o", "unknown", ("openai",), ("openai",), "own-unknown", "openai/gpt-4o"),
    ("anthropic/claude-opus-5", "unknown", (), ("anthropic",), "own-unknown", "anthropic/claude-opus-5"),
    # (4) the name's family: the token's own, the project's, the environment's
    ("gpt-4o", "openai", ("openai",), ("openai",), "own-openai", "gpt-4o"),
    ("gpt-4o", "unknown", ("openai",), ("openai",), "own-unknown", "gpt-4o"),
    ("gpt-4o", "anthropic", ("openai",), ("openai",), "project-openai", "gpt-4o"),
    ("gpt-4o", "anthropic", (), ("openai",), "env-openai", "gpt-4o"),
    ("gpt-4o", "openrouter", (), ("openai",), "env-openai", "gpt-4o"),
    ("gpt-4o", None, ("openai",), ("openai",), "project-openai", "gpt-4o"),
    ("gpt-4o", None, (), ("openai", "openrouter"), "env-openai", "gpt-4o"),
    ("claude-opus-5", None, ("anthropic",), ("openai",), "project-anthropic", "claude-opus-5"),
    ("gemini-2.5-flash", None, (), ("gemini", "openai"), "env-gemini", "gemini-2.5-flash"),
    ("o3-mini", None, (), ("openai",), "env-openai", "o3-mini"),
    ("whisper-1", None, (), ("openai",), "env-openai", "whisper-1"),
    # (5) the token's own
    ("gpt-4o", "openrouter", (), (), "own-openrouter", "gpt-4o"),
    ("gpt-4o", "anthropic", (), (), "own-anthropic", "gpt-4o"),
    ("my-model", "anthropic", ("openai",), ("gemini",), "own-anthropic", "my-model"),
    ("acme/my-model", "openai", (), (), "own-openai", "acme/my-model"),
    ("openai/gpt-4o", "anthropic", (), (), "own-anthropic", "openai/gpt-4o"),
    # (6) a provider that lists the model, though its name says nothing
    ("o3", None, (), ("anthropic", "openai"), "env-openai", "o3"),
    ("o3", None, ("openai",), ("openai",), "project-openai", "o3"),
]


@pytest.mark.parametrize(("model", "own", "project", "environment", "host", "asked"), STEPS)
def test_the_first_step_that_finds_one_ends_the_search(
    make_grant: MakeGrant,
    make_snapshot: Callable[..., Snapshot],
    model: str,
    own: str | None,
    project: tuple[str, ...],
    environment: tuple[str, ...],
    host: str,
    asked: str,
) -> None:
    assert found(model, make_grant(own, project), make_snapshot(*environment)) == [(host, asked)]


@pytest.mark.parametrize("model", ["gpt-4o", "openai/gpt-4o", "o3", "my-model", "/gpt-4o", "openai/", "/", "fast"])
def test_without_a_key_there_is_no_target(
    make_grant: MakeGrant, make_snapshot: Callable[..., Snapshot], model: str
) -> None:
    assert found(model, make_grant(), make_snapshot("anthropic")) == []


@pytest.mark.parametrize(
    ("model", "own", "expected"),
    [
        ("fast", None, [("env-openai", "gpt-4o-mini")]),
        ("fast", "unknown", [("own-unknown", "gpt-4o-mini")]),
        ("far", None, [("env-openrouter", "openai/gpt-4o")]),
        ("openai/gpt-4o", None, [("env-openai", "gpt-4o")]),
    ],
)
def test_an_alias_leads_on_after_a_prefix_was_looked_for(
    make_grant: MakeGrant,
    make_snapshot: Callable[..., Snapshot],
    model: str,
    own: str | None,
    expected: list[tuple[str, str]],
) -> None:
    snapshot = make_snapshot("openai", "openrouter", "anthropic", aliases=ALIASES)
    assert found(model, make_grant(own), snapshot) == expected


def test_aliases_do_not_run_in_circles(make_grant: MakeGrant, make_snapshot: Callable[..., Snapshot]) -> None:
    circle = {"a": "b", "b": "a", "gpt-4o": "gpt-4o", "c": "fast", "fast": "gpt-4o"}
    snapshot = make_snapshot("openai", aliases=circle)
    assert found("a", make_grant(), snapshot) == []
    assert found("c", make_grant(), snapshot) == [], "an alias names a model, not another alias"
    assert found("gpt-4o", make_grant(), snapshot) == [("env-openai", "gpt-4o")]


@pytest.mark.parametrize("own", ["openai", "anthropic", "openrouter", "unknown"])
@pytest.mark.parametrize("model", ["gpt-4o", "claude-opus-5", "gemini/gemini-2.5-pro", "openrouter/x", "fast", "any"])
def test_passthrough_reaches_its_own_upstream_and_never_a_key_of_ours(
    make_grant: MakeGrant, make_snapshot: Callable[..., Snapshot], own: str, model: str
) -> None:
    everything = ("openai", "anthropic", "gemini", "openrouter")
    snapshot = make_snapshot(*everything, simulated=True, aliases=ALIASES)
    grant = make_grant(own, everything, passthrough=True)
    targets = resolve(model, grant, snapshot)
    assert [target.upstream for target in targets] == [grant.own]
    assert all(target.upstream.key is None for target in targets)


def test_the_simulator_answers_for_a_vendor_without_a_key_and_for_nothing_else(
    make_grant: MakeGrant, make_snapshot: Callable[..., Snapshot]
) -> None:
    snapshot = make_snapshot("openai", simulated=True)
    assert found("claude-opus-5", make_grant(), snapshot) == [("simulated", "claude-opus-5")]
    assert found("anthropic/claude-opus-5", make_grant(), snapshot) == [("simulated", "claude-opus-5")]
    assert found("gpt-4o", make_grant(), snapshot) == [("env-openai", "gpt-4o")]
    assert found("my-model", make_grant(), snapshot) == []
    assert found("claude-opus-5", make_grant("unknown"), snapshot) == [("own-unknown", "claude-opus-5")]


# --- restrictions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "model", "may"),
    [
        (("gpt-4o-mini",), "gpt-4o-mini", True),
        (("gpt-4o-mini",), "openai/gpt-4o-mini", True),
        (("gpt-4o-mini",), "fast", True),
        (("gpt-4o-mini",), "gpt-4o", False),
        (("gpt-4o-mini",), "openai/gpt-4o", False),
        (("gpt-4o-mini",), "far", False),
        (("gpt-4o-*",), "gpt-4o-mini", True),
        (("gpt-4o-*",), "gpt-4o", False),
        (("openai/*",), "gpt-4o", True),
        (("openai/*",), "fast", True),
        (("openai/*",), "claude-opus-5", False),
        (("openai/*",), "far", True),  # an aggregator's name for it is a name like any other
        (("anthropic/*",), "far", False),
        (("*",), "claude-opus-5", True),
        # what was asked for is not what is checked
        (("fast",), "fast", False),
        (("far",), "far", False),
        (("openrouter/openai/gpt-4o",), "far", True),
        # globs look at capitals, and a name that is longer is another one
        (("gpt-4o",), "GPT-4o", False),
        (("gpt-4o",), "gpt-4o\n", False),
        (("gpt-4o",), "gpt-4o/", False),
    ],
)
def test_restrictions_hold_for_what_a_name_resolves_to(
    make_grant: MakeGrant,
    make_snapshot: Callable[..., Snapshot],
    allowed: tuple[str, ...],
    model: str,
    may: bool,
) -> None:
    aliases = {"fast": "gpt-4o-mini", "far": "openrouter/openai/gpt-4o"}
    targets = resolve(model, make_grant(), make_snapshot("openai", "anthropic", "openrouter", aliases=aliases))
    assert [is_allowed(target, allowed) for target in targets] == [may] * len(targets)
    assert targets or not may


def test_a_provider_glob_is_about_the_provider_that_is_asked(make_grant: MakeGrant) -> None:
    (target,) = resolve("gpt-4o", make_grant("unknown"), Snapshot())
    assert not is_allowed(target, ("openai/*",)), "an unknown host is not OpenAI, whatever its models are called"
    assert is_allowed(target, ("own-unknown.example/*",))


async def chosen(exchange: Exchange, grant: Grant, snapshot: Snapshot | None = None) -> Exchange:
    """Run the stage alone."""

    async def end(exchange: Exchange) -> Any:
        return None

    exchange.grant = grant
    await Choose(Resolver(snapshot or Snapshot()))(exchange, end)
    return exchange


async def refused(exchange: Exchange, grant: Grant, snapshot: Snapshot | None = None) -> Failure:
    with pytest.raises(Failure) as caught:
        await chosen(exchange, grant, snapshot)
    return caught.value


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/v1/chat/completions", b'{"model":"gpt-4o"}', []),
        ("/v1/chat/completions", b'{"model":"openai/gpt-4o"}', []),
        ("/v1/chat/completions", b'{"model":"far"}', []),
        ("/v1/chat/completions", b"{}", [(b"x-preferred-model", b"gpt-4o")]),
        ("/v1/chat/completions", b'{"model":null}', []),
        ("/v1/messages", b'{"model":"claude-opus-5"}', []),
        ("/v1beta/models/gpt-4o:generateContent", b'{"model":"gpt-4o-mini"}', []),
        ("/v1beta/models/openai%2Fgpt-4o:generateContent", b"{}", []),
    ],
)
async def test_no_route_leads_round_a_restriction(
    make_exchange: MakeExchange,
    make_grant: MakeGrant,
    make_snapshot: Callable[..., Snapshot],
    path: str,
    body: bytes,
    headers: list[tuple[bytes, bytes]],
) -> None:
    snapshot = make_snapshot("openai", "anthropic", "openrouter", aliases=ALIASES)
    grant = make_grant(allowed_models=("gpt-4o-mini", "gemini-*"), default_model="gpt-4o")
    failure = await refused(make_exchange(path=path, body=body, headers=headers), grant, snapshot)
    assert (failure.code, failure.reason, failure.status) == ("policy_denied", "model_not_allowed", 403)
    assert "gpt-4o-mini, gemini-*" in failure.message


async def test_a_restricted_token_may_not_send_models_to_fall_back_to(
    make_exchange: MakeExchange, make_grant: MakeGrant
) -> None:
    body = b'{"model":"openai/gpt-4o-mini","models":["openai/o1-pro"]}'
    grant = make_grant("openrouter", allowed_models=("openai/gpt-4o-mini",))
    failure = await refused(make_exchange(body=body), grant)
    assert (failure.reason, failure.param) == ("model_not_allowed", "models")
    free = await chosen(make_exchange(body=body), make_grant("openrouter"))
    assert [target.model for target in free.targets] == ["openai/gpt-4o-mini"]


async def test_what_one_token_resolved_another_does_not_get(
    make_exchange: MakeExchange, make_grant: MakeGrant, make_snapshot: Callable[..., Snapshot]
) -> None:
    stage = Choose(Resolver(make_snapshot("openai")))
    one, other = make_grant(project=("openai",)), make_grant(allowed_models=("gpt-4o-mini",))

    async def end(exchange: Exchange) -> Any:
        return None

    for grant in (one, one):
        exchange = make_exchange(body=b'{"model":"gpt-4o"}')
        exchange.grant = grant
        await stage(exchange, end)
        assert exchange.targets[0].upstream is one.project["openai"]
    for _ in range(2):
        exchange = make_exchange(body=b'{"model":"gpt-4o"}')
        exchange.grant = other
        with pytest.raises(Failure, match="may not use"):
            await stage(exchange, end)


async def test_a_grant_remembers_a_bounded_number_of_names(
    make_exchange: MakeExchange, make_grant: MakeGrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ailink_gateway.targets.RESOLVED", 3)
    grant = make_grant("unknown")
    for number in range(10):
        exchange = await chosen(make_exchange(body=b'{"model":"m%d"}' % number), grant)
        assert exchange.targets[0].model == f"m{number}"
    assert len(grant.resolved) == 3


# --- which model, where none or a strange one is named -----------------------------------------------


@pytest.mark.parametrize(
    ("header", "token", "config", "expected"),
    [
        (b"from-header", "from-token", "from-config", "from-header"),
        (b"", "from-token", "from-config", "from-token"),
        (None, "from-token", "from-config", "from-token"),
        (None, None, "from-config", "from-config"),
        (None, None, None, "claude-haiku-4-5"),
    ],
)
async def test_a_missing_model_is_looked_for_in_order(
    make_exchange: MakeExchange,
    make_grant: MakeGrant,
    header: bytes | None,
    token: str | None,
    config: str | None,
    expected: str,
) -> None:
    headers = [] if header is None else [(b"x-preferred-model", header)]
    grant = make_grant("anthropic", default_model=token)
    exchange = await chosen(make_exchange(body=b"{}", headers=headers), grant, Snapshot(default_model=config))
    assert (exchange.model, [target.model for target in exchange.targets]) == (expected, [expected])


async def test_without_any_default_the_way_out_is_said(make_exchange: MakeExchange, make_grant: MakeGrant) -> None:
    failure = await refused(make_exchange(body=b"{}"), make_grant("unknown"))
    assert (failure.code, failure.param) == ("invalid_request", "model")


@pytest.mark.parametrize(("route", "body"), [("chat/completions", b"{}"), ("completions", b'{"prompt":"x"}')])
async def test_the_default_model_is_asked_across_dialects(
    call: Any, listener: Any, make_grant: MakeGrant, route: str, body: bytes
) -> None:
    body = body if route == "completions" else b'{"messages":[{"role":"user","content":"x"}]}'
    await call(make_grant("anthropic", default_model="claude-opus-5"), "POST", f"/v1/{route}", body)
    assert b'"model":"claude-opus-5"' in listener.asked[0].body


STRANGE = [
    b'""',
    b"7",
    b"[]",
    b"{}",
    b"true",
    b'"a\\nb"',
    b'"a\\u0000"',
    b'"gpt-4o\\u2028"',
    b'"../x"',
    b'"gemini-x/../../tunedModels/y"',
    b'"%b"' % (b"a" * 257),
]


@pytest.mark.parametrize("value", STRANGE)
async def test_a_strange_model_in_the_body_is_refused(
    make_exchange: MakeExchange, make_grant: MakeGrant, value: bytes
) -> None:
    failure = await refused(make_exchange(body=b'{"model":%b,"messages":[]}' % value), make_grant("unknown"))
    assert (failure.code, failure.param, failure.status) == ("invalid_request", "model", 400)


@pytest.mark.parametrize("name", ["%00", "a%0Db", "a" * 257, "..", "a/../b", "a%2F..%2Fb", "%C2%85"])
async def test_a_strange_model_in_the_path_is_refused(
    make_exchange: MakeExchange, make_grant: MakeGrant, name: str
) -> None:
    exchange = make_exchange(path=f"/v1beta/models/{name}:generateContent", body=b"{}")
    failure = await refused(exchange, make_grant("gemini"))
    assert (failure.code, failure.param) == ("invalid_request", "model")


@pytest.mark.parametrize("name", [b"a" * 257, b"a\tb", b"\x80", b"../x"])
async def test_a_strange_model_in_a_header_is_refused(
    make_exchange: MakeExchange, make_grant: MakeGrant, name: bytes
) -> None:
    exchange = make_exchange(headers=[(b"x-preferred-model", name)], body=b"{}")
    assert (await refused(exchange, make_grant("unknown"))).param == "model"


@pytest.mark.parametrize("value", [b"1", b'"true"', b"[]", b"{}"])
async def test_stream_is_true_or_false(make_exchange: MakeExchange, make_grant: MakeGrant, value: bytes) -> None:
    body = b'{"model":"m","stream":%b}' % value
    assert (await refused(make_exchange(body=body), make_grant("unknown"))).param == "stream"


@pytest.mark.parametrize(("value", "expected"), [(b"true", True), (b"false", False), (b"null", False)])
async def test_the_body_says_whether_to_stream(
    make_exchange: MakeExchange, make_grant: MakeGrant, value: bytes, expected: bool
) -> None:
    exchange = await chosen(make_exchange(body=b'{"model":"m","stream":%b}' % value), make_grant("unknown"))
    assert exchange.streaming is expected


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"nothing",
        b"\xff",
        b"[" * 99,
        b'{"model":"a","model":"b"}',
        b'{"mod\\u0065l":"a","model":"b"}',
        b'{"model":"\xff","messages":[]}',
    ],
)
async def test_a_body_that_is_no_object_with_one_meaning_is_refused(
    make_exchange: MakeExchange, make_grant: MakeGrant, body: bytes
) -> None:
    assert (await refused(make_exchange(body=body), make_grant("unknown"))).code == "invalid_request"


# --- what is said of unknown models ------------------------------------------------------------------


async def test_an_unknown_model_is_answered_with_what_this_token_has(
    make_exchange: MakeExchange, make_grant: MakeGrant, make_snapshot: Callable[..., Snapshot]
) -> None:
    snapshot = make_snapshot("anthropic", aliases={"fast": "claude-haiku-4-5"})
    failure = await refused(make_exchange(body=b'{"model":"no-such"}'), make_grant(), snapshot)
    assert (failure.code, failure.status, failure.param) == ("model_not_found", 404, "model")
    assert "'no-such'" in failure.message and "fast, claude-" in failure.message
    assert "gpt-" not in failure.message and "gemini-" not in failure.message, "no key, so not named"


async def test_another_projects_things_are_not_named(make_exchange: MakeExchange, make_grant: MakeGrant) -> None:
    failure = await refused(make_exchange(body=b'{"model":"no-such"}'), make_grant())
    assert failure.message.endswith("This token reaches no provider yet: store a credential.")


async def test_only_what_is_allowed_is_named(
    make_exchange: MakeExchange, make_grant: MakeGrant, make_snapshot: Callable[..., Snapshot]
) -> None:
    grant = make_grant(allowed_models=("gpt-4o-mini",))
    failure = await refused(make_exchange(body=b'{"model":"no-such"}'), grant, make_snapshot("openai", "anthropic"))
    assert failure.message.endswith("Known here: gpt-4o-mini.")


@pytest.mark.parametrize("model", ["gpt-4o", "openai/gpt-4o"])
async def test_a_vendor_without_a_key_is_said_to_lack_one(
    make_exchange: MakeExchange, make_grant: MakeGrant, model: str
) -> None:
    failure = await refused(make_exchange(body=b'{"model":"%b"}' % model.encode()), make_grant())
    assert (failure.code, failure.status) == ("credential_missing", 502)
    assert "OPENAI_API_KEY" in failure.message


async def test_a_long_name_is_not_repeated_whole(make_exchange: MakeExchange, make_grant: MakeGrant) -> None:
    failure = await refused(make_exchange(body=b'{"model":"%b"}' % (b"x" * 256)), make_grant())
    assert len(failure.message) < 300


@pytest.mark.parametrize("model", ["gpt-4o ", " gpt-4o", "openai/gpt-4o ", " "])
async def test_a_name_with_spaces_around_it_is_none(
    make_exchange: MakeExchange, make_grant: MakeGrant, make_snapshot: Callable[..., Snapshot], model: str
) -> None:
    failure = await refused(
        make_exchange(body=b'{"model":"%b"}' % model.encode()), make_grant(), make_snapshot("openai")
    )
    assert (failure.code, failure.param) == ("invalid_request", "model")


# --- the list of models ------------------------------------------------------------------------------


def test_the_list_shows_what_may_be_asked_and_no_more(
    make_grant: MakeGrant, make_snapshot: Callable[..., Snapshot]
) -> None:
    snapshot = make_snapshot("openai", "anthropic", aliases={"fast": "gpt-4o-mini", "smart": "claude-opus-5"})

    def shown(*allowed: str) -> list[str]:
        return [model for model, _ in visible(make_grant(allowed_models=allowed), snapshot)]

    assert shown("gpt-4o-mini") == ["fast", "gpt-4o-mini"], "an alias of what is allowed is shown"
    assert shown("fast") == [], "an alias that would be refused is not"
    assert "gpt-4o" in shown("openai/*") and "claude-opus-5" not in shown("openai/*")
    assert {"fast", "smart", "gpt-4o", "claude-opus-5"} <= set(shown())


def test_passthrough_lists_its_own_vendor_alone(make_grant: MakeGrant, make_snapshot: Callable[..., Snapshot]) -> None:
    snapshot = make_snapshot("openai", "gemini", simulated=True, aliases=ALIASES)
    grant = make_grant("anthropic", ("openai",), passthrough=True)
    assert {owner for _, owner in visible(grant, snapshot)} == {"anthropic"}


async def test_one_model_of_the_list(call: Any, make_grant: MakeGrant, make_snapshot: Callable[..., Snapshot]) -> None:
    snapshot = make_snapshot("openai")
    assert (await call(make_grant(), "GET", "/v1/models/gpt-4o", snapshot=snapshot)).status == 200
    answer = await call(make_grant(), "GET", "/v1/models/claude-opus-5", snapshot=snapshot)
    assert (answer.status, answer.headers["x-ailink-error"]) == (404, "model_not_found")


# --- other APIs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", ["openai", "anthropic", "openrouter"])
async def test_on_a_vendors_host_only_model_routes_are_open(
    make_exchange: MakeExchange, make_grant: MakeGrant, own: str
) -> None:
    for path in ("/v1/organization/api_keys", "/v1/messages/batches", "/api/v1/credits", "//v1/files"):
        failure = await refused(make_exchange("GET", path), make_grant(own))
        assert (failure.code, failure.reason) == ("policy_denied", "path_not_allowed")
    exchange = await chosen(make_exchange("GET", "/v1/usage"), make_grant(own, raw_paths=True))
    assert exchange.targets[0].upstream is exchange.grant.own  # type: ignore[union-attr]


async def test_without_an_upstream_of_its_own_a_token_reaches_no_api(
    make_exchange: MakeExchange, make_grant: MakeGrant, make_snapshot: Callable[..., Snapshot]
) -> None:
    grant = make_grant(None, ("openai",))
    failure = await refused(make_exchange("GET", "/v1/customers"), grant, make_snapshot("openai"))
    assert failure.code == "not_found"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("DELETE", "/v1/chat/completions"),
        ("POST", "/v1beta/models/x:generateContent"),
        ("POST", "/v1/files"),
        ("GET", "/v1/customers"),
        ("POST", "/v1/proxyish"),
    ],
)
async def test_a_generic_token_owns_its_paths(
    make_exchange: MakeExchange, make_grant: MakeGrant, method: str, path: str
) -> None:
    exchange = await chosen(make_exchange(method, path, body=b"not json"), make_grant("generic"))
    assert exchange.route.kind == "api"
    assert exchange.targets[0].upstream is exchange.grant.own  # type: ignore[union-attr]


@pytest.mark.parametrize("path", ["/v1/proxy", "/v1/proxy/", "/v1/proxy/services/stripe/x", "/v1/pr%6Fxy/services/a/b"])
async def test_even_a_generic_token_does_not_own_the_gateways_services(
    make_exchange: MakeExchange, make_grant: MakeGrant, path: str
) -> None:
    assert (await refused(make_exchange("POST", path), make_grant("generic"))).status in (403, 404)


async def test_the_body_of_a_closed_route_is_not_waited_for(
    make_exchange: MakeExchange, make_grant: MakeGrant, client: Any
) -> None:
    exchange = make_exchange("POST", "/v1/files", body=b"x")
    assert (await refused(exchange, make_grant("unknown"))).code == "not_found"
    assert len(client.incoming) == 1


# --- several upstreams of one token ------------------------------------------------------------------


def several(make_upstream: MakeUpstream, *names: str | None) -> dict[str, Any]:
    upstreams = [make_upstream(name, f"https://{number}.example") for number, name in enumerate(names)]
    return {"own": upstreams[0], "further": tuple(upstreams[1:])}


@pytest.mark.parametrize(
    ("own", "model", "expected"),
    [
        # those of the family, or of no known vendor
        (("openai", "anthropic", None), "gpt-4o", [("0", "gpt-4o"), ("2", "gpt-4o")]),
        (("openai", "anthropic"), "claude-x", [("1", "claude-x")]),
        # a prefix goes to all of that vendor
        (("openai", "anthropic", "openai"), "openai/gpt-4o", [("0", "gpt-4o"), ("2", "gpt-4o")]),
        # failover stays within the step: the project's key is not the next one to try
        (("openai", "openai"), "gpt-4o", [("0", "gpt-4o"), ("1", "gpt-4o")]),
        # an unknown name may be asked of any of them
        (("openai", None), "own-model", [("0", "own-model"), ("1", "own-model")]),
        # no own one serves it: the project does
        (("anthropic", "anthropic"), "gpt-4o", [("project-openai", "gpt-4o")]),
    ],
)
def test_the_step_that_finds_them_yields_all_of_its_targets(
    make_upstream: MakeUpstream, own: tuple[str | None, ...], model: str, expected: list[tuple[str, str]]
) -> None:
    project = {"openai": make_upstream("openai", "https://project-openai.example")}
    grant = Grant("tok_a", "a", "p", project=project, **several(make_upstream, *own))
    assert found(model, grant, Snapshot()) == expected


def test_passthrough_with_several_reaches_no_key_of_ours_and_no_other_vendor(make_upstream: MakeUpstream) -> None:
    names = ("openai", "openai", "anthropic")
    upstreams = tuple(make_upstream(name, f"https://{number}.example", None) for number, name in enumerate(names))
    project = {"anthropic": make_upstream("anthropic", "https://project.example")}
    grant = Grant("t", "t", "p", own=upstreams[0], further=upstreams[1:], passthrough=True, project=project)
    assert found("claude-x", grant, Snapshot()) == [("0", "claude-x"), ("1", "claude-x")]


async def test_only_upstreams_that_are_no_vendors_get_an_apis_paths(
    make_exchange: MakeExchange, make_upstream: MakeUpstream
) -> None:
    grant = Grant("t", "t", "p", **several(make_upstream, "openai", None, "anthropic"))
    exchange = await chosen(make_exchange("GET", "/things"), grant)
    assert [target.upstream.origin.host for target in exchange.targets] == ["1.example"]
