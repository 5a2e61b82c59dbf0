"""`glimp bench` on a scripted pair."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.scripts import ENTROPIES, STEPS
from glimp_core import GlimpRouter
from glimp_core.bench.questions import tiny
from glimp_core.cli import main
from glimp_core.testing import ScriptedEngine
from pairs import commands_make

ROW = {"method", "accuracy", "interval", "intervention_rate", "large_token_share", "seconds_per_question"}


@pytest.fixture(autouse=True)
def pair(monkeypatch: pytest.MonkeyPatch) -> list[GlimpRouter]:
    """A pair of which the large model knows every answer, and the small one none."""
    answers = {question.text: question.expected for seed in (0, 1) for question in tiny(10, seed)}
    made: list[GlimpRouter] = []

    def knowing(request: Any) -> str:
        return answers[request.messages[-1]["content"]]

    def pretend(small: Any, large: Any, *settings: Any, **options: Any) -> GlimpRouter:
        engines = (
            ScriptedEngine(STEPS, "No idea.", ENTROPIES, name=small),
            ScriptedEngine(STEPS, knowing, name=large),
        )
        made.append(GlimpRouter(*engines, *settings))
        return made[-1]

    commands_make(monkeypatch, pretend)
    return made


def bench(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["bench", *arguments])
    out, err = capsys.readouterr()
    return int(left.value.code or 0), out, err


def test_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line of stdout has a row for each method, the set, n and seed, machine and commit."""
    code, out, _ = bench(capsys, "--n", "5", "--seed", "1", "--json", "--methods", "small,random,large,glimp")
    assert code == 0
    document = json.loads(out.splitlines()[-1])
    assert (document["set"], document["n"], document["seed"]) == ("tiny", 5, 1)
    assert [row["method"] for row in document["methods"]] == ["small", "random", "large", "glimp"]
    assert all(set(row) >= ROW | {"tokens_per_question"} for row in document["methods"])
    assert [row["accuracy"] for row in document["methods"]] == [0, 1, 1, 1]
    assert document["methods"][3]["intervention_rate"] == document["methods"][1]["value"] == 0.75
    assert document["machine"]["cores"] >= 1
    assert {"commit", "comparisons"} <= set(document)


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json there is a table, and nothing else on stdout."""
    code, out, _ = bench(capsys, "--n", "2", "--methods", "small,glimp@1")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == ["method", "small", "glimp@1"]
    assert "100.0%" in out


def test_a_rerun_answers_what_is_new(capsys: pytest.CaptureFixture[str], tmp_path: Path, pair: Any) -> None:
    """With --out, the second run asks only the questions and methods that the first one did not."""
    out = str(tmp_path / "run.jsonl")
    bench(capsys, "--n", "3", "--out", out, "--methods", "large")
    _, text, _ = bench(capsys, "--n", "4", "--out", out, "--methods", "large", "--json")
    assert json.loads(text)["n"] == 4
    answered = [call for call, _ in pair[1].large.history if call == "generate"]
    assert len(answered) == 2 * (len(STEPS) + 1), "a warm-up and one question"
    code, _, err = bench(capsys, "--n", "3", "--out", out, "--methods", "large", "--temperature", "0.5")
    assert (code, err.count("\n")) == (2, 1)
    assert "temperature" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "smal"], "did you mean 'small'"),
        (["--methods", "random"], "lacks its number"),
        (["--set", "nothing"], "no question set"),
        (["--n", "0"], "1 question or more"),
    ],
)
def test_bad_input(capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    """One clear line on stderr and exit code 2."""
    code, out, err = bench(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.count("\n") == 1
