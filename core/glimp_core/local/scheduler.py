"""The thread that owns a device. All torch calls of the engines on this device run in it."""

import atexit
import logging
import threading
from collections.abc import Callable, Generator, Iterator
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, cast
from weakref import WeakSet

import torch

from glimp_core.errors import Cancelled, EngineError
from glimp_core.forking import Lock, renewed_in_children
from glimp_core.local.forward import ModelForward
from glimp_core.local.packing import run_together
from glimp_core.local.pool import SessionPool
from glimp_core.local.session import Forward

IDLE_SECONDS = 5.0
"""A thread without work ends after this many seconds by default; the next task starts another thread."""

TURN_FLOPS = 10e9
"""If other tasks wait, a CPU reads a prompt in parts of about this many operations: some tenths of a second."""

SHORTEST_PART = 16
"""The least number of tokens in a part of a prompt: fewer tokens take almost the same time."""

SHORT_OF_MEMORY = ("out of memory", "allocate memory", "not enough memory")

log = logging.getLogger("glimp.local")
_END = object()


class Task:
    """Work for the scheduler's thread: a generator of forwards, which puts its results into `results`."""

    def __init__(self, work: Callable[["Task"], Generator[Forward, None, None]], cancelled: Callable[[], bool]):
        self._items: SimpleQueue[Any] = SimpleQueue()
        self._cancelled = cancelled
        self._closed = False
        self.ended_at: float | None = None
        """When the last of it was done, as `time.monotonic` tells it."""
        self.work = work(self)
        self._whole: Forward | None = None
        self._fed = 0

    @property
    def ended(self) -> bool:
        """Whether the task has ended."""
        return self.ended_at is not None

    def put(self, item: Any) -> None:
        """Pass a result to the caller."""
        self._items.put(item)

    def end(self, error: BaseException | None = None) -> None:
        """Report the end of the task to the caller, with its error if there is one."""
        self.work.close()
        self.ended_at = monotonic()
        self._items.put(_END if error is None else error)

    def end_in_child(self) -> None:
        """Report to a caller in a forked child that its work runs only in the parent process."""
        self.ended_at = monotonic()
        self._items.put(EngineError("the process was forked while this request ran: make it again in the child"))

    def next_forward(self, flops: float | None = None) -> Forward:
        """Return the next forward, or the next part of a long one, of about this many operations.

        Raises `StopIteration` at the end of the work, and the errors of the work.
        """
        forward = self._whole or next(self.work)
        left = len(forward.token_ids) - self._fed
        tokens = left
        if flops and forward.session.takes_parts and not forward.alone:
            tokens = _tokens_in_turn(forward, left, flops)
        if tokens == len(forward.token_ids):
            return forward
        self._whole = forward
        return forward.part(self._fed, tokens)

    def ran(self, forward: Forward) -> None:
        """Note a forward that was run."""
        if (whole := self._whole) is not None:
            self._fed += len(forward.token_ids)
            whole.seconds += forward.seconds
            whole.effort += forward.effort
            if self._fed == len(whole.token_ids):
                whole.done, self._whole, self._fed = True, None, 0

    def close(self) -> None:
        """Stop before the next forward."""
        self._closed = True

    def check(self) -> None:
        """Raise `Cancelled` if the caller has cancelled or left."""
        if self._closed or self._cancelled():
            raise Cancelled("the request was cancelled")

    def results(self) -> Iterator[Any]:
        """Yield results as they arrive. Closing this iterator stops the work before its next forward."""
        try:
            while (item := self._items.get()) is not _END:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            self.close()


