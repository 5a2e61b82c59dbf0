"""Calibrating a pair: one pass of the small model alone, then routed runs to check the threshold that it gives."""

from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeAlias, Unpack, cast

from glimp_core.bootstrap import Bootstrap, Draw
from glimp_core.calibration.curve import ROUNDS as ROUNDS_OF_BOOTSTRAP
from glimp_core.calibration.curve import Goal, Sample, SecondsPerToken, cut, interval, points, sample, value
from glimp_core.completion import Completion
from glimp_core.errors import ConfigError
from glimp_core.events import Event
from glimp_core.policy import AlwaysLarge, AlwaysSmall, EntropyThreshold, Policy
from glimp_core.policy.threshold import model_identity
from glimp_core.profile import CurvePoint, Profile
from glimp_core.router import GlimpRouter, StreamOptions
from glimp_core.types import Message

CalibrationPrompt: TypeAlias = Sequence[Message] | str

FEWEST = 4
"""Questions that a calibration needs: some to find the threshold, some to check it."""

ROUNDS = 3
"""The most checks of a threshold. After a failed check, the threshold is computed again from replies of the pair."""

CURVE_POINTS = 41


@dataclass(frozen=True, slots=True)
class Progress:
    """One more reply of a calibration: what it is for, and how many of how many there are."""

    what: str
    done: int
    of: int


def calibrate(
    router: GlimpRouter, questions: Sequence[CalibrationPrompt], goal: Goal, **options: Unpack[StreamOptions]
) -> Profile:
    """Find the threshold at which a pair meets a goal on questions like these; see `calibrating`."""
    steps = calibrating(router, questions, goal, **options)
    while True:
        try:
            next(steps)
        except StopIteration as stopped:
            return cast(Profile, stopped.value)


def calibrating(
    router: GlimpRouter, questions: Sequence[CalibrationPrompt], goal: Goal, **options: Unpack[StreamOptions]
) -> Generator[Progress, None, Profile]:
    """Calibrate, yield the progress, and return the profile.

    Every third question is reserved for checks. The small model alone answers the others. Its entropies give a first
    threshold, and a routed run on the reserved questions measures the result. If it misses the goal, entropies are
    measured again in a routed run at this threshold, because they change after an intervention. `options` are for every
    request. Raises `ConfigError` for too few questions, for a pair that routes nothing, and for a goal that cannot be
    reached.
    """
    if len(questions) < FEWEST:
        raise ConfigError(f"{len(questions)} questions are too few to calibrate on: give {FEWEST} or more")
    asker = _Asker(router, options)
    kept = questions[2::3]
    others = [question for at, question in enumerate(questions) if at % 3 != 2]
    alone = yield from asker.ask("small model alone", others, AlwaysSmall(), answer_by="small")
    _require_routing(alone)
    large = yield from asker.ask("large model's pace", others[:1], AlwaysLarge())
    replies = alone
    for attempt in range(ROUNDS):
        samples = asker.samples(replies, [*alone, *large])
        found = cut(samples, goal)
        _require_reachable(goal, found, samples)
        policy = EntropyThreshold.of(found.threshold, router.config)
        checks = yield from asker.ask("checking", kept, policy)
        measured, bounds = measure(checks, goal)
        if _met(goal, measured, bounds) or attempt == ROUNDS - 1:
            break
        replies = yield from asker.ask("routed run", others, policy)
    profile = _profile(router, goal, samples, measured)
    return replace(profile, measured_interval=bounds, n=len(questions), checked=len(kept))


def measure(replies: Sequence[Completion], goal: Goal) -> tuple[CurvePoint, tuple[float, float]]:
    """Return what routed replies show, and the 95 % bootstrap interval of what the goal is about."""

    def drawn(draw: Draw) -> float:
        return value(_measured([replies[at] for at in draw]), goal.measure)

    return _measured(replies), Bootstrap(len(replies), rounds=ROUNDS_OF_BOOTSTRAP).interval(drawn)


