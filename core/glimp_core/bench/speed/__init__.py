"""How close to the floor: every speed figure that Glimp claims, measured as a ratio in one process."""

import torch

from glimp_core.bench.speed.measuring import Bench, Row
from glimp_core.bench.speed.rows import measure

__all__ = ["Bench", "Row", "measure", "use_threads"]


def use_threads(count: int) -> None:
    """Have torch use so many threads: the same for everything that is compared."""
    torch.set_num_threads(count)