class Scheduler:
    """Runs the tasks of one device in one thread: in each turn, one forward of every task.

    `pools` are those of the models on this device. Returned sessions are put into them between two turns. Without work
    the thread ends after `idle` seconds. On a CPU, if several tasks run, a prompt is read in parts of about
    `turn_flops` operations.
    """

    def __init__(self, name: str, idle: float = IDLE_SECONDS, turn_flops: float = TURN_FLOPS):
        self._turn_flops = turn_flops
        self.pools: WeakSet[SessionPool] = WeakSet()
        self._name = name
        self._idle = idle
        self._lock = Lock()
        self._waiting: SimpleQueue[Task | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._stopping = self._lost = False
        self._active: list[Task] = []
        renewed_in_children(self)

    @classmethod
    def of(cls, device: torch.device) -> "Scheduler":
        """Return the scheduler of a device. All models on the device share it."""
        with _lock:
            return _schedulers.setdefault(str(device), cls(str(device)))

    @property
    def running(self) -> bool:
        """Whether the thread runs. It ends after some time without work."""
        return self._thread is not None

    def submit(self, task: Task) -> Task:
        """Queue a task. Its forwards start in the thread's next turn.

        Raises `EngineError` if the process is ending, or was forked from one that used a GPU.
        """
        with self._lock:
            self._check()
            self._waiting.put(task)
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name=f"glimp {self._name}", daemon=True)
                self._start(self._thread)
        return task

    def wake(self) -> None:
        """Wake the thread, if there is one, so that it looks at the pools. A finaliser may call this."""
        self._waiting.put(None)

    def stop(self) -> None:
        """Cancel all tasks and wait for the thread, at the end of the process."""
        with self._lock:
            self._stopping = True
        self.wake()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def renew(self) -> None:
        """Reset in a forked child, which has neither the thread nor the requests of its parent."""
        unfinished = [*self._active, *(self._arrivals(0.0) or [])]
        # the new queue first: during the fork the parent's thread may have waited on the old one
        self._waiting, self._thread, self._active = SimpleQueue(), None, []
        self._lost = not self._name.startswith("cpu")
        for task in unfinished:
            task.end_in_child()

    def _check(self) -> None:
        if self._stopping:
            raise EngineError("the process is ending: no request can begin any more")
        if self._lost:
            raise EngineError(
                f"this process was forked from one that used {self._name}, which works only there: "
                "load the models after the fork, or start the process with 'spawn'"
            )

    def _start(self, thread: threading.Thread) -> None:
        try:
            thread.start()
        except RuntimeError as error:  # so do interpreters that are ending, before or after exit handlers
            self._thread = None
            self._arrivals(0.0)
            raise EngineError(f"no request can begin: {error}") from error

    @torch.inference_mode()
    def _serve(self) -> None:
        while not self._stopping:
            self._settle()
            arrived = self._arrivals(0.0 if self._active else self._idle)
            self._active += arrived or []
            if arrived is None and not self._active and self._retired():
                return
            self._active = self._turn(self._active)
        for task in [*self._active, *(self._arrivals(0.0) or [])]:
            task.end(Cancelled("the process is ending"))

    def _settle(self) -> None:
        for pool in list(self.pools):
            pool.settle()

    def _turn(self, active: list[Task]) -> list[Task]:
        """Run the next forward of every task, those of one model together. Returns the tasks that continue."""
        flops = self._turn_flops if len(active) > 1 and self._name.startswith("cpu") else None
        needed = [(task, forward) for task in active if (forward := _next(task, flops)) is not None]
        by_model: dict[int, list[tuple[Task, Forward]]] = {}
        for task, forward in needed:
            by_model.setdefault(id(forward.session.model), []).append((task, forward))
        return [task for group in by_model.values() for task in self._run(group)]

    def _run(self, group: list[tuple[Task, Forward]]) -> list[Task]:
        """Run the forwards of one model. Returns the tasks whose forward succeeded."""
        try:
            run_together([forward for _, forward in group])
            for task, forward in group:
                task.ran(forward)
            return [task for task, _ in group]
        except BaseException as error:
            if len(group) > 1:  # one of them fails: run them alone to find out which
                return [task for alone in group for task in self._run([alone])]
            (task, forward), failure = group[0], cast("BaseException | None", error)
        if failure is not None and out_of_memory(failure):
            failure = self._once_more(forward, failure)
        if failure is not None:
            task.end(failure)
        else:
            task.ran(forward)
        return [] if failure is not None else [task]

    def _once_more(self, forward: Forward, error: BaseException) -> BaseException | None:
        """Empty the caches, and run a forward that had too little memory again in halves. Returns its error, if any."""
        log.warning("memory is short on %s: the caches of finished requests are dropped (%s)", self._name, error)
        del error
        for pool in list(self.pools):
            pool.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        try:
            forward.run_in_halves()
        except BaseException as again:
            if not out_of_memory(again):
                return again
            failure = EngineError(
                f"memory is short on {self._name}, for {len(forward.token_ids)} more tokens after "
                f"{len(forward.session.token_ids)}, also with empty caches: lower max_batch or the prompt's length"
            )
            failure.__cause__ = again
            return failure
        return None

    def _arrivals(self, seconds: float) -> list[Task] | None:
        """Return the waiting tasks, after a wait if there are none. None if nothing arrived, not even a wake-up."""
        arrived: list[Task | None] = []
        try:
            arrived.append(self._waiting.get(timeout=seconds) if seconds else self._waiting.get_nowait())
            while True:
                arrived.append(self._waiting.get_nowait())
        except Empty:
            pass
        return [task for task in arrived if task] if arrived else None

    def _retired(self) -> bool:
        with self._lock:
            # under the lock: a new task is either seen here, or its caller sees no thread and starts one
            if not self._waiting.empty() or not all(pool.at_rest for pool in list(self.pools)):
                return False
            self._thread = None
            return True


def _tokens_in_turn(forward: Forward, left: int, flops: float) -> int:
    """Return how many of the remaining tokens are read in one turn: all, if they are little more than one part."""
    part = max(SHORTEST_PART, int(flops / (2 * ModelForward.of(forward.session.model).parameters)))
    return left if left < part + max(SHORTEST_PART, forward.keep) else part


def _next(task: Task, flops: float | None) -> Forward | None:
    """Return the next forward of a task, of about this many operations; None at its end."""
    try:
        task.check()
        forward = task.next_forward(flops)
        forward.session.claim(len(forward.token_ids))
        return forward
    except StopIteration:
        task.end()
    except BaseException as error:  # the caller gets the error, and the thread continues with the other tasks
        task.end(error)
    return None


def out_of_memory(error: BaseException) -> bool:
    """Return whether an error means too little memory. Each backend of torch has its own text for it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in SHORT_OF_MEMORY)


_schedulers: dict[str, Scheduler] = {}
_lock = Lock()


@atexit.register
def _stop_schedulers() -> None:
    """End the threads before the interpreter ends: a daemon thread inside torch would crash it."""
    for scheduler in _schedulers.values():
        scheduler.stop()
