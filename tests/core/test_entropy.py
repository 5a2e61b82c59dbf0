"""Entropy in nats, of a whole distribution and of its top."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimp_core.entropy import TokenMeasure, entropy, paper_code_entropy, top_entropy

WEIGHTS = st.lists(st.floats(0.001, 100), min_size=1, max_size=40)


def logs(weights: list[float]) -> list[float]:
    return [math.log(weight / math.fsum(weights)) for weight in weights]


@given(WEIGHTS)
def test_entropy_lies_between_zero_and_that_of_the_uniform(weights: list[float]) -> None:
    """0 <= H <= ln n."""
    assert -1e-9 <= entropy(logs(weights)) <= math.log(len(weights)) + 1e-9


@given(st.integers(1, 1000))
def test_entropy_of_the_uniform(n: int) -> None:
    """The uniform distribution has ln n nats."""
    assert entropy([-math.log(n)] * n) == pytest.approx(math.log(n))


@given(WEIGHTS, st.floats(-5, 0))
def test_top_entropy_knows_only_ratios(weights: list[float], shift: float) -> None:
    """Renormalised: what share of the whole the top holds does not matter, and of a whole it is the entropy."""
    assert top_entropy([lp + shift for lp in logs(weights)]) == pytest.approx(entropy(logs(weights)), abs=1e-9)


def test_impossible_tokens_add_nothing() -> None:
    """A probability of zero contributes zero, and certainty has no entropy."""
    assert entropy([0.0, -math.inf]) == 0.0 == top_entropy([-3.0, -math.inf])
    assert math.copysign(1, entropy([0.0])) == 1


@given(WEIGHTS)
def test_the_paper_codes_entropy_of_different_texts_is_that_of_the_top(weights: list[float]) -> None:
    """Where no two ids share a text, keying by text changes nothing."""
    top = sorted(logs(weights), reverse=True)
    assert paper_code_entropy((str(at), lp) for at, lp in enumerate(top)) == pytest.approx(top_entropy(top))


def test_the_paper_codes_entropy_knows_a_text_once() -> None:
    """Of ids that share a text the last one, the least likely, stands for all of them."""
    top = [(text, math.log(p)) for text, p in (("\ufffd", 0.4), ("a", 0.3), ("\ufffd", 0.1))]
    assert paper_code_entropy(top) == pytest.approx(top_entropy([math.log(0.3), math.log(0.1)]))


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), max_size=9))
def test_measures_add_up(pairs: list[tuple[float, float]]) -> None:
    """The measure of many tokens is the sum of those of each."""
    total = sum((TokenMeasure(*pair) for pair in pairs), TokenMeasure())
    assert total.entropy == pytest.approx(math.fsum(entropy for entropy, _ in pairs))
    assert total.surprisal == pytest.approx(math.fsum(surprisal for _, surprisal in pairs))
