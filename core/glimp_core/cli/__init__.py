"""The command `glimp`: two models write one answer, in the terminal."""

from glimp_core.cli.app import main

__all__ = ["main"]
