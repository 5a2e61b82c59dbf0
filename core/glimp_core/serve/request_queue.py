"""A bounded queue in front of the pairs: it limits running and waiting requests, and refuses others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

from glimp_core.serve.failures import Refused

LONGEST_ADVICE = 60
WEIGHT = 0.2
"""The weight of the latest reply in the moving average of the seconds of a reply."""


class RequestQueue:
    """Runs at most `most` requests at once, in order of arrival, while at most `waiting` others wait.

    It can be used in one event loop only.
    """

    def __init__(self, most: int, waiting: int):
        self._most, self._most_waiting = most, waiting
        self._places = asyncio.Semaphore(most)
        self._mean_seconds = 1.0
        self.running = 0
        self.waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and hold it inside the block. Raises `Refused` (429) if too many requests wait."""
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
        """Return the error, with a `Retry-After` in which about half of the waiting requests will be answered."""
        seconds = self._mean_seconds * (1 + self.waiting / 2) / self._most
        error = Refused(
            f"{self.running} requests are being answered and {self.waiting} wait: ask again later",
            status=429,
            code="queue_full",
        )
        error.headers["Retry-After"] = str(min(LONGEST_ADVICE, max(1, round(seconds))))
        return error
