"""What is found behind an object that stands in front of a driver's connection, and what is not.

Theory.  `test_pool_next_borrower.py` puts real instruments around real connections. Here are the
shapes that such objects may have, one by one, each around a connection that a function shows, and
what leads nowhere. What comes of it is a way, which is followed from the proxy.
"""

from __future__ import annotations

import types
from typing import Any

import pytest

from pool.drivers.proxies import DEEPEST, follow, get, has_method, path_to


class Raw:
    """The driver's connection."""

    shows_it = True

    def rollback(self) -> None: ...


class Around:
    """The base of what keeps something, and shows what people recognise a connection by."""

    shows_it = True

    def __init__(self, inner: Any) -> None:
        self.inner = inner


def shown(thing: Any) -> str | None:
    return "shows_it" if type(thing) is Raw else None


class Wrapped:
    def __init__(self, inner: Any) -> None:
        self.__wrapped__ = inner


class ByMethod:
    """What its commit belongs to is behind it; its rollback is its own."""

    def __init__(self, inner: Any) -> None:
        def commit(self: Any) -> None: ...

        self.commit = types.MethodType(commit, inner)

    def rollback(self) -> None: ...


class Slots:
    __slots__ = ("first", "inner")
    shows_it = True

    def __init__(self, inner: Any) -> None:
        self.inner = inner


class Slot(Around):
    __slots__ = "_own"


class OneSlot:
    __slots__ = "inner"
    shows_it = True

    def __init__(self, inner: Any) -> None:
        self.inner = inner


class SlotsOfTheBase(Slots):
    """With a dictionary of its own, too, in which there is nothing."""


class Several:
    """Others are kept beside it."""

    shows_it = True

    def __init__(self, inner: Any) -> None:
        self.nothing = None
        self.itself = self
        self.settings = {"a": 1}
        self.inner = inner


class Beside(Around):
    """What it says it wraps is no connection: what else it keeps is looked at, too."""

    def __init__(self, inner: Any) -> None:
        self.__wrapped__ = object()
        super().__init__(inner)


class OddNames(Around):
    def __init__(self, inner: Any) -> None:
        self.__dict__[7] = "no name"  # type: ignore[index]
        super().__init__(inner)


WAYS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "it says what it wraps": (Wrapped, ("__wrapped__",)),
    "by a method": (ByMethod, ("commit", "__self__")),
    "an attribute": (Around, ("inner",)),
    "slots": (Slots, ("inner",)),
    "one slot": (OneSlot, ("inner",)),
    "a slot beside a dictionary": (Slot, ("inner",)),
    "slots of the base": (SlotsOfTheBase, ("inner",)),
    "behind what leads nowhere": (Several, ("inner",)),
    "behind what is wrapped and leads nowhere": (Beside, ("inner",)),
    "names that are no names": (OddNames, ("inner",)),
    "two": (lambda raw: Wrapped(ByMethod(raw)), ("__wrapped__", "commit", "__self__")),
    "kept behind a proxy": (lambda raw: Wrapped(Around(raw)), ("__wrapped__", "inner")),
}


@pytest.mark.parametrize(("proxy", "way"), WAYS.values(), ids=WAYS)
def test_what_is_found(proxy: Any, way: tuple[str, ...]) -> None:
    raw = Raw()
    thing = proxy(raw)
    assert path_to(thing, shown) == way
    assert follow(thing, way) is raw


def test_a_connection_itself_is_no_way_off() -> None:
    assert path_to(Raw(), shown) == ()


class HasAll:
    """As a mock, or a remote client: it has every attribute that it is asked for."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class Keeps(Around):
    """It keeps a connection among its own things, and does not show that it stands for it."""

    shows_it = property()  # type: ignore[assignment]


class ShowsNothing:
    def __init__(self, inner: Any) -> None:
        self.inner = inner


class NoRollback(Around):
    """It has the connection one step further, and no rollback itself."""

    def __init__(self, inner: Any) -> None:
        super().__init__(types.SimpleNamespace(inner=inner, shows_it=True))


class Dunder:
    """What begins with two underscores is no attribute of its own."""

    shows_it = True

    def __init__(self, inner: Any) -> None:
        self.__dict__["__inner"] = inner


class Itself:
    """A ring has no end."""

    def rollback(self) -> None: ...

    def __init__(self, _: Any) -> None:
        self.__wrapped__ = self


NOWHERE = {
    "it has everything": HasAll,
    "it raises when asked whether it stands for one": Keeps,
    "it only keeps one": ShowsNothing,
    "without a rollback": NoRollback,
    "a private name of Python's": Dunder,
    "itself": Itself,
    "something else": lambda _: object(),
}


@pytest.mark.parametrize("proxy", NOWHERE.values(), ids=NOWHERE)
def test_what_is_not_believed(proxy: Any) -> None:
    assert path_to(proxy(Raw()), shown) is None


def test_a_proxy_with_everything_is_not_asked_for_more() -> None:
    """It would be walked through for ever: each of its attributes has each attribute, too."""
    asked: list[str] = []

    class Asked:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return Asked()

    assert path_to(Asked(), shown) is None
    assert len(asked) == 1


@pytest.mark.parametrize(("count", "found"), [(DEEPEST, True), (DEEPEST + 1, False)])
def test_how_many_proxies_are_looked_through(count: int, found: bool) -> None:
    thing: Any = Raw()
    for _ in range(count):
        thing = Wrapped(thing)
    assert path_to(thing, shown) == (("__wrapped__",) * count if found else None)


def test_what_a_wrapper_says_goes_before_what_it_keeps() -> None:
    """Instruments keep a connection to copy from beside the one they stand for."""
    thing: Any = Around(Raw())
    thing.__wrapped__ = Raw()
    assert path_to(thing, shown) == ("__wrapped__",)


def test_an_attribute_that_raises_is_not_there() -> None:
    class Raises:
        @property
        def broken(self) -> Any:
            raise RuntimeError("not now")

    assert get(Raises(), "broken") is None
    assert get(Raises(), "broken", 7) == 7
    assert get(Raises(), "absent", 7) == 7
    assert get(object(), "absent") is None


def test_whether_it_has_a_method() -> None:
    assert has_method(Raw(), "rollback") is True
    assert has_method(Raw(), "shows_it") is False, "it cannot be called"
    assert has_method(Wrapped(Raw()), "rollback") is False
    assert has_method(types.SimpleNamespace(rollback=print), "rollback") is True


def test_of_one_that_has_everything_the_class_decides() -> None:
    class Client(HasAll):
        def rollback(self) -> None: ...

    assert has_method(Client(None), "rollback") is True
    assert has_method(Client(None), "commit") is False
    assert has_method(HasAll(None), "rollback") is False
