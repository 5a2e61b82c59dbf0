"""How much memory this machine has, and how much of it is free."""

import os
import re
from pathlib import Path


def machine_memory() -> int:
    """Return the bytes of main memory, 0 if the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0


def free_memory() -> int:
    """Return the free bytes for a process, by the system and by its control group; 0 if neither reports them."""
    told = [bytes for bytes in (_available(), _left_in_group()) if bytes is not None]
    return max(0, min(told, default=0))


def _available() -> int | None:
    text = _read("/proc/meminfo")
    found = re.search(r"^MemAvailable:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _left_in_group() -> int | None:
    most, taken = (_read(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    return int(most) - int(taken) if most.isdigit() and taken.isdigit() else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except (OSError, ValueError):
        return ""
