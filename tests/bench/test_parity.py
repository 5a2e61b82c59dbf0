"""The decisions of the authors' code, on first tokens that a real model was seen to consider.

`first_tokens.jsonl` holds the 20 likeliest first tokens, as text and log-probability, of Qwen2.5-Coder-0.5B-Instruct at
seven places, and two made-up rows. The rule is written out below from its description, apart from Glimp's own code.
"""

import json
import math
from pathlib import Path

import pytest

from bench.scripts import router
from glimp_core import Context, Glimpse, RouterConfig
from glimp_core.bench import Method, Question, answer
from glimp_core.entropy import paper_code_entropy
from glimp_core.policy import EntropyThreshold
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Entropy

RECORDED = [json.loads(line) for line in (Path(__file__).parent / "first_tokens.jsonl").read_text().splitlines()]
TOPS = [pytest.param(row["top"], id=row["at"]) for row in RECORDED]


def official_score(top: list[tuple[str, float]]) -> float:
    """A dict from token text to log-probability, renormalised, and its entropy in nats."""
    logprobs: dict[str, float] = {}
    for text, logprob in top:
        logprobs[text] = logprob
    weights = [math.exp(logprob) for logprob in logprobs.values()]
    shares = [weight / sum(weights) for weight in weights]
    return -sum(share * math.log(share) for share in shares)


def test_the_record_has_what_makes_the_rules_differ() -> None:
    """Some recorded ids share a text, entropies lie on both sides of 1, and one is exactly ln 4."""
    scores = [official_score(row["top"]) for row in RECORDED]
    assert sum(len({text for text, _ in row["top"]}) < len(row["top"]) for row in RECORDED) == 2
    assert min(scores) < 0.1 < 1 < max(scores)
    assert math.log(4) in scores


@pytest.mark.parametrize("top", TOPS)
def test_the_score_is_the_official_one(top: list[tuple[str, float]]) -> None:
    """The entropy of texts, not of ids, over the top 20 renormalised."""
    assert paper_code_entropy(map(tuple, top)) == pytest.approx(official_score(top), abs=1e-12)


@pytest.mark.parametrize("top", TOPS)
@pytest.mark.parametrize("threshold", [0.01, 0.5, 1.0, 1.8, math.log(4), 2.9])
def test_the_decision_is_the_official_one(top: list[tuple[str, float]], threshold: float) -> None:
    """RouterConfig.paper_code() intervenes where the official score is at or over the threshold."""
    config = RouterConfig.paper_code()
    glimpse = Glimpse(paper_code_entropy(map(tuple, top)), config.entropy)
    assert EntropyThreshold.of(threshold, config).decide(glimpse, ()).intervene == (official_score(top) >= threshold)


@pytest.mark.parametrize("top", TOPS)
def test_on_the_threshold_the_code_and_the_paper_differ(top: list[tuple[str, float]]) -> None:
    """A score that is exactly the threshold is an intervention for the code, and none for the paper."""
    code, paper = RouterConfig.paper_code(), RouterConfig(entropy="top20")
    glimpse = Glimpse(official_score(top), "top20")
    assert EntropyThreshold.of(glimpse.entropy, code).decide(glimpse, ()).intervene
    assert not EntropyThreshold.of(glimpse.entropy, paper).decide(glimpse, ()).intervene


class Recorded(ScriptedEngine):
    """Glimpses the recorded first tokens, one row after the other."""

    rows = iter(RECORDED)

    def glimpse(self, context: Context, definition: Entropy = "full") -> Glimpse:
        """Show the next row."""
        assert definition == "top20"
        return Glimpse(paper_code_entropy(map(tuple, next(self.rows)["top"])), definition)


def test_a_whole_run_decides_as_the_official_rule() -> None:
    """Over the recorded rows in turn, a run routes as the official rule says."""
    steps = [f"Step {number}.\n\n" for number in range(len(RECORDED) - 1)] + ["Done.</think>"]
    pair = router(Recorded(steps, name="small"), ScriptedEngine(steps, name="large"))
    record = answer(pair, Method("glimp-top20", 1.0), Question("q", "?", "", bool))
    assert [d["intervene"] for d in record.decisions] == [official_score(row["top"]) >= 1.0 for row in RECORDED]
