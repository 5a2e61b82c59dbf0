"""What a user installs: the three packages with all their files, and no more."""

import json
import os
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

from glimp_core import bundled

PACKAGES = {
    "core/glimp_core": "glimp_core",
    "glimp_langchain": "glimp_langchain",
    "glimp_llamaindex": "glimp_llamaindex",
}
MEGABYTE = 1_000_000


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_packages_are_at_the_top(wheel: Path) -> None:
    """The wheel holds the three packages and its own metadata: no `core`, no tests."""
    tops = {name.partition("/")[0] for name in names(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES.values())


def test_every_file_of_the_packages_is_there_and_no_other(wheel: Path, root: Path) -> None:
    """The wheel's file list is the folders' own, but for caches."""
    expected = {
        str(package / file.relative_to(root / folder))
        for folder, package in ((folder, Path(package)) for folder, package in PACKAGES.items())
        for file in (root / folder).rglob("*")
        if file.is_file() and not {"__pycache__", ".mypy_cache"} & set(file.parts)
    }
    assert {name for name in names(wheel) if ".dist-info/" not in name} == expected


def test_types_weights_and_licence_are_there(wheel: Path) -> None:
    """Each package is marked as typed, both bundled models have weights, and the licence is with them."""
    listed = names(wheel)
    assert {f"{package}/py.typed" for package in PACKAGES.values()} <= set(listed)
    for model in bundled.NAMES:
        files = {name.rpartition("/")[2] for name in listed if name.startswith(f"glimp_core/bundled/{model}/")}
        assert {"config.json", "tokenizer.json", "tokenizer_config.json"} <= files
        assert any(file.endswith(".safetensors") for file in files)
    assert any(name.endswith("licenses/LICENSE") for name in listed)


def test_the_wheel_is_small(wheel: Path) -> None:
    """With both models the wheel stays under 25 MB."""
    assert wheel.stat().st_size < 25 * MEGABYTE


def test_the_metadata_names_extras_command_and_licence(wheel: Path) -> None:
    """The wheel has the published extras, the command and the licence."""
    with zipfile.ZipFile(wheel) as archive:
        (folder,) = {name.partition("/")[0] for name in archive.namelist() if ".dist-info/" in name}
        metadata = Parser().parsestr(archive.read(f"{folder}/METADATA").decode())
        assert b"glimp = glimp_core.cli:main" in archive.read(f"{folder}/entry_points.txt")
    extras = {"langchain", "llamaindex", "remote", "otel", "peft", "bench", "serve", "all"}
    assert set(metadata.get_all("Provides-Extra", [])) == extras
    assert metadata["License-Expression"] == "Apache-2.0"


def test_what_is_installed_works(installed: Path) -> None:
    """From the wheel's files alone, away from the repository, the demo runs and finds its weights."""
    program = (
        "import sys, glimp_core; from glimp_core.cli import main; "
        "print(glimp_core.__file__, file=sys.stderr); main(['demo', '--json'])"
    )
    variables = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=installed, env=variables, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert str(installed) in done.stderr.splitlines()[0]
    assert json.loads(done.stdout.splitlines()[-1])["usage"]["completion_tokens"] > 0
