"""Is one system better than another? Means over seeds, and a paired bootstrap test.

The statistics of an output are an array with a row for each sentence. A score is a function of their sum over
sentences: BLEU of counted n-grams, an attachment score of counted words. The test draws sentences with replacement,
the same for both systems. It counts how often the difference deviates from its mean by more than the observed
difference (Koehn 2004). The p-value is that of sacrebleu, except for equal scores, where it is 1. With several seeds, a
sentence is drawn with the outputs of all seeds. These outputs are not independent: drawn one by one, they would
underestimate the variance.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

DRAWS, SEED = 1000, 12345  # those of sacrebleu
NGRAMS = 4
CHARACTERS, BETA = 6, 2  # of chrF: the longest n-gram of characters, and the weight of recall


def bleu_statistics(hypotheses: Sequence[str], references: Sequence[str], tokenize: str, lowercase: bool) -> np.ndarray:
    """(N, 10) for N sentences: words of the output, words of the reference, matched n-grams, n-grams of the output."""
    from sacrebleu.metrics import BLEU

    metric = BLEU(tokenize=tokenize, lowercase=lowercase, force=True)
    scores = [metric.corpus_score([text], [[reference]]) for text, reference in zip(hypotheses, references)]
    return np.array([[score.sys_len, score.ref_len, *score.counts, *score.totals] for score in scores], dtype=np.int64)


def bleu(total: np.ndarray) -> float:
    """BLEU of summed statistics."""
    from sacrebleu.metrics import BLEU

    length, reference, counts = int(total[0]), int(total[1]), [int(count) for count in total[2:]]
    return BLEU.compute_bleu(counts[:NGRAMS], counts[NGRAMS:], length, reference, smooth_method="exp").score


def chrf_statistics(hypotheses: Sequence[str], references: Sequence[str], lowercase: bool) -> np.ndarray:
    """(N, 18) for N sentences: n-grams of the output, of the reference, and matched ones (Popovic 2015).

    They are of n = 1 to 6 characters, blanks left out."""
    rows = []
    for pair in zip(hypotheses, references):
        output, reference = ("".join((text.lower() if lowercase else text).split()) for text in pair)
        rows.append([number for n in range(1, CHARACTERS + 1) for number in _matches(output, reference, n)])
    return np.array(rows, dtype=np.int64)


def _matches(output: str, reference: str, n: int) -> tuple[int, int, int]:
    """n-grams of characters: of the output, of the reference, of both.

    As in sacrebleu, those of the output do not count where the reference is too short to have any."""
    one, other = (Counter(text[k : k + n] for k in range(len(text) - n + 1)) for text in (output, reference))
    return (sum(one.values()) if other else 0), sum(other.values()), sum((one & other).values())


def chrf(total: np.ndarray) -> float:
    """chrF2 of summed statistics, as sacrebleu computes it: an n that an output or reference is too short for is left
    out."""
    counts = [row for row in np.reshape(total, (CHARACTERS, 3)).tolist() if row[0] and row[1]]
    if not counts:
        return 0.0
    precision = statistics.fmean(both / output for output, _, both in counts)
    recall = statistics.fmean(both / reference for _, reference, both in counts)
    weighted = BETA**2 * precision + recall
    return 100 * (1 + BETA**2) * precision * recall / weighted if weighted else 0.0


def length_ratio(total: np.ndarray) -> float:
    """Words of the output for each word of the reference, from summed BLEU statistics."""
    return float(total[0] / max(total[1], 1))


def attachment_statistics(gold: Sequence, predicted: Sequence, same_relation: Callable[[str, str], bool]) -> np.ndarray:
    """(N, 3) for N sentences: words, right heads, right heads with right relations.

    A tree is a pair of lists with an entry for each word: heads, relations."""
    rows = []
    for (heads, relations), (found_heads, found_relations) in zip(gold, predicted):
        right = [head == found for head, found in zip(heads, found_heads)]
        both = [same_relation(one, other) for one, other in zip(relations, found_relations)]
        rows.append((len(heads), sum(right), sum(map(min, right, both))))
    return np.array(rows, dtype=np.int64)


def unlabelled(total: np.ndarray) -> float:
    """UAS of summed statistics."""
    return 100 * float(total[1] / max(total[0], 1))


def labelled(total: np.ndarray) -> float:
    """LAS of summed statistics."""
    return 100 * float(total[2] / max(total[0], 1))


def paired_bootstrap(
    baseline: np.ndarray,
    system: np.ndarray,
    score: Callable[[np.ndarray], float],
    draws: int = DRAWS,
    seed: int = SEED,
) -> float:
    """The p-value of the difference of two systems.

    Args:
        baseline, system: (N, D) statistics of the same N sentences.
        score: a function of a sum (D,) of statistics.
        draws: the number of test sets that are drawn.
        seed: the seed of the draws.
    """
    if len(baseline) != len(system):
        raise ValueError(f"{len(baseline)} and {len(system)} sentences: both systems must have decoded the same")
    chosen = np.random.default_rng(seed).choice(len(system), size=(draws, len(system)), replace=True)
    found = abs(score(system.sum(0)) - score(baseline.sum(0)))
    if found == 0:
        return 1.0
    drawn = np.array([abs(score(system[rows].sum(0)) - score(baseline[rows].sum(0))) for rows in chosen])
    return (int(np.sum(drawn - drawn.mean() > found)) + 1) / (draws + 1)


def paired_bootstrap_over_seeds(
    baselines: Sequence[np.ndarray], systems: Sequence[np.ndarray], score: Callable[[np.ndarray], float]
) -> float:
    """The p-value for the outputs of all seeds together; the statistics of a sentence are summed over the seeds."""
    return paired_bootstrap(np.sum(baselines, axis=0), np.sum(systems, axis=0), score)


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """The mean and the standard deviation of a sample; the latter is 0 for one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0
