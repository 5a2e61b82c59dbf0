"""One word, one meaning: no class and no module name stands twice in a package."""

from pathlib import Path

import pytest

from shape import PACKAGES, names_that_stand_twice


@pytest.mark.parametrize("kind", ["classes", "modules"])
@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_stands_once_in_a_package(root: Path, package: str, kind: str) -> None:
    """A new class or module has a name of its own."""
    twice = names_that_stand_twice(root / PACKAGES[package])[kind]
    assert not twice, "choose another name"


def test_the_measure_sees_names_that_stand_twice(tmp_path: Path) -> None:
    """Classes and modules of one name are found, a leading underscore of a module apart; `__init__` is no name."""
    (tmp_path / "inner").mkdir()
    for name in ("page.py", "inner/_page.py"):
        (tmp_path / name).write_text("class Page: ...\nT = U = 1\nLIMIT = 2\n")
    (tmp_path / "types.py").write_text("_Page = str | int\n")
    for name in ("__init__.py", "inner/__init__.py", "other.py"):
        (tmp_path / name).write_text(f"class Other{len(name)}: ...\n")
    assert names_that_stand_twice(tmp_path) == {
        "classes": {"Page": ["inner/_page.py", "page.py", "types.py"]},
        "modules": {"page": ["inner/_page.py", "page.py"]},
    }
