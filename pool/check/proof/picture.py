"""A picture of a state: its counts, and what becomes of one key and of two tickets.

Theory.  The promises count, or they speak of one connection, of one ticket, or of two.  So a
picture has the numbers that the state consists of, and follows one arbitrary key and two arbitrary
tickets, `a` < `b`.  It leaves out what the rules only carry along (owners, connections, errors)
and what they measure (times, ages, the order in which idle connections are lent): where a rule
asks for these, its answer is a *choice*, a variable of the step.

Some of what is followed is in no state: how often a key was closed, how often a ticket was
answered. These are the run's own books. That a step keeps them as its effects say is a part of what
the binding compares.

A `Draft` is a picture being worked on, and reads like the rules: what is assigned under a condition
is the new value if the condition holds, and the old one otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from pool.check.proof.terms import (
    FALSE,
    TRUE,
    Term,
    as_term,
    choice,
    every,
    greatest,
    implies,
    least,
    number,
    truth,
)
from pool.core.state import Phase

OPEN, SUSPENDED, CLOSED = 0, 1, 2
PHASES: tuple[Phase, ...] = ("open", "suspended", "closed")

BOUNDS = ("max_size", "max_waiting", "max_opening", "max_connecting")
"""Limits that may be none. The truth `no_max_size` says that this one is."""

LIMITS = (*BOUNDS, *(f"no_{name}" for name in BOUNDS), "min_idle", "background")

COUNTS = (
    "phase",
    "idle",
    "in_use",
    "waiting",
    "opening_tickets",
    "opening_background",
    "backing_off",
    "next_seq",
    "next_ticket",
    "issued",
    "granted",
    "opened",
    "adopted",
    "closed",
    "forgotten",
    "refused",
    "cancelled",
    "dead",
)
"""As in the state; `backing_off`: whether `retry_at` is a time."""

KEY = ("key_idle", "key_in_use", "key_ticket", "key_came", "key_closed", "key_forgotten")
"""Of the followed key: how often it is idle and in use, by which ticket (as long as it is), and how
often it came in, was closed, was forgotten."""

OF_TICKET = ("waits", "opens", "leases", "older", "asked", "answered")
"""Of a ticket: whether it waits and connects, how many leases are its own, how many tickets that
wait are older, how often it came with an `Acquire`, and how often it was answered."""


def of(ticket: str) -> tuple[str, ...]:
    """The names of what is known of a ticket."""
    return tuple(f"{ticket}_{name}" for name in OF_TICKET)


STATE = (*LIMITS, *COUNTS, *KEY, *of("a"), *of("b"))
"""What a step changes."""

TOLD = ("grants", "refusals", "opens_now")
"""Of a ticket, in one step: how often it was granted, refused, told to connect."""

OUT = (
    "ignored",
    "grants",
    "refusals",
    "closes",
    "opens",
    "opens_background",
    "key_grants",
    "key_closes",
    *(f"{ticket}_{what}" for ticket in "ab" for what in TOLD),
)
"""The effects of a step, counted: all, and those for the followed key and tickets."""

TRUTHS = {"background", "backing_off", "ignored", *(f"no_{name}" for name in BOUNDS)}

FOLLOWED = ("key", "a", "b")
"""Which key, and which tickets."""


def variable(name: str) -> Term:
    """The variable of this name, of the right kind."""
    is_truth = name.removeprefix("new_") in TRUTHS or name.startswith("is_")
    return truth(name) if is_truth else number(name)


class Picture:
    """The values of a picture by name, as attributes."""

    values: dict[str, Term]

    def __init__(self, values: Mapping[str, Term]) -> None:
        self.__dict__["values"] = dict(values)

    def __getattr__(self, name: str) -> Term:
        try:
            found: Term = self.__dict__["values"][name]
        except KeyError:
            raise AttributeError(name) from None
        return found

    @property
    def opening(self) -> Term:
        """Connects under way."""
        return self.opening_tickets + self.opening_background

    @property
    def size(self) -> Term:
        """Idle, in use and being opened."""
        return self.idle + self.in_use + self.opening


class Draft(Picture):
    """A picture being worked on in one step of one event.

    `before`: what it was. `assumed`: what is so of the choices. `rules`: when each rule is at work.
    `tickets`: those that are followed, besides `a` and `b` who is lent the followed key (`taker`)
    and the event's own (`t`)."""

    event: str
    before: Picture
    condition: Term
    assumed: list[Term]
    rules: dict[str, Term]
    tickets: list[str]

    def __init__(self, event: str) -> None:
        values = {name: variable(name) for name in (*STATE, *FOLLOWED)}
        self.__dict__["event"] = event
        self.__dict__["before"] = Picture(values)
        values.update((name, FALSE if name in TRUTHS else as_term(0)) for name in OUT)
        self.__dict__["values"] = values
        self.__dict__["condition"] = TRUE
        self.__dict__["assumed"] = []
        self.__dict__["rules"] = {}
        self.__dict__["tickets"] = ["a", "b"]
        self.follow("taker")

    # what is assigned is so where the condition of the moment holds

    def __setattr__(self, name: str, value: Term | int) -> None:
        assert name in self.values, name
        self.values[name] = choice(self.condition, as_term(value), self.values[name])

    @contextmanager
    def when(self, condition: Term, rule: str = "") -> Iterator[None]:
        """Within this, under this condition too; `rule` says which rule that is."""
        outer = self.condition
        self.__dict__["condition"] = every(outer, condition)
        if rule:
            self.cite(rule)
        try:
            yield
        finally:
            self.__dict__["condition"] = outer

    def cite(self, *rules: str) -> None:
        """Here these rules are at work."""
        for rule in rules:
            known = self.rules.get(rule, FALSE)
            self.rules[rule] = known | self.condition

    def ignore_unless(self, condition: Term, rule: str) -> None:
        """A guard: what follows is done only if it holds."""
        with self.when(~condition, rule):
            self.ignored = TRUE
        self.__dict__["condition"] = every(self.condition, condition)

    # what a rule asks for and a picture does not show

    def choose(self, name: str) -> Term:
        """A choice. Its name begins with `is_` if it is true or false."""
        return variable(name)

    def count(self, name: str) -> Term:
        """A choice that is any whole number from 0 on."""
        chosen = variable(name)
        self.assume(chosen >= 0)
        return chosen

    def between(self, name: str, least_: Term | int, most: Term | int) -> Term:
        """A choice that is a number from here to there."""
        chosen = variable(name)
        self.assume((chosen >= as_term(least_)) & (chosen <= as_term(most)))
        return chosen

    def assume(self, *facts: Term) -> None:
        """What is so of everything that is a picture of a step, under the condition."""
        self.assumed.extend(implies(self.condition, fact) for fact in facts)

    # tickets

    def follow(self, ticket: str) -> None:
        """Know of one more ticket what is known of `a` and `b`: of any ticket, that is true which
        is true of those."""
        self.tickets.append(ticket)
        for name in (ticket, *of(ticket)):
            self.values[name] = self.before.values[name] = number(name)
        self.values.update((f"{ticket}_{what}", as_term(0)) for what in TOLD)

    def each(self) -> Iterator[tuple[Term, Ticket]]:
        """The tickets that are followed: which it is, and what is known of it."""
        for name in self.tickets:
            yield self.values[name], Ticket(self, name)

    def its(self, ticket: Term) -> Iterator[Ticket]:
        """What is known of this ticket, for each that is followed: within it, if it is this one."""
        for which, its in self.each():
            with self.when(which == ticket):
                yield its


