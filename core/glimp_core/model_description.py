"""The description of a model: a name, an address, or a table of a pair file, with its options."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

from glimp_core.errors import ConfigError, unknown_name
from glimp_core.options import LOAD_OPTIONS, SERVER_OPTIONS, LoadOptions, concealed

VARIABLE = re.compile(r"[A-Z_][A-Z0-9_]*")
"""The usual form of the names of environment variables, which keys do not have."""

SERVER_TABLE: dict[str, Any] = {
    "tokenizer": str,
    "api_key_env": str,
    "window": int,
    "timeout": float,
    "token_timeout": float,
    "connect_timeout": float,
    "retries": int,
    "extra_body": dict,
}
"""What the description of a model at a server may hold beside `model` and `url`, as `RemoteEngine` takes it."""


@dataclass(frozen=True, slots=True)
class ModelDescription:
    """One model of a pair: the `name` of a local model, or the name of a model on the server `url`.

    `options` are `LoadOptions`, or those of `SERVER_TABLE` for a model on a server. `engine` is what runs a model
    without a url, None for this process.
    """

    name: str
    url: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict[str, Any], repr=False)
    engine: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", concealed(self.options))

    @classmethod
    def of(cls, role: str, given: str | Mapping[str, Any], pair_options: Mapping[str, Any]) -> "ModelDescription":
        """Read what describes the small or the large model; `pair_options` are `ModelOptions` for both.

        Raises `ConfigError` for an address without a model, and for options that do not belong to it.
        """
        table = {"model": given} if isinstance(given, str) else dict(given)
        name = table.pop("model", None)
        if not isinstance(name, str) or not name:
            raise ConfigError(f"{role}={given!r} names no model: write model = '...'")
        url = table.pop("url", None)
        if is_address(name):
            name, url = _split(role, name)
        known = SERVER_TABLE if url else {option: Any for option in LOAD_OPTIONS}
        for option in table:
            if option not in known:
                other = "a model in this process" if url else "a model at a server, which has a url"
                if option in (LOAD_OPTIONS if url else SERVER_TABLE):
                    raise ConfigError(f"{option} of the {role} model {name!r} cannot work: it is for {other}")
                raise unknown_name(f"option of the {role} model", option, {*known, "model", "url"})
        shared = _for_server(role, pair_options) if url else _for_process(pair_options)
        options = {**shared, **table}
        return cls(name, url, options, _engine_of(role, options.pop("engine", None)))

    def resolved(self) -> dict[str, Any]:
        """Return the arguments of a remote engine, with the key itself, which the environment holds.

        Raises `ConfigError` if it does not.
        """
        options = {name: value for name, value in self.options.items() if value is not None}
        if variable := options.pop("api_key_env", None):
            options["api_key"] = os.environ.get(variable) or None
            if options["api_key"] is None:
                shown = variable if VARIABLE.fullmatch(variable) else "..."  # it may be the key itself, by mistake
                raise ConfigError(
                    f"api_key_env={shown!r} names no environment variable that is set: put the key of "
                    f"{urlsplit(self.url or '').hostname!r} into one and write its name, or leave the option out"
                )
        return options


def is_address(name: str) -> bool:
    """Return whether a name is the address of a model at a server."""
    return name.startswith(("http://", "https://"))


def shown_name(model: Any) -> str:
    """Return what a described model is called: of an address the part after #, of a table its model."""
    name = str(model.get("model", "")) if isinstance(model, Mapping) else str(model)
    return (name.partition("#")[2] or str(urlsplit(name).hostname)) if is_address(name) else name


def check_pair_options(
    small: ModelDescription | None, large: ModelDescription | None, given: Mapping[str, Any]
) -> None:
    """Refuse options that neither model of a pair can use. A model that is None is an engine already."""
    for option, value in given.items():
        if option not in {*LOAD_OPTIONS, *SERVER_OPTIONS}:
            raise unknown_name("model option", option, {*LOAD_OPTIONS, *SERVER_OPTIONS})
        roles = {"small_tokenizer": [small], "large_tokenizer": [large]}.get(option, [small, large])
        described = [model for model in roles if model is not None]
        if value is None or not described:
            continue
        served = option in SERVER_OPTIONS
        if any(bool(model.url) == served for model in described):
            continue
        if option == "token":
            raise ConfigError("a token of the hub is no key for servers: name the variable that holds it, api_key_env")
        what = "a model at a server, named as http://host:8001/v1#model" if served else "a model in this process"
        raise ConfigError(f"{option} cannot work here: it is for {what}")


def located(folder: Path, name: str) -> str:
    """Return the name of a model that a file in `folder` names: what lies there is found from everywhere."""
    if is_address(name) or os.path.isabs(name) or name.startswith("~"):
        return name
    beside = folder / name
    return str(beside) if beside.exists() or name.startswith((".", os.sep)) else name


def load_types() -> dict[str, Any]:
    """Return the type of each loading option, as far as a file can hold it."""
    written = {
        "engine": str | dict[str, Any],
        "dtype": str,
        "device_map": str | dict[str, Any],
        "quantization_config": dict[str, Any],
    }
    hints = {name: hint for name, hint in get_type_hints(LoadOptions).items() if name != "token"}
    return {name: written.get(name) or _set(hint) for name, hint in hints.items()}


def _set(hint: Any) -> Any:
    return next(kind for kind in get_args(hint) if kind is not type(None))


def _engine_of(role: str, engine: Any) -> Any:
    """The engine of one role: what names one for each role is a mapping without a `name`."""
    if not isinstance(engine, Mapping) or "name" in engine:
        return engine
    for key in engine:
        if key not in ("small", "large"):
            raise unknown_name("role in engine", str(key), ("small", "large"))
    return engine.get(role)


def _split(role: str, address: str) -> tuple[str, str]:
    url, _, name = address.partition("#")
    host = urlsplit(url).hostname
    if "@" in urlsplit(url).netloc or "?" in url:
        raise ConfigError(
            f"{role} holds more than the address of a server ({host!r}): name the variable with the key, api_key_env"
        )
    if not name:
        raise ConfigError(
            f"{role} is at the server {host!r} but names no model there: write it after #, as in "
            "http://host:8001/v1#Qwen/Qwen3-8B"
        )
    return name, url


def _for_process(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name in LOAD_OPTIONS}


def _for_server(role: str, options: Mapping[str, Any]) -> dict[str, Any]:
    found = {"tokenizer": options.get(f"{role}_tokenizer"), "api_key_env": options.get("api_key_env")}
    return {name: value for name, value in found.items() if value is not None}
