"""Run Glimp with the lowest versions that it declares and with the newest, each in an environment of its own.

`make compat` builds the wheel, installs it with all extras into throw-away environments, and asks the bundled pair
there by every door that users have. It prints one table and exits with 1 if anything in it is wrong.

pip's own settings hold: PIP_CONSTRAINT=FILE, for example, keeps the newest environment to a build of PyTorch that is
at hand. The table says which versions ran, whatever asked for them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from email.message import Message
from email.parser import Parser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("pyproject.toml", "tests", "tools", "examples")
"""What the tests need besides the wheel. The copy has no package sources, and stays the same while tests run."""
COMMANDS = ("demo", "run", "chat", "serve", "calibrate", "trace", "bench")
FAMILIES = "tests/local/families"
SUITES = {
    "command line": ["tests/cli"],
    "loading, GGUF": ["tests/local/test_loading.py"],
    "adapters": ["tests/local/test_loading_adapter.py"],
    "servers": ["tests/remote"],
    "spans": ["tests/telemetry"],
    "endpoint": ["tests/serve"],
    "families": [FAMILIES],
}
"""Tests that use each dependency for what Glimp needs it for."""
TEST_TOOLS = {"pytest", "pytest-asyncio", "pytest-timeout", "hypothesis", "jsonschema", "opentelemetry-sdk"}
SHOWN_LINES, LONGEST = 15, 1800
"""Lines of output that are shown of what went wrong, and the seconds that a command may take."""


@dataclass
class Environment:
    """A throw-away environment, the versions in it, and what each check found: "" if right, else the output."""

    kind: str
    python: str
    folder: Path
    versions: dict[str, str] = field(default_factory=dict)
    found: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The Python and the kind, as in "3.11.7 lowest"."""
        return f"{self.python} {self.kind}"

    @property
    def copy(self) -> Path:
        """The copy of the checkout, beside all environments."""
        return self.folder.parent / "checkout"

    def program(self, name: str) -> str:
        """Return the path of a program that was installed here."""
        return str(self.folder / ("Scripts" if os.name == "nt" else "bin") / name)

    def run(self, *command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command away from the repository, without a network, on one thread; stderr is part of its output."""
        variables = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}
        return _run(command, cwd or self.folder, variables | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"})


def main() -> int:
    """Build, install, ask, print the table. Returns 1 if a check is wrong."""
    given = _arguments()
    folder = Path(tempfile.mkdtemp(prefix="glimp-compat-"))
    try:
        wheel = _build(folder)
        made = [_environment(wheel, folder, python, kind) for python in given.python for kind in given.only]
        for environment in made:
            _fill(environment, wheel, given.keep)
    finally:
        if given.keep:
            _say(f"kept in {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(table(made))
    return int(any(wrong for environment in made for wrong in environment.found.values()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", metavar="PATH", help="a Python to run (repeatable; default: this)")
    parser.add_argument("--only", action="append", choices=["lowest", "newest"], help="leave the other environment out")
    parser.add_argument("--keep", action="store_true", help="keep the environments, and say where they are")
    given = parser.parse_args()
    given.python = given.python or [sys.executable]
    given.only = given.only or ["lowest", "newest"]
    return given


def _build(folder: Path) -> Path:
    _say("building the wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = _run(command, ROOT, dict(os.environ))
    if done.returncode:
        sys.exit(f"the wheel cannot be built:\n{done.stdout}")
    (wheel,) = folder.glob("*.whl")
    copy = folder / "checkout"
    copy.mkdir()
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, copy)
    return wheel


def _environment(wheel: Path, folder: Path, python: str, kind: str) -> Environment:
    done = _run([python, "-c", "import platform; print(platform.python_version())"], folder, dict(os.environ))
    if done.returncode:
        sys.exit(f"--python {python} does not run:\n{done.stdout}")
    version = done.stdout.strip()
    environment = Environment(kind, version, folder / f"{version}-{kind}")
    made = _run([python, "-m", "venv", str(environment.folder)], folder, dict(os.environ))
    if made.returncode:
        sys.exit(f"{python} makes no environment:\n{made.stdout}")
    return environment


def _fill(environment: Environment, wheel: Path, keep: bool) -> None:
    """Install into an environment and check what is there, then remove it unless it is to be kept."""
    _say(f"{environment.name}: installing")
    environment.found["installs"] = _install(environment, wheel)
    if not environment.found["installs"]:
        environment.versions = _versions(environment, wheel)
        _ask(environment, _metadata(wheel)["Version"])
    if not keep:
        shutil.rmtree(environment.folder, ignore_errors=True)


def requirements(wheel: Path, python: str) -> list[Requirement]:
    """Return what a wheel asks for on a Python with all of its extras, but for itself."""
    metadata = _metadata(wheel)
    extras = ["", *metadata.get_all("Provides-Extra", [])]
    here = {"python_version": ".".join(python.split(".")[:2]), "python_full_version": python}
    asked = map(Requirement, metadata.get_all("Requires-Dist", []))
    return [
        each
        for each in asked
        if each.name != metadata["Name"]
        and (each.marker is None or any(each.marker.evaluate({**here, "extra": extra}) for extra in extras))
    ]


def lowest(asked: Iterable[Requirement]) -> dict[str, str]:
    """Return the lowest version that is declared for each name. Raises ValueError for a name without one."""
    found: dict[str, Version] = {}
    for each in asked:
        bounds = [Version(spec.version) for spec in each.specifier if spec.operator in {">=", "==", "~="}]
        if not bounds:
            raise ValueError(f"{each} declares no lowest version")
        found[each.name] = max([*bounds, *([found[each.name]] if each.name in found else [])])
    return {name: str(version) for name, version in found.items()}


def _install(environment: Environment, wheel: Path) -> str:
    """Return "" if all is installed and consistent, else what pip said."""
    extras = ",".join(_metadata(wheel).get_all("Provides-Extra", []))
    pins: list[str] = []
    if environment.kind == "lowest":
        pins = [f"{name}=={version}" for name, version in lowest(requirements(wheel, environment.python)).items()]
    pip = [environment.program("python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    for command in (
        [*pip, "install", "--upgrade", "pip"],
        [*pip, "install", f"{wheel}[{extras}]", *pins, *_test_tools(environment.copy)],
        [*pip, "check"],
    ):
        done = environment.run(*command)
        if done.returncode:
            return done.stdout or f"exit code {done.returncode}"
    return ""


def _test_tools(copy: Path) -> list[str]:
    """Return what the development tools declare of what the tests here need."""
    group = tomllib.loads((copy / "pyproject.toml").read_text())["dependency-groups"]["dev"]
    return [text for text in group if isinstance(text, str) and Requirement(text).name in TEST_TOOLS]


def _versions(environment: Environment, wheel: Path) -> dict[str, str]:
    names = list(dict.fromkeys(each.name for each in requirements(wheel, environment.python)))
    program = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names!r}}}))"
    done = environment.run(environment.program("python"), "-c", program)
    return {str(name): str(version) for name, version in json.loads(done.stdout.splitlines()[-1]).items()}


def _ask(environment: Environment, version: str) -> None:
    """Fill in `found`: the bundled pair's question by each door, the command line, and the suites."""
    python, glimp = environment.program("python"), environment.program("glimp")
    question = str(environment.copy / "tools" / "bundled_question.py")
    for door in ("GlimpRouter", "grammar", "device_map", "ChatGlimp", "GlimpLLM"):
        environment.found[door] = shows(environment, [python, question, door])
    asked = json.loads(environment.run(python, question, "asked").stdout.splitlines()[-1])
    run = [glimp, "run", "--threshold", asked["threshold"], "--json", asked["question"]]
    environment.found["glimp demo"] = shows(environment, [glimp, "demo"], "\nright\n")
    environment.found["glimp run --json"] = shows(environment, run, json.dumps(asked["answer"]))
    environment.found["glimp --version"] = shows(environment, [glimp, "--version"], f"glimp {version}\n")
    environment.found["glimp --help"] = shows(environment, [glimp, "--help"], *COMMANDS)
    for suite, paths in SUITES.items():
        if not all((environment.copy / path).exists() for path in paths):
            environment.found[suite] = f"not run: this checkout has no {' '.join(paths)}"
            continue
        tests = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not gpu", *paths]
        environment.found[suite] = shows(environment, tests, " passed", cwd=environment.copy)


def shows(environment: Environment, command: list[str], *expected: str, cwd: Path | None = None) -> str:
    """Return "" if the command ends with 0 and its output has all that is expected, else the end of its output."""
    _say(f"{environment.name}: {' '.join(Path(part).name for part in command)}"[:110])
    done = environment.run(*command, cwd=cwd)
    if done.returncode == 0 and all(text in done.stdout for text in expected):
        return ""
    return f"{done.stdout}\nexit code {done.returncode}, expected {list(expected)}"


def table(made: Sequence[Environment]) -> str:
    """Return the environments side by side: their versions, then right or wrong; below, what was wrong."""
    versions = dict.fromkeys(name for environment in made for name in environment.versions)
    checks = dict.fromkeys(name for environment in made for name in environment.found)
    rows = [["", *(environment.name for environment in made)]]
    rows += [[name, *(environment.versions.get(name, "") for environment in made)] for name in versions]
    rows += [[name, *(_verdict(environment, name) for environment in made)] for name in checks]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for environment in made:
        for name, wrong in environment.found.items():
            if wrong:
                lines += ["", f"{environment.name}, {name}:", *wrong.strip().splitlines()[-SHOWN_LINES:]]
    return "\n".join(lines)


def _verdict(environment: Environment, check: str) -> str:
    if check not in environment.found:
        return "not reached"
    return "wrong" if environment.found[check] else "right"


def _metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def _run(command: Sequence[str], cwd: Path, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command,
            cwd=cwd,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LONGEST,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, str(error))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
