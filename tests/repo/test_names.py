"""One word, one meaning: no class and no module name stands twice in a package."""

from pathlib import Path

import pytest

from shape import PACKAGES, names_that_stand_twice

STANDS_TWICE: dict[str, dict[str, set[str]]] = {"glimp_core": {"modules": {"engine"}}}
"""What still stands twice. A rename takes its name out of here; nothing is ever put in."""


@pytest.mark.parametrize("kind", ["classes", "modules"])
@pytest.mark.parametrize("package", PACKAGES)
def test_a_name_stands_once_in_a_package(root: Path, package: str, kind: str) -> None:
    """A new class or module has a name of its own, and the list of old exceptions has none that is mended."""
    allowed = STANDS_TWICE.get(package, {}).get(kind, set())
    twice = names_that_stand_twice(root / PACKAGES[package])[kind]
    assert {name: at for name, at in twice.items() if name not in allowed} == {}, "choose another name"
    assert allowed - set(twice) == set(), "take these out of STANDS_TWICE: they stand once now"


def test_the_measure_sees_names_that_stand_twice(tmp_path: Path) -> None:
    """Classes and modules of one name are found, a leading underscore of a module apart; `__init__` is no name."""
    (tmp_path / "inner").mkdir()
    for name in ("page.py", "inner/_page.py"):
        (tmp_path / name).write_text("class Page: ...\n")
    for name in ("__init__.py", "inner/__init__.py", "other.py"):
        (tmp_path / name).write_text(f"class Other{len(name)}: ...\n")
    assert names_that_stand_twice(tmp_path) == {
        "classes": {"Page": ["inner/_page.py", "page.py"]},
        "modules": {"page": ["inner/_page.py", "page.py"]},
    }
