"""What `purepool conform` says: to people, as JSON, as JUnit.

Theory.  A report answers three questions, in this order: does the port conform; if not, what is
the shortest history that shows it, and what should have come; how does each rule of the
specification stand.

What a signal stopped has no verdict: a divergence that was found by then is one, and all else
is not known.

Text keeps to the width of the terminal, 80 where there is none; but a history, which is for
pasting, has an event on a line, however long.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Iterator
from itertools import groupby, zip_longest
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from pool.check.conformance.encoding import Json, text
from pool.check.conformance.judgement import Divergence, is_ignored
from pool.check.conformance.rules import judged, rules
from pool.check.conformance.verdict import Verdict
from pool.check.explore.notation import write, write_history
from pool.check.results import Case, head, junit

RIGHT, WRONG, MISSING = "right", "wrong", "missing"

KINDS = {
    "crash": "the port ended",
    "hang": "the port does not answer",
    "rubbish": "the port does not answer with JSON",
    "order": "the port answers out of order",
    "start": "the port cannot be started again",
    "handshake": "the port greets otherwise the second time",
    "error": "the port answers with an error",
    "limits": "limits are judged wrongly",
    "effects": "other effects",
    "state": "the right effects, another state",
    "wake_at": "the right effects and state, another wake_at",
}


def standing(verdict: Verdict) -> dict[str, str]:
    """Of each rule: right, wrong or missing."""
    return {
        rule: WRONG if verdict.wrong[rule] else RIGHT if verdict.right[rule] else MISSING
        for rule in judged()
    }


def why_missing(verdict: Verdict, rule: str) -> str:
    """What a port has to learn to reach a rule."""
    event = rules()[rule].event
    if event in verdict.missing_events:
        return f"needs the event {event}"
    if verdict.hello is None:
        return "the port could not be asked"
    if rule not in verdict.needs:
        return "no vector reaches it"
    if lack := verdict.needs[rule]:
        openers = [f"opener = {name}" for name in verdict.missing_openers if name in lack]
        events = [f"the event {name}" for name in lack if name in verdict.missing_events]
        return f"needs {' and '.join([*openers, *events])}"
    if verdict.stopped:
        return "was not reached before it was stopped"
    return "was not reached, for answers before it are wrong"


def readable(said: str) -> str:
    """What a port says, without what would drive a terminal or is not allowed in XML."""
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape").decode()
        for one in said
    )


# ---------------------------------------------------------------- for people


def show(verdict: Verdict, console: Console) -> None:
    """The whole report."""
    port = readable(verdict.hello.port) if verdict.hello else "?"
    console.print(f"{port}: {shlex.join(verdict.command)}", markup=False, soft_wrap=True)
    console.print()
    wrong = sum(verdict.wrong_cases.values())
    right = f"{wrong} wrong" if wrong else "all right" if not verdict.gave_up else "given up"
    cases = str(verdict.cases)
    if verdict.stopped and sum(verdict.asked.values()) < sum(verdict.files.values()):
        cases += f" of {sum(verdict.files.values())}"
    _say(console, f"vectors    {cases} cases, {right}, {verdict.vectors_seconds:.1f} s", 11)
    if verdict.cut or verdict.skipped:
        lacking = (
            f"{verdict.cut} end before an event that the port does not know,"
            f" {verdict.skipped} need another opener"
        )
        _say(console, f"           {lacking}", 11)
    if verdict.seed is None:
        why = ", for vectors are wrong" if wrong else ", it was stopped" if verdict.stopped else ""
        console.print(f"histories  none{why}", markup=False)
    else:
        asked = (
            f"{verdict.histories:,} histories, {verdict.events:,} events, first seed"
            f" {verdict.seed}, {verdict.histories_seconds:.1f} s"
        )
        _say(console, f"histories  {asked}", 11)
    if verdict.divergence is not None:
        show_divergence(verdict.divergence, console)
    if verdict.gave_up:
        console.print()
        console.print("Given up: the port failed too often, and was not asked everything.")
    show_rules(verdict, console)
    console.print()
    _say(console, conclusion(verdict), 0)


def _say(console: Console, text: str, indent: int) -> None:
    """A paragraph, its other lines that far to the right."""
    leading = len(text) - len(text.lstrip())
    filled = textwrap.fill(
        text.strip(),
        max(40, console.width),
        initial_indent=" " * leading,
        subsequent_indent=" " * indent,
        break_on_hyphens=False,
    )
    console.print(filled, markup=False, soft_wrap=True)


def conclusion(verdict: Verdict) -> str:
    """The last line: what became of it."""
    if verdict.conforms:
        return f"CONFORMS: all {len(judged())} rules were checked, {verdict.answers:,} answers."
    stopped = "; stopped before it was asked everything" if verdict.stopped else ""
    if verdict.divergence is not None:
        return f"DOES NOT CONFORM: see the history above{stopped}."
    if verdict.stopped:
        return f"STOPPED after {verdict.answers:,} answers, all of them right: nothing is decided."
    parts = [
        f"{what}: {', '.join(names)}"
        for what, names in (
            ("events", verdict.missing_events),
            ("openers", verdict.missing_openers),
        )
        if names
    ]
    lacking = "; ".join(parts) or f"rules: {', '.join(verdict.missing_rules)}"
    return f"INCOMPLETE: what is there is right. Missing are {lacking}."


def show_divergence(found: Divergence, console: Console) -> None:
    """The history, what was due and what came, and the rules that say so."""
    console.print()
    shrunk = found.shrunk_from
    length = f", {found.events} events" if found.events else ""
    if shrunk is not None and shrunk != found.events:
        length += f" (shrunk from {shrunk})"
    title = f"DIVERGED: {KINDS.get(found.kind, found.kind)}"
    console.print(f"{title}\n  in {found.where}{length}" if found.where else title, markup=False)
    console.print()
    for line in history_lines(found):
        console.print(f"    {line}", markup=False, soft_wrap=True)
    if found.why:
        console.print()
        for line in readable(found.why).split("\n"):
            _say(console, f"    {line}", 4)
    rows = list(compared(found))
    if rows:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for heading in ("", "expected", "actual"):
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*(Text(readable(cell)) for cell in row))
        console.print()
        console.print(table)
    if found.rules:
        console.print()
        for rule in found.rules:
            _say(console, f"    {rule}  {rules()[rule].text}", 11)
    if others := other_rules(found):
        _say(console, f"    Other rules of the event, not due here: {', '.join(others)}", 4)


def other_rules(found: Divergence) -> list[str]:
    """The rules of the last event that it should not meet: the port may think that it does."""
    event = found.requests[-1].get("event", {}).get("event")
    return [
        name
        for name, rule in rules().items()
        if event and rule.event == event and name not in found.rules
    ]


def history_lines(found: Divergence) -> list[str]:
    """Limits and events, one a line, with what each should answer; the last is the wrong one."""
    reset = found.requests[0]
    if reset["command"] != "reset":
        return [f"at {reset['command']}"]
    try:
        history = found.history
    except ValueError:
        return [f"reset with the limits {text(reset['limits'])}"]
    lines = write_history(history.limits, history.events[:-1]).splitlines()
    return [*lines, *map(write, history.events[-1:])]


def compared(found: Divergence) -> Iterator[tuple[str, str, str]]:
    """What differs: its name, what is due, what came."""
    due, actual = found.expected, found.actual
    if "invalid" in due:
        return
    if actual is None or "error" in actual or "invalid" in actual:
        if "effects" in due:
            for effect in due["effects"] or [None]:
                yield "effects", _effect(effect), ""
        return
    effects, others = due.get("effects"), actual.get("effects")
    if effects is not None and not (is_ignored(effects) and is_ignored(others)):
        if isinstance(others, list):
            for one, other in zip_longest(effects, others):
                yield "effects", _effect(one), _effect(other)
        else:
            yield "effects", text(effects), text(others)
    ours, theirs = due["state"], actual.get("state")
    if isinstance(theirs, dict):
        for name in (*ours, *(theirs.keys() - ours.keys())):
            one, other = ours.get(name, ...), theirs.get(name, ...)
            if one is ... or other is ... or text(one) != text(other):
                yield f"state.{name}", *_both(name, one, other)
    else:
        yield "state", "an object", text(theirs)
    if "wake_at" in due and text(due["wake_at"]) != text(actual.get("wake_at")):
        yield "wake_at", text(due["wake_at"]), _value(actual.get("wake_at", ...))


def _both(name: str, one: Any, other: Any) -> tuple[str, str]:
    """Of limits and counters, only those that differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = [key for key in {**one, **other} if text(one.get(key)) != text(other.get(key))]
        one, other = ({key: part[key] for key in names if key in part} for part in (one, other))
    return _value(one), _value(other)


