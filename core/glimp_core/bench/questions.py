"""Sets of questions that can be graded."""

import json
import random
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from glimp_core.bench.datafile import read_rows
from glimp_core.bench.grading import final_answer, optional, same_value
from glimp_core.bench.published import BOXED, PUBLISHED, STEP_BY_STEP, Question, fetched, question_of
from glimp_core.bundled.problems import HELD_OUT, MAX_LEVEL, grade, make_problem
from glimp_core.bundled.sorting import LONGEST, SHORTEST, grade_sorting, make_sorting_problem
from glimp_core.errors import ConfigError

SETS = (
    f"{', '.join(PUBLISHED)} (from the Hugging Face hub), tiny[:LEVEL], tiny-sorting[:LENGTH], champ, "
    "reasoning-gym:TASK[:KEY=VALUE,...], or the path of a file in the format of one of these: .jsonl, .json, "
    ".csv or .parquet"
)
SEED_STRIDE = 1_000_000
"""Generators number their questions from the seed on, so seeds that follow each other would share questions."""

TAGGED = STEP_BY_STEP + " Give the final answer between <answer> and </answer>."


def question_set(
    name: str, n: int, seed: int = 0, instruction: str | None = None, run_code: bool = False
) -> list[Question]:
    """Return the first `n` questions of a set, the same ones for the same seed, all there are where it has fewer.

    `instruction` takes the place of the set's own words after each question. Programs are graded by running them, which
    `run_code` has to allow. Raises `ConfigError` for an unknown set, a file that cannot be read, a set that cannot be
    had from the hub, or a package that is not installed.
    """
    if n < 1 or seed < 0:
        raise ConfigError(f"n={n}, seed={seed} cannot work: there must be 1 question or more and a seed of 0 or more")
    kind, _, rest = name.partition(":")
    if kind == "tiny":
        return tiny(n, seed, _number(name, rest, 0, MAX_LEVEL))
    if kind == "tiny-sorting":
        return tiny_sorting(n, seed, _number(name, rest, SHORTEST, LONGEST))
    if name == "champ":
        return champ(n, seed, BOXED if instruction is None else instruction)
    if kind == "reasoning-gym" and rest:
        return reasoning_gym(rest, n, seed, TAGGED if instruction is None else instruction)
    if (path := Path(name).expanduser()).is_file() or name in PUBLISHED:
        return from_file(path if path.is_file() else fetched(name), n, seed, instruction, run_code)
    raise ConfigError(f"no question set {name!r} and no file of that name: choose {SETS}")


def tiny(n: int, seed: int = 0, level: int | None = None) -> list[Question]:
    """Return held-out problems of the family that the bundled pair was trained on, of a `level` or of mixed ones."""
    problems = [make_problem(HELD_OUT + seed * SEED_STRIDE + at, level) for at in range(n)]
    return [Question(str(p.seed), p.question, p.answer, partial(grade, p)) for p in problems]


def tiny_sorting(n: int, seed: int = 0, length: int | None = None) -> list[Question]:
    """Return held-out sorting puzzles, the bundled pair's second kind of text, of a `length` or of mixed ones."""
    problems = [make_sorting_problem(HELD_OUT + seed * SEED_STRIDE + at, length) for at in range(n)]
    return [Question(str(p.seed), p.question, p.answer, partial(grade_sorting, p)) for p in problems]


def reasoning_gym(task: str, n: int, seed: int = 0, instruction: str = TAGGED) -> list[Question]:
    """Return generated questions of a `reasoning-gym` task, as in "chain_sum" or "chain_sum:max_terms=3"."""
    name, _, settings = task.partition(":")
    gym = optional("reasoning_gym", "reasoning-gym")
    first = seed * SEED_STRIDE
    try:
        made: Any = gym.create_dataset(name, size=n, seed=first, **_settings(settings))
    except (ValueError, TypeError, AssertionError) as error:
        raise ConfigError(f"reasoning-gym cannot make {task!r}: {error}") from error

    def right(entry: dict[str, Any], reply: str) -> bool:
        return float(made.score_answer(final_answer(reply), entry)) >= 1

    entries: list[dict[str, Any]] = [made[at] for at in range(n)]
    return [
        Question(f"{task}/{first + at}", entry["question"] + instruction, str(entry["answer"]), partial(right, entry))
        for at, entry in enumerate(entries)
    ]


def champ(n: int, seed: int = 0, instruction: str = BOXED) -> list[Question]:
    """Return competition problems of the package `champ-dataset` (270 in all), shuffled by the seed."""
    optional("math_verify", "math-verify")
    package = optional("champ_dataset", "champ-dataset")
    path = Path(str(package.__file__)).parent / "dataset_files" / "v0.json"
    problems: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["problems"]
    chosen = random.Random(seed).sample(sorted(problems), min(n, len(problems)))
    return [
        Question(name, problems[name]["_text"] + instruction, answer, partial(same_value, answer))
        for name in chosen
        for answer in [str(problems[name]["_answer"])]
    ]


def from_file(
    path: Path, n: int, seed: int = 0, instruction: str | None = None, run_code: bool = False
) -> list[Question]:
    """Return the first `n` questions of a file that `read_rows` reads, in the forms that `question_of` knows."""
    rows = islice(read_rows(path), n)
    questions = [question_of(where, row, instruction, seed, run_code) for where, row in rows]
    if not questions:
        raise ConfigError(f"{path} holds no question")
    ids = [question.id for question in questions]
    if len(set(ids)) < len(ids):
        twice = next(one for one in ids if ids.count(one) > 1)
        raise ConfigError(f"{path}: two questions have the id {twice!r}, so their results could not be told apart")
    return questions


def _number(name: str, text: str, lowest: int, highest: int) -> int | None:
    if not text:
        return None
    if not text.isdecimal() or not lowest <= int(text) <= highest:
        kind = name.partition(":")[0]
        raise ConfigError(f"{name} cannot work: {kind}:N takes an N from {lowest} to {highest}")
    return int(text)


def _settings(text: str) -> dict[str, Any]:
    settings = {}
    for pair in filter(None, text.split(",")):
        key, _, value = pair.partition("=")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings
