"""Starts a server and ends it when the process that wanted it is gone, however that came about.

As a program: python guard.py LOG COMMAND..., where LOG is a file to be removed at such an end, or "". The end is told
by stdin, which only the wanting process keeps open, and by a new parent, as a forked child may keep stdin open too.
Any byte on stdin before its end asks for patience. Where the server ends by itself, its exit code is this program's.
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
"""Seconds that a server has to end by itself, after a wanting process that died and after one that took its leave."""

SHARED_MEMORY = "/dev/shm/"
"""Where Linux shows shared memory as files."""


class Parent:
    """The process that wants the server."""

    def __init__(self) -> None:
        self.pid = os.getppid()
        self.patient = self._left = False
        threading.Thread(target=self._listen, daemon=True).start()

    @property
    def gone(self) -> bool:
        """Whether the server is wanted no longer."""
        return self._left or os.getppid() != self.pid

    def _listen(self) -> None:
        with open(0, "rb", closefd=False) as told:
            self.patient = bool(told.read())
        self._left = True


def end(server: "subprocess.Popen[bytes]", grace: float) -> None:
    """Ask a server to end, then kill it with all of its children."""
    held = shared_memory(members(server.pid))
    with suppress(ProcessLookupError):
        server.terminate()
    with suppress(subprocess.TimeoutExpired):
        server.wait(grace)
    kill(server, held)


def kill(server: "subprocess.Popen[bytes]", held: "set[int] | None" = None) -> None:
    """Kill what is left of a server, its process group, and remove the shared memory that it held.

    Who is killed removes none of it, and Python's process that would is in the group, too.
    """
    if not hasattr(os, "killpg"):
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
    """Return the processes of a group, as far as /proc tells."""
    return {pid for pid in processes() if group(pid) == group_id}


def processes() -> Iterator[int]:
    """Yield the processes of this machine, as far as /proc tells."""
    return (int(entry) for entry in (os.listdir("/proc") if os.path.isdir("/proc") else ()) if entry.isdigit())


def shared_memory(pids: "set[int]") -> "set[int]":
    """Return the inodes of the shared memory that processes have mapped; a semaphore's name there is another one."""
    found = set()
    for pid in pids:
        with suppress(OSError), open(f"/proc/{pid}/maps") as maps:
            found |= {int(line.split()[4]) for line in maps if SHARED_MEMORY in line}
    return found


def group(pid: int) -> int | None:
    """Return the process group of a process, None if it is gone."""
    try:
        return os.getpgid(pid)
    except OSError:
        return None


def main(log: str, *command: str) -> int:
    """Run a command as long as it is wanted, and return its exit code."""
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
        signal.signal(number, lambda *_: None)  # a handler, since the server would go on ignoring what is ignored here
    os._exit(main(*sys.argv[1:]))  # an orderly exit would wait for the thread that reads stdin
