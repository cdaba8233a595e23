"""What is known about a port: how each rule stands, what it lacks, its shortest wrong answer.

Theory.  It is gathered while the port is asked (`conform.py`), and said at the end (`report.py`).
"""

from __future__ import annotations

from collections import Counter

import attrs

from pool.check.conformance.judgement import Divergence, Exchange
from pool.check.conformance.needs import Lack
from pool.check.conformance.port import OPENERS, Hello
from pool.check.conformance.rules import judged
from pool.check.explore.configurations import EVENTS


@attrs.define
class Verdict:
    """What is known about a port so far."""

    command: list[str]
    hello: Hello | None = None
    right: Counter[str] = attrs.field(factory=Counter)
    """Of each rule, how many answers that it had a say in were right."""
    wrong: Counter[str] = attrs.field(factory=Counter)
    cases: int = 0
    cut: int = 0
    """Cases that end before an event that the port does not know."""
    skipped: int = 0
    """Cases that begin with an opener that it does not know."""
    wrong_cases: Counter[str] = attrs.field(factory=Counter)
    """By file of vectors."""
    files: dict[str, int] = attrs.field(factory=dict)
    """Cases by file."""
    asked: Counter[str] = attrs.field(factory=Counter)
    """How many of them were asked, or skipped."""
    needs: dict[str, Lack] = attrs.field(factory=dict)
    """Of each rule, what the port has to learn before a vector can reach it."""
    answers: int = 0
    histories: int = 0
    events: int = 0
    seed: int | None = None
    failures: int = 0
    divergence: Divergence | None = None
    gave_up: bool = False
    stopped: bool = False
    """A signal came before it was asked everything."""
    vectors_seconds: float = 0.0
    histories_seconds: float = 0.0
    seconds: float = 0.0
    """All of it."""

    @property
    def missing_events(self) -> list[str]:
        return [name for name in EVENTS if self.hello and name not in self.hello.events]

    @property
    def missing_openers(self) -> list[str]:
        return [name for name in OPENERS if self.hello and name not in self.hello.openers]

    @property
    def missing_rules(self) -> list[str]:
        """Rules that no answer had to do with."""
        return [rule for rule in judged() if not self.right[rule] and not self.wrong[rule]]

    @property
    def conforms(self) -> bool:
        return (
            self.divergence is None
            and not self.stopped
            and not self.missing_events
            and not self.missing_openers
            and not self.missing_rules
        )

    def seen(self, exchange: Exchange, is_right: bool) -> None:
        self.answers += 1
        (self.right if is_right else self.wrong).update(exchange.rules)

    def found(self, divergence: Divergence) -> None:
        """Keep the shortest; of a port that cannot be asked, and one that answers wrongly, the
        first."""
        self.failures += divergence.actual is None
        best = self.divergence
        if best is None or divergence.events < best.events:
            self.divergence = divergence
