"""The pairs that a storm asks, and the questions it asks them; each question is answered alone first."""

import random
from dataclasses import dataclass
from typing import Any

import tiny
from glimp_core import Completion, EntropyThreshold, GlimpRouter, RandomRate, RouterConfig, SamplingParams
from glimp_core.local import LocalEngine
from glimp_core.source import ModelSource

MAX_BATCH, MAX_CACHED_TOKENS = 4, 1500

BUDGETS: dict[str, Any] = {"max_reasoning_tokens": 24, "max_answer_tokens": 80, "max_step_tokens": 8}
TOOL = {
    "type": "function",
    "function": {
        "name": "report",
        "description": "report a number",
        "parameters": {"type": "object", "properties": {"n": {"type": "integer", "maximum": 99}}, "required": ["n"]},
    },
}
FORM = {
    "type": "json_schema",
    "json_schema": {
        "name": "a",
        "schema": {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]},
    },
}

Words = tuple[Any, ...]
"""What two replies to one question have in common: their words, their calls, and how they ended."""


@dataclass(frozen=True)
class Question:
    """What is asked of one pair, with the options of `GlimpRouter.stream`."""

    router: GlimpRouter
    text: str
    options: dict[str, Any]


class Crowd:
    """Seven pairs on four models, and `size` questions with the words of their replies."""

    def __init__(self, size: int, seed: int):
        draws = random.Random(seed)
        self.engines = [
            _engine(family, seed=number) for number, family in enumerate(["llama", "qwen3", "llama", "lfm2"])
        ]
        self.routers = _routers(*self.engines)
        self.questions = [_question(self.routers[n % len(self.routers)], n, draws) for n in range(size)]
        self.alone = [words(one.router.generate(one.text, **one.options)) for one in self.questions]

    def wrong_again(self) -> int:
        """Ask all questions once more, one after the other; returns how many replies have other words."""
        return sum(
            words(one.router.generate(one.text, **one.options)) != alone
            for one, alone in zip(self.questions, self.alone, strict=True)
        )


def words(done: Completion) -> Words:
    """Return what a question's replies have in common."""
    calls = tuple((call.name, str(call.arguments)) for call in done.tool_calls)
    return done.reasoning, done.answer, calls, done.finish_reason


def _engine(family: str, seed: int) -> LocalEngine:
    loaded = (tiny.model(family, seed), tiny.tokenizer())
    return LocalEngine(ModelSource.of(loaded, max_batch=MAX_BATCH, max_cached_tokens=MAX_CACHED_TOKENS))


def _routers(one: LocalEngine, two: LocalEngine, three: LocalEngine, recurrent: LocalEngine) -> list[GlimpRouter]:
    half, plain = RandomRate(0.5, seed=1), RouterConfig(**BUDGETS)
    return [
        GlimpRouter(one, two, half, plain),
        GlimpRouter(two, one, half, plain),
        GlimpRouter(one, one, half, plain),
        GlimpRouter(one, three, half, RouterConfig(speculate=True, **BUDGETS)),
        GlimpRouter(two, three, EntropyThreshold(1.0), RouterConfig(answer_by="routed", **BUDGETS)),
        GlimpRouter(recurrent, one, half, plain),
        GlimpRouter(one, two, half, RouterConfig(reasoning="off", **BUDGETS)),
    ]


def _question(router: GlimpRouter, number: int, draws: random.Random) -> Question:
    sampling: dict[str, Any] = {"temperature": 0.0}
    if draws.random() < 0.4:
        sampling = {
            "temperature": draws.choice([0.5, 1.2]),
            "top_k": draws.choice([None, 5]),
            "seed": draws.randrange(9),
        }
    if draws.random() < 0.2:
        sampling["stop"] = draws.choice([("e",), ("a", "\n\n"), (".",)])
    options: dict[str, Any] = {}
    if (form := draws.random()) < 0.2:
        options = {"tools": [TOOL], "tool_choice": draws.choice(["auto", "required"])}
    elif form < 0.35:
        options = {"response_format": FORM}
    options["sampling"] = SamplingParams(max_tokens=80 if options else 12, **sampling)
    return Question(router, f"Question {number}: " + "and then " * draws.randrange(12), options)