def _measured(replies: Sequence[Completion]) -> CurvePoint:
    routed = [event.decision.intervene for done in replies for event in done.routed]
    tokens = sum(step.tokens for done in replies for step in done.steps)
    large = sum(step.tokens for done in replies for step in done.steps if step.engine == "large")
    seconds = sum(done.finish.seconds for done in replies) / max(1, len(replies))
    return CurvePoint(0.0, sum(routed) / max(1, len(routed)), large / max(1, tokens), seconds)


def _met(goal: Goal, measured: CurvePoint, bounds: tuple[float, float]) -> bool:
    """Return whether the goal is near enough, or where chance alone may have put the measurement."""
    low, high = bounds
    return abs(value(measured, goal.measure) - goal.value) <= goal.tolerance or low <= goal.value <= high


@dataclass(frozen=True, slots=True)
class _Asker:
    """Asks one pair all questions of a calibration."""

    router: GlimpRouter
    options: StreamOptions

    def ask(
        self, what: str, questions: Sequence[CalibrationPrompt], policy: Policy, answer_by: Any = None
    ) -> Generator[Progress, None, list[Completion]]:
        router = self.router
        if answer_by:
            config = replace(router.config, answer_by=answer_by)
            router = GlimpRouter(router.small, router.large, policy, config, router.sampling, router.taps)
        replies = []
        options: StreamOptions = {**self.options, "policy": policy}
        for number, question in enumerate(questions):
            yield Progress(what, number, len(questions))
            replies.append(_reply(router.stream(question, **options)))
        yield Progress(what, len(questions), len(questions))
        return replies

    def samples(self, replies: Sequence[Completion], paced: Sequence[Completion]) -> list[Sample]:
        pace = SecondsPerToken(_pace(paced, "small"), _pace(paced, "large"))
        by_large = self.router.config.answer_by != "small"
        return [sample(done, pace, by_large) for done in replies]


def _reply(events: Generator[Event, None, None]) -> Completion:
    with closing(events):
        return Completion.fold(events)


def _pace(replies: Sequence[Completion], writer: str) -> float:
    written = [step for done in replies for step in done.steps if step.engine == writer]
    return sum(step.seconds for step in written) / max(1, sum(step.tokens for step in written))


def _require_routing(replies: Sequence[Completion]) -> None:
    if not any(done.routed for done in replies):
        raise ConfigError(
            f"this pair routes nothing here (mode {replies[0].start.mode!r}), so there is no threshold to find: "
            "choose two models that think, or route the visible reply with reasoning='inline'"
        )


def _require_reachable(goal: Goal, found: CurvePoint, samples: Sequence[Sample]) -> None:
    reached = value(found, goal.measure)
    if abs(reached - goal.value) > 2.5 * goal.tolerance:
        all_points = [value(point, goal.measure) for point in points(samples)]
        raise ConfigError(
            f"no threshold gives {goal.measure} {goal.value:g} on these questions: the nearest is {reached:.3g}, "
            f"and they reach from {min(all_points):.3g} to {max(all_points):.3g}"
        )


def _profile(router: GlimpRouter, goal: Goal, samples: Sequence[Sample], measured: CurvePoint) -> Profile:
    curve = list(points(samples))
    stride = max(1, (len(curve) - 1) // (CURVE_POINTS - 1))
    return Profile(
        threshold=cut(samples, goal).threshold,
        interval=interval(samples, goal),
        target=goal.measure,
        target_value=goal.value,
        measured_rate=measured.rate,
        measured_share=measured.large_token_share,
        measured_seconds=measured.seconds or 0.0,
        measured_interval=(0.0, 0.0),
        entropy=router.config.entropy,
        on_tie=router.config.intervene_on_tie,
        pair=(model_identity(router.small.name), model_identity(router.large.name)),
        n=len(samples),
        checked=0,
        steps=sum(len(one.steps) for one in samples),
        date=datetime.now(UTC).date().isoformat(),
        curve=(*curve[:-1:stride], curve[-1]),
    )
