"""Beam search with an exported model, by the rules of fairseq's generator.

The rules of decoding, for each sentence:

1. The score `s` of a prefix follows from the scores f of its words. The model's `scorer` says how: a sum of log softmax
   f (`softmax`), a sum of f (`summed`), or f of the last word alone (`unnormalized`).
2. The search starts from the empty prefix. A step extends every live hypothesis by every word that may follow. Padding
   never may. Without a constraint `</s>` may not come first, and at the length limit nothing but `</s>` may come. With
   a constraint its successor function decides.
3. The step ranks all extensions by `s`; among equals the earlier hypothesis, then the smaller word id comes first. It
   keeps the best 2K, where K is the beam, or V - 1 if that is smaller.
4. A hypothesis that ends in `</s>` among the best K is finished. Its final score is `s`, for `softmax` divided by
   length^lenpen, `</s>` counted. A sentence has at most K finished hypotheses.
5. The best K of the 2K that did not end are the next live hypotheses.
6. The search of a sentence ends when K hypotheses are finished, at the length limit, or when no live one is left.

fairseq_bso/decoding has fairseq's own generator with the same rules, and fairseq_bso/search the search of training.

Sizes: b sentences that are still searched, W hypotheses of each (one at first, then K), V words; R = b * W rows, those
of a sentence one after another. Each sentence leaves the batch at its end.
"""

from dataclasses import dataclass
from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .constraints import BatchConstraint, Constraint
from .vocabulary import END, PAD

GROUPS = 128
LOWEST = np.finfo(np.float32).min
SLACK = np.float32(1e-5)  # a bound and the scores compared with it are rounded in different places

Array = np.ndarray
Finished = List[Tuple[float, List[int]]]
"""Finished hypotheses of a sentence without `</s>`, with their scores. `search` returns them best first."""


class Options(NamedTuple):
    """The options of fairseq-generate with these names."""

    beam: int = 5
    max_len_a: float = 0.0
    max_len_b: int = 200
    lenpen: float = 1.0
    """for softmax models; raw scores are never divided by length"""


class Scorer(NamedTuple):
    """How a model scores words and prefixes, as in fairseq_bso/search/scorer.py."""

    normalized: bool
    """whether a word's score is its log-probability; otherwise it is the raw score f"""
    cumulative: bool
    """whether a prefix's score is the sum over its words; otherwise it is that of the last word alone"""


SCORERS = {"softmax": Scorer(True, True), "summed": Scorer(False, True), "unnormalized": Scorer(False, False)}


class Ranked(NamedTuple):
    """Hypotheses with their next words, best first, C for each sentence; -inf where there are fewer."""

    scores: Array
    """(b, C)"""
    rows: Array
    """(b, C) the parents, among the R rows"""
    words: Array
    """(b, C)"""

    def take(self, slots: Array) -> "Ranked":
        """Those in `slots` (b, K)."""
        sentences = np.arange(len(slots))[:, None]
        return Ranked(*(table[sentences, slots] for table in self))


