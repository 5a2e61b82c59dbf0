"""The command `glimp`: two models write one answer, in the terminal."""

from glimp_core.cli.process import catch_interrupts, open_streams

__all__ = ["main"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: "Sequence[str] | None" = None) -> None:
    """Run a command line and exit: 0 done, 2 bad input, 130 interrupted, 1 anything else."""
    catch_interrupts()
    open_streams()
    from glimp_core.cli import app  # takes a while, in which Ctrl-C is heard already

    app.main(arguments)
