"""Figures of a run: they are what counting by hand gives, and their intervals hold what they should."""

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.scripts import STEPS, question, router
from glimp_core.bench import Bootstrap, Ledger, Method, Record, answer, parse, run, summarise, table
from glimp_core.bootstrap import mean, ratio


def records(name: str, correct: str, seconds: float = 1.0) -> list[Record]:
    """Records of a method that is right where `correct` has a 1."""
    made = answer(router(), Method("glimp", 1.0), question())
    return [
        replace(
            made,
            method=name,
            value=None,
            question=str(at),
            asked=question(str(at)).digest,
            correct=right == "1",
            seconds=seconds,
        )
        for at, right in enumerate(correct)
    ]


def summary(**correct: str) -> dict[str, object]:
    ledger, n = Ledger(), len(next(iter(correct.values())))
    for at, (name, rights) in enumerate(correct.items(), 1):
        for record in records(name, rights, seconds=at):
            ledger.add(record)
    return summarise(ledger, [Method(name) for name in correct], [question(str(at)) for at in range(n)])


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 5))
def test_an_interval_holds_the_figure_it_belongs_to(values: list[bool], seed: int) -> None:
    """The mean of the sample lies in its own interval, which lies between 0 and 1."""
    statistic = mean([float(value) for value in values])
    low, high = Bootstrap(len(values), seed, rounds=200).interval(statistic)
    assert 0 <= low <= statistic(range(len(values))) <= high <= 1


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    """Of 200 samples of 60 coin tosses, the 95 % interval holds the coin's bias in 90 to 99 %."""
    rng = random.Random(1)
    samples = [[float(rng.random() < 0.7) for _ in range(60)] for _ in range(200)]
    ends = [Bootstrap(60, seed, rounds=300).interval(mean(sample)) for seed, sample in enumerate(samples)]
    assert 0.90 <= sum(low <= 0.7 <= high for low, high in ends) / len(ends) <= 0.99


def test_a_ratio_is_of_sums() -> None:
    """A rate of steps weighs questions by their steps; where there are none it is not a number."""
    assert ratio([1, 3], [2, 8])([0, 1]) == 0.4
    assert math.isnan(ratio([0.0], [0.0])([0]))
    assert all(map(math.isnan, Bootstrap(1, rounds=5).interval(ratio([0.0], [0.0]))))


def test_figures_are_those_of_counting() -> None:
    """Accuracy, rate, share, tokens and seconds of a scripted run, by hand."""
    ledger, questions = Ledger(), [question(str(at), expected="4" if at else "5") for at in range(4)]
    methods = run(router(), parse("small,large,glimp"), questions, ledger)
    small, large, glimp = summarise(ledger, methods, questions)["methods"]
    tokens = [*map(len, STEPS[:3]), len("Four.") + 1, len("4") + 1]  # a tag, or the end of a reply, is a token
    assert [row["accuracy"] for row in (small, large, glimp)] == [0.75] * 3
    assert (glimp["intervention_rate"], glimp["intervention_rate_interval"]) == (0.5, [0.5, 0.5])
    assert glimp["large_token_share"] == round((tokens[1] + tokens[3] + tokens[4]) / sum(tokens), 4)
    assert glimp["tokens_per_question"] == sum(tokens)
    assert (small["large_token_share"], large["large_token_share"]) == (0, 1)
    assert glimp["seconds_per_question"] > 0
    assert glimp["gap_closed"] is None, "there is no gap"


def test_differences_are_paired() -> None:
    """Two methods that are right on the same questions differ by exactly 0, however uncertain each is."""
    same = summary(glimp="1100", random="1100")["comparisons"]
    assert same == [
        {
            "method": "glimp", "against": "random", "accuracy_difference": 0.0, "interval": [0.0, 0.0],
            "seconds_ratio": 0.5, "seconds_ratio_interval": [0.5, 0.5],
        }
    ]  # fmt: skip
    (other,) = summary(glimp="1100", random="0011")["comparisons"]  # type: ignore[misc]
    assert other["interval"][0] < 0 < other["interval"][1]


def test_the_gap_that_is_closed() -> None:
    """0 for the small model, 1 for the large one, and between them as far as the accuracy has come."""
    rows = summary(small="1000000000", large="1111111110", glimp="1111110000")["methods"]
    assert [row["gap_closed"] for row in rows] == [0.0, 1.0, 0.625]
    assert rows[2]["gap_closed_interval"][0] < 0.625 < rows[2]["gap_closed_interval"][1]


def test_the_table_has_a_row_for_each_method() -> None:
    """Names are shown with the number that a method was run with."""
    assert table(summary(glimp="10", random="01")).row_count == 2


@pytest.mark.parametrize("seed", [0, 3])
def test_the_same_seed_gives_the_same_intervals(seed: int) -> None:
    """Figures can be repeated from the file of a run."""
    values = mean([0.0, 1.0, 1.0, 0.0, 1.0])
    assert Bootstrap(5, seed).interval(values) == Bootstrap(5, seed).interval(values)
