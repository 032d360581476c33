"""Beam search with the rules of fairseq's generator: a hypothesis that ends among the best K of the step is finished;
K finished ones end the search of a sentence. Sentences are searched together, and each leaves the batch at its end.

Sizes: b sentences that are still searched, W hypotheses of each (one at first, then K), V words; R = b * W rows.
"""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .constraints import Constraint, Followed
from .vocabulary import END, PAD

GROUPS = 128
LOWEST = np.finfo(np.float32).min
SLACK = np.float32(1e-5)  # a bound and the scores that it is compared with are rounded in different places

Array = np.ndarray
Found = List[Tuple[float, List[int]]]
"""Finished hypotheses of a sentence without `</s>`, best first, with their scores."""


class Options(NamedTuple):
    """As the options of fairseq-generate of these names."""

    beam: int = 5
    max_len_a: float = 0.0
    max_len_b: int = 200
    lenpen: float = 1.0
    """of softmax models; raw scores are never divided by length"""


class Scorer(NamedTuple):
    """How a model scores words and prefixes, as in fairseq_bso/search/scorer.py."""

    normalized: bool
    """whether a word counts by its log-probability; otherwise by its raw score f"""
    cumulative: bool
    """whether a prefix counts by the sum over its words; otherwise by its last word alone"""


SCORERS = {"softmax": Scorer(True, True), "summed": Scorer(False, True), "unnormalized": Scorer(False, False)}


class Ranked(NamedTuple):
    """Hypotheses and their next words, best first, C of each sentence; -inf where there are fewer."""

    scores: Array
    """(b, C)"""
    rows: Array
    """(b, C) among the R"""
    words: Array
    """(b, C)"""

    def take(self, places: Array) -> "Ranked":
        """Those at `places` (b, K)."""
        owners = np.arange(len(places))[:, None]
        return Ranked(*(one[owners, places] for one in self))


def beam_search(network: Any, source: List[int], options: Options, constraint: Optional[Constraint] = None) -> Found:
    """Word numbers of one sentence with its `</s>` -> what was found."""
    return search(network, [source], options, constraint)[0]


def search(
    network: Any, sources: Sequence[List[int]], options: Options, constraint: Optional[Constraint] = None
) -> List[Found]:
    """Searches B sentences together.

    Args:
        network: a Network, or anything else with its `facts`, `vocabulary`, `encode` and `step`.
        sources: word numbers of each sentence, with its `</s>`.
        options: of the search.
        constraint: which words may follow a prefix; it takes the place of `max_len_a` and `max_len_b`.

    Returns:
        what was found for each sentence; nothing where no hypothesis came to an end.
    """
    beam = min(options.beam, network.vocabulary - 1)
    scorer = SCORERS[network.facts["scorer"]]
    lenpen = options.lenpen if scorer.normalized else 0.0
    followed = None if constraint is None else Followed([constraint(source) for source in sources])
    limits = _limits(network, sources, options) if followed is None else followed.limits()  # (B,)
    results: List[Found] = [[] for _ in sources]
    sentences = np.arange(len(sources))  # (b,) where each stands in `sources`
    words, scores = np.full(len(sources), END), np.zeros((len(sources), 1), np.float32)  # (R,), (b, W)
    history: List[Tuple[Array, Array]] = []  # of every step the rows (R,) before it, and the words (R,)
    memory, state = network.encode(sources)
    for step in range(int(limits.max()) + 1):
        values, state = network.step(words, state, memory)  # (R, V)
        values = values.reshape(*scores.shape, -1)  # (b, W, V)
        offsets = _offsets(scorer, values, scores)  # (b, W)
        _forbid(values, step, limits[sentences], followed)
        best = _best(values, offsets, min(2 * beam, values[0].size - 1))
        _finish(best, beam, (step + 1) ** lenpen, history, [results[one] for one in sentences])
        ends = best.words == END
        best = best._replace(scores=np.where(ends, -np.inf, best.scores)).take(ends.argsort(1, kind="stable")[:, :beam])
        waits = np.array([len(results[one]) < beam for one in sentences])  # (b,)
        kept = np.flatnonzero(waits & (limits[sentences] > step) & (best.scores[:, 0] > -np.inf))
        if not len(kept):
            break
        scores, rows, words = best.scores[kept], best.rows[kept].ravel(), best.words[kept].ravel()
        history.append((rows, words))
        state = state.select(rows)
        if followed is not None:
            followed.advance(kept, rows, words)
        if len(kept) < len(sentences):
            memory, sentences = memory.select(kept), sentences[kept]
    return [sorted(found, key=lambda one: -one[0]) for found in results]


