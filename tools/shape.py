"""Measure the shape of a checkout: lines, names that stand twice, how far a request travels, how tests reach in.

    python tools/shape.py                     # this checkout, as a table
    python tools/shape.py --root ../other     # another one, an older commit in a git worktree for example
    python tools/shape.py --json              # the same figures as one JSON document

The requests run the bundled pair in this process (no network), the rest is read from the sources. Compare two commits
under the same versions of Python and the libraries: the number of frames depends on them.
"""

import argparse
import ast
import json
import os
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

PACKAGES = {
    "glimp_core": "core/glimp_core",
    "glimp_langchain": "glimp_langchain",
    "glimp_llamaindex": "glimp_llamaindex",
}
QUESTION = "Start with 5 and count modulo 31. First *8. Second +3. Third *8. What is the result?"
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
    },
}


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def lines(folder: Path) -> int:
    return sum(len(path.read_text().splitlines()) for path in sources(folder))


def names_that_stand_twice(package: Path) -> dict[str, dict[str, list[str]]]:
    """Map the class and the module names that a package uses more than once to the files they stand in.

    Classes are those at the top of a module, and names of types that are written like them. A leading underscore does
    not make another name, and `__init__` is no name.
    """
    classes, modules = defaultdict(list), defaultdict(list)
    for path in sources(package):
        where = str(path.relative_to(package))
        if path.stem != "__init__":
            modules[path.stem.lstrip("_")].append(where)
        for name in filter(None, map(_type_name, ast.parse(path.read_text()).body)):
            classes[name].append(where)
    found = {"classes": classes, "modules": modules}
    return {kind: {name: at for name, at in sorted(names.items()) if len(at) > 1} for kind, names in found.items()}


def _type_name(node: ast.stmt) -> str:
    """Return the name of the class or the type that a statement makes, without its underscore; "" for any other."""
    if isinstance(node, ast.Assign | ast.AnnAssign):
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        name = target.id.lstrip("_") if isinstance(target, ast.Name) else ""
        return name if name[:1].isupper() and not name.isupper() else ""
    return node.name.lstrip("_") if isinstance(node, ast.ClassDef) else ""


def private_reads(tests: Path) -> dict[str, list[str]]:
    """Map each test file to the attributes with a leading underscore that it reads of anything but `self` and `cls`.

    `os._exit` and protocols such as `_repr_html_` are documented, and no one's secret.
    """
    reads: dict[str, list[str]] = {}
    for path in sources(tests):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and _is_private(node.attr) and not _is_own(node.value):
                reads.setdefault(str(path.relative_to(tests)), []).append(f"{node.lineno}: {ast.unparse(node)}")
    return reads


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("_") and not name.startswith("__") and name != "_exit"


def _is_own(value: ast.expr) -> bool:
    """A class may read its own attributes, and those of the class it extends."""
    called = value.func if isinstance(value, ast.Call) else None
    return any(
        isinstance(node, ast.Name) and node.id in names
        for node, names in ((value, ("self", "cls")), (called, ("super",)))
    )


def patched_names(tests: Path) -> dict[str, list[str]]:
    """Map each test file to what it replaces in Glimp by `setattr` of pytest's monkeypatch."""
    patched: dict[str, list[str]] = {}
    for path in sources(tests):
        tree = ast.parse(path.read_text())
        foreign = set(_names_from_elsewhere(tree))
        for node in ast.walk(tree):
            if _is_setattr(node) and _is_of_glimp(node.args[0], foreign):
                patched.setdefault(str(path.relative_to(tests)), []).append(f"{node.lineno}: {ast.unparse(node)}")
    return patched


