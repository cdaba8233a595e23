"""The map that stands in for that of `immutables`: the same answers, and never a change.

Theory.  There is a reference: a dict, and `immutables` where it is installed.  Random histories of
sets and deletes, with keys that meet in the low bits (those choose the branch) as well as keys far
apart, are done to all of them; earlier versions are kept, and are afterwards what they were.
"""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pool.core import maps
from pool.core.maps import NumberMap

KEYS = st.one_of(
    st.integers(0, 40),
    st.integers(0, 99).map(lambda number: number * 7),
    st.integers(0, 10).map(lambda number: number << 5),
    st.integers(0, 10).map(lambda number: number << 40 | 7),
    st.integers(0, 2**64),
)
BEGINNINGS = st.sampled_from([0, 30, 100]).map(lambda many: {key * 7: key for key in range(many)})
ACTIONS = st.lists(st.tuples(st.sampled_from(["set", "set", "delete"]), KEYS), max_size=200)


def check(one: Any, known: dict[int, int]) -> None:
    assert len(one) == len(known)
    assert bool(one) == bool(known)
    assert dict(one) == dict(one.items()) == known
    assert sorted(one) == sorted(one.keys()) == sorted(known)
    assert sorted(one.values()) == sorted(known.values())
    for key in [*known, 3, 2**70]:
        assert (key in one) == (key in known)
        assert one.get(key) == known.get(key)
        assert one.get(key, "none") == known.get(key, "none")
        if key in known:
            assert one[key] == known[key]
        else:
            with pytest.raises(KeyError):
                one[key]
            with pytest.raises(KeyError):
                one.delete(key)


@given(BEGINNINGS, ACTIONS)
def test_it_is_a_map_and_no_version_changes(
    known: dict[int, int], actions: list[tuple[str, int]]
) -> None:
    known = dict(known)
    versions = [(NumberMap(known), dict(known))]
    for number, (action, key) in enumerate(actions):
        one = versions[-1][0]
        if action == "set":
            known[key] = number
            one = one.set(key, number)
        elif key in known:
            del known[key]
            one = one.delete(key)
        versions.append((one, dict(known)))
    for one, then in versions[:: max(1, len(versions) // 5)]:
        check(one, then)
    check(*versions[-1])


@given(st.dictionaries(KEYS, st.integers(), max_size=120), KEYS, st.integers())
def test_what_is_equal_is_equal_however_it_was_made(
    known: dict[int, int], key: int, value: int
) -> None:
    at_once, one_by_one = NumberMap(known), NumberMap[int]()
    for each in reversed(known):
        one_by_one = one_by_one.set(each, known[each])
    there_and_back = at_once.set(key, value)
    there_and_back = (
        there_and_back.set(key, known[key]) if key in known else there_and_back.delete(key)
    )
    for other in (one_by_one, there_and_back, copy.copy(at_once), copy.deepcopy(at_once)):
        assert other == at_once
        assert hash(other) == hash(at_once)
    assert pickle.loads(pickle.dumps(at_once)) == at_once
    assert (at_once.set(key, value) == at_once) == (known.get(key) == value)
    assert at_once != known
    assert at_once != "a text"


def test_what_it_was_made_of_may_change() -> None:
    known = {1: 1}
    one = NumberMap(known)
    known[2] = 2
    one.items()
    assert dict(one) == {1: 1}


@pytest.mark.parametrize("many", [1, 33, 1_000, 20_000])
def test_a_map_that_was_large_is_small_again(many: int) -> None:
    one = NumberMap[int]()
    for key in range(many):
        one = one.set(key * 3, key)
    assert len(one) == many
    assert type(one._root) is (tuple if many > maps.MANY else dict), "one by one, too"
    for key in range(many - 1):
        one = one.delete(key * 3)
    assert dict(one) == {(many - 1) * 3: many - 1}
    assert type(one._root) is dict


@pytest.mark.parametrize("shift", [0, 5, 10, 15, 60])
def test_keys_that_meet_in_their_lower_bits_are_told_apart(shift: int) -> None:
    """Each branch looks at the next five bits, and at no others."""
    known = {key << shift: key for key in range(100)}
    one = NumberMap(known)
    for key in known:
        assert (one[key], one.get(key), key in one) == (known[key], known[key], True)
        assert one.get(key + 1, "none") == (known.get(key + 1, "none"))
    other = NumberMap[int]()
    for key in known:
        other = other.set(key, 0).set(key, known[key])
    assert (dict(other), len(other)) == (known, 100)
    for key in list(known)[::3]:
        other = other.delete(key)
        assert key not in other
        assert len(other) == len(dict(other))


def test_maps_with_other_entries_have_other_hashes() -> None:
    """As a rule: a set of them would be a list otherwise."""
    assert len({hash(NumberMap({1: number})) for number in range(100)}) > 50
    assert len({hash(NumberMap({number: 1})) for number in range(100)}) > 50


def test_a_change_of_a_large_map_copies_little() -> None:
    """Of 20,000 entries, at most three dicts and the branches above them are new."""
    one = NumberMap(dict.fromkeys(range(20_000), 0))
    known = {id(leaf) for leaf in leaves(one._root)}
    for other in (one.set(777, 1), one.set(10**6, 1), one.delete(777)):
        new = [leaf for leaf in leaves(other._root) if id(leaf) not in known]
        assert len(new) <= maps.BRANCHES + 1
        assert sum(map(len, new)) <= maps.MANY + 1


def leaves(node: Any) -> list[dict[int, Any]]:
    return [node] if type(node) is dict else [leaf for branch in node for leaf in leaves(branch)]


def test_it_says_what_is_in_it_and_can_be_watched() -> None:
    one = NumberMap({1: "a"})
    assert weakref.ref(one)() is one
    assert repr(NumberMap({1: "a"})) == "NumberMap({1: 'a'})"


def test_the_one_of_immutables_is_used_where_it_is_to_be_had() -> None:
    immutables = pytest.importorskip("immutables", reason="the stand-in is all there is")
    if maps.IS_FREE_THREADED:
        assert maps.Map is NumberMap
    else:
        assert maps.Map is immutables.Map


WITHOUT = """
import sys
sys.modules["immutables"] = None
from pool import Limits, initial, Acquire, Opened, step
from pool.core.maps import Map, NumberMap
assert Map is NumberMap
state, _ = step(initial(Limits()), Acquire(0.0, 1))
state, effects = step(state, Opened(1.0, 1, "a connection", 0.5))
print(type(state.in_use).__name__, *effects)
"""


def test_a_pool_works_without_immutables() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("NumberMap Grant(ticket=1")
