"""From an async generator to a plain iterator: one thread waits for every server, whoever asks."""

import asyncio
import atexit
import os
import threading
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from glimp_core.errors import Cancelled, EngineError
from glimp_core.forking import Lock
from glimp_core.remote.capacity import ServerCapacity

T = TypeVar("T")

WATCH_SECONDS = 0.01
"""How often the loop looks whether a caller has cancelled."""

_END = object()


class AsyncBridge(Generic[T], Iterator[T]):
    """What an async generator yields, for a thread that waits for it; its exceptions are raised here.

    `close()`, or `cancelled()` becoming true, closes the generator at once, also while nobody waits.
    """

    def __init__(self, source: AsyncGenerator[T, None], cancelled: Callable[[], bool] = lambda: False):
        self.cancelled = cancelled
        self._source = source
        self._items: SimpleQueue[Any] = SimpleQueue()
        self._task: asyncio.Task[None] | None = None
        self._stopped = self._ended = False
        self._loop = the_loop()
        self._loop.call(self._loop.watch, self)

    def __next__(self) -> T:
        if self._ended:
            raise StopIteration
        if self._loop.process != os.getpid():
            raise EngineError("the process was forked while this request ran: make it again in the child")
        item = self._items.get()
        if item is _END or isinstance(item, BaseException):
            self._ended = True
            raise item if isinstance(item, BaseException) else StopIteration
        return item  # type: ignore[no-any-return]

    @property
    def running(self) -> bool:
        """Whether more may come than already has."""
        return self._task is None or not self._task.done()

    def close(self) -> None:
        """Stop reading; what the generator holds open is closed within a moment."""
        if not self._ended:
            self._ended = True
            self._loop.call(self.stop)

    def start(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Task[None]":
        """Start reading, in the loop's thread."""
        self._task = loop.create_task(self._pump())
        self._task.add_done_callback(self._finish)
        return self._task

    def stop(self) -> None:
        """Stop reading, in the loop's thread; a second call changes nothing."""
        if not self._stopped and self._task is not None:
            self._stopped = True
            self._task.cancel()

    async def _pump(self) -> None:
        try:
            async for item in self._source:
                self._items.put(item)
        finally:
            await self._source.aclose()

    def _finish(self, task: "asyncio.Task[None]") -> None:
        """Tell the caller how it ended; a task that never began to run comes here as well."""
        if task.cancelled():
            self._items.put(Cancelled("the request was cancelled"))
        else:
            self._items.put(task.exception() or _END)


class Loop:
    """An event loop in a daemon thread, which looks after its feeds."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._feeds: dict[asyncio.Task[None], AsyncBridge[Any]] = {}
        self._looking = False
        self.capacities: defaultdict[str, ServerCapacity] = defaultdict(ServerCapacity)
        """The room of each server, by its address."""
        self.starting = asyncio.Lock()
        """Held by the server of this process that is being started: they start one after the other."""
        self._thread = threading.Thread(target=self._loop.run_forever, name="glimp remote", daemon=True)
        self._thread.start()
        atexit.register(self.end)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and return its result."""
        return self.begin(coroutine).result()

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Start a coroutine and return what waits for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Have a function called in the loop's thread, soon."""
        self._loop.call_soon_threadsafe(function, *args)

    def watch(self, feed: AsyncBridge[Any]) -> None:
        """Start a feed, and stop it when its caller cancels."""
        task = feed.start(self._loop)
        self._feeds[task] = feed
        task.add_done_callback(self._feeds.pop)
        if not self._looking:
            self._look()

    def end(self) -> None:
        """Close what is open and end the thread; for the end of the process."""
        if self.process == os.getpid() and self._thread.is_alive():
            self.run(self._close())
            self.call(self._loop.stop)
            self._thread.join(timeout=2)

    def _look(self) -> None:
        for feed in self._feeds.values():
            if feed.cancelled():
                feed.stop()
        self._looking = bool(self._feeds)
        if self._looking:
            self._loop.call_later(WATCH_SECONDS, self._look)

    async def _close(self) -> None:
        for task in self._feeds:
            task.cancel()
        await asyncio.wait([*self._feeds, asyncio.create_task(asyncio.sleep(0))], timeout=1)


_loop: Loop | None = None
_lock = Lock()


def the_loop() -> Loop:
    """Return the loop of this process, which is another one after a fork."""
    global _loop
    with _lock:
        if _loop is None or _loop.process != os.getpid():
            _loop = Loop()
        return _loop
