"""One run of `glimp bench`: its options, its replies, and its results."""

import json
import shlex
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from glimp_core import __version__
from glimp_core.bench import Ledger, Matching, Method, Question, parse, question_set, run, summarise
from glimp_core.bench.estimate import Remaining, measure, plan
from glimp_core.bench.frontier import results_page
from glimp_core.bench.machine import commit, machine
from glimp_core.bench.matching import ROUNDS
from glimp_core.bench.preset import PRESETS, Preset
from glimp_core.bench.runner import Running, Show
from glimp_core.cli.exits import say
from glimp_core.cli.progress import progress
from glimp_core.cli.reply import interrupts_set, start
from glimp_core.cli.settings import Settings
from glimp_core.errors import Cancelled, ConfigError, unknown_name
from glimp_core.router import GlimpRouter

DEFAULT_METHODS = "small,large,glimp,random"
GENERATED = ("tiny", "tiny-sorting", "reasoning-gym")
"""Sets with generated questions, of any number."""
ALL = 10**6
MEASURED = 2
"""The number of questions of the short measurement."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of `glimp bench` as they were passed."""

    preset: str | None
    questions: str
    methods: str | None
    n: int | None
    seeds: int | None
    calibrate_on: str | None
    target_rate: str | None
    out: Path | None
    html: Path | None
    at_once: int
    instruction: str | None
    run_code: bool

    @property
    def chosen(self) -> Preset | None:
        """The preset. Raises `ConfigError` for an unknown name."""
        if self.preset is not None and self.preset not in PRESETS:
            raise unknown_name("preset", self.preset, PRESETS)
        return PRESETS[self.preset] if self.preset is not None else None

    @property
    def kept_in(self) -> Path | None:
        """The file for the replies. Raises `ConfigError` for an unknown preset."""
        return self.out or (Path(f"glimp-{self.preset}.jsonl") if self.chosen else None)

    @property
    def rates(self) -> tuple[float, ...]:
        """The intervention rates of the calibration. Raises `ConfigError` for invalid ones."""
        if self.target_rate is None:
            return self.chosen.rates if self.chosen else (0.25,)
        try:
            rates = tuple(float(rate) for rate in self.target_rate.split("/"))
        except ValueError:
            rates = ()
        if not rates or not all(0 < rate < 1 for rate in rates):
            raise ConfigError(
                f"--target-rate {self.target_rate} cannot work: it is shares of the steps, as in 0.25/0.5"
            )
        return rates

    @property
    def count(self) -> int:
        """The number of questions."""
        generated = self.questions.partition(":")[0] in GENERATED
        return self.n if self.n is not None else (100 if generated or not self.preset else ALL)


