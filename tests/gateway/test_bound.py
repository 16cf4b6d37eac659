"""What a call may cost at most is at least what it can cost, in every client's words."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ailink_gateway.bound import DEFAULT_OUTPUT, LARGEST_WINDOW, LEAST_OUTPUT, LEAST_THOUGHT, Claim, asked, limit_output
from ailink_gateway.envelope import read_members
from ailink_gateway.exchange import Exchange
from ailink_gateway.grant import Target
from ailink_gateway.media import LEAST_SOUND_TOKENS, TOOL_TOKENS, Extent, extent
from ailink_provider.builtin import dialects
from ailink_provider.catalog import Facts, facts
from ailink_provider.chat import Usage
from ailink_provider.errors import Failure
from ailink_provider.prices import Price, Rates, own_price

CHAT, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GENERATE = "/v1beta/models/m:generateContent"
PER_TOKEN = own_price({"input": Decimal(1), "output": Decimal(2)})  # 1000 and 2000 nano-dollars


@pytest.fixture
def make(make_exchange: Callable[..., Exchange], make_upstream: Any) -> Callable[..., Exchange]:
    """Makes the exchange of a call whose targets are models at providers, all at the same price."""

    def make(body: dict[str, Any], path: str = CHAT, *targets: Any, provider: str = "openai", **more: Any) -> Exchange:
        exchange = make_exchange("POST", path)
        exchange.body = msgspec.json.encode(body)
        exchange.members = read_members(exchange.body)
        price = more.pop("price", PER_TOKEN)
        target = Target(make_upstream(provider), "m", more.pop("facts", Facts()), own_price=price)
        exchange.targets = list(targets) or [target]
        return exchange

    return make


# --- output ------------------------------------------------------------------------------------------

LIMITS = [
    (CHAT, {"max_tokens": 7}, 7, 1),
    (CHAT, {"max_completion_tokens": 7, "max_tokens": 3}, 7, 1),
    (CHAT, {"max_tokens": 7, "n": 3}, 7, 3),
    (CHAT, {"max_tokens": None}, None, 1),
    (CHAT, {"max_tokens": -1}, None, 1),
    (CHAT, {"max_tokens": "12"}, 12, 1),
    (CHAT, {"max_tokens": 7.0}, 7, 1),
    (CHAT, {"max_tokens": {}}, None, 1),
    (CHAT, {"max_tokens": True, "n": "many"}, 1, 1),
    ("/v1/completions", {"max_tokens": 7, "n": 2, "best_of": 5}, 7, 5),
    ("/v1/completions", {"max_tokens": 7, "n": 2, "prompt": ["a", "b", "c"]}, 7, 6),
    ("/v1/completions", {"max_tokens": 7, "prompt": [1, 2, 3]}, 7, 1),
    ("/v1/completions", {"max_tokens": 7, "prompt": [[1], [2]]}, 7, 2),
    (RESPONSES, {"max_output_tokens": 7, "max_tokens": 1}, 7, 1),
    (MESSAGES, {"max_tokens": 7}, 7, 1),
    (GENERATE, {"generationConfig": {"maxOutputTokens": 7, "candidateCount": 2}}, 7, 2),
    (GENERATE, {"generation_config": {"max_output_tokens": "7", "candidate_count": 2}}, 7, 2),
    (GENERATE, {"generationConfig": {"maxOutputTokens": 7}, "generation_config": {"maxOutputTokens": 9}}, 9, 1),
    (GENERATE, {"generationConfig": None}, None, 1),
    (GENERATE, {"generationConfig": []}, None, 1),
    (GENERATE, {"maxOutputTokens": 7}, None, 1),
]


@pytest.mark.parametrize(("path", "body", "limit", "count"), LIMITS)
def test_the_limit_of_output_is_found(
    make: Callable[..., Exchange], path: str, body: dict[str, Any], limit: int | None, count: int
) -> None:
    found = Claim(make(body, path)).asked
    assert (found.limit, found.count) == (limit, count)


@pytest.mark.parametrize(("path", "body", "limit", "count"), LIMITS)
def test_a_limit_that_is_set_is_the_one_that_is_found(
    make: Callable[..., Exchange], path: str, body: dict[str, Any], limit: int | None, count: int
) -> None:
    exchange = make({**body, "model": "m"}, path)
    where = exchange.route.dialect.limits[exchange.route.operation]
    limit_output(exchange, where, 5)
    found = asked(read_members(exchange.body), where)
    assert (found.limit, found.count) == (5, count)
    assert msgspec.json.decode(exchange.body)["model"] == "m"


THOUGHTS = [
    (MESSAGES, {"thinking": {"type": "enabled", "budget_tokens": 2000}}, 2000),
    (MESSAGES, {"output_config": {"effort": "high"}}, 0),
    (MESSAGES, {"thinking": None}, None),
    (CHAT, {"reasoning_effort": "high"}, 0),
    (CHAT, {"reasoning": {"max_tokens": 3000}}, 3000),
    (RESPONSES, {"reasoning": {"effort": "low"}}, 0),
    (GENERATE, {"generationConfig": {"thinkingConfig": {"thinkingBudget": 512}}}, 512),
    (GENERATE, {"generationConfig": {"thinking_config": {"thinking_budget": 512}}}, 512),
]


@pytest.mark.parametrize(("path", "body", "budget"), THOUGHTS)
def test_a_wish_for_thoughts_is_found(
    make: Callable[..., Exchange], path: str, body: dict[str, Any], budget: int | None
) -> None:
    assert Claim(make(body, path)).asked.budget == budget


def test_the_least_limit_leaves_room_for_thoughts(make: Callable[..., Exchange]) -> None:
    claim = Claim(make({"max_tokens": 9000, "thinking": {"type": "enabled", "budget_tokens": 2000}}, MESSAGES))
    assert claim.least_limit == 2000 + LEAST_OUTPUT
    assert Claim(make({"max_tokens": 9}, MESSAGES)).least_limit == 9
    assert Claim(make({}, CHAT)).least_limit == LEAST_OUTPUT
    assert Claim(make({"reasoning_effort": "low"}, CHAT)).least_limit == LEAST_OUTPUT + LEAST_THOUGHT
    assert Claim(make({}, CHAT, facts=facts("o3"))).least_limit == LEAST_OUTPUT + LEAST_THOUGHT


THOUSANDS = {"thinkingBudget": 8000}


@pytest.mark.parametrize(
    ("inbound", "body", "outbound"),
    [
        (CHAT, {"max_tokens": 100, "reasoning_effort": "high"}, "anthropic"),
        (CHAT, {"max_tokens": 1500, "reasoning_effort": "high"}, "anthropic"),
        (CHAT, {"max_tokens": 100}, "anthropic"),
        (CHAT, {}, "anthropic"),
        (MESSAGES, {"max_tokens": 5000, "thinking": {"type": "enabled", "budget_tokens": 4000}}, "openai"),
        (GENERATE, {"generationConfig": {"maxOutputTokens": 3, "thinkingConfig": THOUSANDS}}, "anthropic"),
        (RESPONSES, {"max_output_tokens": 50, "reasoning": {"effort": "medium"}}, "anthropic"),
        (CHAT, {"max_tokens": 64, "n": 2}, "gemini"),
    ],
)
def test_what_a_translation_sends_is_within_the_bound(
    make: Callable[..., Exchange], inbound: str, body: dict[str, Any], outbound: str
) -> None:
    words = {CHAT: {"messages": [{"role": "user", "content": "x"}]}, RESPONSES: {"input": "x"},
             MESSAGES: {"messages": [{"role": "user", "content": "x"}]},
             GENERATE: {"contents": [{"role": "user", "parts": [{"text": "x"}]}]}}  # fmt: skip
    model = {"anthropic": "claude-sonnet-4-5", "openai": "gpt-4o", "gemini": "gemini-2.5-pro"}[outbound]
    exchange = make(body | words[inbound], inbound, provider=outbound, facts=facts(model))
    operation = exchange.route.dialect.operations[exchange.route.operation]
    chat = operation.read_request(msgspec.json.decode(exchange.body), model, False)
    theirs = dialects()[exchange.targets[0].upstream.dialect.name]
    sent = theirs.operations["chat"].write_request(chat, facts(model)).body
    read = asked(read_members(msgspec.json.encode(sent)), theirs.limits["chat"])
    claim = Claim(exchange)
    output = (read.limit or facts(model).max_output_tokens) * read.count
    assert PER_TOKEN.cost(Usage(output_tokens=output)) <= claim.most(claim.asked.limit)


def test_without_a_limit_the_model_decides(make: Callable[..., Exchange]) -> None:
    known = Claim(make({}, CHAT, facts=Facts(context_window=100_000, max_output_tokens=500, output_ceiling=900)))
    assert not known.sends_default
    assert known.most(None) == 2 * 1000 + 900 * 2000
    unknown = Claim(make({}, CHAT))
    assert unknown.sends_default
    assert unknown.most(DEFAULT_OUTPUT) == 2 * 1000 + DEFAULT_OUTPUT * 2000


def test_a_limit_beyond_the_window_counts_for_the_window(make: Callable[..., Exchange]) -> None:
    claim = Claim(make({"max_tokens": 10**9}, CHAT, facts=Facts(context_window=1000)))
    assert claim.most(10**9) == len('{"max_tokens":1000000000}') * 1000 + 1000 * 2000


def test_embeddings_have_no_output(make: Callable[..., Exchange]) -> None:
    claim = Claim(make({"input": "x"}, "/v1/embeddings"))
    assert claim.where is None and not claim.sends_default
    assert claim.most(claim.asked.limit) == len('{"input":"x"}') * 1000


def test_what_is_predicted_and_rejected_counts_as_output(make: Callable[..., Exchange]) -> None:
    prediction = {"type": "content", "content": "x" * 400}
    plain = Claim(make({"max_tokens": 10, "pad": "x" * 400}, CHAT)).most(10)
    assert Claim(make({"max_tokens": 10, "prediction": prediction}, CHAT)).most(10) >= plain + 400 * 2000


# --- prices ------------------------------------------------------------------------------------------


def rates(**changed: int) -> Rates:
    plain = dict.fromkeys(
        ("input", "output", "cache_read", "cache_write", "cache_write_1h", "input_audio", "output_audio"), 1000
    )
    return Rates(**{"above": 0, **plain, **changed})


def test_the_dearest_target_counts(make: Callable[..., Exchange], make_upstream: Any) -> None:
    cheap = Target(make_upstream("openai"), "a", Facts(), own_price=Price((rates(),)))
    dear = Target(make_upstream("openai"), "b", Facts(), own_price=Price((rates(output=9000),)))
    body = {"max_tokens": 10}
    claims = [Claim(make(body, CHAT, *targets)) for targets in ((cheap,), (dear,), (cheap, dear))]
    assert claims[2].most(10) == claims[1].most(10) > claims[0].most(10)
    assert claims[2].limit_for(claims[1].most(10)) == 10


def test_the_dearest_tier_that_can_be_reached_counts(make: Callable[..., Exchange]) -> None:
    price = Price((rates(), rates(above=100, input=5000)))
    assert Claim(make({"max_tokens": 1}, price=price)).most(1) == len('{"max_tokens":1}') + 1
    body = {"max_tokens": 1, "x": "y" * 200}
    assert Claim(make(body, price=price)).most(1) == len(msgspec.json.encode(body)) * 5 + 1


def test_caching_is_priced_where_it_is_asked_for(make: Callable[..., Exchange]) -> None:
    price = Price((rates(cache_write=2000, cache_write_1h=4000),))
    body = {"max_tokens": 1, "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}]}
    asking = Claim(make(body, MESSAGES, provider="anthropic", price=price))
    assert asking.most(1) == len(msgspec.json.encode(body)) * 4 + 1
    plain = Claim(make({"max_tokens": 1}, MESSAGES, provider="anthropic", price=price))
    assert plain.most(1) == len('{"max_tokens":1}') + 1


COUNTS = st.integers(0, 3000)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data(), st.integers(1, 4000), st.integers(1, 4), COUNTS, COUNTS, COUNTS)
def test_no_usage_within_the_limits_costs_more_than_the_bound(
    make: Callable[..., Exchange], data: st.DataObject, limit: int, count: int, read: int, written: int, thought: int
) -> None:
    rate = st.integers(0, 10**8)
    tiers = [
        Rates(above, *(data.draw(rate) for _ in range(7)), data.draw(st.none() | rate), data.draw(rate))
        for above in (0, 1000)
    ]
    price = Price(tuple(tiers))
    body = msgspec.json.encode({"max_tokens": limit, "n": count, "cache_control": "x" * data.draw(COUNTS)})
    inputs = data.draw(st.integers(0, len(body)))
    usage = Usage(input_tokens=inputs, output_tokens=data.draw(st.integers(0, limit * count)))
    usage.cache_read_tokens = min(read, inputs)
    usage.cache_write_tokens = min(written, inputs - usage.cache_read_tokens)
    usage.cache_write_1h_tokens = min(data.draw(COUNTS), usage.cache_write_tokens)
    usage.reasoning_tokens = min(thought, usage.output_tokens)
    exchange = make({"max_tokens": limit}, price=price)
    exchange.body, exchange.members = body, read_members(body)
    claim = Claim(exchange)
    most = claim.most(limit)
    assert price.cost(usage) <= most
    paid = claim.limit_for(most)
    assert paid == limit, "what pays for a limit is enough for it"
    assert claim.most(max(claim.limit_for(most // 2), 0)) <= most // 2 or claim.limit_for(most // 2) < 0


# --- input -------------------------------------------------------------------------------------------

PNG = "iVBORw0KGgo" * 500
WAV = "UklGRg" * 50_000


def counted(body: dict[str, Any]) -> Any:
    encoded = msgspec.json.encode(body)
    found = extent(read_members(encoded), encoded)
    return found.tokens - len(encoded), found.images, found.open_ended


def message(*parts: Any, **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(parts)}], **more}


INLINE = {"type": "base64", "media_type": "application/any", "data": PNG}
DATA = f"data:image/png;base64,{PNG}"
SOUND = len(WAV) // 16 - len(WAV)
FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"properties": {"file": {"file_id": {}}}}}}
INPUTS = [
    (message({"type": "text", "text": 'an "image_url" in words'}), (0, 0, False)),
    (message({"type": "image_url", "image_url": {"url": DATA}}), (-len(PNG), 1, False)),
    (message({"type": "image_url", "image_url": {"url": "https://a/b.png"}}), (0, 1, False)),
    (message({"type": "input_image", "image_url": DATA}, {"image_url": DATA}), (-2 * len(PNG), 2, False)),
    (message({"type": "input_image", "file_id": "file-1"}), (0, 1, False)),
    (message({"type": "image", "source": INLINE}), (-len(PNG), 1, False)),
    (message({"type": "image", "source": {"type": "url", "url": "https://a"}}), (0, 1, False)),
    (message({"type": "tool_result", "content": [{"type": "image", "source": {"type": "file"}}]}), (0, 1, False)),
    (message({"type": "document", "source": INLINE}), (0, 0, False)),
    (message({"type": "document", "source": {"type": "url", "url": "https://a"}}), (0, 0, True)),
    (message({"type": "document", "source": {"type": "content", "content": [
        {"type": "image", "source": {"type": "url", "url": "https://a"}}]}}), (0, 1, False)),
    (message({"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}), (SOUND, 0, False)),
    (message({"type": "input_audio", "input_audio": {"data": "UklG"}}), (LEAST_SOUND_TOKENS - 4, 0, False)),
    (message({"type": "file", "file": {"file_id": "file-1"}}), (0, 0, True)),
    (message({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PNG}"}}), (0, 0, False)),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_url": "https://a"}]}]}, (0, 0, True)),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, (0, 0, True)),
    ({"input": "x", "previous_response_id": "resp_1"}, (0, 0, True)),
    ({"input": "x", "previous_response_id": None}, (0, 0, False)),
    ({"prompt": {"id": "pmpt_1"}}, (0, 0, True)),
    ({"prompt": "words"}, (0, 0, False)),
    ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": PNG}}]}]}, (-len(PNG), 1, False)),
    ({"contents": [{"parts": [{"inline_data": {"mime_type": "audio/wav", "data": WAV}}]}]}, (SOUND, 0, False)),
    ({"contents": [{"parts": [{"fileData": {"mimeType": "image/png", "fileUri": "https://a"}}]}]}, (0, 1, False)),
    ({"contents": [{"parts": [{"file_data": {"mime_type": "video/mp4", "file_uri": "https://a"}}]}]}, (0, 0, True)),
    ({"contents": [], "cachedContent": "cachedContents/1"}, (0, 0, True)),
    ({"tools": [FUNCTION]}, (TOOL_TOKENS, 0, False)),
    ({"tools": [{"name": "f", "input_schema": {}}]}, (TOOL_TOKENS, 0, False)),
    ({"tools": [{"functionDeclarations": []}]}, (TOOL_TOKENS, 0, False)),
    ({"tools": [{"googleSearch": {}}]}, (TOOL_TOKENS, 0, True)),
    ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, (TOOL_TOKENS, 0, True)),
    ({"tools": [{"type": "web_search"}]}, (TOOL_TOKENS, 0, True)),
    (message({"type": "tool_use", "id": "1", "name": "f", "input": {"file": {"file_id": "mine"}}}), (0, 0, False)),
]  # fmt: skip


@pytest.mark.parametrize(("body", "expected"), INPUTS)
def test_media_count_by_a_table_and_text_by_its_bytes(body: dict[str, Any], expected: Any) -> None:
    assert counted(body) == expected


def test_a_name_that_is_spelt_in_escapes_hides_nothing() -> None:
    body = b'{"messages":[{"content":[{"type":"x","image\\u005furl":{"url":"https://a/b.png"}}]}]}'
    assert extent(read_members(body), body).images == 1
    body = b'{"system":[{"cache\\u005fcontrol":{"type":"ephemeral"}}],"modalities":["\\u0061udio"]}'
    found = extent(read_members(body), body)
    assert found.caching and found.speaks


@pytest.mark.parametrize("word", ["an image url, a file, a source: \u00e9", "cache control", "Audio"])
def test_words_alone_ask_for_nothing(word: str) -> None:
    body = msgspec.json.encode({"messages": [{"role": "user", "content": word}]})
    assert extent(read_members(body), body) == Extent(len(body))


def test_a_key_that_stands_twice_beside_media_is_refused() -> None:
    body = b'{"messages":[{"content":[{"type":"image_url","image_url":{"url":"https://a"}}],"content":"x"}]}'
    with pytest.raises(Failure, match="twice"):
        extent(read_members(body), body)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (GENERATE, b'{"generationConfig":{"maxOutputTokens":90000,"maxOutputTokens":1}}'),
        (GENERATE, b'{"generationConfig":{"thinkingConfig":{"thinkingBudget":9000,"thinkingBudget":1}}}'),
        (MESSAGES, b'{"max_tokens":9,"thinking":{"type":"enabled","budget_tokens":9000,"budget_tokens":1}}'),
        (MESSAGES, b'{"max_tokens":9,"tools":[{"type":"web_search_20260209","type":"custom"}]}'),
    ],
)
def test_what_costs_is_not_said_twice(make: Callable[..., Exchange], path: str, body: bytes) -> None:
    exchange = make({}, path)
    exchange.body, exchange.members = body, read_members(body)
    with pytest.raises(Failure, match="stands twice"):
        Claim(exchange)


def test_what_is_not_in_the_body_is_bounded_by_the_window(make: Callable[..., Exchange]) -> None:
    body = {"input": "x", "previous_response_id": "resp_1", "max_output_tokens": 1}
    known = Claim(make(body, RESPONSES, facts=Facts(context_window=5000)))
    assert known.most(1) == 5000 * 1000 + 2000
    assert Claim(make(body, RESPONSES)).most(1) == LARGEST_WINDOW * 1000 + 2000


def test_no_input_counts_for_more_than_the_window(make: Callable[..., Exchange]) -> None:
    claim = Claim(make({"max_tokens": 1, "x": "y" * 9000}, facts=Facts(context_window=5000)))
    assert claim.most(1) == 5000 * 1000 + 2000
