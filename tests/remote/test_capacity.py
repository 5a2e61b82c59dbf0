"""How many requests are at a server at once."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from time import sleep

from hypothesis import given
from hypothesis import strategies as st

from glimp_core.remote.bridge import the_loop
from glimp_core.remote.capacity import ServerCapacity
from remote.kit import STEPS, engine, script, step
from remote.scripts import Served
from remote.served import ScriptedServer

LIMITS = st.none() | st.integers(1, 5)
REQUESTS = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 3), st.integers(-1, 3)), max_size=12)


@given(REQUESTS, LIMITS, st.none() | st.integers(1, 12))
def test_no_more_are_let_in_than_fit_and_all_are(
    requests: list[tuple[int, int, int]], slots: int | None, context: int | None
) -> None:
    """Requests that stay a while, or are cancelled: the limits hold, unless one is alone, and no place is lost."""
    capacity, inside = ServerCapacity(), list[int]()
    capacity.slots, capacity.context = slots, context
    done = list[int]()

    async def request(number: int, tokens: int, stay: int) -> None:
        async with capacity.place(tokens):
            inside.append(tokens)
            try:
                assert len(inside) == 1 or slots is None or len(inside) <= slots
                assert len(inside) == 1 or context is None or sum(inside) <= context
                for _ in range(stay):
                    await asyncio.sleep(0)
                done.append(number)
            finally:
                inside.remove(tokens)

    async def all_of_them() -> None:
        tasks = [asyncio.create_task(request(n, tokens, stay)) for n, (tokens, stay, _) in enumerate(requests)]
        for tick in range(4):
            for task, (_, _, cancelled) in zip(tasks, requests, strict=True):
                if cancelled == tick:
                    task.cancel()
            await asyncio.sleep(0)
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert result is None or isinstance(result, asyncio.CancelledError)

    asyncio.run(all_of_them())
    assert {n for n, (_, _, cancelled) in enumerate(requests) if cancelled < 0} <= set(done)
    assert (capacity.running, inside) == (0, [])


def test_slots_are_filled_and_no_more() -> None:
    """A server with one slot is sent one request at a time; the others wait here, with no time running out."""
    most = 0

    def watch(served: Served) -> None:
        nonlocal most
        most = max(most, the_loop().capacities[served.url.removesuffix("/v1")].running)

    with ScriptedServer(script(), "llamacpp", slots=1, pace=0.02) as served:
        remote = engine(served)
        remote.load()
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(step, remote) for _ in range(4)]
            while not all(future.done() for future in futures):
                watch(served)
                sleep(0.001)
        assert [future.result() for future in futures] == [STEPS[0]] * 4
    assert most == 1