def _value(value: Any) -> str:
    return "not there" if value is ... else text(value)


def _effect(effect: Any) -> str:
    if effect is None:
        return "none"
    if not isinstance(effect, dict):
        return text(effect)
    fields = ", ".join(
        f"{name}={text(value)}" for name, value in effect.items() if name != "effect"
    )
    return f"{effect.get('effect')}({fields})"


def show_rules(verdict: Verdict, console: Console) -> None:
    """How each rule stands, a family on a line; then why rules are missing."""
    marks = {RIGHT: "✓", WRONG: "✗", MISSING: "·"}
    console.print()
    _say(
        console,
        "rules      ✓ right   ✗ wrong, or beside what is wrong   · not reached; the number: how"
        " many answers the rule had a say in",
        11,
    )
    families = groupby(standing(verdict).items(), key=lambda item: item[0][:3])
    for family, members in families:
        items = [
            f"{rule[4:]} {marks[state]} {verdict.wrong[rule] or verdict.right[rule] or ''}".strip()
            for rule, state in members
        ]
        line = f"  {family}"
        for item in items:
            if len(line) + 2 + len(item) > console.width:
                console.print(line, markup=False, soft_wrap=True)
                line = "     "
            line += f"  {item}"
        console.print(line, markup=False, soft_wrap=True)
    reasons: dict[str, list[str]] = {}
    for rule in verdict.missing_rules:
        reasons.setdefault(why_missing(verdict, rule), []).append(rule)
    if reasons:
        console.print()
    for reason, names in reasons.items():
        _say(console, f"  {reason}: {', '.join(names)}", 4)


