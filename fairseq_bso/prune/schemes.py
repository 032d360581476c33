"""Magnitude pruning (See et al. 2016, section 3.2): which weights go, and when.

Weights come as one flat tensor (n_c,) per class, all on one device, with `n` weights in C classes. A scheme is

    scheme(weights, gone, count) -> Choice

    weights  C of (n_c,) float   the weights of each class
    gone     C of (n_c,) bool    True where a weight went before: those stay gone, and are part of `count`
    count    int                 how many weights are to be gone, of all classes together

and exactly `count` weights go. Where magnitudes tie, the weight that comes first (in class order, then by place) goes
first, so that the choice does not depend on the device. A scheme of one's own is a function and one line:
`@register_scheme("my_scheme")`.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from fractions import Fraction
from typing import Callable, NamedTuple, Sequence, TypeVar

import torch
from torch import Tensor

__all__ = [
    "SCHEDULES",
    "Choice",
    "Schedule",
    "Scheme",
    "class_blind",
    "class_distribution",
    "class_uniform",
    "equal_shares",
    "get_scheme",
    "register_scheme",
    "scheme_names",
]

SCHEDULES = ("one_shot", "gradual", "iterative")


class Choice(NamedTuple):
    """What a scheme takes away."""

    gone: list[Tensor]
    """C of (n_c,) bool, True where a weight goes"""
    thresholds: list[float]
    """C numbers: no weight of the class that stays has a smaller magnitude"""


Scheme = Callable[[Sequence[Tensor], Sequence[Tensor], int], Choice]
_SchemeT = TypeVar("_SchemeT", bound=Scheme)

_SCHEMES: dict[str, Scheme] = {}


def register_scheme(name: str) -> Callable[[_SchemeT], _SchemeT]:
    """Decorator that makes a scheme available under `name`.

    Raises:
        ValueError: another scheme has this name.
    """
    if name in _SCHEMES:
        raise ValueError(f"a scheme named {name!r} is already registered; registered: {', '.join(scheme_names())}")

    def register(scheme: _SchemeT) -> _SchemeT:
        _SCHEMES[name] = scheme
        return scheme

    return register


def get_scheme(name: str) -> Scheme:
    """The scheme registered under `name`.

    Raises:
        ValueError: there is none.
    """
    if name not in _SCHEMES:
        raise ValueError(f"unknown pruning scheme {name!r}; choose from: {', '.join(scheme_names())}")
    return _SCHEMES[name]


def scheme_names() -> list[str]:
    """Names of all registered schemes, sorted."""
    return sorted(_SCHEMES)


@register_scheme("class_blind")
def class_blind(weights: Sequence[Tensor], gone: Sequence[Tensor], count: int) -> Choice:
    """The smallest weights of all, whichever class they are of: one threshold for all."""
    chosen, threshold = _smallest(torch.cat([_ranked(one, before) for one, before in zip(weights, gone)]), count)
    return Choice(_split(chosen, weights), [threshold] * len(weights))


@register_scheme("class_uniform")
def class_uniform(weights: Sequence[Tensor], gone: Sequence[Tensor], count: int) -> Choice:
    """The smallest weights of each class, the same share of each, or more where more went before."""
    counts = equal_shares([one.numel() for one in weights], count, [int(before.sum()) for before in gone])
    choices = [_smallest(_ranked(one, before), quota) for one, before, quota in zip(weights, gone, counts)]
    return Choice([chosen for chosen, _ in choices], [threshold for _, threshold in choices])


@register_scheme("class_distribution")
def class_distribution(weights: Sequence[Tensor], gone: Sequence[Tensor], count: int) -> Choice:
    """The weights below `lambda * sigma` of their class, with one lambda for all, chosen so that `count` go.

    sigma is the standard deviation of the class as it stands, with the zeros of weights that went before.
    """
    deviations = [_deviation(one) for one in weights]
    ratios = [
        _ranked(one.double(), before, scale) for one, before, scale in zip(weights, gone, deviations)
    ]  # C of (n_c,)
    chosen, factor = _smallest(torch.cat(ratios), count)
    return Choice(_split(chosen, weights), [factor * scale if scale > 0 else 0.0 for scale in deviations])


def equal_shares(sizes: Sequence[int], count: int, least: Sequence[int] | None = None) -> list[int]:
    """How many of `count` go to each class so that shares of sizes are as equal as whole numbers can be.

    Webster's rule: one after the other goes to the class whose share, counted with half of the one more, is smallest;
    the first of equal ones. With a larger count no class loses one, so a growing pruning never takes back.

    Args:
        sizes: of the classes.
        count: how many go to all of them together; at least the sum of `least`.
        least: what each class has from the beginning, and keeps.
    """
    given = list(least or [0] * len(sizes))
    open_classes = list(range(len(sizes)))
    while True:  # a class that has more than its share keeps that, and the others share what remains
        closed = set(range(len(sizes))).difference(open_classes)
        remaining = count - sum(given[place] for place in closed)
        shares = dict(zip(open_classes, _webster([sizes[place] for place in open_classes], remaining)))
        open_classes = [place for place, share in shares.items() if share >= given[place]]
        if len(open_classes) == len(shares):
            return [shares.get(place, have) for place, have in enumerate(given)]


def _webster(sizes: Sequence[int], count: int) -> list[int]:
    """Webster's rule for classes that have nothing yet."""
    total, classes = sum(sizes), len(sizes)
    # No class ends further than this below its exact quota, which spares most of the steps.
    given = [max(0, count * size // total - classes) if total else 0 for size in sizes]
    queue = [
        (Fraction(2 * have + 1, size), place) for place, (have, size) in enumerate(zip(given, sizes)) if have < size
    ]
    heapq.heapify(queue)
    for _ in range(count - sum(given)):
        _, place = heapq.heappop(queue)
        given[place] += 1
        if given[place] < sizes[place]:
            heapq.heappush(queue, (Fraction(2 * given[place] + 1, sizes[place]), place))
    return given


def _ranked(weights: Tensor, gone: Tensor, scale: float = 1.0) -> Tensor:
    """(n,) magnitudes to rank by, in units of `scale`, at least in float32; -1, the first of all, for what is gone."""
    sizes = weights.detach().abs()
    sizes = sizes if sizes.dtype == torch.float64 else sizes.float()
    if scale != 1.0:
        sizes = torch.where(sizes == 0, sizes, sizes / scale)  # all equal: no deviation, and 0 / 0 is a zero here
    return sizes.masked_fill(gone, -1.0)


def _smallest(keys: Tensor, count: int) -> tuple[Tensor, float]:
    """keys (n,) -> (n,) bool, True at the `count` smallest, the first of equal ones; and the largest key among them."""
    if count == 0:
        return torch.zeros_like(keys, dtype=torch.bool), 0.0
    bound = keys.kthvalue(count).values
    chosen = keys < bound  # (n,)
    ties = (keys == bound).nonzero().squeeze(1)
    chosen[ties[: count - int(chosen.sum())]] = True
    return chosen, max(0.0, bound.item())


def _deviation(weights: Tensor) -> float:
    """The standard deviation of (n,) weights, in float64."""
    if weights.numel() == 0:
        return 0.0
    wide = weights.detach().double()
    total, squares = wide.sum().item(), wide.square().sum().item()
    mean = total / wide.numel()
    return max(0.0, squares / wide.numel() - mean * mean) ** 0.5


def _split(chosen: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    return list(chosen.split([one.numel() for one in weights]))


@dataclass(frozen=True)
class Schedule:
    """How much is gone after each update: a function of the number of updates, so resuming needs no state.

    one_shot    all of it at update `start` (0 is before the first)
    gradual     `amount * (1 - (1 - p)^3)` after the share p of the time from `start` to `end` (Zhu & Gupta 2017)
    iterative   rounds at which the same share of what is left goes (Han et al. 2015)

    The last two change at `start`, every `every` updates from there, and at `end`, where `amount` is reached.

    Raises:
        ValueError: an unknown kind, an amount that is not from 0 to below 1, or times that do not follow each other.
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
            raise ValueError(f"one_shot prunes at update {self.start} alone, but an end at {self.end} is given")
        if self.kind != "one_shot" and self.end <= self.start:
            raise ValueError(
                f"{self.kind} pruning goes from update {self.start} to {self.end}, but must end after its start"
            )
        if self.every < 1:
            raise ValueError(f"pruning changes every {self.every} updates, but must be 1 or more")

    def share(self, update: int) -> float:
        """The share of weights that is gone once `update` updates are done."""
        if update < self.start:
            return 0.0
        if self.kind == "one_shot" or update >= self.end:
            return self.amount
        done = (update - self.start) // self.every  # changes after the one at the start
        if self.kind == "gradual":
            left = 1 - done * self.every / (self.end - self.start)
            return self.amount * (1 - left**3)
        rounds = 1 - (self.start - self.end) // self.every  # the start, every full step below the end, the end
        return 1 - (1 - self.amount) ** ((done + 1) / rounds)

    def count(self, update: int, weights: int) -> int:
        """How many of so many weights are gone once `update` updates are done."""
        return round(self.share(update) * weights)
