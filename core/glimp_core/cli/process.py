"""The command as a process: its handling of Ctrl-C, and of closed standard streams.

This is the first module of the command, and it imports only fast modules: until its handler is set, Ctrl-C shows a
traceback of Python. The module `signal` itself imports `enum`, and would take ten times as long as the rest.
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
"""The name of the function that runs a command. Its module is too slow to import here."""

SHOW_CURSOR = "\x1b[?25h\x1b[0m"


def open_streams() -> None:
    """Open the null device for each closed standard stream. Otherwise a file or a socket could get its number."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, closefd=False, errors="replace"))  # noqa: SIM115


def catch_interrupts() -> None:
    """Make Ctrl-C raise `KeyboardInterrupt` where `exits.code_of` catches it, and end the process at once elsewhere.

    During an import it must not raise: native modules abort, and other code handles it as a missing package. An
    exception that Python can only report, as in a destructor, is raised again.
    """
    try:
        signal.signal(signal.SIGINT, _interrupt)
    except ValueError:  # the command runs in a thread of another program, which gets no signals
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
