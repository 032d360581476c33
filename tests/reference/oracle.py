"""The lowest-cost hypothesis of a beam search, in plain Python, one sentence at a time."""

from typing import Callable, List, Optional, Sequence, Tuple

from .finished_search import Prefix, Score, finished_search


def lowest_cost(hypotheses: Sequence[Tuple[Prefix, float, float]], normalized: bool) -> Optional[Prefix]:
    """Of (path, score, cost) the path of the lowest cost that has a word besides ``</s>``; None if there is none."""
    best: Optional[Tuple[Prefix, float, float]] = None
    for path, score, cost in hypotheses:
        if len(path) < 2:
            continue
        measure = score / len(path) if normalized else score
        if best is None or cost < best[2] or cost == best[2] and measure > best[1]:
            best = (path, measure, cost)
    return None if best is None else best[0]


def oracle(
    score: Score,
    gold: Sequence[int],
    cost: Callable[[Sequence[int], Sequence[int]], float],
    beam: int,
    end: int,
    longest: int,
    normalized: bool,
) -> List[int]:
    """What takes gold's place; gold itself if no hypothesis ends."""
    found = [(path, value, cost(path, gold)) for path, value in finished_search(score, beam, end, longest)]
    best = lowest_cost(found, normalized)
    return list(gold) if best is None else list(best)
