"""One request's context: it is the chain as written, and it lets go of what it holds."""

import pytest

from glimp_core import Context, Request
from glimp_core.context import Span, ThinkingClosed


def context() -> Context:
    return Context(Request(({"role": "user", "content": "?"},)))


def test_text_is_what_was_written() -> None:
    """The chain's text joins the spans, and closing the thinking adds none."""
    chain = context()
    for link in (Span("A\n\n", (1,), "v"), ThinkingClosed(written=True), Span("B", (2,), "v")):
        chain.append(link)
    assert chain.text == "A\n\nB"


@pytest.mark.parametrize("fails", [False, True])
def test_leaving_releases_everything_once_in_reverse_order(fails: bool) -> None:
    """However a request ends, what was registered last is released first, and only once."""
    released: list[int] = []
    chain = context()
    chain.engine_state["engine"] = object()
    for number in (1, 2, 3):
        chain.on_close(lambda number=number: released.append(number))  # type: ignore[misc]
    for _ in range(2):
        try:
            with chain:
                if fails:
                    raise RuntimeError
        except RuntimeError:
            assert fails
    assert (released, chain.engine_state) == ([3, 2, 1], {})


def test_what_comes_too_late_is_released_at_once() -> None:
    """Law: a lease that is taken while the request ends is given back."""
    released: list[str] = []
    with context() as closing:
        closing.on_close(lambda: released.append("in time"))
    closing.on_close(lambda: released.append("late"))
    assert released == ["in time", "late"]