def _names_from_elsewhere(tree: ast.Module) -> Iterator[str]:
    """Yield the names that other libraries are imported as, by a statement or by pytest's importorskip."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            call, _, library = ast.unparse(node.value).partition("(")
            if call == "pytest.importorskip" and not library[1:].startswith("glimp_"):
                yield node.targets[0].id
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                module = node.module if isinstance(node, ast.ImportFrom) else alias.name
                if not (module or "").startswith("glimp_"):
                    yield alias.asname or alias.name.partition(".")[0]


def _is_setattr(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "setattr"
        and bool(node.args)
    )


def _is_of_glimp(target: ast.expr, foreign: set[str]) -> bool:
    """Say whether a patch goes to Glimp: by its dotted name, or to an object that no other library was imported as."""
    if isinstance(target, ast.Constant):
        return str(target.value).startswith("glimp_")
    while isinstance(target, ast.Attribute | ast.Call | ast.Subscript):
        target = target.func if isinstance(target, ast.Call) else target.value
    return not (isinstance(target, ast.Name) and target.id in foreign)


class Journey:
    """Notes which files of Glimp a request enters, in any thread, and how many of Glimp's frames stand on one another.

    Threads that were started before the first journey are not seen: begin one before anything loads.
    """

    def __init__(self, root: Path):
        self._folders = tuple(f"{root / folder}{os.sep}" for folder in PACKAGES.values())
        self._noting = False
        self.files: set[str] = set()
        self.deepest = 0
        threading.setprofile(self._note)
        sys.setprofile(self._note)

    def of(self, request: Callable[[], Any]) -> dict[str, int]:
        """Run a request; returns the files it entered and its deepest stack."""
        self.files, self.deepest, self._noting = set(), 0, True
        try:
            request()
        finally:
            self._noting = False
        return {"files": len(self.files), "deepest": self.deepest}

    def _note(self, frame: FrameType, event: str, arg: object) -> None:
        if self._noting and event == "call" and frame.f_code.co_filename.startswith(self._folders):
            self.files.add(frame.f_code.co_filename)
            self.deepest = max(self.deepest, sum(1 for _ in self._glimp_frames(frame)))

    def _glimp_frames(self, frame: FrameType | None) -> Iterator[FrameType]:
        while frame:
            if frame.f_code.co_filename.startswith(self._folders):
                yield frame
            frame = frame.f_back


def requests(root: Path) -> dict[str, dict[str, int]]:
    """Run a plain request and a tool call through ChatGlimp on the bundled pair of a checkout."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    sys.path[:0] = [str(root / "core"), str(root)]
    journey = Journey(root)

    import torch

    from glimp_core import EntropyThreshold, GlimpRouter, RouterConfig, SamplingParams
    from glimp_langchain import ChatGlimp

    torch.set_num_threads(1)
    router = GlimpRouter.from_pretrained(
        "glimp-tiny-small",
        "glimp-tiny-large",
        policy=EntropyThreshold(0.3),
        sampling=SamplingParams(temperature=0),
        config=RouterConfig(max_reasoning_tokens=64, max_answer_tokens=48),
    )
    kinds: dict[str, Callable[[], Any]] = {
        "plain request": lambda: router.generate(QUESTION),
        "ChatGlimp tool call": lambda: ChatGlimp(router=router).bind_tools([TOOL], tool_choice="any").invoke(QUESTION),
    }
    for request in kinds.values():  # what happens once in a process, as compiling a grammar does, is no part of it
        request()
    return {kind: journey.of(request) for kind, request in kinds.items()}


def commit(root: Path) -> str:
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=7", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def measure(root: Path) -> dict[str, Any]:
    """Measure a checkout; every figure is a count."""
    tests = root / "tests"
    return {
        "commit": commit(root),
        "python": sys.version.split()[0],
        "packages": {
            name: {
                "files": len(sources(root / folder)),
                "lines": lines(root / folder),
                "twice": names_that_stand_twice(root / folder),
            }
            for name, folder in PACKAGES.items()
        },
        "tests": {
            "files": len(sources(tests)),
            "lines": lines(tests),
            "private_reads": private_reads(tests),
            "patched_names": patched_names(tests),
        },
        "requests": requests(root),
    }


def table(figures: dict[str, Any]) -> Iterator[str]:
    """Write the figures down, a line each."""
    core, *adapters = figures["packages"].values()
    tests = figures["tests"]
    rows: dict[str, object] = {
        "lines of the core": f"{core['lines']:,} in {core['files']} files",
        "lines of the adapters": f"{sum(a['lines'] for a in adapters):,} in {sum(a['files'] for a in adapters)} files",
        "lines of the tests": f"{tests['lines']:,} in {tests['files']} files",
    }
    for name, package in figures["packages"].items():
        for kind, names in package["twice"].items():
            rows[f"{kind} that share a name in {name}"] = " ".join([str(len(names)), *names])
    for name, journey in figures["requests"].items():
        rows[f"{name}: files entered, deepest frame"] = f"{journey['files']}, {journey['deepest']}"
    for kind in ("private_reads", "patched_names"):
        count = sum(map(len, tests[kind].values()))
        rows[f"{kind.replace('_', ' ')} in tests"] = f"{count} in {len(tests[kind])} files"
    yield f"commit {figures['commit']}, Python {figures['python']}"
    yield from (f"{name:49} {value}" for name, value in rows.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).parents[1], help="the checkout to measure")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    figures = measure(arguments.root.resolve())
    print(json.dumps(figures) if arguments.json else "\n".join(table(figures)))


if __name__ == "__main__":
    main()
