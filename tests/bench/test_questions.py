"""Question sets and the grading of replies."""

import json
import sys
from pathlib import Path

import pytest

from glimp_core import ConfigError
from glimp_core.bench import question_set
from glimp_core.bench.grading import final_answer, same_text, same_value
from glimp_core.bundled.problems import HELD_OUT, make_problem
from glimp_core.bundled.sorting import make_sorting_problem


def test_tiny_questions_are_held_out_and_seeds_do_not_share_any() -> None:
    """Seed 0 starts at the first held-out problem; other seeds are other problems, the same each time."""
    first, other = question_set("tiny", 20), question_set("tiny", 20, seed=1)
    assert first[0].text == make_problem(HELD_OUT).question
    assert {q.text for q in first}.isdisjoint(q.text for q in other)
    assert [q.id for q in other] == [q.id for q in question_set("tiny", 20, seed=1)]


def test_tiny_questions_come_in_levels() -> None:
    """A level has problems of that level alone; there are no others."""
    assert {make_problem(int(q.id), 1).question for q in question_set("tiny:1", 5)} == {
        q.text for q in question_set("tiny:1", 5)
    }
    with pytest.raises(ConfigError, match="from 0 to 3"):
        question_set("tiny:4", 1)


def test_sorting_questions_are_held_out_come_in_lengths_and_are_graded_in_order() -> None:
    """A right reasoning takes out the smallest number each time; the answer must have all numbers in order."""
    problem = make_sorting_problem(HELD_OUT, 5)
    (question,) = question_set("tiny-sorting:5", 1)
    assert question.text == problem.question
    named = [int(step.text.split()[0]) for step in problem.steps() if step.hard]
    assert named == sorted(problem.numbers)
    assert question.grade(f"<think>{problem.reasoning}</think>{problem.reply}")
    assert not question.grade(f"<think>{problem.reasoning}</think>")
    assert not question.grade(" ".join(map(str, reversed(named))))
    with pytest.raises(ConfigError, match="from 4 to 9"):
        question_set("tiny-sorting:3", 1)


def test_tiny_replies_are_graded_by_the_generator() -> None:
    """The right number is right, another one is not."""
    (question,) = question_set("tiny", 1)
    assert question.grade(make_problem(HELD_OUT).reply)
    assert not question.grade("I do not know.")


def test_reasoning_gym_replies_are_scored_by_their_own_task() -> None:
    """The expected answer in answer tags is right; the task's settings are passed on; seeds share no question."""
    pytest.importorskip("reasoning_gym")
    first = question_set("reasoning-gym:chain_sum:max_terms=3,max_digits=2", 30)
    other = question_set("reasoning-gym:chain_sum:max_terms=3,max_digits=2", 30, seed=1)
    assert all(q.grade(f"So it is <answer>{q.expected}</answer>") for q in first)
    assert not any(q.grade(f"<answer>{int(q.expected) + 1}</answer>") for q in first)
    assert all(q.text.partition("\n\n")[0].count("+") + q.text.partition("\n\n")[0].count("-") <= 4 for q in first)
    assert {q.id for q in first}.isdisjoint(q.id for q in other)
    assert sum(a.text == b.text for a in first for b in other) < 5
    assert "<answer>" in first[0].text


@pytest.mark.parametrize("name", ["reasoning-gym:no_such_task", "reasoning-gym:chain_sum:no_such=3"])
def test_a_task_that_cannot_be_made_is_refused(name: str) -> None:
    """Names and settings that reasoning-gym does not know are errors that show them."""
    pytest.importorskip("reasoning_gym")
    with pytest.raises(ConfigError, match="no_such"):
        question_set(name, 1)


def test_champ_questions_are_graded_by_value() -> None:
    """An answer of equal value is right, in a box or as it stands, and the seed picks the questions."""
    pytest.importorskip("champ_dataset")
    pytest.importorskip("math_verify")
    questions = question_set("champ", 270)
    assert len({q.id for q in questions}) == 270
    numeric = [q for q in questions if q.expected.isdigit()][:5]
    assert all(q.grade(f"It is \\boxed{{{q.expected}.0}}.") for q in numeric)
    assert not any(q.grade(f"\\boxed{{{int(q.expected) + 1}}}") for q in numeric)
    assert [q.id for q in question_set("champ", 5, seed=1)] != [q.id for q in questions[:5]]


def test_a_file_of_questions(tmp_path: Path) -> None:
    """Each line has a question and an answer; it says by itself how it is graded."""
    path = tmp_path / "mine.jsonl"
    lines = [{"question": "Capital of France?", "answer": "Paris", "grade": "text", "id": "fr"}]
    lines += [{"question": "Capital of Peru?", "answer": "Lima", "grade": "text"}]
    path.write_text("\n\n".join(map(json.dumps, lines)) + "\n")
    france, peru = question_set(str(path), 10, instruction=" Be brief.")
    assert (france.id, france.text, peru.id) == ("fr", "Capital of France? Be brief.", "2")
    assert france.grade("Let me think.\n\nparis.")
    assert not france.grade("Paris or Lyon")
    assert len(question_set(str(path), 1)) == 1


@pytest.mark.parametrize("line", ["{", '{"question": "a"}', "[]", '{"question": "a", "answer": "b", "grade": "c"}'])
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    """The error says which line, and what a line holds."""
    path = tmp_path / "mine.jsonl"
    path.write_text('{"question": "a", "answer": "b", "grade": "text"}\n' + line)
    with pytest.raises(ConfigError, match=r"line 2.*`question`, `answer`"):
        question_set(str(path), 5)


@pytest.mark.parametrize(("name", "n", "seed"), [("nowhere.jsonl", 1, 0), ("tiny", 0, 0), ("tiny", 1, -1)])
def test_a_set_that_is_not_there_is_refused(name: str, n: int, seed: int) -> None:
    """Unknown names, no questions and negative seeds are errors."""
    with pytest.raises(ConfigError, match=r"no question set|n=|seed=-1"):
        question_set(name, n, seed)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(ConfigError, match="pip install reasoning-gym"):
        question_set("reasoning-gym:chain_sum", 1)


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ("a <answer>1</answer> b <answer>\n2 </answer>", "2"),
        (r"first \boxed{1}, then \boxed{\sqrt{2}}", r"\sqrt{2}"),
        (r"\boxed{1} is not closed: \boxed{2", r"\boxed{1} is not closed: \boxed{2"),
        ("thus\n\n  42  \n\n", "42"),
        ("", ""),
    ],
)
def test_the_last_answer_counts(reply: str, answer: str) -> None:
    """Answer tags before boxes before the last line."""
    assert final_answer(reply) == answer


def test_grading_by_text_and_by_value() -> None:
    """Text is compared without case and spaces, values as values."""
    pytest.importorskip("math_verify")
    assert same_text("A  b", "\\boxed{a B.}")
    assert not same_text("a", "\\boxed{b}")
    assert same_value("1/2", "\\boxed{0.5}")
    assert same_value("72", "Together they sold 48 + 24 = 72 clips.")
    assert not same_value("72", "\\boxed{27}")
    assert not same_value("72", "I do not know.")
