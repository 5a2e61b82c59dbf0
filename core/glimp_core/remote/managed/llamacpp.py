"""llama.cpp as a managed server: the program `llama-server`, or the server in the package `xllamacpp`."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from glimp_core.errors import ConfigError
from glimp_core.remote.managed.managed_server import ServerCommand, check_seconds
from glimp_core.remote.managed.software import ROLES, check_options, existing, own_flags, programs, served_path
from glimp_core.types import Role

WHEEL = Path(__file__).with_name("llamacpp_wheel.py")
MISSING = (
    "llama.cpp was not found{where}: `pip install xllamacpp`, or install llama.cpp "
    "(https://github.com/ggml-org/llama.cpp), with `llama-server` on PATH, in GLIMP_LLAMACPP or in "
    "engine=LlamaCpp(program='...')"
)
DRAFTERS = ("-md", "--model-draft", "--spec-type", "-hfd", "--hf-repo-draft")


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """llama.cpp, started by Glimp on this machine, one server for each model. `engine="llama.cpp"` is `LlamaCpp()`.

    The models are `.gguf` files, or folders with one.

    - `program`: `llama-server`, or its folder. Without it, GLIMP_LLAMACPP or PATH is used. If none of them has the
      program, the server of the package `xllamacpp` is used.
    - `flags`, `small`, `large`: flags of `llama-server` for both models, and for one of them. They override Glimp's.
    - `window`: the longest context of a request in tokens, at most that of the model; `slots`: how many requests a
      server processes at once, each with such a context.
    - `tokenizers`: for "small" and "large", the folder or hub id of a tokenizer, if that of the file cannot be read.
    - `environment`, `logs`, `start_timeout`: as in `Vllm`.

    Raises `ConfigError` for invalid options.
    """

    program: str | None = None
    small: Sequence[str] = ()
    large: Sequence[str] = ()
    flags: Sequence[str] = ()
    window: int = 16_384
    slots: int = 1
    tokenizers: Mapping[str, str] = field(default_factory=dict[str, str])
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    logs: str = ""
    start_timeout: float = 1800.0

    def __post_init__(self) -> None:
        for each in ROLES:
            own_flags(self, each)
        for name in ("window", "slots"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name}={value!r} cannot work: it must be a whole number, 1 or more")
        check_seconds("start_timeout", self.start_timeout)

    @property
    def word(self) -> str:
        """The word for it in `engine`."""
        return "llama.cpp"

    def command(self, role: Role, model: str, options: Mapping[str, Any]) -> ServerCommand:
        """Return the command that serves a `.gguf` file. The load option `max_batch` is the number of slots.

        Raises `ConfigError` for a model that is not a `.gguf` file, and for other load options.
        """
        check_options("llama.cpp", options, ("max_batch",))
        own = own_flags(self, role)
        slots = options.get("max_batch") or self.slots
        room = ("--ctx-size", str(self.window * slots), "--parallel", str(slots))
        return ServerCommand(
            software="llama.cpp",
            model=model,
            arguments=(
                *self._program(), "--model", gguf_file(model), "--alias", model, *room, "--metrics", *own,
            ),
            key_variable="LLAMA_API_KEY",
            environment=tuple(sorted((name, str(value)) for name, value in self.environment.items())),
            logs=str(self.logs),
            start_timeout=self.start_timeout,
            drafts=any(flag.partition("=")[0] in DRAFTERS for flag in own),
        )  # fmt: skip

    def tokenizer(self, role: Role, model: str) -> str:
        """Return the tokenizer that was named for the role, else the file, which contains its tokenizer."""
        named = self.tokenizers.get(role)
        if named is not None:
            return named
        folder = Path(served_path(model))
        return str(folder) if (folder / "tokenizer.json").is_file() else gguf_file(model)

    def _program(self) -> tuple[str, ...]:
        found, looked = existing(programs(self.program, "GLIMP_LLAMACPP", "llama-server"))
        if found is not None:
            return (str(found),)
        if looked is None or looked.parent == Path(sys.executable).parent:
            if find_spec("xllamacpp") is not None:
                return sys.executable, str(WHEEL)
            looked = None
        raise ConfigError(MISSING.format(where=f" at {str(looked)!r}" if looked else ""))


def gguf_file(model: str) -> str:
    """Return the path of a model's `.gguf` file. Raises `ConfigError` if there is none, or more than one."""
    path = Path(served_path(model))
    if path.is_file() and path.suffix == ".gguf":
        return str(path)
    files = sorted(path.glob("*.gguf")) if path.is_dir() else []
    if len(files) == 1:
        return str(files[0])
    what = f"is a folder with {len(files)} of them" if path.is_dir() else "is none on this machine"
    raise ConfigError(f"llama.cpp reads .gguf files, and {model!r} {what}: name one file")
