"""Violation-reset search of one sentence in plain Python, by the definition, and the loss in terms of scores.

``score(prefix)`` returns the list of local scores ``l(w | prefix)`` over all words w; ``-inf`` where a word is not
allowed. ``cumulative`` says whether a prefix's score is the sum of its words' scores, or that of its last word alone.
"""

import math
from typing import Callable, List, NamedTuple, Optional, Sequence, Tuple

Prefix = Tuple[int, ...]
Score = Callable[[Prefix], Sequence]


class Violation(NamedTuple):
    time: int  # index of the ranked word, from 0
    reset: int  # first word after the last reset
    violator: Prefix  # includes its last word; shorter than time + 1 if it ended before
    gap: float  # gold score - violator score


def prefix_score(score: Score, prefix: Prefix, cumulative: bool = True):
    """``s(prefix)``: the sum of the local scores of its words, or the local score of its last word alone."""
    words = range(0 if cumulative else max(len(prefix) - 1, 0), len(prefix))
    return sum((score(prefix[:place])[prefix[place]] for place in words), 0.0)


def continued(score: Score, prefix: Prefix, cumulative: bool) -> List[Tuple]:
    """(score, prefix) of every prefix with one word more."""
    before = prefix_score(score, prefix) if cumulative else 0.0
    return [(before + local, (*prefix, word)) for word, local in enumerate(score(prefix)) if local > -math.inf]


def scaled(value, length: int, gold_length: int, lenpen: float):
    """The score that decoding compares, ``s / length ** lenpen``, in units in which gold's own score is its sum."""
    return value * (gold_length / length) ** lenpen


def search(
    gold: Sequence[int],
    score: Score,
    beam: int,
    end: int,
    margin: float = 1.0,
    cumulative: bool = False,
    finished_lenpen: Optional[float] = None,
) -> Tuple[List[Violation], List[List[Prefix]]]:
    """All violations, and the beam kept after every step (gold first where it is kept).

    With ``finished_lenpen`` hypotheses that ended stay in the comparison (``--finished rival``).
    """
    violations: List[Violation] = []
    beams: List[List[Prefix]] = []
    live: List[Prefix] = [()]
    reset = 0
    for time in range(len(gold)):
        gold_prefix, gold_next = tuple(gold[:time]), tuple(gold[: time + 1])
        final = time == len(gold) - 1
        assert gold_prefix in live, "the gold prefix is on the beam at every step"
        # Ties go to the gold prefix's successors, then to the better hypothesis, then to the smaller word. Hypotheses
        # that ended come last.
        hypotheses = [gold_prefix] + [prefix for prefix in live if prefix != gold_prefix]
        live_ones = [prefix for prefix in hypotheses if prefix[-1:] != (end,)]
        candidates = [one for prefix in live_ones for one in continued(score, prefix, cumulative)]
        for prefix in hypotheses if finished_lenpen is not None else []:
            if prefix[-1:] == (end,):
                value = prefix_score(score, prefix, cumulative)
                candidates.append((scaled(value, len(prefix), len(gold), finished_lenpen) if final else value, prefix))
        candidates.sort(key=lambda candidate: -candidate[0])  # stable
        gold_score = prefix_score(score, gold_next, cumulative)
        top = candidates[:beam]
        others = [candidate for candidate in top if candidate[1] != gold_next]
        if final:
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


def gap(violation: Violation, gold: Sequence[int], score: Score, cumulative: bool, finished_lenpen: Optional[float]):
    """Gold score minus violator score, both from the first word on; with gradient if ``score`` gives tensors."""
    right = prefix_score(score, tuple(gold[: violation.time + 1]), cumulative)
    wrong = prefix_score(score, violation.violator, cumulative)
    if len(violation.violator) <= violation.time and violation.time == len(gold) - 1:
        wrong = scaled(wrong, len(violation.violator), len(gold), finished_lenpen)
    return right - wrong
