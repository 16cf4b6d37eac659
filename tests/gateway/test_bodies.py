"""Bodies reach the store sealed, redacted where the token says so, and never hold up a call."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ailink_gateway.backends.bodies import BodyKeeper, document
from ailink_gateway.control import rewrap, unlock
from ailink_gateway.redact import HIDDEN
from ailink_gateway.store.bodies import find_body
from ailink_gateway.store.store import Store
from ailink_gateway.transcript import BODY_KEPT, Transcript
from ailink_gateway.vault import SealBroken, Vault, body_place

SECRET = b'{"password": "hunter22", "text": "hello"}'


def transcript(number: int = 1, level: str = "full", request: bytes = SECRET, reply: bytes = b"ok") -> Transcript:
    return Transcript(f"req_{number}", "p", level, 100.0, request, len(request), "application/json", "text/plain",
                      bytearray(reply), len(reply))  # fmt: skip


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bodies") / "ailink.db"
    store = Store(path)
    store.upgrade()
    unlock(store, Vault(bytes(range(32))))
    store.close()
    return path


@pytest.fixture
def store(prepared: Path, tmp_path: Path) -> Iterator[Store]:
    path = tmp_path / "ailink.db"
    shutil.copy(prepared, path)
    store = Store(path)
    yield store
    store.close()


@pytest.fixture
def vault(store: Store) -> Vault:
    vault = Vault(bytes(range(32)))
    unlock(store, vault)
    return vault


async def kept(store: Store, vault: Vault, *transcripts: Transcript, **about: Any) -> BodyKeeper:
    keeper = BodyKeeper(store, vault, 60.0, **about)
    for one in transcripts:
        keeper.keep(one)
    keeper.stop()
    await keeper.run()
    return keeper


def opened(store: Store, vault: Vault, number: int = 1) -> Any:
    row = store.look(find_body, f"req_{number}", 0.0)
    assert row is not None
    assert row["expires_at"] == 160.0
    return json.loads(vault.open(row["sealed"], body_place("p", f"req_{number}")))


async def test_full_is_everything_and_sealed(store: Store, vault: Vault) -> None:
    await kept(store, vault, transcript())
    body = opened(store, vault)
    assert body == {
        "level": "full",
        "request": {"content_type": "application/json", "size_bytes": len(SECRET), "truncated": False,
                    "encoding": "utf-8", "body": SECRET.decode()},
        "response": {"content_type": "text/plain", "size_bytes": 2, "truncated": False, "encoding": "utf-8",
                     "body": "ok"},
    }  # fmt: skip
    row = store.look(find_body, "req_1", 0.0)
    assert row is not None and b"hunter22" not in row["sealed"]
    with pytest.raises(SealBroken):
        vault.open(row["sealed"], body_place("p", "req_2"))


async def test_redacted_has_no_secret(store: Store, vault: Vault) -> None:
    await kept(store, vault, transcript(level="redacted"))
    assert json.loads(opened(store, vault)["request"]["body"]) == {"password": HIDDEN, "text": "hello"}


def test_what_is_no_text_is_kept_in_full_alone() -> None:
    side = document(transcript(reply=b"\xff\xfe"))["response"]
    assert (side["encoding"], side["body"]) == ("base64", "//4=")
    assert document(transcript(level="redacted", reply=b"\xff\xfe"))["response"]["body"] is None


def test_a_cut_inside_a_character_is_no_binary() -> None:
    one = transcript(request="é".encode() * BODY_KEPT)
    one.request = one.request[: BODY_KEPT - 1]
    side = document(one)["request"]
    assert (side["encoding"], side["truncated"], side["size_bytes"]) == ("utf-8", True, 2 * BODY_KEPT)
    assert set(side["body"]) == {"é"}


async def test_what_does_not_fit_is_dropped_and_counted(
    store: Store, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = await kept(store, vault, *map(transcript, range(5)), queue_bytes=3 * (len(SECRET) + 2))
    assert keeper.dropped == 2
    assert "2 bodies were dropped" in caplog.text
    assert [store.look(find_body, f"req_{number}", 0.0) is not None for number in range(5)] == [True] * 3 + [False] * 2


async def test_room_comes_back(store: Store, vault: Vault) -> None:
    keeper = BodyKeeper(store, vault, 60.0, queue_bytes=len(SECRET) + 2)
    for number in range(3):
        keeper.keep(transcript(number))
        await keeper._store_some()
    assert keeper.dropped == 0
    keeper.keep(transcript(3))
    keeper.keep(transcript(4))
    assert keeper.dropped == 1


async def test_a_dead_store_does_not_keep_a_server_from_stopping(
    store: Store, vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    store.close()
    assert (await kept(store, vault, transcript())).dropped == 1
    assert "hunter22" not in caplog.text


async def test_bodies_outlive_a_rotation_of_the_master_key(store: Store, vault: Vault) -> None:
    await kept(store, vault, *map(transcript, range(3)))
    both = Vault(bytes(reversed(range(32))), retired=[bytes(range(32))])
    assert rewrap(store, both) == 4, "three bodies and the root key"
    assert rewrap(store, both) == 0
    alone = Vault(bytes(reversed(range(32))))
    assert opened(store, alone, 2)["level"] == "full"
