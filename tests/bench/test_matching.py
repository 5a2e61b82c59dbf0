"""Numbers for methods, chosen so that each intervenes at one rate, on questions that are not graded."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scripts import ENTROPIES, STEPS, Sure, question, router
from glimp_core import ConfigError
from glimp_core.bench import KINDS, Ledger, Matching, Method, Record, answer, parse
from glimp_core.bench.matching import number
from glimp_core.bench.runner import Running
from glimp_core.testing import ScriptedEngine

MADE = answer(router(), Method("glimp", 1.0), question())
QUESTIONS = [question(str(at)) for at in range(3)]


def decided(signal: str, values: list[float]) -> list[Record]:
    """Records of steps that showed `values`."""
    return [replace(MADE, decisions=tuple({"intervene": False, signal: value} for value in values))]


SOME = st.lists(st.floats(0.001, 5, allow_subnormal=False).map(lambda v: round(v, 3)), min_size=1, unique=True)


@settings(max_examples=60, deadline=None)
@given(SOME, st.floats(0.05, 0.95))
@pytest.mark.parametrize(("name", "over"), [("glimp", True), ("h-step", True), ("margin", False)])
def test_a_number_gives_the_rate_on_the_steps_it_was_chosen_on(
    name: str, over: bool, values: list[float], rate: float
) -> None:
    """Over or under it lies the share of the steps that was asked for, to the nearest step."""
    values = values if over else [round(value / 6, 5) for value in values]  # a margin is a difference of probabilities
    chosen = number(name, decided(KINDS[name].signal, values), rate)
    beyond = sum(value > chosen if over else value < chosen for value in values)
    assert abs(beyond - rate * len(values)) <= 0.5 + 1e-9


def test_priming_takes_its_share_of_the_steps_of_a_reply() -> None:
    """Half of four steps are two."""
    assert number("priming", decided("entropy", [0.1, 0.2, 0.3, 0.4]), 0.5) == 2


def settled(methods: str, rates: tuple[float, ...] = (0.5,)) -> list[Method]:
    measures = ((0.1, 0.1), (0.4, 0.4), (0.2, 0.2), (0.3, 0.3))
    small = Sure(*measures, steps=STEPS, entropies=ENTROPIES, name="small")
    matching = Matching(QUESTIONS, rates)
    return matching.settled(parse(methods), Running(router(small), matching.questions, Ledger()))


def test_every_method_gets_a_number_of_its_own() -> None:
    """Half of the steps of the script lie beyond each; what has a published number, or none, stays as it is."""
    methods = {m.name: m.value for m in settled("small,glimp,glimp-draft,h-step,ppl-step,specreason,random,priming")}
    ranked = sorted(ENTROPIES)
    assert ranked[1] < methods["glimp"] < ranked[2]  # type: ignore[operator]
    assert methods["glimp-draft"] == methods["glimp"]
    assert 0.2 < methods["h-step"] < 0.3  # type: ignore[operator]
    assert methods["priming"] == 2
    assert methods["small"] is methods["random"] is methods["specreason"] is None


def test_glimp_is_there_at_every_rate_and_its_first_stays_first() -> None:
    """The other rates follow as methods of their own; a number that was given is not touched."""
    methods = settled("glimp,large,margin@0.2", (0.5, 0.25, 0.75))
    assert [method.name for method in methods] == ["glimp", "large", "margin", "glimp", "glimp"]
    assert methods[3].value > methods[0].value > methods[4].value  # type: ignore[operator]
    assert methods[2].value == 0.2
    assert len({method.label for method in methods}) == 5


def test_a_pair_that_routes_nothing_is_refused() -> None:
    """There is nothing to choose a number by."""
    engines = [ScriptedEngine(answer="4", thinking="none", name=role) for role in ("small", "large")]
    with pytest.raises(ConfigError, match="routes nothing"):
        Matching(QUESTIONS).settled(parse("glimp"), Running(router(*engines), QUESTIONS, Ledger()))
