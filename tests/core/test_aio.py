"""The bridge from a blocking stream to an async one: order, errors, and an end to every way of leaving."""

import asyncio
import contextvars
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from glimp_core import Delta, EngineError
from glimp_core.aio import AHEAD, stream_in_thread
from pairs import scripted_router

PATIENCE = 5.0


class Source:
    """A blocking iterator that counts until it is cancelled, and tells when it was closed."""

    def __init__(self, items: int = 10**6, error: BaseException | None = None):
        self.items, self.error = items, error
        self.closed = threading.Event()
        self.thread: threading.Thread | None = None

    def __call__(self, cancelled: threading.Event) -> Iterator[int]:
        self.thread = threading.current_thread()
        try:
            for item in range(self.items):
                if cancelled.is_set():
                    return
                yield item
                time.sleep(0.0005)
            if self.error:
                raise self.error
        finally:
            self.closed.set()


async def until_closed(source: Source) -> bool:
    return await asyncio.to_thread(source.closed.wait, PATIENCE)


async def test_items_come_in_order_from_another_thread() -> None:
    """All items arrive, in order, made outside the event loop's thread."""
    source = Source(200)
    assert [item async for item in stream_in_thread(source)] == list(range(200))
    assert source.thread is not threading.current_thread()


async def test_the_thread_waits_for_a_slow_reader() -> None:
    """A reader that stops for a while finds a bounded number of items waiting, and then all of them, in order."""
    made: list[int] = []

    def make(_: threading.Event) -> Iterator[int]:
        for item in range(4 * AHEAD):
            made.append(item)
            yield item

    async with aclosing(stream_in_thread(make)) as items:
        first = await anext(items)
        await asyncio.sleep(0.2)
        assert len(made) <= AHEAD + 2
        assert [first, *[item async for item in items]] == list(range(4 * AHEAD))


@pytest.mark.parametrize("close", [True, False])
def test_a_thread_that_waits_for_a_reader_ends_with_the_reader(close: bool) -> None:
    """Leaving ends the thread even where it stands before a full queue; so does a loop that is closed over it."""
    source = Source()
    loop = asyncio.new_event_loop()
    items = stream_in_thread(source)
    loop.run_until_complete(anext(items))
    time.sleep(0.0008 * AHEAD + 0.2)
    if close:
        loop.run_until_complete(items.aclose())
    loop.close()
    assert source.closed.wait(PATIENCE)


async def test_the_thread_is_in_the_callers_context() -> None:
    """What the caller has in its context, such as the span that it is in, is there for the iterator too."""
    place = contextvars.ContextVar[str]("place")
    place.set("here")

    def make(_: threading.Event) -> Iterator[str]:
        yield place.get("nowhere")

    assert [item async for item in stream_in_thread(make)] == ["here"]


@pytest.mark.parametrize("error", [EngineError("out of memory"), KeyError("x"), KeyboardInterrupt()])
async def test_an_exception_arrives_after_the_items_before_it(error: BaseException) -> None:
    """The iterator's own exception is raised at the reader, after what came before it."""
    seen: list[int] = []
    with pytest.raises(type(error)):
        async for item in stream_in_thread(Source(3, error)):
            seen.append(item)
    assert seen == [0, 1, 2]


async def test_an_exception_while_making_the_iterator_arrives_too() -> None:
    """A refusal before the first item is raised as well."""

    def refuse(cancelled: threading.Event) -> Iterator[int]:
        raise EngineError("refused")

    with pytest.raises(EngineError, match="refused"):
        [item async for item in stream_in_thread(refuse)]


async def test_aclose_stops_the_source() -> None:
    """Breaking out of a closed-over stream cancels and closes the source."""
    source = Source()
    async with aclosing(stream_in_thread(source)) as stream:
        async for item in stream:
            if item == 3:
                break
    assert await until_closed(source)


async def test_break_stops_the_source_once_the_stream_is_dropped() -> None:
    """A bare break stops the source too, when the loop finalises the dropped generator."""
    source = Source()
    async for item in stream_in_thread(source):
        if item == 3:
            break
    assert await until_closed(source)


async def read(stream: AsyncIterator[int]) -> None:
    async for _ in stream:
        pass


async def test_cancelling_the_task_stops_the_source() -> None:
    """Cancelling the reading task, or a timeout, stops the source."""
    source = Source()
    task = asyncio.create_task(read(stream_in_thread(source)))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await until_closed(source)


async def test_a_timeout_stops_the_source() -> None:
    """asyncio.wait_for stops the source when the time is up."""
    source = Source()
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(read(stream_in_thread(source)), 0.05)
    assert await until_closed(source)


def test_a_loop_that_ends_stops_the_source() -> None:
    """When the whole event loop is gone the source stops on its own."""
    source = Source()

    async def abandon() -> None:
        stream = stream_in_thread(source)
        await anext(aiter(stream))

    asyncio.run(abandon())
    assert source.closed.wait(PATIENCE)


async def test_a_slow_source_does_not_block_the_loop() -> None:
    """While the source blocks, other tasks run."""

    def slow(cancelled: threading.Event) -> Iterator[int]:
        cancelled.wait(0.2)
        yield 1

    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.01)

    ticker = asyncio.create_task(tick())
    assert [item async for item in stream_in_thread(slow)] == [1]
    ticker.cancel()
    assert ticks >= 5


async def test_a_router_streams_the_same_across_the_bridge() -> None:
    """The events of a router cross the bridge unchanged, for many requests at once."""
    router = scripted_router()

    async def text() -> str:
        events = stream_in_thread(lambda cancelled: router.stream("?", cancelled=cancelled))
        return "".join([event.text async for event in events if isinstance(event, Delta)])

    done = router.generate("?")
    assert await asyncio.gather(*[text() for _ in range(8)]) == [done.reasoning + done.answer] * 8


async def test_an_iterator_that_cancels_itself_still_raises() -> None:
    """An iterator may set `cancelled` on its own, as a deadline does: its error then arrives like any other."""

    def expiring(cancelled: threading.Event) -> Iterator[int]:
        yield 1
        cancelled.set()
        yield 2
        raise EngineError("time over")

    with pytest.raises(EngineError, match="time over"):
        _ = [item async for item in stream_in_thread(expiring)]
