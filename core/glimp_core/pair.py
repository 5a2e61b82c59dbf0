"""A pair of models by description: what an adapter holds until it is first asked something.

Describing a pair imports no torch and loads nothing. Whoever names the same model the same way shares its weights,
which stay in memory until the process ends or `release()` is called.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glimp_core import bundled
from glimp_core.config import RouterConfig
from glimp_core.engine import Engine
from glimp_core.errors import ConfigError, EngineError
from glimp_core.live import Reference
from glimp_core.policy import Policy
from glimp_core.router import GlimpRouter
from glimp_core.types import SamplingParams

_kept: set[Engine] = set()
"""The engines of named models: kept, so that weights stay in memory between two routers. `local` knows them by name."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models as `GlimpRouter.from_pretrained` takes them, and the `options` they load with.

    A loaded `(model, tokenizer)` becomes an engine at once. Raises `ConfigError` where a model is missing.
    """

    small: Any
    large: Any
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)

    def __post_init__(self) -> None:
        for role in ("small", "large"):
            object.__setattr__(self, role, _checked(role, getattr(self, role)))

    @property
    def name(self) -> str:
        """Both names, as in "Qwen/Qwen3-0.6B+Qwen/Qwen3-8B"."""
        return "+".join(model.name if isinstance(model, Engine) else str(model) for model in (self.small, self.large))

    @property
    def identity(self) -> dict[str, str]:
        """All that changes what the pair writes, as texts, without secrets: part of a response cache's key.

        An engine that the caller made is known by itself alone, and is therefore another one in every process.
        """
        options = {name: repr(value) for name, value in sorted(self.options.items()) if name != "token"}
        return {"small": _identity(self.small), "large": _identity(self.large), **options}

    @property
    def window(self) -> int | None:
        """The context window in tokens, None where no config.json on this machine tells it."""
        windows = [_window(self.small), _window(self.large)]
        known = [window for window in windows if window is not None]
        return min(known) if len(known) == len(windows) else None

    def router(
        self, policy: Policy | None = None, config: RouterConfig | None = None, sampling: SamplingParams | None = None
    ) -> GlimpRouter:
        """Make a router; its weights load at the first request, or are there already."""
        return GlimpRouter(self._engine(self.small), self._engine(self.large), policy, config, sampling)

    def _engine(self, model: Any) -> Any:
        if isinstance(model, Engine):
            return model
        from glimp_core.local import engine_from  # loads torch, which describing a pair must not

        engine = engine_from(model, **self.options)
        _kept.add(engine)
        return engine


def release() -> None:
    """Forget the models that were named; their weights are freed when nothing uses them any more."""
    _kept.clear()


def _checked(role: str, model: Any) -> Any:
    if not model:
        raise ConfigError(
            f"{role}={model!r} names no model: pass small='...' and large='...', "
            "for example the bundled pair 'glimp-tiny-small' and 'glimp-tiny-large'"
        )
    if isinstance(model, str | Path):
        return str(model)
    if isinstance(model, Engine):
        return model
    from glimp_core.local import engine_from

    return engine_from(model)


def _identity(model: Any) -> str:
    if isinstance(model, Engine):
        return f"{model.name} #{Reference.to(model).key}"
    path = Path(model).expanduser()
    return str(path.resolve()) if path.exists() else str(model)


def _window(model: Any) -> int | None:
    """Read from a folder's config.json what `local` would, without the libraries that it needs."""
    if isinstance(model, Engine):
        try:
            return model.window
        except EngineError:  # a server that cannot be reached yet
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
