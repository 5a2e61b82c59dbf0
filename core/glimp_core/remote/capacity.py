"""How many requests a server is sent at once: what it has no room for waits here, where waiting is no failure."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ServerCapacity:
    """The room of one server. To be used in the loop's thread only.

    `slots` is how many requests it works on at once, `context` how many tokens they share; None if there is no
    such limit, or if it is not known.
    """

    def __init__(self) -> None:
        self.slots: int | None = None
        self.context: int | None = None
        self.entered = self.running = 0
        self._tokens = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def place(self, tokens: int) -> AsyncIterator["AdmittedRequest"]:
        """Hold the place of a request that comes to at most `tokens`; first come, first served."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((tokens, turn))
        self._admit()
        try:
            await turn
            yield AdmittedRequest(self)
        finally:
            if turn.done() and not turn.cancelled():
                self.running -= 1
                self._tokens -= tokens
            self._admit()

    def _admit(self) -> None:
        while self._waiting and (self._waiting[0][1].done() or self._fits(self._waiting[0][0])):
            tokens, turn = self._waiting.popleft()
            if not turn.done():
                self.entered += 1
                self.running += 1
                self._tokens += tokens
                turn.set_result(None)

    def _fits(self, tokens: int) -> bool:
        """A request that is alone always does: the server itself says what it cannot take."""
        within = self.context is None or self._tokens + tokens <= self.context
        return self.running == 0 or (within and (self.slots is None or self.running < self.slots))


class AdmittedRequest:
    """A request's place among others at its server."""

    def __init__(self, capacity: ServerCapacity):
        self._capacity = capacity
        self._alone = capacity.running == 1
        self._entered = capacity.entered
        self._limited = capacity.context is not None

    @property
    def unknown_company(self) -> bool:
        """Whether other requests were there, before it was known that all share one context."""
        return not self._limited and not (self._alone and self._capacity.entered == self._entered)
