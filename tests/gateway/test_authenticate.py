"""Who calls: found where the official clients put it, refused when it is not clear, and kept from all that follows."""

from collections.abc import Callable
from typing import Any

import pytest

from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Grant, Key
from ailink_gateway.stages.authenticate import Authenticate
from ailink_provider.errors import Failure

MINE, OTHER = "ailink_v1_proj_default_tok_mine", "ailink_v1_proj_default_tok_other"
GEMINI = "/v1beta/models/gemini-2.5-flash:generateContent"
MakeExchange = Callable[..., Exchange]


def grant(name: str = "mine", **fields: Any) -> Grant:
    return Grant(token_id=f"tok_{name}", token_name=name, project_id="default", **fields)


@pytest.fixture
def directory(callers: type[Any]) -> Any:
    return callers(**{MINE: grant(), OTHER: grant("other")})


async def authenticated(exchange: Exchange, directory: Any) -> Exchange:
    seen: list[Exchange] = []

    async def end(exchange: Exchange) -> Any:
        seen.append(exchange)

    await Authenticate(directory)(exchange, end)
    assert seen == [exchange]
    return exchange


async def refused(exchange: Exchange, directory: Any) -> Failure:
    with pytest.raises(Failure) as caught:
        await authenticated(exchange, directory)
    assert exchange.grant is None
    return caught.value


def bearer(secret: str, scheme: str = "Bearer") -> tuple[bytes, bytes]:
    return b"authorization", f"{scheme} {secret}".encode()


@pytest.mark.parametrize(
    "headers",
    [
        [bearer(MINE)],
        [bearer(MINE, "bearer")],
        [bearer(MINE, "BEARER")],
        [bearer(f" {MINE} ")],
        [(b"x-api-key", MINE.encode())],
        [(b"x-goog-api-key", MINE.encode())],
        [bearer(MINE), (b"x-api-key", MINE.encode()), (b"x-goog-api-key", MINE.encode())],
        [bearer(MINE), bearer(MINE)],
        # an official client insists on a key of its own beside the token
        [bearer(MINE), (b"x-api-key", b"sk-ant-placeholder")],
        [bearer("placeholder"), (b"x-goog-api-key", MINE.encode())],
    ],
)
async def test_the_token_is_found_where_clients_put_it(
    make_exchange: MakeExchange, directory: Any, headers: list[tuple[bytes, bytes]]
) -> None:
    exchange = await authenticated(make_exchange(headers=headers), directory)
    assert exchange.grant == grant()
    assert directory.asked == [MINE]


@pytest.mark.parametrize(
    "headers",
    [
        [bearer(MINE), (b"x-api-key", OTHER.encode())],
        [bearer(MINE), bearer(OTHER)],
        [(b"x-api-key", OTHER.encode()), (b"x-api-key", MINE.encode())],
        [(b"x-api-key", MINE.encode()), (b"x-goog-api-key", b"ailink_admin_0123456789")],
        [bearer(MINE), (b"x-admin-key", b"ailink_admin_0123456789")],
        [bearer(MINE), (b"x-api-key", b"sk-ailb_another")],
        [bearer("foreign"), (b"x-api-key", b"also-foreign")],
    ],
)
async def test_two_different_secrets_are_none(
    make_exchange: MakeExchange, directory: Any, headers: list[tuple[bytes, bytes]]
) -> None:
    failure = await refused(make_exchange(headers=headers), directory)
    assert (failure.code, failure.status) == ("invalid_api_key", 401)
    assert "two different keys" in failure.message
    assert directory.asked == [], "it is not looked up either"


@pytest.mark.parametrize("value", ["Basic bWU6cHc=", MINE, "Bearer", "Token x", ""])
async def test_authorization_is_a_bearers(make_exchange: MakeExchange, directory: Any, value: str) -> None:
    failure = await refused(make_exchange(headers=[(b"authorization", value.encode())]), directory)
    assert failure.code == "invalid_api_key"
    assert directory.asked == []


async def test_a_two_schemes_request_is_refused_though_one_fits(make_exchange: MakeExchange, directory: Any) -> None:
    headers = [(b"authorization", b"Basic bWU6cHc="), bearer(MINE)]
    assert (await refused(make_exchange(headers=headers), directory)).code == "invalid_api_key"


async def test_nobody_is_refused(make_exchange: MakeExchange, directory: Any) -> None:
    failure = await refused(make_exchange(), directory)
    assert (failure.code, failure.status) == ("invalid_api_key", 401)
    assert failure.message.startswith("Invalid API key: ")


async def test_nobody_is_anonymous_where_that_is_open(make_exchange: MakeExchange, directory: Any) -> None:
    directory.nobody = grant("anonymous")
    assert (await authenticated(make_exchange(), directory)).grant == grant("anonymous")


