"""The check of `glimp check`: whether two models work as a pair, and how much time routing can save.

It first uses configs, tokenizers and servers. If these show no problem, each model writes a few dozen tokens.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

from glimp_core.bundled.problems import HELD_OUT, make_problem
from glimp_core.context import Context
from glimp_core.engine import Draftable, Engine, Inspectable
from glimp_core.errors import ConfigError, ContextOverflowError, EngineError, ModelLoadError
from glimp_core.model_facts import Footprint, ModelFacts
from glimp_core.plan import Plan
from glimp_core.router import GlimpRouter
from glimp_core.types import Chunk, GenerationParams, ModelUsage, Request, SamplingParams

PROMPT_TOKENS = 1000
"""The prompt of the request for which memory is counted."""

WARM_UP, TOKENS = 8, 32
"""How many tokens each model writes to warm up, and how many to be timed, for each question."""

RATES = (0.1, 0.25, 0.5)
"""The shares of tokens by the large model for which the ideal speed-up is shown."""

WORTH = 1.5
"""A large model that takes less than so many times the small one's time is hardly worth a switch."""

TIGHT = 0.9
"""What takes more than this share of the free memory leaves little room for other requests."""

QUESTIONS = (
    "A train leaves at nine and goes 60 miles an hour for three hours. How far is it? Think step by step.",
    make_problem(HELD_OUT).question,
)
"""What the models are timed on: one question for models that speak English, one for the bundled pair."""


@dataclass(frozen=True, slots=True)
class Tokenizers:
    """How two vocabularies go together: whether ids mean the same in both, and the share of the ids that do."""

    equal: bool
    shared: float


@dataclass(frozen=True, slots=True)
class Ideal:
    """The ideal speed-up over the large model alone if it writes the share `rate` of the tokens."""

    rate: float
    speedup: float
    with_drafts: float | None


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds per token of each model, and of the large one with drafts of the small one; `ratio` is large to small.

    `accepted` is the share of the drafted tokens that were accepted, on the timed prompt.
    """

    small_seconds: float
    large_seconds: float
    drafted_seconds: float | None = None
    accepted: float | None = None

    @property
    def ratio(self) -> float:
        """How many times the small model's time the large one takes."""
        return self.large_seconds / self.small_seconds

    def ideal(self, rate: float) -> Ideal:
        """Return 1 / (rate + (1 - rate) / ratio), the speed-up without switches and glimpses, and with drafts."""
        small = (1 - rate) * self.small_seconds
        drafted = self.drafted_seconds and self.large_seconds / (rate * self.drafted_seconds + small)
        return Ideal(rate, self.large_seconds / (rate * self.large_seconds + small), drafted)


@dataclass
class PairCheck:
    """The result. With `problems` the pair does not work; `advice` says what to change or to expect."""

    small: ModelFacts
    large: ModelFacts
    tokenizers: Tokenizers
    plan: Plan | None = None
    tokens: int = 0
    """The length of the request for which memory is counted."""
    paths: dict[str, str] = field(default_factory=dict)
    pace: Pace | None = None
    problems: list[str] = field(default_factory=list)
    advice: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        """Whether nothing was found that keeps the pair from working."""
        return not self.problems

    def document(self) -> dict[str, Any]:
        """Return all of it as JSON has it."""
        models = {"small": self.small, "large": self.large}
        shown = {role: {**facts.document(), "path": self.paths.get(role)} for role, facts in models.items()}
        ideal = [asdict(self.pace.ideal(rate)) for rate in RATES] if self.pace else None
        pace = {**asdict(self.pace), "ratio": self.pace.ratio} if self.pace else None
        return {
            "fits": self.fits, "problems": self.problems, "advice": self.advice, **shown,
            "tokenizers": asdict(self.tokenizers), "mode": self.plan.mode if self.plan else None,
            "request_tokens": self.tokens, "pace": pace, "ideal": ideal,
        }  # fmt: skip


def check_pair(router: GlimpRouter, load: bool = True, tell: Callable[[str], None] = lambda what: None) -> PairCheck:
    """Check the models of a router. With `load` they are also loaded and timed, if there is no problem before.

    `tell` is called with each part of the work. Raises `ModelLoadError` or `EngineError` for a model that cannot be
    found, read or reached, and `ConfigError` for an engine of another kind.
    """
    tell("reading configs and tokenizers")
    small, large = _facts(router.small), _facts(router.large)
    check = PairCheck(small, large, _compared(small, large))
    _settle(check, router)
    _weigh(check)
    if load and check.fits:
        tell("loading the models")
        _load(check, router)
    if load and check.fits and check.plan:
        tell("timing the models")
        check.pace = _timed(router)
        _judge(check)
    return check


def _facts(engine: Engine) -> ModelFacts:
    if not isinstance(engine, Inspectable):
        raise ConfigError(f"{engine.name!r} cannot be checked: it is neither in this process nor at a server")
    return engine.inspect()


def _compared(small: ModelFacts, large: ModelFacts) -> Tokenizers:
    if list(small.token_bytes) == list(large.token_bytes):
        return Tokenizers(True, 1.0)
    same = sum(one == other is not None for one, other in zip(small.token_bytes, large.token_bytes, strict=False))
    return Tokenizers(False, same / max(len(small.token_bytes), len(large.token_bytes)))


