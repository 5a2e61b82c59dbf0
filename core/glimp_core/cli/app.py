"""All commands, one module each, and the entry point `main`."""

import io
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from glimp_core.cli import bench, calibrate, chat, demo, exits, fitting, run, serve, trace

app = typer.Typer(
    name="glimp",
    help="A small and a large language model write one chain of thought: the small model writes the easy steps, "
    "the large model the hard ones.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, run, chat, serve, calibrate, trace):
    app.command(command.__name__.rpartition(".")[2])(command.command)
app.command("check")(fitting.command)
app.add_typer(bench.app, name="bench")


def _version(wanted: bool) -> None:
    if wanted:
        from glimp_core import __version__

        typer.echo(f"glimp {__version__}")
        raise typer.Exit


@app.callback()
def _glimp(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command line and exit: 0 done, 2 bad input, 130 interrupted, 1 anything else."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a character that the terminal cannot show becomes another one
    try:
        code = exits.code_of(lambda: app(arguments, prog_name="glimp", standalone_mode=False))
    except KeyboardInterrupt:  # while the error was printed
        code = exits.INTERRUPTED
    sys.exit(code)
