"""Calibration: from a goal (a rate, a share of tokens, a time) and prompts to a threshold."""

from glimp_core.calibration.curve import Goal, Sample, cut, interval, points, sample
from glimp_core.calibration.prompts import bundled_prompts, read_prompts
from glimp_core.calibration.search import Progress, calibrate, calibrating

__all__ = [
    "Goal",
    "Progress",
    "Sample",
    "bundled_prompts",
    "calibrate",
    "calibrating",
    "cut",
    "interval",
    "points",
    "read_prompts",
    "sample",
]
