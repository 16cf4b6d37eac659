"""What went wrong in gateways between wire formats, row by row: each has a test of its own, named after it.

Rows about the gateway as a whole are in ``ELSEWHERE``, with the tests that are theirs.
"""

import re
from pathlib import Path

ROWS = {
    1: "parallel_calls_have_indexes_in_a_row",
    2: "interleaved_deltas_find_their_block",
    3: "a_call_without_arguments",
    4: "tool_result_with_image_or_pdf",
    5: "empty_text",
    6: "one_turn_for_one_role",
    7: "system_in_mid_conversation",
    8: "ids_of_other_providers",
    9: "the_name_of_a_function_response",
    10: "as_many_responses_as_calls",
    11: "thought_signatures_through_chat_history",
    12: "thinking_comes_back_as_it_was",
    13: "json_schema_to_gemini",
    14: "cache_marks",
    15: "characters_split_at_every_byte",
    16: "usage_wherever_it_is_in_the_stream",
    17: "gemini_counts_thoughts_beside_and_cached_within",
    18: "a_call_ends_as_a_call",
    19: "refusals_keep_their_reason",
    20: "a_prompt_that_is_blocked",
    21: "an_error_in_mid_stream",
    22: "an_end_that_is_none",
    23: "however_it_is_framed",
    24: "when_to_try_again",
    25: "a_prompt_that_is_too_long",
    26: "sampling_by_model",
    27: "bedrock_wants_tools_where_history_has_some",
    28: "documents_of_bedrock_s_have_plain_names_and_words_beside_them",
    30: "claude_code_counts_tokens",
    31: "encrypted_reasoning_is_no_message",
    32: "allowed_tools",
    33: "arguments_of_ollama_s_calls_reach_every_client",
}
# A client that leaves ends the upstream's work, and pays for what there was: not between formats, but around them.
ELSEWHERE = {29: ("tests/journeys/test_faults.py", "test_within_a_stream")}
TESTS = Path(__file__).parents[3]


def test_every_row_has_its_test() -> None:
    found = {
        (int(number), title)
        for path in Path(__file__).parent.glob("test_rows_*.py")
        for number, title in re.findall(r"^def test_row_(\d\d)_(\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert set(ROWS.items()) <= found
    assert {number for number, _ in found} == set(ROWS)


def test_no_row_is_left_out() -> None:
    assert sorted([*ROWS, *ELSEWHERE]) == list(range(1, 34))
    for path, name in ELSEWHERE.values():
        assert f"def {name}(" in (TESTS.parent / path).read_text(encoding="utf-8")
