"""A registry of remote engines. Equal descriptions share one engine, so that a server is tested once."""

from typing import Any
from weakref import WeakValueDictionary

from glimp_core.forking import Lock
from glimp_core.remote.glimpser import RemoteGlimpser
from glimp_core.remote.remote_engine import RemoteEngine
from glimp_core.source import option_keys

_engines: "WeakValueDictionary[tuple[Any, ...], RemoteEngine]" = WeakValueDictionary()
_lock = Lock()


def engine_at(base_url: str, model: str, glimpses: bool, **options: Any) -> RemoteEngine:
    """Return the engine of a model on a server: a `RemoteGlimpser` if it has to glimpse. `options` are the engine's.

    Raises `ConfigError` if the openai client is missing, or for invalid options.
    """
    key = (base_url, model, glimpses, *option_keys(options))
    with _lock:
        engine = _engines.get(key)
        if engine is None:
            kind = RemoteGlimpser if glimpses else RemoteEngine
            engine = _engines[key] = kind(base_url, model, **options)
        return engine
