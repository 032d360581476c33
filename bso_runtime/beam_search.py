"""Beam search with an exported model, by the rules of fairseq's generator.

The rules of decoding, for each sentence:

1. The score `s` of a prefix follows from the scores f of its words. The model's `scorer` says how: a sum of log softmax
   f (`softmax`), a sum of f (`summed`), or f of the last word alone (`unnormalized`).
2. The search starts from the empty prefix. A step extends every live hypothesis by every word that may follow. Padding
   never may. Without a constraint `</s>` may not come first, and at the length limit nothing but `</s>` may come. A
   constraint decides both itself.
3. The step ranks all extensions by `s`; among equals the earlier hypothesis, then the smaller word id comes first. It
   keeps the best 2K, where K is the beam, or V - 1 if that is smaller.
4. A hypothesis that ends in `</s>` among the best K is finished. Its final score is `s`, for `softmax` divided by
   length^lenpen, `</s>` counted. A sentence has at most K finished hypotheses.
5. The best K of the 2K that did not end are the next live hypotheses.
6. The search of a sentence ends when K hypotheses are finished, at the length limit, or when no live one is left.

fairseq_bso/decoding has fairseq's own generator with the same rules, and fairseq_bso/search the search of training.

With a shortlist the words of each sentence take the place of the vocabulary; the softmax then normalizes over them.

Sizes: b sentences that are still searched, W hypotheses of each (one at first, then K), C words that may come next;
R = b * W rows, those of a sentence one after another. Each sentence leaves the batch at its end.
"""

from typing import Any, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from .constraints import Constraint
from .live import GenerationOptions, LiveHypotheses
from .ranking import Ranked, best_of
from .shortlist import SentenceWords
from .vocabulary import END

Array = np.ndarray
Finished = List[Tuple[float, List[int]]]
"""Finished hypotheses of a sentence without `</s>`, with their scores. `search` returns them best first."""


class Scorer(NamedTuple):
    """How a model scores words and prefixes, as in fairseq_bso/search/scorer.py."""

    normalized: bool
    """whether a word's score is its log-probability; otherwise it is the raw score f"""
    cumulative: bool
    """whether a prefix's score is the sum over its words; otherwise it is that of the last word alone"""


SCORERS = {"softmax": Scorer(True, True), "summed": Scorer(False, True), "unnormalized": Scorer(False, False)}


def search(
    network: Any,
    sources: Sequence[List[int]],
    options: GenerationOptions,
    constraint: Optional[Constraint] = None,
    shortlist: Optional[SentenceWords] = None,
    scored: bool = True,
) -> List[Finished]:
    """Searches B sentences together.

    Args:
        network: a Network, or anything else with its `config`, `vocabulary_size`, `encode` and `step`, and for a
            shortlist its `advance` and `output_rows`.
        sources: the word ids of each sentence, with its `</s>`.
        options: of the search.
        constraint: which words may follow a prefix; it replaces `max_len_a` and `max_len_b`.
        shortlist: the words of each sentence; only without a constraint.
        scored: whether scores are wanted. Greedy search then saves the softmax, and gives NaN.

    Returns:
        the finished hypotheses of each sentence; none where no hypothesis came to an end, or where the output that the
        constraint asks for has more words than the model has positions.

    Raises:
        FloatingPointError: a score f is infinite or NaN.
    """
    positions = network.config.max_target_positions
    fitting = [constraint is None or not constraint.too_long(source, positions) for source in sources]
    if not all(fitting):
        short = [source for source, fits in zip(sources, fitting) if fits]
        found = iter(search(network, short, options, constraint, shortlist, scored) if short else [])
        return [next(found) if fits else [] for fits in fitting]
    beam = min(options.beam, network.vocabulary_size - 1)
    scorer = SCORERS[network.config.scorer]
    lenpen = options.lenpen if scorer.normalized else 0.0
    live = LiveHypotheses.start(network, sources, options, constraint, shortlist)
    if beam == 1:
        return _greedy(network, live, scorer, lenpen, scored)
    return _beam(network, live, scorer, beam, lenpen)


def _greedy(network: Any, live: LiveHypotheses, scorer: Scorer, lenpen: float, scored: bool) -> List[Finished]:
    """The search with one hypothesis, which needs no ranking: rule 3 with K = 1 is an argmax."""
    results: List[Finished] = [[] for _ in live.sentences]
    prefixes: List[List[int]] = [[] for _ in live.sentences]
    prefix_scores = np.zeros((len(results), 1), np.float32)  # (b, 1)
    for step in range(int(live.limits.max()) + 1):
        values = live.step(network)  # (b, 1, C)
        offsets = offsets_of(scorer, values, prefix_scores)[:, 0] if scored else np.float32("nan")
        live.forbid(values, step)
        columns = values[:, 0].argmax(1)  # (b,)
        best = np.take_along_axis(values[:, 0], columns[:, None], 1)[:, 0]  # (b,)
        words = live.words_of(columns[:, None])[:, 0]
        scores = best + offsets
        possible, ended = best > -np.inf, words == END
        for sentence, word, score, allowed in zip(live.sentences.tolist(), words.tolist(), scores.tolist(), possible):
            if allowed and word != END:
                prefixes[sentence].append(word)
            elif allowed:
                results[sentence].append((score / (step + 1) ** lenpen, prefixes[sentence]))
        kept = np.flatnonzero(possible & ~ended & (live.limits > step))
        if not len(kept):
            break
        prefix_scores = scores[kept, None]
        live.keep(kept, words[kept])
    return results


def _beam(network: Any, live: LiveHypotheses, scorer: Scorer, beam: int, lenpen: float) -> List[Finished]:
    """The search with K hypotheses."""
    results: List[Finished] = [[] for _ in live.sentences]
    scores = np.zeros((len(results), 1), np.float32)  # (b, W) of the prefixes; -inf where there is no hypothesis
    history: List[Tuple[Array, Array]] = []  # for each step so far the parent rows (R,) and the words (R,)
    for step in range(int(live.limits.max()) + 1):
        values = live.step(network)  # (b, W, C)
        offsets = offsets_of(scorer, values, scores)  # (b, W)
        live.forbid(values, step)
        ranked = best_of(values, offsets, 2 * beam)
        ranked = ranked._replace(words=live.words_of(ranked.words))
        finished = [results[sentence] for sentence in live.sentences]
        _finish(ranked, beam, (step + 1) ** lenpen, history, finished)
        ranked = _without_ended(ranked, beam)
        searching = np.array([len(found) < beam for found in finished]) & (live.limits > step)  # (b,)
        kept = np.flatnonzero(searching & (ranked.scores[:, 0] > -np.inf))
        if not len(kept):
            break
        rows, words, scores = ranked.rows[kept].ravel(), ranked.words[kept].ravel(), ranked.scores[kept]
        history.append((rows, words))
        live.keep(kept, words, rows)
    return [sorted(found, key=lambda hypothesis: -hypothesis[0]) for found in results]


def offsets_of(scorer: Scorer, values: Array, scores: Array) -> Array:
    """The offset of each hypothesis. Added to the scores f of its next words, it gives the scores of the new prefixes.

    Args:
        scorer: of the model.
        values: (b, W, C) f of the next words.
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
