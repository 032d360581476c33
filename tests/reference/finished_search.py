"""Beam search to the end in plain Python, one sentence at a time, as fairseq's generator does it."""

import itertools
import math
from typing import Callable, List, Sequence, Tuple

Prefix = Tuple[int, ...]
Score = Callable[[Prefix], Sequence]


def finished_search(
    score: Score, beam: int, end: int, longest: int, end_at_limit: bool = False
) -> List[Tuple[Prefix, float]]:
    """The finished hypotheses and their sums of local scores, in the order in which they end.

    With ``end_at_limit`` the last of ``longest`` words is ``</s>``; but no output is empty because of that.
    """
    live: List[Tuple[Prefix, float]] = [((), 0.0)]
    finished: List[Tuple[Prefix, float]] = []
    for step in range(longest):
        candidates = [
            ((*prefix, word), before + local)
            for prefix, before in live
            for word, local in enumerate(score(prefix))
            if local > -math.inf and (word == end or not (end_at_limit and 0 < step == longest - 1))
        ]
        candidates = sorted(candidates, key=lambda candidate: -candidate[1])[: 2 * beam]  # stable
        for rank, candidate in enumerate(candidates):
            if candidate[0][-1] == end and rank < beam and len(finished) < beam:
                finished.append(candidate)
        live = [candidate for candidate in candidates if candidate[0][-1] != end][:beam]
        if len(finished) == beam:
            break
    return finished


def all_outputs(words: Sequence[int], end: int, longest: int) -> List[Prefix]:
    """Every output of at most ``longest`` words including ``</s>``."""
    return [
        (*inner, end)
        for length in range(longest)
        for inner in itertools.product([word for word in words if word != end], repeat=length)
    ]
