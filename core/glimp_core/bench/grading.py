"""Grading: whether a reply is right or wrong."""

import importlib
import re
import threading
from types import ModuleType

from glimp_core.errors import ConfigError

PARSING_SECONDS = 5
"""The longest time to parse an expression, in seconds: for some the parser never ends."""

LETTER = re.compile(r"(?<![A-Za-z])([A-J])(?![A-Za-z])")
NAMED = re.compile(r"\b[Aa]nswer(?:\s+is)?\s*:?[\s*(]*([A-J])(?![A-Za-z])")


def optional(module: str, package: str) -> ModuleType:
    """Import a module that only experiments need. Raises `ConfigError` that names the package to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(f"this needs the package {package}: pip install {package}") from error


def final_answer(reply: str) -> str:
    r"""Return what a reply gives as its answer: in answer tags, else in a box, else its last line.

    >>> final_answer("So <answer> 12 </answer>"), final_answer(r"It is \boxed{\frac{1}{2}}."), final_answer("a\n\nb\n")
    ('12', '\\frac{1}{2}', 'b')
    """
    if tagged := re.findall(r"<answer>(.*?)</answer>", reply, flags=re.DOTALL):
        return str(tagged[-1]).strip()
    if (box := last_box(reply)) is not None:
        return box.strip()
    lines = reply.strip().splitlines()
    return lines[-1].strip() if lines else ""


def same_text(expected: str, reply: str) -> bool:
    """Tell whether a reply's answer is the expected one, case, spaces and a final stop aside."""
    return _plain(final_answer(reply)) == _plain(expected)


def same_value(expected: str, reply: str) -> bool:
    """Tell by `math-verify` whether a reply's answer has the expected value. Raises `ConfigError` without it."""
    verifier = optional("math_verify", "math-verify")
    # its time limits use signals, which only the main thread may set
    seconds = PARSING_SECONDS if threading.current_thread() is threading.main_thread() else None
    gold = verifier.parse(f"${expected}$", parsing_timeout=seconds)
    for said in (f"${final_answer(reply)}$", reply):
        value = verifier.parse(said, parsing_timeout=seconds)
        if value:
            return bool(verifier.verify(gold, value, timeout_seconds=seconds))
    return False


def same_choice(expected: str, reply: str) -> bool:
    """Tell whether a reply chooses the option with the letter `expected`."""
    return chosen_letter(reply) == expected


def chosen_letter(reply: str) -> str:
    r"""Return the letter of the option that a reply chooses: in its box, else after "answer", "" if it names none.

    >>> [chosen_letter(reply) for reply in (r"\boxed{\text{(B)}}", "The answer is **C**.", "D", "A box of 3.")]
    ['B', 'C', 'D', '']
    """
    if (box := last_box(reply)) is not None:
        letters = LETTER.findall(re.sub(r"\\[a-zA-Z]+", " ", box))
        return letters[0] if letters else ""
    named = NAMED.findall(reply)
    alone = re.fullmatch(r"\W*([A-J])\W*", final_answer(reply))
    return str(named[-1] if named else alone[1] if alone else "")


def last_box(text: str) -> str | None:
    r"""Return the content of the last box of a text, None if there is none or it is not closed.

    >>> last_box(r"\boxed{1}, so \boxed{\sqrt{2}}")
    '\\sqrt{2}'
    """
    opening = "\\boxed{"
    start = text.rfind(opening)
    if start < 0:
        return None
    depth, begin = 1, start + len(opening)
    for at in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[begin:at]
    return None


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".").casefold()