@dataclass
class Live:
    """The sentences that are still searched, and their live hypotheses."""

    sentences: Array
    """(b,) their positions in the batch"""
    limits: Array
    """(b,) the longest output, without `</s>`"""
    scores: Array
    """(b, W) of the prefixes; -inf where there is no hypothesis"""
    words: Array
    """(R,) the last word of each hypothesis"""
    memory: Any
    """a network's memory of the b sentences"""
    state: Any
    """a network's state of the R hypotheses"""
    constraint: Optional[BatchConstraint]
    history: List[Tuple[Array, Array]]
    """for each step so far the parent rows (R,) and the words (R,)"""

    @staticmethod
    def start(network: Any, sources: Sequence[List[int]], options: Options, constraint: Optional[Constraint]) -> "Live":
        """One empty hypothesis for each of B sentences."""
        followed = None if constraint is None else BatchConstraint([constraint(source) for source in sources])
        limits = _length_limits(network, sources, options) if followed is None else followed.limits()
        count = len(sources)
        words, scores = np.full(count, END), np.zeros((count, 1), np.float32)
        memory, state = network.encode(sources)
        return Live(np.arange(count), limits, scores, words, memory, state, followed, [])

    def step(self, network: Any) -> Array:
        """Feeds the last words. Returns the scores f of the next ones, (b, W, V)."""
        values, self.state = network.step(self.words, self.state, self.memory)
        return values.reshape(*self.scores.shape, -1)

    def keep(self, kept: Array, ranked: Ranked) -> None:
        """Goes on with the sentences at `kept` (k,), each with its ranked hypotheses."""
        rows, words = ranked.rows[kept].ravel(), ranked.words[kept].ravel()
        self.history.append((rows, words))
        self.scores, self.words = ranked.scores[kept], words
        self.state = self.state.select(rows)
        if self.constraint is not None:
            self.constraint.advance(kept, rows, words)
        if len(kept) < len(self.sentences):
            self.memory = self.memory.select(kept)
            self.sentences, self.limits = self.sentences[kept], self.limits[kept]


def beam_search(network: Any, source: List[int], options: Options, constraint: Optional[Constraint] = None) -> Finished:
    """Searches one sentence, given as its word ids with `</s>`."""
    return search(network, [source], options, constraint)[0]


def search(
    network: Any, sources: Sequence[List[int]], options: Options, constraint: Optional[Constraint] = None
) -> List[Finished]:
    """Searches B sentences together.

    Args:
        network: a Network, or anything else with its `config`, `vocabulary_size`, `encode` and `step`.
        sources: the word ids of each sentence, with its `</s>`.
        options: of the search.
        constraint: which words may follow a prefix; it replaces `max_len_a` and `max_len_b`.

    Returns:
        the finished hypotheses of each sentence; none where no hypothesis came to an end, or where the output that the
        constraint asks for has more words than the model has positions.
    """
    positions = network.config.max_target_positions
    fitting = [constraint is None or not constraint.too_long(source, positions) for source in sources]
    if not all(fitting):
        short = [source for source, fits in zip(sources, fitting) if fits]
        found = iter(search(network, short, options, constraint) if short else [])
        return [next(found) if fits else [] for fits in fitting]
    beam = min(options.beam, network.vocabulary_size - 1)
    scorer = SCORERS[network.config.scorer]
    lenpen = options.lenpen if scorer.normalized else 0.0
    results: List[Finished] = [[] for _ in sources]
    live = Live.start(network, sources, options, constraint)
    for step in range(int(live.limits.max()) + 1):
        values = live.step(network)  # (b, W, V)
        offsets = _offsets(scorer, values, live.scores)  # (b, W)
        _forbid(values, step, live)
        ranked = best_of(values, offsets, min(2 * beam, values[0].size - 1))
        finished = [results[sentence] for sentence in live.sentences]
        _finish(ranked, beam, (step + 1) ** lenpen, live.history, finished)
        ranked = _without_ended(ranked, beam)
        searching = np.array([len(found) < beam for found in finished]) & (live.limits > step)  # (b,)
        kept = np.flatnonzero(searching & (ranked.scores[:, 0] > -np.inf))
        if not len(kept):
            break
        live.keep(kept, ranked)
    return [sorted(found, key=lambda hypothesis: -hypothesis[0]) for found in results]


def _length_limits(network: Any, sources: Sequence[List[int]], options: Options) -> Array:
    """(B,) the longest output of each sentence, without `</s>`."""
    lengths = np.array([len(source) for source in sources])
    asked = (options.max_len_a * lengths + options.max_len_b).astype(int)
    return np.minimum(asked, network.config.max_target_positions - 1)


