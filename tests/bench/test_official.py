"""The loop of the authors' code: against its rules as told here again, and against a published run."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scripts import Parting, question, router, wrote
from glimp_core import Context
from glimp_core.bench import Method, answer
from glimp_core.bench.official import cut
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Chunk, GenerationParams

TRACE = json.loads((Path(__file__).parent / "published_trace.json").read_text())


def their_loop(
    steps: Sequence[str], scores: Sequence[float], threshold: float, budget: int
) -> tuple[list[bool], str, list[str]]:
    """Who writes each step (True: the large model), why the thinking ends, and the steps; a character is a token."""
    wrote, so_far, tokens = [], [], 0
    for index in range(10**6):
        text = steps[index] if index < len(steps) else "</think>"
        wrote.append(index > 0 and scores[min(index, len(scores) - 1)] >= threshold)
        written = text.removesuffix("</think>")
        tokens += len(written) + text.endswith("</think>")
        so_far.append(written.removesuffix("\n\n"))
        finished = text.endswith("</think>") or (len(so_far) > 2 and so_far[-1] == so_far[-2])
        if tokens >= budget:
            return wrote, "budget", so_far
        if finished:
            return wrote, "close" if text.endswith("</think>") else "repetition", so_far
    raise AssertionError


def ours(
    steps: Sequence[str], scores: Sequence[float], threshold: float, budget: int
) -> tuple[list[bool], str, Parting]:
    small = Parting(steps=steps, answer="4", entropies=scores, name="small")
    large = Parting(steps=steps, answer="4", name="large")
    pair = router(small, large, max_reasoning_tokens=budget)
    record = answer(pair, Method("official", threshold), question())
    assert record.error is None
    return wrote(record), str(record.thinking_end), large


TEXTS = st.lists(st.sampled_from(["A.\n\n", "B.\n\n", "Longer step.\n\n"]), max_size=9)


@settings(max_examples=40, deadline=None)
@given(TEXTS, st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=1, max_size=9), st.integers(1, 60))
def test_a_run_ends_and_decides_by_their_rules(steps: list[str], scores: list[float], budget: int) -> None:
    """Writers, the reason of the end, and what the large model is shown for the answer, over any script and budget."""
    decided, reason, so_far = their_loop(steps, scores, 1.0, budget)
    found, why, large = ours(steps, scores, 1.0, budget)
    assert (found, why) == (decided, reason)
    texts = [text for text in so_far if text]
    assert large.seen[-1] == ("generate", (*(["\n\n".join(texts) + "\n\n"] if texts else []), "CLOSED"))


def test_a_published_run_of_theirs_is_repeated() -> None:
    """109 steps of a run of their code: with a threshold over ln 20 all by the small model, 3181 tokens, to the end."""
    steps = [f"{at:3}".ljust(tokens, ".")[:tokens] for at, tokens in enumerate(TRACE["tokens"])]
    steps = [f"{text[:-2]}\n\n" for text in steps[:-1]] + [f"{steps[-1][:-1]}</think>"]
    for threshold in (10.0, 1.8, 1.0):
        expected, reason, _ = their_loop(steps, TRACE["scores"], threshold, 8192)
        found, why, _ = ours(steps, TRACE["scores"], threshold, 8192)
        assert (found, why) == (expected, reason) == (expected, "close")
        assert len(found) == len(TRACE["scores"]) == 109
        assert sum(found) == sum(score >= threshold for score in TRACE["scores"][1:])
    assert sum(TRACE["tokens"]) == sum(map(len, steps)) - len("</think>") + 1


def test_the_opening_tag_is_what_their_first_glimpse_sees() -> None:
    """In the published run it measures nothing, so that the small model writes step 0 at every threshold."""
    assert TRACE["scores"][0] == 0
    found, _, _ = ours(["A.\n\n", "B.</think>"], [9.0], 1.0, 8192)
    assert found == [False, True]


def test_a_step_may_pass_the_budget() -> None:
    """It has as many tokens as any step; Glimp's own loop stops at the budget."""
    steps = ["A.\n\n", "x" * 100 + "\n\n", "B.</think>"]
    small, large = (Parting(steps=steps, answer="4", name=name) for name in ("small", "large"))
    record = answer(router(small, large, max_reasoning_tokens=10), Method("official", 1.0), question())
    assert record.thinking_end == "budget"
    assert record.small_tokens == len("A.\n\n") + 102


class Ending(Parting):
    """Ends every step with the end of the sequence."""

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        for chunk in super().generate(context, params):
            yield replace(chunk, end="eos") if chunk.end == "break" else chunk


def test_the_end_of_the_sequence_ends_nothing() -> None:
    """Inside the thinking their code does not look at why a step ended."""

    steps = ["A.\n\n", "B.\n\n", "C.</think>"]
    pair = router(Ending(steps=steps, answer="4", name="small"), ScriptedEngine(steps, "4", name="large"))
    assert len(wrote(answer(pair, Method("official", 9.0), question()))) == 3
    assert len(wrote(answer(pair, Method("glimp", 9.0), question()))) == 1


@pytest.mark.parametrize(
    ("text", "kept"), [("a\n\n\n", "a"), ("a\n\nb\n\n", "a"), ("\n\n a\n\n", "\n\n a"), ("a\n", "a\n")]
)
def test_a_step_is_cut_at_its_blank_line(text: str, kept: str) -> None:
    """As a server that stops there returns it."""
    assert cut(text) == kept
