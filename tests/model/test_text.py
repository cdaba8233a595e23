"""Text of what is not ours: short, and made without raising."""

from __future__ import annotations

from typing import Any

import pytest

from pool.core.text import MOST, cut, kind_of, repr_of, text_of
from pool.shared.errors import failure_of


class Wordless(Exception):
    def __str__(self) -> str:
        raise LookupError("no text")

    __repr__ = __str__


class Sneaky(str):
    """A text whose own methods are not to be trusted."""

    def __len__(self) -> int:
        raise LookupError

    __getitem__ = __format__ = __str__ = __eq__ = __hash__ = __len__  # type: ignore[assignment]


class Named(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]
        raise LookupError


class Nameless(Wordless, metaclass=Named):
    """Not even its class says what it is."""


def test_a_short_text_is_kept() -> None:
    assert text_of(ValueError("no route")) == "no route"
    assert repr_of("no route") == "'no route'"
    assert cut("x" * MOST) == "x" * MOST


def test_a_long_text_is_cut_and_says_so() -> None:
    text = text_of(ValueError("x" * 10_000_000))
    assert text == "x" * MOST + "... (cut: 10,000,000 characters in all)"


@pytest.mark.parametrize("form", [text_of, repr_of])
def test_what_cannot_be_made_text_is_named(form: Any) -> None:
    assert form(Wordless()) == "<Wordless that cannot be made text: LookupError>"
    assert form(Nameless()) == "<Nameless that cannot be made text: LookupError>"


def test_an_answer_that_is_no_text() -> None:
    class Odd:
        def __str__(self) -> str:
            return 5  # type: ignore[return-value]

    assert text_of(Odd()) == "<Odd that cannot be made text: TypeError>"


def test_a_subclass_of_str_becomes_a_plain_one() -> None:
    class Told(Exception):
        def __str__(self) -> str:
            return Sneaky("a text")

    assert type(text_of(Told())) is str
    assert text_of(Told()) == "a text"


def test_a_number_too_long_for_python() -> None:
    """By default it makes no more than 4,300 digits of an int."""
    assert repr_of(10**5000) == "<int that cannot be made text: ValueError>"


def test_a_failure_of_any_error() -> None:
    assert tuple(failure_of(OSError("no route"))) == ("OSError", "no route")
    assert failure_of(Nameless()).kind == "Nameless"
    assert kind_of(type("x" * 5000, (), {})()).endswith("(cut: 5,000 characters in all)")
