"""Published question sets, on questions of our own in each published format."""

import base64
import csv
import json
import pickle
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from glimp_core import ConfigError
from glimp_core.bench import Question, question_set
from glimp_core.bench.published import PUBLISHED

pytest.importorskip("math_verify")

AIME24 = {"id": 60, "problem": "What is 2 + 3?", "solution": "It is \\boxed{005}.", "answer": "005", "year": "2024"}
AIME25 = {"problem": "What is 2 + 3?", "answer": "5", "id": "0"}
MATH = {
    "problem": "Half of one?", "solution": "\\boxed{\\frac12}", "answer": "\\frac{1}{2}", "subject": "Algebra",
    "level": 1, "unique_id": "test/algebra/1.json",
}  # fmt: skip
BOX_ONLY = {"problem": "Half of one?", "solution": "So $\\boxed{\\frac{1}{2}}$."}
GPQA = {
    "Record ID": "rec1", "Question": "Which is heaviest?", "Correct Answer": "lead ", "Incorrect Answer 1": "wood",
    "Incorrect Answer 2": "air", "Incorrect Answer 3": "cork",
}  # fmt: skip
LETTERED = {"problem": "Which?\nA. one\nB. two", "answer": "B"}
LISTED = {"question": "Which is heaviest?", "options": ["wood", "lead"], "answer": "B"}
ADDING = "```python\na, b = map(int, input().split())\nprint(a + b)\n```"


def packed(cases: Sequence[Mapping[str, str]]) -> str:
    """Test cases as LiveCodeBench hides them."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


STDIN = {
    "question_title": "Sum", "question_content": "Add two numbers.", "platform": "atcoder", "question_id": "abc_a",
    "starter_code": "", "metadata": "{}",
    "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3\n", "testtype": "stdin"}]),
    "private_test_cases": packed([{"input": "5 6\n", "output": "11", "testtype": "stdin"}]),
}  # fmt: skip
CALL = STDIN | {
    "question_id": "3000", "starter_code": "class Solution:\n    def add(self, a: List[int]) -> int:\n        ",
    "metadata": json.dumps({"func_name": "add"}),
    "public_test_cases": json.dumps([{"input": "[1, 2]", "output": "3", "testtype": "functional"}]),
    "private_test_cases": packed([{"input": "[]", "output": "0", "testtype": "functional"}]),
}  # fmt: skip
SOLVED = "```python\nclass Solution:\n    def add(self, a: List[int]):\n        print('!')\n        return sum(a)\n```"


def loaded(folder: Path, *rows: Mapping[str, Any], name: str = "set.jsonl", **options: Any) -> list[Question]:
    path = folder / name
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        arrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        parquet.write_table(arrow.Table.from_pylist([dict(row) for row in rows]), path)
    else:
        path.write_text(json.dumps(rows) if path.suffix == ".json" else "\n".join(map(json.dumps, rows)))
    return question_set(str(path), 10, run_code=True, **options)


@pytest.mark.parametrize("name", ["set.jsonl", "set.json", "set.csv", "set.parquet"])
@pytest.mark.parametrize("row", [AIME24, MATH, GPQA, STDIN, CALL], ids=["aime", "math", "gpqa", "stdin", "call"])
def test_a_set_is_the_same_in_every_file(tmp_path: Path, row: Mapping[str, Any], name: str) -> None:
    """JSON Lines, JSON, CSV and Parquet give the same question."""
    (plain,), (other,) = loaded(tmp_path, row), loaded(tmp_path, row, name=name)
    assert (other.id, other.text, other.expected) == (plain.id, plain.text, plain.expected)


@pytest.mark.parametrize(
    ("row", "right", "wrong"),
    [
        (AIME24, "\\boxed{5}", "\\boxed{6}"),
        (AIME25, "So it is \\boxed{005}.", "\\boxed{-5}"),
        (MATH, "\\boxed{0.5}", "\\boxed{2}"),
        (BOX_ONLY, "\\boxed{\\dfrac{1}{2}}", "1/3"),
        (LETTERED, "\\boxed{\\text{(B)}}", "\\boxed{A}"),
        (STDIN, ADDING, ADDING.replace("+", "-")),
        (STDIN, f"First try:\n```python\nprint(3)\n```\nBetter:\n{ADDING}", "```python\nprint(3)\n```"),
        (CALL, SOLVED, SOLVED.replace("sum(a)", "a[0] + a[1]")),
    ],
)
def test_replies_are_graded(tmp_path: Path, row: Mapping[str, Any], right: str, wrong: str) -> None:
    """Values by value, letters by letter, programs by all of their cases, the hidden ones too."""
    (question,) = loaded(tmp_path, row)
    assert question.grade(right)
    assert not question.grade(wrong)
    assert not question.grade("")


@pytest.mark.parametrize("row", [GPQA, LISTED], ids=["gpqa", "listed"])
def test_options_are_shuffled_by_the_seed(tmp_path: Path, row: Mapping[str, Any]) -> None:
    """The right option stands in every place for some seed, always the same for one seed, and is what is graded."""
    places = set()
    for seed in range(20):
        (question,), (again,) = loaded(tmp_path, row, seed=seed), loaded(tmp_path, row, seed=seed)
        assert question.text == again.text
        assert f"({question.expected}) lead" in question.text
        assert question.grade(f"The answer is ({question.expected}).")
        places.add(question.expected)
    assert places == set("ABCD"[: 4 if row is GPQA else 2])


def test_grading_programs_has_to_be_allowed(tmp_path: Path) -> None:
    """Without --run-code nothing that a model wrote is run, and the error says so before any model loads."""
    path = tmp_path / "lcb.jsonl"
    path.write_text(json.dumps(STDIN))
    with pytest.raises(ConfigError, match=r"in no sandbox.*--run-code"):
        question_set(str(path), 1)


class Bomb:
    """A pickle that would write a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_that_calls_anything_is_refused(tmp_path: Path) -> None:
    """Hidden test cases are read as plain values alone."""
    hidden = base64.b64encode(zlib.compress(pickle.dumps(Bomb(tmp_path / "touched")))).decode()
    with pytest.raises(ConfigError, match="cannot be unpacked"):
        loaded(tmp_path, STDIN | {"private_test_cases": hidden})
    assert not (tmp_path / "touched").exists()


