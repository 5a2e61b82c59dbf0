"""A bridge from async generators to plain iterators. One thread with an event loop waits for all servers."""

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
"""Seconds between two checks whether a caller has cancelled. The flag of a caller's thread cannot be awaited."""

_END = object()


class AsyncBridge(Generic[T], Iterator[T]):
    """Iterates over an async generator, which runs in the loop's thread. Its exceptions are raised in the caller.

    `close()` closes the generator at once, and so does the loop when `cancelled()` is true, also if no caller waits.
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
        """Whether the generator may yield more items."""
        return self._task is None or not self._task.done()

    def close(self) -> None:
        """Stop reading. The loop then closes the generator, and with it the connection."""
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
            await self._source.aclose()  # now, and not when the collector runs: the server writes until then

    def _finish(self, task: "asyncio.Task[None]") -> None:
        """Pass the end of the task to the caller: a callback, because a task may be cancelled before it starts."""
        if task.cancelled():
            self._items.put(Cancelled("the request was cancelled"))
        else:
            self._items.put(task.exception() or _END)


class BridgeLoop:
    """An event loop in a daemon thread. It cancels the feeds whose callers have cancelled."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._feeds: dict[asyncio.Task[None], AsyncBridge[Any]] = {}
        self._looking = False
        self.capacities: defaultdict[str, ServerCapacity] = defaultdict(ServerCapacity)
        """The capacity of each server, by its address."""
        self.starting = asyncio.Lock()
        """Held while a server of this process starts: servers start one after the other."""
        self._thread = threading.Thread(target=self._loop.run_forever, name="glimp remote", daemon=True)
        self._thread.start()
        atexit.register(self.end)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the loop's thread and return its result."""
        return self.begin(coroutine).result()

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> "Future[T]":
        """Start a coroutine in the loop's thread and return its future."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Schedule a call of a function in the loop's thread."""
        self._loop.call_soon_threadsafe(function, *args)

    def watch(self, feed: AsyncBridge[Any]) -> None:
        """Start a feed, and stop it if its caller cancels."""
        task = feed.start(self._loop)
        self._feeds[task] = feed
        task.add_done_callback(self._feeds.pop)
        if not self._looking:
            self._look()

    def end(self) -> None:
        """Close all streams and end the thread, at the end of the process."""
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
        # `asyncio.wait` refuses an empty list, so there is always one more task
        await asyncio.wait([*self._feeds, asyncio.create_task(asyncio.sleep(0))], timeout=1)


_loop: BridgeLoop | None = None
_lock = Lock()


def the_loop() -> BridgeLoop:
    """Return the loop of this process. A forked child gets a new one: a fork does not copy the loop's thread."""
    global _loop
    with _lock:
        if _loop is None or _loop.process != os.getpid():
            _loop = BridgeLoop()
        return _loop
