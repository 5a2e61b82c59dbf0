"""Calibration on scripted pairs whose true rate at any threshold is known."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from glimp_core import ConfigError, Context, EntropyThreshold, GlimpRouter, Glimpse, RouterConfig, load_profile
from glimp_core.calibration import Goal, bundled_prompts, calibrate, calibrating, read_prompts
from glimp_core.calibration.prompts import FIRST_SEED
from glimp_core.context import Span
from glimp_core.pair import Pair
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Chunk, Entropy, GenerationParams

STEPS = 20


class Thinker(ScriptedEngine):
    """Draws each step's entropy from the question and the place, so that every request has its own.

    After an intervention entropies go down by `relief`, as when the large model sorts things out.
    """

    def __init__(self, name: str, relief: float = 1.0, pace: float = 0.0, **options: Any):
        super().__init__([f"{n:02}\n\n" for n in range(STEPS - 1)], "Done", name=name, **options)
        self.relief, self.pace, self.waited = relief, pace, 0.0

    def glimpse(self, context: Context, definition: Entropy = "full") -> Glimpse:
        """Show an entropy that is uniform between 0 and 1."""
        spans = [link for link in context.spans if isinstance(link, Span)]
        entropy = random.Random(f"{context.request.messages[-1]['content']}/{len(spans)}").random()
        helped = any(span.vocabulary == "characters of the large one" for span in spans)
        return replace(super().glimpse(context, definition), entropy=entropy * (self.relief if helped else 1.0))

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        """Write at a pace, on the clock of `waited`."""
        for chunk in super().generate(context, params):
            if self.pace and chunk.token_ids:
                self.waited += self.pace
            yield chunk


def pair(relief: float = 1.0, config: RouterConfig | None = None, pace: float = 0.0, **options: Any) -> GlimpRouter:
    small, large = Thinker("s", relief, **options), Thinker("l", relief, pace, **options)
    large.vocabulary = "characters of the large one"
    return GlimpRouter(small, large, config=config)


def questions(n: int, first: int = 0) -> list[str]:
    return [f"question {first + number}" for number in range(n)]


def true_rate(router: GlimpRouter, threshold: float) -> float:
    """The rate on fresh questions."""
    replies = [router.generate(text, policy=EntropyThreshold(threshold)) for text in questions(60, 10_000)]
    return sum(done.summary().intervention_rate for done in replies) / len(replies)


@pytest.mark.parametrize("rate", [0.1, 0.25, 0.5])
def test_the_rate_holds_on_fresh_questions(rate: float) -> None:
    """A threshold for a rate gives it within 0.05 on questions that were not used, and says what it measured."""
    router = pair()
    profile = calibrate(router, questions(30), Goal("rate", rate))
    assert abs(true_rate(router, profile.threshold) - rate) <= 0.05
    assert profile.threshold == pytest.approx(1 - rate, abs=0.06)
    assert abs(profile.measured_rate - rate) <= 0.1
    assert profile.measured_interval[0] <= profile.measured_rate <= profile.measured_interval[1]
    assert profile.interval[0] <= profile.threshold <= profile.interval[1]
    assert (profile.n, profile.checked, profile.steps, profile.target_rate) == (30, 10, 20 * STEPS, rate)


def test_a_pair_that_changes_course_is_calibrated_where_it_is() -> None:
    """Where interventions change what follows, the small model alone misleads; the routed rate is still met."""
    router = pair(relief=0.5)
    alone = calibrate(pair(relief=1.0), questions(30), Goal("rate", 0.3)).threshold
    assert abs(true_rate(router, alone) - 0.3) > 0.05
    profile = calibrate(router, questions(30), Goal("rate", 0.3))
    assert abs(true_rate(router, profile.threshold) - 0.3) <= 0.05


def asked_for(progress: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(step.what for step in progress))


def test_one_pass_is_enough_where_it_is() -> None:
    """A pair that keeps its course is asked once with the small model alone, and checked; another one again."""
    progress = list(calibrating(pair(), questions(30), Goal("rate", 0.25)))
    assert asked_for(progress) == ["small model alone", "large model's pace", "checking"]
    assert "routed run" in asked_for(list(calibrating(pair(relief=0.5), questions(30), Goal("rate", 0.3))))


def test_the_share_of_tokens_is_met() -> None:
    """A share counts the answer, which the large model writes anyway."""
    router = pair()
    profile = calibrate(router, questions(30), Goal("share", 0.4))
    policy = EntropyThreshold(profile.threshold)
    shares = [router.generate(text, policy=policy).summary().large_token_share for text in questions(60, 10_000)]
    assert abs(sum(shares) / len(shares) - 0.4) <= 0.05
    assert profile.target_rate is None


def test_a_time_is_met(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds a question come from both models' own pace; the clock is theirs, so that no busy machine matters."""
    router = pair(pace=0.001)
    thinkers = (router.small, router.large)
    for module in ("router", "chain"):
        monkeypatch.setattr(f"glimp_core.{module}.perf_counter", lambda: sum(each.waited for each in thinkers))
    slow = router.generate("?", policy=EntropyThreshold(0.0)).finish.seconds
    profile = calibrate(router, questions(12), Goal("seconds", 0.5 * slow))
    assert profile.measured_seconds == pytest.approx(0.5 * slow, rel=0.1)
    assert 0 < profile.measured_rate < 1


