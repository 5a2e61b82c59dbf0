"""Tests of the benchmarks and the experiments, whose shared module stands beside the scripts."""

import importlib.util
import sys
from pathlib import Path

FILE = Path(__file__).parents[2] / "examples" / "experiments" / "more_methods.py"

if "more_methods" not in sys.modules:
    spec = importlib.util.spec_from_file_location("more_methods", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["more_methods"] = module
    spec.loader.exec_module(module)
