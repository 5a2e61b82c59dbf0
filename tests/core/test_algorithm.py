"""The routing itself, on scripted models: who writes what, and when it ends."""

import math

import pytest

from glimp_core import AlwaysLarge, AlwaysSmall, Completion, EntropyThreshold, GlimpRouter, RouterConfig, SamplingParams
from pairs import ENTROPIES, STEPS, ChunkEngine, pieces, scripted_router


def writers(done: Completion) -> list[str]:
    return [step.engine for step in done.steps]


def test_each_step_is_written_by_the_model_its_own_entropy_names() -> None:
    """A step is delegated when its H_init is within the threshold and the large model's when it is over."""
    done = scripted_router(policy=EntropyThreshold(1.0)).generate("2+2?")
    assert writers(done) == ["small", "large", "small", "large", "large"]
    assert [step.entropy for step in done.steps] == [*ENTROPIES, None]


@pytest.mark.parametrize("policy", [EntropyThreshold(0.0), AlwaysLarge()])
def test_threshold_zero_is_the_large_model_alone(policy: EntropyThreshold | AlwaysLarge) -> None:
    """Threshold 0 with positive entropies: the large model writes every step."""
    assert writers(scripted_router(policy=policy).generate("2+2?")) == ["large"] * 5


@pytest.mark.parametrize("policy", [EntropyThreshold(math.inf), AlwaysSmall()])
def test_threshold_infinity_is_the_small_model_but_for_the_answer(policy: EntropyThreshold | AlwaysSmall) -> None:
    """Threshold infinity: the small model writes all the thinking, the large one the answer."""
    assert writers(scripted_router(policy=policy).generate("2+2?")) == ["small"] * 4 + ["large"]


@pytest.mark.parametrize(("on_tie", "writer"), [(False, "small"), (True, "large")])
def test_tie(on_tie: bool, writer: str) -> None:
    """H_init equal to the threshold delegates in the paper and intervenes in the authors' code."""
    policy = EntropyThreshold(1.0, on_tie=on_tie)
    assert writers(scripted_router(["A.</think>"], [1.0], policy=policy).generate("?"))[0] == writer


def test_paper_code_preset_intervenes_on_ties_of_the_top20_entropy() -> None:
    """`paper_code()` reaches the glimpse and the default policy."""
    done = scripted_router(["A.</think>"], [1.0], config=RouterConfig.paper_code()).generate("?")
    assert writers(done)[0] == "large"
    assert done.routed[0].glimpse.definition == "top20"


@pytest.mark.parametrize("by", ["large", "small"])
def test_answer_by(by: str) -> None:
    """The configured model writes the answer, in one piece and without a glimpse."""
    done = scripted_router(config=RouterConfig(answer_by=by)).generate("?")  # type: ignore[arg-type]
    assert (done.steps[-1].engine, done.steps[-1].phase, len(done.routed)) == (by, "answer", len(STEPS))


def test_routed_answer_is_glimpsed_at_too() -> None:
    """With answer_by="routed" every step of the reply has its own glimpse, the answer's too."""
    small = ChunkEngine(
        pieces("think", "close"), pieces("One.\n\n", "break"), pieces("Two.", "eos"), entropies=[0, 2, 0]
    )
    large = ChunkEngine(*small.calls)
    done = GlimpRouter(small, large, config=RouterConfig(answer_by="routed")).generate("?")
    assert [(step.phase, step.engine) for step in done.steps] == [
        ("thinking", "small"), ("answer", "large"), ("answer", "small"),
    ]  # fmt: skip
    assert (done.reasoning, done.answer) == ("think", "One.\n\nTwo.")


def test_glimpse_comes_before_each_routed_step_and_at_no_other_time() -> None:
    """The small model glimpses once a routed step, at the chain as it then stands."""
    router = scripted_router()
    router.generate("?")
    glimpses = [text for call, text in router.small.history if call == "glimpse"]  # type: ignore[attr-defined]
    written = ["".join(STEPS[:n]) for n in range(len(STEPS))]
    assert glimpses == written


