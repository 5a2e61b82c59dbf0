"""ManagedServer: a model server that Glimp starts at the first request, watches, and ends with this process."""

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
"""Where ports are taken from: below those that outgoing connections get, which could take one in between."""

POLL_SECONDS = 0.1
RESTART_SECONDS = 600.0
"""A server that dies is started anew, once in this time, in seconds."""

LEAVE_SECONDS = 8.0
"""How long the end of this process waits for its servers; their guards kill them earlier."""


def no_arguments() -> tuple[str, ...]:
    """Return nothing to add to a command."""
    return ()


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """A command that serves one model, without its address and its key: equal commands are one server in a process.

    `late` are arguments that are known only when the server is about to start. `key_variable` is the environment
    variable that the server reads its key from. `logs` is a folder that keeps logs, "" for temporary ones. `drafts`
    says that the server drafts for its model.
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
    """A server on this machine for one model: started when it is first needed, and gone when this process is.

    It listens on 127.0.0.1 alone and asks for a key that only this process knows. Servers of a process start one after
    the other, since each of them looks at the memory that is free. One that dies is started anew once in ten minutes.
    It ends with `stop`, when no engine refers to it any more, and with the process, also if that is killed.
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
        """Return the server of a command, which all who name the same command share."""
        with _lock:
            server = _servers.get((os.getpid(), command))
            if server is None:
                server = _servers[os.getpid(), command] = cls(command)
            return server

    def __repr__(self) -> str:
        return f"ManagedServer({self.command.software}, {self.command.model!r}, port {self.port})"

    @property
    def running(self) -> bool:
        """Whether the process is there; it may not take requests yet. In a forked child the parent knows that alone."""
        process = self._process
        return process is not None and (self._owner != os.getpid() or process.poll() is None)

    @property
    def drafts(self) -> bool:
        """Whether the server drafts for its model."""
        return self.command.drafts

    async def ready(self) -> None:
        """Wait until the server takes requests, and start it if it is not running. In the loop's thread.

        A start goes on if the caller is cancelled. Raises `ModelLoadError` for a server that does not come up, and
        `RemoteEngineError` for one that died again soon after it had died before.
        """
        if self._process is not None and self._owner != os.getpid():
            return
        if self._starting is None or (self._starting.done() and not self.running):
            self._starting = asyncio.create_task(self._start(), name=f"start of {self.command.model}")
        await asyncio.shield(self._starting)

    async def died(self) -> str:
        """Wait until the process is gone, and return a sentence about that. In the loop's thread."""
        while self.running:
            await asyncio.sleep(POLL_SECONDS)
        return f"{self._who} ended while it was needed"

    def stop(self) -> None:
        """End the server and wait until it is gone; the next request starts it again."""
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
                if again:
                    raise RemoteEngineError(str(error)) from error
                self._process = None
                raise

    def _check_restart(self) -> None:
        if monotonic() - self._restarted < RESTART_SECONDS:
            raise RemoteEngineError(
                f"{self._who} ended again after it had been started anew, and is left alone for "
                f"{RESTART_SECONDS / 60:.0f} minutes. {self._end_of_log()}"
            )
        self._restarted = monotonic()

    def _spawn(self, late: Sequence[str]) -> None:
        """Start the guard, which starts the server."""
        command = self.command
        self.log = ServerLog.new(command.software, command.model, command.logs)
        address = ("--host", "127.0.0.1", "--port", str(self.port))
        unwanted = "" if command.logs else str(self.log.path)
        listening, leash = os.pipe()
        self._leash = open(leash, "wb", buffering=0)  # noqa: SIM115, it stays open as long as the server is wanted
        with self.log.path.open("wb") as output, open(listening, "rb") as heard:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(GUARD), unwanted, *command.arguments, *late, *address],
                stdin=heard,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**os.environ, **dict(command.environment), command.key_variable: self.api_key},
            )
        weakref.finalize(self, _dismiss, self._process, self._leash).atexit = False
        self._owner = os.getpid()

    async def _come_up(self) -> None:
        """Wait for the first answer. Raises `ModelLoadError` if it does not come."""
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
        """Whether the server lists its models for our key: another server at this port would not."""
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
    """Raise `ConfigError` for what is no length of time."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ConfigError(f"{name}={value!r} cannot work: it must be a number of seconds over 0")


def _free_port() -> int:
    draw = random.SystemRandom()  # the ports of two processes, or of a fork, are not the same ones
    for port in (draw.choice(PORTS) for _ in PORTS):
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port
    raise RemoteEngineError(f"no port from {PORTS.start} to {PORTS.stop} is free on this machine")


def _dismiss(process: "subprocess.Popen[bytes]", leash: IO[bytes]) -> None:
    """Have a guard end its server, patiently. A finaliser may do it: it waits for nothing."""
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
    """End every server that this process started, all at once, and wait until they are gone."""
    for server in list(_servers.values()):
        if server._process is not None and server._leash is not None and server._owner == os.getpid():
            _dismiss(server._process, server._leash)
    while _leaving:
        _wait(_leaving.pop())


_servers: "weakref.WeakValueDictionary[tuple[int, ServerCommand], ManagedServer]" = weakref.WeakValueDictionary()
_lock = Lock()
_leaving: "list[subprocess.Popen[bytes]]" = []
"""Guards that were told to end their servers."""
atexit.register(stop_servers)
