"""A run: every method on every question, what is there already left out."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

from glimp_core.bench.answering import answer, warmed
from glimp_core.bench.methods import Method
from glimp_core.bench.published import Question
from glimp_core.bench.records import Ledger, Record
from glimp_core.router import GlimpRouter
from glimp_core.types import Message

Show = Callable[[Method, Record], None]
WARM_UP_TOKENS = 64
RATE_DIGITS = 3
"""A rate is kept to a tenth of a percent, so that it is the same number in a file of results."""


def run(
    router: GlimpRouter,
    methods: Sequence[Method],
    questions: Sequence[Question],
    ledger: Ledger,
    before: Sequence[Message] = (),
    show: Show | None = None,
    cancelled: threading.Event | None = None,
    at_once: int = 1,
    repeats: int = 1,
) -> list[Method]:
    """Answer all questions by all methods, `repeats` times with seeds that follow each other.

    Returns the methods with their numbers filled in, in the order asked for. The threshold is that of the router's
    policy. `random` without a rate comes last, at the rate that the first `glimp` had on the same questions. `before`
    are messages that come before every question. With `at_once` over 1 replies are written side by side, in shared
    forwards: sooner done, but their seconds then measure no method. Raises what `answer` raises, and, before any
    question, `ConfigError` for a method that lacks its number.
    """
    running = Running(router, questions, ledger, before, show, cancelled, at_once, repeats)
    threshold: float | None = getattr(router.policy, "threshold", None)
    glimp = next((method for method in methods if method.name == "glimp"), None)
    for method in methods:
        method.settled(threshold, rate=0.0 if glimp else None)
    settled = {method.label: method.settled(threshold) for method in methods if not _waits(method)}
    running.answer_all(list(settled.values()))
    if glimp:
        rate = running.rate(settled[glimp.label])
        waiting = {method.label: method.settled(threshold, rate) for method in methods if _waits(method)}
        running.answer_all(list(waiting.values()))
        settled |= waiting
    return [settled[method.label] for method in methods]


def intervention_rate(records: Sequence[Record]) -> float:
    """Return the share of the routed steps of these replies that the large model wrote."""
    return sum(record.interventions for record in records) / max(1, sum(len(record.decisions) for record in records))


def _waits(method: Method) -> bool:
    """Whether a method takes its number from what another one did."""
    return method.kind.value == "rate" and method.value is None


@dataclass(slots=True)
class Running:
    """What stays the same in a run, and whether the models are warm."""

    router: GlimpRouter
    questions: Sequence[Question]
    ledger: Ledger
    before: Sequence[Message] = ()
    show: Show | None = None
    cancelled: threading.Event | None = None
    at_once: int = 1
    repeats: int = 1
    _warm: bool = field(default=False, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def answer_all(self, methods: Sequence[Method]) -> list[list[Record]]:
        """Answer what has no record yet; methods take turns, so that a machine that slows down slows all of them.

        Returns the records of each method, by repeat and question.
        """
        tasks = [(at, each, n) for n in range(self.repeats) for each in self.questions for at in range(len(methods))]
        if any(self.ledger.get(methods[at], question, repeat) is None for at, question, repeat in tasks):
            self._warm_up()
        records: list[list[Record]] = [[] for _ in methods]
        with ExitStack() as stack:
            threads = stack.enter_context(ThreadPoolExecutor(self.at_once)) if self.at_once > 1 else None
            answer_one = partial(self._recorded, methods)
            for at, record in (threads.map if threads else map)(answer_one, tasks):
                records[at].append(record)
                if self.show:
                    self.show(methods[at], record)
        return records

    def _recorded(self, methods: Sequence[Method], task: tuple[int, Question, int]) -> tuple[int, Record]:
        """Answer one question, unless that was done; in this very thread where one is answered at a time."""
        at, question, repeat = task
        record = self.ledger.get(methods[at], question, repeat)
        if record is None:
            record = answer(self.router, methods[at], question, self.before, self.cancelled, repeat)
            with self._lock:
                self.ledger.add(record)
        return at, record

    def rate(self, method: Method) -> float:
        """Return the share of routed steps that the large model wrote on these questions."""
        found = [self.ledger.get(method, each, n) for n in range(self.repeats) for each in self.questions]
        return round(intervention_rate([record for record in found if record]), RATE_DIGITS)

    def _warm_up(self) -> None:
        if not self._warm:
            warmed(self.router, WARM_UP_TOKENS, self.questions[0], self.before, self.cancelled)
            self._warm = True
