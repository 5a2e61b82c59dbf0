"""What a GlimpLLM is made of: its fields, its router, its metadata, and how it is copied and written down."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any, Literal, Self

from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.bridge.pydantic import (
    Field,
    PrivateAttr,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_serializer,
    field_validator,
    model_serializer,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM

from glimp_core import ConfigError, EntropyThreshold, GlimpRouter, Policy, RouterConfig, SamplingParams
from glimp_core.errors import unknown_name
from glimp_core.live import Reference
from glimp_core.pair import Pair
from glimp_core.source import SERVING
from glimp_llamaindex._replies import ThinkingPosition

LOADING = ("dtype", "device", "device_map", "quantization_config", "attn_implementation", "revision", *SERVING)
"""Fields that say how models load and serve; None leaves it to the core."""


class PairLLM(FunctionCallingLLM):
    """The fields of `GlimpLLM`. Making one loads nothing and imports no torch; copies share the models."""

    small: Any = Field(default=None, description="The small model: a name, a folder, (model, tokenizer) or an engine.")
    large: Any = Field(default=None, description="The large model, likewise.")
    dtype: Any = Field(default=None, description="The weights' type, such as 'bfloat16'.")
    device: str | None = Field(default=None, description="Where the models run, such as 'cuda'.")
    device_map: Any = Field(default=None, description="Where the parts of the models run.")
    quantization_config: Any = Field(default=None, description="How the weights are quantised.")
    attn_implementation: str | None = Field(default=None, description="Which attention code runs.")
    revision: str | None = Field(default=None, description="The models' revision on the hub.")
    max_batch: int | None = Field(default=None, description="How many requests a model serves at once; others wait.")
    max_cached_tokens: int | None = Field(default=None, description="For how many tokens caches are kept.")
    prepacked: bool | None = Field(default=None, description="Whether a CPU keeps a second, quicker copy of weights.")
    threshold: float | None = Field(default=None, description="Entropy in nats above which the large model writes.")
    reasoning: Literal["auto", "inline", "off"] | None = Field(default=None, description="Whether the pair thinks.")
    max_reasoning_tokens: int | None = Field(default=None, description="The most tokens that are thought.")
    config: RouterConfig | None = Field(default=None, description="The finer settings of the router.")
    temperature: float | None = Field(default=None, description="0 is greedy; None leaves it to the models.")
    top_p: float | None = Field(default=None, description="Share of the likeliest tokens to draw from.")
    top_k: int | None = Field(default=None, description="Number of the likeliest tokens to draw from.")
    max_tokens: int | None = Field(default=None, description="The most tokens of an answer; thinking comes on top.")
    stop: list[str] | None = Field(default=None, description="Texts that end an answer, such as 'Observation:'.")
    seed: int | None = Field(default=None, description="Makes sampling deterministic.")
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict, description="For the models' templates.")
    timeout: float | None = Field(default=None, description="The most seconds that a reply may take.")
    thinking_position: ThinkingPosition = Field(
        default="first", description="Where the ThinkingBlock of a message stands: 'first', 'last' or 'omit'."
    )
    is_function_calling_model: bool = Field(default=True, description="What the metadata says about tools.")
    routing_events: bool = Field(default=False, description="Dispatch a GlimpStepEvent for every finished step.")

    _given: GlimpRouter | None = PrivateAttr(default=None)
    _policy: Policy | None = PrivateAttr(default=None)
    _made: GlimpRouter | None = PrivateAttr(default=None)

    def __init__(
        self,
        small: Any = None,
        large: Any = None,
        *,
        router: GlimpRouter | None = None,
        policy: Policy | None = None,
        **fields: Any,
    ):
        for name in fields:
            if name not in type(self).model_fields:
                raise unknown_name("option", name, {*type(self).model_fields, "router", "policy"})
        super().__init__(small=_living(small), large=_living(large), **fields)
        self._given, self._policy = _living(router), policy
        self._check()

    def _check(self) -> None:
        """Refuse at once what could not work at the first request."""
        if self._given is None:
            self.small, self.large = self.pair.small, self.pair.large  # a loaded (model, tokenizer) is an engine now
        elif not isinstance(self._given, GlimpRouter):
            raise ConfigError(f"router={self._given!r} is no GlimpRouter: make one, or pass small=... and large=...")
        elif self.small or self.large:
            raise ConfigError("give a router, or small and large, not both")
        if self._policy is not None and self.threshold is not None:
            raise ConfigError(f"give threshold={self.threshold!r} or policy={self._policy!r}, not both")
        self.sampling()
        EntropyThreshold.of(self.threshold or 0.0, self.router_config())

    @classmethod
    def class_name(cls) -> str:
        """Return the name that stands for this class in saved data."""
        return "GlimpLLM"

    @property
    def pair(self) -> Pair:
        """The two models."""
        if self._given is not None:
            return Pair(self._given.small, self._given.large)
        loading = {name: getattr(self, name) for name in LOADING}
        return Pair(self.small, self.large, {name: value for name, value in loading.items() if value is not None})

    @property
    def router(self) -> GlimpRouter:
        """The router behind this LLM, made at the first use; its weights load at the first request."""
        given, made, config = self._given, self._made, self.router_config()
        if given is not None and self._policy is None and config == given.config:
            return given
        if made is not None and config == made.config:
            return made
        if given is None:
            router = self.pair.router(self._policy, config)
        else:
            policy = self._policy or given.policy
            router = GlimpRouter(given.small, given.large, policy, config, given.sampling, given.taps)
        self._made = router
        return router

    @property
    def tokenizer(self) -> Callable[[str], list[int]]:
        """The large model's tokenizer, for `Settings.tokenizer`. Raises `ConfigError` where it has none here."""
        large = self.router.large
        encode: Callable[[str], list[int]] | None = getattr(large, "encode", None)
        if encode is None:
            raise ConfigError(f"{large.name!r} has no tokenizer in this process")
        return encode

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex plans with; known without weights. `num_output` leaves room for thinking and answer."""
        window = self.pair.window or self.router.window
        config = self.router_config()
        thinking = config.max_reasoning_tokens if config.reasoning == "auto" else 0
        return LLMMetadata(
            context_window=window,
            num_output=min(thinking + (self.max_tokens or config.max_answer_tokens), window // 2),
            is_chat_model=True,
            is_function_calling_model=self.is_function_calling_model,
            model_name=self.pair.name,
        )

    def to_payload(self) -> dict[str, Any]:
        """Return what observability may see of this LLM; there are no secrets in it."""
        pair = self.pair
        return {
            "class_name": self.class_name(),
            **self.metadata.model_dump(),
            "model": pair.name,
            "small": pair.identity["small"],
            "large": pair.identity["large"],
            "temperature": self.temperature,
            "threshold": self.threshold,
        }

    def load(self) -> None:
        """Load the weights of both models now, rather than at the first request."""
        self.router.load()

    def sampling(self) -> SamplingParams:
        """Return the sampling parameters that the fields name."""
        return SamplingParams(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            max_tokens=self.max_tokens,
            stop=tuple(self.stop or ()),
            seed=self.seed,
        )

    def router_config(self) -> RouterConfig:
        """Return the settings of the router: those of `config`, or of the given router, with the fields' on top."""
        config = self.config or (self._given.config if self._given is not None else RouterConfig())
        named = {name: getattr(self, name) for name in ("reasoning", "max_reasoning_tokens")}
        return replace(config, **{name: value for name, value in named.items() if value is not None})

    @field_validator("stop", mode="before")
    @classmethod
    def _several(cls, stop: Any) -> Any:
        return [stop] if isinstance(stop, str) else stop

    @field_serializer("dtype", "quantization_config")
    def _plain(self, option: Any) -> Any:
        if option is None or isinstance(option, (str, dict)):
            return option
        return option.to_dict() if hasattr(option, "to_dict") else str(option).removeprefix("torch.")

    @model_serializer(mode="wrap")
    def custom_model_dump(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Write the LLM down, with references in place of objects that live in this process."""
        data: dict[str, Any] = handler(self.model_copy(update={"small": None, "large": None}))
        references = self._references()
        if self._policy is not None:  # any object with a `decide`: the router that has it stands for all
            references = {"small": None, "large": None, "router": Reference.to(self.router)}
        written = {name: asdict(model) if isinstance(model, Reference) else model for name, model in references.items()}
        return {**data, **written, "class_name": self.class_name()}

    def __getstate__(self) -> dict[str, Any]:
        references = self._references()
        stand_in = self.model_copy(update={name: references[name] for name in ("small", "large")})
        stand_in._given = stand_in._made = None
        state: dict[str, Any] = super(PairLLM, stand_in).__getstate__()
        state["__dict__"] |= {"router": references["router"], "policy": self._policy}
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["__dict__"])  # type: ignore[misc]

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy the fields, never the models."""
        copied = self.model_copy()
        for name, value in copied.__dict__.items():
            if isinstance(value, (list, dict)):
                copied.__dict__[name] = copy.deepcopy(value)
        return copied

    def _references(self) -> dict[str, Any]:
        """Return the models as they can be written down: names as they are, objects of this process by reference."""
        living = {"small": self.small, "large": self.large, "router": self._given}
        return {
            name: model if model is None or isinstance(model, str) else Reference.to(model)
            for name, model in living.items()
        }


def _living(model: Any) -> Any:
    """Return the object that a reference stands for, or what was given."""
    if isinstance(model, Mapping):
        model = Reference(**model)
    return model.resolve() if isinstance(model, Reference) else model