def test_end_of_sequence_inside_thinking_still_gets_an_answer() -> None:
    """A model that ends its turn while it thinks leaves the answer to be written: never an empty reply."""
    calls = [pieces("I am done", "eos"), pieces("4.", "eos")]
    done = GlimpRouter(ChunkEngine(*calls), ChunkEngine(*calls)).generate("?")
    assert (done.reasoning, done.answer, done.finish.thinking_end) == ("I am done", "4.", "eos")


@pytest.mark.parametrize(
    ("steps", "kept"),
    [(["A\n\n", "A\n\n", "B\n\n"], 2), (["A\n\n", "B\n\n", "A\n\n", "B\n\n", "C\n\n"], 4)],
)
def test_repetition_ends_the_thinking(steps: list[str], kept: int) -> None:
    """A A and A B A B end the thinking with the reason recorded, and the answer follows."""
    done = scripted_router(steps).generate("?")
    assert done.reasoning == "".join(steps[:kept])
    assert (done.finish.thinking_end, done.answer) == ("repetition", "It is 4.")


def test_reasoning_budget_ends_the_thinking_and_not_the_reply() -> None:
    """The thinking never takes more than its budget, and the answer is still written."""
    done = scripted_router(config=RouterConfig(max_reasoning_tokens=20)).generate("?")
    assert (done.usage.reasoning_tokens, done.finish.thinking_end) == (20, "budget")
    assert (done.answer, done.finish_reason) == ("It is 4.", "stop")


def test_a_long_step_is_cut_and_its_rest_is_glimpsed_at_anew() -> None:
    """A step never passes max_step_tokens; what follows is a new step with a glimpse of its own."""
    calls = [[("x", None)] * 5 + [("", "length")], pieces("y", "close"), pieces("4", "eos")]
    router = GlimpRouter(ChunkEngine(*calls), ChunkEngine(*calls), config=RouterConfig(max_step_tokens=6))  # type: ignore[arg-type]
    done = router.generate("?")
    assert [(step.tokens, step.end) for step in done.steps] == [(6, "length"), (2, "close"), (2, "eos")]
    assert len(done.routed) == 2


def test_inline_routes_the_visible_reply() -> None:
    """reasoning="inline" routes the reply itself, which is all answer and no reasoning."""
    steps = ["One.\n\n", "Two."]
    done = scripted_router(steps, [0.1, 2.0, 0.0], thinking="none", config=RouterConfig(reasoning="inline")).generate(
        "?"
    )
    assert (done.reasoning, done.answer) == ("", "One.\n\nTwo.")
    assert [(step.phase, step.engine) for step in done.steps] == [
        ("inline", "small"), ("inline", "large"), ("inline", "small"),
    ]  # fmt: skip
    assert (done.start.mode, done.finish_reason) == ("inline", "stop")


def test_inline_reply_that_goes_in_circles_is_finished_by_the_large_model() -> None:
    """A visible reply that repeats itself is ended by one answer of the large model."""
    config = RouterConfig(reasoning="inline")
    done = scripted_router(["A.\n\n", "A.\n\n", "A.\n\n"], [0.0], "End.", thinking="none", config=config).generate("?")
    assert done.answer == "A.\n\nA.\n\nEnd."
    assert (done.steps[-1].engine, done.steps[-1].phase) == ("large", "answer")


def test_max_tokens_bounds_the_visible_reply_inline() -> None:
    """max_tokens holds for the whole inline reply, and a reply that it cut says so."""
    for limit in (3, 6, 9):
        router = scripted_router(
            ["One.\n\n", "Two.\n\n", "End"], [0.0], thinking="none", config=RouterConfig(reasoning="inline")
        )
        done = router.generate("?", sampling=SamplingParams(max_tokens=limit))
        assert (done.usage.completion_tokens, done.finish_reason) == (limit, "length")
