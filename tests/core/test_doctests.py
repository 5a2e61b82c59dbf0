"""The examples in the docstrings of the pure modules are true."""

import doctest
from types import ModuleType

import pytest

from glimp_core import entropy, stopping
from glimp_core.policy import limits
from glimp_core.views import columns


@pytest.mark.parametrize("module", [columns, entropy, limits, stopping])
def test_examples(module: ModuleType) -> None:
    """Every example prints what it says, and there is at least one."""
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed
