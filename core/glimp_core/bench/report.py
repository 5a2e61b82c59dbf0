"""From records to figures: one row a method, differences between methods, all with 95 % intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.table import Table

from glimp_core.bench.methods import Method
from glimp_core.bench.published import Question
from glimp_core.bench.records import Ledger, Record
from glimp_core.bootstrap import Bootstrap, Draw, Statistic, mean, ratio

DIGITS = 4
COLUMNS = (
    "method", "right", "95 %", "large steps", "large tokens", "s", "of large", "forward s", "tokens", "discarded",
)  # fmt: skip


def summarise(
    ledger: Ledger, methods: Sequence[Method], questions: Sequence[Question], seed: int = 0, repeats: int = 1
) -> dict[str, Any]:
    """Return the figures of a run as one JSON-able document: the `methods`, and `comparisons` of the first
    `glimp` with every other method; with `small` and `large` among them, the `gap_closed` by each method.

    Intervals are 95 % of a bootstrap over questions, of which all repeats stay together, with the same resamples for
    all methods. Every method must have answered every question in every repeat.
    """
    resamples = Bootstrap(len(questions), seed)
    columns = [
        MethodFigures(method, [[_found(ledger, method, q, n) for n in range(repeats)] for q in questions], resamples)
        for method in methods
    ]
    glimp = next((column for column in columns if column.method.name == "glimp"), None)
    return {
        "methods": [column.figures(columns) for column in columns],
        "comparisons": [glimp.against(other) for other in columns if other is not glimp] if glimp else [],
        "n": len(questions),
        "seed": seed,
        "repeats": repeats,
    }


def table(document: dict[str, Any]) -> Table:
    """Return a document's methods as a table for the terminal."""
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in COLUMNS:
        rows.add_column(name, justify="left" if name == "method" else "right")
    for row in document["methods"]:
        low, high = row["interval"]
        of_large = row.get("time_of_large")
        rows.add_row(
            label(row),
            f"{row['accuracy']:.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{row['intervention_rate']:.1%}",
            f"{row['large_token_share']:.1%}",
            f"{row['seconds_per_question']:.3f}",
            "" if of_large is None else f"{of_large:.2f}",
            f"{row['forward_seconds_per_question']:.3f}",
            f"{row['tokens_per_question']:.0f}",
            f"{row['discarded_tokens_per_question']:.0f}",
        )
    return rows


class MethodFigures:
    """One method's records: of each question, in their order, all repeats. Figures are of a reply, on the mean."""

    def __init__(self, method: Method, records: Sequence[Sequence[Record]], resamples: Bootstrap):
        self.method = method
        self.records = records
        self.correct = self._each(lambda record: record.correct)
        self.seconds = self._each(lambda record: record.seconds)
        self._resamples = resamples

    def figures(self, columns: "Sequence[MethodFigures]") -> dict[str, Any]:
        """Return this method's row; `columns` are all methods."""
        large, tokens = self._each(lambda r: r.large_tokens), self._each(lambda r: r.tokens)
        interventions, decisions = self._each(lambda r: r.interventions), self._each(lambda r: len(r.decisions))
        accuracy, interval = self._measured(mean(self.correct))
        share, share_interval = self._measured(ratio(large, tokens))
        rate, rate_interval = self._measured(ratio(interventions, decisions))
        seconds, seconds_interval = self._measured(mean(self.seconds))
        named = {column.method.name: column for column in columns}
        baselines = (named["small"], named["large"]) if "small" in named and "large" in named else None
        return {
            "method": self.method.label,
            "value": self.method.value,
            "accuracy": accuracy,
            "interval": interval,
            "intervention_rate": rate or 0.0,
            "intervention_rate_interval": rate_interval or [0.0, 0.0],
            "large_token_share": share or 0.0,
            "large_token_share_interval": share_interval or [0.0, 0.0],
            "seconds_per_question": seconds,
            "seconds_interval": seconds_interval,
            "cpu_seconds_per_question": self._value(mean(self._each(lambda r: r.cpu_seconds))),
            "forward_seconds_per_question": self._value(mean(self._each(lambda r: r.small_seconds + r.large_seconds))),
            "tokens_per_question": self._value(mean(tokens)),
            "large_tokens_per_question": self._value(mean(large)),
            "discarded_tokens_per_question": self._value(mean(self._each(lambda r: r.discarded_tokens))),
            "failed": sum(record.error is not None for group in self.records for record in group),
            **(self._time_of_large(named["large"]) if "large" in named else {}),
            **(self._gap_closed(*baselines) if baselines else {}),
        }

    def _each(self, figure: Callable[[Record], float]) -> list[float]:
        return [math.fsum(map(figure, group)) / len(group) for group in self.records]

    def _time_of_large(self, large: "MethodFigures") -> dict[str, Any]:
        value, interval = self._measured(ratio(self.seconds, large.seconds))
        return {"time_of_large": value, "time_of_large_interval": interval}

    def against(self, other: "MethodFigures") -> dict[str, Any]:
        """Return how this method's accuracy and time differ from another's, question by question."""
        gains = [mine - theirs for mine, theirs in zip(self.correct, other.correct, strict=True)]
        difference, interval = self._measured(mean(gains))
        seconds, seconds_interval = self._measured(ratio(self.seconds, other.seconds))
        return {
            "method": self.method.label,
            "against": other.method.label,
            "accuracy_difference": difference,
            "interval": interval,
            "seconds_ratio": seconds,
            "seconds_ratio_interval": seconds_interval,
        }

    def _gap_closed(self, small: "MethodFigures", large: "MethodFigures") -> dict[str, Any]:
        mine, low, high = mean(self.correct), mean(small.correct), mean(large.correct)

        def closed(draw: Draw) -> float:
            gap = high(draw) - low(draw)
            return (mine(draw) - low(draw)) / gap if gap > 0 else math.nan

        value, interval = self._measured(closed)
        return {"gap_closed": value, "gap_closed_interval": interval}

    def _value(self, statistic: Statistic) -> float:
        value = statistic(self._resamples.everything)
        return 0.0 if math.isnan(value) else round(value, DIGITS)

    def _measured(self, statistic: Statistic) -> tuple[float | None, list[float] | None]:
        value, interval = statistic(self._resamples.everything), self._resamples.interval(statistic)
        if math.isnan(value):
            return None, None
        return round(value, DIGITS), [round(end, DIGITS) for end in interval]


def _found(ledger: Ledger, method: Method, question: Question, repeat: int) -> Record:
    record = ledger.get(method, question, repeat)
    assert record, f"{method.label} has not answered {question.id}"
    return record


def label(row: Mapping[str, Any]) -> str:
    """Return a method's name with its number, where it is not part of the name."""
    shown = "@" in row["method"] or row["value"] is None
    return str(row["method"]) if shown else f"{row['method']} ({row['value']:g})"
