"""ManagedServer: a model server that Glimp starts at the first request, watches, and stops with this process."""

import asyncio
import atexit
import os
import random
import secrets
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import IO

from glimp_core.errors import ConfigError, ModelLoadError, RemoteEngineError
from glimp_core.forking import Lock
from glimp_core.remote.bridge import the_loop
from glimp_core.remote.managed.server_log import ServerLog

GUARD = Path(__file__).with_name("guard.py")
PORTS = range(20_000, 30_000)
"""The range of ports. It is below the ports of outgoing connections, which could take a port before the server does."""

POLL_SECONDS = 0.1
RESTART_SECONDS = 600.0
"""A server that dies is started again at most once in this time, in seconds."""

LEAVE_SECONDS = 8.0
"""The longest wait in seconds for a server to end. Its guard kills it earlier."""


def no_arguments() -> tuple[str, ...]:
    """Return no arguments."""
    return ()


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """A command that serves one model, without address and key. In a process, equal commands share one server.

    `late` returns arguments that are known only at the start of the server, such as the free memory. `key_variable` is
    the environment variable from which the server reads its key. `logs` is a folder for logs, "" for temporary files.
    `drafts` says that the server drafts for its model.
    """

    software: str
    model: str
    arguments: tuple[str, ...]
    key_variable: str
    environment: tuple[tuple[str, str], ...] = ()
    late: Callable[[], tuple[str, ...]] = no_arguments
    logs: str = ""
    start_timeout: float = 1800.0
    drafts: bool = False

    def __repr__(self) -> str:
        return f"ServerCommand({self.software}, {self.model!r})"


