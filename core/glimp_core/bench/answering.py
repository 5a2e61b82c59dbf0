"""Answers and grades one question with one method."""

import threading
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from time import perf_counter, process_time
from typing import Any, Protocol, runtime_checkable

from glimp_core.bench.loops import Happening, Trial
from glimp_core.bench.methods import Method
from glimp_core.bench.published import Question
from glimp_core.bench.records import Record
from glimp_core.completion import Completion
from glimp_core.errors import ContextOverflowError
from glimp_core.router import GlimpRouter
from glimp_core.tap import Asked
from glimp_core.trace.file import lines
from glimp_core.trace.schema import Head
from glimp_core.types import Message, Request, Role, Step

MEASURE_DIGITS = 9
"""The digits of a perplexity: those of a confident model differ from 1 only in the last ones."""


@runtime_checkable
class Forgetful(Protocol):
    """An engine that can drop the cached tokens of finished requests."""

    def forget(self) -> None:
        """Drop them, so that the next request starts without a cache."""
        ...


def answer(
    router: GlimpRouter,
    method: Method,
    question: Question,
    before: Sequence[Message] = (),
    cancelled: threading.Event | None = None,
    repeat: int = 0,
) -> Record:
    """Answer a question with the router's pair and a method, without caches of earlier questions, and grade the reply.

    `before` are messages before every question. `repeat` is added to the seed. A chain that exceeds a window counts as
    wrong. Raises the other errors of `GlimpRouter.stream`.
    """
    for engine in (router.small, router.large):
        if isinstance(engine, Forgetful):
            engine.forget()
    sampling = replace(router.sampling, seed=(router.sampling.seed or 0) + repeat) if repeat else router.sampling
    request = Request((*before, {"role": "user", "content": question.text}), sampling=sampling)
    config = method.kind.configure(router.config)
    seed = zlib.crc32(f"{request.sampling.seed or 0}/{question.id}".encode())
    started, used = perf_counter(), process_time()
    try:
        happenings = list(router.run(request, method.loop(config, seed), config, cancelled))
    except ContextOverflowError as error:
        return _failed(method, question, repeat, str(error), perf_counter() - started, process_time() - used)
    record = _record(method, question, happenings, process_time() - used)
    asked = Asked(question.id, router.small.name, router.large.name, router.policy, config, request)
    return replace(record, repeat=repeat, trace=tuple(_trace(asked, method, happenings)))


def shortened(router: GlimpRouter, tokens: int) -> GlimpRouter:
    """Return the same pair, of which a reply has at most `tokens` tokens of thinking and as many of the answer."""
    config = replace(router.config, max_reasoning_tokens=tokens, max_answer_tokens=tokens)
    sampling = replace(router.sampling, max_tokens=tokens)
    return GlimpRouter(router.small, router.large, router.policy, config, sampling)


def warmed(
    router: GlimpRouter,
    tokens: int,
    question: Question,
    before: Sequence[Message] = (),
    cancelled: threading.Event | None = None,
) -> GlimpRouter:
    """Load both models and let each of them write a few tokens, so that no measurement includes the first run.

    Returns the pair that did it, `shortened`. Raises the errors of `answer`.
    """
    router.load()
    short = shortened(router, tokens)
    for name in ("small", "large"):
        answer(short, Method(name), question, before, cancelled)
    return short


def _record(method: Method, question: Question, happenings: Iterable[Happening], cpu_seconds: float) -> Record:
    trials = [each for each in happenings if isinstance(each, Trial)]
    done = Completion.fold(each for each in happenings if not isinstance(each, Trial))
    small = sum((trial.discarded for trial in trials), done.usage.small)
    large = sum((trial.judging for trial in trials), done.usage.large)
    return Record(
        method=method.name,
        value=method.value,
        question=question.id,
        asked=question.digest,
        repeat=0,
        correct=question.grade(done.answer),
        expected=question.expected,
        answer=done.answer,
        finish_reason=done.finish_reason,
        thinking_end=done.finish.thinking_end,
        seconds=round(done.finish.seconds, 6),
        cpu_seconds=round(cpu_seconds, 6),
        small_seconds=round(small.seconds, 6),
        large_seconds=round(large.seconds, 6),
        small_tokens=_tokens(done.steps, "small"),
        large_tokens=_tokens(done.steps, "large"),
        discarded_tokens=sum(trial.tokens for trial in trials if not trial.kept),
        decisions=(*_glimpses(done), *_trials(trials)),
    )


def _tokens(steps: Iterable[Step], writer: Role) -> int:
    return sum(step.tokens for step in steps if step.engine == writer)


def _glimpses(done: Completion) -> Iterator[dict[str, Any]]:
    for routed in done.routed:
        entropy, margin = round(routed.glimpse.entropy, 6), round(routed.glimpse.margin, 6)
        yield {"intervene": routed.decision.intervene, "entropy": entropy, "margin": margin}


def _trials(trials: Iterable[Trial]) -> Iterator[dict[str, Any]]:
    for trial in trials:
        measure = {} if trial.reason else {"measure": round(trial.measure, MEASURE_DIGITS)}
        yield {"intervene": not trial.kept, **measure, "tokens": trial.tokens}


def _trace(asked: Asked, method: Method, happenings: Iterable[Happening]) -> Iterator[dict[str, Any]]:
    """Yield the lines of a trace; a tried step has none but its own, and what became of it is in the decisions."""
    for each in happenings:
        if isinstance(each, Trial):
            continue
        for line in lines(asked, each):
            yield (line.model_copy(update={"policy": method.label}) if isinstance(line, Head) else line).document()


def _failed(method: Method, question: Question, repeat: int, error: str, seconds: float, cpu_seconds: float) -> Record:
    return Record(
        method.name, method.value, question.id, question.digest, repeat, False, question.expected, "", "length", None,
        round(seconds, 6), round(cpu_seconds, 6), 0.0, 0.0, 0, 0, 0, (), (), error,
    )  # fmt: skip
