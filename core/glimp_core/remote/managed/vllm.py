"""vLLM as a managed server. Nothing here imports vLLM, which is installed in a separate environment."""

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from glimp_core.errors import ConfigError
from glimp_core.remote.managed.managed_server import ServerCommand, check_seconds, no_arguments
from glimp_core.remote.managed.software import ROLES, check_options, existing, own_flags, programs, served_path
from glimp_core.source import dtype_name
from glimp_core.types import Role

FLAGS = (
    "--max-logprobs", "-1", "--enable-prompt-tokens-details", "--disable-uvicorn-access-log",
    "--generation-config", "vllm",
)  # fmt: skip
"""With these flags a request may ask for the whole vocabulary, the server reports cached tokens, and only the request
sets the sampling."""

MISSING = (
    "vLLM was not found{where}. It needs an environment of its own, as its versions of torch and transformers are not "
    "those of Glimp: `python3 -m venv ~/vllm-env` and `~/vllm-env/bin/pip install vllm`, then "
    "engine=Vllm(python='~/vllm-env/bin/python'), or GLIMP_VLLM=~/vllm-env/bin/vllm"
)
SMALL_SHARE = 0.1
SMALL_MOST = 4 * 2**30
"""The small model's cache: a tenth of the card's memory, at most this many bytes."""

LEFT_FREE = 0.03
"""The share of a card that the large model's server, which starts last, leaves free."""


@dataclass(frozen=True, slots=True)
class Vllm:
    """vLLM, started by Glimp on this machine, one server for each model. `engine="vllm"` is `engine=Vllm()`.

    - `python`: the Python of the environment that has vLLM, its folder, or its `vllm`. Without it, GLIMP_VLLM is used,
      or `vllm` on PATH or next to this interpreter.
    - `flags`, `small`, `large`: flags of `vllm serve` for both models, and for one of them. They override Glimp's.
    - `memory`: for "small" and "large", a share of each card (0.3) or bytes of cache (4 * 2**30). Without it, the small
      model's cache gets a tenth of a card, at most 4 GiB, and the large model gets the memory that is free then.
    - `environment`: environment variables of the servers.
    - `logs`: a folder for the servers' logs; without it they are temporary files.
    - `start_timeout`: seconds until a server has to be ready, downloads included.

    Raises `ConfigError` for invalid options.
    """

    python: str | None = None
    small: Sequence[str] = ()
    large: Sequence[str] = ()
    flags: Sequence[str] = ()
    memory: Mapping[str, float] = field(default_factory=dict[str, float])
    environment: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    logs: str = ""
    start_timeout: float = 1800.0

    def __post_init__(self) -> None:
        for each in ROLES:
            own_flags(self, each)
        for role, amount in self.memory.items():
            if role not in ("small", "large") or isinstance(amount, bool) or not _fits(amount):
                raise ConfigError(
                    f"memory={{{role!r}: {amount!r}}} cannot work: give 'small' and 'large' a share of a card, over 0 "
                    "and at most 1, or a whole number of bytes for the cache"
                )
        check_seconds("start_timeout", self.start_timeout)

    @property
    def word(self) -> str:
        """The word for it in `engine`."""
        return "vllm"

    def command(self, role: Role, model: str, options: Mapping[str, Any]) -> ServerCommand:
        """Return the command that serves a model. Raises `ConfigError` for load options that vLLM does not have."""
        check_options("vLLM", options, ("dtype", "revision", "token", "max_batch"))
        own = own_flags(self, role)
        environment = {**self.environment, **({"HF_TOKEN": options["token"]} if options.get("token") else {})}
        memory, late = self._memory(role, own)
        return ServerCommand(
            software="vLLM",
            model=model,
            arguments=(
                *(str(self._program()), "serve", served_path(model), "--served-model-name", model),
                *FLAGS, *_loading(options), *memory, *own,
            ),
            key_variable="VLLM_API_KEY",
            environment=tuple(sorted((name, str(value)) for name, value in environment.items())),
            late=late,
            logs=str(self.logs),
            start_timeout=self.start_timeout,
            drafts=_names(own, "--speculative-config"),
        )  # fmt: skip

    def tokenizer(self, role: Role, model: str) -> str:
        """Return the model's own name: vLLM uses its tokenizer."""
        return model

    def _program(self) -> Path:
        found, looked = existing(programs(self.python, "GLIMP_VLLM", "vllm"))
        if found is None:
            raise ConfigError(MISSING.format(where=f" at {str(looked)!r}" if looked else ""))
        return found

    def _memory(self, role: Role, own: Sequence[str]) -> tuple[tuple[str, ...], Any]:
        """Return the flags for the memory of a server, and a function for those that depend on the free memory."""
        if _names(own, "--gpu-memory-utilization", "--kv-cache-memory-bytes", "--kv-cache-memory"):
            return (), no_arguments
        if (amount := self.memory.get(role)) is None:
            return (), small_cache if role == "small" else free_share
        if amount <= 1:
            return ("--gpu-memory-utilization", f"{amount:g}"), no_arguments
        return ("--kv-cache-memory-bytes", str(int(amount))), no_arguments


def small_cache() -> tuple[str, ...]:
    """Return the flags for the cache of a small model: its share of the smallest card. Empty without a card."""
    totals = [total for _, total in _cards()]
    if not totals:
        return ()
    return "--kv-cache-memory-bytes", str(min(SMALL_MOST, int(SMALL_SHARE * min(totals))))


def free_share() -> tuple[str, ...]:
    """Return the flags that give a server the free share of the fullest card. Empty without a card."""
    shares = [free / total for free, total in _cards()]
    if not shares:
        return ()
    return "--gpu-memory-utilization", f"{max(0.05, min(0.92, min(shares) - LEFT_FREE)):.2f}"


def _cards() -> list[tuple[int, int]]:
    """Return the free and the total bytes of each NVIDIA card. Empty if `nvidia-smi` does not report them."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    query = [program, "--query-gpu=memory.free,memory.total", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout
        cards = [tuple(int(number) * 2**20 for number in line.split(",")) for line in told.splitlines() if line.strip()]
    except (OSError, subprocess.SubprocessError, ValueError):
        return []
    return [(card[0], card[1]) for card in cards if len(card) == 2 and card[1]]


def _loading(options: Mapping[str, Any]) -> tuple[str, ...]:
    named = {
        "--dtype": dtype_name(options["dtype"]) if options.get("dtype") is not None else None,
        "--revision": options.get("revision"),
        "--max-num-seqs": options.get("max_batch"),
    }
    return tuple(str(word) for flag, value in named.items() if value is not None for word in (flag, value))


def _names(flags: Sequence[str], *wanted: str) -> bool:
    """Return whether flags have one of the `wanted`. vLLM accepts underscores for dashes, and values after "="."""
    return any(flag.partition("=")[0].replace("_", "-") in wanted for flag in flags)


def _fits(amount: object) -> bool:
    return isinstance(amount, int | float) and (0 < amount <= 1 or (amount > 1 and amount == int(amount)))
