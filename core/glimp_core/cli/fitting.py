"""`glimp check`: tests whether two models work as a pair, before weights load, and how much time routing can save."""

import json
import sys
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from glimp_core.cli.command import takes_settings
from glimp_core.cli.exits import DOES_NOT_FIT, say
from glimp_core.cli.reply import start
from glimp_core.cli.settings import NAMED, Settings
from glimp_core.errors import ConfigError
from glimp_core.model_facts import ModelFacts
from glimp_core.pair_check import RATES, PairCheck, check_pair, in_units

THINKING = {
    "none": "does not think",
    "on": "thinks",
    "off": "can think, and does not unless it is switched on",
    "free": "may think, as it chooses",
}


@takes_settings
def command(
    settings: Settings,
    first: Annotated[str | None, typer.Argument(metavar="[SMALL]", help=NAMED, show_default=False)] = None,
    second: Annotated[str | None, typer.Argument(metavar="[LARGE]", help=NAMED, show_default=False)] = None,
    load: Annotated[
        bool, typer.Option("--load/--no-load", help="If the pair works, load the models and time them.")
    ] = True,
) -> None:
    """Check whether two models work as a pair, and how much time routing can save. Exit code 3: they do not work."""
    settings = _named(settings, first, second)
    router = start(settings)
    with Console(stderr=True, quiet=not sys.stderr.isatty()).status("") as status:
        check = check_pair(router, load, lambda what: status.update(f"{what} ..."))
    if settings.json:
        typer.echo(json.dumps(check.document()))
        for problem in check.problems:
            say(f"does not fit: {problem}")
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(_shown(check))
    if not check.fits:
        raise typer.Exit(DOES_NOT_FIT)


def _named(settings: Settings, small: str | None, large: str | None) -> Settings:
    for role, given in (("small", small), ("large", large)):
        other = getattr(settings, role)
        if given and other:
            raise ConfigError(f"{given!r} and --{role} {other!r} both name the {role} model: keep one")
    return replace(settings, small=small or settings.small, large=large or settings.large)


def _shown(check: PairCheck) -> RenderableType:
    parts: list[RenderableType] = [_models(check), Text("\n" + "\n".join(_findings(check)))]
    if check.pace:
        parts += [
            Text("\nThe ideal speed-up over the large model alone, without switches and glimpses:"),
            _gains(check),
        ]
    for title, lines in (("What keeps this pair from working", check.problems), ("What to know", check.advice)):
        if lines:
            parts.append(Text(f"\n{title}:\n" + "\n".join(f"- {line}" for line in lines)))
    parts.append(Text("\nThis pair fits." if check.fits else "\nThis pair does not fit.", style="bold"))
    return Group(*parts)


def _models(check: PairCheck) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for name in ("", "small", "large"):
        table.add_column(name, overflow="fold")
    rows: dict[str, Any] = {
        "model": lambda facts: facts.name,
        "runs in": lambda facts: facts.place,
        "window": lambda facts: f"{facts.window} tokens",
        "thinking": _thinking,
        "tool calls": lambda facts: f"{facts.calls}, " + ("proved by reading back" if facts.proved else "in words"),
        "weights": _weights,
        "cache": lambda facts: _cache(facts, check.tokens),
        "server": lambda facts: facts.server,
    }
    for name, tell in rows.items():
        told = [tell(facts) for facts in (check.small, check.large)]
        if any(told):
            table.add_row(name, *(value or "-" for value in told))
    if check.paths:
        table.add_row("path", *(check.paths.get(role, "-") for role in ("small", "large")))
    return table


def _thinking(facts: ModelFacts) -> str:
    markup = f", between {facts.markup[0]} and {facts.markup[1]}" if facts.markup else ""
    switches = f" ({', '.join(facts.switches)})" if facts.switches and facts.thinking != "on" else ""
    return THINKING[facts.thinking] + markup + switches


def _weights(facts: ModelFacts) -> str | None:
    if (taken := facts.footprint) is None:
        return None
    return f"{in_units(taken.weight_bytes)}: {taken.parameters / 1e6:,.0f} million parameters in {taken.dtype}"


def _cache(facts: ModelFacts, tokens: int) -> str | None:
    if (taken := facts.footprint) is None or taken.bytes_per_token is None:
        return None
    each, whole = in_units(taken.bytes_per_token), in_units(taken.request_bytes(tokens))
    return f"{whole} for a request of {tokens} tokens, {each} a token"


def _findings(check: PairCheck) -> list[str]:
    told = check.tokenizers
    lines = [
        "tokenizers  equal: ids pass from one model to the other"
        if told.equal
        else f"tokenizers  differ ({told.shared:.0%} of the ids mean the same): text passes from one to the other"
    ]
    modes = {
        "thinking": "the chain of thought is routed, step by step",
        "inline": "the visible reply is routed, step by step",
        "large_only": "nothing is routed: one model writes the whole reply, and the other may draft for it",
        "off": "nothing is routed: thinking is off",
    }
    if check.plan:
        lines.append(f"mode        {check.plan.mode}: {modes[check.plan.mode]}")
    for device, (total, free) in _memories(check).items():
        lines.append(f"memory      {device} has {in_units(total)}, {in_units(free)} of it free")
    if check.pace:
        lines.append(
            f"cost ratio  {check.pace.ratio:.2f}: {1000 * check.pace.small_seconds:.1f} ms a token of the small model, "
            f"{1000 * check.pace.large_seconds:.1f} ms of the large one"
        )
        if check.pace.drafted_seconds:
            kept = f", {check.pace.accepted:.0%} of the drafts kept" if check.pace.accepted is not None else ""
            lines.append(f"            {1000 * check.pace.drafted_seconds:.1f} ms of the large one with drafts{kept}")
    return lines


def _memories(check: PairCheck) -> dict[str, tuple[int, int]]:
    prints = [facts.footprint for facts in (check.small, check.large) if facts.footprint]
    return {taken.device: (taken.total, taken.free) for taken in prints}


def _gains(check: PairCheck) -> Table:
    assert check.pace
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for name in ("tokens by the large model", "speed-up", "with drafts"):
        table.add_column(name, justify="right")
    for rate in (*RATES, 1.0):
        ideal = check.pace.ideal(rate)
        drafted = f"{ideal.with_drafts:.2f}" if ideal.with_drafts else "-"
        table.add_row(f"{rate:.0%}", f"{ideal.speedup:.2f}", drafted)
    return table
