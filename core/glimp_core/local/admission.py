"""How many requests a model serves at once. The others wait outside and hold no cache, first come first served."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from time import monotonic

from glimp_core.context import Context
from glimp_core.errors import Cancelled
from glimp_core.forking import Lock, renewed_in_children
from glimp_core.local.scheduler import Task

GLANCE, DOZE = 0.05, 0.5
"""How often one who waits looks around, in seconds: the next in turn, and those behind, who may be a thousand."""

ASLEEP = 1.0
"""A request for which no model has worked for so many seconds waits for its reader, and gives its places up."""


class Visit:
    """One request inside the engines: its `places`, its tasks there, and the `leases` that it can do without.

    What changes here does so under the one lock of all admissions.
    """

    def __init__(self) -> None:
        self.places: set[Admission] = set()
        self.leases: list[Callable[[], None]] = []
        """What gives back a session each, if one is held."""
        self._tasks: list[Task] = []
        self._known: set[Admission] = set()

    @classmethod
    def of(cls, context: Context) -> "Visit":
        """Return the one of a request."""
        visit: Visit = context.engine_state.setdefault(cls, cls())
        return visit

    def begin(self, task: Task) -> None:
        """Note a task: until it has ended, the request is at work."""
        self._tasks = [*(known for known in self._tasks if not known.ended), task]

    def asleep(self) -> bool:
        """Whether no task has run for a while."""
        ends = [task.ended_at for task in self._tasks]
        return all(end is not None and monotonic() - end > ASLEEP for end in ends)

    def take(self, admission: "Admission") -> bool:
        """Note a place; returns whether it is the first there."""
        self.places.add(admission)
        first = admission not in self._known
        self._known.add(admission)
        return first

    def rest(self) -> None:
        """Hold no place and no session until the next task begins."""
        self.places.clear()
        for give_back in self.leases:
            give_back()


class Admission:
    """Lets `most` requests in, each until its context closes.

    Streams that somebody holds open without reading keep nobody out: a request that no model works for gives up its
    places, and its sessions to the pool, when another one waits; it takes a place again when it is read on. A request
    that is inside at one model is let in at the others at once, or two of them might wait for each other for ever.
    """

    def __init__(self, most: int):
        self._most = most
        self._inside: dict[Visit, None] = {}
        self._outside: deque[_Waiter] = deque()
        renewed_in_children(self)

    @property
    def inside(self) -> int:
        """How many requests are being served."""
        return len(self._inside)

    @property
    def outside(self) -> int:
        """How many requests wait."""
        return len(self._outside)

    def enter(self, context: Context, task: Task) -> None:
        """Wait for a place, and keep it while `task` runs. Raises `Cancelled` if the request is cancelled outside."""
        visit = Visit.of(context)
        with _lock:
            if visit.places or (not self._outside and self._has_room()):
                self._take_place(context, visit, task)
                return
            waiter = _Waiter()
            self._outside.append(waiter)
        try:
            while not self._entered(waiter, context, task):
                if context.cancelled.is_set():
                    raise Cancelled("the request was cancelled")
                waiter.wait(GLANCE if self._outside[0] is waiter else DOZE)
        finally:
            self._outside.remove(waiter)
            self._wake_next()

    def enters_at_once(self, context: Context, task: Task) -> bool:
        """Take a place if there is one to be had without waiting, and say whether there was."""
        visit = Visit.of(context)
        with _lock:
            enters = visit in self._inside or (not self._outside and len(self._inside) < self._most)
            if enters:
                self._take_place(context, visit, task)
        return enters

    def renew(self) -> None:
        """Forget who is inside and outside in the parent process."""
        self._inside.clear()
        self._outside.clear()

    def _entered(self, waiter: "_Waiter", context: Context, task: Task) -> bool:
        with _lock:
            if self._outside[0] is not waiter or not self._has_room():
                return False
            self._take_place(context, Visit.of(context), task)
            return True

    def _has_room(self) -> bool:
        """Whether there is a place to be had, be it one that a sleeping request has to give up."""
        if len(self._inside) < self._most:
            return True
        sleeping = next((visit for visit in list(self._inside) if visit.asleep()), None)
        if sleeping is None:
            return False
        for admission in sleeping.places:
            admission._leave(sleeping)
        sleeping.rest()
        return True

    def _take_place(self, context: Context, visit: Visit, task: Task) -> None:
        self._inside[visit] = None
        visit.begin(task)
        if visit.take(self):
            context.on_close(lambda: self._leave(visit))

    def _leave(self, visit: Visit) -> None:
        """Called by finalisers, too: it waits for no lock."""
        self._inside.pop(visit, None)
        self._wake_next()

    def _wake_next(self) -> None:
        with suppress(IndexError):
            self._outside[0].wake()


class _Waiter:
    def __init__(self) -> None:
        self._bell: SimpleQueue[None] = SimpleQueue()  # of which a finaliser may put, unlike a condition

    def wake(self) -> None:
        self._bell.put(None)

    def wait(self, seconds: float) -> None:
        with suppress(Empty):
            self._bell.get(timeout=seconds)


_lock = Lock()
