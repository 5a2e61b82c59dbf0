"""A run: every method on every question, what is there already left out."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field

from glimp_core.bench.answering import answer
from glimp_core.bench.methods import Method
from glimp_core.bench.published import Question
from glimp_core.bench.records import Ledger, Record
from glimp_core.router import GlimpRouter
from glimp_core.types import Message

Show = Callable[[Method, Record], None]
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
) -> list[Method]:
    """Answer all questions by all methods; returns the methods with their numbers filled in, in the order asked for.

    The threshold is that of the router's policy. `random` without a rate comes last, at the rate that the first `glimp`
    had on the same questions. `before` are messages that come before every question. With `at_once` over 1 replies are
    written side by side, in shared forwards: sooner done, but their seconds then measure no method. Raises what
    `answer` raises, and, before any question, `ConfigError` for a method that lacks its number.
    """
    running = _Running(router, questions, ledger, before, show, cancelled, at_once)
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


def _waits(method: Method) -> bool:
    """Whether a method takes its number from what another one did."""
    return method.kind.value == "rate" and method.value is None


@dataclass(slots=True)
class _Running:
    """What stays the same in a run, and whether the models are warm."""

    router: GlimpRouter
    questions: Sequence[Question]
    ledger: Ledger
    before: Sequence[Message]
    show: Show | None
    cancelled: threading.Event | None
    at_once: int = 1
    _warm: bool = field(default=False, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)

    def answer_all(self, methods: Sequence[Method]) -> None:
        """Answer what has no record yet; methods take turns, so that a machine that slows down slows all of them."""
        pairs = [(method, question) for question in self.questions for method in methods]
        if any(self.ledger.get(method, question.id) is None for method, question in pairs):
            self._warm_up()
        for method, record in self._each(pairs):
            if self.show:
                self.show(method, record)

    def _each(self, pairs: Sequence[tuple[Method, Question]]) -> Iterator[tuple[Method, Record]]:
        """Take the pairs in order; in this very thread where one is answered at a time."""
        with ExitStack() as stack:
            threads = stack.enter_context(ThreadPoolExecutor(self.at_once)) if self.at_once > 1 else None
            yield from (threads.map if threads else map)(self._recorded, pairs)

    def _recorded(self, pair: tuple[Method, Question]) -> tuple[Method, Record]:
        method, question = pair
        record = self.ledger.get(method, question.id)
        if record is None:
            record = self._answer(method, question)
            with self._lock:
                self.ledger.add(record)
        return method, record

    def rate(self, method: Method) -> float:
        """Return the share of routed steps that the large model wrote on these questions."""
        records = [self.ledger.get(method, question.id) for question in self.questions]
        routed = sum(len(record.decisions) for record in records if record)
        return round(sum(record.interventions for record in records if record) / max(1, routed), RATE_DIGITS)

    def _answer(self, method: Method, question: Question) -> Record:
        return answer(self.router, method, question, self.before, self.cancelled)

    def _warm_up(self) -> None:
        """Load both models and let each answer once, so that no method pays for being the first."""
        if not self._warm:
            self.router.load()
            for name in ("small", "large"):
                self._answer(Method(name), self.questions[0])
            self._warm = True
