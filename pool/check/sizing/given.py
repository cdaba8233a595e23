"""What `purepool size` is given: times, rates, parts and sizes as people write them.

Theory.  Each is read by one function, which says what it was given and what is allowed.  The
command line knows them, and the configuration of nothing else.
"""

from __future__ import annotations

import argparse
import math
import re

from pool.size.loads import Draw, exponential, fixed, lognormal

UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
SHAPES = ("exponential", "fixed", "lognormal")
MOST_SETTINGS = 200


def _refuse(given: str, allowed: str) -> argparse.ArgumentTypeError:
    return argparse.ArgumentTypeError(f"{given}: allowed is {allowed}")


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def seconds(given: str) -> float:
    """`50ms`, `1.5s`, `2min`; at least 0."""
    found = re.fullmatch(r"(\d*\.?\d+)(us|ms|s|min|h)", given.strip())
    if found is None:
        raise _refuse(given, f"a time with its unit ({', '.join(UNITS)}), as 50ms or 1.5s")
    return float(found[1]) * UNITS[found[2]]


def rate(given: str) -> float:
    """`400/s`, `24000/min`: calls for each second, above 0."""
    text, _, unit = given.strip().partition("/")
    number = _number(text)
    if unit not in UNITS or not number > 0:
        raise _refuse(given, "calls in a time, as 400/s or 24000/min, above 0")
    return number / UNITS[unit]


def hold(given: str) -> tuple[float, str, Draw]:
    """`50ms`, `50ms,fixed`, `50ms,lognormal,2`: average, what it is called, and its shape."""
    average, *rest = given.split(",")
    mean = seconds(average)
    name = rest[0].strip() if rest else "exponential"
    spread = _number(rest[1]) if len(rest) > 1 else 1.0
    if (
        name not in SHAPES
        or len(rest) > (2 if name == "lognormal" else 1)
        or not 0 < spread <= 100
        or not mean
    ):
        raise _refuse(
            given,
            "a time above 0, and after a comma exponential (the default), fixed or"
            " lognormal[,SPREAD] (standard deviation over average, at most 100; 1 if not given),"
            " as 50ms,lognormal,2",
        )
    if name == "lognormal":
        return mean, f"lognormal, spread {spread:g}", lognormal(spread)
    return mean, name, fixed if name == "fixed" else exponential


def sizes(given: str) -> tuple[int, ...]:
    """`8`, `2..40`, `4,8,16`: sizes of the pool, at least 1 each."""
    allowed = f"sizes from 1 on, as 8, 2..40 or 4,8,16; at most {MOST_SETTINGS} of them"
    found: set[int] = set()
    for piece in given.split(","):
        matched = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", piece.strip())
        if matched is None:
            raise _refuse(given, allowed)
        first, last = int(matched[1]), int(matched[2] or matched[1])
        if first < 1 or last < first or last - first >= MOST_SETTINGS:
            raise _refuse(given, allowed)
        found.update(range(first, last + 1))
    if len(found) > MOST_SETTINGS:
        raise _refuse(given, allowed)
    return tuple(sorted(found))


def factor(given: str) -> float:
    """`2x`, `1.5x`: above 0."""
    number = _number(given.strip().removesuffix("x"))
    if not number > 0:
        raise _refuse(given, "a factor above 0, as 2x")
    return number


def part(given: str) -> float:
    """`0`, `0.1%`, `0.001`: a part of the callers, from 0 to 1."""
    text = given.strip()
    number = _number(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    if not 0 <= number <= 1:
        raise _refuse(given, "a part of the callers, as 0 or 0.1%")
    return number


def spoken(time: float) -> str:
    """A time with three digits and the unit that suits it."""
    if math.isnan(time):
        return "-"
    if time == 0:
        return "0"
    for unit, size in (("us", 1e-6), ("ms", 1e-3)):
        if time < 999.5 * size:
            return f"{time / size:.3g} {unit}"
    return f"{time:.3g} s" if time < 999.5 else f"{time:,.0f} s"