@dataclass(frozen=True, slots=True)
class Experiment:
    """A run that is ready to start: its questions, methods and repeats, and other questions for the calibration."""

    wanted: Wanted
    settings: Settings
    router: GlimpRouter
    methods: Sequence[Method]
    asked: Sequence[Question]
    matching: Matching | None
    repeats: int
    ledger: Ledger

    @classmethod
    def of(cls, settings: Settings, wanted: Wanted) -> "Experiment":
        """Complete the options with those of the preset. Raises `ConfigError` before any weights load."""
        chosen = wanted.chosen
        if wanted.instruction is None and settings.is_bundled:
            wanted = replace(wanted, instruction="")  # it was trained on puzzles only, without any text after them
        if chosen:
            settings = preset_settings(settings, chosen)
        methods = parse(wanted.methods or (chosen.methods if chosen else DEFAULT_METHODS))
        asked, matching = _questions(settings, wanted, methods)
        if wanted.n and len(asked) < wanted.n:
            say(f"note: {wanted.questions} has {len(asked)} questions, not {wanted.n}")
        router = start(settings)
        repeats = wanted.seeds or (chosen.repeats if chosen else 1)
        setting: dict[str, Any] = {
            "set": wanted.questions,
            "instruction": wanted.instruction,
            "at_once": wanted.at_once,
        }
        setting |= _setting(settings, router)
        if matching:
            digests = [question.digest for question in matching.questions]
            setting["calibration"] = {"set": wanted.calibrate_on or wanted.questions, "questions": digests}
        ledger = Ledger(wanted.kept_in, setting)
        return cls(wanted, settings, router, methods, asked, matching, repeats, ledger)

    def run(self) -> dict[str, Any]:
        """Answer all questions and return the figures; a preset and --html write files. Raises `Cancelled`."""
        cancelled = threading.Event()
        if done := len(self.ledger):
            say(f"{self.wanted.kept_in} has {done} replies: continuing from there")
        try:
            with progress(Remaining(self._replies())) as show, interrupts_set(cancelled):
                settled = self._answered(show, cancelled)
        except (Cancelled, KeyboardInterrupt):
            out = self.wanted.kept_in
            kept = f"kept in {out}: the same command continues there" if out else "none kept: --out FILE keeps them"
            say(f"stopped after {len(self.ledger)} replies, {kept}")
            raise
        return self._told(settled)

    def _answered(self, show: Show, cancelled: threading.Event) -> list[Method]:
        """Choose the numbers of the methods, answer the graded questions, and return the methods with their numbers."""
        before, at_once, methods = self.settings.conversation(), self.wanted.at_once, list(self.methods)
        if self.matching:
            others = Running(self.router, self.matching.questions, self.ledger, before, show, cancelled, at_once)
            methods = self.matching.settled(methods, others)
        return run(self.router, methods, self.asked, self.ledger, before, show, cancelled, at_once, self.repeats)

    def cost(self) -> dict[str, Any]:
        """Measure a few replies, and return the estimated time of the run."""
        pace = measure(self.router, self.asked[:MEASURED], self.settings.conversation())
        config, most = self.router.config, self.router.sampling.max_tokens
        budget = min(config.max_reasoning_tokens + (most or config.max_answer_tokens), self.router.window)
        cost = plan(self._expected(), len(self.asked), self.repeats, self._calibrating(), pace, budget)
        return {"set": self.wanted.questions, "preset": self.wanted.preset, **cost, "done": len(self.ledger)}

    def _expected(self) -> list[Method]:
        """Return the methods of the run, including `glimp` at the other rates."""
        more = len(self.matching.rates) - 1 if self.matching and "glimp" in self.matching.open(self.methods) else 0
        return [*self.methods, *(Method("glimp", float(at), f"glimp, rate {at}") for at in range(2, more + 2))]

    def _calibrating(self) -> dict[str, int]:
        """Return the number of replies of the calibration, by method."""
        if not self.matching:
            return {}
        return dict.fromkeys(self.matching.open(self.methods), ROUNDS * len(self.matching.questions))

    def _replies(self) -> dict[str, int]:
        """Return the number of replies of the run, by the name of the method."""
        replies = Counter(self._calibrating())
        for method in self._expected():
            replies[method.name] += len(self.asked) * self.repeats
        return dict(replies)

    def _told(self, settled: Sequence[Method]) -> dict[str, Any]:
        seed = self.settings.seed or 0
        document = {
            **self.ledger.run,
            "preset": self.wanted.preset,
            **summarise(self.ledger, settled, self.asked, seed, self.repeats),
            "command": shlex.join(["glimp", *sys.argv[1:]]),
            "commit": commit(),
            "machine": machine(),
        }
        if self.matching:
            numbers = {method.label: method.value for method in settled if method.value is not None}
            rates, n = list(self.matching.rates), len(self.matching.questions)
            document["calibration"] = {**document["calibration"], "n": n, "rates": rates, "numbers": numbers}
        self._write(document, settled)
        return document

    def _write(self, document: dict[str, Any], settled: Sequence[Method]) -> None:
        html, out = self.wanted.html, self.wanted.kept_in
        if self.wanted.preset and out:
            html = html or out.with_suffix(".html")
            out.with_suffix(".json").write_text(json.dumps(document) + "\n", encoding="utf-8")
        if html:
            html.write_text(results_page(document, self.ledger, settled, self.asked), encoding="utf-8")
            say(f"wrote {html}: open it in a browser")


def preset_settings(settings: Settings, chosen: Preset) -> Settings:
    """Return the settings with the preset's values for unset options. Raises `ConfigError` if a threshold is set."""
    if settings.threshold is not None or settings.profile is not None:
        raise ConfigError("a preset chooses thresholds on other questions: leave out --threshold and --profile")
    defaults: dict[str, Any] = {
        "temperature": chosen.temperature, "top_p": chosen.top_p, "max_reasoning_tokens": chosen.reasoning_tokens,
        "max_tokens": chosen.answer_tokens, "seed": 0,
    }  # fmt: skip
    return replace(settings, **{name: value for name, value in defaults.items() if getattr(settings, name) is None})


def _questions(settings: Settings, wanted: Wanted, methods: Sequence[Method]) -> tuple[list[Question], Matching | None]:
    """Return the graded questions, and the other questions for the calibration, if there is one."""
    seed, chosen = settings.seed or 0, wanted.chosen
    size = chosen.calibration if chosen else 10
    calibrating = bool(chosen or wanted.calibrate_on) and bool(Matching.open(methods))
    more = size if calibrating and wanted.calibrate_on is None and wanted.count < ALL else 0
    found = question_set(wanted.questions, wanted.count + more, seed, wanted.instruction, wanted.run_code)
    asked, others = found[: wanted.count], found[wanted.count :]
    if wanted.calibrate_on is not None:
        others = question_set(wanted.calibrate_on, ALL if _is_finite(wanted.calibrate_on) else size, seed,
                              wanted.instruction, wanted.run_code)  # fmt: skip
    if not calibrating:
        return asked, None
    words = {question.text for question in asked}
    others = [replace(question, id=f"calibration/{question.id}") for question in others if question.text not in words][
        :size
    ]
    if not others:
        raise ConfigError(
            f"all {len(asked)} questions of {wanted.questions} are graded, and thresholds have to be chosen on others: "
            f"--calibrate-on another set, or --n {max(1, len(asked) - size)} leaves some of it"
        )
    return asked, Matching(others, wanted.rates)


def _is_finite(name: str) -> bool:
    return name.partition(":")[0] not in GENERATED


def _setting(settings: Settings, router: GlimpRouter) -> dict[str, Any]:
    """Return the settings on which every reply depends, apart from question and method."""
    small, large = settings.pair
    sampling = {name: value for name, value in asdict(router.sampling).items() if value not in (None, ())}
    config = asdict(router.config)
    return {"small": small, "large": large, "sampling": sampling, "config": config, "version": __version__}