def test_a_calibration_is_repeatable() -> None:
    """The same pair, questions and goal give the same threshold and interval."""
    one, other = (calibrate(pair(), questions(12), Goal("rate", 0.25)) for _ in range(2))
    assert (one.threshold, one.interval) == (other.threshold, other.interval)


def test_the_profile_belongs_to_the_pair_and_its_entropy(tmp_path: Path) -> None:
    """The saved profile serves its pair, and no other one and no other entropy."""
    config = RouterConfig.paper_code()
    router = pair(config=config)
    calibrate(router, questions(6), Goal("rate", 0.25)).save(tmp_path / "p.json")
    policy = load_profile(tmp_path / "p.json")
    assert Pair(router.small, router.large).router(policy, config).generate("?").answer == "Done"
    with pytest.raises(ConfigError, match="top20"):
        pair().stream("?", policy=policy)
    with pytest.raises(ConfigError, match="calibrated on s"):
        GlimpRouter(router.large, router.small, policy, config)  # type: ignore[arg-type]


def test_the_curve_of_a_profile_has_few_points() -> None:
    """However many steps there were, the curve stays small and goes from none to all."""
    curve = calibrate(pair(), questions(30), Goal("rate", 0.25)).curve
    assert 20 <= len(curve) <= 90
    assert (curve[0].rate, curve[-1].rate) == (0.0, 1.0)


def test_what_cannot_be_calibrated_is_said() -> None:
    """Too few questions, a pair that does not route, a goal out of reach."""
    with pytest.raises(ConfigError, match="3 questions are too few"):
        calibrate(pair(), questions(3), Goal("rate", 0.25))
    with pytest.raises(ConfigError, match=r"mode 'large_only'.*reasoning='inline'"):
        calibrate(pair(thinking="none"), questions(6), Goal("rate", 0.25))
    with pytest.raises(ConfigError, match=r"no threshold gives share 0\.001 .*nearest is"):
        calibrate(pair(), questions(6), Goal("share", 0.001))


def test_prompts_are_read_in_all_their_forms(tmp_path: Path) -> None:
    """Texts, questions, prompts and messages; blank lines are passed over, and n cuts."""
    lines = ['"one"', "", '{"question": "two", "answer": "2"}', '{"prompt": "three"}']
    lines.append('{"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "four"}]}')
    (tmp_path / "p.jsonl").write_text("\n".join(lines))
    prompts = read_prompts(tmp_path / "p.jsonl")
    assert [messages[-1]["content"] for messages in prompts] == ["one", "two", "three", "four"]
    assert len(prompts[3]) == 2
    assert read_prompts(tmp_path / "p.jsonl", 2) == prompts[:2]


@pytest.mark.parametrize("line", ["hello", "3", '""', '{"text": "x"}', '{"question": 3}'])
def test_other_lines_are_refused(tmp_path: Path, line: str) -> None:
    """The error names the file and the line."""
    (tmp_path / "p.jsonl").write_text(f'"fine"\n{line}\n')
    with pytest.raises(ConfigError, match=r"p\.jsonl.*line 2"):
        read_prompts(tmp_path / "p.jsonl")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prompts(tmp_path / "none.jsonl")


def test_the_bundled_prompts_are_new_to_the_pair() -> None:
    """They are held-out problems, all different, away from those of demo and bench."""
    texts = [messages[0]["content"] for messages in bundled_prompts(50)]
    assert len(set(texts)) == 50
    assert FIRST_SEED % 1_000_000 == 500_000
