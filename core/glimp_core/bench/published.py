"""Published question sets: mathematics, multiple choice and programming, recognised by their fields."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from glimp_core.bench.datafile import ROW, DataRow
from glimp_core.bench.grading import last_box, optional, same_choice, same_text, same_value
from glimp_core.bench.programs import ProgramCase, passes, private_cases, public_cases, require_posix
from glimp_core.errors import ConfigError

STEP_BY_STEP = "\n\nReason step by step, with a blank line between the steps."
BOXED = STEP_BY_STEP + " Put the final answer in \\boxed{}."
LETTER = STEP_BY_STEP + " One of the options is right. Put its letter in \\boxed{}."
PROGRAM = (
    STEP_BY_STEP + " Answer with one Python program in a block that begins with ```python. It reads its input from "
    "stdin and prints its output to stdout."
)
COMPLETED = STEP_BY_STEP + " Answer with one block that begins with ```python and completes this code:\n\n"
LETTERS = "ABCDEFGHIJ"


@dataclass(frozen=True, slots=True)
class Question:
    """A question for the models, and the function that grades a reply to it."""

    id: str
    text: str
    expected: str
    grade: Callable[[str], bool]

    @property
    def digest(self) -> str:
        """A name for the words of the question, so that results of other words are not taken for its own."""
        return hashlib.sha256(f"{self.text}\0{self.expected}".encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Published:
    """A file of a data set on the Hugging Face hub."""

    repository: str
    file: str


PUBLISHED: Mapping[str, Published] = {
    "aime24": Published("HuggingFaceH4/aime_2024", "data/train-00000-of-00001.parquet"),
    "aime25": Published("math-ai/aime25", "test.jsonl"),
    "math-500": Published("HuggingFaceH4/MATH-500", "test.jsonl"),
    "gpqa-diamond": Published("Idavidrein/gpqa", "gpqa_diamond.csv"),
    "lcb-v5": Published("livecodebench/code_generation_lite", "test5.jsonl"),
    "lcb-v6": Published("livecodebench/code_generation_lite", "test6.jsonl"),
}
"""The sets of the paper, at the places that its code names; GPQA's authors ask readers to log in first."""


def fetched(name: str) -> Path:
    """Return the file of a published set, from the hub or its local cache.

    Raises `ConfigError` that says how to give a file where it cannot be had.
    """
    hub = optional("huggingface_hub", "huggingface_hub")
    at = PUBLISHED[name]
    try:
        return Path(hub.hf_hub_download(at.repository, at.file, repo_type="dataset"))
    except Exception as error:  # offline, gated, moved: the hub's client has an error of its own for each
        reason = " ".join(str(error).split())[:200]
        raise ConfigError(
            f"the question set {name!r} cannot be had from the hub ({at.repository}, {at.file}): {reason}; "
            f"with a copy of your own say --set FILE"
        ) from error


def question_of(where: str, row: DataRow, instruction: str | None, seed: int, run_code: bool) -> Question:
    """Return the question of a row, whose form its fields tell; the `seed` shuffles the options of a choice.

    - `question_content`, `public_test_cases`: a program (LiveCodeBench).
    - `Question`, `Correct Answer`, `Incorrect Answer 1` to 3: four options (GPQA). `options` or `choices`, a list, with
      the letter or number of the right one in `answer`, are options, too.
    - `problem` or `question` with `answer`, or with a box in `solution`: a value (AIME, MATH), or one of A to D.

    Raises `ConfigError` that names the row for any other, and for a program where `run_code` is not set.
    """
    try:
        if "public_test_cases" in row:
            return _program(where, row, instruction, run_code)
        if "Correct Answer" in row:
            return _shuffled(where, row, instruction, seed)
        if options := _first(row, ("options", "choices")):
            return _choice(where, row, list(options), instruction, seed)
        return _value(where, row, instruction)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{where}: {error!r}; {ROW}") from error


def _value(where: str, row: DataRow, instruction: str | None) -> Question:
    text = str(_first(row, ("problem", "question", "Problem", "Question", "prompt")) or _missing("question"))
    expected = _first(row, ("answer", "Answer", "expected_answer"))
    if expected is None:
        expected = last_box(str(_first(row, ("solution", "Solution")) or ""))
    expected = str(_missing("answer") if expected is None else expected).strip()
    how = row.get("grade", "choice" if expected in "ABCD" and expected else "value")
    check = {"value": same_value, "text": same_text, "choice": same_choice}[how]
    if how == "value":
        optional("math_verify", "math-verify")
    asked = (LETTER if how == "choice" else BOXED) if instruction is None else instruction
    return Question(_id(where, row), text + asked, expected, partial(check, expected))


def _shuffled(where: str, row: DataRow, instruction: str | None, seed: int) -> Question:
    options = [str(row["Correct Answer"]).strip()]
    options += [str(row[f"Incorrect Answer {number}"]).strip() for number in (1, 2, 3)]
    return _options(where, row, str(row["Question"]).strip(), options, 0, instruction, seed)


def _choice(where: str, row: DataRow, options: list[Any], instruction: str | None, seed: int) -> Question:
    text = str(_first(row, ("question", "problem", "Question")) or _missing("question"))
    answer = row["answer"]
    right = answer if isinstance(answer, int) else LETTERS.index(str(answer).strip()[:1].upper())
    return _options(where, row, text, [str(option) for option in options], right, instruction, seed)


def _options(
    where: str, row: DataRow, text: str, options: list[str], right: int, instruction: str | None, seed: int
) -> Question:
    name = _id(where, row)
    if not 0 <= right < len(options) <= len(LETTERS):
        raise ValueError(f"option {right} of {len(options)}")
    order = list(range(len(options)))
    random.Random(f"{seed}/{name}").shuffle(order)
    listed = "\n".join(f"({letter}) {options[at]}" for letter, at in zip(LETTERS, order, strict=False))
    expected = LETTERS[order.index(right)]
    asked = LETTER if instruction is None else instruction
    return Question(name, f"{text}\n\n{listed}{asked}", expected, partial(same_choice, expected))


def _program(where: str, row: DataRow, instruction: str | None, run_code: bool) -> Question:
    if not run_code:
        raise ConfigError(
            f"{where} asks for a program, and grading it runs what the models wrote: with limits of time and memory, "
            "but in no sandbox. Do that where nothing can be lost, and say --run-code"
        )
    require_posix()
    metadata = row.get("metadata") or {}
    metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
    function = str(metadata.get("func_name") or "")
    shown, hidden = row["public_test_cases"], row.get("private_test_cases")

    def cases() -> Iterable[ProgramCase]:
        yield from public_cases(shown, function)
        yield from private_cases(hidden, function)

    if not list(cases()):  # what cannot be read is refused before any model is asked
        raise ValueError("no test case")
    starter = str(row.get("starter_code") or "")
    asked = (f"{COMPLETED}```python\n{starter}\n```" if starter else PROGRAM) if instruction is None else instruction
    return Question(_id(where, row), str(row["question_content"]) + asked, "", partial(passes, cases))


def _id(where: str, row: DataRow) -> str:
    found = _first(row, ("id", "ID", "unique_id", "question_id", "Record ID", "problem_idx"))
    return where.rpartition(" ")[2] if found is None else str(found)


def _first(row: DataRow, names: Iterable[str]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _missing(name: str) -> Any:
    raise KeyError(name)
