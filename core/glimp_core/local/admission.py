"""A limit on the requests that a model serves at once. Other requests wait in order of arrival and hold no cache."""

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
"""Seconds between two checks of a waiting request: of the next one, and of the others, of which there may be many."""

ASLEEP = 1.0
"""If no model has worked for a request for this many seconds, its caller does not read, and it gives up its places."""


class Visit:
    """One admitted request: its `places`, its tasks, and the `leases` that it can give up.

    All changes here are made under one lock, which all admissions share.
    """

    def __init__(self) -> None:
        self.places: set[Admission] = set()
        self.leases: list[Callable[[], None]] = []
        """Functions that each give back a session, if it is held."""
        self._tasks: list[Task] = []
        self._known: set[Admission] = set()

    @classmethod
    def of(cls, context: Context) -> "Visit":
        """Return the object of a request."""
        visit: Visit = context.engine_state.setdefault(cls, cls())
        return visit

    def begin(self, task: Task) -> None:
        """Note a task. Until it has ended, the request counts as working."""
        self._tasks = [*(known for known in self._tasks if not known.ended), task]

    def asleep(self) -> bool:
        """Whether no task has run for some time."""
        ends = [task.ended_at for task in self._tasks]
        return all(end is not None and monotonic() - end > ASLEEP for end in ends)

    def take(self, admission: "Admission") -> bool:
        """Note a place. Returns whether it is the first one."""
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
    """Admits `most` requests at once, each until its context closes.

    A stream that is open but not read does not block others: if another request waits, a request without work gives up
    its places, and its sessions to the pool. It takes a place again when it is read. A request that one model has
    admitted is admitted by the other model at once; otherwise two requests could wait for each other forever.
    """

    def __init__(self, most: int):
        self._most = most
        self._inside: dict[Visit, None] = {}
        self._outside: deque[_Waiter] = deque()
        renewed_in_children(self)

    @property
    def inside(self) -> int:
        """The number of admitted requests."""
        return len(self._inside)

    @property
    def outside(self) -> int:
        """The number of waiting requests."""
        return len(self._outside)

    def enter(self, context: Context, task: Task) -> None:
        """Wait for a place, and keep it while `task` runs. Raises `Cancelled` if it is cancelled meanwhile."""
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
        """Take a place if one is free, without waiting. Returns whether one was."""
        visit = Visit.of(context)
        with _lock:
            enters = visit in self._inside or (not self._outside and len(self._inside) < self._most)
            if enters:
                self._take_place(context, visit, task)
        return enters

    def renew(self) -> None:
        """Forget the requests of the parent process."""
        self._inside.clear()
        self._outside.clear()

    def _entered(self, waiter: "_Waiter", context: Context, task: Task) -> bool:
        with _lock:
            if self._outside[0] is not waiter or not self._has_room():
                return False
            self._take_place(context, Visit.of(context), task)
            return True

    def _has_room(self) -> bool:
        """Whether a place is free, or can be taken from a request without work."""
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
        """Finalisers call this too, so it waits for no lock."""
        self._inside.pop(visit, None)
        self._wake_next()

    def _wake_next(self) -> None:
        with suppress(IndexError):
            self._outside[0].wake()


class _Waiter:
    def __init__(self) -> None:
        self._bell: SimpleQueue[None] = SimpleQueue()  # unlike a condition, a finaliser may put into it

    def wake(self) -> None:
        self._bell.put(None)

    def wait(self, seconds: float) -> None:
        with suppress(Empty):
            self._bell.get(timeout=seconds)


_lock = Lock()
