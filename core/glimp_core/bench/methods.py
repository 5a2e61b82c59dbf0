"""The methods that can be compared, by name."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeAlias

from glimp_core.algorithm import route, write_alone
from glimp_core.bench.engines import Rerendered
from glimp_core.bench.judging import mean_entropy, overconfidence, perplexity, primed_or_stuck, score, try_first
from glimp_core.bench.loops import Loop
from glimp_core.bench.official import official
from glimp_core.config import RouterConfig
from glimp_core.errors import ConfigError, unknown_name
from glimp_core.policy import EntropyThreshold, Margin, Policy, Priming, RandomRate, SkipLayoutTokens
from glimp_core.types import Role

Value = Literal["none", "threshold", "rate", "own"]
"""Where a method's number comes from when it is not given: there is none, the run's threshold, the intervention rate
that `glimp` had, or the kind's default; without one it must be given."""

Build: TypeAlias = Callable[[float, RouterConfig, int], Loop]
"""Makes a loop of a method's value, the configuration, and a seed that belongs to the question."""


Work = Literal["small", "large", "routed", "tried"]
"""The writers of the thinking: one model, one of the two for each step, or the small model for all steps and the large
model again for some."""

Signal = Literal["", "entropy", "margin", "measure", "steps"]
"""What of a decision is compared with a method's number, so that it can be matched to an intervention rate: nothing,
what the glimpse says, what the written step measures, or the number of steps so far."""


@dataclass(frozen=True, slots=True)
class MethodKind:
    """A kind of method: its loop, its number, and its differences from the run's configuration.

    A kind that is `like` another one decides by the same number of the same quantity.
    """

    says: str
    value: Value
    build: Build
    configure: Callable[[RouterConfig], RouterConfig] = lambda config: config
    default: float | None = None
    work: Work = "routed"
    signal: Signal = ""
    like: str = ""


def routed(policy: Callable[[float, RouterConfig, int], Policy]) -> Build:
    """Return what builds the router's own loop, with a policy of the method's number."""
    return lambda value, config, seed: partial(route, policy=policy(value, config, seed))


def _alone(writer: Role) -> Build:
    return lambda *_: partial(write_alone, writer=writer)


def _threshold(value: float, config: RouterConfig, seed: int = 0) -> Policy:
    return EntropyThreshold.of(value, config)


def _top20(config: RouterConfig) -> RouterConfig:
    return replace(config, entropy="top20")


def _plain(config: RouterConfig) -> RouterConfig:
    return replace(config, speculate=False, prewarm=False)


def _drafted(config: RouterConfig) -> RouterConfig:
    return replace(config, speculate=True)


def _paper_code(config: RouterConfig) -> RouterConfig:
    code = RouterConfig.paper_code()
    return replace(config, entropy=code.entropy, intervene_on_tie=code.intervene_on_tie)


def _as_paper_code(value: float, config: RouterConfig, seed: int) -> Loop:
    policy = _threshold(value, config)
    return lambda chain, small, large: route(chain, Rerendered(small), Rerendered(large), policy)


def _official(value: float, config: RouterConfig, seed: int) -> Loop:
    return partial(official, policy=_threshold(value, config))


def _scored(value: float, config: RouterConfig, seed: int) -> Loop:
    return lambda chain, small, large: try_first(chain, small, large, score(large, value), logprobs=False)


def _triggered(value: float, config: RouterConfig, seed: int) -> Loop:
    return partial(try_first, judge=overconfidence(value), logprobs=True, call=primed_or_stuck())


def _unread(config: RouterConfig) -> RouterConfig:
    return replace(config, prewarm=False)


