"""Storms: many requests from threads and event loops, with everything that may befall them at once."""

import asyncio
import gc
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from glimp_core import Completion
from glimp_core.local.session import KVSession
from storms.crowd import MAX_CACHED_TOKENS, Crowd, words
from storms.gusts import Gusts

INJECTED = "a forward failed"
RUN_AGAIN = 4
"""As many forwards read back what a broken one lost, and run it in halves, at most."""

OURS = ("glimp cpu", "glimp-stream", "glimp deadline")
"""How the threads of the engines and the bridges are called."""


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


class Storm:
    """Asks the questions of a crowd again and again, and counts what became of them."""

    def __init__(self, crowd: Crowd, seed: int):
        self.crowd, self.seed = crowd, seed
        self.gusts = Gusts(crowd)
        self.counts = Counter[str]()
        self.wrong: list[Any] = []
        self._counting = threading.Lock()

    def blow(self, numbers: range, threads: int) -> None:
        """Make the requests of these numbers, a third of them in two event loops."""
        apart = len(numbers) // 6
        loops = [threading.Thread(target=self._loop, args=(numbers[n * apart : (n + 1) * apart],)) for n in range(2)]
        for loop in loops:
            loop.start()
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(self._one, numbers[2 * apart :]))
        for loop in loops:
            loop.join()

    def calm(self) -> None:
        """Close what is held open, and collect what was dropped."""
        for stream in self.gusts.held:
            stream.close()
        self.gusts.held.clear()
        gc.collect()

    def _one(self, number: int) -> None:
        draws = random.Random(f"{self.seed} {number}")
        kinds = self.gusts.kinds()
        asked = draws.randrange(len(self.crowd.questions))
        kind = draws.choice([*kinds, *["whole"] * len(kinds)])
        try:
            self._count(asked, kind, kinds[kind](self.crowd.questions[asked], draws))
        except BaseException as error:
            self._failed(asked, kind, error)

    def _loop(self, numbers: range) -> None:
        async def one(number: int) -> None:
            draws = random.Random(f"{self.seed} {number}")
            asked = draws.randrange(len(self.crowd.questions))
            async with places:
                try:
                    self._count(asked, "async", await self.gusts.asynchronously(self.crowd.questions[asked], draws))
                except Exception as error:
                    self._failed(asked, "async", error)

        async def all_of_them() -> None:
            await asyncio.gather(*map(one, numbers))

        places = asyncio.Semaphore(8)
        asyncio.run(all_of_them())

    def _count(self, asked: int, kind: str, result: Completion | str) -> None:
        with self._counting:
            self.counts["requests"] += 1
            self.counts[result if isinstance(result, str) else "whole"] += 1
            if not isinstance(result, str) and words(result) != self.crowd.alone[asked]:
                self.wrong.append((asked, kind, words(result), self.crowd.alone[asked]))

    def _failed(self, asked: int, kind: str, error: BaseException) -> None:
        with self._counting:
            self.counts["requests"] += 1
            self.counts["injected" if INJECTED in str(error) else "failed"] += 1
            if INJECTED not in str(error):
                self.wrong.append((asked, kind, repr(error)))


@contextmanager
def broken_forwards(seed: int) -> Iterator[Counter[str]]:
    """Have one forward in some hundreds raise, or find no memory; yields how many did.

    What a session runs again after it, in several forwards, goes well; so do those of a forked child, whose counts are
    lost.
    """
    draws, feed, broken, spared = random.Random(seed), KVSession.feed, Counter[str](), 0
    process = os.getpid()

    def fragile(self: KVSession, *arguments: Any, **options: Any) -> None:
        nonlocal spared  # all of this happens in the one thread of the device
        fate = 1.0 if spared or os.getpid() != process else draws.random()
        spared = RUN_AGAIN if fate < 0.004 else max(spared - 1, 0)
        if fate < 0.002:
            broken["raised"] += 1
            self.repair()
            raise RuntimeError(INJECTED)
        if fate < 0.004:
            broken["out of memory"] += 1
            self.repair()
            raise torch.OutOfMemoryError("CUDA out of memory (in a test)")
        feed(self, *arguments, **options)

    KVSession.feed = fragile  # type: ignore[method-assign]
    try:
        yield broken
    finally:
        KVSession.feed = feed  # type: ignore[method-assign]


