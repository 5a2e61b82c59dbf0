"""Traces in the terminal, as rich renderables."""

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from glimp_core.trace.overview import Overview
from glimp_core.trace.reading import Run
from glimp_core.trace.replay import Replay
from glimp_core.views.columns import seconds
from glimp_core.views.terminal import BARS, COLOURS, inert, plain_table, reply

ESTIMATE = (
    "An estimate is exact up to the first changed decision, and keeps the recorded steps after it; "
    "its bounds hold for any chain of as many steps."
)


def run(recorded: Run) -> RenderableType:
    """Return one request of a trace: its question, its models, its steps, and its end."""
    head = recorded.head
    asked = Text(inert(head.question or "(text not recorded)"), style="bold")
    rules = Text(f"{head.time:%Y-%m-%d %H:%M:%S}  {head.small} + {head.large}\n{head.policy}", style="dim")
    parts: list[RenderableType] = [asked, rules, "", reply(recorded.completion)]
    if not recorded.finished:
        parts.append(Text(broken(recorded), style="bold red"))
    return Group(*parts)


def overview(runs: Sequence[Run]) -> RenderableType:
    """Return several requests: the histogram of their entropies, their rates, and a line for each, slowest first."""
    told = Overview.of(runs)
    table = plain_table("", "steps", "rate", "large", "time", "question", right=(0, 1, 2, 3, 4))
    order = sorted(enumerate(runs, 1), key=lambda item: -item[1].completion.finish.seconds)
    for number, recorded in order:
        done = recorded.completion
        figures = done.summary()
        question = ("" if recorded.finished else "(broken off) ") + inert(recorded.head.question or "")
        table.add_row(
            str(number), str(len(done.steps)), f"{figures.intervention_rate:.0%}", f"{figures.large_token_share:.0%}",
            seconds(figures.seconds), Text(" ".join(question.split()), no_wrap=True, overflow="ellipsis"),
        )  # fmt: skip
    return Group(*_histogram(told), Text(sums(told)), "", table)


def replays(told: Sequence[tuple[str, Replay]]) -> RenderableType:
    """Return the decisions of other policies on the same glimpses, by name."""
    table = plain_table("threshold", "rate", "between", "large tokens", "time", "", right=(0, 1, 2, 3, 4))
    for name, replay in told:
        between = "" if replay.exact else f"{replay.lowest_rate:.0%} and {replay.highest_rate:.0%}"
        time = "" if replay.seconds is None else seconds(replay.seconds)
        note = "exact" if replay.exact else "estimate"
        shares = f"{replay.intervention_rate:.0%}", between, f"{replay.large_token_share:.0%}"
        table.add_row(name, *shares, time, Text(note, style="dim"))
    return Group(table, Text(ESTIMATE, style="dim"))


def sums(told: Overview) -> str:
    """Return the sums of many requests in two lines."""
    lost = f", {told.requests - told.finished} broken off" if told.finished < told.requests else ""
    rate = f"{told.intervention_rate:.1%} of {told.routed_steps} routed steps"
    share = f"{told.large_token_share:.1%} of {told.tokens} tokens"
    times = f"median {seconds(told.median_seconds)}, slowest {seconds(told.slowest_seconds)}"
    return f"{told.requests} requests{lost}; large model: {rate}, {share}\n{seconds(told.seconds)} in all, {times}"


def broken(recorded: Run) -> str:
    """Return how a request ended early."""
    if recorded.broken is None:
        return "broken off: the trace ends here"
    how = "the reader left" if recorded.broken.error == "closed" else recorded.broken.error
    return f"broken off: {how}" + (f": {inert(recorded.broken.message)}" if recorded.broken.message else "")


def _histogram(told: Overview) -> list[RenderableType]:
    if not told.histogram:
        return []
    most = max(bin.delegated + bin.intervened for bin in told.histogram)
    line = Text("H  ")
    for bin in told.histogram:
        count = bin.delegated + bin.intervened
        colour = COLOURS["large" if bin.intervened > bin.delegated else "small"]
        line.append(BARS[(count * (len(BARS) - 1) + most - 1) // most] if count else " ", colour)
    return [line, Text(f"   0{told.histogram[-1].high:>{len(told.histogram) - 1}.2f} nats\n", style="dim")]
