"""Scheduled sampling and word dropout in plain Python, one sentence at a time.

Written from Bengio et al. 2015, section 2.4 (one word at a time) and Mihaylova & Martins 2019, section 3 (two passes).
"""

import math
from typing import Callable, List, Sequence


def gold_share(name: str, k: float, slope: float, floor: float, update: int) -> float:
    """The share of gold among the previous words."""
    if name == "linear":
        share = k - slope * update
    elif name == "exponential":
        share = k**update
    else:
        share = k / (k + math.exp(update / k))
    return max(floor, share)


def word_at(chances: Sequence[float], number: float) -> int:
    """The first word up to which the chances sum to more than ``number`` of all."""
    total, sums = sum(chances), 0.0
    for word, chance in enumerate(chances):
        sums += chance
        if sums > number * total:
            return word
    raise AssertionError("number is below 1")


def inputs(
    chances: Callable[[Sequence[int]], Sequence[float]],
    previous: Sequence[int],
    own: Sequence[bool],
    unknown: Sequence[bool],
    numbers: Sequence[float],
    unknown_word: int,
    sampled: bool,
    sequential: bool,
) -> List[int]:
    """The input words of a sentence.

    Args:
        chances: the model's distribution after some inputs.
        previous: the gold inputs, beginning with ``</s>``.
        own, unknown, numbers: the random decisions at each input.
        unknown_word: ``<unk>``.
        sampled: draw own words; otherwise take the most probable ones.
        sequential: own words follow the mixed inputs; otherwise they follow gold inputs, in two passes.
    """
    gold = [unknown_word if dropped else word for word, dropped in zip(previous, unknown)]
    mixed: List[int] = []
    for place, word in enumerate(gold):
        if own[place]:
            before = chances(mixed if sequential else gold[:place])
            word = word_at(before, numbers[place - 1]) if sampled else list(before).index(max(before))
        mixed.append(word)
    return mixed
