"""Detects that the server of a silent stream is gone, long before the timeout, by cheap liveness requests."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from time import monotonic
from typing import Any

from glimp_core.remote.client import Liveness, TransientError

ASK_AFTER = 2.0
"""Seconds of silence until the first liveness request, and until the next one."""

MUTE_AFTER = 2
"""After this many consecutive liveness requests without an answer a stream is given up, see `StreamWatch`."""

_END = object()


class StreamWatch:
    """The lines of one stream. It fails if the server is gone.

    `liveness` sends a liveness request. If a stream has begun, it is given up when these requests are not answered.
    Before its first token a server may be busy with the prompt and answer nothing, so the stream is given up only if
    the host accepts no connection. `died` waits until the server's process has ended, for a server that Glimp started.
    `timeout` is the longest wait for the first token, `token_timeout` that for each later token, in seconds.
    """

    def __init__(
        self,
        lines: AsyncGenerator[Any, None],
        liveness: Callable[[], Awaitable[Liveness]],
        timeout: float,
        token_timeout: float,
        died: Callable[[], Awaitable[str]] | None = None,
    ):
        self.begun = False
        """Whether the first token has arrived."""
        self._heard = monotonic()
        self._lines = lines
        self._liveness = liveness
        self._died = died
        self._timeouts = {False: timeout, True: token_timeout}
        self._arrived: asyncio.Queue[Any] = asyncio.Queue()
        self._answered = True
        self._mute = self._unreachable = 0

    def hear(self) -> None:
        """Note that a token arrived. Lines without a token do not end a silence: a server may send them forever."""
        self.begun, self._heard, self._mute, self._unreachable = True, monotonic(), 0, 0

    async def lines(self) -> AsyncGenerator[Any, None]:
        """Yield the lines as they arrive. Raises `TransientError` if the server is gone, or silent for too long."""
        # The stream is read in its own task, because a wait for its next line cannot be interrupted without closing it.
        tasks = [asyncio.create_task(self._read())]
        if self._died:
            tasks.append(asyncio.create_task(self._mourn(self._died)))
        asked: list[asyncio.Task[None]] = []
        try:
            while (line := await self._next(asked)) is not _END:
                if isinstance(line, Exception):
                    raise line
                yield line
        finally:
            for task in (*tasks, *asked):
                task.cancel()
            await asyncio.gather(*tasks, *asked, return_exceptions=True)

    async def _read(self) -> None:
        try:
            async with aclosing(self._lines) as lines:
                async for line in lines:
                    self._arrived.put_nowait(line)
            self._arrived.put_nowait(_END)
        except Exception as error:
            self._arrived.put_nowait(error)

    async def _mourn(self, died: Callable[[], Awaitable[str]]) -> None:
        self._arrived.put_nowait(TransientError(await died()))

    async def _next(self, asked: list[asyncio.Task[None]]) -> Any:
        """Wait for a line, and send a liveness request after each `ASK_AFTER` seconds of the wait."""
        limit = self._timeouts[self.begun]
        self._answered = True
        while (left := self._heard + limit - monotonic()) > 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, ASK_AFTER)):
                    return await self._arrived.get()
            if all(task.done() for task in asked):
                asked[:] = [asyncio.create_task(self._ask())]
        raise TransientError(f"no answer for {limit:g} seconds", timed_out=True, frozen=not self._answered)

    async def _ask(self) -> None:
        """Send liveness requests until one is answered, or until the stream is given up."""
        told: Liveness | None = None
        while told not in ("answers", "refuses"):
            self._answered = False
            told = await self._liveness()
            self._answered = told == "answers"
            self._mute = self._mute + 1 if told in ("silent", "unreachable") else 0
            self._unreachable = self._unreachable + 1 if told == "unreachable" else 0
            if (self._mute if self.begun else self._unreachable) >= MUTE_AFTER:
                self._arrived.put_nowait(self._given_up())
                return
        if told == "refuses":  # a vLLM that shuts down accepts no connections, but leaves its streams open
            self._arrived.put_nowait(TransientError("its stream became silent, and it accepts no new connections"))

    def _given_up(self) -> TransientError:
        silence = f"silent for {monotonic() - self._heard:.0f} seconds"
        why = "its host answers nothing any more" if self._unreachable else "it answers no other question"
        return TransientError(f"its stream fell {silence}, and {why}", frozen=True)
