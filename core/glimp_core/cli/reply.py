"""One reply in the terminal: a spinner while weights load, a stream of steps, and Ctrl-C."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, Unpack

from rich.console import Console

from glimp_core import bundled
from glimp_core.cli.settings import Settings
from glimp_core.cli.view import View
from glimp_core.completion import Completion
from glimp_core.events import Event
from glimp_core.router import GlimpRouter, StreamOptions
from glimp_core.types import Message


def start(settings: Settings) -> GlimpRouter:
    """Make the router, with a spinner while torch is imported."""
    served = bool(settings.options.get("engine"))  # then the latest line of the servers' logs is shown instead
    here = not served and all(name in bundled.NAMES or Path(name).exists() for name in settings.pair)
    if served and not sys.stderr.isatty():
        _tell_of_servers()
    if not sys.stderr.isatty() or here:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # those bars are for downloads
    if not settings.debug:
        os.environ["HF_HUB_VERBOSITY"] = os.environ["TRANSFORMERS_VERBOSITY"] = "error"  # our error explains it
    with _waiting("starting PyTorch"):
        return settings.router()


def reply(router: GlimpRouter, messages: Sequence[Message], view: View, **demands: Unpack[StreamOptions]) -> Completion:
    """Answer a conversation, and show the reply while it is written. Raises `Cancelled` on Ctrl-C.

    `demands` are options of `GlimpRouter.stream`, such as tools and a format.
    """
    cancelled = threading.Event()
    events: list[Event] = []
    options: StreamOptions = {**demands, "cancelled": cancelled}
    stream = router.stream(messages, **options)

    def show(event: Event) -> None:
        events.append(event)
        view.show(event)

    with closing(stream), view:
        with _waiting("loading the models"):
            begun = next(stream)
        show(begun)
        with interrupts_set(cancelled):
            with _waiting("reading"):
                first = next(stream)
            show(first)
            for event in stream:
                show(event)
    return Completion.fold(events)


def _tell_of_servers() -> None:
    """Write the log of starting servers to stderr, one line for each start."""
    log, handler = logging.getLogger("glimp.servers"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("glimp: %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def _waiting(what: str) -> Any:
    """Return a spinner on stderr, if that is a terminal and no download draws its own bars there."""
    bars = os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS") != "1"
    return nullcontext() if bars or not sys.stderr.isatty() else Console(stderr=True).status(f"{what} ...")


@contextmanager
def interrupts_set(cancelled: threading.Event) -> Iterator[None]:
    """Make Ctrl-C set `cancelled`, so that engines stop in a consistent state. A second Ctrl-C interrupts at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        if cancelled.is_set():
            raise KeyboardInterrupt
        cancelled.set()

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
