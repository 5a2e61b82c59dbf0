"""What the models of both adapters share: their options, and the pair, sampling and settings that follow from them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, Field, SecretStr

from glimp_core.config import RouterConfig
from glimp_core.context import Reasoning, ReasoningEffort
from glimp_core.errors import ConfigError
from glimp_core.options import (
    FILE_TEXT,
    LOAD_OPTIONS,
    ROUTING_TEXTS,
    SAMPLING_TEXTS,
    SERVER_OPTIONS,
    ModelOptions,
    described,
)
from glimp_core.pair import Pair
from glimp_core.policy import EntropyThreshold, Policy
from glimp_core.router import GlimpRouter
from glimp_core.types import SamplingParams


class PairOptions(ModelOptions, total=False):
    """The options of a pair in an adapter: models, routing and sampling. None means the default of the core."""

    threshold: Annotated[float | None, ROUTING_TEXTS["threshold"]]
    reasoning: Annotated[Reasoning | bool | None, ROUTING_TEXTS["reasoning"] + " True is 'auto', False 'off'."]
    reasoning_effort: Annotated[ReasoningEffort | None, ROUTING_TEXTS["reasoning_effort"]]
    max_reasoning_tokens: Annotated[int | None, ROUTING_TEXTS["max_reasoning_tokens"]]
    config: Annotated[RouterConfig | None, "All other settings of the router."]
    temperature: Annotated[float | None, SAMPLING_TEXTS["temperature"]]
    top_p: Annotated[float | None, SAMPLING_TEXTS["top_p"]]
    top_k: Annotated[int | None, SAMPLING_TEXTS["top_k"]]
    max_tokens: Annotated[int | None, SAMPLING_TEXTS["max_tokens"]]
    max_completion_tokens: Annotated[int | None, SAMPLING_TEXTS["max_completion_tokens"]]
    stop: Annotated[list[str] | str | None, SAMPLING_TEXTS["stop"]]
    seed: Annotated[int | None, SAMPLING_TEXTS["seed"]]
    chat_template_kwargs: Annotated[dict[str, Any], "Variables for the models' chat templates."]
    timeout: Annotated[float | None, "The longest time of a reply in seconds."]
    config_file: Annotated[str | None, FILE_TEXT]


class NamedPairOptions(PairOptions, total=False):
    """The options of a pair, including its models. `PairModel` has all of them as fields."""

    small: Annotated[
        Any,
        "The small model: a hub id, a folder, a .gguf file, http://host:8001/v1#name, (model, tokenizer), an engine.",
    ]
    large: Annotated[Any, "The large model, in the same forms."]


DECIDING = {"threshold", "policy"}
"""The options that say who decides; one that is given replaces the other in a file."""

_TEXTS = described(NamedPairOptions)


class PairModel(BaseModel):
    """The shared fields of `ChatGlimp` and `GlimpLLM`. Nothing here loads a model or imports torch."""

    option_texts: ClassVar[Mapping[str, str]] = _TEXTS
    """Descriptions by name, also of fields that a framework's own class leaves undescribed."""

    small: Any = Field(None, description=_TEXTS["small"])
    large: Any = Field(None, description=_TEXTS["large"])
    dtype: Any = Field(None, description=_TEXTS["dtype"])
    device: str | None = Field(None, description=_TEXTS["device"])
    device_map: Any = Field(None, description=_TEXTS["device_map"])
    quantization_config: Any = Field(None, description=_TEXTS["quantization_config"])
    attn_implementation: str | None = Field(None, description=_TEXTS["attn_implementation"])
    revision: str | None = Field(None, description=_TEXTS["revision"])
    max_batch: int | None = Field(None, description=_TEXTS["max_batch"])
    max_cached_tokens: int | None = Field(None, description=_TEXTS["max_cached_tokens"])
    max_memory_bytes: int | None = Field(None, description=_TEXTS["max_memory_bytes"])
    engine: Any = Field(None, description=_TEXTS["engine"])
    prepacked: bool | None = Field(None, description=_TEXTS["prepacked"])
    small_tokenizer: str | None = Field(None, description=_TEXTS["small_tokenizer"])
    large_tokenizer: str | None = Field(None, description=_TEXTS["large_tokenizer"])
    api_key_env: str | None = Field(None, description=_TEXTS["api_key_env"])
    threshold: float | None = Field(None, description=_TEXTS["threshold"])
    reasoning: Reasoning | bool | None = Field(None, description=_TEXTS["reasoning"])
    reasoning_effort: ReasoningEffort | None = Field(None, description=_TEXTS["reasoning_effort"])
    max_reasoning_tokens: int | None = Field(None, description=_TEXTS["max_reasoning_tokens"])
    config: RouterConfig | None = Field(None, description=_TEXTS["config"])
    temperature: float | None = Field(None, description=_TEXTS["temperature"])
    top_p: float | None = Field(None, description=_TEXTS["top_p"])
    top_k: int | None = Field(None, description=_TEXTS["top_k"])
    max_tokens: int | None = Field(None, description=_TEXTS["max_tokens"])
    max_completion_tokens: int | None = Field(None, description=_TEXTS["max_completion_tokens"])
    stop: list[str] | str | None = Field(None, description=_TEXTS["stop"])
    seed: int | None = Field(None, description=_TEXTS["seed"])
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict, description=_TEXTS["chat_template_kwargs"])
    timeout: float | None = Field(None, description=_TEXTS["timeout"])

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        for name, field in cls.model_fields.items():
            field.description = field.description or cls.option_texts.get(name)

    @classmethod
    def options_with_file(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the given options, with those of the pair file that `config_file` names where they leave room.

        Raises `ConfigError` for a file that cannot be read or used, and beside a router.
        """
        options = dict(given)
        path = options.pop("config_file", None)
        if path is None:
            return options
        if options.get("router") is not None:
            raise ConfigError(f"give a router, or config_file={path!r}, not both")
        from glimp_core.pair_file import read_pair

        options = {name: value for name, value in options.items() if value is not None}
        written = read_pair(path).adapter_options()
        decided = DECIDING & set(options)
        return {**{name: value for name, value in written.items() if not (decided and name in DECIDING)}, **options}

    def __getstate__(self) -> dict[Any, Any]:
        """Leave secrets out: a pickle may lie anywhere. Whoever reads it has those of its environment."""
        state = super().__getstate__()
        values = {name: None if isinstance(value, SecretStr) else value for name, value in state["__dict__"].items()}
        return {**state, "__dict__": values}

    @property
    def pair(self) -> Pair:
        """The two models, and what they load with."""
        router, _ = self._made_elsewhere()
        if router is not None:
            return Pair(router.small, router.large)
        return Pair(self.small, self.large, self._loading())

    def sampling(self, stop: Sequence[str] = ()) -> SamplingParams:
        """Return the sampling parameters that the fields name, with the stop strings of a call added to their own."""
        own = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return SamplingParams(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            max_tokens=self.max_tokens,
            max_completion_tokens=self.max_completion_tokens,
            stop=tuple(dict.fromkeys([*own, *stop])),
            seed=self.seed,
        )

    def router_config(self) -> RouterConfig:
        """Return the settings of the router: those of `config`, or of the given router, with the fields' on top."""
        router, _ = self._made_elsewhere()
        config = self.config or (router.config if router else self.pair.default_config())
        if self.reasoning is not None:
            words: dict[Any, Any] = {True: "auto", False: "off"}
            config = replace(config, reasoning=words.get(self.reasoning, self.reasoning))
        if self.reasoning_effort is not None:
            config = replace(config, reasoning_effort=self.reasoning_effort)
        if self.max_reasoning_tokens is not None:
            config = replace(config, max_reasoning_tokens=self.max_reasoning_tokens)
        return config

    def routing_policy(self) -> Policy:
        """Return the policy that decides: the given one, the given router's, or that of `threshold`."""
        router, policy = self._made_elsewhere()
        if policy is not None:
            return policy
        if router is not None and self.threshold is None:
            return router.policy
        return EntropyThreshold.of(1.0 if self.threshold is None else self.threshold, self.router_config())

    def _made_elsewhere(self) -> tuple[GlimpRouter | None, Policy | None]:
        """Return the router and the policy that were given as objects."""
        raise NotImplementedError

    def _loading(self) -> dict[str, Any]:
        """Return the options of the models that are set."""
        values = {name: getattr(self, name, None) for name in (*LOAD_OPTIONS, *SERVER_OPTIONS)}
        return {name: value for name, value in values.items() if value is not None}

    def _check_options(self) -> None:
        """Refuse at once what could not work at the first request; a loaded (model, tokenizer) becomes an engine."""
        router, policy = self._made_elsewhere()
        if router is None:
            pair = self.pair
            self.__dict__.update(small=pair.small, large=pair.large)
        elif not isinstance(router, GlimpRouter):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"router={router!r} is no GlimpRouter: make one, or pass small=... and large=...")
        elif self.small or self.large:
            raise ConfigError("give a router, or small and large, not both")
        if policy is not None and self.threshold is not None:
            raise ConfigError(f"give threshold={self.threshold!r} or policy={policy!r}, not both")
        self.sampling()
        self.routing_policy()