def _limits(network: Any, sources: Sequence[List[int]], options: Options) -> Array:
    """(B,) how many words the longest output has, `</s>` not counted."""
    lengths = np.array([len(source) for source in sources])
    asked = (options.max_len_a * lengths + options.max_len_b).astype(int)
    return np.minimum(asked, int(network.facts["max_target_positions"]) - 1)


def _offsets(scorer: Scorer, values: Array, scores: Array) -> Array:
    """What makes the scores of hypotheses out of f (b, W, V), given those of their prefixes (b, W): (b, W)."""
    if not scorer.cumulative:
        return np.where(scores > -np.inf, np.float32(0), scores)
    if not scorer.normalized:
        return scores
    top = values.max(2, keepdims=True)  # (b, W, 1)
    odds = values - top
    total = np.exp(odds, out=odds).sum(2)  # (b, W)
    return scores - top[:, :, 0] - np.log(total)


def _forbid(values: Array, step: int, limits: Array, followed: Optional[Followed]) -> None:
    """Sets f (b, W, V) of words that may not come at this step to -inf; outputs have at most `limits` (b,) words."""
    values[:, :, PAD] = -np.inf
    last = limits <= step  # (b,)
    if followed is not None:
        followed.restrict(values)
    elif step == 0:
        values[~last, :, END] = -np.inf  # an output has a word, unless it may have none
    if last.any():
        values[last, :, :END] = values[last, :, END + 1 :] = -np.inf


def _best(values: Array, offsets: Array, count: int) -> Ranked:
    """The `count` best of each sentence, first ones first where scores are equal.

    Few of the W * V scores are sorted: words fall into groups, and the `count`-th best of the groups' maxima is a bound
    below which no score can be among the `count` best.

    Args:
        values: (b, W, V).
        offsets: (b, W), to be added to values.
    """
    sentences, width, vocabulary = values.shape
    bound = np.full(sentences, LOWEST)
    groups = max(GROUPS, count)
    if vocabulary >= 4 * groups:
        whole = values[:, :, : vocabulary - vocabulary % groups].reshape(sentences, width, -1, groups)
        maxima = whole.max(2) + offsets[:, :, None]  # (b, W, G), each of as many words, which lie far apart
        bound = np.partition(maxima.reshape(sentences, -1), -count, 1)[:, -count]
        bound = np.maximum(bound - np.abs(bound) * SLACK, LOWEST)
    least = bound[:, None] - offsets  # (b, W)
    places = np.flatnonzero(values >= least[:, :, None])  # (N,) in all that there is, ascending
    rows, words = np.divmod(places, vocabulary)
    owners = rows // width
    scores = values.ravel()[places] + offsets.ravel()[rows]  # (N,)
    order = np.lexsort((places, -scores, owners))  # owners[order] is owners
    ranks = np.arange(len(order)) - np.searchsorted(owners, owners)
    among = ranks < count
    kept = order[among]
    if len(kept) == sentences * count:
        return Ranked(*(one[kept].reshape(sentences, count) for one in (scores, rows, words)))
    none = np.full((sentences, count), -np.inf, np.float32)
    ranked = Ranked(
        none, np.arange(sentences)[:, None] * width + np.zeros(count, int), np.full((sentences, count), PAD)
    )
    for table, column in zip(ranked, (scores, rows, words)):
        table[owners[among], ranks[among]] = column[kept]
    return ranked


def _finish(best: Ranked, beam: int, divisor: float, history: List[Tuple[Array, Array]], results: List[Found]) -> None:
    """Adds hypotheses that end among the best `beam` of each sentence to its results, as long as there are fewer."""
    ending = (best.words[:, :beam] == END) & (best.scores[:, :beam] > -np.inf)
    for sentence, place in np.argwhere(ending) if ending.any() else ():
        if len(results[sentence]) == beam:
            continue
        row, prefix = best.rows[sentence, place], []
        for rows, words in reversed(history):
            prefix.append(int(words[row]))
            row = rows[row]
        results[sentence].append((float(best.scores[sentence, place]) / divisor, prefix[::-1]))
