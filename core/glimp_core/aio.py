"""From a blocking iterator to an async one: the one bridge that the adapters' async methods cross."""

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
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
    loop, items = asyncio.get_running_loop(), asyncio.Queue[object]()
    cancelled, left, room = threading.Event(), threading.Event(), threading.Semaphore(AHEAD)
    here = contextvars.copy_context()  # or a tap would not know the span that it is called in
    arguments = (_pump, make, cancelled, left, room, loop, items)
    worker = threading.Thread(target=here.run, args=arguments, name="glimp-stream", daemon=True)
    worker.start()
    try:
        while (item := await items.get()) is not _END:
            room.release()
            if isinstance(item, _Failure):
                raise item.error
            yield item  # type: ignore[misc]
    finally:
        left.set()
        cancelled.set()
        room.release(2)  # for the item that the thread holds, and for its last word


class _Failure:
    def __init__(self, error: BaseException):
        self.error = error


def _pump(
    make: Callable[[threading.Event], Iterator[T]],
    cancelled: threading.Event,
    left: threading.Event,
    room: threading.Semaphore,
    loop: asyncio.AbstractEventLoop,
    items: "asyncio.Queue[object]",
) -> None:
    def put(item: object) -> None:
        while not room.acquire(timeout=1):
            if loop.is_closed():
                break
        try:
            loop.call_soon_threadsafe(items.put_nowait, item)
        except RuntimeError:  # the loop is closed: nobody listens any more
            left.set()
            cancelled.set()

    iterator = None
    try:
        iterator = make(cancelled)
        for item in iterator:
            put(item)
            if left.is_set():
                break
        put(_END)
    except BaseException as error:
        put(_Failure(error))
    finally:
        close = getattr(iterator, "close", None)
        if close is not None:
            close()
