"""deadline: time over stops the models, and nothing else does."""

import threading

import pytest

from glimp_core import Cancelled, EngineTimeoutError
from glimp_core.deadline import deadline
from pairs import scripted_router


def answer(timeout: float | None, hold: threading.Event) -> None:
    """Reply, with a pause of `hold` seconds at the first piece of text."""
    cancelled = threading.Event()
    with deadline(timeout, cancelled):
        for event in scripted_router().stream("2 + 2?", cancelled=cancelled):
            if not hold.is_set() and hasattr(event, "text"):
                hold.wait(0.2)
                hold.set()


def test_time_over_is_an_engine_timeout() -> None:
    """A reply that outlasts its deadline is stopped and says which limit it broke."""
    with pytest.raises(EngineTimeoutError, match=r"timeout=0\.05"):
        answer(0.05, threading.Event())


@pytest.mark.parametrize("timeout", [None, 60])
def test_in_time_is_as_without(timeout: float | None) -> None:
    """A deadline that is not reached changes nothing."""
    answer(timeout, threading.Event())


def test_a_cancel_of_the_caller_stays_one() -> None:
    """Only time makes a timeout."""
    cancelled = threading.Event()
    cancelled.set()
    with pytest.raises(Cancelled), deadline(60, cancelled):
        list(scripted_router().stream("2 + 2?", cancelled=cancelled))
