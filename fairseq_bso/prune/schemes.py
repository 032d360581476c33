"""Magnitude pruning (See et al. 2016, section 3.2): which weights are pruned, and when.

Let a model have C classes of weights, and class c have n_c weights. A scheme is a function

    scheme(weights, pruned, count) -> Choice

    weights  C of (n_c,) float   the weights of each class, flat, all on one device
    pruned   C of (n_c,) bool    the mask so far: True where a weight is pruned already
    count    int                 how many weights the new masks prune, in all classes together

A scheme prunes exactly `count` weights, and those pruned already are among them. Among equal magnitudes, the first
weight (by class, then by position) is pruned first, so that the masks do not depend on the device. The decorator
`@register_scheme("my_scheme")` registers a scheme of your own.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Callable, NamedTuple, Sequence, TypeVar

import torch
from torch import Tensor

from ..registry import Registry

__all__ = [
    "SCHEDULES",
    "Choice",
    "PruningSchedule",
    "Scheme",
    "class_blind",
    "class_distribution",
    "class_uniform",
    "equal_shares",
    "get_scheme",
    "register_scheme",
    "scheme_names",
    "smallest",
]

SCHEDULES = ("one_shot", "gradual", "iterative")


class Choice(NamedTuple):
    """The masks that a scheme chooses."""

    pruned: list[Tensor]
    """C of (n_c,) bool, True where a weight is pruned"""
    thresholds: list[float]
    """C numbers: every kept weight of the class has at least this magnitude"""


Scheme = Callable[[Sequence[Tensor], Sequence[Tensor], int], Choice]
_SchemeT = TypeVar("_SchemeT", bound=Scheme)

_SCHEMES: Registry[Scheme] = Registry("pruning scheme", "register_scheme")
get_scheme, scheme_names = _SCHEMES.get, _SCHEMES.names


def register_scheme(name: str) -> Callable[[_SchemeT], _SchemeT]:
    """Decorator that registers a scheme under `name`.

    Raises:
        TypeError: `name` is not a string (the decorator was written without its name).
        ValueError: another scheme has this name.
    """
    return _SCHEMES.decorator(name)


@register_scheme("class_blind")
def class_blind(weights: Sequence[Tensor], pruned: Sequence[Tensor], count: int) -> Choice:
    """Prunes the smallest weights of the whole model: all classes have one threshold."""
    keys = torch.cat([_sort_keys(values, mask) for values, mask in zip(weights, pruned)])  # (n,)
    mask, threshold = smallest(keys, count)
    return Choice(_split(mask, weights), [threshold] * len(weights))


@register_scheme("class_uniform")
def class_uniform(weights: Sequence[Tensor], pruned: Sequence[Tensor], count: int) -> Choice:
    """Prunes the same share of each class, smallest weights first, or more where more is pruned already."""
    quotas = equal_shares([values.numel() for values in weights], count, [int(mask.sum()) for mask in pruned])
    choices = [smallest(_sort_keys(values, mask), quota) for values, mask, quota in zip(weights, pruned, quotas)]
    return Choice([mask for mask, _ in choices], [threshold for _, threshold in choices])


@register_scheme("class_distribution")
def class_distribution(weights: Sequence[Tensor], pruned: Sequence[Tensor], count: int) -> Choice:
    """Prunes the weights below `lambda * sigma`. All classes share one lambda, chosen so that `count` are pruned.

    sigma is the standard deviation of the current weights of a class, including the zeros of those pruned already.
    """
    deviations = [_deviation(values) for values in weights]
    ratios = [
        _sort_keys(values.double(), mask, scale) for values, mask, scale in zip(weights, pruned, deviations)
    ]  # C of (n_c,)
    mask, factor = smallest(torch.cat(ratios), count)
    return Choice(_split(mask, weights), [factor * scale if scale > 0 else 0.0 for scale in deviations])


def equal_shares(sizes: Sequence[int], count: int, least: Sequence[int] | None = None) -> list[int]:
    """Divides `count` among classes so that their shares are as equal as whole numbers allow.

    Webster's rule gives out one weight at a time, to the class with the smallest `(given + 1/2) / size`; the first of
    equal classes wins. With a larger count no class gets fewer, so a growing mask never shrinks in any class.

    Args:
        sizes: of the classes.
        count: how many weights to divide; at least the sum of `least`.
        least: the smallest number that each class may get.
    """
    given = list(least or [0] * len(sizes))
    open_classes = list(range(len(sizes)))
    while True:  # a class whose least is more than its share keeps it, and the others divide the rest
        closed = set(range(len(sizes))).difference(open_classes)
        remaining = count - sum(given[index] for index in closed)
        shares = dict(zip(open_classes, _webster([sizes[index] for index in open_classes], remaining)))
        open_classes = [index for index, share in shares.items() if share >= given[index]]
        if len(open_classes) == len(shares):
            return [shares.get(index, least_share) for index, least_share in enumerate(given)]


def _webster(sizes: Sequence[int], count: int) -> list[int]:
    """Webster's rule for classes that have nothing yet."""
    total, classes = sum(sizes), len(sizes)
    # The result is at most `classes` below the exact quota, so counting may start there.
    given = [max(0, count * size // total - classes) if total else 0 for size in sizes]
    queue = [
        (Fraction(2 * have + 1, size), index) for index, (have, size) in enumerate(zip(given, sizes)) if have < size
    ]
    heapq.heapify(queue)
    for _ in range(count - sum(given)):
        _, index = heapq.heappop(queue)
        given[index] += 1
        if given[index] < sizes[index]:
            heapq.heappush(queue, (Fraction(2 * given[index] + 1, sizes[index]), index))
    return given


def _sort_keys(weights: Tensor, pruned: Tensor, scale: float = 1.0) -> Tensor:
    """(n,) magnitudes in units of `scale`, at least in float32. A weight pruned already has -1 and sorts first."""
    keys = weights.detach().abs()
    keys = keys if keys.dtype == torch.float64 else keys.float()
    if scale != 1.0:
        keys = torch.where(keys == 0, keys, keys / scale)  # 0 / 0 is 0 here: in a class of zeros the deviation is 0
    return keys.masked_fill(pruned, -1.0)


def smallest(keys: Tensor, count: int) -> tuple[Tensor, float]:
    """keys (n,) -> mask (n,) bool of the `count` smallest, the first of equal ones, and the largest key among them."""
    if count == 0:
        return torch.zeros_like(keys, dtype=torch.bool), 0.0
    bound = keys.kthvalue(count).values
    mask = keys < bound  # (n,)
    ties = (keys == bound).nonzero().squeeze(1)
    mask[ties[: count - int(mask.sum())]] = True
    return mask, max(0.0, bound.item())


def _deviation(weights: Tensor) -> float:
    """The standard deviation of (n,) weights, in float64."""
    if weights.numel() == 0:
        return 0.0
    wide = weights.detach().double()
    total, squares = wide.sum().item(), wide.square().sum().item()
    mean = total / wide.numel()
    return max(0.0, squares / wide.numel() - mean * mean) ** 0.5


def _split(mask: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """(n,) -> C of (n_c,)."""
    return list(mask.split([values.numel() for values in weights]))


@dataclass(frozen=True)
class PruningSchedule:
    """The sparsity after each update. It depends on the number of updates alone, so resuming needs no state.

    one_shot    `amount` from update `start` on (0: before the first update)
    gradual     `amount * (1 - (1 - p)^3)`, where p is the share of the time from `start` to `end` (Zhu & Gupta 2017)
    iterative   rounds, each of which prunes the same share of the remaining weights (Han et al. 2015)

    The last two change at `start`, then every `every` updates, and at `end`, where they reach `amount`.

    Raises:
        ValueError: for an unknown kind, an amount outside [0, 1), or times in the wrong order.
    """

    kind: str
    amount: float
    start: int = 0
    end: int = 0
    every: int = 100

    def __post_init__(self) -> None:
        if self.kind not in SCHEDULES:
            raise ValueError(f"unknown pruning schedule {self.kind!r}; choose from: {', '.join(SCHEDULES)}")
        if not 0 <= self.amount < 1:
            raise ValueError(f"the amount to prune is {self.amount}, but must be from 0 (none) to below 1 (all)")
        if self.start < 0:
            raise ValueError(f"pruning starts at update {self.start}, but must start at 0 or later")
        if self.kind == "one_shot" and self.end not in (0, self.start):
            raise ValueError(
                f"one_shot prunes only at update {self.start}, but an end at {self.end} is given: leave out the end"
            )
        if self.kind != "one_shot" and self.end <= self.start:
            raise ValueError(
                f"{self.kind} pruning goes from update {self.start} to {self.end}, but must end after its start"
            )
        if self.every < 1:
            raise ValueError(f"pruning changes every {self.every} updates, but this number must be at least 1")

    def share(self, update: int) -> float:
        """The share of weights that is pruned after `update` updates."""
        if update < self.start:
            return 0.0
        if self.kind == "one_shot" or update >= self.end:
            return self.amount
        done = (update - self.start) // self.every  # changes since the one at the start
        if self.kind == "gradual":
            left = 1 - done * self.every / (self.end - self.start)
            return self.amount * (1 - left**3)
        # Rounds are at the start, at every full step before the end, and at the end.
        rounds = 1 + math.ceil(Fraction(self.end - self.start, self.every))
        return 1 - (1 - self.amount) ** ((done + 1) / rounds)

    def count(self, update: int, weights: int) -> int:
        """How many of `weights` weights are pruned after `update` updates."""
        return round(self.share(update) * weights)
