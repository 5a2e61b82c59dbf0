"""What vLLM and llama.cpp have in common as managed servers: the search for the program, flags, and options."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from glimp_core import bundled
from glimp_core.errors import ConfigError
from glimp_core.remote.managed.managed_server import ServerCommand
from glimp_core.types import Role

ROLES: tuple[Role, Role] = ("small", "large")
UNSERVED = "{option}={value!r} is for models in this process: leave it out, or give {software} a flag of its own"


class ServerSoftware(Protocol):
    """A kind of server with its options: `Vllm` or `LlamaCpp`."""

    @property
    def word(self) -> str:
        """The word for it in `engine`: "vllm" or "llama.cpp"."""
        ...

    def command(self, role: Role, model: str, options: Mapping[str, Any]) -> ServerCommand:
        """Return the command that serves a model in a role. Raises `ConfigError` for invalid options."""
        ...

    def tokenizer(self, role: Role, model: str) -> str:
        """Return the name of the tokenizer that reads and writes the model's tokens."""
        ...


def programs(given: str | None, variable: str, name: str) -> Iterator[Path]:
    """Yield the possible paths of a program: the given one, or else that on PATH and that next to the interpreter.

    The given path may be the program, an interpreter in the same folder, or the folder of an environment.
    """
    if said := given or os.environ.get(variable):
        yield _program(Path(said).expanduser(), name)
        return
    if found := shutil.which(name):
        yield Path(found)
    yield Path(sys.executable).with_name(name)


def _program(said: Path, name: str) -> Path:
    if said.is_dir():
        return said / "bin" / name if (said / "bin").is_dir() else said / name
    return said.with_name(name) if said.name.startswith("python") else said


def existing(candidates: Iterator[Path]) -> tuple[Path | None, Path | None]:
    """Return the first path that is an executable file, and the last path that was tried."""
    looked = None
    for looked in candidates:
        if looked.is_file() and os.access(looked, os.X_OK):
            return looked, looked
    return None, looked


def own_flags(software: ServerSoftware, role: Role) -> tuple[str, ...]:
    """Return the user's flags for both models, followed by those for a role.

    Raises `ConfigError` if they are not lists of texts.
    """
    own: list[str] = []
    for what in ("flags", role):
        flags: Any = getattr(software, what)
        if isinstance(flags, str) or not isinstance(flags, Sequence):
            raise ConfigError(
                f"{what}={flags!r} cannot work: give a list of texts, such as ['--max-model-len', '8192']"
            )
        own += map(str, flags)
    return tuple(own)


def served_path(model: str) -> str:
    """Return the path of a bundled model or of a folder, or else the name itself."""
    if model in bundled.NAMES:
        return str(bundled.path(model))
    path = Path(model).expanduser()
    return str(path.resolve()) if path.exists() else model


def check_options(software: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise `ConfigError` for load options that apply only to models in this process."""
    for option, value in options.items():
        if value is not None and option not in known:
            raise ConfigError(UNSERVED.format(option=option, value=value, software=software))
