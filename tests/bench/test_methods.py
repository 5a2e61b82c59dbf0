"""Methods by name, and what each of them does with a scripted pair."""

import math

import pytest

from bench.scripts import ENTROPIES, LENGTHS, STEPS, Sure, Watched, decisions, question, router, wrote
from glimp_core import ConfigError, ContextOverflowError, EngineError
from glimp_core.bench import KINDS, Method, answer, parse
from glimp_core.testing import ScriptedEngine


def test_names_come_with_numbers() -> None:
    """A list of methods is parted by commas, the numbers of one by slashes."""
    labels = [method.label for method in parse("small, glimp@0.1/0.30,random")]
    assert labels == ["small", "glimp@0.1", "glimp@0.3", "random"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("glipm", "did you mean 'glimp'"),
        ("glimp@x", "'x' is not a number"),
        ("small@1", "takes no number"),
        ("small,small", "only once"),
        (" ,", "at least one"),
    ],
)
def test_a_list_that_cannot_be_meant_is_refused(text: str, message: str) -> None:
    """Unknown names, wrong numbers and repetitions are errors that say so."""
    with pytest.raises(ConfigError, match=message):
        parse(text)


def test_numbers_are_filled_in() -> None:
    """glimp takes the run's threshold, random the rate of glimp; a given number stays."""
    assert Method("glimp").settled(0.3).value == 0.3
    assert Method("glimp", 0.7).settled(0.3).value == 0.7
    assert Method("random").settled(0.3, rate=0.25).value == 0.25
    assert Method("large").settled(0.3).value is None
    for name in ("random", "margin"):
        with pytest.raises(ConfigError, match=f"{name}@NUMBER"):
            Method(name).settled(0.3)


@pytest.mark.parametrize("name", ["small", "large"])
def test_alone_means_alone(name: str) -> None:
    """One model writes everything, the answer included, and the other one is not called."""
    pair = router()
    record = answer(pair, Method(name), question())
    called = {engine.name for engine in (pair.small, pair.large) if engine.history}  # type: ignore[attr-defined]
    assert called == {name}
    assert (record.correct, record.decisions) == (True, ())
    assert (record.small_tokens, record.large_tokens)[name == "large"] == record.tokens == sum(LENGTHS) + len("4") + 1


@pytest.mark.parametrize("threshold", [0.0, 0.5, 1.0, 3.0])
def test_glimp_intervenes_over_the_threshold(threshold: float) -> None:
    """The steps of the large model are those of a higher entropy; the answer is always its own."""
    record = answer(router(), Method("glimp", threshold), question())
    assert wrote(record) == [entropy > threshold for entropy in ENTROPIES]
    large = sum(length for length, entropy in zip(LENGTHS, ENTROPIES, strict=True) if entropy > threshold)
    assert record.large_tokens == large + len("4") + 1
    assert [decision["entropy"] for decision in record.decisions] == list(ENTROPIES)


def test_only_the_papers_code_intervenes_on_a_tie() -> None:
    """Both measure the top 20; glimp-top20 intervenes over the threshold, the schedule of the code also on it."""
    for name, intervenes in (("glimp-top20", False), ("paper-schedule", True)):
        small = ScriptedEngine(STEPS, "4", entropies=(0.5,), name="small")
        assert set(wrote(answer(router(small), Method(name, 0.5), question()))) == {intervenes}


def test_random_keeps_its_rate_over_many_questions() -> None:
    """Draws differ between questions, also at first steps that look alike."""
    records = [answer(router(), Method("random", 0.3), question(str(at))) for at in range(150)]
    for at in range(len(STEPS)):
        share = sum(wrote(record)[at] for record in records) / len(records)
        assert abs(share - 0.3) < 4 * math.sqrt(0.3 * 0.7 / len(records))


