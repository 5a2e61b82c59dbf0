"""Servers that Glimp starts: vLLM and llama.cpp, selected by a word. They end with the process."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from glimp_core.engine import Engine
from glimp_core.errors import ConfigError, unknown_name
from glimp_core.remote.glimpser import RemoteGlimpser
from glimp_core.remote.managed.llamacpp import LlamaCpp
from glimp_core.remote.managed.managed_server import ManagedServer, stop_servers
from glimp_core.remote.managed.software import ServerSoftware
from glimp_core.remote.managed.vllm import Vllm
from glimp_core.remote.remote_engine import RemoteEngine
from glimp_core.source import ModelSource
from glimp_core.types import Role

__all__ = ["LlamaCpp", "ManagedServer", "Vllm", "managed_engine", "server_software", "stop_servers"]

WORDS: Mapping[str, ServerSoftware | None] = {"transformers": None, "vllm": Vllm(), "llama.cpp": LlamaCpp()}
"""The words that `engine` may be; "transformers" runs a model in this process."""

FIRST_TOKEN_SECONDS = 600.0
"""The longest wait for a first token. It is long because the end of a managed process is detected in another way."""


def server_software(engine: Any) -> ServerSoftware | None:
    """Return the server software of an `engine` option, None for this process. Raises `ConfigError` for invalid ones.

    The option is a word, `Vllm(...)`, `LlamaCpp(...)`, or a mapping with such a word as `name` and with their options.
    """
    if isinstance(engine, Vllm | LlamaCpp):
        return engine
    if isinstance(engine, Mapping):
        return _described(**engine)
    if not isinstance(engine, str):
        raise ConfigError(f"engine={engine!r} cannot work: give 'vllm', 'llama.cpp', Vllm(...) or LlamaCpp(...)")
    if engine not in WORDS:
        raise unknown_name("engine", engine, WORDS)
    return WORDS[engine]


def _described(name: str, **options: Any) -> ServerSoftware | None:
    kind = server_software(name)
    if kind is None:
        return None
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    for option in options:
        if option not in known:
            raise unknown_name(f"option of engine {name!r}", option, known)
    made: ServerSoftware = type(kind)(**options)
    return made


def managed_engine(software: ServerSoftware, role: Role, model: Any, options: Mapping[str, Any]) -> Engine:
    """Return an engine on a server that starts at the first request. Raises `ConfigError` for invalid options."""
    if not isinstance(model, str) and not hasattr(model, "__fspath__"):
        raise ConfigError(
            f"engine={software.word!r} serves a model by its name, and {role} is a {type(model).__name__}: give a "
            f"name, a folder or a file, or engine={{...}} with the other role alone"
        )
    name = str(model)
    server = ManagedServer.of(software.command(role, name, options))
    given = {option: options[option] for option in ("revision", "token") if options.get(option) is not None}
    kind = RemoteGlimpser if role == "small" else RemoteEngine
    return kind(
        server.base_url,
        name,
        tokenizer=ModelSource.of(software.tokenizer(role, name), **given),
        api_key=server.api_key,
        timeout=FIRST_TOKEN_SECONDS,
        managed=server,
    )
