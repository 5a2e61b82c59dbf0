"""Presets: named runs with methods, seeds, sampling and budgets."""

from collections.abc import Mapping
from dataclasses import dataclass

from glimp_core.config import RouterConfig


@dataclass(frozen=True, slots=True)
class Preset:
    """What a run has where the user does not say otherwise. `rates` are intervention rates, of `Matching`."""

    methods: str
    repeats: int
    temperature: float
    top_p: float
    reasoning_tokens: int
    answer_tokens: int
    step_tokens: int
    rates: tuple[float, ...]
    calibration: int


PRESETS: Mapping[str, Preset] = {
    "paper": Preset(
        methods="small,large,large-draft,glimp,glimp-draft,random,priming,margin,h-step,ppl-step,specreason,trigreason,"
        "official",
        repeats=4, temperature=0.6, top_p=0.95, reasoning_tokens=8192, answer_tokens=2048, step_tokens=512,
        rates=(0.25, 0.125, 0.5), calibration=10,
    ),
}  # fmt: skip
"""`paper`: sampling, seeds and budgets of arXiv 2601.05110, at the middle of the rates that it recommends (20 to 30 %),
and half and twice that for the frontier, with the baselines of docs/evidence.md."""

assert RouterConfig().max_step_tokens == PRESETS["paper"].step_tokens  # the paper's, and no option of the command line
