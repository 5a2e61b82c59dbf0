"""What a GlimpLLM is made of: its fields, its router, its metadata, and how it is copied and written down."""

import copy
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.bridge.pydantic import (
    Field,
    PrivateAttr,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_serializer,
    model_serializer,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from typing_extensions import Self

from glimp_core import ConfigError, EntropyThreshold, GlimpRouter, RouterConfig, SamplingParams
from glimp_core.errors import unknown_name
from glimp_core.live import Reference
from glimp_core.pair import Pair
from glimp_llamaindex._replies import ThinkingPosition


class PairLLM(FunctionCallingLLM):
    """The fields of `GlimpLLM`. Making one loads nothing and imports no torch; copies share the models."""

    small: Any = Field(default=None, description="The small model: a name, a folder, (model, tokenizer) or an engine.")
    large: Any = Field(default=None, description="The large model, likewise.")
    threshold: float | None = Field(default=None, description="Entropy in nats above which the large model writes.")
    config: RouterConfig | None = Field(default=None, description="How the pair reasons: budgets, who answers.")
    temperature: float | None = Field(default=None, description="0 is greedy; None leaves it to the models.")
    top_p: float | None = Field(default=None, description="Share of the likeliest tokens to draw from.")
    top_k: int | None = Field(default=None, description="Number of the likeliest tokens to draw from.")
    max_tokens: int | None = Field(default=None, description="The most tokens of an answer; thinking comes on top.")
    stop: list[str] | None = Field(default=None, description="Texts that end an answer, such as 'Observation:'.")
    seed: int | None = Field(default=None, description="Makes sampling deterministic.")
    timeout: float | None = Field(default=None, description="The most seconds that a reply may take.")
    thinking_position: ThinkingPosition = Field(
        default="first", description="Where the ThinkingBlock of a message stands: 'first', 'last' or 'omit'."
    )
    is_function_calling_model: bool = Field(default=True, description="What the metadata says about tools.")
    routing_events: bool = Field(default=False, description="Dispatch a GlimpStepEvent for every finished step.")
    model_options: dict[str, Any] = Field(
        default_factory=dict, repr=False, description="What the models load with: dtype, device, revision, ..."
    )

    _router: GlimpRouter | None = PrivateAttr(default=None)
    _router_given: bool = PrivateAttr(default=False)

    def __init__(self, small: Any = None, large: Any = None, *, router: GlimpRouter | None = None, **fields: Any):
        for name in fields:
            if name not in type(self).model_fields:
                raise unknown_name("option", name, type(self).model_fields)
        super().__init__(small=_living(small), large=_living(large), **fields)
        self._router = _living(router)
        self._router_given = router is not None
        self._check()

    def _check(self) -> None:
        """Refuse at once what could not work at the first request."""
        if self._router_given and not isinstance(self._router, GlimpRouter):
            raise ConfigError(f"router={self._router!r} is no GlimpRouter")
        if self._router_given and (self.small or self.large or self.config):
            raise ConfigError("router=... stands for both models and their config: leave out small, large and config")
        self.pair  # noqa: B018, raises where a model is missing
        self.sampling()
        if self.threshold is not None:
            EntropyThreshold(self.threshold)

    @classmethod
    def class_name(cls) -> str:
        """Return the name that stands for this class in saved data."""
        return "GlimpLLM"

    @property
    def pair(self) -> Pair:
        """The two models, as they were named."""
        if self._router_given:
            return Pair(self.router.small, self.router.large)
        return Pair(self.small, self.large, self.model_options)

    @property
    def router(self) -> GlimpRouter:
        """The router behind this LLM. It is made at the first use, its weights load at the first request."""
        if self._router is None:
            self._router = self.pair.router(config=self.config)
        return self._router

    @property
    def tokenizer(self) -> Any:
        """The large model's tokenizer, as `Settings.tokenizer` takes it. Raises `ConfigError` where it has none."""
        tokenizer = getattr(self.router.large, "tokenizer", None)
        if tokenizer is None:
            raise ConfigError(f"{self.router.large.name!r} has no tokenizer in this process")
        return tokenizer

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex plans with; known without weights. `num_output` holds room for thinking and answer."""
        window = self.pair.window or self.router.window
        config = self.router.config if self._router_given else self.config or RouterConfig()
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
        described = {"model": pair.name, "small": pair.identity["small"], "large": pair.identity["large"]}
        return {**super().to_payload(), **described, "temperature": self.temperature, "threshold": self.threshold}

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

    @field_serializer("model_options")
    def _without_secrets(self, options: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in options.items() if name != "token"}

    @model_serializer(mode="wrap")
    def custom_model_dump(self, handler: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Write the LLM down, with references in place of objects that live in this process."""
        data: dict[str, Any] = handler(self.model_copy(update=dict.fromkeys(("small", "large"))))
        references = {name: asdict(v) if isinstance(v, Reference) else v for name, v in self._references().items()}
        return {**data, **references, "class_name": self.class_name()}

    def __getstate__(self) -> dict[str, Any]:
        references = self._references()
        stand_in = self.model_copy(update={name: references[name] for name in ("small", "large")})
        stand_in._router = None
        state: dict[str, Any] = super(PairLLM, stand_in).__getstate__()
        state["__dict__"]["router"] = references.get("router")
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["__dict__"])  # type: ignore[misc]

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy the fields, never the models."""
        copied = self.model_copy()
        for name, value in copied.__dict__.items():
            if isinstance(value, (list, dict)):
                copied.__dict__[name] = copy.copy(value)
        return copied

    def _references(self) -> dict[str, Any]:
        """Return the models as they can be written down: names as they are, objects by reference."""
        if self._router_given:
            return {"small": None, "large": None, "router": Reference.to(self.router)}
        return {name: self._reference(name) for name in ("small", "large")}

    def _reference(self, role: str) -> Any:
        model = getattr(self, role)
        if isinstance(model, (str, Path)):
            return str(model)
        return Reference.to(getattr(self.router, role))


def _living(model: Any) -> Any:
    """Return the object that a reference stands for, or what was given."""
    if isinstance(model, Mapping):
        model = Reference(**model)
    return model.resolve() if isinstance(model, Reference) else model
