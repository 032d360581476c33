"""Violation-reset search of one sentence in plain Python, as the definition reads, and the loss in terms of scores.

``score(prefix)`` returns the list of ``f(w | prefix)`` over all words; ``-inf`` where a word is not allowed.
"""

import math
from typing import Callable, List, NamedTuple, Sequence, Tuple

Prefix = Tuple[int, ...]


class Violation(NamedTuple):
    time: int  # from 0: the word that was ranked
    reset: int  # first word after the last reset
    violator: Prefix  # with its last word
    gap: float  # gold score - violator score


def search(
    gold: Sequence[int],
    score: Callable[[Prefix], List[float]],
    beam: int,
    end: int,
    margin: float = 1.0,
) -> Tuple[List[Violation], List[List[Prefix]]]:
    """All violations, and the beam kept after every step (gold first where it is kept)."""
    violations: List[Violation] = []
    beams: List[List[Prefix]] = []
    live: List[Prefix] = [()]
    reset = 0
    for time in range(len(gold)):
        gold_prefix, gold_next = tuple(gold[:time]), tuple(gold[: time + 1])
        # Ties go to the gold prefix's successors, then to the better hypothesis, then to the smaller word.
        hypotheses = [gold_prefix] + [prefix for prefix in live if prefix != gold_prefix]
        assert gold_prefix in live, "the gold prefix is on the beam at every step"
        candidates = []
        for prefix in hypotheses:
            if prefix and prefix[-1] == end:
                continue
            for word, value in enumerate(score(prefix)):
                if value > -math.inf:
                    candidates.append((value, prefix + (word,)))
        candidates.sort(key=lambda candidate: -candidate[0])  # stable
        gold_score = score(gold_prefix)[gold[time]]
        top = candidates[:beam]
        others = [candidate for candidate in top if candidate[1] != gold_next]
        if time == len(gold) - 1:
            everyone_else = [candidate for candidate in candidates if candidate[1] != gold_next]
            violator = everyone_else[0] if everyone_else else None
        else:
            violator = others[-1] if len(candidates) >= beam else None
        if violator is not None and gold_score < margin + violator[0]:
            violations.append(Violation(time, reset, violator[1], gold_score - violator[0]))
            live, reset = [gold_next], time + 1
        else:
            live = [gold_next] + [prefix for _, prefix in others]
        beams.append(list(live))
    return violations, beams