# ---------------------------------------------------------------- for programs


def as_json(verdict: Verdict) -> Json:
    """The report, with the history as the requests that repeat it."""
    found = verdict.divergence
    passed, stopped = verdict.conforms, verdict.stopped
    return {
        **head("conform", passed=passed, stopped=stopped, seconds=verdict.seconds),
        "conforms": verdict.conforms,
        "conclusion": conclusion(verdict),
        "port": verdict.hello.port if verdict.hello else None,
        "port-command": verdict.command,
        "missing": {"events": verdict.missing_events, "openers": verdict.missing_openers},
        "vectors": {
            "cases": verdict.cases,
            "wrong": sum(verdict.wrong_cases.values()),
            "cut": verdict.cut,
            "skipped": verdict.skipped,
            "seconds": round(verdict.vectors_seconds, 3),
        },
        "histories": {
            "histories": verdict.histories,
            "events": verdict.events,
            "seed": verdict.seed,
            "seconds": round(verdict.histories_seconds, 3),
        },
        "divergence": found
        and {
            "kind": found.kind,
            "why": found.why or KINDS.get(found.kind, found.kind),
            "where": found.where,
            "rules": list(found.rules),
            "requests": list(found.requests),
            "expected": found.expected,
            "actual": found.actual,
            "shrunk_from": found.shrunk_from,
        },
        "rules": {
            rule: {"state": state, "right": verdict.right[rule], "wrong": verdict.wrong[rule]}
            for rule, state in standing(verdict).items()
        },
    }


def as_junit(verdict: Verdict) -> str:
    """A suite of the files of vectors and the histories, and one of the rules."""
    found = verdict.divergence
    story = "" if found is None else readable("\n".join([*history_lines(found), found.why]))
    runs: list[Case] = []
    for file, count in verdict.files.items():
        wrong, asked = verdict.wrong_cases[file], verdict.asked[file]
        failed = f"{wrong} of {count} cases" if wrong else None
        part = f"only {asked} of {count} cases were asked" if asked < count else None
        runs.append(Case(f"vectors {file}", failed, None if failed else part, story))
    diverged = found is not None and found.where == "histories"
    failed = KINDS.get(found.kind) if diverged and found else None
    reason = "stopped" if verdict.stopped else "not run" if verdict.seed is None else None
    runs.append(Case("histories", failed, None if failed else reason, story))
    if found is not None and not found.where:
        runs.append(Case("the port itself", found.kind, None, story))
    states = [
        Case(
            rule,
            f"{verdict.wrong[rule]} wrong answers" if state == WRONG else None,
            why_missing(verdict, rule) if state == MISSING else None,
            story,
        )
        for rule, state in standing(verdict).items()
    ]
    return junit("conform", {"runs": runs, "rules": states}, verdict.seconds)
