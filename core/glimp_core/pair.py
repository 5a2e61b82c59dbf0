"""The description of a pair of models, which an adapter holds until its first request.

A description imports no torch and loads nothing. Equal descriptions of a model share its weights, which stay in memory
until the process ends or `release()` is called. A `Reference` refers to an engine or a router, so that an object that
holds one can be compared, copied and pickled.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from weakref import WeakValueDictionary

from glimp_core import bundled
from glimp_core.config import RouterConfig
from glimp_core.engine import Engine
from glimp_core.errors import ConfigError, EngineError
from glimp_core.forking import Lock
from glimp_core.model_description import ModelDescription, check_pair_options, is_address, shown_name
from glimp_core.options import SERVER_OPTIONS, concealed
from glimp_core.policy import Policy
from glimp_core.router import GlimpRouter
from glimp_core.source import ModelSource
from glimp_core.types import SamplingParams

_lock = Lock()
_living: "WeakValueDictionary[str, Any]" = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference to an object of this process. Two references are equal if they refer to the same object."""

    key: str
    description: str = ""

    @classmethod
    def to(cls, living: Any) -> "Reference":
        """Return the reference to an object, which it does not keep alive."""
        with _lock:  # objects that are made meanwhile would change the table during the search
            key = next((key for key, value in list(_living.items()) if value is living), None) or uuid.uuid4().hex
            _living[key] = living
        return cls(key, type(living).__name__)

    def resolve(self) -> Any:
        """Return the object. Raises `ConfigError` if it was collected, or belongs to another process."""
        if (living := _living.get(self.key)) is None:
            raise ConfigError(
                f"this {self.description} is gone, or lives in another process: what holds one can be unpickled only "
                "where it was pickled; name the models (small='...', large='...') to pickle for elsewhere"
            )
        return living


ROLES: tuple[Literal["small"], Literal["large"]] = ("small", "large")

_kept: set[Engine] = set()
"""The engines of named models: kept, so that weights stay in memory between two routers. `local` knows them by name."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models as `GlimpRouter.from_pretrained` takes them, and the `ModelOptions` they load with or are reached by.

    A loaded `(model, tokenizer)` becomes an engine at once. Raises `ConfigError` if a model is missing, and for
    options that are unknown or that neither model can use.
    """

    small: Any
    large: Any
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", concealed(self.options))
        for role in ROLES:
            object.__setattr__(self, role, _checked(role, getattr(self, role), self.options))
        described = {role: self._described(role) for role in ROLES}
        check_pair_options(described["small"], described["large"], self.options)
        for model in described.values():
            if model and model.engine is not None:
                _software(model)

    @property
    def name(self) -> str:
        """Both names, as in "Qwen/Qwen3-0.6B+Qwen/Qwen3-8B"."""
        return "+".join(self.names)

    @property
    def names(self) -> tuple[str, str]:
        """The names of the small and the large model; one at a server has the name that it has there."""
        small, large = (
            model.name if isinstance(model, Engine) else shown_name(model) for model in (self.small, self.large)
        )
        return small, large

    @property
    def identity(self) -> dict[str, str]:
        """All that changes what the pair writes, as texts, without secrets: part of a response cache's key.

        An engine that the caller made is known by itself alone, and is therefore another one in every process.
        """
        options = {name: repr(value) for name, value in sorted(self.options.items()) if name != "token"}
        return {"small": _identity(self.small), "large": _identity(self.large), **options}

    @property
    def window(self) -> int | None:
        """The context window in tokens, None if no config.json on this machine tells it."""
        windows = [_window(self.small), _window(self.large)]
        known = [window for window in windows if window is not None]
        return min(known) if len(known) == len(windows) else None

    def router(
        self, policy: Policy | None = None, config: RouterConfig | None = None, sampling: SamplingParams | None = None
    ) -> GlimpRouter:
        """Make a router; its weights load at the first request, or are there already."""
        config = config or self.default_config(policy)
        small, large = self.engines()
        _kept.update(engine for engine, named in ((small, self.small), (large, self.large)) if engine is not named)
        return GlimpRouter(small, large, policy, config, sampling)

    def engines(self) -> tuple[Any, Any]:
        """Return both engines. Equal descriptions get the same engine, as long as something refers to it.

        Raises `ConfigError` if the `remote` extra, or the key of a server, is missing.
        """
        small, large = (self._engine(role) for role in ROLES)
        return small, large

    def default_config(self, policy: Policy | None = None) -> RouterConfig:
        """Return the default settings of a router.

        A server that Glimp starts for the small model would send megabytes for each glimpse of the whole vocabulary. So
        glimpses measure "top20" there, unless the policy needs another kind of entropy.
        """
        small = self._described("small")
        if small is None or small.engine is None or _software(small) is None:
            return RouterConfig()
        return RouterConfig(entropy=getattr(policy, "entropy", "top20"))

    def _described(self, role: Literal["small", "large"]) -> ModelDescription | None:
        model = getattr(self, role)
        return None if isinstance(model, Engine) else ModelDescription.of(role, model, self.options)

    def _engine(self, role: Literal["small", "large"]) -> Any:
        described = self._described(role)
        if described is None:
            return getattr(self, role)
        if described.url:
            from glimp_core.remote.address import engine_at

            return engine_at(described.url, described.name, role == "small", **described.resolved())
        if software := _software(described):
            from glimp_core.remote.managed import managed_engine

            return managed_engine(software, role, described.name, described.options)
        from glimp_core.local import engine_from  # loads torch, which describing a pair must not

        return engine_from(described.name, **described.options)


