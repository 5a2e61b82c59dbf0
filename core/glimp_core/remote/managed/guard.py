"""The guard of a server: a program that starts the server, and ends it when the process that needs it has ended.

The process may be killed by SIGKILL, which no handler can catch. So this is a separate program. It detects the end of
the process in two ways: its stdin is closed, which only that process keeps open; or it has a new parent process,
because a forked child of that process may keep stdin open too.

Usage: python guard.py LOG COMMAND... LOG is a file to remove when the process ends, or "". Any byte on stdin before its
end gives the server more time to end. If the server ends by itself, its exit code is that of this program.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

POLL_SECONDS = 0.05
GRACE, PATIENCE = 0.3, 5.0
"""Seconds that a server has to end by itself: after a process that died, and after one that asked for it."""

SHARED_MEMORY = "/dev/shm/"
"""The folder in which Linux shows shared memory as files."""


class Parent:
    """The process that needs the server."""

    def __init__(self) -> None:
        self.pid = os.getppid()
        self.patient = self._left = False
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def gone(self) -> bool:
        """Whether the process has ended, or has asked to end the server."""
        return self._left or os.getppid() != self.pid

    def _listen(self) -> None:
        with open(0, "rb", closefd=False) as told:
            self.patient = bool(told.read())
        self._left = True


def end(server: "subprocess.Popen[bytes]", grace: float) -> None:
    """Send SIGTERM to a server, then kill it and all of its child processes."""
    held = shared_memory(members(server.pid))
    with suppress(ProcessLookupError):
        server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(grace)
    kill(server, held)


def kill(server: "subprocess.Popen[bytes]", held: "set[int] | None" = None) -> None:
    """Kill the process group of a server, and remove its shared memory.

    A killed process removes no shared memory. Python's resource tracker would remove it, but it is in the group too.
    Shared memory that a process outside of the group still uses is not removed.
    """
    if not hasattr(os, "killpg"):  # on Windows
        server.kill()
        return
    left = members(server.pid)
    held = (held or set()) | shared_memory(left)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait()
    if held and (unused := held - shared_memory(set(processes()) - left)):
        for file in os.scandir(SHARED_MEMORY):
            if file.inode() in unused:
                with suppress(OSError):
                    os.unlink(file)


def members(group_id: int) -> "set[int]":
    """Return the processes of a process group; none on systems without /proc."""
    return {pid for pid in processes() if group(pid) == group_id}


def processes() -> Iterator[int]:
    """Yield the ids of all processes; none on systems without /proc."""
    return (int(entry) for entry in (os.listdir("/proc") if os.path.isdir("/proc") else ()) if entry.isdigit())


def shared_memory(pids: "set[int]") -> "set[int]":
    """Return the inodes of the shared memory that processes have mapped. The name of a semaphore there may differ."""
    found = set()
    for pid in pids:
        with suppress(OSError), open(f"/proc/{pid}/maps") as maps:
            found |= {int(line.split()[4]) for line in maps if SHARED_MEMORY in line}
    return found


def group(pid: int) -> int | None:
    """Return the process group of a process, None if it has ended."""
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def main(log: str, *command: str) -> int:
    """Run a command until it ends, or until the parent process ends, and return its exit code."""
    parent = Parent()
    server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
    while server.poll() is None:
        if parent.gone:
            end(server, PATIENCE if parent.patient else GRACE)
            if log:
                with suppress(OSError):
                    os.unlink(log)
            return 0
        time.sleep(POLL_SECONDS)
    kill(server)
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # not SIG_IGN: a child process inherits ignored signals, not handlers
    os._exit(main(*sys.argv[1:]))  # sys.exit would wait for the thread that reads stdin
