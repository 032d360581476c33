"""The best extensions of hypotheses.

Sizes: b sentences, W hypotheses of each, C words that may extend one.
"""

from typing import NamedTuple, Tuple

import numpy as np

GROUPS = 128
LOWEST = np.finfo(np.float32).min
SLACK = np.float32(1e-5)  # a bound and the scores compared with it are rounded in different places

Array = np.ndarray


class Ranked(NamedTuple):
    """Hypotheses with their next words, best first, N for each sentence; -inf and word 0 where there are fewer."""

    scores: Array
    """(b, N)"""
    rows: Array
    """(b, N) the parents, among the R rows"""
    words: Array
    """(b, N)"""

    def take(self, slots: Array) -> "Ranked":
        """Those in `slots` (b, K)."""
        sentences = np.arange(len(slots))[:, None]
        return Ranked(*(table[sentences, slots] for table in self))


def best_of(values: Array, offsets: Array, count: int) -> Ranked:
    """The `count` best extensions of each sentence; among equals the earlier ones first.

    Args:
        values: (b, W, C).
        offsets: (b, W), to be added to values.
        count: how many.
    """
    sentences, width, words = values.shape
    places, scores = _candidates(values, offsets, count)  # (N,), (N,)
    owners = places // (width * words)
    # The sort is stable, and the places ascend: an earlier one comes first among equals.
    order = np.argsort(-scores, kind="stable") if sentences == 1 else np.lexsort((-scores, owners))
    ranks = np.arange(len(order)) - np.searchsorted(owners, owners)  # owners[order] is owners
    among = ranks < count
    kept = order[among]
    rows, columns = np.divmod(places[kept], words)
    if len(kept) == sentences * count:
        return Ranked(*(column.reshape(sentences, count) for column in (scores[kept], rows, columns)))
    ranked = Ranked(
        np.full((sentences, count), -np.inf, np.float32),
        np.arange(sentences)[:, None] * width + np.zeros(count, int),
        np.zeros((sentences, count), int),
    )
    for table, column in zip(ranked, (scores[kept], rows, columns)):
        table[owners[among], ranks[among]] = column
    return ranked


def _candidates(values: Array, offsets: Array, count: int) -> Tuple[Array, Array]:
    """A few extensions of each sentence, which include its `count` best.

    Words of a large vocabulary fall into groups, and the `count`-th best of the groups' maxima is a bound: no score
    below it can be among the `count` best. So few of the scores are added up and sorted.

    Returns:
        places (N,) in the flat values, ascending, and scores (N,), none -inf.
    """
    sentences, width, words = values.shape
    groups = max(GROUPS, count)
    if words < 4 * groups:
        scores = (values + offsets[:, :, None]).reshape(sentences, -1)
        bound = np.full(sentences, LOWEST)
        if scores.shape[1] > count:
            bound = np.maximum(np.partition(scores, -count, 1)[:, -count], LOWEST)
        places = np.flatnonzero(scores >= bound[:, None])
        return places, scores.ravel()[places]
    # The words of a group lie `groups` apart. Those left over are in none, so the bound only gets lower.
    whole = values[:, :, : words - words % groups].reshape(sentences, width, -1, groups)
    maxima = whole.max(2) + offsets[:, :, None]  # (b, W, groups)
    bound = np.partition(maxima.reshape(sentences, -1), -count, 1)[:, -count]
    bound = np.maximum(bound - np.abs(bound) * SLACK, LOWEST)
    least = bound[:, None] - offsets  # (b, W)
    places = np.flatnonzero(values >= least[:, :, None])
    return places, values.ravel()[places] + offsets.ravel()[places // words]
