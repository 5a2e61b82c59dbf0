"""Locks and queues after a fork: a lock that another thread of the parent held is free in the child."""

import os
import threading
from types import TracebackType
from typing import Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """An object that a forked child has to reset."""

    def renew(self) -> None:
        """Reset the object. It is called in the child, which has no other thread."""
        ...


def renewed_in_children(made: Renewable) -> None:
    """Call `made.renew()` in every child process that is forked during the life of the object."""
    _renewable.add(made)


class Lock:
    """A `threading.Lock` that is free in a forked child, in which no thread would release it.

    A finaliser must not wait for one: garbage collection may run in the thread that holds it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        renewed_in_children(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()

    def renew(self) -> None:
        """Be free, whoever held it."""
        self._lock = threading.Lock()


_renewable: "WeakSet[Renewable]" = WeakSet()


def _renew() -> None:
    for made in list(_renewable):
        made.renew()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_renew)
