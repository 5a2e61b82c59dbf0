"""The child process in which a program runs on one test case: `python -I child.py MEMORY SECONDS FUNCTION`.

It limits itself before it reads `program.py`, and a program cannot raise the limits again.
"""

import json
import resource
import sys
from pathlib import Path
from typing import Any

OUTPUT = 64 * 2**20
"""Bytes that a program may print."""

PRELUDE = """
import bisect, collections, functools, heapq, itertools, math, operator, random, re, string
from bisect import *
from collections import *
from functools import *
from heapq import *
from itertools import *
from math import *
from typing import *
"""
"""The imports that code with a `class Solution` expects, as on the site of the problems."""


def main(memory: str, seconds: str, function: str) -> None:
    """Run the program as a script, or call its `function` with the JSON values on stdin and print what it returns."""
    for limit, most in (
        (resource.RLIMIT_AS, int(memory)),
        (resource.RLIMIT_CPU, int(float(seconds)) + 1),
        (resource.RLIMIT_FSIZE, OUTPUT),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    sys.setrecursionlimit(50_000)
    source = Path("program.py").read_text(encoding="utf-8")
    names: dict[str, Any] = {"__name__": "__main__"}
    if not function:
        exec(compile(source, "program.py", "exec"), names)
        return
    with open(0, encoding="utf-8", closefd=False) as given:
        arguments = [json.loads(line) for line in given.read().splitlines() if line.strip()]
    printed, sys.stdout = sys.stdout, sys.stderr  # the output of the program is not its return value
    exec(compile(PRELUDE, "prelude", "exec"), names)
    exec(compile(source, "program.py", "exec"), names)
    owner = names["Solution"]() if "Solution" in names else None
    called = getattr(owner, function) if owner is not None else names[function]
    json.dump(called(*arguments), printed)


if __name__ == "__main__":
    main(*sys.argv[1:4])
