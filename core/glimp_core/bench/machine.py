"""The machine on which figures were measured."""

import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from glimp_core.memory import machine_memory


def machine() -> dict[str, Any]:
    """Return processor, cores, threads that torch was told to use, memory, and versions."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "memory_gib": round(machine_memory() / 2**30, 1) or None,
        "gpu": _gpu(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "transformers", "glimp")},
    }


def commit() -> str | None:
    """Return the commit that this code is at, "+" where it was changed since; None outside a checkout."""
    try:
        _git("ls-files", "--error-unmatch", Path(__file__).name)  # a package in somebody's repository is not of it
        found = _git("rev-parse", "--short=12", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", "..")
    except (OSError, subprocess.SubprocessError):
        return None
    return found + ("+" if changed else "")


def _git(*arguments: str) -> str:
    command = ("git", "-C", str(Path(__file__).resolve().parent), *arguments)
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _gpu() -> str | None:
    torch = sys.modules.get("torch")  # never loaded for this alone
    return str(torch.cuda.get_device_name()) if torch and torch.cuda.is_available() else None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
