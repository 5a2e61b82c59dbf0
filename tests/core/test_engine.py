"""Capabilities are types, told apart without waking an engine."""

from typing import Any

from glimp_core import Engine, Glimpser
from glimp_core.testing import ScriptedEngine


class Sleeping(ScriptedEngine):
    """An engine of which the window costs a request."""

    @property
    def window(self) -> int:
        raise AssertionError("nobody asked for the window")

    @window.setter
    def window(self, value: int) -> None:
        pass


def test_asking_for_the_type_wakes_nothing() -> None:
    """Telling an engine from other objects reads none of its properties."""
    assert isinstance(Sleeping(), Engine)
    assert isinstance(Sleeping(), Glimpser)


def test_an_engine_that_cannot_glimpse_is_no_glimpser() -> None:
    """What lacks a method of a protocol is not of its type, and neither is a class of engines."""

    class Blind:
        name, vocabulary, window = "blind", "characters", 1
        load = prepare = generate = staticmethod(lambda *_: None)

    assert isinstance(Blind(), Engine)
    assert not isinstance(Blind(), Glimpser)
    assert not isinstance(object(), Engine)


def test_a_declared_engine_is_its_own_type_alone() -> None:
    """A class that declares itself an engine has instances of its own, and no lookalikes."""

    class Declared(Engine):
        name, vocabulary, window = "declared", "characters", 1

    declared: Any = Declared()  # type: ignore[abstract]
    assert isinstance(declared, Declared)
    assert isinstance(declared, Engine)
    assert not isinstance(ScriptedEngine(), Declared)
