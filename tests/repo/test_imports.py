"""What an import costs."""

import subprocess
import sys

import pytest

HEAVY = "'torch', 'transformers', 'accelerate', 'llguidance'"


@pytest.mark.parametrize("package", ["glimp_core", "glimp_core.testing", "glimp_langchain", "glimp_llamaindex"])
def test_importing_a_package_imports_no_torch(package: str) -> None:
    """Importing a package, or describing a model, imports neither torch nor transformers."""
    program = f"import sys, {package}; print({{{HEAVY}}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("set()", 0), done.stderr


@pytest.mark.parametrize(
    ("package", "needed", "extra"),
    [
        ("glimp_langchain", "langchain_core", "langchain"),
        ("glimp_llamaindex", "llama_index", "llamaindex"),
        ("glimp_llamaindex", "llama_index.core", "llamaindex"),
    ],
)
def test_a_missing_extra_is_named(package: str, needed: str, extra: str) -> None:
    """Where the framework of an adapter is missing, the last line of the error is the line that installs it."""
    program = f"import sys; sys.modules[{needed!r}] = None; import {package}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith(f'pip install "glimp[{extra}]"')


@pytest.mark.parametrize(
    ("package", "broken"), [("glimp_langchain", "langsmith"), ("glimp_llamaindex", "llama_index_instrumentation")]
)
def test_a_broken_framework_is_not_called_missing(package: str, broken: str) -> None:
    """Where something that the framework itself needs is missing, its own error is shown."""
    program = f"import sys; sys.modules[{broken!r}] = None; import {package}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert broken in done.stderr.splitlines()[-1]
    assert "glimp[" not in done.stderr
