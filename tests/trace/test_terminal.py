"""What the terminal shows of replies and traces."""

import io
import math
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from glimp_core import EntropyThreshold
from glimp_core.trace import Overview, console, replay
from glimp_core.views.columns import seconds
from recordings import recorded

STEPS = ((0.1, "Two and two.\n\n"), (2.0, "So it is four.\n\n"), (0.5, "Check it.\n\n"), (1.5, "Four."))

TURNS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def shown(renderable: Any, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_every_step_is_a_line() -> None:
    """Number, writer, entropy, tokens and the beginning of the text stand in one line a step."""
    lines = shown(recorded(*STEPS).completion).splitlines()
    for index, (entropy, text) in enumerate(STEPS):
        (line,) = [line for line in lines if text.strip() in line]
        assert line.split()[1:4] == [str(index), "large" if entropy > 1 else "small", f"{entropy:.2f}"]
        assert str(len(text)) in line.split()
    assert any("large (answer)" in line and "It is 4." in line for line in lines)
    assert "intervention rate 50% (2 of 4 routed steps)" in lines[-2]
    assert "(estimate)" in lines[-1]


def test_long_text_stays_in_its_line() -> None:
    """On a narrow terminal a step is still one line."""
    run = recorded((0.1, "word " * 200))
    assert len(shown(run.completion, 60).splitlines()) == len(shown(recorded((0.1, "x")).completion, 60).splitlines())


@given(st.text(max_size=30))
def test_no_text_talks_to_the_terminal(text: str) -> None:
    """No control character of a question, a model or an error is printed, nor one that turns text around."""
    run = recorded((0.1, text), question=text, broken="EngineError")
    out = shown(console.run(run)) + shown(console.overview([run, recorded(question=text)]))
    assert {unicodedata.category(character) for character in out.replace("\n", "")}.isdisjoint({"Cc", "Cs", "Zl", "Zp"})
    assert {unicodedata.bidirectional(character) for character in out}.isdisjoint(TURNS)


def test_a_step_without_a_word_says_what_it_did() -> None:
    """A step that only closed the thinking says so; where no text was recorded, that is said."""
    assert "(ends with a paragraph break)" in shown(recorded((0.1, "x"), (0.1, "")).completion)
    out = shown(recorded((0.1, ""), answer="").completion)
    assert out.count("(not recorded)") == 2


def test_a_run_tells_what_was_asked_of_whom() -> None:
    """Question, models and policy stand over the steps, and how it broke off under them."""
    out = shown(console.run(recorded(*STEPS, broken="EngineError")))
    assert out.startswith("2+2?\n2026-01-02 03:04:05  tiny + big\nEntropyThreshold(threshold=1.0")
    assert out.rstrip().endswith("broken off: EngineError: out of memory")


def test_many_runs_are_one_table() -> None:
    """Slowest first, with the number that --run takes, and the sums over all."""
    runs = [recorded(*STEPS, question=f"q{n}", pace=pace) for n, pace in enumerate((0.01, 0.03, 0.02), 1)]
    out = shown(console.overview(runs))
    rows = [(line.split()[0], line.split()[-1]) for line in out.splitlines() if line.split()[-1:] > ["q0"]]
    assert rows[-3:] == [("2", "q2"), ("3", "q3"), ("1", "q1")]
    assert "3 requests; large model: 50.0% of 12 routed steps" in out


def test_a_long_question_leaves_room_for_the_figures() -> None:
    """The question is cut, the figures before it are not."""
    out = shown(console.overview([recorded(*STEPS, question="word " * 50, pace=pace) for pace in (0.01, 0.03)]), 60)
    assert [line.split()[1:4] for line in out.splitlines() if "word" in line] == [["5", "50%", "54%"]] * 2


def test_replays_say_what_is_exact() -> None:
    """An estimate has bounds and its name, an exact replay neither."""
    done = recorded(*STEPS).completion
    out = shown(console.replays([(f"{t:g}", replay(done, EntropyThreshold(t))) for t in (1.0, 0.3)]))
    same, other = out.splitlines()[1:3]
    assert same.split() == ["1", "50%", "54%", "1.7", "s", "exact"]
    assert "50% and 75%" in other
    assert other.rstrip().endswith("estimate")


FINITE = st.lists(st.floats(0, 5), min_size=1, max_size=40)


@given(FINITE, st.floats(0, 5))
def test_the_overview_is_the_sum(entropies: list[float], threshold: float) -> None:
    """Every glimpse is in one bin that holds its entropy, under its decision."""
    runs = [recorded(*((h, "x") for h in entropies), threshold=threshold) for _ in range(2)]
    told = Overview.of(runs)
    over = sum(h > threshold for h in entropies)
    assert sum(bin.intervened for bin in told.histogram) == told.interventions == 2 * over
    assert sum(bin.delegated for bin in told.histogram) == 2 * (len(entropies) - over)
    assert math.isclose(told.histogram[-1].high, max(*entropies, 1e-9), rel_tol=1e-9)
    assert all(bin.low < bin.high for bin in told.histogram)
    assert (told.requests, told.finished, told.routed_steps) == (2, 2, 2 * len(entropies))


def test_the_median_is_the_middle() -> None:
    """Of an odd number the middle one, of an even number the mean of the two middle ones."""
    runs = [recorded((0.1, "x"), pace=pace, answer="") for pace in (0.1, 0.4, 0.2, 0.9)]
    assert Overview.of(runs[:3]).median_seconds == pytest.approx(0.4)
    assert Overview.of(runs).median_seconds == pytest.approx(0.6)


@pytest.mark.parametrize(
    ("value", "words"), [(0.00042, "0.4 ms"), (0.042, "42 ms"), (0.9996, "1.0 s"), (4.2, "4.2 s"), (420.0, "420 s")]
)
def test_times_are_short(value: float, words: str) -> None:
    """Two digits and a unit."""
    assert seconds(value) == words
