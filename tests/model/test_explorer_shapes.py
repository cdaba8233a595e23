"""Do states of one shape behave the same?  The abstraction of the explorer, tried out.

Theory.  The explorer looks at one state of each shape.  That is right only if another state of the
same shape, with other keys, tickets, times and a heap laid out another way, does the same:
the same labelled steps to the same shapes, and the same invariants.  So random walks, which
come by states in ways that the breadth-first search does not, are held against its graph.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

import attrs
import pytest

from pool import INVARIANTS, Event, State, initial, step
from pool.check.explore.canonical import Labeller, Scale, Shape, _full, lean, shaper
from pool.check.explore.configurations import CONFIGURATIONS, LIVENESS, Configuration
from pool.check.explore.explorer import Wishes, explore
from pool.check.explore.graphs import Edge, python_graph
from pool.check.explore.moves import moves
from pool.check.explore.properties import broken

WORLDS = [*CONFIGURATIONS.values(), *LIVENESS.values()]
WALKS, STEPS = 6, 120


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize("configuration", WORLDS, ids=lambda c: c.name)
def test_every_state_of_a_shape_has_the_edges_of_the_graph(configuration: Configuration) -> None:
    by_source: dict[Shape, set[Edge]] = {}
    for edge in python_graph(configuration).edges:
        by_source.setdefault(edge[0], set()).add(edge)
    chance = random.Random(configuration.name)
    for _ in range(WALKS):
        for state, now in _walk(configuration, chance):
            source = shaper(configuration)(state, now)
            assert set(_edges(configuration, state, now)) == by_source[source]
            assert all(holds(state) for holds in INVARIANTS.values())


LEAN = [world for world in WORLDS if Scale(world).is_lean]


@pytest.mark.parametrize("configuration", LEAN, ids=lambda c: c.name)
def test_the_shape_written_out_for_speed_is_the_full_one_made_lean(
    configuration: Configuration,
) -> None:
    quick, full = shaper(configuration), _full(configuration, Scale(configuration))
    chance = random.Random(configuration.name)
    seen = set()
    for _ in range(WALKS):
        for state, now in _walk(configuration, chance):
            seen.add(quick(state, now))
            assert quick(state, now) == lean(full(state, now))
    assert len(seen) > 10


def test_every_invariant_holds_after_every_step_and_not_only_once_per_shape() -> None:
    for name in ("base-caller", "phases-background", "resize", "strangers"):
        assert explore(CONFIGURATIONS[name], Wishes(thorough=True)).violation is None


@pytest.mark.slow
def test_a_bound_on_time_only_cuts() -> None:
    """With time bounded, the shapes reached are among those reached without the bound."""
    ages = attrs.evolve(CONFIGURATIONS["ages"], goals=())
    all_of_them = set(explore(ages).shapes)
    bounded = {shape[:-1] for shape in explore(attrs.evolve(ages, ticks=3)).shapes}
    assert bounded < all_of_them


def _walk(configuration: Configuration, chance: random.Random) -> Iterable[tuple[State, int]]:
    """States and times of a random run, long enough for large keys and tickets."""
    possible = moves(configuration)
    state, now = initial(configuration.limits[0]), configuration.start
    for _ in range(STEPS):
        yield state, now
        choices: list[Event | None] = [*possible(state, now)]
        # a shutdown is the end of every walk, so seldom
        lively = [event for event in choices if type(event).__name__ != "Shutdown"]
        choices = lively if lively and chance.random() < 0.98 else choices
        if configuration.ticking and chance.random() < 0.2:
            now += 1
            continue
        event = chance.choice(choices) if choices else None
        if event is not None:
            after, effects = step(state, event)
            assert broken(state, event, effects, after) is None
            state = after


def _edges(configuration: Configuration, state: State, now: int) -> Iterable[Edge]:
    shape, name = shaper(configuration), Labeller(configuration)
    source = shape(state, now)
    for event in moves(configuration)(state, now):
        after, effects = step(state, event)
        yield source, name(state, now, event, effects, after), shape(after, now)
    if configuration.ticking:
        yield source, name(state, now, None, (), state), shape(state, now + 1)
