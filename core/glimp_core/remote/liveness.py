"""Whether a silent stream still has a server: long before the longest wait, a cheap question decides."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from time import monotonic
from typing import Any

from glimp_core.remote.client import Liveness, TransientError

ASK_AFTER = 2.0
"""Seconds of silence after which a server is asked whether it is there, and after which it is asked again."""

MUTE_AFTER = 2
"""After so many questions in a row without an answer a stream is given up, see `StreamWatch`."""

_END = object()


class StreamWatch:
    """The lines of one stream, as long as its server is there to send them.

    `liveness` asks the server something cheap. If that is not answered either, a stream that has begun is given up;
    before its first token a server may do nothing but read the prompt, and it is given up if its host takes no
    connection. `died`, if it can be known, waits until the server's process is gone, and says so. `timeout` is the
    longest wait for the first token, `token_timeout` for each further one, in seconds.
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
        """Whether the first token has come."""
        self._heard = monotonic()
        self._lines = lines
        self._liveness = liveness
        self._died = died
        self._timeouts = {False: timeout, True: token_timeout}
        self._arrived: asyncio.Queue[Any] = asyncio.Queue()
        self._answered = True
        self._mute = self._unreachable = 0

    def hear(self) -> None:
        """Note that a token came; lines without one, which a server may send for ever, end no silence."""
        self.begun, self._heard, self._mute, self._unreachable = True, monotonic(), 0, 0

    async def lines(self) -> AsyncGenerator[Any, None]:
        """Yield the lines as they come. Raises `TransientError` if the server is gone, or silent for too long."""
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
        """Wait for a line, and ask the server each time that the wait has been long."""
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
        """Ask until there is an answer, or none so often that the stream is given up."""
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
        if told == "refuses":
            self._arrived.put_nowait(TransientError("its stream fell silent, and it takes no new connections"))

    def _given_up(self) -> TransientError:
        silence = f"silent for {monotonic() - self._heard:.0f} seconds"
        why = "its host answers nothing any more" if self._unreachable else "it answers no other question"
        return TransientError(f"its stream fell {silence}, and {why}", frozen=True)
