"""How many requests a model serves at once. The others wait outside and hold no cache, first come first served."""

import threading
from collections import deque
from collections.abc import Callable
from time import monotonic

from glimp_core.context import Context
from glimp_core.errors import Cancelled

GLANCE, DOZE = 0.05, 0.5
"""How often one who waits looks around, in seconds: the next in turn, and those behind, who may be a thousand."""

ASLEEP = 1.0
"""Where the device had no work for so many seconds, nobody inside is being read, and one more may come in."""


class Admission:
    """Lets `most` requests in, each until its context closes; `idle` tells whether the device has no work.

    Streams that somebody holds open without reading keep nobody out for long.
    """

    def __init__(self, most: int, idle: Callable[[], bool]):
        self._most = most
        self._idle = idle
        self._inside: set[Context] = set()
        self._outside: deque[Context] = deque()
        self._changed = threading.Condition()
        self._worked = monotonic()

    @property
    def inside(self) -> int:
        """How many requests are being served."""
        return len(self._inside)

    @property
    def outside(self) -> int:
        """How many requests wait."""
        return len(self._outside)

    def enter(self, context: Context) -> None:
        """Wait for a place, and keep it. Raises `Cancelled` when the request is cancelled outside."""
        with self._changed:
            if context in self._inside:
                return
            self._outside.append(context)
            try:
                while not self._admits(context):
                    if context.cancelled.is_set():
                        raise Cancelled("the request was cancelled")
                    self._changed.wait(GLANCE if self._outside[0] is context else DOZE)
            finally:
                self._outside.remove(context)
                self._changed.notify_all()
            self._take_place(context)

    def enters_at_once(self, context: Context) -> bool:
        """Take a place if there is one to be had without waiting, and say whether there was."""
        with self._changed:
            if context in self._inside:
                return True
            if self._outside or len(self._inside) >= self._most:
                return False
            self._take_place(context)
        return True

    def _admits(self, context: Context) -> bool:
        now = monotonic()
        if len(self._inside) < self._most or not self._idle():
            self._worked = now
        room = len(self._inside) < self._most or now - self._worked > ASLEEP
        return room and self._outside[0] is context

    def _take_place(self, context: Context) -> None:
        self._inside.add(context)
        context.on_close(lambda: self._leave(context))

    def _leave(self, context: Context) -> None:
        with self._changed:
            self._inside.discard(context)
            self._changed.notify_all()