class Ticket:
    """What a draft knows of one ticket, as attributes."""

    def __init__(self, picture: Picture, name: str) -> None:
        self.__dict__.update(_picture=picture, _name=name)

    def __getattr__(self, name: str) -> Term:
        found: Term = getattr(self._picture, f"{self._name}_{name}")
        return found

    def __setattr__(self, name: str, value: Term | int) -> None:
        setattr(self._picture, f"{self._name}_{name}", value)


# ---------------------------------------------------------------- what every picture is


def consistent(picture: Picture, tickets: Iterable[str]) -> list[Term]:
    """What is so of the counts of several tickets because they are of one state."""
    p, names = picture, list(tickets)
    facts = []
    for name in names:
        which, of_it = getattr(p, name), Ticket(p, name)
        facts += [
            which >= 0,
            (which > 0) | every(*(count == 0 for count in _but_leases(of_it))),
            *(getattr(of_it, count) >= 0 for count in OF_TICKET),
            of_it.waits <= 1,
            of_it.opens <= 1,
            of_it.opens <= p.opening_tickets,
            of_it.leases <= p.in_use,
            of_it.older + of_it.waits <= p.waiting,
            implies((p.key_in_use > 0) & (p.key_ticket == which), of_it.leases >= 1),
            of_it.leases <= choice(p.key_ticket == which, p.in_use, p.in_use - p.key_in_use),
        ]
    for number_, name in enumerate(names):
        for other in names[number_ + 1 :]:
            facts += _together(p, name, other)
    return facts


def _but_leases(of_it: Ticket) -> list[Term]:
    """Of nobody's ticket, 0, all but these are 0: an adapter's leases."""
    return [getattr(of_it, count) for count in OF_TICKET if count != "leases"]


def _together(p: Picture, name: str, other: str) -> list[Term]:
    """Of two tickets that may be one."""
    one, two = getattr(p, name), getattr(p, other)
    of_one, of_two = Ticket(p, name), Ticket(p, other)
    same = every(*(getattr(of_one, count) == getattr(of_two, count) for count in OF_TICKET))
    return [
        implies(one == two, same),
        implies(one < two, of_one.older + of_one.waits <= of_two.older),
        implies(two < one, of_two.older + of_two.waits <= of_one.older),
        implies(one != two, of_one.opens + of_two.opens <= p.opening_tickets),
        implies(one != two, of_one.leases + of_two.leases <= p.in_use),
    ]


def pictured(picture: Picture, tickets: Iterable[str] = ("a", "b")) -> list[Term]:
    """What is so of every picture because of what it is: of any state, good or bad."""
    p = picture
    return [
        *((getattr(p, name) >= 0) for name in (*COUNTS, *KEY) if name not in TRUTHS),
        p.phase <= CLOSED,
        p.key_idle <= p.idle,
        p.key_in_use <= p.in_use,
        p.key >= 1,
        p.a >= 1,
        p.a < p.b,
        *valid(p),
        *consistent(p, tickets),
    ]


def valid(p: Picture) -> list[Term]:
    """LIM-1: limits are valid."""
    return [
        p.max_size >= 1,
        p.max_waiting >= 0,
        p.max_opening >= 1,
        p.max_connecting >= 1,
        p.min_idle >= 0,
        p.no_max_size | (p.min_idle <= p.max_size),
        p.background | (p.min_idle == 0),
    ]


def reaches(p: Picture, count: Term, bound: str) -> Term:
    """Whether so many are as many as a limit allows."""
    return every(~getattr(p, f"no_{bound}"), count >= getattr(p, bound))


def at_most(p: Picture, count: Term, bound: str, spent: Term | int = 0) -> Term:
    """The count, or what a limit still allows if that is less."""
    rest = getattr(p, bound) - as_term(spent)
    return choice(getattr(p, f"no_{bound}"), count, least(count, rest))


def above(count: Term) -> Term:
    """The count, or 0 if it is below."""
    return greatest(count, 0)
