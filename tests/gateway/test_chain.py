"""A row's code depends on every field, its place and all rows before it, and outlives a later version's fields."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_gateway.chain import FIELDS, PRUNED, TAIL, Chain, ChainKey, Node, NodeFile, body_of
from ailink_gateway.record import Opened, Record, unknown
from ailink_gateway.store.chains import rows_of_chain
from ailink_gateway.store.records import insert_records
from ailink_gateway.store.store import Store
from ailink_provider.errors import Failure

KEY = ChainKey(bytes(range(32)))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    store = Store(tmp_path_factory.mktemp("chain") / "ailink.db")
    store.upgrade()
    yield store
    store.close()


def record(**fields: Any) -> Record:
    opened = Opened("req_1", 1.5, "tok_x", "p", "POST", "/v1/chat/completions", "chat", "m", "v")
    return msgspec.structs.replace(unknown(opened, 2.25), **fields)


def test_the_code_of_a_row_never_changes() -> None:
    """Rows in databases were chained so: when this fails, nobody can prove theirs any more."""
    chain = Chain(KEY, Node("0123456789ab", 3))
    line, code = chain.link(record(tags={"team": "red"}, shadow_violations=[{"policy": "p"}]))
    assert line == (
        b'{"type":"record","id":"req_1","request_id":"req_1","created_at":1.5,"finished_at":2.25,"token_id":"tok_x",'
        b'"project_id":"p","method":"POST","path":"/v1/chat/completions","operation":"chat","dialect":null,'
        b'"status":null,"upstream_status":null,"response_latency_ms":null,"first_byte_ms":null,"agent_name":null,'
        b'"session_id":null,"parent_span_id":null,"model":"m","requested_model":"m","provider":"v","upstream":null,'
        b'"prompt_tokens":null,"completion_tokens":null,"cache_read_tokens":null,"cache_write_tokens":null,'
        b'"reasoning_tokens":null,"usage_estimated":true,"cost_nano":null,"cache_hit":false,"is_streaming":false,'
        b'"finish_reason":null,"error_code":"outcome_unknown","outcome":"unknown","attempts":1,'
        b'"shadow_violations":[{"policy":"p"}],"tags":{"team":"red"},"chain":"0123456789ab-3","chain_sequence":1,'
        b'"chain_code":"%b"}' % code.hex().encode()
    )
    assert code.hex() == "da157819ee1d5a7abeac812bb70731e9c768b669cb773c18f2c5cca5356adff0"


def test_a_field_that_comes_later_changes_no_code() -> None:
    required = set(Record.__struct_fields__[: -len(Record.__struct_defaults__)])
    later = set(Record.__struct_fields__) - required
    assert all(default is None for default in Record.__struct_defaults__)
    body = body_of(msgspec.structs.asdict(record()) | dict.fromkeys(later))
    assert body is not None and not [name for name in later if f'"{name}":'.encode() in body]


def test_every_field_and_place_is_in_the_code() -> None:
    chain = Chain(KEY, Node("node", 1))
    _, code = chain.link(record())
    row = msgspec.structs.asdict(record(chain="node-1", chain_sequence=1))
    before = KEY.origin("node-1")
    assert KEY.code(before, body_of(row) or b"") == code
    for name in FIELDS:
        other = {**row, name: not row[name] if isinstance(row[name], bool) else "other"}
        assert KEY.code(before, body_of(other) or b"") != code, name
    assert KEY.code(KEY.origin("node-2"), body_of(row) or b"") != code
    assert ChainKey(bytes(32)).code(before, body_of(row) or b"") != code


TEXT = st.none() | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNT = st.none() | st.integers(0, 2**31 - 1)
MOMENT = st.floats(0, 4e9, allow_nan=False)


@given(
    created_at=MOMENT, finished_at=st.none() | MOMENT, response_latency_ms=st.none() | st.floats(0, 1e9),
    agent_name=TEXT, session_id=TEXT, model=TEXT, path=st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    prompt_tokens=COUNT, cost_nano=st.none() | st.integers(0, 2**62), status=st.none() | st.integers(100, 599),
    cache_hit=st.booleans(), usage_estimated=st.booleans(), policy_name=TEXT,
    tags=st.none() | st.dictionaries(st.text("ab\u2028é\\\"", max_size=5), st.text(max_size=5), min_size=1, max_size=3),
    shadow_violations=st.none() | st.lists(st.text(max_size=5) | st.integers(0, 9), min_size=1, max_size=3),
)  # fmt: skip
def test_what_the_database_gives_back_has_the_code_that_was_written(store: Store, **fields: Any) -> None:
    def through(connection: Any) -> dict[str, Any]:
        connection.exec_driver_sql("DELETE FROM records")
        insert_records(connection, [msgspec.json.decode(line, type=Record)])
        return rows_of_chain(connection, "node-1", 0, 5)[0]

    line, code = Chain(KEY, Node("node", 1)).link(record(**fields))
    row = store.call(through)
    assert row["chain_code"] == code
    assert KEY.code(KEY.origin("node-1"), body_of(row) or b"") == code


def test_checkpoints_are_proved_by_their_key_alone() -> None:
    checkpoint = KEY.sign("node-1", TAIL, 7, b"code")
    assert KEY.proves(checkpoint)
    assert not ChainKey(bytes(32)).proves(checkpoint)
    for forged in (
        {"chain": "node-2"}, {"kind": PRUNED}, {"sequence": 6}, {"code": b"edoc"}, {"signature": bytes(32)}
    ):  # fmt: skip
        assert not KEY.proves(checkpoint._replace(**forged)), forged
    assert "0001" not in repr(KEY)


def test_a_node_keeps_its_name_and_counts_its_boots(tmp_path: Path) -> None:
    file = NodeFile(tmp_path)
    assert file.last is None
    first = file.following()
    assert first.boot == 1 and len(first.name) == 12
    file.keep(first)
    second = NodeFile(tmp_path).following()
    assert second == Node(first.name, 2)
    assert NodeFile(tmp_path).following(known_boots=7) == Node(first.name, 8)
    file.keep(second)
    assert file.last == NodeFile(tmp_path).last == second
    assert NodeFile(tmp_path / "other").following().name != first.name


def test_a_damaged_node_file_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text("[5]")
    with pytest.raises(Failure, match=r"node\.json is damaged"):
        NodeFile(tmp_path).following()


