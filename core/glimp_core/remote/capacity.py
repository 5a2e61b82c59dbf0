"""A limit on the requests that are sent to a server at once.

A request that the server has no room for waits here. On the server it could fail, or its timeout could expire.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ServerCapacity:
    """The capacity of one server. Use it only in the loop's thread.

    `slots` is how many requests the server processes at once, `context` how many tokens they share. None means that
    there is no such limit, or that it is not known.
    """

    def __init__(self) -> None:
        self.slots: int | None = None
        self.context: int | None = None
        self.entered = self.running = 0
        self._tokens = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def place(self, tokens: int) -> AsyncIterator["AdmittedRequest"]:
        """Wait for a place for a request of at most `tokens` tokens, and hold it. The order is that of arrival."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((tokens, turn))
        self._admit()
        try:
            await turn
            yield AdmittedRequest(self)
        finally:
            if turn.done() and not turn.cancelled():  # the request had entered, and did not only wait
                self.running -= 1
                self._tokens -= tokens
            self._admit()

    def _admit(self) -> None:
        # A request that was cancelled while it waited is still in the queue. Its turn is done, and it is dropped here.
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            tokens, turn = self._waiting.popleft()
            if not turn.done():
                self.entered += 1
                self.running += 1
                self._tokens += tokens
                turn.set_result(None)

    def _fits(self, tokens: int) -> bool:
        """Return whether a request may enter. A single request always may: if it is too long, the server refuses it."""
        within = self.context is None or self._tokens + tokens <= self.context
        return self.running == 0 or (within and (self.slots is None or self.running < self.slots))


class AdmittedRequest:
    """A request that was sent to its server, and the other requests there at that time."""

    def __init__(self, capacity: ServerCapacity):
        self._capacity = capacity
        self._alone = capacity.running == 1
        self._entered = capacity.entered
        self._limited = capacity.context is not None

    @property
    def unknown_company(self) -> bool:
        """Whether other requests ran at the same time, and it was not yet known that all share one context."""
        return not self._limited and not (self._alone and self._capacity.entered == self._entered)
