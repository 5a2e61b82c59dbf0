"""Clients that go away in the middle of a stream: their models stop, and those of others go on."""

import asyncio
import json
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from glimp_core import Context, GlimpRouter
from glimp_core.serve import ServedPair, ServiceSettings, application
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Chunk, GenerationParams, ModelUsage
from serve.conftest import Serving
from serve.test_service import ASKED, waited_for

WAITING = 10
BODY = json.dumps(ASKED).encode()
HEAD = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: "


class Pausing(ScriptedEngine):
    """Writes `first` tokens, and as many again once its request is cancelled, or on `resume`: those are `late`."""

    def __init__(self, first: int):
        super().__init__(thinking="none")
        self.first = first
        self.late: list[int] = []
        self.paused, self.ended = threading.Semaphore(0), threading.Semaphore(0)
        self.resume = threading.Event()

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        try:
            for number in range(2 * self.first):
                if number == self.first:
                    self.paused.release()
                    while not context.cancelled.wait(0.02) and not self.resume.is_set():
                        pass
                if number >= self.first:
                    self.late.append(number)
                yield Chunk("x", (number,), ModelUsage(forwards=1, decode_tokens=1))
            yield Chunk("", (0,), ModelUsage(), "eos")
        finally:
            self.ended.release()


def test_a_stream_that_falls_behind_hears_of_its_client() -> None:
    """What has piled up is sent as one piece, and not on and on to a client that left meanwhile."""
    engine = Pausing(WAITING)
    app = application([ServedPair("glimp", GlimpRouter(engine, engine))])
    after: list[bytes] = []

    async def ask() -> None:
        gone, asked = asyncio.Event(), [{"type": "http.request", "body": BODY, "more_body": False}]

        async def receive() -> Any:
            if asked:
                return asked.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if gone.is_set():
                after.append(message.get("body", b""))
            elif b'"x"' in message.get("body", b""):
                assert engine.paused.acquire(timeout=10)  # and holds up the loop: what is written waits for it
                gone.set()

        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())]
        path = {"path": "/v1/chat/completions", "raw_path": b"", "root_path": "", "query_string": b""}
        scope = {"type": "http", "method": "POST", "headers": headers, "http_version": "1.1", "scheme": "http", **path}
        await app({**scope, "asgi": {"version": "3.0"}, "client": None, "server": None}, receive, send)

    asyncio.run(ask())
    assert len(after) <= 2, [len(body) for body in after]
    assert engine.ended.acquire(timeout=10)
    assert len(engine.late) <= 1


@pytest.mark.parametrize("streams", [20, pytest.param(200, marks=pytest.mark.slow)])
def test_clients_leave_a_loaded_endpoint(serving: Serving, caplog: pytest.LogCaptureFixture, streams: int) -> None:
    """All at once, some in the middle of what they read: no model writes on for them; those who stay are served."""
    engine, stays = Pausing(3), 4
    settings = ServiceSettings(max_running=streams + stays)
    with serving(GlimpRouter(engine, engine), settings=settings) as endpoint, ExitStack() as stack:
        port = int(endpoint.url.rpartition(":")[2])
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(streams + stays)]
        for client in clients:
            stack.enter_context(client)
            client.settimeout(30)
            client.sendall(f"{HEAD}{len(BODY)}\r\n\r\n".encode() + BODY)
        assert all(engine.paused.acquire(timeout=60) for _ in clients)
        for number, client in enumerate(clients[:streams]):
            if number % 2:
                client.recv(500)
            client.close()
        assert all(engine.ended.acquire(timeout=60) for _ in range(streams))
        assert waited_for(lambda: endpoint.endpoint.queue.running == stays)
        late = len(engine.late)
        engine.resume.set()
        for client in clients[streams:]:
            with client.makefile("rb") as read:
                assert any(line.startswith(b"data: [DONE]") for line in read)
    assert late <= streams
    assert len(engine.late) == late + engine.first * stays
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []
