"""The command as a process of its own, in a terminal."""

import os
import pty
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 60.0
STATE = str(Path(tempfile.gettempdir()) / f"glimp-tests-{os.getuid()}")
QUIET = {
    "PYTHONPATH": os.pathsep.join(filter(None, (str(HERE.parent), os.environ.get("PYTHONPATH")))),
    "PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "XDG_STATE_HOME": STATE,
}  # fmt: skip


def scripted(*arguments: str) -> list[str]:
    return [sys.executable, str(HERE / "scripted_glimp.py"), *arguments]


class Terminal:
    """A process in a terminal of its own: what it shows, and what is typed."""

    def __init__(self, process: "subprocess.Popen[bytes]", end: int):
        self.process, self.end, self.shown = process, end, ""

    def until(self, seen: Callable[[str], bool]) -> str:
        """Read until the text shown so far is as wanted."""
        deadline = time.monotonic() + PATIENCE
        while not seen(self.shown) and time.monotonic() < deadline:
            self._read(0.1)
        assert seen(self.shown), self.shown
        return self.shown

    def _read(self, seconds: float) -> None:
        with suppress(OSError):  # the process has closed its side
            if select.select([self.end], [], [], seconds)[0]:
                self.shown += os.read(self.end, 4096).decode(errors="replace")

    def type(self, text: str) -> None:
        """Type some keys."""
        os.write(self.end, text.encode())

    def leave(self) -> int:
        """Read to the end and return the exit code: a process may wait until its last words have been read."""
        self.until(lambda _: self.process.poll() is not None)
        return self.process.returncode


@contextmanager
def terminal(*arguments: str, program: Callable[..., list[str]] = scripted, **environment: str) -> Iterator[Terminal]:
    """Start `glimp` in a new terminal."""
    end, far = pty.openpty()
    variables = QUIET | {"TERM": "xterm-256color"} | environment
    process = subprocess.Popen(
        program(*arguments), stdin=far, stdout=far, stderr=far, env=variables, start_new_session=True,
        preexec_fn=lambda: __import__("fcntl").ioctl(0, __import__("termios").TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(far)
    try:
        yield Terminal(process, end)
    finally:
        process.kill()
        process.wait()
        os.close(end)