class ManagedServer:
    """A server on this machine for one model: it starts when it is first needed, and ends with this process.

    It listens on 127.0.0.1 only and requires a key that only this process knows. Servers of a process start one after
    the other, because each of them measures the free memory. A server that dies is started again once in ten minutes.
    It ends with `stop`, if no engine refers to it any more, and with the process, also if that is killed.
    """

    def __init__(self, command: ServerCommand):
        self.command = command
        self.port = _free_port()
        self.base_url = f"http://127.0.0.1:{self.port}/v1"
        self.api_key = secrets.token_urlsafe(24)
        self.log: ServerLog | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._leash: IO[bytes] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._restarted = -RESTART_SECONDS
        self._owner = os.getpid()

    @classmethod
    def of(cls, command: ServerCommand) -> "ManagedServer":
        """Return the server of a command. Equal commands get the same server."""
        with _lock:
            server = _servers.get((os.getpid(), command))
            if server is None:
                server = _servers[os.getpid(), command] = cls(command)
            return server

    def __repr__(self) -> str:
        return f"ManagedServer({self.command.software}, {self.command.model!r}, port {self.port})"

    @property
    def running(self) -> bool:
        """Whether the process runs; it may not accept requests yet. A forked child cannot know, and gets True."""
        process = self._process
        return process is not None and (self._owner != os.getpid() or process.poll() is None)

    @property
    def drafts(self) -> bool:
        """Whether the server drafts for its model."""
        return self.command.drafts

    async def ready(self) -> None:
        """Wait until the server accepts requests, and start it if it is not running. Call it in the loop's thread.

        A start continues if the caller is cancelled. Raises `ModelLoadError` if the server does not start, and
        `RemoteEngineError` if it died again within ten minutes after a restart.
        """
        if self._process is not None and self._owner != os.getpid():
            return
        if self._starting is None or (self._starting.done() and not self.running):
            self._starting = asyncio.create_task(self._start(), name=f"start of {self.command.model}")
        await asyncio.shield(self._starting)  # other requests may wait for the same start

    async def died(self) -> str:
        """Wait until the process has ended, and return a sentence about that. Call it in the loop's thread."""
        while self.running:
            await asyncio.sleep(POLL_SECONDS)
        return f"{self._who} ended while it was needed"

    def stop(self) -> None:
        """End the server and wait until it has ended. The next request starts it again."""
        process, self._process, self._starting = self._process, None, None
        if process is not None and self._leash is not None and self._owner == os.getpid():
            _dismiss(process, self._leash)
            _wait(process)

    @property
    def _who(self) -> str:
        return f"the {self.command.software} that Glimp started for {self.command.model!r}"

    async def _start(self) -> None:
        async with the_loop().starting:
            again = self._process is not None
            if again:
                self._check_restart()
            self._spawn(await asyncio.to_thread(self.command.late))
            try:
                await self._come_up()
            except ModelLoadError as error:
                if again:  # the model had loaded before, so this is a failure of the server, not of the model
                    raise RemoteEngineError(str(error)) from error
                self._process = None
                raise

    def _check_restart(self) -> None:
        if monotonic() - self._restarted < RESTART_SECONDS:
            raise RemoteEngineError(
                f"{self._who} ended again after a restart. It is not started again for "
                f"{RESTART_SECONDS / 60:.0f} minutes. {self._end_of_log()}"
            )
        self._restarted = monotonic()

    def _spawn(self, late: Sequence[str]) -> None:
        """Start the guard, which starts the server."""
        command = self.command
        self.log = ServerLog.new(command.software, command.model, command.logs)
        address = ("--host", "127.0.0.1", "--port", str(self.port))
        unwanted = "" if command.logs else str(self.log.path)
        # The guard reads one end of the pipe. The kernel closes the other end if this process ends in any way.
        listening, leash = os.pipe()
        self._leash = open(leash, "wb", buffering=0)  # noqa: SIM115, it stays open as long as the server is needed
        with self.log.path.open("wb") as output, open(listening, "rb") as heard:
            # -I and -S: the guard needs only the standard library, and variables of Python must not change it.
            # A new session: Ctrl-C in the terminal must not end the server before a running reply has ended.
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), unwanted, *command.arguments, *late, *address],
                stdin=heard,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **dict(command.environment), command.key_variable: self.api_key},
            )
        # Not at exit: `stop_servers` does it there, and waits for the servers.
        weakref.finalize(self, _dismiss, self._process, self._leash).atexit = False
        self._owner = os.getpid()

    async def _come_up(self) -> None:
        """Wait for the first answer. Raises `ModelLoadError` if there is none."""
        log, process = self.log, self._process
        assert log is not None, "the process was started"
        assert process is not None, "the process was started"
        started = monotonic()
        with log.shown():
            while not await self._answers():
                if process.poll() is not None:
                    raise ModelLoadError(
                        f"{self._who} ended with exit code {process.returncode} before it took requests. "
                        f"{self._end_of_log()}"
                    )
                if monotonic() - started > self.command.start_timeout:
                    self.stop()
                    raise ModelLoadError(
                        f"{self._who} was not up after {self.command.start_timeout:.0f} seconds: allow more with "
                        f"start_timeout=... {self._end_of_log()}"
                    )
                log.show()
                await asyncio.sleep(POLL_SECONDS)

    async def _answers(self) -> bool:
        """Return whether the server accepts our key. Another program on this port would not."""
        request = f"GET /v1/models HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {self.api_key}\r\n"
        try:
            async with asyncio.timeout(2):
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                try:
                    writer.write(f"{request}Connection: close\r\n\r\n".encode())
                    return b" 200 " in await reader.readline()
                finally:
                    writer.close()
        except (OSError, TimeoutError):
            return False

    def _end_of_log(self) -> str:
        return self.log.told() if self.log else ""


def check_seconds(name: str, value: object) -> None:
    """Raise `ConfigError` for a value that is not a positive number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigError(f"{name}={value!r} cannot work: it must be a number of seconds over 0")


def _free_port() -> int:
    draw = random.SystemRandom()  # with a seeded generator, a forked process would draw the same ports
    for port in (draw.choice(PORTS) for _ in PORTS):
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise RemoteEngineError(f"no port from {PORTS.start} to {PORTS.stop} is free on this machine")


def _dismiss(process: "subprocess.Popen[bytes]", leash: IO[bytes]) -> None:
    """Ask a guard to end its server. This does not wait, so that a finaliser can call it."""
    if not leash.closed:
        with suppress(OSError):
            leash.write(b".")
        with suppress(OSError):
            leash.close()
        _leaving.append(process)


def _wait(process: "subprocess.Popen[bytes]") -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(LEAVE_SECONDS)


def stop_servers() -> None:
    """End all servers that this process started, at the same time, and wait until they have ended."""
    for server in list(_servers.values()):
        if server._process is not None and server._leash is not None and server._owner == os.getpid():
            _dismiss(server._process, server._leash)
    while _leaving:
        _wait(_leaving.pop())


_servers: "weakref.WeakValueDictionary[tuple[int, ServerCommand], ManagedServer]" = weakref.WeakValueDictionary()
_lock = Lock()
_leaving: "list[subprocess.Popen[bytes]]" = []
"""Guards that were asked to end their servers."""
atexit.register(stop_servers)
