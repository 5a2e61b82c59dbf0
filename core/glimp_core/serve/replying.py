"""Responses: errors in OpenAI's form, and a stream that stops its models if its client disconnects."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import anyio
from sse_starlette import EventSourceResponse
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from glimp_core.serve.failures import Failure

T = TypeVar("T")
PING_SECONDS = 15


def failed(failure: Failure) -> Response:
    """Return an error as a response."""
    return Response(failure.body(), failure.status, failure.headers, "application/json")


class PieceStream(EventSourceResponse):
    """A response of server-sent events, which are already bytes. `pieces` is closed when the response ends in any way.

    A comment is sent every 15 seconds, because proxies close a connection that is silent while a prompt is read. At
    shutdown the endpoint itself cancels its replies; `grace` is the longest time in seconds until they have ended.
    """

    def __init__(self, first: bytes, pieces: AsyncGenerator[bytes, None], grace: float):
        super().__init__(
            _rejoined(first, pieces),
            ping=PING_SECONDS,
            sep="\n",
            shutdown_event=anyio.Event(),
            shutdown_grace_period=grace,
        )
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the pieces as they arrive."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            # if the client disconnects, the response only cancels its own tasks, and the models would continue
            await self._pieces.aclose()


async def unless_left(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`. If the client disconnects first, cancel it and raise `ClientDisconnect`."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_left(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        for task in (working, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task


async def _rejoined(first: bytes, pieces: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    yield first
    async for piece in pieces:
        yield piece


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