KINDS: dict[str, MethodKind] = {
    "small": MethodKind("the small model alone", "none", _alone("small"), _plain, work="small"),
    "large": MethodKind("the large model alone", "none", _alone("large"), _plain, work="large"),
    "large-draft": MethodKind(
        "the large model, the small one drafting", "none", _alone("large"), _drafted, work="large",
    ),
    "glimp": MethodKind("H_init over a threshold", "threshold", routed(_threshold), signal="entropy"),
    "glimp-draft": MethodKind(
        "glimp, the small model drafting", "threshold", routed(_threshold), _drafted, signal="entropy", like="glimp",
    ),
    "glimp-top20": MethodKind(
        "H_init of the top 20 over a threshold", "threshold", routed(_threshold), _top20, signal="entropy",
    ),
    "random": MethodKind("a random share of the steps", "rate", routed(lambda v, config, seed: RandomRate(v, seed))),
    "priming": MethodKind(
        "the first steps by the large model", "own", routed(lambda v, *_: Priming(round(v))), signal="steps",
    ),
    "margin": MethodKind(
        "a lead of the likeliest first token under a margin", "own", routed(lambda v, *_: Margin(v)), signal="margin",
    ),
    "h-step": MethodKind(
        "write, then measure the step's mean entropy", "own",
        lambda v, *_: partial(try_first, judge=mean_entropy(v), logprobs=True), _unread, work="tried", signal="measure",
    ),
    "ppl-step": MethodKind(
        "write, then measure the step's perplexity", "own",
        lambda v, *_: partial(try_first, judge=perplexity(v), logprobs=True), _unread, work="tried", signal="measure",
    ),
    "specreason": MethodKind(
        "write, then have the large model score the step from 0 to 9", "own", _scored, _unread, default=7.0,
        work="tried",
    ),
    "trigreason": MethodKind(
        "first steps, over-confident steps and hesitation by the large model", "own", _triggered, _unread, default=0.8,
        work="tried",
    ),
    "glimp-words": MethodKind(
        "H_init over a threshold where the first token is a word", "threshold",
        routed(lambda v, config, _: SkipLayoutTokens(EntropyThreshold.of(v, config))), signal="entropy",
    ),
    "paper-schedule": MethodKind(
        "the calls of the authors' code, by Glimp's rules", "threshold", _as_paper_code, _paper_code, signal="entropy",
    ),
    "official": MethodKind(
        "the authors' code, by its own rules", "threshold", _official, _paper_code, signal="entropy",
    ),
}  # fmt: skip
"""The methods of `glimp bench`. A new kind is added here."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method with its number: a threshold, a rate or a score. `label` is how it was asked for."""

    name: str
    value: float | None = None
    label: str = ""

    def __post_init__(self) -> None:
        if self.name not in KINDS:
            raise unknown_name("method", self.name, KINDS)
        if self.value is not None and self.kind.value == "none":
            raise ConfigError(f"{self.name}@{self.value:g} cannot work: {self.kind.says} takes no number")
        if not self.label:
            object.__setattr__(self, "label", self.name if self.value is None else f"{self.name}@{self.value:g}")

    @property
    def kind(self) -> MethodKind:
        """What the method does."""
        return KINDS[self.name]

    def settled(self, threshold: float | None, rate: float | None = None) -> "Method":
        """Return the method with its number filled in. Raises `ConfigError` if there is none to take."""
        if self.value is not None or self.kind.value == "none":
            return self
        found = {"threshold": threshold, "rate": rate, "own": self.kind.default}[self.kind.value]
        if found is None:
            wanted = "add glimp, whose rate it takes, or " if self.kind.value == "rate" else ""
            raise ConfigError(f"method {self.name} ({self.kind.says}) lacks its number: {wanted}say {self.name}@NUMBER")
        return replace(self, value=found)

    def loop(self, config: RouterConfig, seed: int) -> Loop:
        """Make the loop that writes one reply."""
        return self.kind.build(self.value or 0.0, config, seed)


def parse(text: str) -> list[Method]:
    """Read methods as in "small,large,glimp@0.1/0.3,random": names, if needed with one or more numbers.

    Raises `ConfigError` for an unknown name, a number that is none, and a method that is named twice.
    """
    methods = [method for part in text.split(",") if part.strip() for method in _parse_one(part.strip())]
    labels = [method.label for method in methods]
    if not methods or len(set(labels)) < len(labels):
        raise ConfigError(f"methods {text!r} cannot work: name at least one, and each only once")
    return methods


def _parse_one(text: str) -> list[Method]:
    name, at, numbers = text.partition("@")
    if not at:
        return [Method(name)]
    try:
        return [Method(name, float(number)) for number in numbers.split("/")]
    except ValueError as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{text!r} is no method: {numbers!r} is not a number") from error
