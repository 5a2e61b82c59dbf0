"""A registry of local engines: equal descriptions of a model share one engine in a process."""

from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from glimp_core.engine import Engine
from glimp_core.errors import ConfigError
from glimp_core.forking import Lock
from glimp_core.local.local_engine import LocalEngine
from glimp_core.source import ModelSource, option_keys

_engines: "WeakValueDictionary[tuple[Any, ...], LocalEngine]" = WeakValueDictionary()
_lock = Lock()


def engine_from(what: Any, **options: Any) -> Any:
    """Return the engine of a name, a path, a `(model, tokenizer)` pair, or an engine itself.

    Options that are None are left out. Raises `ConfigError` for anything else.
    """
    if isinstance(what, Engine):
        return what
    if not isinstance(what, (str, tuple)) and not hasattr(what, "__fspath__"):
        raise ConfigError(f"{what!r} is no model: give a name, a path, a (model, tokenizer) pair or an engine")
    source = ModelSource.of(what, **{name: value for name, value in options.items() if value is not None})
    path = Path(source.name).expanduser()
    name = str(path.resolve()) if path.exists() else source.name  # different paths of one folder are one model
    key = (name, *map(id, source.loaded or ()), *option_keys(source.options))
    with _lock:
        engine = _engines.get(key)
        if engine is None:
            engine = _engines[key] = LocalEngine(source)
        return engine
