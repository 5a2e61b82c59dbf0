"""`glimp demo`: a generated puzzle, judged."""

import json
from typing import Any

import pytest

from glimp_core.bundled.problems import HELD_OUT, grade, make_problem


@pytest.mark.parametrize("right", [True, False])
def test_the_puzzle_is_shown_and_the_answer_judged(glimp: Any, right: bool) -> None:
    """The demo prints the question it made up and says whether the pair's answer is right."""
    problem = make_problem(HELD_OUT + 7)
    glimp.script["answer"] = problem.reply if right else "I do not know."
    ran = glimp("demo", "--seed", "7")
    assert ran.code == 0
    assert problem.question in ran.out
    verdict = "right" if right else f"wrong, the answer is {problem.answer}"
    assert verdict in ran.out.splitlines()


def test_the_document_holds_the_puzzle_and_the_verdict(glimp: Any) -> None:
    """--json adds the question, the expected answer and whether it was met."""
    problem = make_problem(HELD_OUT + 2)
    document = json.loads(glimp("demo", "--seed", "2", "--json").out.splitlines()[-1])
    assert (document["question"], document["expected"]) == (problem.question, problem.answer)
    assert document["correct"] == grade(problem, document["answer"])


def test_a_seed_below_zero_is_refused(glimp: Any) -> None:
    """Puzzles are numbered from 0."""
    assert glimp("demo", "--seed", "-1").code == 2


def test_a_step_without_text_says_what_it_does(glimp: Any) -> None:
    """A step that only closes the thinking is not shown as an empty line."""
    glimp.script["steps"] = ["One.\n\n", "</think>"]
    assert "▏(ends the thinking)" in glimp("demo").out
