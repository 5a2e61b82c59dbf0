"""A server on this machine that speaks /v1/completions with scripted tokens, and goes wrong when it is told to.

It is a function of the prompt's ids: behind the opening think tag it finds how much of its script is written, and goes
on there. Whoever writes a chain with it, in however many requests, gets the script.
"""

import asyncio
import contextlib
import json
import os
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from remote.replies import Replies
from remote.scripts import Script, Served, Trouble

MAX_SECONDS = 1200
"""A server that was forgotten ends by itself."""


class ScriptedServer(Replies):
    """Serves one script in a thread, as `kind`: "vllm", "old vllm", "sglang", "llamacpp" or "text" (no ids at all).

    `about_ids` is the status with which "text" refuses ids, `listing` what it lists instead of its one model.
    """

    def __init__(
        self,
        script: Script,
        kind: str = "vllm",
        model: str = "scripted",
        window: int | None = 4096,
        max_logprobs: int = 20,
        shows: int | None = None,
        tempered: bool = False,
        cuts: bool = False,
        aborts: bool = True,
        merge: int = 1,
        pace: float = 0.0,
        buffered: bool = False,
        cached: int | None = None,
        structure: Callable[[dict[str, Any]], str | None] = lambda body: None,
        says: str = "too much",
        about_ids: int = 400,
        listing: Sequence[dict[str, Any]] | None = None,
        slots: int = 4,
        only_chat: bool = False,
    ):
        super().__init__(script, kind, merge, shows, tempered, cuts, cached, structure)
        self.model, self.window, self.says = model, window, says
        self.about_ids, self.listing, self.only_chat = about_ids, listing, only_chat
        self.slots = slots
        self.max_logprobs, self.aborts, self.pace, self.buffered = max_logprobs, aborts, pace, buffered

    def __enter__(self) -> Served:
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="scripted server", daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self.served

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            self._loop.run_until_complete(asyncio.wait_for(self._main(), MAX_SECONDS))
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    async def _main(self) -> None:
        self._stop = asyncio.Event()
        self._idle = set[asyncio.StreamWriter]()
        await self._open(0)
        self.served = Served(f"http://127.0.0.1:{self._port}/v1")
        self._ready.set()
        await self._stop.wait()
        self._server.close()

    async def _open(self, port: int) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", port)
        self._port: int = self._server.sockets[0].getsockname()[1]

    async def _leave(self, seconds: float) -> None:
        """Take no new connections, close those that are idle, leave streams open, and come back after a while."""
        self._server.close()
        for writer in self._idle:
            writer.close()
        if seconds:
            await asyncio.sleep(seconds)
            await self._open(self._port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.served.connections += 1
        with contextlib.suppress(ConnectionError, EOFError, UnicodeDecodeError, asyncio.CancelledError):
            while await self._answer(reader, writer):
                pass
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        self._idle.add(writer)
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
        finally:
            self._idle.discard(writer)
        request, *lines = head.split("\r\n")
        headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = request.split()[1]
        if path == "/v1/completions" and not self.only_chat:
            return await self._completions(json.loads(body), headers, reader, writer)
        self.served.probes += 1
        self._document(writer, *self._about(path))
        return True

    def _about(self, path: str) -> tuple[int, str, str]:
        if path == "/v1/models":
            owner = {"vllm": "vllm", "old vllm": "vllm", "sglang": "sglang", "llamacpp": "llamacpp", "text": "somebody"}
            if self.listing is not None:
                return 200, "application/json", json.dumps({"object": "list", "data": self.listing})
            entry: dict[str, Any] = {"id": self.model, "object": "model", "owned_by": owner[self.kind]}
            if self.window and self.kind != "llamacpp":
                entry["max_model_len"] = self.window
            return 200, "application/json", json.dumps({"object": "list", "data": [entry]})
        if path == "/props" and self.kind == "llamacpp":
            about = {"default_generation_settings": {"n_ctx": self.window}, "total_slots": self.slots}
            return 200, "application/json", json.dumps(about)
        if path == "/metrics" and "vllm" in self.kind:
            return 200, "text/plain", f'# HELP\nvllm:num_requests_running{{engine="0"}} {float(self.served.running)}\n'
        return 404, "application/json", '{"detail": "Not Found"}'

    def _document(self, writer: asyncio.StreamWriter, status: int, kind: str, text: str, extra: str = "") -> None:
        body = text.encode()
        writer.write(
            f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{extra}\r\n".encode()
        )
        writer.write(body)

    async def _completions(
        self, body: dict[str, Any], headers: dict[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        started = time.perf_counter()
        ids = body["prompt"]
        if isinstance(ids, str):
            ids = self._read_text(ids) if self.kind == "text" else []
        elif self.kind == "text":
            self.served.probes += 1
            says = '{"error": {"message": "prompt must be a string"}}'
            self._document(writer, self.about_ids, "application/json", says)
            return True
        probe, trouble = self.script.open_id not in ids, None
        self.served.probes += probe
        if not probe:
            self.served.asked.append(body)
            self.served.headers.append(headers)
            trouble = self.served.troubles.pop(0) if self.served.troubles else None
        if trouble and trouble.kind == "refuse":
            _reset(writer)
            return False
        if trouble and trouble.kind == "status":
            wait = f"retry-after: {trouble.retry_after}\r\n" if trouble.retry_after else ""
            says = json.dumps({"error": {"message": self.says}})
            self._document(writer, trouble.status, "application/json", says, wait)
            return True
        if trouble and trouble.kind == "html":
            self._document(writer, 200, "text/html", "<html>welcome</html>")
            return True
        if not self._may(body):
            says = json.dumps({"error": {"message": "more logprobs than max allowed", "code": 400}})
            self._document(writer, 400, "application/json", says)
            return True
        await asyncio.sleep(trouble.seconds if trouble and trouble.kind == "delay" else 0)
        done = await self._stream(self._lines(body, ids), trouble, reader, writer)
        self.served.seconds += 0 if probe else time.perf_counter() - started
        return done

    def _may(self, body: dict[str, Any]) -> bool:
        wanted = body.get("logprobs") or 0
        return self.max_logprobs < 0 or 0 <= wanted <= self.max_logprobs

    async def _stream(
        self,
        lines: Iterator[tuple[int, dict[str, Any]]],
        trouble: Trouble | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Send a stream; False when the connection is of no more use."""
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        gone = asyncio.ensure_future(reader.read(1))
        self.served.running += 1
        kind, sent = trouble.kind if trouble else "", 0
        try:
            async for part in self._parts(lines, trouble):
                await asyncio.sleep(0)  # a close of the client is seen
                if gone.done() and self.aborts:
                    self.served.closed_by_client += 1
                    return False
                cut = trouble is not None and kind in BREAKS and sent + len(part) > trouble.at
                if cut and kind in ("pause", "freeze"):
                    if kind == "freeze":
                        time.sleep(trouble.seconds)  # type: ignore[union-attr]
                    else:
                        await asyncio.sleep(trouble.seconds)  # type: ignore[union-attr]
                    trouble, cut = None, False
                if cut:
                    part = part[: trouble.at - sent]  # type: ignore[union-attr]
                sent += len(part)
                if part and not gone.done():
                    writer.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
                    with contextlib.suppress(ConnectionError):
                        await writer.drain()
                if cut:
                    return await self._break(kind, gone, writer, trouble.seconds)  # type: ignore[union-attr]
            if kind == "no_done" and trouble and trouble.at:
                return await self._break("stall", gone, writer)
            writer.write(b"0\r\n\r\n")
            if self.kind == "llamacpp":  # it keeps no connection after a stream: who sends on it gets no answer
                await gone
                return False
            return True
        finally:
            self.served.running -= 1
            gone.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gone

    async def _break(
        self, kind: str, gone: "asyncio.Future[bytes]", writer: asyncio.StreamWriter, seconds: float = 0.0
    ) -> bool:
        if kind == "short":
            writer.write(b"0\r\n\r\n")
            return True
        if kind == "stall":
            await asyncio.wait([gone], timeout=20)
            self.served.closed_by_client += 1
        elif kind == "leave":
            await self._leave(seconds)
            await asyncio.wait([gone], timeout=20)
        elif kind == "vanish":
            with _full(self._server.sockets[0]):
                await self._leave(0)
                await self._stop.wait()
        elif kind == "reset":
            await asyncio.sleep(0.002)  # the bytes before it are on their way
            _reset(writer)
        return False

    async def _parts(
        self, lines: Iterator[tuple[int, dict[str, Any]]], trouble: Trouble | None
    ) -> AsyncIterator[bytes]:
        """The events of a stream as bytes, with what goes wrong among them."""
        held = b""
        for number, (tokens, line) in enumerate(lines):
            if self.pace and tokens:
                await asyncio.sleep(self.pace * tokens)
            if trouble and trouble.at == number and trouble.kind in WRONG_LINES:
                yield WRONG_LINES[trouble.kind]
                if trouble.kind in ("error", "abort"):
                    yield b"data: [DONE]\n\n"
                    return
                continue
            self.served.written += tokens
            event = b"data: " + json.dumps(line).encode() + b"\n\n"
            if self.buffered:
                held += event
            else:
                yield event
        if not (trouble and trouble.kind == "no_done"):
            held += b"data: [DONE]\n\n"
        if held:
            yield held


BREAKS = ("reset", "eof", "short", "stall", "leave", "pause", "freeze", "vanish")
WRONG_LINES = {
    "garbage": b'data: {"id": "cmpl-1", "choi\n\n',
    "number": b"data: 42\n\n",
    "half": b'data: {"choices": [{"text": "\xc3\n\n',
    "error": b'data: {"error": {"message": "the engine died", "code": 500}}\n\n',
    "abort": b'data: {"choices": [{"index": 0, "text": "", "finish_reason": "abort", "token_ids": []}]}\n\n',
}


@contextlib.contextmanager
def _full(listening: Any) -> Iterator[None]:
    """Have a port that listens take no connection, and refuse none either: its queue is full."""
    with socket.socket(fileno=os.dup(listening.fileno())) as held, contextlib.ExitStack() as waiting:
        held.listen(0)
        for _ in range(4):
            knocking = waiting.enter_context(socket.socket())
            knocking.setblocking(False)
            knocking.connect_ex(held.getsockname())
        yield


def _reset(writer: asyncio.StreamWriter) -> None:
    """End a connection as a crashed server does."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