def _offsets(scorer: Scorer, values: Array, scores: Array) -> Array:
    """What turns scores f into scores of prefixes by addition.

    Args:
        scorer: of the model.
        values: (b, W, V) f of the next words.
        scores: (b, W) of the prefixes so far.

    Returns:
        (b, W).
    """
    if not scorer.cumulative:
        return np.where(scores > -np.inf, np.float32(0), scores)
    if not scorer.normalized:
        return scores
    top = values.max(2, keepdims=True)  # (b, W, 1)
    odds = values - top
    total = np.exp(odds, out=odds).sum(2)  # (b, W)
    return scores - top[:, :, 0] - np.log(total)


def _forbid(values: Array, step: int, live: Live) -> None:
    """Sets the scores f (b, W, V) of words that may not come at this step to -inf."""
    values[:, :, PAD] = -np.inf
    last = live.limits <= step  # (b,)
    if live.constraint is not None:
        live.constraint.restrict(values)
    elif step == 0:
        values[~last, :, END] = -np.inf  # an output has a word, unless its limit is 0
    if last.any():
        values[last, :, :END] = values[last, :, END + 1 :] = -np.inf


def best_of(values: Array, offsets: Array, count: int) -> Ranked:
    """The `count` best extensions of each sentence; among equals the earlier ones first.

    Few of the W * V scores are sorted. Words fall into groups, and the `count`-th best of the groups' maxima is a
    bound: no score below it can be among the `count` best.

    Args:
        values: (b, W, V).
        offsets: (b, W), to be added to values.
        count: how many.
    """
    sentences, width, vocabulary = values.shape
    bound = np.full(sentences, LOWEST)
    groups = max(GROUPS, count)
    if vocabulary >= 4 * groups:
        # The words of a group lie `groups` apart. Those left over are in none, so the bound only gets lower.
        whole = values[:, :, : vocabulary - vocabulary % groups].reshape(sentences, width, -1, groups)
        maxima = whole.max(2) + offsets[:, :, None]  # (b, W, groups)
        bound = np.partition(maxima.reshape(sentences, -1), -count, 1)[:, -count]
        bound = np.maximum(bound - np.abs(bound) * SLACK, LOWEST)
    least = bound[:, None] - offsets  # (b, W)
    places = np.flatnonzero(values >= least[:, :, None])  # (N,) in the flat values, ascending
    rows, words = np.divmod(places, vocabulary)
    owners = rows // width
    scores = values.ravel()[places] + offsets.ravel()[rows]  # (N,)
    order = np.lexsort((places, -scores, owners))  # owners[order] is owners
    ranks = np.arange(len(order)) - np.searchsorted(owners, owners)
    among = ranks < count
    kept = order[among]
    if len(kept) == sentences * count:
        return Ranked(*(column[kept].reshape(sentences, count) for column in (scores, rows, words)))
    ranked = Ranked(
        np.full((sentences, count), -np.inf, np.float32),
        np.arange(sentences)[:, None] * width + np.zeros(count, int),
        np.full((sentences, count), PAD),
    )
    for table, column in zip(ranked, (scores, rows, words)):
        table[owners[among], ranks[among]] = column[kept]
    return ranked


def _finish(
    ranked: Ranked, beam: int, divisor: float, history: List[Tuple[Array, Array]], results: List[Finished]
) -> None:
    """Adds hypotheses that end among the best `beam` of each sentence to its results, up to `beam` of them."""
    ending = (ranked.words[:, :beam] == END) & (ranked.scores[:, :beam] > -np.inf)
    for sentence, slot in np.argwhere(ending) if ending.any() else ():
        if len(results[sentence]) == beam:
            continue
        row, prefix = ranked.rows[sentence, slot], []
        for rows, words in reversed(history):
            prefix.append(int(words[row]))
            row = rows[row]
        results[sentence].append((float(ranked.scores[sentence, slot]) / divisor, prefix[::-1]))


def _without_ended(ranked: Ranked, beam: int) -> Ranked:
    """The best `beam` of those that did not end."""
    ended = ranked.words == END
    scores = np.where(ended, -np.inf, ranked.scores)
    return ranked._replace(scores=scores).take(ended.argsort(1, kind="stable")[:, :beam])
