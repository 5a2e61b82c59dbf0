"""A bridge from a blocking iterator to an async one. All async methods of the adapters use it."""

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import TypeVar

T = TypeVar("T")
_END = object()

AHEAD = 256
"""The most items that the thread may be ahead of the reader."""


async def stream_in_thread(make: Callable[[threading.Event], Iterator[T]]) -> AsyncGenerator[T, None]:
    """Run `make(cancelled)` in a new thread, in the caller's context, and yield its items as they arrive.

    The thread is at most `AHEAD` items ahead. Leaving the loop in any way (break, `aclose`, task cancel, timeout)
    sets `cancelled` at once, which stops the models within one token. An exception of the iterator is raised here, also
    if the iterator itself set `cancelled`, as a deadline does.
    """
    async with aclosing(batches_in_thread(make)) as batches:
        async for batch in batches:
            for item in batch:
                yield item


async def batches_in_thread(
    make: Callable[[threading.Event], Iterator[T]], ahead: int = AHEAD
) -> AsyncGenerator[list[T], None]:
    """Do the same with at most `ahead` items, and yield lists of all available items.

    Before each list, the event loop runs other callbacks, also if the thread is fast: otherwise it would not see that a
    client disconnects.
    """
    handover = _Handover(asyncio.get_running_loop(), ahead)
    here = contextvars.copy_context()  # else a tap would not see the caller's OpenTelemetry span
    worker = threading.Thread(target=here.run, args=(_pump, make, handover), name="glimp-stream", daemon=True)
    worker.start()
    try:
        while True:
            taken = await handover.take()
            batch = [item for item in taken if item is not _END and not isinstance(item, _Raised)]
            if batch:
                yield batch  # type: ignore[misc]
            handover.make_room(len(batch))
            if len(batch) < len(taken):
                if isinstance(last := taken[-1], _Raised):
                    raise last.error
                return
    finally:
        handover.leave()


class _Raised:
    def __init__(self, error: BaseException):
        self.error = error


class _Handover:
    """A queue from a thread to an event loop. The loop is woken once for all items that it has not taken."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ahead: int):
        self.cancelled, self.left = threading.Event(), threading.Event()
        self._loop, self._items = loop, deque[object]()
        self._room = threading.Semaphore(ahead)
        self._ready, self._is_woken = asyncio.Event(), False

    def put(self, item: object) -> None:
        """Add an item, in the thread. It waits if the queue is full."""
        while not self._room.acquire(timeout=1):
            if self._loop.is_closed():
                break
        self._items.append(item)  # before the flag is read: a loop that is about to wake then takes this item too
        if self._is_woken and not self._loop.is_closed():
            return
        self._is_woken = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop is closed: there is no reader any more
            self.leave()

    def _wake(self) -> None:
        self._is_woken = False
        self._ready.set()

    async def take(self) -> list[object]:
        """Wait for items and return them, in the loop. The list may be empty if an earlier call took them."""
        await self._ready.wait()  # only a callback sets it, so the loop runs other callbacks before
        self._ready.clear()
        return [self._items.popleft() for _ in range(len(self._items))]

    def make_room(self, items: int) -> None:
        """Let the thread add this many more items."""
        if items:
            self._room.release(items)

    def leave(self) -> None:
        """End the thread."""
        self.left.set()
        self.cancelled.set()
        self._room.release(2)  # for the item that the thread holds, and for its end marker


def _pump(make: Callable[[threading.Event], Iterator[T]], handover: _Handover) -> None:
    iterator = None
    try:
        iterator = make(handover.cancelled)
        for item in iterator:
            handover.put(item)
            if handover.left.is_set():
                break
        handover.put(_END)
    except BaseException as error:
        handover.put(_Raised(error))
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
