"""tools/compat.py pins what is declared, and its table hides nothing."""

import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import compat

METADATA = """Metadata-Version: 2.4
Name: some
Version: 1.0
Provides-Extra: all
Provides-Extra: chat
Requires-Dist: torch>=2.6
Requires-Dist: torch>=2.9; python_version >= '3.14'
Requires-Dist: low<3,>=1.2
Requires-Dist: words>=4; extra == 'chat'
Requires-Dist: some[chat]; extra == 'all'
"""


@pytest.mark.parametrize(("python", "torch"), [("3.11.7", "2.6"), ("3.13.0", "2.6"), ("3.14.1", "2.9")])
def test_the_lowest_versions_are_the_declared_ones(python: str, torch: str, tmp_path: Path) -> None:
    """Extras are among them, the package itself is not, and a marker holds for the Python that is run."""
    path = tmp_path / "some-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("some-1.0.dist-info/METADATA", METADATA)
    assert compat.lowest(compat.requirements(path, python)) == {"torch": torch, "low": "1.2", "words": "4"}


def test_every_dependency_declares_a_lowest_version(wheel: Path) -> None:
    """A dependency without one promises versions that nobody has run."""
    assert len(compat.lowest(compat.requirements(wheel, "3.11.0"))) >= 14
    with pytest.raises(ValueError, match="free<2 declares no lowest version"):
        compat.lowest([Requirement("free<2")])


def test_the_table_shows_what_is_wrong_and_what_was_not_reached() -> None:
    """One column an environment; below, the output of what is wrong."""
    good = compat.Environment("newest", "3.12.1", Path(), {"torch": "2.14"}, {"installs": "", "demo": ""})
    bad = compat.Environment("lowest", "3.12.1", Path(), {}, {"installs": "no such version"})
    rows = compat.table([bad, good]).splitlines()
    assert [row.split() for row in rows[:4]] == [
        ["3.12.1", "lowest", "3.12.1", "newest"],
        ["torch", "2.14"],
        ["installs", "wrong", "right"],
        ["demo", "not", "reached", "right"],
    ]
    assert rows[-1] == "no such version"


def test_a_check_fails_by_exit_code_and_by_output(tmp_path: Path) -> None:
    """A command is right only if it ends with 0 and says what is expected."""
    environment = compat.Environment("lowest", "3", tmp_path)
    assert compat.shows(environment, ["echo", "right"], "right") == ""
    assert "expected" in compat.shows(environment, ["echo", "-5 -5 -5"], "right")
    assert "exit code" in compat.shows(environment, ["false"])
    assert "no-such-program" in compat.shows(environment, ["no-such-program"])
