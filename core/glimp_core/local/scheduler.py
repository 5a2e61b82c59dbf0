"""The thread that owns a device. Every torch call of the engines on it happens here, whoever asks for it."""

import atexit
import threading
from collections.abc import Callable, Generator, Iterator
from queue import Empty, SimpleQueue
from typing import Any

import torch

from glimp_core.errors import Cancelled
from glimp_core.local.packing import run_together
from glimp_core.local.session import Forward

IDLE_SECONDS = 5.0
"""A thread without work ends after this time; the next job starts another."""

_END = object()


class Task:
    """Work for the scheduler's thread: a generator of forwards, which leaves its results in `results`."""

    def __init__(self, work: Callable[["Task"], Generator[Forward, None, None]], cancelled: Callable[[], bool]):
        self._items: SimpleQueue[Any] = SimpleQueue()
        self._cancelled = cancelled
        self._closed = False
        self.ended = False
        self.work = work(self)

    def put(self, item: Any) -> None:
        """Hand a result to the caller."""
        self._items.put(item)

    def end(self, error: BaseException | None = None) -> None:
        """Tell the caller that nothing more will come, or why."""
        self.work.close()
        self.ended = True
        self._items.put(_END if error is None else error)

    def close(self) -> None:
        """Stop before the next forward."""
        self._closed = True

    def check(self) -> None:
        """Raise `Cancelled` when nobody wants the results any more."""
        if self._closed or self._cancelled():
            raise Cancelled("the request was cancelled")

    def results(self) -> Iterator[Any]:
        """Yield results as they come; leaving the loop stops the work before its next forward."""
        try:
            while (item := self._items.get()) is not _END:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.close()


class Scheduler:
    """Runs the jobs of one device, a forward of each in turn, in a thread that lives while there is work."""

    def __init__(self, name: str):
        self._name = name
        self._waiting: SimpleQueue[Task | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._active: list[Task] = []

    @classmethod
    def of(cls, device: torch.device) -> "Scheduler":
        """Return the one scheduler of a device: two models on it would only be in each other's way."""
        with _lock:
            return _schedulers.setdefault(str(device), cls(str(device)))

    @property
    def idle(self) -> bool:
        """Whether there is no work."""
        return not self._active and self._waiting.empty()

    @property
    def running(self) -> bool:
        """Whether the thread is there: it leaves after a while without work."""
        return self._thread is not None

    def submit(self, task: Task) -> Task:
        """Queue a job; its forwards start as soon as the thread gets to it."""
        with self._lock:
            self._waiting.put(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name=f"glimp {self._name}", daemon=True)
                self._thread.start()
        return task

    def stop(self) -> None:
        """Cancel everything and wait for the thread; for the end of the process."""
        self._stopping = True
        self._waiting.put(None)
        if self._thread is not None:
            self._thread.join(timeout=10)

    @torch.inference_mode()
    def _serve(self) -> None:
        while not self._stopping:
            self._active += self._arrivals(wait=not self._active)
            if not self._active and self._retired():
                return
            self._active = self._turn(self._active)
        for task in self._active:
            task.end(Cancelled("the process is ending"))

    def _turn(self, active: list[Task]) -> list[Task]:
        """Run the next forward of every job, those of one model together; returns the jobs that go on."""
        needed = [(task, forward) for task in active if (forward := _next(task)) is not None]
        by_model: dict[int, list[tuple[Task, Forward]]] = {}
        for task, forward in needed:
            by_model.setdefault(id(forward.session.model), []).append((task, forward))
        return [task for group in by_model.values() for task in _run(group)]

    def _arrivals(self, wait: bool) -> list[Task]:
        """Take what waits; with nothing else to do, wait for it."""
        tasks: list[Task | None] = []
        try:
            if wait:
                tasks.append(self._waiting.get(timeout=IDLE_SECONDS))
            while True:
                tasks.append(self._waiting.get_nowait())
        except Empty:
            pass
        return [task for task in tasks if task]

    def _retired(self) -> bool:
        with self._lock:
            if not self._waiting.empty():
                return False
            self._thread = None
            return True


def _next(task: Task) -> Forward | None:
    """Return the forward that a job needs next; None when it is over."""
    try:
        task.check()
        return next(task.work)
    except StopIteration:
        task.end()
    except BaseException as error:  # the caller gets it, and the thread goes on with the other jobs
        task.end(error)
    return None


def _run(group: list[tuple[Task, Forward]]) -> list[Task]:
    """Run the forwards of one model; returns the jobs whose forward went well."""
    try:
        run_together([forward for _, forward in group])
        return [task for task, _ in group]
    except BaseException as error:
        if len(group) == 1:
            group[0][0].end(error)
            return []
    return [task for alone in group for task in _run([alone])]  # one of them fails: find out which


_schedulers: dict[str, Scheduler] = {}
_lock = threading.Lock()


@atexit.register
def _stop_owners() -> None:
    """End the threads before the interpreter goes: a daemon inside torch would bring it down."""
    for scheduler in _schedulers.values():
        scheduler.stop()
