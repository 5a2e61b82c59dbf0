"""`glimp bench --preset paper` on a scripted pair: whole, broken off, taken up, told beforehand."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from bench.scripts import ENTROPIES, STEPS, Sure
from dom import parse
from glimp_core import GlimpRouter
from glimp_core.bench.preset import PRESETS
from glimp_core.bench.records import held
from glimp_core.cli import main
from glimp_core.testing import ScriptedEngine
from pairs import commands_make

ROWS = [{"id": str(at), "question": f"<b>{at}</b> & 4?", "answer": "4", "grade": "text"} for at in range(5)]
PAPER = ("bench", "--preset", "paper", "--set", "mine.jsonl", "--n", "3", "--seeds", "2", "--json")


def knowing(made: list[GlimpRouter]) -> Any:
    """Return what stands in for `from_pretrained`: a pair of which the large model alone answers rightly."""

    def pretend(small: Any, large: Any, *settings: Any, **options: Any) -> GlimpRouter:
        measures = [(0.1 * at, 0.1 * at) for at in range(1, 5)]
        engines = (
            Sure(*measures, steps=STEPS, answer="5", entropies=ENTROPIES, name=small),
            Drafted(STEPS, "4", name=large),
        )
        made.append(GlimpRouter(*engines, *settings))
        return made[-1]

    return pretend


@pytest.fixture(autouse=True)
def pair(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[GlimpRouter]:
    """The pairs that the commands of a test made, and a folder with five questions."""
    made: list[GlimpRouter] = []
    commands_make(monkeypatch, knowing(made))
    monkeypatch.chdir(tmp_path)
    Path("mine.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return made


@pytest.fixture(scope="module")
def paper(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the whole preset was run once."""
    folder = tmp_path_factory.mktemp("paper")
    (folder / "mine.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()), pytest.raises(SystemExit) as left:
        commands_make(patch, knowing([]))
        patch.chdir(folder)
        main(PAPER)
    assert not left.value.code
    return folder


class Drafted(ScriptedEngine):
    """Can be drafted for, which changes nothing."""

    def drafted_by(self, draft: object) -> "Drafted":
        return self


def glimp(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    out, err = capsys.readouterr()
    return int(left.value.code or 0), json.loads(out.splitlines()[-1]) if out else None, err


def calls(pair: GlimpRouter) -> int:
    return len(pair.small.history) + len(pair.large.history)  # type: ignore[attr-defined]


def test_one_command_gives_the_table_and_its_files(paper: Path) -> None:
    """All methods, at the paper's settings, with numbers chosen on other questions."""
    document = json.loads((paper / "glimp-paper.json").read_text())
    names = PRESETS["paper"].methods.split(",")
    assert [row["method"] for row in document["methods"]][: len(names)] == names
    assert (document["n"], document["repeats"]) == (3, 2)
    assert document["sampling"] == {"temperature": 0.6, "top_p": 0.95, "max_tokens": 2048, "seed": 0}
    assert (document["config"]["max_reasoning_tokens"], document["config"]["max_step_tokens"]) == (8192, 512)
    assert document["calibration"]["n"] == 2
    assert document["calibration"]["rates"] == [0.25, 0.125, 0.5]
    by_name = {row["method"]: row for row in document["methods"]}
    assert (by_name["small"]["accuracy"], by_name["large"]["accuracy"]) == (0, 1)
    assert by_name["glimp"]["intervention_rate"] == by_name["h-step"]["intervention_rate"] == 0.25
    assert by_name["large"]["time_of_large"] == 1
    records = (paper / "glimp-paper.jsonl").read_text().splitlines()[1:]
    graded = [record for record in map(json.loads, records) if not record["question"].startswith("calibration/")]
    assert len(graded) == 3 * 2 * len(document["methods"])


def test_a_run_that_is_done_asks_nothing_again(
    capsys: pytest.CaptureFixture[str], paper: Path, pair: list[GlimpRouter]
) -> None:
    """The same command reads its results; one seed more asks what is new alone; another setting is refused."""
    for file in paper.iterdir():
        shutil.copy(file, file.name)
    _, again, err = glimp(capsys, *PAPER)
    assert "continuing from there" in err
    assert calls(pair[0]) == 0
    assert again["methods"] == json.loads((paper / "glimp-paper.json").read_text())["methods"]
    code, _, err = glimp(capsys, *PAPER, "--temperature", "0.1")
    assert (code, "temperature" in err, err.count("\n")) == (2, True, 1)
    before = len(Path("glimp-paper.jsonl").read_text().splitlines())
    glimp(capsys, *PAPER, "--seeds", "3")
    assert len(Path("glimp-paper.jsonl").read_text().splitlines()) == before + 3 * len(again["methods"])


def test_the_page_shows_every_reply(paper: Path) -> None:
    """Both frontiers with all methods, the table, and for each question each method's chain; words are only words."""
    document = json.loads((paper / "glimp-paper.json").read_text())
    dom = parse((paper / "glimp-paper.html").read_text())
    methods = len(document["methods"])
    assert [len(figure.find("circle")) for figure in dom.find("figure")] == [methods] * 2
    assert len(dom.find("table", "methods")[0].find("tr")) == 1 + methods
    runs = dom.find("details", "run")
    assert [run.find(cls="question")[0].text[:8] for run in runs] == [f"<b>{at}</b>" for at in range(3)]
    assert all(len(run.find("ol", "chain")) == methods for run in runs)
    targets = {element.attributes["id"] for element in dom.all() if "id" in element.attributes}
    links = {a.attributes["href"][1:] for a in dom.find("table", "matrix")[0].find("a")}
    assert len(links) == 3 * (1 + methods)
    assert links <= targets


def test_a_dry_run_tells_and_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """Replies are those that there will be; nothing is graded and no file appears."""
    some = (*PAPER, "--methods", "large,glimp,h-step", "--target-rate", "0.25/0.5")
    _, cost, _ = glimp(capsys, *some, "--dry-run")
    assert not list(Path().glob("glimp-paper*"))
    assert (cost["questions"], cost["methods"], cost["repeats"]) == (3, 4, 2)
    assert cost["seconds_as_measured"] <= cost["seconds_at_most"]
    assert cost["tokens_at_most"] == cost["replies"] * (8192 + 2048)
    glimp(capsys, *some)
    assert cost["replies"] == len(Path("glimp-paper.jsonl").read_text().splitlines()) - 1


@pytest.mark.parametrize("names", [(), ("--small", "a", "--large", "b")])
def test_the_bundled_pair_is_asked_the_bare_question(
    capsys: pytest.CaptureFixture[str], names: tuple[str, ...]
) -> None:
    """Of a file, no word follows its puzzles; any other pair is told how to answer."""
    options = ("--set", "mine.jsonl", "--n", "1", "--methods", "small", "--out", "run.jsonl", "--json")
    glimp(capsys, "bench", *names, *options)
    said = json.loads(Path("run.jsonl").read_text().splitlines()[1])["trace"][0]["question"]
    assert said.startswith(str(ROWS[0]["question"]))
    assert (said == ROWS[0]["question"]) == (not names)


def test_two_runs_never_share_a_file(capsys: pytest.CaptureFixture[str], pair: list[GlimpRouter]) -> None:
    """The second is refused before any model loads while the first has the file, and may go on with it afterwards."""
    with held(Path("glimp-paper.jsonl")):
        code, _, err = glimp(capsys, *PAPER, "--methods", "small")
        assert (code, "another run is writing glimp-paper.jsonl" in err, err.count("\n")) == (2, True, 1)
        assert pair == []
    assert glimp(capsys, *PAPER, "--methods", "small")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--preset", "papr"), "did you mean 'paper'"),
        (("--threshold", "0.3"), "leave out --threshold"),
        (("--n", "5"), "--calibrate-on"),
        (("--target-rate", "1.5"), "shares of the steps"),
        (("--calibrate-on", "mine.jsonl", "--n", "5"), "--calibrate-on"),
    ],
)
def test_what_cannot_be_is_said_before_any_model_loads(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str, pair: list[GlimpRouter]
) -> None:
    """No questions to choose on but the graded ones, a threshold beside the preset, a rate that is none."""
    code, _, err = glimp(capsys, *PAPER, *arguments)
    assert (code, message in err, err.count("\n")) == (2, True, 1), err
    assert pair == []


