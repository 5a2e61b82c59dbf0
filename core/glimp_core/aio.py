"""From a blocking iterator to an async one: the one bridge that the adapters' async methods cross."""

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
"""How many items the thread may be ahead of who reads them."""


async def stream_in_thread(make: Callable[[threading.Event], Iterator[T]]) -> AsyncGenerator[T, None]:
    """Run `make(cancelled)` in a thread of its own, in the caller's context, and yield its items as they come.

    The thread is at most `AHEAD` items ahead. Leaving the loop in any way (break, `aclose`, task cancel, timeout)
    sets `cancelled` at once, which stops the models within a token. An exception of the iterator is raised here, also
    where the iterator itself set `cancelled`, as a deadline does.
    """
    async with aclosing(batches_in_thread(make)) as batches:
        async for batch in batches:
            for item in batch:
                yield item


async def batches_in_thread(
    make: Callable[[threading.Event], Iterator[T]], ahead: int = AHEAD
) -> AsyncGenerator[list[T], None]:
    """Do the same with at most `ahead` items, and yield all that are there, one or more at a time.

    The event loop takes a turn before each batch, however fast the thread is, so that it hears of whoever leaves.
    """
    handover = _Handover(asyncio.get_running_loop(), ahead)
    here = contextvars.copy_context()  # or a tap would not know the span that it is called in
    worker = threading.Thread(target=here.run, args=(_pump, make, handover), name="glimp-stream", daemon=True)
    worker.start()
    try:
        while True:
            taken = await handover.take()
            batch = [item for item in taken if item is not _END and not isinstance(item, _Failure)]
            if batch:
                yield batch  # type: ignore[misc]
            handover.make_room(len(batch))
            if len(batch) < len(taken):
                if isinstance(last := taken[-1], _Failure):
                    raise last.error
                return
    finally:
        handover.leave()


class _Failure:
    def __init__(self, error: BaseException):
        self.error = error


class _Handover:
    """Items on their way from a thread to an event loop, which is woken once for all that it has not taken."""

    def __init__(self, loop: asyncio.AbstractEventLoop, ahead: int):
        self.cancelled, self.left = threading.Event(), threading.Event()
        self._loop, self._items = loop, deque[object]()
        self._room = threading.Semaphore(ahead)
        self._ready, self._is_woken = asyncio.Event(), False

    def put(self, item: object) -> None:
        """Hand an item over, from the thread; waits for room."""
        while not self._room.acquire(timeout=1):
            if self._loop.is_closed():
                break
        self._items.append(item)  # before the flag is read: a loop that is about to wake takes this one too
        if self._is_woken and not self._loop.is_closed():
            return
        self._is_woken = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop is closed: nobody listens any more
            self.leave()

    def _wake(self) -> None:
        self._is_woken = False
        self._ready.set()

    async def take(self) -> list[object]:
        """Wait until the thread says that something is there, and return it, in the loop; it may be taken already."""
        await self._ready.wait()  # set by a callback alone, which takes a turn of the loop
        self._ready.clear()
        return [self._items.popleft() for _ in range(len(self._items))]

    def make_room(self, items: int) -> None:
        """Let the thread go on: as many items have been used."""
        if items:
            self._room.release(items)

    def leave(self) -> None:
        """End the thread."""
        self.left.set()
        self.cancelled.set()
        self._room.release(2)  # for the item that the thread holds, and for its last word


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
        handover.put(_Failure(error))
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
