"""The report of a run: spots are where the figures say, names do not overlap, and a browser has no complaint."""

import importlib.util
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scripts import question, router
from glimp_core.bench import Ledger, parse, run, summarise
from glimp_core.bench.frontier import BOTTOM, HEIGHT, TOP, TRACED, frontier, results_page, round_ticks

SHARE = st.floats(0, 1)


def row(at: int, accuracy: float, seconds: float) -> dict[str, Any]:
    return {
        "method": f"glimp@{at}", "value": 1.0, "accuracy": accuracy, "interval": [0.0, 1.0],
        "seconds": seconds, "spread": [seconds, 2 * seconds],
    }  # fmt: skip


@given(st.lists(st.tuples(SHARE, st.floats(0.001, 1e4)), min_size=1, max_size=24))
def test_spots_are_in_the_order_of_their_figures(figures: list[tuple[float, float]]) -> None:
    """Further right is slower, higher is better, whiskers hold their spot, and names stand apart inside the picture."""
    drawn = frontier([row(at, *each) for at, each in enumerate(figures)], "", "seconds", "spread", "")
    by_name = {spot.name: spot for spot in drawn.spots}
    spots = [by_name[f"glimp@{at}"] for at in range(len(figures))]
    for one, (accuracy, seconds) in zip(spots, figures, strict=True):
        assert one.left <= one.x <= one.right <= drawn.across[-1][0]
        assert one.high <= one.y <= one.low
        for other, (accuracies, times) in zip(spots, figures, strict=True):
            assert not (accuracy > accuracies and one.y > other.y)
            assert not (seconds > times and one.x < other.x)
    heights = sorted(spot.text for spot in spots)
    step = (HEIGHT - TOP - BOTTOM) / max(16, len(spots))
    assert all(b - a > step - 0.2 for a, b in pairwise(heights))
    assert TOP - 0.1 <= heights[0] <= heights[-1] <= HEIGHT - BOTTOM + 0.1


@given(st.floats(1e-6, 1e6))
def test_ticks_are_few_and_reach_the_end(most: float) -> None:
    """Equal steps from 0, the last one at the highest figure or just over it."""
    ticks = round_ticks(most)
    assert 3 <= len(ticks) <= 7
    assert ticks[0] == 0
    assert ticks[-2] < most * (1 + 1e-6)
    assert ticks[-1] >= most * (1 - 1e-6)


def made(text: str = "?", n: int = 2, traced: int = TRACED) -> str:
    questions, ledger = [replace(question(str(at)), text=text) for at in range(n)], Ledger()
    methods = run(router(), parse("small,large,glimp"), questions, ledger)
    document = summarise(ledger, methods, questions) | {"set": text, "small": text, "large": "l", "command": text}
    return results_page(document, ledger, methods, questions, traced)


def test_what_is_too_long_is_left_out_and_said() -> None:
    """A page has so many characters of replies; the others are shown by their answers, and the page says how many."""
    assert "of 6 replies are shown by their answer alone" in made(traced=100)


def test_a_browser_opens_the_page_without_a_complaint(tmp_path: Path) -> None:
    """No word of a question becomes markup or script, and a link to a reply opens it."""
    path = Path(__file__).parents[1] / "trace" / "test_browser.py"
    spec = importlib.util.spec_from_file_location("trace_browser", path)
    assert spec
    assert spec.loader
    browser = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(browser)
    if browser.BROWSER is None:
        pytest.skip("there is no Chromium on this machine")
    html = made("</script><script>alert(1)</script><img src=x onerror=alert(2)>")
    html = html.replace("</body>", "<script>location.hash = '#q1-2'</script></body>")
    dom, said = browser.opened(tmp_path / "r.html", html)
    assert said == []
    assert dom.find("img") == []
    opened = {element.attributes.get("id") for element in dom.find("details") if "open" in element.attributes}
    assert {"q1", "q1-2"} <= opened