@pytest.mark.parametrize(
    "row",
    [
        {"problem": "?"},
        {"question": "?", "options": ["a", "b"], "answer": "C"},
        STDIN | {"public_test_cases": "[]", "private_test_cases": ""},
        CALL | {"metadata": "{}"},
        {"Question": "?", "Correct Answer": "a"},
        ["a"],
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, row: Any) -> None:
    """The error says where it stands."""
    with pytest.raises(ConfigError, match=r"set\.jsonl, line 2"):
        loaded(tmp_path, AIME25, row)


def test_questions_of_one_id_are_refused(tmp_path: Path) -> None:
    """Their results could not be told apart in a file."""
    with pytest.raises(ConfigError, match="two questions have the id '0'"):
        loaded(tmp_path, AIME25, AIME25)


@pytest.mark.parametrize(("name", "text"), [("a.json", "{"), ("a.json", "3"), ("a.parquet", "PAR"), ("a.csv", "")])
def test_a_broken_file_is_an_error(tmp_path: Path, name: str, text: str) -> None:
    """It is named, be it empty or something else than its ending says."""
    (tmp_path / name).write_text(text)
    with pytest.raises(ConfigError, match=name):
        question_set(str(tmp_path / name), 3)


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_a_named_set_comes_from_the_hub(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its published file is asked for, and read like a file of one's own; offline the error says what to do."""
    huggingface_hub = pytest.importorskip("huggingface_hub")
    with pytest.raises(ConfigError, match="--set FILE"):
        question_set(name, 1)
    row = GPQA if "gpqa" in name else STDIN if "lcb" in name else AIME24
    asked = []

    def download(repository: str, file: str, repo_type: str) -> str:
        asked.append(f"{repo_type}s/{repository}/{file}")
        path = tmp_path / Path(file).name
        loaded(tmp_path, row, name=path.name)
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    (question,) = question_set(name, 5, run_code=True)
    assert question.text.startswith(str(row.get("problem") or row.get("Question") or row["question_content"]))
    assert asked == [f"datasets/{PUBLISHED[name].repository}/{PUBLISHED[name].file}"]
