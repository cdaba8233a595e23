"""Docstrings as they are written in this project, for Sphinx.

Theory.  They are plain text for whoever reads the source or types `help(...)`: names between single
backticks, examples indented, lists by asterisks.  Almost all of that is what Sphinx reads, too; the
rest is put right here, so that no docstring is written for a tool.  And what users import by `from
pool import Lease` is `pool.Lease` to them, wherever its class was written: names in signatures lead
there.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

MODULES = ("pool", "pool.aio", "pool.record", "pool.size", "pool.peewee", "pool.peewee.aio")
"""What users import from. What the first offers is not looked for in the next."""

FIELDS = {
    "now": "When it happened: seconds on the one clock that all events of a pool are timed by.",
    "ticket": "Whose it is: the caller's place in the queue, then the fencing token of its lease.",
    "key": "The connection, by the number that the pool gave it.",
    "wait": "Whether the caller is ready to wait.",
    "owner": "Whatever stands for who asks; opaque here.",
    "connection": "The driver's object, opaque here.",
    "created": "When its connect began.",
    "error": "Why the connect failed; where it is of no connect of the caller's own, the last one.",
    "jitter": "A random number from 0 up to 1.",
    "reusable": "Whether its reset succeeded.",
    "before": "Connections checked out before this time are meant.",
    "limits": "All the limits from now on.",
    "reason": "Why.",
    "held": "For how many seconds.",
    "why": "Which guard it failed.",
    "idle": "Connections that rest.",
    "in_use": "Connections that are lent.",
    "removed": "Keys of connections that are not there any more.",
    "next_seq": "What the adapter counted up to.",
    "seq": "Its place among those that rest: higher came back later.",
    "checked_out": "When it was lent.",
    "order": "What it is sorted by: a time, or `seq`, as `Limits.idle_order` says.",
    "entry": "The connection.",
    "kind": "The class of the driver's error.",
    "text": "Its text.",
    "counters": "What has happened so far.",
    "granted": "Connections lent so far.",
    "issued": "Callers so far.",
    "last_error": "Why the last connect failed, if none has succeeded since.",
    "phase": "`open`, `suspended` or `closed`.",
    "waiters": "Tickets that wait, oldest first, each with its owner.",
    "rested": "For how many seconds it was idle; None: it was opened just now.",
}
"""What the fields of events, effects and states mean, where their classes do not say so."""


def mend(app: Any, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Mark code, set lists apart, say what a field is and which rules an event has."""
    if lines and lines[0].startswith("Alias for field number"):
        lines[:] = [FIELDS[name.rpartition(".")[2]], ""]
    mended: list[str] = []
    for number, line in enumerate(lines):
        before = lines[number - 1] if number else ""
        if line.startswith("* ") and before and not before.startswith(("* ", "  ")):
            mended.append("")
        if line.startswith("    ") and not before.strip() and _is_text(mended):
            mended += [".. code-block:: python", ""]
        # What an item of a list explains is a parameter, whatever methods are called likewise.
        mended.append(re.sub(r"^\* (?:`\w+`(?:, )?)+:", lambda m: m[0].replace("`", "``"), line))
    lines[:] = mended
    if what == "class" and name.startswith("pool.") and (ids := rules().get(name[5:])):
        lines += ["", f":doc:`Rules </spec/README>` {ids}.", ""]


RULES = re.compile(r"^### (?P<event>\w+)\(.*?(?=^##)", re.M | re.S)


def rules() -> dict[str, str]:
    """The ids of the rules of each event, as the specification lists them: `REL-1 to REL-3`."""
    found = {}
    for match in RULES.finditer((ROOT / "spec" / "README.md").read_text("utf-8")):
        ids = re.findall(r"^`([A-Z]{3}-\d+)`", match[0], re.M)
        found[match["event"]] = ids[0] if len(ids) == 1 else f"{ids[0]} to {ids[-1]}"
    return found


def _is_text(lines: list[str]) -> bool:
    """Whether the last paragraph began at the margin and is no list."""
    filled = [line for line in lines if line.strip()]
    return bool(filled) and not filled[-1].startswith((" ", "* ")) and not filled[-1].endswith("::")


def public_names() -> dict[str, str]:
    """Where something was written -> where users find it."""
    found: dict[str, str] = {}
    for module in MODULES:
        offered = importlib.import_module(module)
        for name in getattr(offered, "__all__", vars(offered)):
            thing = getattr(offered, name)
            if isinstance(thing, type) and thing.__module__.startswith("pool."):
                found.setdefault(f"{thing.__module__}.{thing.__qualname__}", f"{module}.{name}")
    return found


def lead_to_public(app: Any, env: Any, node: Any, content: Any) -> Any:
    """A name that leads nowhere: where it is public, and where a field of its class is."""
    if node.get("refdomain") != "py":
        return None
    target = node.get("reftarget", "")
    if not hasattr(env, "_purepool_names"):
        env._purepool_names = public_names()
    names = env._purepool_names
    places = [names[target]] if target in names else []
    if re.fullmatch(r"[A-Z]\w*(\.\w+)*", target):  # a class; what is small may be a parameter
        places += [f"{module}.{target}" for module in MODULES]
    domain = env.domains["py"]
    for place in places:
        if place in domain.objects:
            return domain.resolve_xref(
                env, node["refdoc"], app.builder, "obj", place, node, content
            )
    return None


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", mend)
    app.connect("missing-reference", lead_to_public)
