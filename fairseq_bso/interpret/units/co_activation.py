"""Mean, deviation and range of every unit, and the units that each one is most correlated with, in one pass.

Products of `ROWS` steps are in float32, and are added up in float64. Each state takes part in C products. Many units
are therefore split into groups, and correlations of a large corpus are those of evenly spaced parts of it.

C is the number of units, M of the partners of a unit, n of steps in a block.
"""

from __future__ import annotations

from typing import List, NamedTuple, Optional, Tuple

import numpy

__all__ = ["CoActivationBuilder", "CoActivations"]

ROWS = 1024
"""steps of one product"""
GROUP = 2048
"""units that are compared with each other"""
_SMALL = 1 << 36  # products that are always computed
_PER_STATE = 512  # products of one state in a larger corpus


class CoActivations(NamedTuple):
    """The moments of every unit, and the units that it is most correlated with."""

    mean: numpy.ndarray
    """(C,) float64"""
    deviation: numpy.ndarray
    """(C,) float64, standard deviation over all steps"""
    low: numpy.ndarray
    """(C,) float32"""
    high: numpy.ndarray
    """(C,) float32"""
    partners: numpy.ndarray
    """(C, M) int32: the units with the largest absolute correlation, -1 where there are fewer"""
    correlations: numpy.ndarray
    """(C, M) float32, Pearson's, from -1 to 1; 0 for a constant unit"""


class CoActivationBuilder:
    """Computes moments and correlations block by block.

    Args:
        steps: of the whole corpus, which says how many parts of it are compared.
        units: C.
        count: M.
    """

    def __init__(self, steps: int, units: int, count: int):
        self.units, self.count = units, count
        self.groups = [(first, min(first + GROUP, units)) for first in range(0, units, GROUP)]
        products = steps * units * min(units, GROUP)
        self.every = max(1, -(-products // max(_SMALL, steps * units * _PER_STATE)))
        self._products: List[numpy.ndarray] = [numpy.zeros((last - first,) * 2) for first, last in self.groups]
        self._sums, self._squares, self._compared_sums = numpy.zeros((3, units))
        self._steps = self._compared = self._part = 0
        self._shift: Optional[numpy.ndarray] = None  # (C,) values near the means, against cancellation
        self._low, self._high = numpy.full((2, units), numpy.inf, dtype=numpy.float32)
        self._high = -self._high

    def add(self, values: numpy.ndarray) -> None:
        """Takes the next steps: (n, C) float32, finite."""
        if self._shift is None and len(values):
            self._shift = values[0].copy()
        for begin in range(0, len(values), ROWS):
            part = values[begin : begin + ROWS]
            numpy.minimum(self._low, part.min(0), out=self._low)
            numpy.maximum(self._high, part.max(0), out=self._high)
            shifted = part - self._shift  # (b, C)
            sums = shifted.sum(0, dtype=numpy.float64)
            self._sums += sums
            self._squares += numpy.einsum("tc,tc->c", shifted, shifted)
            self._steps += len(part)
            if self._part % self.every == 0:
                self._compared += len(part)
                self._compared_sums += sums
                for (first, last), products in zip(self.groups, self._products):
                    some = shifted[:, first:last]
                    products += some.T @ some
            self._part += 1

    def finish(self) -> CoActivations:
        """The moments and partners of all units.

        Raises:
            ValueError: there was no step.
        """
        if self._shift is None:
            raise ValueError("no step was counted")
        mean = self._sums / self._steps
        spread = numpy.maximum(self._squares / self._steps - mean**2, 0)
        spread[self._low == self._high] = 0
        parts = [self._partners(*group, products) for group, products in zip(self.groups, self._products)]
        partners, correlations = (numpy.concatenate(some) for some in zip(*parts))
        return CoActivations(mean + self._shift, numpy.sqrt(spread), self._low, self._high, partners, correlations)

    def _partners(self, first: int, last: int, products: numpy.ndarray) -> Tuple[numpy.ndarray, numpy.ndarray]:
        """The partners of the units of one group, and their correlations: (c, M) each."""
        mean = self._compared_sums[first:last] / self._compared
        covariance = products / self._compared - numpy.outer(mean, mean)  # (c, c)
        constant = self._low[first:last] == self._high[first:last]
        deviation = numpy.sqrt(numpy.maximum(covariance.diagonal(), 0))
        deviation = numpy.where(constant | (deviation == 0), numpy.inf, deviation)
        with numpy.errstate(all="ignore"):
            correlation = numpy.nan_to_num(covariance / numpy.outer(deviation, deviation), nan=0.0, posinf=0, neginf=0)
        correlation = correlation.clip(-1, 1)
        numpy.fill_diagonal(correlation, 0)
        strength = numpy.abs(correlation)
        numpy.fill_diagonal(strength, -1)  # the unit itself comes last
        count = min(self.count, last - first - 1)
        order = (-strength).argsort(1, kind="stable")[:, :count]  # (c, M)
        missing = ((0, 0), (0, self.count - count))
        partners = numpy.pad((order + first).astype(numpy.int32), missing, constant_values=-1)
        chosen = numpy.take_along_axis(correlation, order, 1).astype(numpy.float32)
        return partners, numpy.pad(chosen, missing)
