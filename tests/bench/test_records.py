"""A run on file: broken off at any point and taken up again, it is the run that was not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from bench.scripts import ENTROPIES, STEPS, question, router, wrote
from glimp_core import Cancelled, ConfigError, GlimpRouter, SamplingParams
from glimp_core.bench import Ledger, Method, Record, parse, run
from glimp_core.testing import ScriptedEngine

QUESTIONS = [question(str(at)) for at in range(5)]
METHODS = "small,random,glimp,large"
SETTING = {"set": "made up", "sampling": {"seed": 1}}
CLOCKS = ("seconds", "cpu_seconds", "small_seconds", "large_seconds")


def told(ledger: Ledger, methods: list[Method]) -> list[dict[str, object]]:
    """All records, times left out."""
    records = [record for method in methods for record in ledger.of(method)]
    fields = [name for name in Record.__dataclass_fields__ if name not in (*CLOCKS, "trace")] + ["reasoning"]
    return [{name: getattr(record, name) for name in fields} for record in records]


def test_a_run_comes_back_from_its_file(tmp_path: Path) -> None:
    """What is read equals what was written, and nothing is answered twice."""
    path = tmp_path / "new" / "run.jsonl"
    first = Ledger(path, SETTING)
    methods = run(router(), parse(METHODS), QUESTIONS, first)
    again, pair = Ledger(path, SETTING), router()
    assert run(pair, parse(METHODS), QUESTIONS, again) == methods
    assert told(again, methods) == told(first, methods)
    assert pair.small.history == pair.large.history == []  # type: ignore[attr-defined]
    assert len(path.read_text().splitlines()) == 1 + 4 * len(QUESTIONS)


@pytest.mark.parametrize("after", [0, 7, 12])
def test_a_run_that_was_broken_off_is_taken_up(tmp_path: Path, after: int) -> None:
    """A run cancelled after some replies, and killed in the middle of a line, ends as the one that was not."""
    path = tmp_path / "run.jsonl"
    seen: list[Record] = []

    def show(method: Method, record: Record) -> None:
        seen.append(record)
        if len(seen) > after:
            raise Cancelled("enough")

    with pytest.raises(Cancelled):
        run(router(), parse(METHODS), QUESTIONS, Ledger(path, SETTING), show=show)
    with path.open("a") as file:
        file.write('{"method": "glimp", "val')
    taken_up, whole = Ledger(path, SETTING), Ledger()
    assert len(taken_up) == after + 1
    methods = run(router(), parse(METHODS), QUESTIONS, taken_up)
    assert methods == run(router(), parse(METHODS), QUESTIONS, whole)
    assert told(taken_up, methods) == told(whole, methods)
    assert [json.loads(line) for line in path.read_text().splitlines()]


def test_a_question_in_other_words_is_not_taken_for_the_same(tmp_path: Path) -> None:
    """A file of questions that was edited meanwhile is found out by its words, though the ids are the same."""
    path = tmp_path / "run.jsonl"
    run(router(), parse("small"), QUESTIONS, Ledger(path, SETTING))
    other = [replace(QUESTIONS[0], text="What else?")]
    with pytest.raises(ConfigError, match="'0' was asked in other words"):
        run(router(), parse("small"), other, Ledger(path, SETTING))


def test_repeats_have_seeds_and_records_of_their_own() -> None:
    """Each repeat of a question is answered, with the seeds that follow the first one; random draws differ."""
    ledger = Ledger()
    pair = GlimpRouter(*(router().small, router().large), sampling=SamplingParams(seed=5))
    (method,) = run(pair, parse("random@0.5"), QUESTIONS, ledger, repeats=4)
    records = [[ledger.get(method, question, n) for question in QUESTIONS] for n in range(4)]
    drawn = [[wrote(record) for record in each if record] for each in records]
    assert all(len(each) == len(QUESTIONS) for each in drawn)
    assert any(each != drawn[0] for each in drawn)
    again = Ledger()
    run(replace_seed(pair, 6), parse("random@0.5"), QUESTIONS, again)
    assert [wrote(record) for record in again] == drawn[1]


def replace_seed(pair: GlimpRouter, seed: int) -> GlimpRouter:
    return GlimpRouter(pair.small, pair.large, sampling=SamplingParams(seed=seed))


def test_a_record_holds_its_trace() -> None:
    """The reply can be drawn from the file: its steps, entropies and decisions are those that were."""
    ledger = Ledger()
    (method,) = run(router(), parse("glimp"), QUESTIONS[:1], ledger)
    record = ledger.get(method, QUESTIONS[0])
    assert record and record.completion  # noqa: PT018
    assert [r.decision.intervene for r in record.completion.routed] == wrote(record)
    assert [r.glimpse.entropy for r in record.completion.routed] == list(ENTROPIES)
    assert record.completion.answer == record.answer
    assert record.reasoning == "".join(STEPS).removesuffix("</think>")


def test_results_of_another_run_are_not_mixed_in(tmp_path: Path) -> None:
    """A file of another pair, sampling or set is refused, and what differs is named."""
    path = tmp_path / "run.jsonl"
    run(router(), parse("small"), QUESTIONS[:1], Ledger(path, SETTING))
    with pytest.raises(ConfigError, match=r"sampling=\{'seed': 1\}, now \{'seed': 2\}"):
        Ledger(path, {**SETTING, "sampling": {"seed": 2}})


@pytest.mark.parametrize("text", ["hello\n", "[]\n", '{"glimp_bench": 99, "run": {}}\n', '{"a": 1}\n'])
def test_any_other_file_is_refused(tmp_path: Path, text: str) -> None:
    """Nothing is appended to a file that does not hold results."""
    path = tmp_path / "notes.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match="no file of results"):
        Ledger(path, SETTING)
    assert path.read_text() == text


def test_random_takes_the_rate_of_glimp() -> None:
    """It is run last, at the share of steps that glimp gave to the large model, though it was named first."""
    ledger = Ledger()
    order: list[str] = []
    methods = run(
        router(), parse("random,small,glimp"), QUESTIONS, ledger, show=lambda method, _: order.append(method.name)
    )
    assert [(method.name, method.value) for method in methods] == [("random", 0.5), ("small", None), ("glimp", 1.0)]
    assert list(dict.fromkeys(order)) == ["small", "glimp", "random"]


@pytest.mark.parametrize("methods", ["random", "glimp,margin", "small,margin"])
def test_a_missing_number_is_found_before_any_question(methods: str) -> None:
    """A method without its number fails at once, not after an hour."""
    pair = router()
    with pytest.raises(ConfigError, match="lacks its number"):
        run(pair, parse(methods), QUESTIONS, Ledger())
    assert pair.small.history == []  # type: ignore[attr-defined]


def test_no_method_pays_for_being_the_first() -> None:
    """Both models answer once, unrecorded, before the first reply that counts."""
    pair = router(ScriptedEngine(("A.</think>",), "4", name="small"))
    run(pair, parse("large"), QUESTIONS[:1], ledger := Ledger())
    assert len(ledger) == 1
    assert pair.small.history and len(pair.large.history) == 2 * 5  # type: ignore[attr-defined]  # noqa: PT018


def test_methods_take_turns_on_each_question() -> None:
    """A machine that slows down during a run slows all methods alike."""
    order: list[tuple[str, str]] = []
    run(router(), parse("small,glimp"), QUESTIONS, Ledger(), show=lambda m, r: order.append((r.question, m.name)))
    assert order == [(question.id, name) for question in QUESTIONS for name in ("small", "glimp")]


def test_replies_side_by_side_are_the_same() -> None:
    """Several at once change the times and nothing else, and are shown in order."""
    plain, beside, order = Ledger(), Ledger(), []
    methods = parse("small,large,glimp")
    run(router(), methods, QUESTIONS, plain)
    run(router(), methods, QUESTIONS, beside, show=lambda m, r: order.append((r.question, m.name)), at_once=3)
    found = {(record.method, record.question): (record.answer, record.tokens) for record in plain}
    assert found == {(record.method, record.question): (record.answer, record.tokens) for record in beside}
    assert order == [(question.id, method.name) for question in QUESTIONS for method in methods]
