"""Very long prompts: refused early, cancellable, and counted in full only if that is asked for."""

import threading

import pytest

import tiny
from glimp_core import Cancelled, ContextOverflowError
from glimp_core.chat.prompt.renderer import CUT, LARGE, PIECE, check_length
from glimp_core.context import Context
from glimp_core.types import Request

HUGE = "no end of words. " * (5_000_000 // 17)


def context(text: str, cancelled: threading.Event | None = None) -> Context:
    return Context(Request(({"role": "user", "content": [{"type": "text", "text": text}]},)), cancelled=cancelled)


def test_what_cannot_fit_is_refused_before_it_is_read() -> None:
    """Of five megabytes about one window is tokenised."""
    read: list[int] = []
    engine = tiny.engine()

    def encode(text: str) -> list[int]:
        read.append(len(text))
        return engine.encode(text)

    with pytest.raises(ContextOverflowError, match="shorten it"):
        check_length(context(HUGE), encode, engine.window)
    assert sum(read) < 2 * PIECE


def test_counting_hears_a_cancellation() -> None:
    """A request that is cancelled while it is counted ends after the piece at hand."""
    cancelled = threading.Event()
    read: list[int] = []

    def encode(text: str) -> list[int]:
        read.append(len(text))
        cancelled.set()
        return []

    with pytest.raises(Cancelled):
        check_length(context(HUGE, cancelled), encode, 10**9)
    assert len(read) == 1


def test_what_fits_is_never_refused() -> None:
    """Law: cuts do not make a text longer than it is, however often one falls inside a token."""
    engine = tiny.engine()
    for size in (1, 3, CUT, 100):
        text = "there in the thin\n\nthing\n\n" * 40
        check_length(context(text), engine.encode, len(engine.encode(text)), large=0, piece=size)


def test_a_router_refuses_it_and_counts_it() -> None:
    """Through the router: refused at once as a request, counted in full by `count_tokens`."""
    router = tiny.router()
    text = "no end of words. " * (LARGE // 16)
    with pytest.raises(ContextOverflowError):
        router.generate(text)
    assert router.count_tokens(text) > router.window