def test_a_threshold_is_calibrated_without_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    """--calibrate-on alone does it, on questions whose words are not among the graded ones."""
    options = ("--set", "mine.jsonl", "--n", "2", "--calibrate-on", "mine.jsonl", "--target-rate", "0.5", "--json")
    code, document, _ = glimp(capsys, "bench", *options)
    assert code == 0
    assert document["calibration"]["n"] == 3
    assert [row["intervention_rate"] for row in document["methods"] if row["method"] == "glimp"] == [0.5]


PROGRAM = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parents[1])!r}, {str(Path(__file__).parents[1] / "cli")!r}]
import scripted_glimp
from glimp_core import GlimpRouter
from glimp_core.cli import main
scripted_glimp.SECONDS_A_TOKEN = 0.002
GlimpRouter.from_pretrained = scripted_glimp.scripted
main()
"""
RUN = ("bench", "--set", "mine.jsonl", "--n", "5", "--methods", "small,large,glimp", "--out", "run.jsonl", "--json")


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGKILL])
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_a_run_that_was_stopped_is_taken_up_where_it_was(number: int) -> None:
    """Interrupted or killed in the middle of a reply, what was answered is on the disk, and the rest is added to it."""
    command = [sys.executable, "-c", PROGRAM, *RUN]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (Path("run.jsonl").exists() and Path("run.jsonl").read_bytes().count(b"\n") > 4):
        assert process.poll() is None, process.stderr.read()  # type: ignore[union-attr]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == (130 if number == signal.SIGINT else -number)
    assert ("the same command continues there" in err) == (number == signal.SIGINT)
    kept = Path("run.jsonl").read_bytes().rpartition(b"\n")[0]
    assert kept.count(b"\n") < 15
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, json.loads(done.stdout.splitlines()[-1])["n"]) == (0, 5), done.stderr
    whole = Path("run.jsonl").read_bytes()
    assert whole.startswith(kept)
    assert len(whole.splitlines()) == 1 + 15