def _software(described: ModelDescription) -> Any:
    """What serves a model that Glimp starts a server for, None for one in this process."""
    if described.engine is None:
        return None
    from glimp_core.remote.managed import server_software

    return server_software(described.engine)


def release() -> None:
    """Forget all named models. Their weights are freed when nothing uses them any more."""
    _kept.clear()


def _checked(role: str, model: Any, options: Mapping[str, Any]) -> Any:
    if not model:
        raise ConfigError(
            f"{role}={model!r} names no model: pass small='...' and large='...', "
            "for example the bundled pair 'glimp-tiny-small' and 'glimp-tiny-large'"
        )
    if isinstance(model, Engine | str):
        return model
    if isinstance(model, Path):
        return ModelSource.of(model).name
    if isinstance(model, Mapping):
        return dict(model)
    from glimp_core.local import engine_from

    meaningless = {*SERVER_OPTIONS, "engine"}
    return engine_from(model, **{name: value for name, value in options.items() if name not in meaningless})


def _identity(model: Any) -> str:
    if isinstance(model, Engine):
        return f"{model.name} #{Reference.to(model).key}"
    if isinstance(model, Mapping):
        return json.dumps({**model, "model": _identity(model["model"])}, sort_keys=True, default=repr)
    path = Path(model).expanduser()
    return str(path.resolve()) if path.exists() else str(model)


def _window(model: Any) -> int | None:
    """Read from a folder's config.json what `local` would, without the libraries that it needs."""
    if isinstance(model, Engine):
        try:
            return model.window
        except EngineError:  # a server that cannot be reached yet
            return None
    if isinstance(model, Mapping):
        return model.get("window") or (None if model.get("url") else _window(model["model"]))
    if is_address(model):
        return None
    try:
        config = json.loads((_folder(str(model)) / "config.json").read_text())
    except (OSError, ValueError):
        return None
    text = config.get("text_config", config) if isinstance(config, dict) else None
    window = text.get("max_position_embeddings") if isinstance(text, dict) else None
    return window if isinstance(window, int) else None


def _folder(name: str) -> Path:
    """Return where a named model lies: bundled, a folder, or a hub id's copy on this machine."""
    if name in bundled.NAMES:
        return bundled.path(name)
    path = Path(name).expanduser()
    if path.exists():
        return path
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, "config.json")
    return Path(cached).parent if isinstance(cached, str) else path
