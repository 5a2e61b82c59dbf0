"""The log of a server that starts: its latest line on the terminal, and its end in the error of a failed start."""

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from glimp_core.errors import ConfigError

log = logging.getLogger("glimp.servers")

TAIL_BYTES = 32_768
TAIL_LINES = 8
"""The number of lines at the end of a log that an error repeats."""

SHOW_SECONDS = 0.5
WIDTH = 110
ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
CAUSE = re.compile(r"(?:^|\s)(?:[\w.]*(?:Error|Exception)|error|fatal)\s*:", re.IGNORECASE)


@dataclass(slots=True)
class ServerLog:
    """The log file of a server. Its latest line is shown on a terminal during the start."""

    path: Path
    title: str
    _shown_at: float = 0.0
    _shown: str = field(default="", repr=False)

    @classmethod
    def new(cls, software: str, model: str, folder: str) -> "ServerLog":
        """Create a file in a folder, or in that of temporary files. Raises `ConfigError` if this fails."""
        prefix = f"glimp-{software}-{re.sub('[^A-Za-z0-9.-]+', '-', model)[-40:]}-"
        try:
            if folder:
                Path(folder).expanduser().mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(".log", prefix, str(Path(folder).expanduser()) if folder else None)
        except OSError as error:
            raise ConfigError(f"logs={folder!r} cannot hold the log of {software}: {error}") from error
        os.close(handle)
        return cls(Path(name), f"{software} {model}")

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Report a start in the log `glimp.servers`, and clear the line on the terminal after it."""
        log.info("%s: starting, its log is %s", self.title, self.path)
        started = monotonic()
        try:
            yield
            log.info("%s: up after %.0f s", self.title, monotonic() - started)
        finally:
            self._write("")

    def show(self) -> None:
        """Show the latest line if it is new, at most once in `SHOW_SECONDS`."""
        if monotonic() - self._shown_at < SHOW_SECONDS:
            return
        self._shown_at = monotonic()
        lines = self._lines()
        if lines and lines[-1] != self._shown:
            self._shown = lines[-1]
            log.debug("%s: %s", self.title, self._shown)
            self._write(f"{self.title}: {self._shown}"[:WIDTH])

    def told(self) -> str:
        """Return the path of the log, its first line with an error, and its last lines."""
        lines = self._lines()
        cause = next((line for line in lines if CAUSE.search(line)), "")
        ends = lines[-TAIL_LINES:]
        first = f"{cause}\n...\n" if cause and cause not in ends else ""
        return f"Its log, {self.path}, ends:\n{first}" + "\n".join(ends) if lines else f"Its log, {self.path}, is empty"

    def _lines(self) -> list[str]:
        with suppress(OSError), self.path.open("rb") as file:
            file.seek(max(0, self.path.stat().st_size - TAIL_BYTES))
            text = ANSI.sub("", file.read().decode(errors="replace")).replace("\r", "\n")
            return [line.rstrip() for line in text.splitlines() if line.strip()]
        return []

    def _write(self, line: str) -> None:
        """Replace the line on the terminal, if stderr is one."""
        with suppress(OSError, ValueError, AttributeError):
            if sys.stderr.isatty():
                sys.stderr.write(f"\r\x1b[K{line}")
                sys.stderr.flush()