@pytest.mark.parametrize("headers", [[(b"x-api-key", b"")], [bearer("unknown")], [(b"x-goog-api-key", b"\xff\xfe")]])
async def test_a_bad_key_is_not_anonymous(
    make_exchange: MakeExchange, directory: Any, headers: list[tuple[bytes, bytes]]
) -> None:
    directory.nobody = grant("anonymous")
    assert (await refused(make_exchange(headers=headers), directory)).code == "invalid_api_key"


@pytest.mark.parametrize("name", [b"x-admin-key", b"x-user-id", b"api-key", b"cookie", b"x_api_key"])
async def test_no_other_header_names_a_caller(make_exchange: MakeExchange, directory: Any, name: bytes) -> None:
    await refused(make_exchange(headers=[(name, MINE.encode())]), directory)
    assert directory.asked == []


async def test_an_expired_token_is_refused_though_its_grant_is_kept(make_exchange: MakeExchange, callers: Any) -> None:
    exchange = make_exchange(headers=[bearer(MINE)])
    for moment, may in ((exchange.created_at, False), (exchange.created_at + 60, True)):
        directory = callers(**{MINE: grant(expires_at=moment)})
        exchange = make_exchange(headers=[bearer(MINE)])
        if may:
            await authenticated(exchange, directory)
        else:
            assert "expired" in (await refused(exchange, directory)).message


# --- the query ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "left"),
    [
        (f"key={MINE}", b""),
        (f"alt=sse&key={MINE}", b"alt=sse"),
        (f"key={MINE}&alt=sse&key={MINE}", b"alt=sse"),
        (f"a=1&k%65y={MINE}&b=%26&c=", b"a=1&b=%26&c="),
    ],
)
async def test_geminis_key_leaves_the_query(
    make_exchange: MakeExchange, directory: Any, query: str, left: bytes
) -> None:
    exchange = await authenticated(make_exchange(path=GEMINI, query=query.encode()), directory)
    assert exchange.grant == grant()
    assert exchange.query == left


async def test_a_key_in_the_query_and_another_in_a_header_are_two(make_exchange: MakeExchange, directory: Any) -> None:
    exchange = make_exchange(path=GEMINI, query=f"key={OTHER}".encode(), headers=[bearer(MINE)])
    assert "two different keys" in (await refused(exchange, directory)).message


@pytest.mark.parametrize("path", ["/v1/customers", "/v1/chat/completions", "/v1/messages", "/v1/models"])
async def test_elsewhere_a_key_in_the_query_is_not_looked_at_and_stays(
    make_exchange: MakeExchange, directory: Any, path: str
) -> None:
    query = f"b=2&key={OTHER}&a=%7E".encode()
    exchange = await authenticated(make_exchange(path=path, query=query, headers=[bearer(MINE)]), directory)
    assert (exchange.grant, exchange.query) == (grant(), query)
    assert (await refused(make_exchange(path=path, query=query), directory)).code == "invalid_api_key"


# --- what is kept from others ------------------------------------------------------------------------


async def test_no_stage_behind_sees_the_secret(make_exchange: MakeExchange, directory: Any) -> None:
    headers = [bearer(MINE), (b"x-agent", b"a"), (b"x-api-key", MINE.encode()), (b"x-goog-api-key", MINE.encode())]
    exchange = await authenticated(make_exchange(path=GEMINI, query=f"key={MINE}".encode(), headers=headers), directory)
    assert exchange.headers == {b"x-agent": b"a"}
    assert exchange.raw_headers == [(b"x-agent", b"a")]
    assert MINE.encode() not in exchange.query


async def test_no_failure_repeats_a_secret(make_exchange: MakeExchange, directory: Any) -> None:
    secret = "sk-live-a-real-one-0123456789"
    for headers in ([bearer(secret)], [bearer(secret, "Basic")], [bearer(MINE), bearer(f"{OTHER}x")]):
        failure = await refused(make_exchange(headers=headers), directory)
        assert secret not in failure.message and OTHER not in failure.message


def test_nothing_shows_a_secret_when_it_is_printed(make_exchange: MakeExchange, make_upstream: Any) -> None:
    secret = b"sk-very-secret-indeed"
    key = Key(secret, b"authorization", b"Bearer " + secret)
    upstream = make_upstream("openai", key=key)
    exchange = make_exchange(headers=[bearer(secret.decode())])
    exchange.grant = grant(own=upstream, project={"openai": upstream})
    for thing in (key, upstream, exchange.grant, exchange, Key(secret, query="api_key")):
        assert "very-secret" not in f"{thing!r} {thing}"