@contextmanager
def collections(seed: int) -> Iterator[None]:
    """Have garbage collected all the time, in whatever thread allocates, and now and then in one of its own."""
    over, draws = threading.Event(), random.Random(seed)

    def collect() -> None:
        while not over.wait(draws.random() * 0.05):
            gc.collect(draws.randrange(2))

    thread, before = threading.Thread(target=collect), gc.get_threshold()
    gc.set_threshold(50, 5, 50)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        gc.set_threshold(*before)


def forked(crowd: Crowd, asked: int) -> bool:
    """Ask one question in a forked child, in the middle of all; returns whether its words are those alone."""
    child = os.fork()
    if not child:
        try:
            one = crowd.questions[asked]
            os._exit(words(one.router.generate(one.text, **one.options)) != crowd.alone[asked])
        finally:
            os._exit(2)
    deadline = time.monotonic() + 60
    while (status := os.waitpid(child, os.WNOHANG)) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return False
        time.sleep(0.01)
    return status[1] == 0


def check_calm(storm: Storm) -> None:
    """Nothing is in use, nothing beyond its bound, no thread is left, and every question has its reply."""
    engines = storm.crowd.engines
    assert soon(lambda: not any(engine.pool.leased for engine in engines))
    for engine in engines:
        assert (engine.admission.inside, engine.admission.outside) == (0, 0)
        assert sum(session.capacity for session in engine.pool.free) <= MAX_CACHED_TOKENS
    assert storm.crowd.wrong_again() == 0
    assert soon(lambda: not any(thread.name.startswith(OURS) for thread in threading.enumerate()))


def soon(holds: Callable[[], bool]) -> bool:
    """Whether something comes to hold within a while."""
    deadline = time.monotonic() + 20
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def memory() -> int:
    """The bytes of this process that are in main memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def storm_of(
    requests: int, threads: int, size: int, seed: int, monkeypatch: pytest.MonkeyPatch, parts: int = 1
) -> tuple[Storm, list[int]]:
    """Ask so many requests in some parts, with a fork in each; returns what was counted, and the memory after each."""
    storm, memories = Storm(Crowd(size, seed), seed), []
    with broken_forwards(seed) as broken, collections(seed), ThreadPoolExecutor(1) as pool:
        for part in range(parts):
            blowing = pool.submit(storm.blow, range(part * requests // parts, (part + 1) * requests // parts), threads)
            storm.counts["forked"] += forked(storm.crowd, part % size)
            blowing.result()
            storm.calm()
            memories.append(memory())
    storm.counts.update({f"forwards {fate}": count for fate, count in broken.items()})
    assert storm.wrong == []
    assert (storm.counts["requests"], storm.counts["forked"]) == (requests, parts)
    assert storm.counts["injected"] <= broken["raised"], "an error belongs to one request"
    check_calm(storm)
    return storm, memories


@needs_fork
@pytest.mark.timeout(120)
def test_a_short_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Law: every request ends, as alone or as it was disturbed; every error reaches its caller, and nothing is lost."""
    storm, _ = storm_of(48, 8, 7, seed=1, monkeypatch=monkeypatch)
    assert storm.counts["whole"] > 12


@needs_fork
@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_long_storm(seed: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for 1,200 requests of 24 threads and two event loops, with memory that stays flat."""
    started = time.monotonic()
    storm, memories = storm_of(1200, 24, 42, seed, monkeypatch, parts=4)
    megabytes = [size >> 20 for size in memories]
    with capsys.disabled():
        print(f"\nseed {seed}: {time.monotonic() - started:.0f} s, {dict(storm.counts)}, MB by quarter {megabytes}")
    assert megabytes[-1] - megabytes[0] < 64
