"""What a ChatGlimp is: its fields, checked, and the router, cache key and profile that follow from them."""

import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any, Literal, Self

from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.utils import secret_from_env
from pydantic import ConfigDict, Field, SecretStr, ValidationError, model_validator

from glimp_core import ConfigError, EntropyThreshold, GlimpRouter, Policy, RouterConfig, SamplingParams, __version__
from glimp_core.errors import unknown_name
from glimp_core.live import Reference
from glimp_core.pair import Pair
from glimp_core.source import SERVING
from glimp_langchain._errors import what_is_wrong

LOADING = ("dtype", "device", "device_map", "quantization_config", "attn_implementation", "revision", *SERVING)
"""Fields that say how models load and serve; None leaves it to the core."""

LIVE = ("small", "large", "router")
"""Fields that may hold an engine or a router, which copies share and pickles refer to."""


class GlimpSettings(BaseChatModel):
    """The fields of `ChatGlimp`; see there. Nothing here loads a model or imports torch."""

    model_config = ConfigDict(
        arbitrary_types_allowed=True,
        populate_by_name=True,
        protected_namespaces=(),
        hide_input_in_errors=True,  # an error about one option would show all, the token among them
    )

    small: Any = None
    large: Any = None
    router: GlimpRouter | None = None
    dtype: Any = None
    device: str | None = None
    device_map: Any = None
    quantization_config: Any = None
    attn_implementation: str | None = None
    revision: str | None = None
    max_batch: int | None = None
    max_cached_tokens: int | None = None
    prepacked: bool | None = None
    threshold: float | None = None
    policy: Policy | None = None
    reasoning: Literal["auto", "inline", "off"] | bool | None = None
    max_reasoning_tokens: int | None = None
    config: RouterConfig | None = None

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: list[str] | str | None = None
    seed: int | None = None
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    logprobs: bool = False
    step_events: bool = False

    timeout: float | None = None
    max_retries: int | None = None
    streaming: bool | None = None
    hf_token: SecretStr | None = Field(default_factory=secret_from_env("HF_TOKEN", default=None), alias="api_key")

    @model_validator(mode="before")
    @classmethod
    def _read_names(cls, given: Any) -> Any:
        """Split `model="small+large"`, and refuse what is not known: Pydantic would drop it unsaid."""
        given = dict(given)
        if model := given.pop("model", None):
            small, _, large = str(model).rpartition("+")
            given |= {"large": large, **({"small": small} if small else {})}
        known = {*cls.model_fields, "model", "api_key"}
        for name in given:
            if name not in known:
                raise unknown_name("option", name, known)
        return given

    @model_validator(mode="after")
    def _check_glimp_fields(self) -> Self:
        if self.router is not None and (self.small or self.large):
            raise ConfigError("give a router, or small and large, not both")
        if self.policy is not None and self.threshold is not None:
            raise ConfigError(f"give threshold={self.threshold!r} or policy={self.policy!r}, not both")
        if self.router is None:
            pair = self._pair
            self.__dict__.update(small=pair.small, large=pair.large)  # a loaded (model, tokenizer) is an engine now
        self._sampling()
        self._policy()
        return self

    @model_validator(mode="after")
    def _set_glimp_version(self) -> Self:
        self._add_version("glimp", __version__)
        return self

    @property
    def model_name(self) -> str:
        """Both models' names, as in "Qwen/Qwen3-0.6B+Qwen/Qwen3-8B"."""
        return self._pair.name

    def warm_up(self) -> Self:
        """Load the weights of both models now, rather than at the first call; the profile then knows their window."""
        router = self._router()
        router.load()
        if self.profile is not None:
            self.profile.setdefault("max_input_tokens", router.window)
        return self

    @property
    def _llm_type(self) -> str:
        return "chat-glimp"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """All that changes a reply: LangChain's response caches tell models apart by this."""
        sampling = self._sampling().over(self.router.sampling if self.router else SamplingParams())
        return {
            "model_name": self.model_name,
            "pair": self._pair.identity,
            "policy": repr(self._policy()),
            "config": asdict(self._config()),
            "sampling": asdict(sampling),
            "chat_template_kwargs": self.chat_template_kwargs,
            "logprobs": self.logprobs,
        }

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Secrets by the environment variable that holds them."""
        return {"hf_token": "HF_TOKEN"}

    @property
    def _pair(self) -> Pair:
        if self.router is not None:
            return Pair(self.router.small, self.router.large)
        loading = {name: getattr(self, name) for name in LOADING} | {"token": self._token()}
        return Pair(self.small, self.large, {name: value for name, value in loading.items() if value is not None})

    def _token(self) -> str | None:
        """Return a token given here; the one in the environment is found without us."""
        token = self.hf_token.get_secret_value() if self.hf_token else None
        return token if token != os.environ.get("HF_TOKEN") else None

    def _router(self) -> GlimpRouter:
        if self.router is not None and self._config() == self.router.config:
            return self.router
        router = self._pair.router(self._policy(), self._config())
        if self.router is not None:
            router.sampling, router.taps = self.router.sampling, self.router.taps
        return router

    def _config(self) -> RouterConfig:
        config = self.config or (self.router.config if self.router else RouterConfig())
        if self.reasoning is not None:
            words: dict[Any, Any] = {True: "auto", False: "off"}
            config = replace(config, reasoning=words.get(self.reasoning, self.reasoning))
        if self.max_reasoning_tokens is not None:
            config = replace(config, max_reasoning_tokens=self.max_reasoning_tokens)
        return config

    def _policy(self) -> Policy:
        if self.policy is not None:
            return self.policy
        if self.router is not None and self.threshold is None:
            return self.router.policy
        return EntropyThreshold.of(1.0 if self.threshold is None else self.threshold, self._config())

    def _routing(self, stop: list[str] | None) -> dict[str, Any]:
        """Return what a router's `stream` is to be told besides what is asked."""
        return {
            "sampling": self._sampling(stop),
            "policy": self._policy(),
            "chat_template_kwargs": self.chat_template_kwargs,
            "measured": self.logprobs,
        }

    def _sampling(self, stop: list[str] | None = None) -> SamplingParams:
        """Return the sampling parameters, with the stop strings of the call added to the model's own."""
        own = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return SamplingParams(
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            max_tokens=self.max_tokens,
            stop=tuple(dict.fromkeys([*own, *(stop or [])])),
            seed=self.seed,
        )

    def _with(self, given: Mapping[str, Any]) -> Self:
        """Return this model with some fields changed, None leaves a field as it is. Raises `ConfigError`."""
        given = {name: value for name, value in given.items() if value is not None}
        if given.get("model") in (self.model_name, self.model_name.rpartition("+")[2]):
            del given["model"]
        if not given:
            return self
        fields: dict[str, Any] = {name: getattr(self, name) for name in self.model_fields_set - {"metadata"}}
        if "model" in given and (router := fields.pop("router", None)):
            fields = {**asdict(router.sampling), "small": router.small, "config": router.config, **fields}
            fields.setdefault("policy", None if self.threshold is not None else router.policy)
        if {"threshold", "policy"} & set(given):
            fields |= {"threshold": None, "policy": None}
        if "model" in given:
            fields.pop("profile", None)
        try:
            return type(self).model_validate({**fields, **given})
        except ValidationError as error:
            raise ConfigError(what_is_wrong(error, given)) from error

    def _resolve_model_profile(self) -> ModelProfile | None:
        """Say what the pair can do, as far as it is known without loading it, in the installed LangChain's fields."""
        profile = ModelProfile(
            name=self.model_name,
            open_weights=True,
            text_inputs=True,
            text_outputs=True,
            reasoning_output=self._config().reasoning == "auto",
            tool_calling=True,
            tool_choice=True,
            tool_call_streaming=True,
            structured_output=True,
            temperature=True,
            max_output_tokens=self.max_tokens or self._config().max_answer_tokens,
        )
        if (window := self._pair.window) is not None:
            profile["max_input_tokens"] = window
        if "mid_conversation_system_messages" in ModelProfile.__annotations__:  # since langchain-core 1.7
            profile["mid_conversation_system_messages"] = True  # chat templates get them, or the user's turn there
        return profile

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        memo = {} if memo is None else memo
        memo |= {id(living): living for living in self._living().values()}
        return super().__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        state = super().__getstate__()
        references = {name: Reference.to(living) for name, living in self._living().items()}
        return {**state, "__dict__": {**state["__dict__"], **references}}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        fields = {n: v.resolve() if isinstance(v, Reference) else v for n, v in state["__dict__"].items()}
        super().__setstate__({**state, "__dict__": fields})

    def _living(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in LIVE}
        return {name: value for name, value in values.items() if value is not None and not isinstance(value, str)}
