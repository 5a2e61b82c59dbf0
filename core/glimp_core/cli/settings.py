"""The options that every command shares: models, routing, sampling and traces."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from glimp_core import bundled
from glimp_core.config import RouterConfig
from glimp_core.errors import ConfigError
from glimp_core.model_description import shown_name
from glimp_core.options import FILE_TEXT, LOAD_OPTIONS, ROUTING_TEXTS, SAMPLING_TEXTS, SERVER_OPTIONS, ModelOptions
from glimp_core.pair import Pair
from glimp_core.policy import EntropyThreshold, Policy
from glimp_core.profile import load_profile
from glimp_core.router import GlimpRouter
from glimp_core.tap import Tap
from glimp_core.types import Message, SamplingParams

if TYPE_CHECKING:
    from glimp_core.pair_file import PairSettings

NAMED = "Hub id, folder, .gguf file, or http://host:8001/v1#name."

BUNDLED_THRESHOLD = 0.3
"""Between the entropy of the bundled small model if it is certain (up to 0.1) and at products that it never learned (2
to 3)."""


def option(name: str, text: str, panel: str | None = None, **options: Any) -> Any:
    """Return an option. Its default is part of the text, not shown by typer. `options` are typer's own."""
    return typer.Option(name, help=text, rich_help_panel=panel, show_default=False, **options)


JsonOption = Annotated[bool, option("--json", "Print one JSON document as the last line of stdout.")]
"""The option that all commands have."""


def _model(name: str, text: str) -> Any:
    return option(name, text, "Models")


def _routing(name: str, text: str) -> Any:
    return option(name, text, "Routing")


def _writing(name: str, text: str) -> Any:
    return option(name, text, "Writing")