def test_margin_intervenes_under_the_lead() -> None:
    """Scripted glimpses have no lead at all, so every margin over 0 intervenes and one of 0 never does."""
    assert wrote(answer(router(), Method("margin", 0.1), question())) == [True] * 4
    assert wrote(answer(router(), Method("margin", 0.0), question())) == [False] * 4


def test_the_papers_schedule_renders_text_anew() -> None:
    """Each glimpse and each step is a request of its own, whose chain is one text with steps parted by blank lines."""
    small, large = (Watched(steps=["One.\n\n\n"] * 9, entropies=[0.0, 2.0], name=name) for name in ("s", "l"))
    answer(router(small, large), Method("paper-schedule", 1.0), question())
    assert small.seen[:3] == [("glimpse", ()), ("generate", ()), ("glimpse", ("One.\n\n",))]
    assert large.seen[0] == ("generate", ("One.\n\n",))
    assert large.seen[-1] == ("generate", ("One.\n\nOne.\n\n", "CLOSED"))


def test_the_papers_schedule_adds_no_line_for_a_tag_that_stands_alone() -> None:
    """A last step that is nothing but the closing tag leaves the text as it is."""
    small, large = (Watched(steps=["One.\n\n", "</think>"], name=name) for name in ("s", "l"))
    answer(router(small, large), Method("paper-schedule", 1.0), question())
    assert large.seen == [("generate", ("One.\n\n", "CLOSED"))]


def test_layout_is_not_a_word() -> None:
    """Steps that begin with a number or a mark are left to the small model by glimp-words."""
    assert decisions(Method("glimp-words", 0.0)) == [True, False, True, True, False]


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"large-draft", "glimp-draft"}))
def test_a_pair_that_does_not_think_is_left_to_the_large_model(name: str) -> None:
    """Without think tags nothing is routed by default, so every method but `small` is the large model alone."""
    engines = [ScriptedEngine(answer="4", thinking="none", name=role) for role in ("small", "large")]
    record = answer(router(*engines), Method(name, None if KINDS[name].value == "none" else 0.5), question())
    assert record.correct
    assert record.decisions == ()
    assert (record.small_tokens == 0) == (name != "small")


@pytest.mark.parametrize("name", ["small", "large", "glimp"])
def test_visible_steps_are_routed_inline(name: str) -> None:
    """Inline, the same methods share the visible reply, which is then the answer as a whole."""
    engines = [ScriptedEngine(("A.\n\n", "B."), entropies=(0.0, 2.0), thinking="none", name=n) for n in ("s", "l")]
    record = answer(
        router(*engines, reasoning="inline"), Method(name, None if name in ("small", "large") else 1.0), question()
    )
    assert record.answer == "A.\n\nB."
    assert wrote(record) == {"glimp": [False, True, True]}.get(name, [])


def test_a_chain_that_outgrows_the_window_is_a_wrong_answer() -> None:
    """One overlong question does not end an experiment: it counts as wrong and says why."""
    small = ScriptedEngine(STEPS, error=ContextOverflowError("the chain has 99 tokens"), error_at=3)
    record = answer(router(small), Method("small"), question())
    assert (record.correct, record.error) == (False, "the chain has 99 tokens")


NUMBERS = {"threshold": 0.2, "rate": 0.5, "own": 0.5, "none": None}


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"large-draft", "glimp-draft"}))
@pytest.mark.parametrize("fails_at", [0, 1])
def test_every_method_ends_when_the_large_model_fails(name: str, fails_at: int) -> None:
    """With on_large_failure="small" the small model writes the rest, by every method as by the router itself."""
    small = Sure((0.9, 0.9), steps=STEPS, answer="4", entropies=ENTROPIES, name="small")
    large = ScriptedEngine(STEPS, "4", error=EngineError("gone"), error_at=fails_at, name="large")
    record = answer(
        router(small, large, on_large_failure="small"), Method(name, NUMBERS[KINDS[name].value]), question()
    )
    assert (record.correct, record.error) == (True, None)
    assert record.small_tokens > 0
