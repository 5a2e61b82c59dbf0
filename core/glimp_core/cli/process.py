"""The command as a process: what Ctrl-C does at any moment, and streams that are closed.

It is the first module of the command, and imports nothing that takes time: before it is there Ctrl-C is Python's, which
shows a traceback. The module `signal` itself imports `enum`, and would take ten times as long as the rest.
"""

import _signal as signal  # type: ignore[import-not-found]
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

INTERRUPTED = 130
CATCHES = "code_of"
"""The function under which a command runs, by name: its module takes time to import."""

SHOW_CURSOR = "\x1b[?25h\x1b[0m"


def open_streams() -> None:
    """Put the null device in place of each standard stream that is closed, lest a file or a socket takes its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False, errors="replace"))  # noqa: SIM115


def catch_interrupts() -> None:
    """Make Ctrl-C raise `KeyboardInterrupt` where `exits.code_of` catches it, and end the process at once elsewhere.

    A half imported module is no place for an exception: native ones abort, and others take it for a missing package.
    One that is raised where Python can only report it, as in a destructor, is raised again.
    """
    try:
        signal.signal(signal.SIGINT, _interrupt)
    except ValueError:  # a thread of another program runs the command, and hears no signal
        return
    sys.unraisablehook = _raise_again


def _interrupt(number: int, frame: "FrameType | None") -> None:
    caught = False
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib."):
            _end()
        caught = caught or frame.f_code.co_name == CATCHES
        frame = frame.f_back
    if not caught:
        _end()
    raise KeyboardInterrupt


def _end() -> None:
    for descriptor in (1, 2):
        try:
            if os.isatty(descriptor):
                os.write(descriptor, SHOW_CURSOR.encode())
        except OSError:
            pass
    os._exit(INTERRUPTED)


def _raise_again(lost: "Any") -> None:
    if issubclass(lost.exc_type, KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    else:
        sys.__unraisablehook__(lost)