def _watching(name: str, text: str) -> Any:
    return option(name, text, "Watching")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The shared options as they were passed. The methods raise `ConfigError` before any weights load."""

    small: Annotated[str | None, _model("--small", f"{NAMED} Default: the bundled pair.")] = None
    large: Annotated[str | None, _model("--large", f"{NAMED} Default: the bundled pair.")] = None
    config: Annotated[str | None, _model("--config", FILE_TEXT)] = None
    small_tokenizer: Annotated[str | None, _model("--small-tokenizer", SERVER_OPTIONS["small_tokenizer"])] = None
    large_tokenizer: Annotated[str | None, _model("--large-tokenizer", SERVER_OPTIONS["large_tokenizer"])] = None
    api_key_env: Annotated[str | None, _model("--api-key-env", SERVER_OPTIONS["api_key_env"])] = None
    engine: Annotated[str | None, _model("--engine", LOAD_OPTIONS["engine"])] = None
    dtype: Annotated[str | None, _model("--dtype", LOAD_OPTIONS["dtype"])] = None
    device: Annotated[str | None, _model("--device", LOAD_OPTIONS["device"])] = None
    prepacked: Annotated[bool, _model("--prepacked", LOAD_OPTIONS["prepacked"])] = False
    threshold: Annotated[
        float | None,
        _routing("--threshold", f"{ROUTING_TEXTS['threshold']} {BUNDLED_THRESHOLD} for the bundled pair."),
    ] = None
    profile: Annotated[str | None, _routing("--profile", "Take the threshold from this file of `glimp calibrate`.")] = (
        None
    )
    entropy: Annotated[str | None, _routing("--entropy", ROUTING_TEXTS["entropy"])] = None
    reasoning: Annotated[str | None, _routing("--reasoning", ROUTING_TEXTS["reasoning"])] = None
    reasoning_effort: Annotated[str | None, _routing("--reasoning-effort", ROUTING_TEXTS["reasoning_effort"])] = None
    answer_by: Annotated[str | None, _routing("--answer-by", ROUTING_TEXTS["answer_by"])] = None
    on_large_failure: Annotated[str | None, _routing("--on-large-failure", ROUTING_TEXTS["on_large_failure"])] = None
    max_reasoning_tokens: Annotated[
        int | None, _routing("--max-reasoning-tokens", ROUTING_TEXTS["max_reasoning_tokens"])
    ] = None
    max_tokens: Annotated[int | None, _writing("--max-tokens", SAMPLING_TEXTS["max_tokens"])] = None
    temperature: Annotated[float | None, _writing("--temperature", SAMPLING_TEXTS["temperature"])] = None
    top_p: Annotated[float | None, _writing("--top-p", SAMPLING_TEXTS["top_p"])] = None
    top_k: Annotated[int | None, _writing("--top-k", SAMPLING_TEXTS["top_k"])] = None
    seed: Annotated[int | None, _writing("--seed", SAMPLING_TEXTS["seed"])] = None
    stop: Annotated[list[str] | None, _writing("--stop", f"{SAMPLING_TEXTS['stop']} (repeatable)")] = None
    system: Annotated[str | None, _writing("--system", "The system message.")] = None
    trace: Annotated[str | None, _watching("--trace", "Append a trace to this file, for `glimp trace`.")] = None
    redact: Annotated[bool, _watching("--redact", "Write no text to the trace, only figures.")] = False
    json: JsonOption = False
    debug: Annotated[bool, option("--debug", "Show the traceback of an error.")] = False

    @cached_property
    def file(self) -> "PairSettings | None":
        """The settings of the pair file, None without one."""
        if self.config is None:
            return None
        from glimp_core.pair_file import read_pair

        return read_pair(self.config)

    @property
    def models(self) -> tuple[Any, Any]:
        """The names of the small and the large model; a table of a pair file is a dict."""
        written = (self.file.small, self.file.large) if self.file else (None, None)
        small, large = self.small or written[0], self.large or written[1]
        if small and large:
            return small, large
        if small or large:
            given, missing = ("--small", "--large") if small else ("--large", "--small")
            raise ConfigError(f"{given} names a model and {missing} does not: name both, or none for the bundled pair")
        return bundled.SMALL, bundled.LARGE

    @property
    def pair(self) -> tuple[str, str]:
        """The names of the small and the large model."""
        small, large = map(shown_name, self.models)
        return small, large

    @property
    def is_bundled(self) -> bool:
        """Whether the pair is the bundled one."""
        return self.models == (bundled.SMALL, bundled.LARGE)

    @property
    def options(self) -> ModelOptions:
        """The options of the models, local or on servers."""
        names = ("engine", "dtype", "device", "small_tokenizer", "large_tokenizer", "api_key_env")
        given = {**{name: getattr(self, name) for name in names}, "prepacked": self.prepacked or None}
        set_here = {name: value for name, value in given.items() if value is not None}
        return cast(ModelOptions, {**(self.file.options if self.file else {}), **set_here})

    def router(self) -> GlimpRouter:
        """Make the router; imports torch, loads no weights."""
        config, taps = self._config(), self._taps()
        policy = self._policy(config)
        sampling = SamplingParams(
            temperature=self.temperature, top_p=self.top_p, top_k=self.top_k,
            max_tokens=self.max_tokens, stop=tuple(self.stop or ()), seed=self.seed,
        )  # fmt: skip
        if self.file:
            sampling = sampling.over(self.file.sampling)
        router = GlimpRouter.from_pretrained(*self.models, policy, config, sampling, **self.options)
        router.taps += taps
        return router

    def conversation(self) -> list[Message]:
        """Return the messages that come before the first question."""
        return [{"role": "system", "content": self.system}] if self.system else []

    def _policy(self, config: RouterConfig) -> Policy:
        if self.profile is not None:
            if self.threshold is not None:
                raise ConfigError(f"--threshold {self.threshold} and --profile {self.profile}: give one of them")
            return load_profile(self.profile)
        if self.threshold is None and self.file and self.file.policy:
            return self.file.policy
        default = BUNDLED_THRESHOLD if self.is_bundled else EntropyThreshold().threshold
        return EntropyThreshold.of(default if self.threshold is None else self.threshold, config)

    def _taps(self) -> list[Tap]:
        if self.redact and self.trace is None:
            raise ConfigError("--redact is about a trace: name its file with --trace")
        if self.trace is None:
            return []
        from glimp_core.trace import TraceFile

        return [TraceFile(self.trace, self.redact)]

    def _config(self) -> RouterConfig:
        names = ("entropy", "reasoning", "reasoning_effort", "answer_by", "on_large_failure", "max_reasoning_tokens")
        given: dict[str, Any] = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        usual = self.file.config if self.file else Pair(*self.models, self.options).default_config()
        return replace(usual, **given)
