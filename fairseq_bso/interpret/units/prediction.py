"""The prediction of a number track from one unit alone; `statistics` defines tracks, units and levels."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .ranking import unit_values

__all__ = ["Prediction", "predict_number"]


class Prediction(NamedTuple):
    """How well one unit predicts a number."""

    correlation: float
    """Pearson's, over all steps"""
    error: float
    """mean absolute error on the second half"""
    error_of_mean: float
    """the same for the mean of the first half, which needs no unit"""
    exact: float
    """share of the second half in which the rounded prediction is right"""
    exact_of_mean: float
    """the same for the mean of the first half"""


def predict_number(unit: Tensor, numbers: Tensor, width: int = 5) -> Prediction:
    """Predicts a number, such as the depth of nesting, from one unit alone.

    Levels are put into bins of `width`. The prediction for a bin is the mean of its numbers in the first half of the
    labelled steps. A bin that is empty in the first half gets the mean of that half. The second half is the test set.

    Args:
        unit: (T,) int8.
        numbers: (T,) floating point, NaN for steps that are ignored.
        width: levels in a bin, 1 to 255.

    Returns:
        Prediction.

    Raises:
        ValueError: the track is constant or has no value, or an argument is out of its range.
    """
    if not 1 <= width <= 255:
        raise ValueError(f"a bin has {width} levels, but must have 1 to 255")
    value = float(unit_values(unit.unsqueeze(0), numbers, "correlation"))
    kept = ~numbers.isnan()
    bins = (unit[kept].long() + 127).div(width, rounding_mode="floor")  # (n,)
    wanted = numbers[kept].double()  # (n,)
    half = wanted.numel() // 2
    counts = torch.bincount(bins[:half], minlength=255)  # (255,)
    sums = torch.bincount(bins[:half], wanted[:half], minlength=255)
    mean = wanted[:half].mean()
    guess = torch.where(counts > 0, sums / counts.clamp(min=1), mean)[bins[half:]]  # (n - half,)
    tested = wanted[half:]
    return Prediction(
        correlation=value,
        error=float((guess - tested).abs().mean()),
        error_of_mean=float((mean - tested).abs().mean()),
        exact=float((guess.round() == tested).double().mean()),
        exact_of_mean=float((mean.round() == tested).double().mean()),
    )
