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
