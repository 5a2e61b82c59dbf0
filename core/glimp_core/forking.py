"""Locks and queues in a process that was forked: what other threads of the parent held is free in the child."""

import os
import threading
from types import TracebackType
from typing import Protocol
from weakref import WeakSet


class Renewable(Protocol):
    """Something that a forked child has to begin anew."""

    def renew(self) -> None:
        """Be as new; called in the child, where no other thread is."""
        ...


def renewed_in_children(made: Renewable) -> None:
    """Have `made.renew()` called in every process that is forked while it lives."""
    _renewable.add(made)


class Lock:
    """A `threading.Lock` that is free in a forked child, where nobody would ever release it.

    No finaliser may wait for one: the collector may run while it is held, in the very thread that holds it.
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
