"""Stop strings: found wherever tokens end, never shown, never looked for in the thinking."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glimp_core import GlimpRouter, RouterConfig, SamplingParams
from glimp_core.stopping import StopMatcher
from pairs import ChunkEngine, pieces, scripted_router

LETTERS = st.text("ab", max_size=12)


def cut(text: str, stop: list[str]) -> tuple[str, bool]:
    """The definition: up to the stop string that is the first to be complete."""
    for end in range(1, len(text) + 1):
        complete = [len(s) for s in stop if text[:end].endswith(s)]
        if complete:
            return text[: end - max(complete)], True
    return text, False


@given(st.lists(LETTERS, max_size=6), st.lists(st.text("ab", min_size=1, max_size=4), max_size=3))
def test_any_chunking_is_the_cut_of_the_whole(chunks: list[str], stop: list[str]) -> None:
    """Whatever the chunks, the text shown is the whole text cut where a stop string is first complete."""
    matcher, shown = StopMatcher(stop), ""
    for chunk in chunks:
        shown += matcher.push(chunk)
        if matcher.matched:
            break
    else:
        shown += matcher.flush()
    assert (shown, matcher.matched is not None) == cut("".join(chunks), stop)


@given(st.lists(LETTERS, max_size=6))
def test_nothing_is_held_back_that_cannot_become_a_stop_string(chunks: list[str]) -> None:
    """What is held back is always the beginning of a stop string."""
    matcher, shown, whole = StopMatcher(["aab"]), "", ""
    for chunk in chunks:
        shown, whole = shown + matcher.push(chunk), whole + chunk
        if matcher.matched:
            return
        assert whole.startswith(shown)
        assert "aab".startswith(whole[len(shown) :])


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_a_stop_string_across_tokens_ends_the_answer(size: int) -> None:
    """The answer ends before the stop string however the tokens cut it, and the model is stopped."""
    calls = [pieces("thought", "close"), pieces("It is 4. END of it", "eos", size)]
    large = ChunkEngine(*calls)
    done = GlimpRouter(ChunkEngine(*calls), large).generate("?", sampling=SamplingParams(stop=("END",)))
    assert (done.answer, done.finish_reason, done.steps[-1].end) == ("It is 4. ", "stop", "stop")
    assert (large.closed, large.written < len(calls[1])) == (1, True)


def test_a_stop_string_across_two_inline_steps() -> None:
    """In an inline reply a stop string may begin in one model's step and end in the other's."""
    router = scripted_router(
        ["One\n\n", "Two and more"], [0.0, 2.0], thinking="none", config=RouterConfig(reasoning="inline")
    )
    done = router.generate("?", sampling=SamplingParams(stop=("\n\nTwo",)))
    assert (done.answer, done.finish_reason) == ("One", "stop")
    assert done.answer == "".join(step.text for step in done.steps)


def test_stop_strings_are_not_looked_for_in_the_thinking() -> None:
    """A stop string inside the chain of thought stops nothing."""
    done = scripted_router().generate("?", sampling=SamplingParams(stop=("four", "is 4")))
    assert "four" in done.reasoning
    assert done.answer == "It "


def test_a_text_that_only_begins_a_stop_string_is_shown_whole() -> None:
    """What was held back for a stop string that never came is shown at the end."""
    done = scripted_router(answer="The EN").generate("?", sampling=SamplingParams(stop=("END",)))
    assert done.answer == "The EN" == done.steps[-1].text


def test_empty_stop_strings_are_ignored() -> None:
    """An empty stop string stops nothing; a lone string is a list of one."""
    assert SamplingParams(stop=("",)).stop == ()
    assert SamplingParams(stop="END").stop == ("END",)  # type: ignore[arg-type]


def test_long_stop_strings_cost_what_short_ones_do() -> None:
    """Law: the steps of the automaton for a text are bounded by twice its length, however long the stop strings."""

    class Counting(StopMatcher):
        looks = 0

        def _step(self, node: int, character: str) -> int:
            self.looks += 1
            return super()._step(node, character)

    matcher = Counting(["a" + "b" * 5000, *(f"stop number {n}" for n in range(500))])
    matcher.looks, text = 0, "ab" * 200 + "stop number is"
    shown = "".join(map(matcher.push, text)) + matcher.flush()
    assert (shown, matcher.looks) == (text, len(text))