def _settle(check: PairCheck, router: GlimpRouter) -> None:
    """Find out what the router would do with a request."""
    config = router.config.with_effort()
    try:
        check.plan = router.plan(QUESTIONS[0])
    except (ConfigError, ContextOverflowError) as error:
        check.problems.append(str(error))
    else:
        check.advice += check.plan.notes
    window = min(check.small.window, check.large.window)
    check.tokens = min(window, PROMPT_TOKENS + config.max_reasoning_tokens + config.max_answer_tokens)
    if check.tokens < PROMPT_TOKENS + config.max_answer_tokens and check.plan:
        check.advice.append(
            f"the window of {window} tokens is short: prompt, thinking and answer share it; set max_reasoning_tokens "
            "and max_answer_tokens lower, or choose models with longer windows"
        )
    if not check.tokenizers.equal:
        check.advice.append(
            "the tokenizers differ: text of one model is tokenised again for the other, which works and costs little"
        )
    for role, facts in (("small", check.small), ("large", check.large)):
        check.advice += [f"{role}: {note}" for note in facts.notes]


def _weigh(check: PairCheck) -> None:
    """Compare what the models take with the memory of each device."""
    models = [("small", check.small.footprint), ("large", check.large.footprint)]
    held = [(role, taken) for role, taken in models if taken is not None]
    for device in dict.fromkeys(taken.device for _, taken in held):
        here = [(role, taken) for role, taken in held if taken.device == device]
        weights = sum(taken.weight_bytes for _, taken in here)
        caches = sum(taken.request_bytes(check.tokens) for _, taken in here)
        needed = caches + sum(taken.weight_bytes for _, taken in here if not taken.loaded)
        total, free = here[0][1].total, here[0][1].free
        what = (
            f"weights of {in_units(weights)} and a cache of {in_units(caches)} for one request of {check.tokens} "
            f"tokens on {device}, which has {in_units(total)}, {in_units(free)} of it free"
        )
        if weights + caches > total or needed > free:
            check.problems.append(f"not enough memory: {what}. {_smaller(here, check.tokens, free)}")
        elif needed > TIGHT * free:
            check.advice.append(f"memory is tight: {what}; other requests will wait or be refused")


def _smaller(here: list[tuple[str, Footprint]], tokens: int, free: int) -> str:
    """Say what would take less memory."""
    biggest = max((taken for _, taken in here), key=lambda taken: taken.weight_bytes)
    advice = []
    if biggest.dtype == "float32":
        advice.append("load with --dtype bfloat16")
    if sum(taken.request_bytes(tokens) for _, taken in here) > free / 2:
        advice.append("set max_reasoning_tokens lower")
    advice.append("choose smaller or quantised models, or serve the large one elsewhere (http://host:8001/v1#name)")
    return "; ".join(advice)[:1].upper() + "; ".join(advice)[1:]


def _load(check: PairCheck, router: GlimpRouter) -> None:
    """Load both models, which proves their caches; a model that is refused is a problem."""
    for role, engine in (("small", router.small), ("large", router.large)):
        assert isinstance(engine, Inspectable)
        try:
            check.paths[role] = engine.path()
        except (ModelLoadError, EngineError) as error:
            check.problems.append(f"the {role} model cannot serve: {error}")
    if check.fits:
        try:
            with Context(Request(({"role": "user", "content": QUESTIONS[0]},))) as context:
                router.small.prepare(context)
                router.small.glimpse(context, router.config.entropy)
        except ConfigError as error:
            check.problems.append(f"the small model cannot be glimpsed: {error} (--entropy top20)")


def _timed(router: GlimpRouter) -> Pace:
    (small, _), (large, _) = _seconds(router.small), _seconds(router.large)
    drafted = router.large.drafted_by(router.small) if isinstance(router.large, Draftable) else None
    return Pace(small, large, *(_seconds(drafted) if drafted else ()))


def _seconds(engine: Engine) -> tuple[float, float | None]:
    """Return an engine's seconds a token after the first one, and the share of its drafts that were kept."""
    for _ in _written(engine, QUESTIONS[0], WARM_UP):
        pass
    seconds, tokens, used = 0.0, 0, ModelUsage()
    for question in QUESTIONS:
        first, usage = None, ModelUsage()
        for chunk in _written(engine, question, TOKENS):
            usage, now = chunk.usage, perf_counter()
            if first is None:
                first = now
                continue
            tokens += len(chunk.token_ids)
            seconds, first = seconds + now - first, now
        used += usage
    return seconds / max(1, tokens), used.accepted_tokens / used.drafted_tokens if used.drafted_tokens else None


def _written(engine: Engine, question: str, tokens: int) -> Iterator[Chunk]:
    """Have an engine answer a question, greedily."""
    request = Request(({"role": "user", "content": question},))
    params = GenerationParams("answer", tokens, stepwise=False, sampling=SamplingParams(temperature=0))
    with Context(request) as context:
        engine.prepare(context)
        chunks = engine.generate(context, params)
        with closing(chunks):  # type: ignore[type-var]
            yield from chunks


def _judge(check: PairCheck) -> None:
    """Say what the pace of the models means for the pair."""
    pace, plan = check.pace, check.plan
    assert pace
    assert plan
    if pace.ratio < WORTH:
        check.advice.append(
            f"the large model takes only {pace.ratio:.1f} times the small one's time for a token: routing wins little; "
            "choose a smaller small model or a larger large one"
        )
    if pace.drafted_seconds and pace.drafted_seconds < pace.large_seconds:
        how = "RouterConfig(speculate=True)" if plan.mode == "thinking" else "they are used"
        check.advice.append(
            f"drafts make the large model {pace.large_seconds / pace.drafted_seconds:.1f} times as fast here: {how}"
        )


def in_units(size: float) -> str:
    """Return a number of bytes in KiB, MiB or GiB."""
    for unit, each in (("GiB", 2**30), ("MiB", 2**20)):
        if size >= each / 4:
            return f"{size / each:.1f} {unit}"
    return f"{size / 2**10:.1f} KiB"
