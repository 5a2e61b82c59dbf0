"""How much memory this machine has."""

import os


def machine_memory() -> int:
    """Return the bytes of main memory, 0 where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
