"""Promise: a key is one of ours, unchanged, or it is refused before anything is read."""

import os
import string

from hypothesis import given
from hypothesis import strategies as st

from db.vault import Vault
from gateway import api_keys

ALPHABET = string.digits + string.ascii_letters
KEY = api_keys.issue(livemode=False)


def test_a_new_key_looks_as_published() -> None:
    for livemode, mode in ((False, "test"), (True, "live")):
        key = api_keys.issue(livemode=livemode)
        assert key.text.startswith(f"sk_{mode}_")
        assert len(key.text) == len("sk_test_") + 8 + 38 + 6
        assert api_keys.parse(key.text) == key
        assert key.text.startswith(f"sk_{mode}_{key.prefix}")
        assert key.text.endswith(key.last4)


def test_a_key_is_not_shown_by_accident() -> None:
    assert KEY.text not in repr(KEY)


def test_every_change_of_one_character_is_noticed() -> None:
    for position in range(len(KEY.text)):
        for character in ALPHABET + "_-\x00é":
            mutant = KEY.text[:position] + character + KEY.text[position + 1 :]
            assert mutant == KEY.text or api_keys.parse(mutant) is None


def test_every_swap_of_neighbours_is_noticed() -> None:
    for position in range(len(KEY.text) - 1):
        neighbours = KEY.text[position : position + 2]
        mutant = KEY.text[:position] + neighbours[::-1] + KEY.text[position + 2 :]
        assert mutant == KEY.text or api_keys.parse(mutant) is None


@given(st.text() | st.from_regex(r"\Ask_(test|live)_[0-9A-Za-z]{46,58}\Z"))
def test_anything_else_is_no_key(text: str) -> None:
    assert api_keys.parse(text) is None


def test_a_key_is_found_under_every_pepper_and_stored_under_the_first() -> None:
    old, new = os.urandom(32), os.urandom(32)
    before, after = api_keys.Peppers.of(Vault({1: old})), api_keys.Peppers.of(Vault({2: new, 1: old}))
    assert list(after.hashes(KEY)) == [after.hash(KEY), before.hash(KEY)]
    assert (before.current_id, after.current_id) == (1, 2)
    assert before.hash(KEY) != after.hash(KEY)


def test_without_the_pepper_the_hash_is_another() -> None:
    one, other = (api_keys.Peppers.of(Vault({1: os.urandom(32)})) for _ in range(2))
    assert one.hash(KEY) != other.hash(KEY)
