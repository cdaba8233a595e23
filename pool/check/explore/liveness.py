"""What must come true in the end: the absence of a fair cycle that starves somebody.

Theory.  A run is unfair to a ticket if it goes on for ever and the ticket is still pending.
In a finite graph such a run ends up going round in a strongly connected part, or resting in
one state, and has the ticket pending there.  The run only counts if the world does its duty in it:

* drivers answer and holders release, however often they are asked;
* time passes, and `Tick` comes once `wake_at` says that it is useful;
* nobody leaves the pool suspended;
* in `background`, connects succeed again and again.

Each duty is a class of edges.  A part in which a duty can be done and never is, without
leaving the part, is not fair as it stands; without the states where it can be done it may
be, so the search goes on in the rest.  (That is strong fairness.)

Tickets are renamed from state to state, so the one in question is told apart by its
owner, `watched`; the world watches one at a time.  `Cancel` and `Expire` are left out: with
them every ticket is answered whatever the pool does.

`spec/PoolLiveness.tla` states the same for TLC, in temporal logic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import attrs

from pool.check.explore.configurations import Configuration
from pool.check.explore.explorer import Exploration, Graph, Violation, Wishes, explore
from pool.check.explore.moves import moves
from pool.check.explore.properties import Machine
from pool.core.events import Discard, Event, Opened, OpenFailed, Release, Resume, Tick
from pool.core.state import State
from pool.core.transition import wake_at

WATCHED = "watched"

# Classes of edges, one bit each: the duties, and what can answer everybody.
RELEASE, ANSWER, OWN_ANSWER, SUCCESS, TICK, PASS, RESUME, HELP = (1 << bit for bit in range(8))
DUTIES = (RELEASE, ANSWER, OWN_ANSWER, SUCCESS, TICK, PASS, RESUME)

# Flags of states.
PENDING, SUSPENDED, NOBODY, UNDRAINED = (1 << bit for bit in range(4))


def classify(before: State, now: int, event: Event | None) -> int:
    """The classes of an edge. None: time passes."""
    match event:
        case None:
            return PASS | HELP
        case Release() | Discard():
            return RELEASE | (HELP if isinstance(event, Release) else 0)
        case Opened() | OpenFailed():
            bits = ANSWER | HELP
            if before.opening_tickets.get(event.ticket) == WATCHED:  # type: ignore[arg-type]
                bits |= OWN_ANSWER
            return bits | (SUCCESS if isinstance(event, Opened) and event.ticket is None else 0)
        case Tick():
            due = wake_at(before)
            return HELP | (TICK if due is not None and due <= now else 0)
        case Resume():
            return RESUME if before.phase == "suspended" else 0
        case _:
            return 0


def flag(state: State, now: int) -> int:
    """What liveness wants to know of a state."""
    queue, opening = state.waiters, state.opening_tickets
    bits = 0
    if WATCHED in opening.values() or (queue and WATCHED in queue[0].values()):
        bits |= PENDING
    if state.phase == "suspended":
        bits |= SUSPENDED
    if queue is None and not opening:
        bits |= NOBODY
    if state.phase == "closed" and (state.in_use or state.opening):
        bits |= UNDRAINED
    return bits


def check_liveness(configuration: Configuration, wishes: Wishes | None = None) -> Exploration:
    """Explore, then look for fair cycles and for states from which there is no way out."""
    wishes = attrs.evolve(wishes or Wishes(), graph=True, classify=classify, flag=flag)
    result = explore(configuration, wishes)
    if result.violation or not result.complete or result.graph is None:
        return result
    graph = result.graph
    stuck = _unanswerable(graph)
    if stuck is not None:
        why = "answers of drivers, releases and Tick cannot answer everybody"
        result.violation = Violation("Answerable", result.history(stuck), why)
        return result
    for name, bit, why in (
        ("Live", PENDING, f"the ticket of owner {WATCHED!r} is never answered"),
        ("Drained", UNDRAINED, "the pool is closed and never gets rid of everything"),
    ):
        nodes = [node for node, bits in enumerate(graph.flags) if bits & bit]
        part = fair_part(graph, nodes)
        if part is not None:
            entry = min(part)
            walk = _round_trip(graph, part, entry)
            cycle = _concrete(result, wishes.machine, entry, walk)
            history = result.history(entry)
            result.violation = Violation(name, history, why, cycle=tuple(cycle))
            return result
    return result


def _unanswerable(graph: Graph) -> int | None:
    """A state, not suspended, from which what helps does not lead to nobody pending."""
    sources: dict[int, list[int]] = {}
    for node in range(len(graph.flags)):
        for edge in graph.edges(node):
            if graph.kinds[edge] & HELP:
                sources.setdefault(graph.target[edge], []).append(node)
    good = {node for node, bits in enumerate(graph.flags) if bits & NOBODY}
    queue = deque(good)
    while queue:
        for node in sources.get(queue.popleft(), ()):
            if node not in good:
                good.add(node)
                queue.append(node)
    bad = (n for n, bits in enumerate(graph.flags) if n not in good and not bits & SUSPENDED)
    return next(bad, None)


def fair_part(graph: Graph, nodes: Iterable[int]) -> set[int] | None:
    """A strongly connected part of these states in which every duty is done, if any."""
    work = [set(nodes)]
    while work:
        for part in strongly_connected(graph, work.pop()):
            inside = can = 0
            for node in part:
                for edge in graph.edges(node):
                    can |= graph.kinds[edge]
                    if graph.target[edge] in part:
                        inside |= graph.kinds[edge]
            neglected = [duty for duty in DUTIES if can & duty and not inside & duty]
            if not neglected:
                return part
            rest = {
                node
                for node in part
                if not any(graph.kinds[edge] & neglected[0] for edge in graph.edges(node))
            }
            if rest:
                work.append(rest)
    return None


def strongly_connected(graph: Graph, nodes: set[int]) -> Iterator[set[int]]:
    """The strongly connected parts (Tarjan). One state alone is one: it may be all that is."""
    order: dict[int, int] = {}
    low: dict[int, int] = {}
    stack: list[int] = []
    stacked: set[int] = set()
    for root in nodes:
        if root in order:
            continue
        order[root] = low[root] = len(order)
        stack.append(root)
        stacked.add(root)
        calls = [(root, iter(graph.edges(root)))]
        while calls:
            node, edges = calls[-1]
            for edge in edges:
                target = graph.target[edge]
                if target not in nodes:
                    continue
                if target not in order:
                    order[target] = low[target] = len(order)
                    stack.append(target)
                    stacked.add(target)
                    calls.append((target, iter(graph.edges(target))))
                    break
                if target in stacked:
                    low[node] = min(low[node], order[target])
            else:
                calls.pop()
                if calls:
                    low[calls[-1][0]] = min(low[calls[-1][0]], low[node])
                if low[node] == order[node]:
                    start = stack.index(node)
                    part = set(stack[start:])
                    del stack[start:]
                    stacked -= part
                    yield part


def _round_trip(graph: Graph, part: set[int], entry: int) -> list[int]:
    """Edges that lead from the entry round the part and back, doing every duty done there.

    None, if nothing needs to happen for ever."""
    wanted = []
    for duty in DUTIES:
        inside = (
            (node, edge)
            for node in sorted(part)
            for edge in graph.edges(node)
            if graph.kinds[edge] & duty and graph.target[edge] in part
        )
        wanted.extend([found] if (found := next(inside, None)) else [])
    walk: list[int] = []
    at = entry
    for source, edge in wanted:
        walk += [*_path(graph, part, at, source), edge]
        at = graph.target[edge]
    return walk + _path(graph, part, at, entry)


def _path(graph: Graph, part: set[int], start: int, end: int) -> list[int]:
    came: dict[int, tuple[int, int]] = {start: (start, -1)}
    queue = deque([start])
    while queue and end not in came:
        node = queue.popleft()
        for edge in graph.edges(node):
            target = graph.target[edge]
            if target in part and target not in came:
                came[target] = (node, edge)
                queue.append(target)
    path: list[int] = []
    while end != start:
        end, edge = came[end]
        path.append(edge)
    return path[::-1]


def _concrete(result: Exploration, machine: Machine, entry: int, walk: list[int]) -> list[Event]:
    """The events of a walk, with the tickets, keys and times that they have there."""
    assert result.graph is not None
    possible = moves(result.configuration)
    state, now = result.representative(entry, machine)
    events: list[Event] = []
    for edge in walk:
        choices = possible(state, now)
        index = result.graph.move[edge]
        if index == len(choices):
            now += 1
        else:
            events.append(choices[index])
            state, _ = machine.step(state, choices[index])
    return events
