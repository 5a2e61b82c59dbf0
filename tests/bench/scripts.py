"""Scripted engines for experiments: one that is sure to a known degree, one that remembers what it was shown."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, cast

from glimp_core import Context, GlimpRouter, RouterConfig, Step
from glimp_core.bench import Method, Question, Record
from glimp_core.context import Span
from glimp_core.entropy import TokenMeasure
from glimp_core.policy import EntropyThreshold
from glimp_core.testing import ScriptedEngine
from glimp_core.types import Chunk, Entropy, GenerationParams, Glimpse, ModelUsage

STEPS = ("Two and two.\n\n", "So it is four.\n\n", "Check it.\n\n", "Four.</think>")
ENTROPIES = (0.1, 2.0, 0.5, 1.5)
LENGTHS = [len(step.removesuffix("</think>")) for step in STEPS]
LENGTHS[-1] += 1  # the closing tag is a token


class Sure(ScriptedEngine):
    """Has the entropy and surprisal `measures[n]`, in nats, at every token of step n."""

    def __init__(self, *measures: tuple[float, float], **options: Any):
        super().__init__(**options)
        self.measures = measures

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        index = min(sum(isinstance(link, Span) for link in context.spans), len(self.measures) - 1)
        for chunk in super().generate(context, params):
            measure = TokenMeasure(*(value * len(chunk.token_ids) for value in self.measures[index]))
            yield replace(chunk, measure=measure if params.logprobs else None)


class Silent(ScriptedEngine):
    """Tells nothing of its tokens, as a server may."""

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        yield from (replace(chunk, measure=None) for chunk in super().generate(context, params))


class Watched(ScriptedEngine):
    """Notes the chain of every call as the texts of its links."""

    def __init__(self, **options: Any):
        super().__init__(**options)
        self.seen: list[tuple[str, tuple[str, ...]]] = []

    def glimpse(self, context: Context, definition: Entropy = "full") -> Glimpse:
        self._see("glimpse", context)
        return super().glimpse(context, definition)

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        self._see("generate", context)
        return super().generate(context, params)

    def _see(self, call: str, context: Context) -> None:
        self.seen.append((call, tuple(link.text if isinstance(link, Span) else "CLOSED" for link in context.spans)))


class Parting(Watched):
    """Finds its place in the script by the chain's blank lines: for a loop that hands the chain over as one text."""

    def glimpse(self, context: Context, definition: Entropy = "full") -> Glimpse:
        self._see("glimpse", context)
        return ScriptedEngine.glimpse(self, self._parted(context), definition)

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        self._see("generate", context)
        return ScriptedEngine.generate(self, self._parted(context), params)

    def _parted(self, context: Context) -> Context:
        parted = Context(context.request, context.reasoning, context.cancelled)
        for step in context.text.split("\n\n")[:-1]:
            parted.append(Span(step, (), self.vocabulary))
        return parted


class Judging(ScriptedEngine):
    """Writes the script, and answers with `scores` in turn when it is asked to judge."""

    def __init__(self, scores: Sequence[str], **options: Any):
        super().__init__(**options)
        self.scores = list(scores)
        self.judged: list[tuple[str, str]] = []

    def generate(self, context: Context, params: GenerationParams) -> Iterator[Chunk]:
        if "Judge" not in str(context.request.messages[-1]["content"]):
            yield from super().generate(context, params)
            return
        self.judged.append((str(context.request.messages[-2]["content"]), context.reasoning))
        yield Chunk(self.scores.pop(0), (7,), ModelUsage(forwards=1, prefill_tokens=50), "length")


def router(small: ScriptedEngine | None = None, large: ScriptedEngine | None = None, **config: Any) -> GlimpRouter:
    """A pair of one script, routed at 1 nat."""
    small = small or ScriptedEngine(STEPS, "4", ENTROPIES, name="small")
    large = large or ScriptedEngine(STEPS, "4", name="large")
    return GlimpRouter(small, large, EntropyThreshold(1.0), RouterConfig(**config))


def question(id: str = "q", expected: str = "4") -> Question:
    """A question to which a reply is right when it is the expected text."""
    return Question(id, f"What is {id}?", expected, lambda reply: reply == expected)


def wrote(record: Record) -> list[bool]:
    """Who wrote each routed step: True for the large model."""
    return [decision["intervene"] for decision in record.decisions]


def decisions(method: Method) -> list[bool]:
    """What a method's policy makes of steps that begin with a word, a number, a doubt, a conclusion and a mark."""
    loop = cast("partial[Any]", method.loop(RouterConfig(), 0))
    steps: list[Step] = []
    decided = []
    for at, word in enumerate(("Add", "1", "Wait", "So", ".")):
        decided.append(loop.keywords["policy"].decide(Glimpse(0.5, text=word), steps).intervene)
        steps.append(Step(at, "thinking", "small", word, 1, 0.0, "break"))
    return decided
