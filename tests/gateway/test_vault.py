import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailink_gateway.vault import (
    AUDIT_CHAIN,
    TOKEN_FINGERPRINTS,
    Place,
    SealBroken,
    Vault,
    WrongMasterKey,
    credential_place,
    sealed_under,
)
from ailink_provider.errors import Failure

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
PLACE = credential_place("default", "cred_1")
texts = st.text(max_size=20)
places = st.builds(Place, texts, texts, texts)


@given(st.binary(max_size=200), places)
def test_what_is_sealed_opens(secret: bytes, place: Place) -> None:
    vault = Vault(OLD)
    sealed = vault.seal(secret, place)
    assert vault.open(sealed, place) == secret
    assert sealed_under(sealed) == vault.key_id


def test_the_secret_does_not_show_and_no_two_seals_are_alike() -> None:
    vault = Vault(OLD)
    first, second = (vault.seal(b"sk-secret-value", PLACE) for _ in range(2))
    assert b"sk-secret-value" not in first
    assert len({first[9:21], second[9:21]}) == 2, "nonces"
    assert first[-15:] != second[-15:]


@given(places, places)
def test_a_seal_opens_at_its_place_only(place: Place, other: Place) -> None:
    sealed = Vault(OLD).seal(b"secret", place)
    if place != other:
        with pytest.raises(SealBroken):
            Vault(OLD).open(sealed, other)


def test_the_parts_of_a_place_do_not_run_into_each_other() -> None:
    sealed = Vault(OLD).seal(b"secret", Place("ab", "c", "d"))
    with pytest.raises(SealBroken):
        Vault(OLD).open(sealed, Place("a", "bc", "d"))


@given(st.data())
def test_any_changed_bit_is_noticed(data: st.DataObject) -> None:
    sealed = bytearray(Vault(OLD).seal(b"secret", PLACE))
    place = data.draw(st.integers(0, len(sealed) - 1))
    sealed[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises((SealBroken, WrongMasterKey)):
        Vault(OLD).open(bytes(sealed), PLACE)


@given(st.binary(max_size=150))
def test_garbage_does_not_open(garbage: bytes) -> None:
    with pytest.raises((SealBroken, WrongMasterKey)):
        Vault(OLD).open(garbage, PLACE)


def test_another_master_key_is_told_apart_and_named() -> None:
    sealed = Vault(OLD).seal(b"secret", PLACE)
    with pytest.raises(WrongMasterKey) as caught:
        Vault(NEW).open(sealed, PLACE)
    assert Vault(OLD).key_id in caught.value.message
    assert Vault(NEW).key_id in caught.value.message
    assert OLD.hex() not in caught.value.message


def test_rotation_rewraps_and_leaves_the_ciphertext() -> None:
    sealed = Vault(OLD).seal(b"secret", PLACE)
    both = Vault(NEW, retired=[OLD])
    assert both.open(sealed, PLACE) == b"secret"
    moved = both.rewrap(sealed, PLACE)
    assert sealed_under(moved) == both.key_id == Vault(NEW).key_id
    assert moved[-18:] == sealed[-18:]
    assert Vault(NEW).open(moved, PLACE) == b"secret"
    with pytest.raises(WrongMasterKey):
        Vault(OLD).open(moved, PLACE)


def test_rewrapping_does_not_move_a_secret_to_another_place() -> None:
    sealed = Vault(OLD).seal(b"secret", PLACE)
    with pytest.raises(SealBroken):
        Vault(OLD).rewrap(sealed, credential_place("other", "cred_1"))


def test_derived_keys_differ_by_purpose_and_outlive_the_master_key() -> None:
    before = Vault(OLD)
    root = before.make_root(PLACE)
    before.adopt_root(root, PLACE)
    keys = [before.derive(TOKEN_FINGERPRINTS), before.derive(AUDIT_CHAIN)]
    assert len(set(keys)) == 2
    assert {len(key) for key in keys} == {32}
    both = Vault(NEW, retired=[OLD])
    after = Vault(NEW)
    after.adopt_root(both.rewrap(root, PLACE), PLACE)
    assert [after.derive(TOKEN_FINGERPRINTS), after.derive(AUDIT_CHAIN)] == keys


def test_two_gateways_with_one_master_key_derive_different_keys() -> None:
    one, other = Vault(OLD), Vault(OLD)
    one.adopt_root(one.make_root(PLACE), PLACE)
    other.adopt_root(other.make_root(PLACE), PLACE)
    assert one.derive(AUDIT_CHAIN) != other.derive(AUDIT_CHAIN)


def test_a_locked_vault_derives_nothing() -> None:
    with pytest.raises(Failure, match="locked"):
        Vault(OLD).derive(AUDIT_CHAIN)


@pytest.mark.parametrize("length", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(Failure) as caught:
        Vault(os.urandom(length))
    assert caught.value.param == "AILINK_MASTER_KEY"


def test_the_vault_does_not_show_its_keys() -> None:
    vault = Vault(OLD)
    assert repr(vault) == str(vault) == f"Vault(key_id={vault.key_id!r})"
    assert vault.key_id not in OLD.hex()
    with pytest.raises(TypeError):
        pickle.dumps(vault)
