"""Whatever a service calls its counts, and whatever it puts in their place, what is read is a count or nothing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_provider.chat import Usage
from ailink_provider.dialects.openai_chat.usage import read_usage, write_usage

COUNTS = st.one_of(st.none(), st.booleans(), st.integers(-5, 10**30), st.floats(allow_nan=False), st.text(max_size=3))
DETAILS = st.one_of(COUNTS, st.dictionaries(st.sampled_from(["cached_tokens", "reasoning_tokens", "other"]), COUNTS))
NAMES = ["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "prompt_tokens_details", "x_details"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}, Usage(11, 7)),
        ({"prompt_tokens": 11, "total_tokens": 11}, Usage(11, 0)),
        ({"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 30}, Usage(11, 19)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 2}},
         Usage(9, 0, cache_read_tokens=4, input_audio_tokens=2)),
        ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 5}, Usage(9, 0, cache_read_tokens=5)),
        ({"prompt_tokens": 9, "cached_tokens": 6}, Usage(9, 0, cache_read_tokens=6)),
        ({"prompt_tokens": 9, "cache_creation_input_tokens": 3}, Usage(9, 0, cache_write_tokens=3)),
        ({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 8, "audio_tokens": 1}},
         Usage(0, 9, reasoning_tokens=8, output_audio_tokens=1)),
        ({"prompt_tokens": 11, "completion_tokens": "7", "total_tokens": None}, Usage(11, 0)),
        ({"prompt_tokens": 11.0, "completion_tokens": 7}, Usage(0, 7)),
        ({"prompt_tokens": True, "completion_tokens": -7}, Usage(0, 0)),
        ({"prompt_tokens": 11, "prompt_tokens_details": [4], "completion_tokens_details": {"reasoning_tokens": "2"}},
         Usage(11, 0)),
        ({}, None),
        ({"cost": 0.5}, None),
        (None, None),
        ([1], None),
    ],
)  # fmt: skip
def test_counts_are_read_wherever_they_stand(value: Any, expected: Usage | None) -> None:
    assert read_usage(value) == expected


@given(st.dictionaries(st.sampled_from(NAMES), DETAILS))
def test_nothing_that_is_no_count_is_read_or_raises(value: dict[str, Any]) -> None:
    found = read_usage(value)
    counted = [value.get(name) for name in ("prompt_tokens", "completion_tokens", "total_tokens")]
    assert (found is None) == all(type(count) is not int for count in counted)
    if found is not None:
        prompt = value.get("prompt_tokens")
        assert found.input_tokens == (max(prompt, 0) if type(prompt) is int else 0)
        assert found.output_tokens >= 0 and found.cache_read_tokens >= 0


@given(st.builds(Usage, *[st.integers(0, 2**31)] * 2, cache_read_tokens=st.integers(0, 2**31)))
def test_what_is_written_is_read_again(usage: Usage) -> None:
    assert read_usage(write_usage(usage)) == usage
