"""What a maintainer relies on: forms, release, version, citation and the site's reference are whole and agree."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import glimp_core


def document(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text())


def test_the_changelog_begins_with_the_version(root: Path) -> None:
    """The version of pyproject.toml is the first heading of the changelog, with its date or "unreleased"."""
    headings = re.findall(r"^## (.+)", (root / "CHANGELOG.md").read_text(), re.MULTILINE)
    version = re.escape(project(root)["project"]["version"])
    assert re.fullmatch(rf"\[{version}\] - (unreleased|\d{{4}}-\d\d-\d\d)", headings[0])
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading) for heading in headings[1:])


def test_the_version_stands_once(root: Path) -> None:
    """No source file and no citation repeats the version."""
    version = project(root)["project"]["version"]
    files = [root / "CITATION.cff", root / "mkdocs.yml", *(root / "core").rglob("*.py"), *root.glob("glimp_*/*.py")]
    assert [path.name for path in files if version in path.read_text()] == []


def test_issue_forms_ask_something(root: Path) -> None:
    """Every form has a name, and fields with an id of their own and a label, of which one has to be filled in."""
    forms = [path for path in (root / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config"]
    assert {path.stem for path in forms} == {"bug", "family", "feature"}
    for form in map(document, forms):
        assert form["name"]
        assert form["description"]
        ids = [field["id"] for field in form["body"]]
        assert len(ids) == len(set(ids))
        assert all(field["attributes"]["label"] for field in form["body"])
        assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_a_release_is_run_on_every_declared_python(root: Path) -> None:
    """The release workflow checks, runs the wheel on each declared Python, and only then publishes."""
    jobs = document(root / ".github" / "workflows" / "release.yml")["jobs"]
    classifiers = project(root)["project"]["classifiers"]
    declared = [c.rpartition(" ")[2] for c in classifiers if re.search(r":: 3\.\d+$", c)]
    assert jobs["wheel"]["strategy"]["matrix"]["python"] == declared
    assert set(jobs["publish"]["needs"]) == {"check", "wheel"}
    assert jobs["wheel"]["needs"] == "build"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}


def test_the_citation_names_the_paper(root: Path) -> None:
    """The software is cited under the licence of the project, and the paper is what the README links to."""
    citation = document(root / "CITATION.cff")
    assert citation["license"] == project(root)["project"]["license"]
    assert citation["preferred-citation"]["url"] == project(root)["project"]["urls"]["Paper"]
    assert citation["authors"] == project(root)["project"]["authors"]


def test_pre_commit_uses_the_tools_of_the_environment(root: Path) -> None:
    """Each hook runs a tool that `make setup` installs, so there is one version of it."""
    (repository,) = document(root / ".pre-commit-config.yaml")["repos"]
    tools = [hook["entry"].split()[0] for hook in repository["hooks"]]
    assert set(tools) == {".venv/bin/ruff", ".venv/bin/mypy"}


def test_every_public_name_is_in_the_reference(root: Path) -> None:
    """The page of glimp_core shows each name that can be imported from it, once."""
    page = (root / "docs" / "reference" / "glimp_core.md").read_text()
    shown = re.findall(r"^::: glimp_core\.(\w+)$", page, re.MULTILINE)
    assert sorted(shown) == sorted(glimp_core.__all__)


def test_the_site_builds(root: Path, tmp_path: Path) -> None:
    """Every page, link and docstring reference works, and no page loads anything from elsewhere."""
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    pages = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}
    assert {"index.html", "CHANGELOG.html", "reference/glimp_core.html", "glossary.html"} <= set(pages)
    loaded = r'<(?:script|img|iframe)[^>]+src="https?://|<link[^>]+rel="stylesheet"[^>]+href="https?://'
    assert [name for name, page in pages.items() if re.search(loaded, page)] == []
    assert 'id="glimp_core.GlimpRouter.stream"' in pages["reference/glimp_core.html"]
