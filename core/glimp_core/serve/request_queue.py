"""A bounded queue in front of the pairs: so many replies at once, so many that wait, the rest is turned away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

from glimp_core.serve.failures import Refused

LONGEST_ADVICE = 60
WEIGHT = 0.2
"""How much the latest reply counts in the running mean of their seconds."""


class RequestQueue:
    """Lets `most` requests in, first come first served, while at most `waiting` others wait. Belongs to one loop."""

    def __init__(self, most: int, waiting: int):
        self._most, self._most_waiting = most, waiting
        self._places = asyncio.Semaphore(most)
        self._mean_seconds = 1.0
        self.running = 0
        self.waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and hold it. Raises `Refused` (429) if too many wait already."""
        if self.waiting >= self._most_waiting and self._places.locked():
            raise self._full()
        self.waiting += 1
        try:
            await self._places.acquire()
        finally:
            self.waiting -= 1
        self.running += 1
        begun = perf_counter()
        try:
            yield
        finally:
            self._mean_seconds += WEIGHT * (perf_counter() - begun - self._mean_seconds)
            self.running -= 1
            self._places.release()

    def _full(self) -> Refused:
        """Advise to come back when about half of those who wait will have been served."""
        seconds = self._mean_seconds * (1 + self.waiting / 2) / self._most
        error = Refused(
            f"{self.running} requests are being answered and {self.waiting} wait: ask again later",
            status=429,
            code="queue_full",
        )
        error.headers["Retry-After"] = str(min(LONGEST_ADVICE, max(1, round(seconds))))
        return error
